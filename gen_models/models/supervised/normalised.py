"""Classifiers whose scores become probabilities in other ways than by softmax, to see what softmax is for.

    softmax    exp z_k / sum_j exp z_j              slope of -log p_y by z_k: p_k - [k = y]
    plain      z_k / sum_j z_j                      1 / sum_j z_j - [k = y] / z_y; none where a quotient is negative
    absolute   |z_k| / sum_j |z_j|                  sign(z_k) / sum_j |z_j| - [k = y] / z_y
    squares    z_k^2 / sum_j z_j^2                  2 z_k / sum_j z_j^2 - 2 [k = y] / z_y
    softplus   log(1 + exp z_k) / sum_j of these

Softmax alone does not change where a number is added to all scores, and has slopes of at most 1; the next three do not
change where all are multiplied, and their slopes have no bound near z_y = 0.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import checked_labels, labels_of

Normalisation = Literal["softmax", "plain", "absolute", "squares", "softplus"]


def log_normalised(scores: Float[Array | np.ndarray, "b k"], name: Normalisation) -> Float[Array, "b k"]:
    """Logarithms of the probabilities that scores become.

    They are NaN where "plain" would make one of them negative, and where "plain", "absolute" or "squares" have scores
    that are all 0, as those of a network whose last hidden units are all switched off.

    Raises:
      ValueError: the name is unknown.
    """
    if name not in get_args(Normalisation):
        raise unknown("normalisation", name, get_args(Normalisation))
    scores = jnp.asarray(scores)
    if name == "softmax":
        return jax.nn.log_softmax(scores)
    if name == "plain":
        parts = scores / scores.sum(-1, keepdims=True)
        return jnp.where((parts >= 0).all(-1, keepdims=True), jnp.log(jnp.abs(parts)), jnp.nan)
    if name == "softplus":
        parts = jax.nn.softplus(scores)
    else:
        parts = jnp.abs(scores) if name == "absolute" else scores**2
    return jnp.log(parts) - jnp.log(parts.sum(-1, keepdims=True))


def normalised(model: Model, num_classes: int, name: Normalisation) -> Model:
    """A classifier of the scores that `model.apply` gives; its own loss is not used.

    The loss is the mean of -log p_y in nats, metric: "accuracy". `apply(params, stats, x)` gives log p, [B, K].

    Args:
      model: whose `apply` gives scores [B, K].
      num_classes: K.
      name: how scores become probabilities.

    Raises:
      ValueError: the name is unknown; in the loss, a label is no class.
    """
    if name not in get_args(Normalisation):
        raise unknown("normalisation", name, get_args(Normalisation))

    def apply(params, stats, x):
        """log p of every class, [B, K]."""
        return log_normalised(model.apply(params, stats, x), name)

    def loss(params, stats, batch, key, *, step, train=True):
        """Mean of -log p_y."""
        log_p = apply(params, stats, batch["x"])
        labels, fits = checked_labels(labels_of(batch), len(log_p), num_classes)
        of_label = jnp.take_along_axis(log_p, jnp.where(fits, labels, 0)[:, None], 1)[:, 0]
        of_label = jnp.where(fits, of_label, jnp.nan)
        right = jnp.where(jnp.isnan(of_label), jnp.nan, log_p.argmax(-1) == labels)
        return -of_label.mean(), (stats, {"accuracy": right.mean(dtype=jnp.float32)})

    return Model(model.init, loss, apply=apply)
