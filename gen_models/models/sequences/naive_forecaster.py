"""Forecasts that learn nothing: the last row, or the row of one period before.

What a model of a series must beat (Hyndman & Athanasopoulos, Forecasting: Principles and Practice, 2021, section 5.2):

    y_(T + h) = x_T,   or with the period m   y_(T + h) = x_(T + h - m k),   k = floor((h - 1) / m) + 1
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from flax import linen as nn

from gen_models.core import Model
from gen_models.models.sequences.forecaster import forecaster
from gen_models.models.sizes import check_sizes


def naive_forecaster(shape: Sequence[int], horizon: int, *, period: int = 1) -> Model:
    """A model without parameters, whose functions are those of `forecaster`.

    Args:
      shape: (L, F).
      horizon: H.
      period: m, rows of a season, at most L; 1: the last row alone is repeated.

    Raises:
      ValueError: a size is not positive, or the period is longer than what is read.
    """
    check_sizes(period=period)
    if len(tuple(shape)) == 2 and period > shape[0]:
        raise ValueError(f"period={period} is longer than the {shape[0]} rows that are read: look further back")
    return forecaster(partial(_Network, horizon=horizon, period=period), shape, horizon)


class _Network(nn.Module, kw_only=True):
    outputs: int
    horizon: int
    period: int

    @nn.compact
    def __call__(self, x, train=False):  # [B, L, F] -> [B, H, F, 1]
        ahead = np.arange(self.horizon) % self.period
        return x[:, x.shape[1] - self.period + ahead, :, None]
