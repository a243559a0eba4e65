"""PixelRNN: the paper's equations, exact likelihoods, one pixel at a time as whole images, and gradients."""

import itertools
import math
from functools import cache, partial
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType

from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
from gen_models.nn import diagonal_lstm
from gen_models.nn.causal import At
from gen_models.nn.devices import over_devices, plain
from gen_models.nn.diagonal_lstm import DiagonalBiLSTM, skew, unskew
from gen_models.nn.row_lstm import RowLSTM, RowWeights, Taps, lstm_over_rows
from tests.checked import unchecked

# Each: arguments, an image of which all values can be listed.
CASES = {
    "row_grey": dict(kind="row", shape=(3, 3, 1), features=3),
    "row_rgb": dict(kind="row", shape=(2, 2, 3), features=3, residual=False, skip=True),
    "diagonal_grey": dict(kind="diagonal", shape=(3, 3, 1), features=3, residual=False, skip=True),
    "diagonal_rgb": dict(kind="diagonal", shape=(2, 2, 3), features=3),
}
TINY = dict(levels=2, layers=2, first_window=3, head_features=6)
NOT_SHARED = ("row_rgb", "diagonal_grey")  # tests/tiny_pixel_models.py has the others
LAYERS = {"row": RowLSTM(6), "row_5_rgb": RowLSTM(6, window=5, colours=3), "row_1": RowLSTM(6, window=1)}
LAYERS |= {"diagonal": DiagonalBiLSTM(6), "diagonal_rgb": DiagonalBiLSTM(6, colours=3)}


def _random(tree, seed=0):
    """Parameters that are not near zero."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return structure.unflatten([leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves])


@cache
def _model(name, shape=None, **more):
    """A model, its network, and its parameters."""
    arguments = TINY | CASES[name] | ({} if shape is None else {"shape": shape}) | more
    model = pixel_rnn(**arguments)
    replaced = mock.patch("gen_models.models.autoregressive.pixel_rnn.pixel_model", lambda network, *_, **__: network)
    with replaced, unchecked():
        network = pixel_rnn(**arguments)
    batch = {"x": np.zeros((1, *arguments["shape"]))}
    return model, network, _random(jax.jit(model.init)(jax.random.key(0), batch)[0])


def _images(n, shape, levels=2, seed=0):
    return np.random.default_rng(seed).integers(0, levels, (n, *shape))


@cache
def _layer(name, shape):
    """A layer's module, random parameters and input."""
    layer = LAYERS[name]
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    return layer, _random(jax.jit(layer.init)(jax.random.key(0), x)), x


def _weighted(y):
    """A sum that tells all elements apart."""
    return (jnp.cos(jnp.arange(y.size)).reshape(y.shape) * y).sum()


def _gradients(layer, variables, x):
    return jax.value_and_grad(lambda variables, x: _weighted(layer.apply(variables, x)), (0, 1))(variables, x)


def _assert_close(got, want, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), got, want)


def test_unskew_is_the_inverse_of_skew():
    x = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
    skewed = np.asarray(skew(x))
    want = np.zeros((2, 4, 6, 5), np.float32)
    for i, j in np.ndindex(4, 3):
        want[:, i, i + j] = x[:, i, j]
    assert (skewed == want).all()
    assert (np.asarray(unskew(skewed)) == x).all()
    filled = jnp.where(skewed == 0, jnp.nan, skewed)  # what stands in the corners does not matter
    assert (np.asarray(unskew(filled)) == x).all()


def _sigmoid(v):
    return 1 / (1 + np.exp(-v))


def _gates(z, c):
    """Equation 3 for one pixel: h and c."""
    i, f, g, o = np.split(z, 4, -1)
    c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
    return _sigmoid(o) * np.tanh(c), c


def _masked_b(kernel, colours):
    """[C, 4 H] with zeros where an input's colour comes after that of the gate's feature."""
    kernel = kernel.copy()
    inputs, h = kernel.shape[0], kernel.shape[1] // 4
    for source, gate, target in np.ndindex(inputs, 4, h):
        if source // (inputs // colours) > target // (h // colours):
            kernel[source, gate * h + target] = 0
    return kernel


def _row_lstm_by_pixels(layer, params, x):
    b, height, width, _ = x.shape
    middle = layer.window // 2
    h, c = np.zeros((2, b, height, width, layer.features))
    taps = [*params["kernel"][:-1], _masked_b(params["kernel"][-1], layer.colours)]
    for i, j in np.ndindex(height, width):
        z = params["bias"]
        for u, tap in enumerate(taps):
            if j + u - middle >= 0:
                z = z + x[:, i, j + u - middle] @ tap
        for u, tap in enumerate(params["recurrent_kernel"]):
            if i > 0 and 0 <= j + u - middle < width:
                z = z + h[:, i - 1, j + u - middle] @ tap
        h[:, i, j], c[:, i, j] = _gates(z, c[:, i - 1, j] if i > 0 else 0)
    return h


def _diagonal_by_pixels(layer, params, x):
    b, height, width, _ = x.shape
    h, c = np.zeros((2, 2, b, height, width, layer.features))
    for d in range(2):
        kernel = _masked_b(params["kernel"][d], layer.colours)
        above, beside = np.split(params["recurrent_kernel"][d], 2)
        step = 1 if d == 0 else -1
        for i in range(height):
            for j in range(width)[::step]:
                z = x[:, i, j] @ kernel + params["bias"][d]
                before = 0.0
                if i > 0:
                    z = z + h[d, :, i - 1, j] @ above
                if 0 <= j - step < width:
                    z, before = z + h[d, :, i, j - step] @ beside, c[d, :, i, j - step]
                h[d, :, i, j], c[d, :, i, j] = _gates(z, before)
    return h[0] + np.pad(h[1, :, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_the_equations_pixel_by_pixel(name, monkeypatch):
    monkeypatch.setattr(diagonal_lstm, "_POSITIONS", 8)  # two streams of two images each
    layer, variables, x = _layer(name, (4, 4, 5, 12))
    literal = _row_lstm_by_pixels if name.startswith("row") else _diagonal_by_pixels
    want = literal(layer, {k: np.float64(v) for k, v in variables["params"].items()}, np.float64(x))
    _assert_close(jax.jit(layer.apply)(variables, x), want)


def test_an_image_of_one_row_and_one_of_one_column():
    for shape in ((2, 1, 4, 12), (2, 4, 1, 12)):
        for name, literal in (("row", _row_lstm_by_pixels), ("diagonal", _diagonal_by_pixels)):
            layer, variables, x = _layer(name, shape)
            params = {k: np.float64(v) for k, v in variables["params"].items()}
            _assert_close(jax.jit(layer.apply)(variables, x), literal(layer, params, np.float64(x)))


@cache
def _plain_gradients(name):
    """Of a layer over images (4, 4, 5, 12), by an ordinary scan; diagonals without streams."""
    layer, variables, x = _layer(name, (4, 4, 5, 12))
    with plain():
        assert diagonal_lstm._streams(4, 4) == 4
        return jax.jit(partial(_gradients, layer))(variables, x)


@pytest.mark.slow_cases("diagonal-1", "row-1", "row_5_rgb-1")
@pytest.mark.parametrize(("name", "positions"), [("row", 1), ("row_5_rgb", 1), ("diagonal", 1), ("diagonal", 8)])
def test_custom_gradient_is_that_of_the_plain_scan(name, positions, monkeypatch):
    monkeypatch.setattr(diagonal_lstm, "_POSITIONS", positions)
    assert diagonal_lstm._streams(4, 4) == {1: 1, 8: 2}[positions]
    layer, variables, x = _layer(name, (4, 4, 5, 12))
    _assert_close(jax.jit(partial(_gradients, layer))(variables, x), _plain_gradients(name))


@pytest.mark.slow_cases("diagonal")
@pytest.mark.parametrize("name", ["row", "diagonal"])
def test_over_devices_and_inside_scan_vmap_and_checkpoint(name, monkeypatch):
    monkeypatch.setattr(diagonal_lstm, "_POSITIONS", 4)
    layer, variables, x = _layer(name, (4, 4, 5, 12))
    want = _plain_gradients(name)
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,), devices=jax.devices()[:2])
    with over_devices(mesh):
        _assert_close(jax.jit(partial(_gradients, layer))(variables, x), want)

    @jax.jit
    def run(variables, xs):
        again = jax.checkpoint(lambda variables, x: _weighted(layer.apply(variables, x)))
        in_scan = lax.scan(lambda _, x: (None, jax.value_and_grad(again, (0, 1))(variables, x)), None, xs)[1]
        return in_scan, jax.vmap(partial(_gradients, layer, variables))(xs)

    for got in run(variables, jnp.stack([x + 1, x])):
        _assert_close(jax.tree.map(lambda g: g[1], got), want)


def _seen(layer, variables, x, i, j):
    """[H, W]: which pixels of its input a layer's output at (i, j) depends on."""
    gradient = jax.jit(jax.grad(lambda x, i, j: (layer.apply(variables, x)[:, i, j]).sum()))(x, i, j)
    return (np.asarray(gradient) != 0).any((0, 3))


def test_a_row_lstm_sees_its_triangle():
    layer, variables, x = _layer("row", (1, 5, 8, 12))
    for i, j in ((0, 0), (2, 3), (4, 4)):
        want = np.zeros((5, 8), bool)
        for above in range(i + 1):  # the input's own window adds one pixel to the left
            want[i - above, max(0, j - above - 1) : j + above + 1] = True
        assert (_seen(layer, variables, x, i, j) == want).all()


def test_a_diagonal_bilstm_sees_every_earlier_pixel():
    layer, variables, x = _layer("diagonal", (1, 5, 6, 12))
    order = np.arange(30).reshape(5, 6)
    for i, j in ((0, 0), (2, 1), (3, 5), (4, 0), (4, 4)):
        assert (_seen(layer, variables, x, i, j) == (order <= order[i, j])).all()


@pytest.mark.slow_cases("diagonal_grey", "diagonal_rgb", "row_grey")
@pytest.mark.parametrize("name", CASES)
def test_outputs_depend_on_earlier_pixels_and_channels_alone(name):
    height, width, channels = shape = (3, 4, CASES[name]["shape"][-1])
    model, _, params = _model(name, shape, features=6, head_features=24)
    size = height * width * channels

    @jax.jit
    def jacobian(x):
        outputs = lambda x: model.apply(params, {}, x[None]).reshape(size, 2)  # noqa: E731
        return jax.jacrev(outputs)(x).reshape(size, 2, size)

    # Over several images, as in one the few ReLUs between two colours of a pixel may all be off.
    depends = np.any([(np.asarray(jacobian(jnp.float32(x))) != 0).any(1) for x in _images(8, shape)], 0)
    below = np.tri(size, k=-1, dtype=bool)
    assert not (depends & ~below).any()
    if name.startswith("diagonal"):
        # All but the last channel of the row before, where the first convolution does not reach that column: no
        # feature of that row holds its own row's last value.
        below = below.reshape(height, width, channels, height, width, channels)
        for i in range(1, height):
            below[i, : width - 1 - TINY["first_window"] // 2, :, i - 1, -1, -1] = False
        assert (depends == below.reshape(size, size)).all()


@pytest.mark.slow_cases("diagonal_grey")
@pytest.mark.parametrize("name", NOT_SHARED)
def test_probabilities_of_all_images_sum_to_one(name):
    model, _, params = _model(name)
    shape = CASES[name]["shape"]
    images = np.array(list(itertools.product(range(2), repeat=math.prod(shape)))).reshape(-1, *shape)
    log_p = np.float64(jax.jit(model.log_prob)(params, {}, images))
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)
    assert log_p.std() > 0.5  # the parameters are not those of a constant


@partial(jax.jit, static_argnums=0)
def _one_at_a_time(network, params, x):
    """Outputs as a sampler sees them, from images that hold other values at all that is not known yet."""
    n, height, width, channels = x.shape
    order = jnp.arange(height * width * channels).reshape(height, width, channels)

    def call(cache, i, j, now):
        known = jnp.where(order < now, x, 7.0)
        at = At(i, j, (height, width))
        return network.apply({"params": params, "cache": cache}, known, None, at, False, mutable=["cache"])

    def channel(cache, now, i, j):
        outputs, new = call(cache, i, j, now)
        return new["cache"], outputs[:, 0, 0].reshape(n, channels, -1)[:, now % channels]

    def pixel(cache, j, i):
        return lax.scan(partial(channel, i=i, j=j), cache, (i * width + j) * channels + jnp.arange(channels))

    def row(cache, i):
        cache = call(cache, i, None, i * width * channels)[1]["cache"]
        return lax.scan(partial(pixel, i=i), cache, jnp.arange(width))

    cache = jax.eval_shape(lambda: call({}, 0, None, 0)[1]["cache"])
    cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), cache)
    return jnp.moveaxis(lax.scan(row, cache, jnp.arange(height))[1], 3, 0).reshape(n, height, width, -1)


@pytest.mark.slow_cases("diagonal_grey", "diagonal_rgb", "row_grey")
@pytest.mark.parametrize("name", CASES)
def test_one_pixel_at_a_time_is_the_whole_image(name):
    shape = (4, 5, CASES[name]["shape"][-1])
    model, network, params = _model(name, shape)
    x = _images(2, shape)
    got = _one_at_a_time(network, params, jnp.float32(2 * x - 1))
    _assert_close(got, jax.jit(model.apply)(params, {}, x), 1e-4)


@pytest.mark.slow_cases("diagonal_grey")
@pytest.mark.parametrize("name", NOT_SHARED)
def test_samplers_agree_and_keep_what_is_given(name):
    shape = (4, 5, CASES[name]["shape"][-1])
    model, _, params = _model(name, shape)
    given, mask = _images(3, shape, seed=5), np.arange(20).reshape(4, 5) % 3 == 0

    @partial(jax.jit, static_argnums=3)
    def sample(key, given, mask, method):
        return model.sample(params, {}, key, 3, given=given, mask=mask, method=method)

    nothing = np.zeros_like(mask)
    for seed, known in ((0, nothing), (1, nothing), (2, mask)):
        cached, naive = (
            np.asarray(sample(jax.random.key(seed), given, known, method)) for method in ("cached", "naive")
        )
        assert (cached == naive).all()
        assert (cached[:, known] == given[:, known]).all()
        assert 0.1 < cached.mean() < 0.9


def _work(jaxpr):
    """Elements that equations give, loops times their lengths; a piece written into a kept array counts as that."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [v.jaxpr if hasattr(v, "jaxpr") else v for v in equation.params.values() if hasattr(v, "eqns")]
        inner += [v.jaxpr for v in equation.params.values() if hasattr(v, "jaxpr") and not hasattr(v, "eqns")]
        if inner:
            total += equation.params.get("length", 1) * sum(map(_work, inner))
        elif equation.primitive.name == "dynamic_update_slice":
            total += equation.invars[1].aval.size
        else:
            total += sum(v.aval.size for v in equation.outvars)
    return total


@pytest.mark.parametrize("name", ["row_grey", "diagonal_rgb"])
def test_the_cost_of_a_pixel_does_not_grow_with_the_image(name):
    work = []
    for size in (8, 16):
        shape = (size, size, CASES[name]["shape"][-1])
        model, _, params = _model(name, shape)
        sample = partial(model.sample, params, {}, n=1)
        work.append(_work(jax.make_jaxpr(sample)(jax.random.key(0)).jaxpr) / size**2)
    assert work[0] > 1000
    assert work[1] < 1.05 * work[0]


@pytest.mark.slow  # the contract runs each model in bfloat16
def test_bfloat16_computes_nearly_the_same():
    shape = (4, 5, 1)
    for name in ("row_grey", "diagonal_grey"):
        model, _, params = _model(name, shape)
        x = _images(4, shape)
        half = pixel_rnn(**(TINY | CASES[name] | dict(shape=shape, dtype=jnp.bfloat16)))
        want, got = (jax.jit(m.apply)(params, {}, x) for m in (model, half))
        assert got.dtype == jnp.float32
        assert 0 < np.abs(got - want).max() < 0.1 * np.abs(want).max()
        grads = jax.jit(jax.grad(lambda p, half=half, x=x: half.log_prob(p, {}, x).sum()))(params)
        assert all(np.isfinite(g).all() and g.dtype == jnp.float32 for g in jax.tree.leaves(grads))


def test_switches_change_the_parameters():
    def names(**arguments):
        model = pixel_rnn(**(TINY | dict(shape=(4, 4, 1), features=2, layers=3) | arguments))
        batch = {"x": np.zeros((1, 4, 4, 1))}
        return set(jax.eval_shape(model.init, jax.random.key(0), batch)[0])

    assert names(kind="row") - names() == {f"row_lstm_{i}" for i in range(3)}
    assert names(skip=True) - names() == {"skip_0", "skip_1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(features=0), "features=0"),
        (dict(window=2), "window=2"),
        (dict(first_window=4), "first_window=4"),
        (dict(kind="column"), "column"),
        (dict(shape=(4, 4, 3), features=4, head_features=6), "3 channels must divide features=4"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        pixel_rnn(**arguments)


def test_weights_that_do_not_fit_are_named():
    weights = RowWeights(jnp.zeros((3, 8)), jnp.zeros((2, 8)), jnp.zeros(8))
    with pytest.raises(ValueError, match=r"weights must be \[\(3, 8\), \(4, 8\), \(8,\)\]"):
        lstm_over_rows(jnp.zeros((1, 1, 2, 3)), weights, Taps((0,), (-1, 0)))
    with pytest.raises(ValueError, match="got 4"):
        RowLSTM(2, window=4).init(jax.random.key(0), jnp.zeros((1, 2, 2, 2)))
