"""What models of images are given, through their own functions: what has no probability gets none, and says why."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.autoregressive.fvsbn import fvsbn
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.models.autoregressive.made import made
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_snail import pixel_snail

SHAPE = (3, 3, 1)
BUILD = {
    "fvsbn": partial(fvsbn, SHAPE),
    "made": partial(made, SHAPE, (8,)),
    "pixel_cnn": partial(pixel_cnn, SHAPE, features=2, blocks=1, head_features=2),
    "mixture": partial(pixel_cnn_pp, SHAPE, levels=4, features=2, blocks=1, resolutions=1, mixtures=2, dropout=0.0),
}
KEY = jax.random.key(0)
each = pytest.mark.parametrize("name", BUILD)


def _made(name):
    model = BUILD[name]()
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, *SHAPE)), jnp.float32)
    params, stats = jax.jit(model.init)(KEY, {"x": x})
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), params)
    return model, params, stats, x


@pytest.mark.slow_cases("fvsbn", "mixture", "pixel_cnn")
@each
def test_what_is_no_level_has_no_probability(name):
    model, params, stats, x = _made(name)
    log_p = jax.jit(lambda x: model.log_prob(params, stats, x))
    assert np.isfinite(log_p(x)).all()
    loss = jax.jit(lambda x: model.loss(params, stats, {"x": x}, KEY, step=0)[0])
    assert np.isfinite(loss(x))
    for wrong in (x * 255, 2 * x - 1, 0.6 * x, x.at[0, 0, 0, 0].set(jnp.nan)):
        assert np.isnan(log_p(wrong)).any() and np.isnan(loss(wrong))
    np.testing.assert_array_equal(np.isfinite(log_p(x.at[0, 1, 1, 0].set(0.5))), [False, True])  # the other one has
    with pytest.raises(ValueError, match=r"integers from 0 to \d, got values from 0 to 255: binarise_dynamic"):
        model.log_prob(params, stats, x * 255)


@pytest.mark.slow_cases("float32-mixture", "bool-mixture", "int32-mixture", "uint8-mixture")
@each
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_any_dtype_holds_levels(name, dtype):
    model, params, stats, x = _made(name)
    value = jax.jit(lambda x: model.log_prob(params, stats, x))
    np.testing.assert_array_equal(value(np.asarray(x).astype(dtype)), value(x))


@pytest.mark.slow_cases("mixture", "pixel_cnn")
@each
def test_masks_part_the_likelihood_and_its_end_is_conditional(name):
    """log p = log p(first pixels) + log p(the rest given them); the second is over completions a distribution."""
    model, params, stats, x = _made(name)
    rows = np.arange(3)[:, None] < np.full(3, 2)
    log_p = jax.jit(lambda x, mask=None: model.log_prob(params, stats, x, mask=mask))
    np.testing.assert_allclose(log_p(x, rows) + log_p(x, ~rows), log_p(x), rtol=1e-5)
    each_has_its_own = np.stack([rows, ~rows])
    want = [log_p(x, rows)[0], log_p(x, ~rows)[1]]
    np.testing.assert_allclose(log_p(x, each_has_its_own), want, rtol=1e-5)
    levels = 4 if name == "mixture" else 2
    last = np.stack(np.meshgrid(*[np.arange(levels)] * 3, indexing="ij"), -1).reshape(-1, 1, 3, 1)
    ends = jnp.concatenate([jnp.broadcast_to(x[:1, :2], (len(last), 2, 3, 1)), last], 1)
    np.testing.assert_allclose(np.exp(np.asarray(log_p(ends, ~rows), np.float64)).sum(), 1, rtol=1e-4)
    with pytest.raises(ValueError, match=r"mask must be \(3, 3\) or \(2, 3, 3\), got \(2, 3\)"):
        model.log_prob(params, stats, x, mask=np.ones((2, 3), bool))


@each
def test_bad_calls_of_samplers_are_named(name):
    model, params, stats, x = _made(name)
    sample = partial(model.sample, params, stats, KEY)
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        sample(0)
    with pytest.raises(ValueError, match="integers from 0 to"):
        sample(2, given=x * 255, mask=np.ones((3, 3), bool))
    with pytest.raises(ValueError, match=r"one number for all images, got the shape \(2,\)"):
        sample(2, temperature=jnp.ones(2))
    for temperature in (np.float32(-1), jnp.float32(jnp.inf)):
        with pytest.raises(ValueError, match="temperature must be 0 or more"):
            sample(2, temperature=temperature)


def test_given_pixels_that_do_not_count_may_be_anything():
    model, params, stats, x = _made("pixel_cnn")
    mask = np.arange(9).reshape(3, 3) < 4
    unknown = jnp.where(mask[..., None], x, 255)
    drawn = jax.jit(lambda given: model.sample(params, stats, KEY, 2, given=given, mask=mask))
    np.testing.assert_array_equal(drawn(unknown), drawn(x))
    assert model.sample(params, stats, KEY, 2, given=unknown, mask=mask).max() <= 1


def test_labels_that_there_are_not():
    model = pixel_cnn(SHAPE, features=2, blocks=1, head_features=2, classes=3)
    x = jnp.zeros((2, *SHAPE))
    params, stats = jax.jit(model.init)(KEY, {"x": x, "y": jnp.zeros(2, jnp.int32)})
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=f"labels must be from 0 to 2, got {wrong}"):
            model.log_prob(params, stats, x, label=jnp.array([0, wrong]))
        with pytest.raises(ValueError, match=f"labels must be from 0 to 2, got {wrong}"):
            model.sample(params, stats, KEY, 2, label=jnp.array([0, wrong]))
        log_p = jax.jit(lambda label: model.log_prob(params, stats, x, label=label))(jnp.array([0, wrong]))
        np.testing.assert_array_equal(np.isnan(log_p), [False, True])
    with pytest.raises(ValueError, match="no 'y', only"):
        model.loss(params, stats, {"x": x}, KEY, step=0)
    with pytest.raises(ValueError, match="classes=0"):
        pixel_cnn(SHAPE, classes=0)


def test_members_that_there_are_not():
    model = made(SHAPE, (8,), masks=2)
    x = jnp.zeros((2, *SHAPE))
    params, stats = jax.jit(model.init)(KEY, {"x": x})
    for index in (-1, 2):
        for call in (model.log_prob, model.apply):
            with pytest.raises(ValueError, match=f"index must be from 0 to 1, as there are 2 members, got {index}"):
                call(params, stats, x, index=index)
        with pytest.raises(ValueError, match="index must be from 0 to 1"):
            model.sample(params, stats, KEY, 2, index=index)
    with pytest.raises(ValueError, match="mask needs index"):
        model.log_prob(params, stats, x, mask=np.ones((3, 3), bool))


@pytest.mark.slow_cases("1-shape0", "1-shape1", "3-shape0")
@pytest.mark.parametrize("shape", [(13, 23, 1), (2, 3, 1)])
@pytest.mark.parametrize("masks", [1, 3])
def test_progress_is_told_of_at_most_a_hundred_times_and_of_the_end(shape, masks):
    model = made(shape, (4,), masks=masks)
    params, stats = jax.jit(model.init)(KEY, {"x": jnp.zeros((1, *shape))})
    calls: list[tuple[int, int]] = []
    jax.jit(
        lambda: model.sample(params, stats, KEY, 4, progress=lambda *told: calls.append(told))
    )().block_until_ready()
    jax.effects_barrier()
    total = masks * int(np.prod(shape))
    assert calls == sorted(calls) and calls[-1] == (total, total)
    assert min(total, 50) <= len(calls) <= 102


@pytest.mark.parametrize("build", [made, image_gpt, pixel_snail, pixel_cnn_pp])
@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5])
def test_dropout_is_a_probability_below_one(build, rate):
    with pytest.raises(ValueError, match=rf"dropout must be in \[0, 1\), got {rate}"):
        build(dropout=rate)


@pytest.mark.slow
def test_half_precision_does_not_round_a_mixtures_outputs():
    """Near 255, bfloat16 cannot tell levels apart: the last layer's products are float32."""
    for build in (pixel_cnn_pp, pixel_snail):
        sizes = {"features": 4, "blocks": 1, "mixtures": 2, "levels": 256, "dropout": 0.0}
        sizes |= {"resolutions": 1} if build is pixel_cnn_pp else {}
        model = build((4, 4, 1), **sizes, dtype=jnp.bfloat16)
        x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 4, 4, 1)))
        params, _ = jax.jit(model.init)(KEY, {"x": x})
        outputs = jax.jit(lambda params, x, model=model: model.apply(params, {}, x))(params, x)
        assert outputs.dtype == jnp.float32
        assert (outputs.astype(jnp.bfloat16).astype(jnp.float32) != outputs).any()
