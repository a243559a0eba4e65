"""ImageGPT and its layers: attention as in NumPy, exact likelihoods, and one pixel at a time as whole images."""

import itertools
from functools import cache, partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax import lax
from jax.flatten_util import ravel_pytree

from gen_models.models.autoregressive import image_gpt as module
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.nn.causal import At
from gen_models.nn.causal_attention import CausalAttention, Previous, WithinPixel, causal_attention, level_weights
from tests.checked import unchecked

KEY = jax.random.key(0)
TINY = dict(features=8, layers=2, heads=2, mlp_features=6)
# Each: arguments, and a second shape, which is not square.
CASES = {
    "grey": (TINY | dict(shape=(3, 3, 1), levels=2, classes=3, chunk=4), (4, 3, 1)),
    "rgb": (TINY | dict(shape=(2, 2, 3), levels=2, layers=1), (2, 3, 3)),
    "rgb of three levels": (TINY | dict(shape=(2, 3, 3), levels=3, layers=1, head_features=12), (2, 3, 3)),
}
NAMES = ("grey", "rgb")  # those whose images can all be listed


def random_parameters(network, *arguments):
    """Parameters that are not near zero."""
    shapes = jax.eval_shape(lambda: network.init(KEY, *arguments))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda a: np.asarray(0.3 * rng.normal(size=a.shape), np.float32), shapes)


def build(module, function, arguments):
    """A model, its network, and random parameters."""
    replaced = mock.patch.object(module, "pixel_model", lambda network, *_, **__: network)
    with replaced, unchecked():
        network = function(**arguments)
    x = np.zeros((1, *arguments["shape"]), np.float32)
    return function(**arguments), network, random_parameters(network, x, label_of(1, arguments), None, False)


def draw_images(n, arguments, shape=None):
    return np.random.default_rng(0).integers(0, arguments["levels"], (n, *(shape or arguments["shape"])))


def label_of(n, arguments):
    return None if arguments.get("classes") is None else np.arange(n) % arguments["classes"]


def check_jacobian(model, params, arguments, by_channel):
    """Every output depends on all channels before its own, or on all pixels before its own, and on no others."""
    height, width, channels = arguments["shape"]
    x = np.random.default_rng(1).uniform(0, arguments["levels"] - 1, (1, *arguments["shape"])).astype(np.float32)
    label = label_of(1, arguments)
    parts = channels if by_channel else 1

    def outputs(x):
        return model.apply(params, {}, x, label=label).reshape(height * width * parts, -1)

    jacobian = jax.jit(jax.jacrev(outputs))(x)
    depends = (np.asarray(jacobian).reshape(height * width * parts, -1, x.size) != 0).any(1)
    of_output, of_input = np.arange(height * width * parts) // parts, np.arange(x.size) // channels
    expected = of_input < of_output[:, None]
    if by_channel:
        expected = np.tri(x.size, k=-1, dtype=bool)
    np.testing.assert_array_equal(depends, expected)


def at_each_pixel(network, params, x, label):
    """The network's outputs for given images, one pixel at a time, as the sampler calls it."""
    size = x.shape[1:3]

    def call(cache, row, column):
        at = At(row, column, size)
        return network.apply({"params": params, "cache": cache}, x, label, at, False, mutable=["cache"])

    def one_pixel(cache, column, row):
        outputs, new = call(cache, row, column)
        again, new = call(new["cache"], row, column)  # as for a second channel
        return new["cache"], (outputs[:, 0, 0], again[:, 0, 0])

    def one_row(cache, row):
        cache = call(cache, row, None)[1]["cache"]
        return lax.scan(partial(one_pixel, row=row), cache, jnp.arange(size[1]))

    start = At(jnp.int32(0), None, size)
    shapes = jax.eval_shape(
        lambda: network.apply({"params": params}, x, label, start, False, mutable=["cache"])[1]["cache"]
    )
    cache = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    outputs, again = lax.scan(one_row, cache, jnp.arange(size[0]))[1]  # [H, W, B, outputs]
    return jnp.moveaxis(outputs, 2, 0), jnp.moveaxis(again, 2, 0)


def check_pixel_by_pixel(model, network, params, arguments, shape, tolerance=1e-4):
    """What comes later in an image, and a second call for a pixel, change nothing."""
    x, label = draw_images(3, arguments, shape), label_of(3, arguments)

    def both(x):
        scaled = x.astype(jnp.float32) * (2 / (arguments["levels"] - 1)) - 1
        return model.apply(params, {}, x, label=label), *at_each_pixel(network, params, scaled, label)

    whole, once, twice = jax.jit(both)(x)
    np.testing.assert_allclose(once, whole, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(once, twice)


def check_dropout(module, function, arguments):
    """Its rate may be traced; keys matter in training alone, and nothing is dropped elsewhere or at a rate of 0."""
    params = build(module, function, arguments)[2]
    batch = {"x": draw_images(4, arguments)}

    @jax.jit
    def losses(rate):
        model = function(**arguments, dropout=rate)
        keys = ((KEY, True), (jax.random.key(1), True), (KEY, False))
        return [model.loss(params, {}, batch, key, step=0, train=train)[0] for key, train in keys]

    with_dropout, without = losses(0.5), losses(0.0)
    assert len({float(a) for a in (*with_dropout[:2], without[0])}) == 3
    np.testing.assert_allclose([with_dropout[2], without[1], without[2]], without[0], rtol=1e-6)


def check_half_precision(model, function, params, arguments):
    """Outputs of bfloat16 computations are float32, close, and not the same."""
    x = draw_images(2, arguments)
    rounded = function(**arguments, dtype=jnp.bfloat16)
    whole, low = jax.jit(lambda x: (model.apply(params, {}, x), rounded.apply(params, {}, x)))(x)
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, whole, atol=0.1)
    assert (low != whole).any()


def check_learning(model, arguments):
    """The loss falls from that of uniform pixels, in 30 steps on images of stripes."""
    height, width, channels = arguments["shape"]
    stripes = (np.arange(height)[:, None] + np.arange(width)) % 2 * (arguments["levels"] - 1)
    x = np.stack([stripes, stripes[::-1]] * 2)[..., None] * np.ones(channels, np.int64)
    batch = {"x": jnp.asarray(x)} | ({} if label_of(4, arguments) is None else {"y": label_of(4, arguments)})
    key = jax.random.key(0, impl="rbg")  # whose programs compile quickly; and so does Adam for one vector
    params, unravel = ravel_pytree(jax.jit(model.init)(key, batch)[0])
    tx = optax.adam(1e-2)

    def step(state, i):
        params, moments = state
        loss, gradient = jax.value_and_grad(lambda p: model.loss(unravel(p), {}, batch, key, step=i)[0])(params)
        updates, moments = tx.update(gradient, moments)
        return (params + updates, moments), loss

    loss = np.asarray(jax.jit(lambda state: lax.scan(step, state, jnp.arange(30))[1])((params, tx.init(params))))
    assert np.isfinite(loss).all()
    assert loss[-1] < 0.5 * loss[0]
    return loss


@cache
def _case(name, square=True):
    arguments, shape = CASES[name]
    return *build(module, image_gpt, arguments if square else arguments | {"shape": shape}), arguments, shape


def _attention_by_loops(x, memory, params, heads, kind, late):
    """The layer in float64, one query at a time."""
    b, height, width, _ = x.shape
    x, memory = (np.asarray(a, np.float64).reshape(b, height * width, -1) for a in (x, memory))

    def project(name, a):
        return a @ np.asarray(params[name]["kernel"], np.float64) + params[name].get("bias", 0)

    q, k, v = project("query", x), project("key", memory), project("value", memory)
    d, e = q.shape[-1] // heads, v.shape[-1] // heads
    y = np.zeros_like(v)
    for image, head, i in itertools.product(range(b), range(heads), range(height * width)):
        seen = list(range(1, i + 1)) if late else list(range(i + (kind == "B")))
        if not seen:
            continue
        scores = k[image, seen, head * d : (head + 1) * d] @ q[image, i, head * d : (head + 1) * d] / np.sqrt(d)
        weights = np.exp(scores - scores.max())
        y[image, i, head * e : (head + 1) * e] = weights / weights.sum() @ v[image, seen, head * e : (head + 1) * e]
    if "out" in params:
        y = project("out", y)
    return y.reshape(b, height, width, -1)


@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize(("kind", "late", "out_features"), [("A", False, None), ("B", False, 3), ("A", True, None)])
def test_attention_is_that_of_loops(kind, late, out_features, chunk):
    rng = np.random.default_rng(0)
    x, memory = (rng.normal(size=(2, 4, 3, c)).astype(np.float32) for c in (5, 7))
    layer = CausalAttention(
        heads=2, key_features=6, value_features=8, out_features=out_features, kind=kind, late=late, chunk=chunk
    )
    params = random_parameters(layer, x, None, memory)
    y = jax.jit(layer.apply)({"params": params}, x, None, memory)
    np.testing.assert_allclose(y, _attention_by_loops(x, memory, params, 2, kind, late), rtol=1e-5, atol=1e-5)
    if kind == "A":
        assert (np.asarray(y)[:, 0, 0] == 0).all()
        assert (np.asarray(y)[:, 0, 1] != 0).all()


@pytest.mark.parametrize(("kind", "late"), [("B", False), ("A", True)])
def test_chunks_change_neither_values_nor_gradients(kind, late):
    q, k, v = (jnp.asarray(np.random.default_rng(i).normal(size=(2, 3, 11, w))) for i, w in enumerate((4, 4, 6)))

    @jax.jit
    def gradients(q, k, v):
        def value(q, k, v, chunk):
            y = causal_attention(q, k, v, kind=kind, late=late, chunk=chunk)
            return (jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y).sum(), y

        return [jax.grad(partial(value, chunk=chunk), (0, 1, 2), has_aux=True)(q, k, v) for chunk in (None, 4)]

    (whole, y), (in_parts, y_in_parts) = gradients(q, k, v)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(whole))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, (whole, y), (in_parts, y_in_parts))


def test_no_weights_of_all_positions_at_once_in_chunks():
    """Memory of the whole program, gradients included."""

    def memory(chunk):
        x = jax.ShapeDtypeStruct((2, 4, 256, 8), jnp.float32)
        compiled = jax.jit(jax.grad(lambda x: causal_attention(x, x, x, chunk=chunk).sum())).lower(x).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    all_weights = 2 * 4 * 256 * 256 * 4
    assert memory(None) >= all_weights
    assert memory(16) < all_weights / 2


@pytest.mark.parametrize(("kind", "late"), [("A", False), ("B", False), ("A", True)])
def test_kept_keys_and_values_give_what_the_whole_pass_does(kind, late):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 6)).astype(np.float32)

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x, label, at, train):
            if at is None:
                here = x
            elif at.column is None:
                here = x[:, :1]
            else:
                here = lax.dynamic_slice(x, (0, at.row, at.column, 0), (2, 1, 1, 6))
            memory = Previous(of_image=True)(x, at) if late else here
            sizes = {"heads": 2, "key_features": 4, "value_features": 6, "out_features": 3}
            y = CausalAttention(**sizes, kind=kind, late=late, chunk=5)(here, at, memory)
            return jnp.concatenate([y, Previous()(y, at)], -1)

    network = Network()
    params = random_parameters(network, x, None, None, False)
    whole, (once, twice) = jax.jit(
        lambda x: (network.apply({"params": params}, x, None, None, False), at_each_pixel(network, params, x, None))
    )(x)
    np.testing.assert_allclose(once, whole, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(once, twice)


def test_previous_is_the_one_before_in_raster_order():
    x = np.arange(1.0, 25).reshape(2, 3, 2, 2)
    y = np.asarray(Previous().apply({}, x)).reshape(2, 6, 2)
    np.testing.assert_array_equal(y[:, 1:], x.reshape(2, 6, 2)[:, :-1])
    assert (y[:, 0] == 0).all()


def test_weights_of_levels_are_one_hot_and_linear_in_between():
    x = np.linspace(-1, 1, 5)[:, None] * np.ones(2)
    np.testing.assert_allclose(level_weights(x, 5), np.tile(np.eye(5), 2), atol=1e-6)
    np.testing.assert_allclose(level_weights(np.array([-0.375]), 5), [0, 0.75, 0.25, 0, 0], atol=1e-6)


@pytest.mark.slow_cases("grey")
@pytest.mark.parametrize("name", NAMES)
def test_an_output_depends_on_all_before_and_on_nothing_else(name):
    model, _, params, arguments, _ = _case(name)
    check_jacobian(model, params, arguments, by_channel=True)


@pytest.mark.slow_cases("grey", "rgb")
@pytest.mark.parametrize("name", CASES)
def test_one_pixel_at_a_time_as_whole_images(name):
    model, network, params, arguments, shape = _case(name, square=False)
    check_pixel_by_pixel(model, network, params, arguments, shape, tolerance=1e-5)


def test_labels_change_every_position():
    model, _, params, arguments, _ = _case("grey")
    outputs = jax.jit(lambda label: model.apply(params, {}, draw_images(1, arguments), label=label))
    assert (outputs(np.array([0])) != outputs(np.array([1]))).any(-1).all()


@pytest.mark.slow
def test_the_loss_falls_from_that_of_uniform_pixels():
    arguments = TINY | dict(shape=(4, 4, 1), levels=3)
    loss = check_learning(image_gpt(**arguments), arguments)
    np.testing.assert_allclose(loss[0], 16 * np.log(3), rtol=1e-5)  # logits are zero at first


def test_dropout_may_be_traced_and_acts_in_training_alone():
    check_dropout(module, image_gpt, TINY | dict(shape=(3, 3, 1), levels=2, layers=1))


def test_computations_in_bfloat16_are_close():
    model, _, params, arguments, _ = _case("rgb of three levels")
    check_half_precision(model, image_gpt, params, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(features=0), "features=0"),
        (dict(layers=-1), "layers=-1"),
        (dict(chunk=0), "chunk=0"),
        (dict(features=9, heads=2), "2 heads must divide features=9"),
        (dict(shape=(4, 4, 3), head_features=8), "3 channels must divide head_features=8"),
        (dict(levels=1), "levels=1"),
        (dict(shape=(4, 4, 0)), r"shape=\(4, 4, 0\)"),
    ],
)
def test_errors_name_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        image_gpt(**(dict(shape=(4, 4, 1)) | arguments))


def test_errors_of_the_layers():
    x = np.zeros((1, 2, 2, 4), np.float32)
    q = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="got heads=3, key_features=6, value_features=4"):
        CausalAttention(heads=3, key_features=6, value_features=4).init(KEY, x)
    with pytest.raises(ValueError, match="got 'C'"):
        causal_attention(q, q, q, kind="C")
    with pytest.raises(ValueError, match="late=True needs kind='A'"):
        causal_attention(q, q, q, late=True)
    with pytest.raises(ValueError, match="got chunk=0"):
        causal_attention(q, q, q, chunk=0)
    with pytest.raises(ValueError, match="3 channels must divide the hidden features, got 7"):
        WithinPixel(outputs=6, hidden=7, levels=2, by_channel=True).init(KEY, x, x[..., :3])
