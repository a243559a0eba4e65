"""One step of each recurrence, elementwise, with its gradient written out: the LSTM, the GRU and Elman's network.

The equations stand in `gen_models/nn/recurrent.py`. The products x W and h U are made outside, by what runs a step: for
a whole sequence `gen_models/nn/_recurrent_cpu.py`, for rows of an image `gen_models/nn/row_lstm.py`, and along its
diagonals `gen_models/nn/diagonal_lstm.py`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Weights(NamedTuple):
    """Of a layer with n gates (LSTM 4, GRU 3, Elman 1); `recurrent_bias` is the GRU's b', None for others."""

    kernel: Float[Array, "c n*h"]
    recurrent_kernel: Float[Array, "h n*h"]
    bias: Float[Array, "n*h"]
    recurrent_bias: Float[Array, "h"] | None = None

    def cast(self, dtype) -> "Weights":
        """The same in another dtype."""
        return jax.tree.map(lambda w: w.astype(dtype), self)


class Cell(NamedTuple):
    """A recurrence of h and perhaps more states, by its elementwise part: the products are made outside.

    forward(z, a, weights, carry) -> (carry, saved): z = x W and a = h U are [B, n H].
    backward(saved, before, after, dcarry) -> (dz, da, dcarry): gradients with respect to z, to a (None: as dz) and to
    the carry, without what goes through a. `before` and `after` are h around the step.
    """

    gates: int
    states: int
    second_bias: bool
    forward: Callable
    backward: Callable


def lstm_cell(z: Array, c: Array) -> tuple[Array, Array, tuple[Array, ...]]:
    """h, c and the gates (i, f, g, o) after a step, from the gates' inputs z [..., 4 H] and c [..., H] before it."""
    n = c.shape[-1]
    # One tanh serves all gates, as s(v) = (1 + tanh(v / 2)) / 2: g alone is the tanh of its input itself.
    scale = jnp.where(jnp.arange(4 * n) // n == 2, 1.0, 0.5).astype(z.dtype)
    i, f, g, o = jnp.split(jnp.tanh(scale * z), 4, -1)
    i, f, o = (0.5 + 0.5 * v for v in (i, f, o))
    c = f * c + i * g
    return o * jnp.tanh(c), c, (i, f, g, o)


def lstm_cell_gradient(gates: tuple[Array, ...], c: Array, dh: Array, dc: Array) -> tuple[Array, Array]:
    """Gradients with respect to z [..., 4 H] and to c [..., H] before a step of `lstm_cell`.

    Args:
      gates: (i, f, g, o), as the step gave them.
      c: before the step.
      dh: gradient with respect to h after the step.
      dc: gradient with respect to c after the step, without what goes through h.
    """
    i, f, g, o = gates
    squashed = jnp.tanh(f * c + i * g)  # again: faster than to keep it
    dc = dc + dh * o * (1 - squashed * squashed)
    # The slope of s is s (1 - s), and that of tanh is 1 - tanh^2.
    dz = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o)]
    return jnp.concatenate(dz, -1), dc * f


def _lstm_forward(z, a, weights, carry):
    _, c = carry
    h, after, gates = lstm_cell(z + a + weights.bias, c)
    return (h, after), (*gates, c)


def _lstm_backward(saved, before, after, dcarry):
    *gates, c = saved
    dh, dc = dcarry
    dz, dc = lstm_cell_gradient(tuple(gates), c, dh, dc)
    return dz, None, (jnp.zeros_like(dh), dc)


def _gru_forward(z, a, weights, carry):
    (h,) = carry
    z = z + weights.bias
    (zr, zu, zn), (ar, au, an) = jnp.split(z, 3, -1), jnp.split(a, 3, -1)
    r, u = (0.5 + 0.5 * jnp.tanh(0.5 * v) for v in (zr + ar, zu + au))
    an = an + weights.recurrent_bias
    n = jnp.tanh(zn + r * an)
    return (n + u * (h - n),), (r, u, n, an)


def _gru_backward(saved, before, after, dcarry):
    r, u, n, an = saved
    (dh,) = dcarry
    dn = dh * (1 - u) * (1 - n * n)
    du = dh * (before - n) * u * (1 - u)
    dr = dn * an * r * (1 - r)
    return jnp.concatenate([dr, du, dn], -1), jnp.concatenate([dr, du, dn * r], -1), (dh * u,)


def _elman_cell(activate, slope):
    def forward(z, a, weights, carry):
        return (activate(z + a + weights.bias),), ()

    def backward(saved, before, after, dcarry):
        return dcarry[0] * slope(after), None, (jnp.zeros_like(dcarry[0]),)

    return Cell(1, 1, False, forward, backward)


LSTM_CELL = Cell(4, 2, False, _lstm_forward, _lstm_backward)
GRU_CELL = Cell(3, 1, True, _gru_forward, _gru_backward)
ELMAN_CELLS = {
    "tanh": _elman_cell(jnp.tanh, lambda h: 1 - h * h),
    "relu": _elman_cell(jax.nn.relu, lambda h: (h > 0).astype(h.dtype)),
    "linear": _elman_cell(lambda v: v, jnp.ones_like),
}
