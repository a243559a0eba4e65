"""A recurrent network that reads rows of a series and forecasts all that follow from its last state.

Layers of `gen_models/nn/recurrent.py` (LSTM, Hochreiter & Schmidhuber, 1997; GRU, Cho et al., 2014) read x without its
last row, x_t - x_T, and y_(T + h) = x_T + W_h s_T + b_h: one map from the last state s_T to all steps at once, without
feeding forecasts back. The subtraction is that of NLinear (Zeng et al., 2023): without it, a level that training has
not seen is one that the network has not learned.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sequences.forecaster import forecaster
from gen_models.models.sizes import check_sizes
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.recurrent import GRU, LSTM

CELLS = {"lstm": LSTM, "gru": GRU}


def recurrent_forecaster(
    shape: Sequence[int],
    horizon: int,
    *,
    cell: Literal["lstm", "gru"] = "lstm",
    features: int = 64,
    layers: int = 1,
    dropout: float | Array = 0.0,
    quantiles: Sequence[float] | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A recurrent model of the rows that follow; its functions are those of `forecaster`.

    Args:
      shape: (L, F).
      horizon: H.
      cell: kind of the layers.
      features: of each layer.
      layers: how many, one above another.
      dropout: probability with which a unit is dropped in training, behind each layer; may be traced.
      quantiles: levels, where intervals are wanted.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, states and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown cell, `dropout` outside of [0, 1), or as `forecaster`.
    """
    check_sizes(features=features, layers=layers)
    check_dropout(dropout)
    if cell not in CELLS:
        raise unknown("cell", cell, tuple(CELLS))
    sizes: dict[str, Any] = {"cell": cell, "features": features, "layers": layers, "dropout": dropout}
    return forecaster(partial(_Network, horizon=horizon, **sizes, dtype=dtype), shape, horizon, quantiles)


class _Network(nn.Module, kw_only=True):
    outputs: int
    horizon: int
    cell: str
    features: int
    layers: int
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, train=False):  # [B, L, F] -> [B, H, F, Q]
        last = x[:, -1:]
        h = x - last
        for index in range(self.layers):
            h, _ = CELLS[self.cell](self.features, dtype=self.dtype, name=f"{self.cell}_{index}")(h)
            h = Dropout()(h, self.dropout, train)
        y = nn.Dense(self.horizon * x.shape[2] * self.outputs, dtype=self.dtype, name="outputs")(h[:, -1])
        y = y.reshape(len(x), self.horizon, x.shape[2], self.outputs).astype(jnp.float32)
        return y + last[..., None]
