"""A convolutional classifier of any size: maps that move with images, means of maps, one to three dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.core import AbsentOperation
from gen_models.models.supervised.fully_convolutional import fully_convolutional

RNG, KEY = np.random.default_rng(0), jax.random.key(0)


def _made(shape, **how):
    model = fully_convolutional(shape, 3, **how)
    batch = {"x": RNG.normal(size=(2, *shape)).astype(np.float32), "y": np.array([0, 2], np.int32)}
    params, stats = jax.jit(model.init)(KEY, batch)
    params = jax.tree.map(lambda x: x + 0.1 * RNG.normal(size=x.shape).astype(np.float32), params)
    return model, params, stats, batch


def test_a_map_moves_with_its_image_and_its_mean_are_the_logits():
    """By the product of the strides; of other sizes than the model was built for."""
    model, params, stats, _ = _made((8, 8, 1), channels=(4, 6), strides=(2, 2), padding="VALID", kind="separable")
    apply = jax.jit(model.apply, static_argnames="maps")
    wide = RNG.normal(size=(1, 23, 27, 1)).astype(np.float32)
    here, moved = (apply(params, stats, wide[:, :19, left : left + 23], maps=True) for left in (0, 4))
    assert here.shape == (1, 4, 5, 3)
    np.testing.assert_allclose(here[:, :, 1:], moved[:, :, :-1], rtol=1e-4, atol=1e-5)
    assert np.abs(here[:, :, 1:] - here[:, :, :-1]).max() > 1e-2
    np.testing.assert_allclose(apply(params, stats, wide[:, :19, :23]), here.mean((1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_trains_on_two_sizes_in_turn_and_its_statistics_follow():
    model, params, stats, batch = _made((8, 6, 1), channels=(4, 4), strides=(1, 2), shrink="max", norm="batch")
    larger = {"x": RNG.normal(size=(2, 10, 8, 1)).astype(np.float32), "y": batch["y"]}
    for own in (batch, larger):
        value, (after, _) = model.loss(params, stats, own, KEY, step=0)
        assert np.isfinite(value) and any(
            (a != b).any() for a, b in zip(*map(jax.tree.leaves, (after, stats)), strict=True)
        )
    assert model.batch_stats(params, stats, larger, KEY) is not None


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        pytest.param(
            (12, 2), {"kind": "grouped", "groups": 2, "norm": "group", "shrink": "average"}, marks=pytest.mark.slow
        ),
        pytest.param((6, 5, 4, 1), {"norm": "layer", "pooling": "max"}, marks=pytest.mark.slow),
        pytest.param((6, 5, 4, 2), {"kind": "separable", "norm": "none", "dilations": (1, 2)}, marks=pytest.mark.slow),
        pytest.param((9, 8, 3), {"norm": "instance", "window": 5, "shrink": "max"}, marks=pytest.mark.slow),
    ],
)
def test_every_choice_has_gradients_everywhere(shape, how):
    model, params, stats, batch = _made(shape, channels=(4, 6), strides=(1, 2), **how)
    gradients = jax.jit(jax.grad(lambda p: model.loss(p, stats, batch, KEY, step=0)[0]))(params)
    for path, leaf in jax.tree.leaves_with_path(gradients):
        assert jnp.isfinite(leaf).all() and (jnp.abs(leaf).max() > 0), path
    logits, features = jax.jit(lambda p: model.apply(p, stats, batch["x"], features=True))(params)
    own = params["logits"]
    np.testing.assert_allclose(logits, features @ own["kernel"] + own["bias"], rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused():
    model, params, stats, batch = _made((8, 8, 1), channels=(4,), strides=(1,), norm="none")
    with pytest.raises(ValueError, match=r"takes batches \[B, any, any, 1\], but the batch is \(2, 8, 8, 3\)"):
        model.apply(params, stats, np.zeros((2, 8, 8, 3), np.float32))
    with pytest.raises(ValueError, match="has no 'x'"):
        model.loss(params, stats, {"y": batch["y"]}, KEY, step=0)
    with pytest.raises(AbsentOperation):
        model.sample(params, stats, KEY, 1)
    for how, message in (
        ({"shape": (3,)}, "one to three dimensions of space"),
        ({"channels": (4, 4)}, "must be of one length"),
        ({"kind": "depthwise"}, "unknown kind 'depthwise'"),
        ({"shrink": "mean"}, "unknown shrink 'mean'"),
        ({"kind": "grouped", "channels": (6, 8, 8)}, "groups=4 must divide"),
        ({"momentum": 1.0}, "momentum must be in"),
    ):
        with pytest.raises(ValueError, match=message):
            fully_convolutional(**how)
