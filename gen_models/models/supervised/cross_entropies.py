"""Cross-entropies of logits, which classifiers and heads share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_models.models.inputs import checked_labels


def cross_entropy(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], label_smoothing: float | Array = 0.0
) -> Float[Array, "b"]:
    """-sum_k q_k log softmax(logits)_k in nats, q = (1 - label_smoothing) one_hot + label_smoothing / K.

    Szegedy et al., Rethinking the Inception Architecture (2016), section 7; `label_smoothing` may be traced. A label of
    no class gives NaN inside of `jit`.

    Raises:
      ValueError: outside of `jit`, a label is no class.
    """
    labels, fits = checked_labels(labels, *logits.shape)
    log_p = jax.nn.log_softmax(logits)
    of_label = jnp.take_along_axis(log_p, jnp.where(fits, labels, 0)[:, None], axis=-1)[:, 0]
    value = -(1 - label_smoothing) * of_label - label_smoothing * log_p.mean(-1)
    return jnp.where(fits, value, jnp.nan).astype(log_p.dtype)


def binary_cross_entropy(logits: Float[Array, "*b"], labels: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """-log sigmoid(logit) where the label is 1, -log sigmoid(-logit) where it is 0, in nats; NaN for another label."""
    value = jnp.where(labels == 1, jax.nn.softplus(-logits), jax.nn.softplus(logits))
    return jnp.where((labels == 0) | (labels == 1), value, jnp.nan).astype(logits.dtype)
