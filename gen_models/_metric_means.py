"""Weights, means and checks that metrics share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Weight = Float[Array, "b"] | None


def per_example(values: Array) -> Array:
    """Mean over all axes but the first, [B]."""
    return values.mean(axis=tuple(range(1, values.ndim)))


def normalised(weight: Weight, size: int) -> Array:
    """Weights with the sum 1, [B]."""
    some_examples(size)
    if weight is None:
        return jnp.full(size, 1 / size)
    if jnp.shape(weight) != (size,):
        raise ValueError(f"weight must have the shape ({size},), one number an example, got {jnp.shape(weight)}")
    weight = jnp.asarray(weight, jnp.result_type(float))
    total = weight.sum()
    if not isinstance(total, jax.core.Tracer) and not total > 0:
        raise ValueError(f"the weights of the {size} examples are all 0: a mean needs an example that counts")
    return weight / total


def mean(values: Array, weight: Weight) -> Array:
    """Weighted mean over examples [B]."""
    some_examples(values.shape[0])
    if weight is None:
        return jnp.asarray(values).mean()
    # Where the weight is 0 the value is left out, and not multiplied by 0: padding may hold NaN or infinity.
    w = normalised(weight, values.shape[0])
    return jnp.where(w > 0, w * values, 0.0).sum()


def some_examples(size: int) -> None:
    """Refuse no examples at all."""
    if size == 0:
        raise ValueError("there are no examples to take a mean of: give one at least")


def same_shape(a: Array, b: Array) -> None:
    """Refuse predictions and targets of unlike shapes."""
    if a.shape != b.shape:
        raise ValueError(f"predictions have the shape {a.shape}, but targets {b.shape}: they must be equal")


def check_labels(logits: Array, labels: Array, weight: Weight) -> Array:
    """Whether each label is a class, bool [B], true too for what weighs nothing.

    Raises:
      ValueError: the shapes do not fit, or, outside of `jit`, a label is no class.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [B, K] and labels [B], got the shapes {logits.shape} and {labels.shape}")
    return are_classes(labels, logits.shape[-1], weight)


def are_classes(labels: Array, classes: int, weight: Weight) -> Array:
    """`check_labels` for labels alone."""
    fits = jnp.asarray((labels >= 0) & (labels < classes))
    if weight is not None:
        if jnp.shape(weight) != labels.shape:
            raise ValueError(
                f"weight must have the shape {labels.shape}, one number an example, got {jnp.shape(weight)}"
            )
        fits = fits | (jnp.asarray(weight) == 0)
    if not isinstance(fits, jax.core.Tracer) and not bool(fits.all()):
        wrong = int(jnp.asarray(labels)[~fits][0])
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, got {wrong}: leave such examples out, or weigh them 0"
        )
    return fits
