"""What networks of recurrent layers one above another share: the way through them, and what stands between them.

Layers read

    h^0_t = x_t;   h^l_t, s^l_t = layer(before(h^(l-1)_t), s^l_(t-1))

with a layer norm and dropout before a layer where a network asks for them, on what goes from layer to layer and never
on what goes from step to step (Zaremba et al., Recurrent Neural Network Regularization, 2014). A dropped unit may be
the same one at all steps (Gal & Ghahramani, A Theoretically Grounded Application of Dropout in Recurrent Neural
Networks, 2016), and a layer's input may be added to its output (Prakash et al., 2016).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.nn.dropout import Dropout
from gen_models.nn.recurrent import GRU, LSTM, Elman

CELLS: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "elman": Elman}


def through_layers(
    layers: Sequence[Any],
    h: Array,
    states: Sequence[Any] | None,
    lengths: Array | None,
    before: Callable[[Array, int], Array],
    *,
    residual: bool = False,
    one: bool = False,
) -> tuple[Array, tuple[Any, ...]]:
    """Outputs [B, T, H] of the last layer, and each layer's state behind the last step.

    Args:
      layers: modules of `nn/recurrent.py`.
      h: what is read, [B, T, F]; with `one`, a single step [B, F].
      states: of each layer, before the first step; None: zeros.
      lengths: [B], the steps of each sequence that count; None: all.
      before: (h, index of a layer) -> what the layer reads.
      residual: whether h is added to a layer's output, where they have as many features.
      one: whether a single step is read.
    """
    kept = []
    for index, layer in enumerate(layers):
        x, state = before(h, index), None if states is None else states[index]
        y, state = layer.step(x, state) if one else layer(x, state, lengths)
        h = h + y if residual and h.shape == y.shape else y
        kept.append(state)
    return h, tuple(kept)


def empty_states(cell: str, features: int, layers: int, batch: int) -> tuple[Any, ...]:
    """The states of all layers before a sequence: zeros [B, H], of an LSTM a pair (h, c); no two are one array."""
    state = jnp.zeros((batch, features), jnp.float32)
    return tuple((jnp.copy(state), jnp.copy(state)) if cell == "lstm" else jnp.copy(state) for _ in range(layers))


def regularised(
    h: Array,
    name: str,
    train: bool,
    *,
    layer_norm: bool,
    dropout: float | Array,
    variational: bool,
    dtype: DTypeLike | None,
) -> Array:
    """h [B, T, H] behind a layer norm of this name and dropout, in the module that calls.

    Args:
      h: a layer's outputs.
      name: of the layer norm.
      train: whether units are dropped.
      layer_norm: whether there is one.
      dropout: probability with which a unit is dropped; may be traced.
      variational: whether the dropped units are the same at all steps.
      dtype: of the layer norm's computations.
    """
    if layer_norm:
        h = nn.LayerNorm(dtype=dtype, name=name)(h)
    if not variational or not train:
        return Dropout()(h, dropout, train)
    return h * Dropout()(jnp.ones_like(h[:, :1]), dropout, train)  # [B, 1, H]: one draw for all steps
