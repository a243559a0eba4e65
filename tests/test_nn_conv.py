"""Convolutions: XLA's own in value and gradient, whatever the strides, paddings, dilations, groups and dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.sharding import AxisType, PartitionSpec

from gen_models.nn.conv import Conv, ConvTranspose, conv, conv_transpose, over_devices, plain

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
    "many chunks": ((6, 33, 32, 2), (3, 3, 2, 3), {}),
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
        weights = jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
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
    _assert_close(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_value_and_gradients_are_those_of_xla(case):
    x_shape, kernel_shape, arguments = TRANSPOSED[case]
    x, kernel = _arrays(x_shape, kernel_shape)
    got = _value_and_gradients(lambda x, w: conv_transpose(x, w, **arguments), x, kernel)
    want = _value_and_gradients(lambda x, w: _reference_transposed(x, w, **arguments), x, kernel)
    assert got[0].shape == want[0].shape
    _assert_close(got, want, rtol=1e-4, atol=1e-4)
