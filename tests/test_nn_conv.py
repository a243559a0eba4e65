"""Convolutions: XLA's own in value and gradient, whatever the strides, paddings, dilations, groups and dtypes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import AxisType

from gen_models.nn._in_memory_cpu import in_memory
from gen_models.nn.conv import Conv, ConvTranspose, conv, conv_transpose
from gen_models.nn.devices import over_devices, plain

# x, kernel, arguments
CASES = {
    "1d": ((3, 9, 4), (3, 4, 5), {}),
    "1d causal and dilated": ((2, 11, 3), (2, 3, 4), {"padding": "CAUSAL", "dilation": 4}),
    "1d strided, a rest": ((2, 10, 3), (3, 3, 2), {"strides": 3, "padding": "VALID"}),
    "2d": ((4, 7, 6, 3), (3, 3, 3, 5), {}),
    "2d wide": ((2, 6, 5, 40), (3, 3, 40, 33), {}),
    "2d, a window larger than the image": ((2, 3, 4, 2), (5, 7, 2, 3), {}),
    "2d even window": ((4, 8, 8, 2), (4, 4, 2, 3), {"strides": 2}),
    "2d odd sizes": ((3, 7, 9, 2), (3, 2, 2, 3), {"strides": (2, 3)}),
    "2d stride beyond the window": ((2, 11, 10, 2), (2, 1, 2, 3), {"strides": (3, 4), "padding": "VALID"}),
    "2d dilated": ((2, 9, 8, 2), (3, 2, 2, 3), {"dilation": (2, 3)}),
    "2d dilated and strided": ((2, 11, 9, 2), (3, 3, 2, 3), {"dilation": 2, "strides": 2}),
    "2d explicit": ((2, 6, 6, 2), (3, 3, 2, 3), {"padding": ((0, 3), (2, 1)), "strides": 2}),
    "2d negative padding": ((2, 8, 8, 2), (3, 3, 2, 3), {"padding": ((-1, 2), (1, -2)), "strides": (1, 2)}),
    "1x1": ((3, 4, 5, 6), (1, 1, 6, 7), {}),
    "1x1 strided": ((3, 5, 6, 2), (1, 1, 2, 7), {"strides": 2}),
    "grouped": ((3, 7, 6, 6), (3, 3, 2, 9), {"groups": 3}),
    "grouped, strided": ((3, 7, 6, 4), (3, 3, 2, 6), {"groups": 2, "strides": 2}),
    "depthwise": ((3, 7, 6, 4), (3, 3, 1, 4), {"groups": 4}),
    "depthwise, two each": ((3, 8, 6, 3), (3, 2, 1, 6), {"groups": 3, "strides": (2, 1), "dilation": (1, 2)}),
    "3d": ((2, 5, 4, 6, 2), (3, 2, 3, 2, 3), {"strides": (1, 2, 2)}),
    "3d dilated": ((2, 6, 7, 6, 2), (2, 3, 2, 2, 3), {"dilation": (2, 1, 2), "padding": "VALID"}),
    "3d by planes": ((2, 5, 8, 9, 32), (3, 3, 3, 32, 34), {"strides": (2, 1, 1)}),
    "grouped, merged": ((3, 6, 5, 32), (3, 3, 4, 40), {"groups": 8, "padding": ((1, 2), (0, -1))}),
    "grouped, winograd": ((4, 9, 8, 48), (3, 3, 8, 48), {"groups": 6}),
    "depthwise, strided": ((3, 9, 8, 4), (4, 3, 1, 4), {"groups": 4, "strides": (2, 3), "padding": ((1, 3), (-1, 2))}),
    "depthwise, many parts": ((6, 8, 5, 3), (3, 3, 1, 3), {"groups": 3}),
    "grouped, one-sided": ((4, 6, 5, 8), (3, 3, 2, 8), {"groups": 4, "dilation": (1, 2), "padding": ((2, 1), (4, 0))}),
    "3d strided": ((2, 5, 4, 5, 18), (3, 3, 3, 18, 2), {"strides": 2, "padding": ((1, 1), (0, 2), (2, 0))}),
    "many chunks": ((6, 33, 32, 9), (3, 3, 9, 3), {}),
    "one input": ((12, 33, 32, 1), (3, 3, 1, 3), {"strides": (1, 2), "padding": ((1, -2), (0, 3))}),
    "few outputs": ((3, 7, 6, 20), (3, 2, 20, 2), {"dilation": (1, 2)}),
    "few outputs, negative padding": ((3, 7, 6, 20), (3, 2, 20, 2), {"padding": ((-1, 2), (3, -1))}),
    "few outputs, 1d": ((3, 9, 12), (3, 12, 2), {"padding": "CAUSAL"}),
    "winograd": ((4, 9, 8, 48), (3, 3, 48, 50), {}),
    "winograd, windows of two": ((4, 13, 8, 48), (2, 3, 48, 50), {}),
    "winograd, strided": ((4, 17, 16, 64), (4, 4, 64, 65), {"strides": 2}),
    "winograd, two strides": ((4, 16, 16, 64), (4, 3, 64, 65), {"strides": (2, 1)}),
    "winograd, many chunks": ((3, 33, 32, 34), (3, 3, 34, 64), {}),
    "winograd, valid": ((3, 11, 12, 64), (3, 3, 64, 33), {"padding": "VALID"}),
    "winograd, explicit": ((4, 12, 12, 48), (3, 3, 48, 48), {"padding": ((3, -1), (-2, 0))}),
}
TRANSPOSED = {
    "1d": ((3, 5, 4), (4, 4, 3), {"strides": 2}),
    "2d": ((4, 5, 4, 3), (4, 4, 3, 2), {"strides": 2}),
    "2d odd window": ((3, 4, 5, 2), (3, 5, 2, 3), {"strides": (2, 3)}),
    "2d window below the stride": ((3, 4, 5, 2), (1, 2, 2, 3), {"strides": 3}),
    "2d valid": ((3, 4, 5, 2), (4, 3, 2, 3), {"strides": (3, 2), "padding": "VALID"}),
    "2d explicit": ((3, 4, 5, 2), (4, 4, 2, 3), {"strides": 2, "padding": ((2, 2), (1, 3))}),
    "2d cropped": ((3, 4, 5, 2), (3, 3, 2, 3), {"strides": 2, "padding": ((0, 1), (-1, 2))}),
    "2d stride 1": ((3, 4, 5, 2), (3, 2, 2, 3), {}),
    "2d many outputs": ((3, 4, 5, 2), (3, 5, 2, 40), {"strides": (2, 3), "padding": ((2, 2), (1, 4))}),
    "winograd": ((4, 9, 8, 48), (3, 3, 48, 50), {}),
    "3d": ((2, 3, 2, 3, 2), (3, 2, 4, 2, 3), {"strides": 2}),
}


def _arrays(x_shape, kernel_shape, dtype=np.float32):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in (x_shape, kernel_shape))


def _reference(x, kernel, *, strides=1, padding="SAME", dilation=1, groups=1):
    space = x.ndim - 2

    def each(n):
        return (n,) * space if isinstance(n, int) else n

    reach = [d * (k - 1) + 1 for d, k in zip(each(dilation), kernel.shape, strict=False)]
    pads = [(r - 1, 0) for r in reach] if padding == "CAUSAL" else padding
    order = ("N" + "DHW"[3 - space :] + "C", "DHW"[3 - space :] + "IO", "N" + "DHW"[3 - space :] + "C")
    return lax.conv_general_dilated(
        x,
        kernel,
        each(strides),
        pads,
        rhs_dilation=each(dilation),
        dimension_numbers=order,
        feature_group_count=groups,
    )


def _reference_transposed(x, kernel, *, strides=1, padding="SAME"):
    strides = (strides,) * (x.ndim - 2) if isinstance(strides, int) else strides
    order = ("N" + "DHW"[5 - x.ndim :] + "C", "DHW"[5 - x.ndim :] + "IO", "N" + "DHW"[5 - x.ndim :] + "C")
    return lax.conv_transpose(x, kernel, strides, padding, dimension_numbers=order)


def _value_and_gradients(f, x, kernel):
    """The value, and both gradients of a function of it that is neither linear nor symmetric."""

    @jax.jit
    def run(x, kernel):
        y, pull = jax.vjp(f, x, kernel)
        weights = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
        return y, pull(weights)

    return jax.device_get(run(x, kernel))


def _assert_close(got, want, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.float32(a), np.float32(b), **tolerance), got, want)


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradients_are_those_of_xla(case):
    x_shape, kernel_shape, arguments = CASES[case]
    x, kernel = _arrays(x_shape, kernel_shape)
    got = _value_and_gradients(lambda x, w: conv(x, w, **arguments), x, kernel)
    want = _value_and_gradients(lambda x, w: _reference(x, w, **arguments), x, kernel)
    assert got[0].shape == want[0].shape
    largest = max(
        np.abs(leaf).max() for leaf in jax.tree.leaves(want)
    )  # of sums of thousands of terms, many are near 0
    _assert_close(got, want, rtol=1e-4, atol=max(1e-4, 1e-5 * largest))


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_value_and_gradients_are_those_of_xla(case):
    x_shape, kernel_shape, arguments = TRANSPOSED[case]
    x, kernel = _arrays(x_shape, kernel_shape)
    got = _value_and_gradients(lambda x, w: conv_transpose(x, w, **arguments), x, kernel)
    want = _value_and_gradients(lambda x, w: _reference_transposed(x, w, **arguments), x, kernel)
    assert got[0].shape == want[0].shape
    _assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_strided_with_many_channels_goes_by_patches():
    x, kernel = _arrays((3, 9, 8, 20), (4, 3, 20, 6))
    got = _value_and_gradients(lambda x, w: conv(x, w, strides=2, dilation=(1, 2)), x, kernel)
    want = _value_and_gradients(lambda x, w: _reference(x, w, strides=(2, 2), dilation=(1, 2)), x, kernel)
    _assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_rounds_once(dtype):
    """Computed in float32 and rounded at the end: nearer to the exact value than a sum in half precision."""
    x, kernel = _arrays((3, 6, 6, 8), (3, 3, 8, 4), dtype)
    got = _value_and_gradients(conv, x, kernel)
    want = _value_and_gradients(_reference, *(a.astype(jnp.float32) for a in (x, kernel)))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(got))
    precision = 2 * float(jnp.finfo(dtype).eps)
    _assert_close(got, want, rtol=precision, atol=30 * precision)


def _inner(f, x, kernel):
    """Gradients of f as a training step would take them."""
    return jax.grad(lambda x, w: jnp.sin(f(x, w)).sum(), (0, 1))(x, kernel)


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("winograd")])
def test_rounding_of_winograd_is_that_of_xla(case):
    """Errors against float64: at most three times those of XLA's own form and of its gradients, which add fewer."""
    x_shape, kernel_shape, arguments = CASES[case]
    x, kernel = _arrays(x_shape, kernel_shape)
    assert "convolution" not in jax.jit(lambda x, w: conv(x, w, **arguments)).lower(x, kernel).as_text()
    got = _value_and_gradients(lambda x, w: conv(x, w, **arguments), x, kernel)
    theirs = _value_and_gradients(lambda x, w: _reference(x, w, **arguments), x, kernel)
    with jax.enable_x64(True):
        wide = (jnp.asarray(np.asarray(a), jnp.float64) for a in (x, kernel))
        exact = _value_and_gradients(lambda x, w: _reference(x, w, **arguments), *wide)
    for mine, other, true in zip(*map(jax.tree.leaves, (got, theirs, exact)), strict=True):
        assert np.square(mine - true).mean() < 9 * np.square(other - true).mean()


def test_large_images_keep_a_form_that_needs_no_memory():
    """Winograd's takes four times the memory of an image; there it is slower too."""
    kernel = jnp.zeros((3, 3, 64, 64))
    for size, expected in ((64, False), (65, True)):
        text = jax.jit(conv).lower(jnp.zeros((1, size, size, 64)), kernel).as_text()
        assert ("convolution" in text) is expected


def test_a_shifted_winograd_is_causal():
    """Its outputs do not depend on rows below, in any bit, nor on neighbours beyond their windows."""
    x, kernel = _arrays((2, 12, 12, 48), (3, 3, 48, 48))
    f = jax.jit(lambda x: conv(x, kernel, padding=((2, 0), (1, 1))))
    for row, column in ((4, 5), (5, 4), (7, 7)):
        moved = np.argwhere(np.asarray(f(x) != f(x.at[:, row, column].add(3.0))).any((0, -1)))
        window = {(row + i, column + j) for i in range(3) for j in (-1, 0, 1)}
        assert set(map(tuple, moved)) == window


def test_a_transposed_winograd_reaches_as_far_as_its_window():
    """Also where the stride does not divide the window, and the small kernels are filled up with zeros."""
    for window in (3, 4):
        x, kernel = _arrays((4, 8, 8, 48), (window, window, 48, 16))
        f = jax.jit(lambda x, kernel=kernel: conv_transpose(x, kernel, strides=2, padding="VALID"))
        moved = np.argwhere(np.asarray(f(x) != f(x.at[:, 4, 4].add(1e3))).any((0, -1)))
        assert set(map(tuple, moved)) == {(8 + i, 8 + j) for i in range(window) for j in range(window)}


def test_what_no_window_sees_has_no_part_in_gradients():
    """An odd number of outputs leaves half a tile; what that would read may be infinite."""
    x, kernel = _arrays((4, 12, 8, 64), (3, 3, 64, 64))
    f = jax.jit(jax.grad(lambda w, x: jnp.sin(conv(x, w, padding=((0, -1), (1, 1)))).sum()))
    spoilt = x.at[:, -1].set(jnp.inf)
    assert jnp.isfinite(f(kernel, spoilt)).all()
    np.testing.assert_array_equal(f(kernel, spoilt), f(kernel, x))


def test_a_mask_hides_to_the_last_bit_between_many_channels():
    """A zero of the kernel hides its input: Winograd's form would leave a rounding error, so it is not taken."""
    mask = np.ones((3, 3, 1, 1), np.float32)
    mask[1, 1:] = mask[2] = 0
    x, kernel = _arrays((2, 12, 12, 48), (3, 3, 48, 48))
    hidden = x.at[:, 6, 6].add(100.0)
    f = jax.jit(lambda x: Conv(48, (3, 3), mask=mask).apply({"params": {"kernel": kernel, "bias": jnp.zeros(48)}}, x))
    np.testing.assert_array_equal(f(x)[:, :6], f(hidden)[:, :6])
    np.testing.assert_array_equal(f(x)[:, 6, :7], f(hidden)[:, 6, :7])
    assert (f(x)[:, 6, 7] != f(hidden)[:, 6, 7]).any()


def _penalty(f, **arguments):
    """The gradients of a gradient's norm, as penalties of critics and unrolled steps take them."""

    def norm(x, w):
        gradients = jax.grad(lambda x, w: jnp.sin(f(x, w, **arguments)).sum(), (0, 1))(x, w)
        return sum(jnp.square(g).mean() for g in gradients)

    return jax.grad(norm, (0, 1))


SECOND = {
    **{name: (*case, conv, _reference) for name, case in CASES.items()},
    **{f"transposed {name}": (*case, conv_transpose, _reference_transposed) for name, case in TRANSPOSED.items()},
}


# One of each form; the others are compiled in the slow suite.
QUICK_SECOND = ("2d even window", "winograd", "grouped, strided", "transposed 2d odd window")


@pytest.mark.parametrize("case", [pytest.param(n, marks=() if n in QUICK_SECOND else pytest.mark.slow) for n in SECOND])
def test_second_derivatives_are_those_of_xla(case):
    x_shape, kernel_shape, arguments, ours, theirs = SECOND[case]
    x, kernel = _arrays(x_shape, kernel_shape)
    got, want = (jax.jit(_penalty(f, **arguments))(x, kernel / 10) for f in (ours, theirs))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5 * float(jnp.abs(b).max()))


@pytest.mark.slow_cases("3-transposed", "48-conv", "48-transposed")
@pytest.mark.parametrize("f", [conv, lambda x, w: conv_transpose(x, w, strides=2)], ids=["conv", "transposed"])
@pytest.mark.parametrize("channels", [3, 48])
def test_gradients_inside_scan_vmap_and_checkpoint(f, channels):
    x, kernel = _arrays((4, 8, 8, channels), (3, 3, channels, channels))
    kernel /= 3 * channels**0.5
    want = _inner(f, x, kernel)

    @jax.jit
    def run(x, kernel):
        scanned = jax.lax.scan(lambda carry, _: (carry, _inner(f, x, carry)), kernel, None, length=2)[1]
        mapped = jax.vmap(lambda x: _inner(f, x, kernel))(jnp.stack([x, 2 * x]))
        return scanned, mapped, _inner(jax.checkpoint(f), x, kernel)

    scanned, mapped, recomputed = run(x, kernel)
    for i in range(2):
        _assert_close(jax.tree.map(lambda g, i=i: g[i], scanned), want, rtol=1e-4, atol=1e-4)
    _assert_close(jax.tree.map(lambda g: g[0], mapped), want, rtol=1e-4, atol=1e-4)
    _assert_close(recomputed, want, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["depthwise, many parts", "grouped", "grouped, strided", "3d strided", "one input"])
def test_other_kinds_inside_scan_vmap_and_a_mesh(case):
    x_shape, kernel_shape, arguments = CASES[case]
    x, kernel = _arrays((8, *x_shape[1:]), kernel_shape)
    f, mesh = partial(conv, **arguments), jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    @jax.jit
    def run(x, kernel):
        scanned = jax.lax.scan(lambda carry, _: (carry, _inner(f, x, carry)), kernel, None, length=2)[1]
        mapped = jax.vmap(partial(_inner, f))(jnp.stack([x, 2 * x]), jnp.stack([kernel, kernel]))
        with over_devices(mesh):
            return scanned, mapped, _inner(f, x, kernel)

    scanned, mapped, cut = run(x, kernel)
    want = _inner(partial(_reference, **_tuples(arguments, x.ndim - 2)), x, kernel)
    for got in (jax.tree.map(lambda g: g[1], scanned), jax.tree.map(lambda g: g[0], mapped), cut):
        _assert_close(got, want, rtol=1e-3, atol=1e-3)


def _tuples(arguments, space):
    """Strides and dilations as XLA's own convolution takes them, one number for each dimension."""
    names = ("strides", "dilation")
    return {n: (v,) * space if n in names and isinstance(v, int) else v for n, v in arguments.items()}


def test_what_is_made_in_memory_is_no_part_of_the_loop_that_reads_it():
    def twice(x):
        y = in_memory(x * 2)
        return y[1:] + y[:-1]

    program = jax.jit(twice).lower(jnp.arange(9.0)).compile()
    assert " call(" in program.as_text()
    np.testing.assert_array_equal(program(jnp.arange(9.0)), 2 + 4 * jnp.arange(8.0))


def test_forward_mode_inside_plain():
    x, kernel = _arrays((2, 5, 5, 2), (3, 3, 2, 3))
    f = jax.jit(conv)  # traced before and again inside: the context is part of the cache's key
    f(x, kernel)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, (x, kernel), (x, kernel))
    with plain():
        y, tangent = jax.jvp(f, (x, kernel), (x, kernel))
    _assert_close(tangent, 2 * y, rtol=1e-5, atol=1e-5)  # bilinear: along itself it grows twice


@pytest.mark.parametrize("size", [16, 6])  # what the eight devices divide, and what they do not
def test_cut_over_devices_is_whole(size):
    x, kernel = _arrays((size, 6, 6, 3), (3, 3, 3, 4))
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def cut(x, w):
        with over_devices(mesh):
            return conv(x, w, strides=2)

    got = _value_and_gradients(cut, x, kernel)
    _assert_close(got, _value_and_gradients(lambda x, w: conv(x, w, strides=2), x, kernel), rtol=1e-4, atol=1e-4)
    ours, whole = (jax.jit(_penalty(f))(x, kernel / 3) for f in (cut, lambda x, w: conv(x, w, strides=2)))
    _assert_close(ours, whole, rtol=1e-3, atol=1e-3)
    if size == 16:
        assert jax.jit(cut)(x, kernel).sharding.spec[0] == "data"


def test_no_gradient_is_a_convolution_with_a_batch_of_channels():
    """The form that XLA:CPU makes slow inside loops: images whose first axis is not the batch."""
    x, kernel = _arrays((4, 5, 6, 3), (3, 3, 3, 2))
    strided, transposed = (partial(f, strides=2) for f in (conv, conv_transpose))
    programs = [partial(_inner, strided), partial(_inner, transposed), _penalty(strided), _penalty(transposed)]
    text = "\n".join(jax.jit(program).lower(x, kernel).as_text() for program in programs)
    assert "convolution" in text
    for line in text.splitlines():
        if "stablehlo.convolution" in line:
            assert "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]" in line


@pytest.mark.parametrize("arguments", [{}, {"strides": 2, "padding": "VALID"}, {"use_bias": False}])
def test_modules_are_linens(arguments):
    x = _arrays((2, 7, 7, 4), (1,))[0]
    for mine, linen in (
        (Conv(6, (3, 3), **arguments), nn.Conv),
        (ConvTranspose(6, (3, 3), **arguments), nn.ConvTranspose),
    ):
        theirs = linen(6, (3, 3), **{**arguments, "strides": (arguments.get("strides", 1),) * 2})
        variables = theirs.init(jax.random.key(0), x)
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, mine.init(jax.random.key(0), x))
        np.testing.assert_allclose(mine.apply(variables, x), theirs.apply(variables, x), rtol=1e-4, atol=1e-5)


def test_mask_makes_a_convolution_causal():
    mask = np.ones((3, 3, 1, 1))
    mask[1, 1:] = mask[2] = 0  # raster order: what is above, and to the left
    layer = Conv(2, (3, 3), mask=mask)
    x = _arrays((1, 5, 5, 1), (1,))[0]
    variables = layer.init(jax.random.key(0), x)
    jacobian = jax.jit(jax.jacrev(lambda x: layer.apply(variables, x)[..., 0].ravel()))(x).reshape(25, 25)
    assert (jnp.triu(jacobian) == 0).all() and (jacobian != 0).any()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"strides": 0}, "strides.*0"),
        ({"strides": (1, 2, 3)}, "strides"),
        ({"dilation": -1}, "dilation"),
        ({"groups": 3}, "3 groups"),
        ({"padding": "SAEM"}, "SAME"),
        ({"padding": ((0, 0),)}, "padding"),
        ({"padding": -4}, "does not fit"),
    ],
)
def test_what_does_not_fit_is_named(arguments, named):
    x, kernel = _arrays((2, 6, 6, 4), (3, 3, 4, 6))
    with pytest.raises(ValueError, match=named):
        conv(x, kernel, **arguments)
    with pytest.raises(ValueError, match="kernel"):
        conv(x, kernel[0])
    with pytest.raises(ValueError, match="kernel"):
        conv_transpose(x[..., :3], kernel)
