"""Recurrent layers over whole sequences: LSTM, GRU and Elman networks, whose gradients are fast on a CPU.

A layer is a function (x [B, T, C], carry, weights) -> (outputs [B, T, H], carry); `*_step` is one step of it, so that a
sample drawn step by step is the whole sequence. With z_t = x_t W + b, a_t = h_{t-1} U and s the logistic function:

- `lstm` (Hochreiter & Schmidhuber, 1997; forget gate: Gers et al., 2000), columns in the order i, f, g, o:
  c_t = s(f) c_{t-1} + s(i) tanh(g), h_t = s(o) tanh(c_t), where (i, f, g, o) = z_t + a_t.
- `gru` (Cho et al., 2014, in the form of cuDNN and PyTorch: the reset gate after the product), order r, u, n:
  n_t = tanh(z_n + s(r) (a_n + b')), h_t = (1 - s(u)) n_t + s(u) h_{t-1}.
- `elman` (Elman, Finding Structure in Time, 1990): h_t = tanh(z_t + a_t), or relu, or without either.

On a CPU the gradients are written out (`gen_models/nn/_recurrent_cpu.py`; of one step, `gen_models/nn/_cells.py`).
Contexts are those of `gen_models.nn.conv`: `over_devices(mesh)` cuts the batch over a mesh, and inside `plain()`, as on
other platforms than a CPU, the loop is an ordinary `lax.scan`, which can be differentiated forward too.

Products are made in the dtype of x and weights; sums, gates and the carry are in float32 at least. On a CPU, half
precision is computed in float32 and the outputs are rounded once.
"""

from dataclasses import KW_ONLY
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from gen_models.errors import unknown
from gen_models.nn._cells import ELMAN_CELLS, GRU_CELL, LSTM_CELL, Cell, Weights
from gen_models.nn._recurrent_cpu import forward, loop, product
from gen_models.nn.devices import is_plain, mesh_for

Steps = Float[Array, "b t c"]
Step = Float[Array, "b c"]  # one step's input
Outputs = Float[Array, "b t h"]
State = Float[Array, "b h"]  # or one step's output
Pair = tuple[State, State]
Lengths = Int[Array, "b"] | None


def lstm(
    x: Steps, carry: Pair | None, weights: Weights, *, reverse: bool = False, lengths: Lengths = None
) -> tuple[Outputs, Pair]:
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
    return _sequence(LSTM_CELL, x, carry, weights, reverse, lengths)


def gru(
    x: Steps, carry: State | None, weights: Weights, *, reverse: bool = False, lengths: Lengths = None
) -> tuple[Outputs, State]:
    """As `lstm`, with a carry h, kernels [C, 3 H] and [H, 3 H], bias [3 H] and recurrent bias [H]."""
    return _sequence(GRU_CELL, x, carry, weights, reverse, lengths)


def elman(
    x: Steps,
    carry: State | None,
    weights: Weights,
    activation="tanh",
    *,
    reverse: bool = False,
    lengths: Lengths = None,
) -> tuple[Outputs, State]:
    """As `lstm`, with a carry h, kernels [C, H] and [H, H], bias [H]; `activation` is "tanh", "relu" or "linear"."""
    return _sequence(_elman(activation), x, carry, weights, reverse, lengths)


def lstm_step(x: Step, carry: Pair | None, weights: Weights) -> tuple[State, Pair]:
    """One step of `lstm` for x [B, C]: the output [B, H] and the carry after it."""
    return _step(LSTM_CELL, x, carry, weights)


def gru_step(x: Step, carry: State | None, weights: Weights) -> tuple[State, State]:
    """One step of `gru` for x [B, C]: the output [B, H] and the carry after it."""
    return _step(GRU_CELL, x, carry, weights)


def elman_step(x: Step, carry: State | None, weights: Weights, activation="tanh") -> tuple[State, State]:
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

    def _cell(self) -> Cell:
        raise NotImplementedError

    @nn.compact
    def weights(self, inputs: int) -> Weights:
        """The parameters for inputs of that width, as the functions of this file take them."""
        gates, h = self._cell().gates, self.features

        def recurrent_init(key, shape, dtype):
            blocks = jax.vmap(lambda key: self.recurrent_init(key, (h, h), dtype))(jax.random.split(key, gates))
            return blocks.swapaxes(0, 1).reshape(shape)

        return Weights(
            self.param("kernel", self.kernel_init, (inputs, gates * h), jnp.float32),
            self.param("recurrent_kernel", recurrent_init, (h, gates * h), jnp.float32),
            self.param("bias", self._bias_init, (gates * h,), jnp.float32),
            self.param("recurrent_bias", self.bias_init, (h,), jnp.float32) if self._cell().second_bias else None,
        )

    def _bias_init(self, key, shape, dtype):
        return self.bias_init(key, shape, dtype)

    def __call__(self, x: Steps, carry: Any = None, lengths: Lengths = None) -> tuple[Outputs, Any]:
        """Outputs and the last carry; `carry` and `lengths` as in the function of the same name."""
        x, *weights = nn.dtypes.promote_dtype(x, *self.weights(x.shape[-1]), dtype=self.dtype)
        return _sequence(self._cell(), x, carry, Weights(*weights), self.reverse, lengths)

    def step(self, x: Step, carry: Any = None) -> tuple[State, Any]:
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
        return LSTM_CELL

    def _bias_init(self, key, shape, dtype):
        h = self.features
        return self.bias_init(key, shape, dtype).at[h : 2 * h].add(self.forget_bias)


class GRU(_Layer):
    """`gru` with its weights. The carry is h."""

    def _cell(self):
        return GRU_CELL


class Elman(_Layer):
    """`elman` with its weights; `activation` is "tanh", "relu" or "linear". The carry is h."""

    activation: str = "tanh"

    def _cell(self):
        return _elman(self.activation)


class Bidirectional(nn.Module):
    """Two layers over the same sequence, outputs side by side: [B, T, H + H'] (Schuster & Paliwal, 1997).

    `backward` must be a layer with reverse=True. The carry is a pair, of `forward` and of `backward`.
    """

    forward: _Layer
    backward: _Layer

    def __call__(self, x: Steps, carry: Any = None, lengths: Lengths = None) -> tuple[Outputs, Any]:
        """Outputs and both last carries: `backward`'s has read the first step last."""
        if self.forward.reverse or not self.backward.reverse:
            got = (self.forward.reverse, self.backward.reverse)
            raise ValueError(f"forward must have reverse=False and backward reverse=True, got {got}")
        first, second = (None, None) if carry is None else carry
        there, first = self.forward(x, first, lengths)
        back, second = self.backward(x, second, lengths)
        return jnp.concatenate([there, back], -1), (first, second)


def _elman(activation: str) -> Cell:
    if activation not in ELMAN_CELLS:
        raise unknown("activation", activation, ELMAN_CELLS)
    return ELMAN_CELLS[activation]


def _sequence(cell: Cell, x, carry, weights: Weights, reverse: bool, lengths):
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
        h, carry, _ = forward(cell, reverse, x.astype(dtype), weights.cast(dtype), carry, mask)
    else:
        wide, mesh = carry[0].dtype, mesh_for(x.shape[1])
        h, carry = loop(cell, reverse, mesh, x.astype(wide), weights.cast(wide), carry, mask)
    outputs = h if mask is None else jnp.where(mask, h, 0)
    return outputs.swapaxes(0, 1).astype(dtype), carry if cell.states > 1 else carry[0]


def _step(cell: Cell, x, carry, weights: Weights):
    if x.ndim != 2:
        raise ValueError(f"x must be [B, C], got {x.shape}")
    dtype, carry = _checked(cell, x, carry, weights)
    weights = weights.cast(dtype if is_plain() else carry[0].dtype)
    z = product(x, weights.kernel, carry)
    carry, _ = cell.forward(z, product(carry[0], weights.recurrent_kernel, carry), weights, carry)
    return carry[0].astype(dtype), carry if cell.states > 1 else carry[0]


def _checked(cell: Cell, x, carry, weights: Weights):
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
