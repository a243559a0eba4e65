"""What classifiers share: cross-entropy, accuracy, and a Linen network as a `Model`."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from gen_models.core import Model, Params
from gen_models.models.inputs import images


def cross_entropy(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], label_smoothing: float | Array = 0.0
) -> Float[Array, "b"]:
    """-sum_k q_k log softmax(logits)_k in nats, q = (1 - label_smoothing) one_hot + label_smoothing / K.

    Szegedy et al., Rethinking the Inception Architecture (2016), section 7; `label_smoothing` may be traced.
    """
    log_p = jax.nn.log_softmax(logits)
    of_label = jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    return -(1 - label_smoothing) * of_label - label_smoothing * log_p.mean(-1)


def classifier(
    network: nn.Module,
    shape: Sequence[int],
    num_classes: int,
    *,
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    penalty: Callable[[Params], Array] | None = None,
) -> Model:
    """A classifier whose logits are `network(x, dropout, train)`, with x float32 [B, *shape] and logits [B, K].

    Its loss reads `batch["x"]` and the integers `batch["y"]` in [0, K): the mean cross-entropy in nats, with
    smoothed labels in training alone, plus `penalty(params)`. Metrics: "accuracy" and "cross_entropy" (of the labels as
    they are, without the penalty). `apply(params, stats, x)` gives logits in evaluation mode.

    Raises:
      ValueError: a size is not positive, there are fewer than two classes, or a rate is outside [0, 1).
    """
    shape = tuple(shape)
    if not shape or min(shape) < 1:
        raise ValueError(f"sizes must be positive, got shape={shape}")
    if num_classes < 2:
        raise ValueError(f"a classifier needs two classes or more, got num_classes={num_classes}")
    for name, rate in (("dropout", dropout), ("label_smoothing", label_smoothing)):
        if isinstance(rate, int | float) and not 0 <= rate < 1:
            raise ValueError(f"{name} must be in [0, 1), got {rate}")

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        variables = network.init(key, jnp.zeros((1, *shape)), dropout, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def apply(params, stats, x):
        """Logits [B, K] of x [B, *shape] in evaluation mode: no dropout, running averages in batch norm."""
        x = images({"x": x}, shape)
        return network.apply({"params": params, "batch_stats": stats}, x, dropout, train=False)

    def loss(params, stats, batch, key, *, step, train=True):
        """Mean cross-entropy in nats, plus the penalty."""
        x, labels = images(batch, shape), batch["y"]
        if train:
            variables = {"params": params, "batch_stats": stats}
            logits, updated = network.apply(
                variables, x, dropout, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
            )
            stats = updated.get("batch_stats", stats)
            value = cross_entropy(logits, labels, label_smoothing).mean()
        else:
            logits = apply(params, stats, x)
            value = cross_entropy(logits, labels).mean()
        if penalty is not None:
            value += penalty(params)
        metrics = {
            "accuracy": (logits.argmax(-1) == labels).mean(),
            "cross_entropy": cross_entropy(logits, labels).mean(),
        }
        return value, (stats, metrics)

    return Model(init, loss, apply=apply)
