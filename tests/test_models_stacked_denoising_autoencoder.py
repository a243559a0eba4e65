"""The stacked denoising autoencoder: which layer a step trains, on what, and by which error."""

import functools
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.models.latent.denoising_autoencoder import denoising_autoencoder
from gen_models.models.latent.stacked_denoising_autoencoder import layer_by_layer, stacked_denoising_autoencoder
from gen_models.nn.corruptions import masking
from gen_models.nn.reconstructions import cross_entropy

SHAPE = (3, 3, 1)
KEY = jax.random.key(0)
BATCH = {
    "x": jax.random.uniform(jax.random.key(1), (8, *SHAPE)),
    "y": jnp.array([0, 1, 2, 0, 1, 2, 0, 1]),
}
STEPS = 2  # of each of the two layers


@functools.cache
def _model(classes=None, steps=STEPS):
    return stacked_denoising_autoencoder(
        SHAPE, latent=3, hidden=(5,), steps_per_layer=steps, classes=classes, corruption=masking(0.5)
    )


def _initial(model, tx):
    return jax.jit(lambda: init_state(model, tx, KEY, BATCH))()


@functools.cache
def _states(classes=None):
    """The states before each of six steps, and the layers that these trained."""
    model = _model(classes)
    tx = layer_by_layer(optax.adamw(0.05, weight_decay=0.1), layers=2, steps_per_layer=STEPS)
    step = jax.jit(make_train_step(model.loss, tx))
    states, layers = [_initial(model, tx)], []
    for _ in range(3 * STEPS):
        state, metrics = step(states[-1], BATCH)
        states.append(state)
        layers.append(int(metrics["layer"]))
    return states, layers


def _changed(before, after):
    """Names of the layers' halves that a step has changed: "layer_0/encoder"."""
    found = set()
    for path, same in jax.tree.leaves_with_path(jax.tree.map(lambda a, b: bool((a == b).all()), before, after)):
        if not same:
            found.add("/".join(str(key.key) for key in path[:2] if key.key not in ("kernel", "bias")))
    return found


@pytest.mark.slow_cases("None")
@pytest.mark.parametrize("classes", [None, 3])
def test_phases_switch_at_their_steps_and_change_their_own_layer_alone(classes):
    """With AdamW, whose moments and decay would move layers that have no gradient."""
    states, layers = _states(classes)
    assert layers == [0, 0, 1, 1, 2, 2]
    of = [{f"layer_{layer}/{half}" for half in ("encoder", "decoder")} for layer in range(2)]
    encoders = {"layer_0/encoder", "layer_1/encoder", "classifier"}
    for index, (before, after) in enumerate(pairwise(states)):
        changed = _changed(before.params, after.params)
        if index < 2 * STEPS:
            assert changed == of[index // STEPS], index
        elif classes is None:
            assert changed == of[0] | of[1]
        else:  # decay moves the decoders, which have no gradient any more
            assert changed >= encoders


def test_a_layers_optimizer_begins_with_its_own_steps():
    """The first step of layer 1 is the first step of a fresh Adam: each number moves by the rate."""
    model = _model()
    tx = layer_by_layer(optax.adam(0.05), layers=2, steps_per_layer=STEPS)
    step = jax.jit(make_train_step(model.loss, tx))
    state = _initial(model, tx)
    for _ in range(STEPS):
        state, _ = step(state, BATCH)
    after, _ = step(state, BATCH)
    moved = np.abs(after.params["layer_1"]["decoder"]["kernel"] - state.params["layer_1"]["decoder"]["kernel"])
    np.testing.assert_allclose(moved, 0.05, rtol=1e-2)


@pytest.mark.slow
def test_the_first_layer_is_a_denoising_autoencoder():
    model, params = _model(), _states()[0][0].params
    alone = denoising_autoencoder(
        SHAPE,
        corruption=lambda x, key: masking(0.5)(x.reshape(len(x), -1), key).reshape(x.shape),
        latent=5,
        hidden=(),
        code_activation=jax.nn.sigmoid,
        reconstruction=cross_entropy(),
    )
    own = {
        "encoder": {"code": params["layer_0"]["encoder"]},
        "decoder": {"Dense_0": params["layer_0"]["decoder"]},
    }
    ours = model.loss(params, {}, BATCH, KEY, step=1)[0]
    np.testing.assert_allclose(ours, alone.loss(own, {}, BATCH, KEY, step=1)[0], rtol=1e-6)


def test_a_higher_layer_sees_the_whole_code_of_the_layers_below_and_damages_that():
    model, params = _model(), _states()[0][0].params
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731

    def dense(name, half, x):
        return x @ np.asarray(params[name][half]["kernel"]) + np.asarray(params[name][half]["bias"])

    h = sigmoid(dense("layer_0", "encoder", np.asarray(BATCH["x"]).reshape(8, -1)))
    damaged = np.asarray(masking(0.5)(jnp.asarray(h, jnp.float32), KEY))
    assert (damaged == 0).any()
    p = sigmoid(dense("layer_1", "decoder", sigmoid(dense("layer_1", "encoder", damaged))))
    expected = -(h * np.log(p) + (1 - h) * np.log(1 - p)).sum(1).mean()
    np.testing.assert_allclose(model.loss(params, {}, BATCH, KEY, step=STEPS)[0], expected, rtol=1e-5)


def test_fine_tuning_is_the_error_of_the_unrolled_decoders_or_that_of_labels():
    model, params = _model(), _states()[0][0].params
    tuned = model.loss(params, {}, BATCH, KEY, step=2 * STEPS)[0]
    p = np.asarray(model.decode(params, {}, model.encode(params, {}, BATCH["x"])), np.float64)
    x = np.asarray(BATCH["x"], np.float64)
    np.testing.assert_allclose(tuned, -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean(), rtol=1e-5)
    for step in (0, 2 * STEPS):  # what is evaluated is the whole, whatever is trained
        whole = model.loss(params, {}, BATCH, KEY, step=step, train=False)[0]
        np.testing.assert_allclose(whole, tuned, rtol=1e-6)
    model, params = _model(3), _states(3)[0][0].params
    log_p = np.asarray(jax.nn.log_softmax(model.apply(params, {}, BATCH["x"])))
    expected = -log_p[np.arange(8), np.asarray(BATCH["y"])].mean()
    np.testing.assert_allclose(model.loss(params, {}, BATCH, KEY, step=99)[0], expected, rtol=1e-5)


def test_each_tensor_has_a_gradient_in_some_phase_and_none_in_others():
    model, params = _model(3), _states(3)[0][0].params
    gradient = jax.jit(jax.grad(lambda p, step: model.loss(p, {}, BATCH, KEY, step=step)[0]))
    seen = [gradient(params, step) for step in (0, STEPS, 2 * STEPS)]
    some = jax.tree.map(lambda *each: [bool(jnp.abs(g).max() > 0) for g in each], *seen)
    assert all(flags == [True, False, True] for flags in some["layer_0"]["encoder"].values())
    assert all(flags == [True, False, False] for flags in some["layer_0"]["decoder"].values())
    assert all(flags == [False, True, True] for flags in some["layer_1"]["encoder"].values())
    assert all(flags == [False, True, False] for flags in some["layer_1"]["decoder"].values())
    assert all(flags == [False, False, True] for flags in some["classifier"].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps_per_layer": -1}, "steps_per_layer must be a whole number, 0 or more, got -1"),
        ({"steps_per_layer": 1.5}, "got 1.5"),
        ({"classes": 1}, "labels of one class say nothing"),
        ({"hidden": (5, 0)}, r"hidden=\(5, 0\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        stacked_denoising_autoencoder(SHAPE, **options)
    with pytest.raises(ValueError, match="layers=0"):
        layer_by_layer(optax.sgd(0.1), layers=0, steps_per_layer=1)


@pytest.mark.usefixtures("unchecked")
def test_labels_and_pixels_that_are_none():
    model, params = _model(3), _states(3)[0][0].params
    with pytest.raises(ValueError, match="the batch has no 'y'"):
        model.loss(params, {}, {"x": BATCH["x"]}, KEY, step=0)
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 3"):
        model.loss(params, {}, BATCH | {"y": BATCH["y"] + 1}, KEY, step=0)
    with pytest.raises(ValueError, match="pixels must be between 0 and 1"):
        model.encode(params, {}, BATCH["x"] + 1)
