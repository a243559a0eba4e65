"""What models of a series share: a forecast of the rows that follow those that were read.

A network reads x [B, L, F], L rows of F columns, and gives numbers for each of the next H rows. It is trained by the
squared error, or, for intervals, by the quantile loss (Koenker & Bassett, Regression Quantiles, 1978) of each level q,

    rho_q(y - f) = max(q (y - f), (q - 1) (y - f)),

which is lowest in the mean where f is the quantile q of y.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import field, images
from gen_models.models.sizes import check_each, check_sizes


def forecaster(
    network: Callable[..., nn.Module], shape: Sequence[int], horizon: int, quantiles: Sequence[float] | None = None
) -> Model:
    """A model of the `horizon` rows that follow those of x.

    Its functions:
      loss: the mean over windows, steps and columns of the squared error, or with `quantiles` twice the mean of rho_q
        over the levels as well: of the median alone it is the absolute error. Reads `batch["x"]`, float [B, L, F], and
        `batch["y"]`, float [B, H, F]. Metrics: "mse" and "mae" of what `apply` gives.
      apply(params, stats, x): the forecast [B, H, F]; of quantiles what the network gives for the median.
        `quantiles=True` gives those of all levels, [B, H, F, Q], sorted so that they rise with the level: where the
        network's cross, the one in the middle is another than the forecast.

    Args:
      network: called with `outputs=`, the numbers for each step and column, Q or 1, it gives the module from x [B, L,
        F] and `train` to [B, H, F, outputs].
      shape: (L, F).
      horizon: H.
      quantiles: the levels, rising, within (0, 1), 0.5 among them; None: the mean alone.

    Raises:
      ValueError: a size is not positive, or the levels are none; a batch of another shape.
    """
    check_each(shape=shape)
    check_sizes(horizon=horizon)
    shape = tuple(shape)
    if len(shape) != 2:
        raise ValueError(f"a series' shape is (look_back, columns), got shape={shape}")
    levels = None if quantiles is None else tuple(quantiles)
    if levels is not None and not (
        0.5 in levels and sorted(set(levels)) == list(levels) and levels[0] > 0 and levels[-1] < 1
    ):
        raise ValueError(f"quantiles must rise within (0, 1), with 0.5 among them, got {levels}")
    return _model(network(outputs=1 if levels is None else len(levels)), shape, horizon, levels)


def _model(module, shape, horizon, levels) -> Model:
    """The functions of a module of numbers for each row that follows."""
    wanted = (horizon, shape[1])

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        return module.init(key, jnp.zeros((1, *shape), jnp.float32)).get("params", {}), {}

    def found(params, x, **how) -> Array:
        """All numbers, [B, H, F, Q]; of quantiles each is at least that of the level below."""
        values: Any = module.apply({"params": params}, images({"x": x}, shape), **how)
        return values.astype(jnp.float32)

    def point(values):
        return values[..., 0 if levels is None else levels.index(0.5)]

    def apply(params, stats, x: Float[Array, "b l f"], *, quantiles: bool = False) -> Array:
        """The forecast, or quantiles of it."""
        values = found(params, x)
        if not quantiles:
            return point(values)
        if levels is None:
            raise ValueError("this model forecasts the mean alone: build it with quantiles=(0.1, 0.5, 0.9), say")
        return jnp.sort(values, -1)  # of a network they may cross; sorted, they are as good or better at each level

    def loss(params, stats, batch, key, *, step, train=True):
        """The mean squared error, or the quantile loss."""
        x = images(batch, shape)
        y = field(batch, "y", "the rows that follow, float [B, H, F], as 'y'")
        if y.shape != (len(x), *wanted):
            raise ValueError(f"'y' must be [{len(x)}, {wanted[0]}, {wanted[1]}], rows that follow, got {list(y.shape)}")
        y = jnp.asarray(y, jnp.float32)
        values = found(params, x, **({"train": True, "rngs": {"dropout": key}} if train else {}))
        error = y - point(values)
        mse, mae = (error**2).mean(), jnp.abs(error).mean()
        value = mse
        if levels is not None:
            each, q = y[..., None] - values, jnp.asarray(levels)
            value = 2 * jnp.maximum(q * each, (q - 1) * each).mean()
        return value, (stats, {"mse": mse, "mae": mae})

    return Model(init=init, loss=loss, apply=apply)
