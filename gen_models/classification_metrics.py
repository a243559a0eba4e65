"""Metrics of classifiers: accuracy, precision, recall, F1, cross-entropies, calibration.

All are pure and may run under `jit` and `vmap`; weights and labels are treated as `gen_models.metrics` says, which has
these functions under its own name too. Where a ratio is 0 / 0, as the precision of a class that is never predicted, its
value is `zero_division`: 0, 1, or NaN, which means over classes leave out, as scikit-learn does.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_models._metric_means import Weight, are_classes, check_labels, mean, normalised, per_example, same_shape
from gen_models.errors import unknown


def accuracy(logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Fraction of examples whose largest logit is the label's; of equal logits the first one counts."""
    return top_k_accuracy(logits, labels, 1, weight)


def top_k_accuracy(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], k: int, weight: Weight = None
) -> Float[Array, ""]:
    """Fraction of examples whose label is among the `k` largest logits; of equal logits the first ones count.

    A logit that is NaN makes the fraction NaN: none of them is the largest.

    Raises:
      ValueError: `k` is not within 1 and the number of classes.
    """
    fits = check_labels(logits, labels, weight)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k must be within 1 and the {logits.shape[-1]} classes, got {k}")
    best = jax.lax.top_k(logits, k)[1]  # [B, k]
    fits = fits & ~jnp.isnan(logits).any(-1)
    return mean(jnp.where(fits, (best == labels[:, None]).any(-1), jnp.nan), weight)


def confusion_matrix(
    predicted: Int[Array, "b"], labels: Int[Array, "b"], classes: int, weight: Weight = None
) -> Float[Array, "k k"]:
    """Counts, or sums of weights, by [true class, predicted class]."""
    same_shape(predicted, labels)
    fits = are_classes(labels, classes, weight) & are_classes(predicted, classes, weight)
    counts = jnp.ones(labels.shape) if weight is None else jnp.asarray(weight, jnp.result_type(float))
    true, guess = jax.nn.one_hot(labels, classes), jax.nn.one_hot(predicted, classes)
    found = jnp.einsum("b,bi,bj->ij", counts, true, guess, precision="highest")
    return jnp.where(fits.all(), found, jnp.nan)


def precision_recall_f1(
    confusion: Float[Array, "k k"], zero_division: float = 0.0
) -> tuple[Float[Array, "k"], Float[Array, "k"], Float[Array, "k"]]:
    """Precision, recall and F1 of each class, from a `confusion_matrix`; `zero_division` where they are 0 / 0.

    That is the precision of a class that was never predicted, the recall of one that is absent, and F1 where both hold.
    """
    _check_zero_division(zero_division)
    hits = jnp.diagonal(confusion)
    predicted, present = confusion.sum(0), confusion.sum(1)
    pairs = ((hits, predicted), (hits, present), (2 * hits, predicted + present))
    precision, recall, f1 = (_ratio(part, whole, zero_division) for part, whole in pairs)
    return precision, recall, f1


class Averages(NamedTuple):
    """Precision, recall and F1 over all classes, each a number."""

    precision: Float[Array, ""]
    recall: Float[Array, ""]
    f1: Float[Array, ""]


def averaged_precision_recall_f1(
    confusion: Float[Array, "k k"], average: Literal["macro", "micro", "weighted"], zero_division: float = 0.0
) -> Averages:
    """One precision, recall and F1 for all classes, from a `confusion_matrix`.

    Args:
      confusion: counts by [true class, predicted class].
      average: "macro", the mean over classes, all alike; "weighted", the mean over classes by how many examples each
        has; "micro", of the sums over classes, which are all the accuracy where each example has one label.
      zero_division: value of a class's 0 / 0. NaN leaves the class out, and is the result where none is left.
        Where all classes that have examples are left out, "weighted" is the mean over the others, all alike.

    Raises:
      ValueError: the average is unknown, or `zero_division` is none of 0, 1 and NaN.
    """
    if average not in ("macro", "micro", "weighted"):
        raise unknown("average", average, ("macro", "micro", "weighted"))
    if average == "micro":
        _check_zero_division(zero_division)
        share = _ratio(jnp.trace(confusion), confusion.sum(), zero_division)
        return Averages(share, share, share)
    of_classes = precision_recall_f1(confusion, zero_division)
    weight = confusion.sum(1) if average == "weighted" else jnp.ones(len(confusion))
    return Averages(*(_mean_of_defined(values, weight, zero_division) for values in of_classes))


def _mean_of_defined(values: Array, weight: Array, zero_division: float) -> Array:
    """Weighted mean of what is not left out; where that weighs nothing, its plain mean, as in scikit-learn."""
    defined = ~jnp.isnan(values) if math.isnan(zero_division) else jnp.ones(len(values), bool)
    counts = jnp.where(defined, weight, 0.0)
    counts = jnp.where(counts.sum() == 0, defined.astype(counts.dtype), counts)  # NaN counts stay, and make it NaN
    return jnp.where(defined, counts * values, 0.0).sum() / counts.sum()


def _ratio(part: Array, whole: Array, zero_division: float) -> Array:
    """part / whole, `zero_division` where the whole is 0, NaN where it is; the inner `where` keeps gradients finite."""
    return jnp.where(whole == 0, zero_division, part / jnp.where(whole == 0, 1.0, whole))


def _check_zero_division(value: float) -> None:
    if not (value in (0, 1) or math.isnan(value)):
        raise ValueError(f"zero_division must be 0, 1 or NaN, got {value}")


def balanced_accuracy(logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Mean over the classes that are present of the share of their examples whose largest logit is theirs.

    A logit that is NaN makes it NaN.
    """
    check_labels(logits, labels, weight)
    shares = normalised(weight, labels.shape[0])
    confusion = confusion_matrix(logits.argmax(-1), labels, logits.shape[-1], shares)
    recall, present = precision_recall_f1(confusion)[1], confusion.sum(1) != 0  # NaN counts, and stays
    value = jnp.where(present, recall + 0 * confusion.sum(), 0).sum() / present.sum()
    return jnp.where((jnp.isnan(logits).any(-1) & (shares > 0)).any(), jnp.nan, value)


def negative_log_likelihood(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean cross-entropy, nats per example."""
    fits = check_labels(logits, labels, weight)
    own = jnp.where(fits, labels, 0)[:, None]
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), own, axis=-1)[:, 0]
    return mean(jnp.where(fits, nats, jnp.nan), weight)


def binary_cross_entropy(
    logits: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean of -t log sigmoid(l) - (1 - t) log(1 - sigmoid(l)) over examples and their entries, in nats.

    `target` is 0 or 1, or a probability between. It is exact for logits of any size, as no sigmoid is rounded to 0 or
    1 on the way. A target outside of [0, 1] gives NaN.
    """
    same_shape(logits, target)
    nats = jax.nn.softplus(logits) - target * logits
    return mean(per_example(jnp.where((target >= 0) & (target <= 1), nats, jnp.nan)), weight)


def brier_score(logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Mean over examples of sum_k (p_k - [k is the label])^2, from 0 to 2 (Brier 1950)."""
    fits = check_labels(logits, labels, weight)
    error = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[-1])
    return mean(jnp.where(fits, (error**2).sum(-1), jnp.nan), weight)


def expected_calibration_error(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], bins: int = 15, weight: Weight = None
) -> Float[Array, ""]:
    """Mean gap between confidence and accuracy (Guo et al. 2017, eq. 3): sum over bins of n_m / n |acc_m - conf_m|.

    The bins ((m - 1) / M, m / M] cut the largest probability of each example into `bins` equal widths.

    Raises:
      ValueError: `bins` is below 1.
    """
    fits = check_labels(logits, labels, weight)
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    confidence = jax.nn.softmax(logits).max(-1)
    correct = (logits.argmax(-1) == labels).astype(confidence.dtype)
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    # Of n_m examples in bin m, n_m / n |acc_m - conf_m| = |sum over bin m of (correct - confidence)| / n: n_m cancels.
    gap = normalised(weight, labels.shape[0]) * jnp.where(fits, correct - confidence, jnp.nan)
    return jnp.abs(jax.ops.segment_sum(gap, index, bins)).sum()
