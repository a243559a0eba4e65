"""Recurrent layers over whole sequences: LSTM, GRU and Elman networks, whose gradients are fast on a CPU.

A layer is a function (x [B, T, C], carry, weights) -> (outputs [B, T, H], carry); `*_step` is one step of it, so that a
sample drawn step by step is the whole sequence. With z_t = x_t W + b, a_t = h_{t-1} U and s the logistic function:

- `lstm` (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000), columns in the order i, f, g, o:
  c_t = s(f) c_{t-1} + s(i) tanh(g), h_t = s(o) tanh(c_t), where (i, f, g, o) = z_t + a_t.
- `gru` (Cho et al., 2014, in the form of cuDNN and PyTorch: the reset gate after the product), order r, u, n:
  n_t = tanh(z_n + s(r) (a_n + b')), h_t = (1 - s(u)) n_t + s(u) h_{t-1}.
- `elman` (Elman, Finding Structure in Time, 1990): h_t = tanh(z_t + a_t), or relu.

What makes them fast on a CPU: x W for all steps is one product before the loop; a custom gradient's loop computes only
the gradients of the gates, and the parameters' gradients are one product each, over all steps, after it; a matrix that
a product needs transposed is transposed in memory first. What the backward pass reads is kept one array for each gate:
XLA:CPU makes slow loops of slices and concatenations. One tanh serves all gates: s(v) = (1 + tanh(v / 2)) / 2.

Contexts are those of `gen_models.nn.conv`: `over_devices(mesh)` cuts the batch over a mesh, and inside `plain()`, as on
other platforms than a CPU, the loop is an ordinary `lax.scan`, which can be differentiated forward too.

Products are made in the dtype of x and weights; sums, gates and the carry are in float32 at least. On a CPU, half
precision is computed in float32 and the outputs are rounded once.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from gen_models.errors import unknown
from gen_models.nn.devices import DATA_AXIS, is_plain, mesh_for


class Weights(NamedTuple):
    """Of a layer with n gates (LSTM 4, GRU 3, Elman 1); `recurrent_bias` is the GRU's b', None for others."""

    kernel: Float[Array, "c n*h"]
    recurrent_kernel: Float[Array, "h n*h"]
    bias: Float[Array, "n*h"]
    recurrent_bias: Float[Array, "h"] | None = None

    def cast(self, dtype) -> "Weights":
        """The same in another dtype."""
        return jax.tree.map(lambda w: w.astype(dtype), self)


Steps = Float[Array, "b t width"]
State = Float[Array, "b width"]  # or one step's input
Pair = tuple[State, State]
Lengths = Int[Array, "b"] | None


def lstm(
    x: Steps, carry: Pair | None, weights: Weights, *, reverse: bool = False, lengths: Lengths = None
) -> tuple[Steps, Pair]:
    """Outputs h [B, T, H] and the last carry (h, c), each [B, H].

    Args:
      x: [B, T, C].
      carry: (h, c) before the first step that is read; None: zeros.
      weights: kernels [C, 4 H] and [H, 4 H], bias [4 H].
      reverse: read from the last step to the first. Output t still belongs to step t.
      lengths: [B], steps of each sequence; those from there on are padding, whose outputs are 0 and which leave the
        carry as it is. A reversed layer so begins with each sequence's own last step.

    Raises:
      ValueError: shapes do not fit each other, or there is no step.
    """
    return _sequence(_LSTM, x, carry, weights, reverse, lengths)


def gru(
    x: Steps, carry: State | None, weights: Weights, *, reverse: bool = False, lengths: Lengths = None
) -> tuple[Steps, State]:
    """As `lstm`, with a carry h, kernels [C, 3 H] and [H, 3 H], bias [3 H] and recurrent bias [H]."""
    return _sequence(_GRU, x, carry, weights, reverse, lengths)


def elman(
    x: Steps,
    carry: State | None,
    weights: Weights,
    activation="tanh",
    *,
    reverse: bool = False,
    lengths: Lengths = None,
) -> tuple[Steps, State]:
    """As `lstm`, with a carry h, kernels [C, H] and [H, H], bias [H]; `activation` is "tanh" or "relu"."""
    return _sequence(_elman(activation), x, carry, weights, reverse, lengths)


def lstm_step(x: State, carry: Pair | None, weights: Weights) -> tuple[State, Pair]:
    """One step of `lstm` for x [B, C]: the output [B, H] and the carry after it."""
    return _step(_LSTM, x, carry, weights)


def gru_step(x: State, carry: State | None, weights: Weights) -> tuple[State, State]:
    """One step of `gru` for x [B, C]: the output [B, H] and the carry after it."""
    return _step(_GRU, x, carry, weights)


def elman_step(x: State, carry: State | None, weights: Weights, activation="tanh") -> tuple[State, State]:
    """One step of `elman` for x [B, C]: the output [B, H] and the carry after it."""
    return _step(_elman(activation), x, carry, weights)


class _Layer(nn.Module):
    """What the modules share: weights, in float32, and the computation's dtype."""

    features: int
    _: KW_ONLY
    reverse: bool = False
    kernel_init: Any = nn.initializers.lecun_normal()
    recurrent_init: Any = nn.initializers.orthogonal()  # of each gate's [H, H] by itself
    bias_init: Any = nn.initializers.zeros
    dtype: Any = None  # of the computation; None: that of x and the parameters

    def _cell(self) -> "_Cell":
        raise NotImplementedError

    @nn.compact
    def weights(self, inputs: int) -> Weights:
        """The parameters for inputs of that width, as the functions of this file take them."""
        gates, h = self._cell().gates, self.features

        def recurrent_init(key, shape):
            blocks = jax.vmap(lambda key: self.recurrent_init(key, (h, h)))(jax.random.split(key, gates))
            return blocks.swapaxes(0, 1).reshape(shape)

        return Weights(
            self.param("kernel", self.kernel_init, (inputs, gates * h)),
            self.param("recurrent_kernel", recurrent_init, (h, gates * h)),
            self.param("bias", self._bias_init, (gates * h,)),
            self.param("recurrent_bias", self.bias_init, (h,)) if self._cell().second_bias else None,
        )

    def _bias_init(self, key, shape):
        return self.bias_init(key, shape)

    def __call__(self, x: Steps, carry: Any = None, lengths: Lengths = None) -> tuple[Steps, Any]:
        """Outputs and the last carry; `carry` and `lengths` as in the function of the same name."""
        x, *weights = nn.dtypes.promote_dtype(x, *self.weights(x.shape[-1]), dtype=self.dtype)
        return _sequence(self._cell(), x, carry, Weights(*weights), self.reverse, lengths)

    def step(self, x: State, carry: Any = None) -> tuple[State, Any]:
        """One step with the same weights: the output and the carry after it."""
        x, *weights = nn.dtypes.promote_dtype(x, *self.weights(x.shape[-1]), dtype=self.dtype)
        return _step(self._cell(), x, carry, Weights(*weights))


class LSTM(_Layer):
    """`lstm` with its weights. The carry is (h, c).

    `forget_bias` is added to what `bias_init` gives the forget gate: at 1 a new network remembers (Gers et al., 2000;
    Jozefowicz et al., An Empirical Exploration of Recurrent Network Architectures, 2015). It is part of the parameter.
    """

    forget_bias: float = 1.0

    def _cell(self):
        return _LSTM

    def _bias_init(self, key, shape):
        h = self.features
        return self.bias_init(key, shape).at[h : 2 * h].add(self.forget_bias)


class GRU(_Layer):
    """`gru` with its weights. The carry is h."""

    def _cell(self):
        return _GRU


class Elman(_Layer):
    """`elman` with its weights; `activation` is "tanh" or "relu". The carry is h."""

    activation: str = "tanh"

    def _cell(self):
        return _elman(self.activation)


class Bidirectional(nn.Module):
    """Two layers over the same sequence, outputs side by side: [B, T, H + H'] (Schuster & Paliwal, 1997).

    `backward` must be a layer with reverse=True. The carry is a pair, of `forward` and of `backward`.
    """

    forward: _Layer
    backward: _Layer

    def __call__(self, x: Steps, carry: Any = None, lengths: Lengths = None) -> tuple[Steps, Any]:
        """Outputs and both last carries: `backward`'s has read the first step last."""
        if self.forward.reverse or not self.backward.reverse:
            got = (self.forward.reverse, self.backward.reverse)
            raise ValueError(f"forward must have reverse=False and backward reverse=True, got {got}")
        first, second = (None, None) if carry is None else carry
        there, first = self.forward(x, first, lengths)
        back, second = self.backward(x, second, lengths)
        return jnp.concatenate([there, back], -1), (first, second)


class _Cell(NamedTuple):
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


def _lstm_forward(z, a, weights, carry):
    _, c = carry
    z = z + a + weights.bias
    h = c.shape[-1]
    scale = jnp.where(jnp.arange(4 * h) // h == 2, 1.0, 0.5).astype(z.dtype)
    i, f, g, o = jnp.split(jnp.tanh(scale * z), 4, -1)
    i, f, o = (0.5 + 0.5 * v for v in (i, f, o))
    after = f * c + i * g
    return (o * jnp.tanh(after), after), (i, f, g, o, c)


def _lstm_backward(saved, before, after, dcarry):
    i, f, g, o, c = saved
    dh, dc = dcarry
    squashed = jnp.tanh(f * c + i * g)  # again: faster than to keep it
    dc = dc + dh * o * (1 - squashed * squashed)
    gates = [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g * g), dh * squashed * o * (1 - o)]
    return jnp.concatenate(gates, -1), None, (jnp.zeros_like(dh), dc * f)


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

    return _Cell(1, 1, False, forward, backward)


_LSTM = _Cell(4, 2, False, _lstm_forward, _lstm_backward)
_GRU = _Cell(3, 1, True, _gru_forward, _gru_backward)
_ELMAN = {
    "tanh": _elman_cell(jnp.tanh, lambda h: 1 - h * h),
    "relu": _elman_cell(jax.nn.relu, lambda h: (h > 0).astype(h.dtype)),
}


def _elman(activation: str) -> _Cell:
    if activation not in _ELMAN:
        raise unknown("activation", activation, _ELMAN)
    return _ELMAN[activation]


def _sequence(cell: _Cell, x, carry, weights: Weights, reverse: bool, lengths):
    if x.ndim != 3 or x.shape[1] == 0:
        raise ValueError(f"x must be [B, T, C] with at least one step, got {x.shape}")
    dtype, carry = _checked(cell, x, carry, weights)
    mask = None
    x = x.swapaxes(0, 1)  # time first: what a step reads is one piece of memory
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        if lengths.shape != x.shape[1:2] or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise ValueError(f"lengths must be [{x.shape[1]}] integers, got {lengths.dtype} {lengths.shape}")
        mask = (jnp.arange(x.shape[0])[:, None] < lengths)[..., None]
        x = jnp.where(mask, x, 0)  # whatever padding holds, its gradient is 0
    if is_plain():
        h, carry, _ = _forward(cell, reverse, x.astype(dtype), weights.cast(dtype), carry, mask)
    else:
        wide, mesh = carry[0].dtype, mesh_for(x.shape[1])
        h, carry = _loop(cell, reverse, mesh, x.astype(wide), weights.cast(wide), carry, mask)
    outputs = h if mask is None else jnp.where(mask, h, 0)
    return outputs.swapaxes(0, 1).astype(dtype), carry if cell.states > 1 else carry[0]


def _step(cell: _Cell, x, carry, weights: Weights):
    if x.ndim != 2:
        raise ValueError(f"x must be [B, C], got {x.shape}")
    dtype, carry = _checked(cell, x, carry, weights)
    weights = weights.cast(dtype if is_plain() else carry[0].dtype)
    z = _product(x, weights.kernel, carry)
    carry, _ = cell.forward(z, _product(carry[0], weights.recurrent_kernel, carry), weights, carry)
    return carry[0].astype(dtype), carry if cell.states > 1 else carry[0]


def _checked(cell: _Cell, x, carry, weights: Weights):
    """The products' dtype, and the carry as a tuple in the states' dtype."""
    h = weights.recurrent_kernel.shape[0]
    n = cell.gates * h
    want = [(x.shape[-1], n), (h, n), (n,), (h,) if cell.second_bias else None]
    got = [None if w is None else w.shape for w in weights]
    if got != want:
        raise ValueError(f"for x {x.shape} and {h} features the weights must have the shapes {want}, got {got}")
    dtype = jnp.result_type(x, *jax.tree.leaves(weights))
    wide = jnp.promote_types(dtype, jnp.float32)
    if carry is None:
        return dtype, (jnp.zeros((x.shape[0], h), wide),) * cell.states
    carry = tuple(carry) if cell.states > 1 else (carry,)
    if [c.shape for c in carry] != [(x.shape[0], h)] * cell.states:
        raise ValueError(f"the carry must be {cell.states} of {(x.shape[0], h)}, got {[c.shape for c in carry]}")
    return dtype, tuple(c.astype(wide) for c in carry)


def _product(x, kernel, carry):
    return jnp.dot(x.astype(kernel.dtype), kernel, preferred_element_type=carry[0].dtype)


def _forward(cell: _Cell, reverse, x, weights: Weights, carry, mask):
    """All h [T, B, H], the last carry, and what the backward pass reads of each step."""
    z = _product(x, weights.kernel, carry)

    def step(carry, now):
        z, mask = now
        new, saved = cell.forward(z, _product(carry[0], weights.recurrent_kernel, carry), weights, carry)
        if mask is not None:
            new = tuple(jnp.where(mask, n, c) for n, c in zip(new, carry, strict=True))
        return new, (new[0], saved)

    last, (h, saved) = lax.scan(step, carry, (z, mask), reverse=reverse)
    return h, last, saved


def _backward(cell: _Cell, reverse, x, weights: Weights, first, mask, h, saved, dh, dcarry):
    """Gradients with respect to x, weights and the first carry."""
    before = jnp.concatenate([h[1:], first[0][None]] if reverse else [first[0][None], h[:-1]])
    transposed = _transposed(weights.recurrent_kernel)

    def step(dcarry, now):
        dh, mask, *rest = now
        dcarry = (dcarry[0] + dh, *dcarry[1:])
        passed = None
        if mask is not None:
            passed = [jnp.where(mask, 0, d) for d in dcarry]
            dcarry = [jnp.where(mask, d, 0) for d in dcarry]
        dz, da, dcarry = cell.backward(*rest, dcarry)
        dcarry = (dcarry[0] + (dz if da is None else da) @ transposed, *dcarry[1:])
        if passed is not None:
            dcarry = tuple(d + p for d, p in zip(dcarry, passed, strict=True))
        return dcarry, (dz, da)

    dcarry, (dz, da) = lax.scan(step, dcarry, (dh, mask, saved, before, h), reverse=not reverse)
    dz = dz.reshape(-1, dz.shape[-1])
    da = dz if da is None else da.reshape(dz.shape)
    ones = jnp.ones(dz.shape[0], dz.dtype)  # a product is a faster sum over rows
    dweights = Weights(
        _transposed(x.reshape(-1, x.shape[-1])) @ dz,
        _transposed(before.reshape(-1, before.shape[-1])) @ da,
        ones @ dz,
        ones @ da[:, -h.shape[-1] :] if cell.second_bias else None,
    )
    return (dz @ _transposed(weights.kernel)).reshape(x.shape), dweights, dcarry


def _transposed(matrix):
    """In memory, by a barrier: XLA:CPU's product with a transposition inside takes half as long again."""
    return lax.optimization_barrier(matrix.T)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _loop(cell: _Cell, reverse, mesh, x, weights: Weights, carry, mask):
    """All h and the last carry. What only a backward pass reads, XLA removes where there is none."""
    return _loop_forward(cell, reverse, mesh, x, weights, carry, mask)[0]


def _loop_forward(cell, reverse, mesh, x, weights, carry, mask):
    forward = _cut(partial(_forward, cell, reverse), mesh, (_TIME, _ALL, _BATCH, _TIME), (_TIME, _BATCH, _TIME))
    h, last, saved = forward(x, weights, carry, mask)
    return (h, last), (x, weights, carry, mask, h, saved)


def _loop_backward(cell, reverse, mesh, kept, gradients):
    def backward(*arguments):
        dx, dweights, dcarry = _backward(cell, reverse, *arguments)
        return dx, dweights if mesh is None else lax.psum(dweights, DATA_AXIS), dcarry

    inputs = (_TIME, _ALL, _BATCH, _TIME, _TIME, _TIME, _TIME, _BATCH)
    return *_cut(backward, mesh, inputs, (_TIME, _ALL, _BATCH))(*kept, *gradients), None


_loop.defvjp(_loop_forward, _loop_backward)
_TIME, _BATCH, _ALL = PartitionSpec(None, DATA_AXIS), PartitionSpec(DATA_AXIS), PartitionSpec()


def _cut(f, mesh, inputs, outputs):
    if mesh is None:
        return f
    return jax.shard_map(f, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)
