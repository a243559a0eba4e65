"""Linear forecasts of long horizons: Zeng et al., Are Transformers Effective for Time Series Forecasting? (2023).

One matrix from L rows to H rows, shared by all columns ("plain"); the same on what is left when the last row is
subtracted, which is added again (NLinear, "last"); or two matrices, of a moving average over `window` rows, whose ends
are filled up with the first and the last row, and of what is left of x without it (DLinear, "decomposition"):

    y = W_t t + W_s (x - t) + b,   t = moving average of x
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sequences.forecaster import forecaster
from gen_models.models.sizes import check_sizes, check_windows

KINDS = ("plain", "last", "decomposition")


def linear_forecaster(
    shape: Sequence[int],
    horizon: int,
    *,
    kind: Literal["plain", "last", "decomposition"] = "decomposition",
    window: int = 25,
    quantiles: Sequence[float] | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A linear model of the rows that follow; its functions are those of `forecaster`.

    Args:
      shape: (L, F).
      horizon: H.
      kind: what the matrices read; see above.
      window: rows of the moving average, an odd number.
      quantiles: levels, where intervals are wanted.
      dtype: of the products, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, the window is even, an unknown kind, or as `forecaster`.
    """
    check_sizes(window=window)
    check_windows(window=window)
    if kind not in KINDS:
        raise unknown("kind of linear forecast", kind, KINDS)
    network = partial(_Network, horizon=horizon, kind=kind, window=window, dtype=dtype)
    return forecaster(network, shape, horizon, quantiles)


def moving_average(x: jax.Array, window: int) -> jax.Array:
    """The mean of `window` rows around each, [B, L, F]; beyond the ends the first and the last row are repeated."""
    half = window // 2
    padded = jnp.pad(x, ((0, 0), (half, half), (0, 0)), mode="edge")
    return jax.lax.reduce_window(padded, 0.0, jax.lax.add, (1, window, 1), (1, 1, 1), "VALID") / window


class _Network(nn.Module, kw_only=True):
    outputs: int
    horizon: int
    kind: str
    window: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, train=False):  # [B, L, F] -> [B, H, F, Q]
        if self.kind == "decomposition":
            trend = moving_average(x, self.window)
            return self._map(trend, "trend") + self._map(x - trend, "season")
        last = x[:, -1:] if self.kind == "last" else jnp.zeros_like(x[:, -1:])
        return self._map(x - last, "rows") + last[..., None]

    def _map(self, x, name):
        """The rows of each column by one matrix, [B, L, F] -> [B, H, F, Q]."""
        # As torch.nn.Linear begins: uniform within 1 / sqrt(L), kernel and bias (LeCun's would be a third wider).
        uniform = lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -1, 1) / x.shape[1] ** 0.5  # noqa: E731
        size = self.horizon * self.outputs
        layer = nn.Dense(size, dtype=self.dtype, kernel_init=uniform, bias_init=uniform, name=name)
        y = layer(x.swapaxes(1, 2)).reshape(len(x), x.shape[2], self.horizon, self.outputs)
        return y.swapaxes(1, 2).astype(jnp.float32)
