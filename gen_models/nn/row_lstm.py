"""LSTMs over images, a row at a time: the Row LSTM, and the recurrence that the Diagonal BiLSTM shares with it.

van den Oord et al., Pixel Recurrent Neural Networks (2016), section 3.1, eq. 3; x_t and h_t are whole rows, * is a
convolution along them, s the logistic function:

    (i, f, g, o)_t = K_is * x_t + K_ss * h_{t-1} + b
    c_t = s(f_t) c_{t-1} + s(i_t) tanh(g_t),   h_t = s(o_t) tanh(c_t)

The gradient is written out for CPUs as in `gen_models/nn/recurrent.py`: K_is is one product for all rows before the
loop, the loop backwards computes the gates' gradients alone, and each parameter's is one product after it. Contexts are
those of `gen_models/nn/devices.py`: `over_devices(mesh)` cuts the batch, and inside `plain()`, as on other platforms
than a CPU, this is an ordinary `lax.scan`. Half precision: on a CPU it is computed in float32 and rounded once.

Differs from the paper: the forget gate's bias begins at 1, and taps of K_is that a mask would hide are not there.
"""

from dataclasses import KW_ONLY
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.nn._cells import lstm_cell, lstm_cell_gradient
from gen_models.nn._recurrent_cpu import ALL, TIME, cut, transposed
from gen_models.nn.causal import At, causal_mask, empty_row, kept_window
from gen_models.nn.devices import DATA_AXIS, is_plain, mesh_for


class RowWeights(NamedTuple):
    """Columns are the gates i, f, g, o; rows are those of each tap's inputs, one tap after another."""

    kernel: Float[Array, "taps*c 4*h"]
    recurrent_kernel: Float[Array, "taps*h 4*h"]
    bias: Float[Array, "4*h"]

    def cast(self, dtype) -> "RowWeights":
        """The same in another dtype."""
        return jax.tree.map(lambda w: w.astype(dtype), self)


class Taps(NamedTuple):
    """Where a position reads: x at these offsets in its own row, h at those in the row before."""

    inputs: tuple[int, ...]
    states: tuple[int, ...]


def lstm_over_rows(
    x: Float[Array, "t b p c"], weights: RowWeights, taps: Taps, begins: np.ndarray | None = None
) -> Float[Array, "t b p h"]:
    """States h of an LSTM over T rows of P positions; zeros stand before the first row and beyond a row's ends.

    Args:
      x: [T, B, P, C].
      weights: kernels [inputs * C, 4 H] and [states * H, 4 H], bias [4 H].
      taps: which positions a position reads.
      begins: [T, P] booleans; where true, a position's own h and c before it count as zeros. Other taps see them.

    Raises:
      ValueError: the weights' shapes do not fit.
    """
    h = weights.bias.shape[0] // 4
    want = [(len(taps.inputs) * x.shape[-1], 4 * h), (len(taps.states) * h, 4 * h), (4 * h,)]
    if [w.shape for w in weights] != want:
        raise ValueError(f"for x {x.shape} and {taps} weights must be {want}, got {[w.shape for w in weights]}")
    dtype = jnp.result_type(x, *weights)
    wide = jnp.promote_types(dtype, jnp.float32)
    keep = None if begins is None else jnp.asarray(~begins[:, None, :, None], wide)
    if is_plain():
        return _forward(taps, x.astype(dtype), weights.cast(dtype), keep)[0].astype(dtype)
    return _loop(taps, mesh_for(x.shape[1]), x.astype(wide), weights.cast(wide), keep).astype(dtype)


def forget_bias(key: Any, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
    """Biases [..., 4 H]: 1 for the forget gate, else 0."""
    h = shape[-1] // 4
    return jnp.zeros(shape, dtype).at[..., h : 2 * h].set(1.0)


def input_mask(taps: int, inputs: int, features: int, colours: int) -> np.ndarray:
    """[taps, inputs, 4 * features]: pixels to the left are seen, of the pixel itself (last) what mask B allows.

    In each gate the features belong to the colours in equal parts, as in `causal_mask`: so they do in h and c.
    """
    mask = causal_mask((1, 2 * taps - 1), inputs, features, "B", colours)[0, :taps]
    return np.tile(mask, (1, 1, 4))


class RowLSTM(nn.Module):
    """A Row LSTM: a pixel sees its row up to itself within `window`, and a triangle above that widens with each row.

    Several channels: mask B is that of the input; h of the row above is seen whole, as its pixels are known.
    """

    features: int  # h
    _: KW_ONLY
    window: int = 3  # k of both convolutions, odd
    colours: int = 1
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """h for each pixel, in one of the three ways of `gen_models/nn/causal.py`."""
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"a Row LSTM's window is odd and positive, got {self.window}")
        k, middle, inputs, h = self.window, self.window // 2, x.shape[-1], self.features
        kernel = self.param("kernel", self.kernel_init, (middle + 1, inputs, 4 * h), jnp.float32)
        kernel = (kernel * input_mask(middle + 1, inputs, h, self.colours)).reshape(-1, 4 * h)
        recurrent = self.param("recurrent_kernel", self.kernel_init, (k, h, 4 * h), jnp.float32).reshape(-1, 4 * h)
        bias = self.param("bias", forget_bias, (4 * h,), jnp.float32)
        x, *each = nn.dtypes.promote_dtype(x, kernel, recurrent, bias, dtype=self.dtype)
        weights = RowWeights(*each)
        if at is None:
            taps = Taps(tuple(range(-middle, 1)), tuple(range(-middle, middle + 1)))
            return lstm_over_rows(x.swapaxes(0, 1), weights, taps).swapaxes(0, 1)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        # h and c side by side, with columns of zeros at both ends.
        shape = (x.shape[0], at.size[1] + 2 * middle, 2 * h)
        above = self.variable("cache", "above", jnp.zeros, shape, wide)
        row = self.variable("cache", "row", jnp.zeros, shape, wide)
        seen = kept_window(self, x, at, 1, k)
        if seen is None:
            above.value = row.value
            return empty_row(x, at, h)
        assert at.column is not None
        states = lax.dynamic_slice_in_dim(above.value, at.column, k, 1)
        seen = seen[:, 0, : middle + 1].reshape(x.shape[0], -1).astype(wide)
        read = jnp.concatenate([seen, states[..., :h].reshape(x.shape[0], -1)], -1)
        z = read @ jnp.concatenate([weights.kernel, weights.recurrent_kernel]).astype(wide) + weights.bias.astype(wide)
        new, c, _ = lstm_cell(z, states[:, middle, h:])
        both = jnp.concatenate([new, c], -1)[:, None]
        row.value = lax.dynamic_update_slice_in_dim(row.value, both, at.column + middle, 1)
        return new[:, None, None].astype(x.dtype)


def _shifted(x, offset):
    """y[..., p, :] = x[..., p + offset, :]."""
    if offset == 0:
        return x
    return lax.pad(x, jnp.zeros([], x.dtype), [*[(0, 0, 0)] * (x.ndim - 2), (-offset, offset, 0), (0, 0, 0)])


def _read(x, offsets, keep=None):
    """What each position reads, side by side."""
    kept = x if keep is None else x * keep
    return jnp.concatenate([_shifted(x, o) if o else kept for o in offsets], -1)


def _unread(gradient, offsets, keep=None):
    """The adjoint of `_read`."""
    parts = jnp.split(gradient, len(offsets), -1)
    kept = [p if keep is None or o else p * keep for p, o in zip(parts, offsets, strict=True)]
    return sum(_shifted(p, -o) for p, o in zip(kept, offsets, strict=True))


def _forward(taps: Taps, x, weights: RowWeights, keep):
    """All h [T, B, P, H], and what the backward pass reads of each step."""
    wide = jnp.promote_types(x.dtype, jnp.float32)

    def product(x, kernel):
        return jnp.dot(x.astype(kernel.dtype), kernel, preferred_element_type=wide)

    z = product(_read(x, taps.inputs), weights.kernel) + weights.bias

    def step(carry, now):
        (h, c), (z, keep) = carry, now
        c = c if keep is None else c * keep
        h, after, gates = lstm_cell(z + product(_read(h, taps.states, keep), weights.recurrent_kernel), c)
        return (h, after), (h, (*gates, c))

    zeros = jnp.zeros((*x.shape[1:-1], weights.bias.shape[0] // 4), wide)
    return lax.scan(step, (zeros, zeros), (z, keep))[1]


def _backward(taps: Taps, x, weights: RowWeights, keep, h, saved, dh):
    """Gradients with respect to x and the weights."""
    back = transposed(weights.recurrent_kernel)

    def step(carry, now):
        dh, (*gates, c), keep = now
        dz, dc = lstm_cell_gradient(tuple(gates), c, dh + carry[0], carry[1])
        dc = dc if keep is None else dc * keep
        return (_unread(dz @ back, taps.states, keep), dc), dz

    zeros = jnp.zeros_like(h[0])
    _, dz = lax.scan(step, (zeros, zeros), (dh, saved, keep), reverse=True)
    before = jnp.concatenate([zeros[None], h[:-1]])
    read = _read(x, taps.inputs)
    dz = dz.reshape(-1, dz.shape[-1])

    def gradient(read):
        return transposed(read.reshape(-1, read.shape[-1])) @ dz

    ones = jnp.ones(dz.shape[0], dz.dtype)  # a product is a faster sum over rows
    dweights = RowWeights(gradient(read), gradient(_read(before, taps.states, keep)), ones @ dz)
    return _unread((dz @ transposed(weights.kernel)).reshape(read.shape), taps.inputs), dweights


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _loop(taps: Taps, mesh, x, weights: RowWeights, keep):
    """All h. What only a backward pass reads, XLA removes where there is none."""
    return _loop_forward(taps, mesh, x, weights, keep)[0]


def _loop_forward(taps, mesh, x, weights, keep):
    h, saved = cut(partial(_forward, taps), mesh, (TIME, ALL, ALL), TIME)(x, weights, keep)
    return h, (x, weights, keep, h, saved)


def _loop_backward(taps, mesh, kept, dh):
    def backward(*arguments):
        dx, dweights = _backward(taps, *arguments)
        return dx, dweights if mesh is None else lax.psum(dweights, DATA_AXIS)

    return *cut(backward, mesh, (TIME, ALL, ALL, TIME, TIME, TIME), (TIME, ALL))(*kept, dh), None


_loop.defvjp(_loop_forward, _loop_backward)
