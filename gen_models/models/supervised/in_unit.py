"""Regression of numbers in their own unit, around any model of numbers that are standardised.

With y' = (y - centre) / scale the model learns y', and its prediction centre + scale f(x) is in y's own unit: so
neither the learning rate nor a penalty depends on that unit.
"""

import math

import jax.numpy as jnp

from gen_models.core import Model
from gen_models.models.inputs import field


def in_unit(model: Model, *, centre: float, scale: float) -> Model:
    """The model of numbers y whose losses and metrics are of (y - centre) / scale, and whose `apply` is in y's unit.

    `apply(params, stats, x)` gives numbers [B, D], or [B] where D is 1; with `deviations=True`, as of answer "normal",
    a pair of these, means and standard deviations.

    Args:
      model: with one loss, of a batch's "y", and an `apply` that predicts it, as `mlp(shape, 1, answer="numbers")`.
      centre: of y, such as its mean over the rows for training.
      scale: of y, such as its standard deviation there.

    Raises:
      ValueError: the model has several players or predicts nothing, centre or scale is not finite, or scale is not
        above 0; when called, a batch without numbers y.
    """
    if not (math.isfinite(centre) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"centre must be finite and scale above 0, got {centre=}, {scale=}")
    own = model.loss
    if not callable(own) or not model.has("apply"):
        raise ValueError("the model has several players or no operation 'apply': numbers are predicted by one loss")

    def loss(params, stats, batch, key, *, step, train=True):
        """The model's loss, of standardised numbers."""
        y = field(batch, "y", "the numbers that are to be predicted, as 'y'")
        batch = {**batch, "y": (jnp.asarray(y, jnp.float32) - centre) / scale}
        return own(params, stats, batch, key, step=step, train=train)

    def apply(params, stats, x, *, deviations=False):
        """Predictions in y's unit."""
        if deviations:
            mean, deviation = model.apply(params, stats, x, deviations=True)
            return _alone(centre + scale * mean), _alone(scale * deviation)
        return _alone(centre + scale * model.apply(params, stats, x))

    return Model(model.init, loss, apply=apply, batch_stats=model.batch_stats)


def _alone(numbers):
    return numbers[:, 0] if numbers.shape[1:] == (1,) else numbers
