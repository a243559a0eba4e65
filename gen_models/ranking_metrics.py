"""Metrics of scores: how they rank positive examples above negative ones, and whether probabilities are calibrated.

`auroc` is pure and may run under `jit`. The curves, whose number of points depends on the data, are computed on the
host in float64; they are those of scikit-learn, with a point for every different score (`drop_intermediate=False`).
`gen_models.metrics` has these functions under its own name too.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gen_models._metric_means import Weight, normalised, same_shape, some_examples
from gen_models.errors import unknown


def auroc(scores: Float[Array, "b"], positive: Bool[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Area under the ROC curve: how often a positive example scores above a negative one, a tie being half of it.

    That is the statistic of Mann & Whitney (1947) over the number of pairs (Hanley & McNeil, 1982). A score that is NaN
    makes the area NaN.

    Raises:
      ValueError: outside of `jit`, there is no positive or no negative example; inside, the area is then NaN.
    """
    same_shape(scores, positive)
    shares = normalised(weight, scores.shape[0])
    wanted, other = jnp.where(positive, shares, 0), jnp.where(positive, 0, shares)
    if not isinstance(shares.sum() + positive.sum(), jax.core.Tracer) and not (wanted.sum() > 0 and other.sum() > 0):
        raise ValueError("an area under the ROC curve needs positive and negative examples: one kind is absent")
    order = scores.argsort()
    ranked = scores[order]
    below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(other[order])])  # weight of the negatives before each position
    beaten = (below[jnp.searchsorted(ranked, scores)] + below[jnp.searchsorted(ranked, scores, side="right")]) / 2
    area = (wanted / wanted.sum() * (beaten / other.sum())).sum()
    return jnp.where((jnp.isnan(scores) & (shares > 0)).any(), jnp.nan, area)


class RocCurve(NamedTuple):
    """Points (false positive rate, true positive rate) by falling threshold, from (0, 0) to (1, 1)."""

    false_positive_rate: np.ndarray  # float64 [t]; NaN without negative examples
    true_positive_rate: np.ndarray  # float64 [t], also called recall; NaN without positive examples
    thresholds: np.ndarray  # float64 [t]: what scores at least this much is called positive; the first is infinite


class PrecisionRecallCurve(NamedTuple):
    """Points by rising threshold; the last one, of no threshold, has precision 1 and recall 0."""

    precision: np.ndarray  # float64 [t + 1]
    recall: np.ndarray  # float64 [t + 1]; 1 throughout without positive examples
    thresholds: np.ndarray  # float64 [t]


class CalibrationCurve(NamedTuple):
    """A reliability diagram's points, one for each bin that has examples."""

    predicted: np.ndarray  # float64 [bins that are not empty], mean probability
    observed: np.ndarray  # float64, share of positive examples
    weight: np.ndarray  # float64, share of all examples


def roc_curve(
    scores: Float[np.ndarray, "b"], positive: Bool[np.ndarray, "b"], weight: Float[np.ndarray, "b"] | None = None
) -> RocCurve:
    """The receiver operating characteristic: both rates at every threshold; ties share one point.

    Raises:
      ValueError: shapes that do not fit, no example, a label other than 0 and 1, a score that is not finite, or weights
        that are negative or all 0.
    """
    hits, false, thresholds = _cumulated(scores, positive, weight)
    hits, false = np.append(0.0, hits), np.append(0.0, false)
    with np.errstate(invalid="ignore"):
        return RocCurve(false / false[-1], hits / hits[-1], np.append(np.inf, thresholds))


def precision_recall_curve(
    scores: Float[np.ndarray, "b"], positive: Bool[np.ndarray, "b"], weight: Float[np.ndarray, "b"] | None = None
) -> PrecisionRecallCurve:
    """Precision and recall at every threshold; ties share one point.

    Raises:
      ValueError: as `roc_curve`.
    """
    hits, false, thresholds = _cumulated(scores, positive, weight)
    called = hits + false
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    recall = hits / hits[-1] if hits[-1] else np.ones_like(hits)
    return PrecisionRecallCurve(np.append(precision[::-1], 1.0), np.append(recall[::-1], 0.0), thresholds[::-1])


def average_precision(
    scores: Float[np.ndarray, "b"], positive: Bool[np.ndarray, "b"], weight: Float[np.ndarray, "b"] | None = None
) -> float:
    """Sum over thresholds of (R_n - R_{n-1}) P_n, the area under the precision-recall curve without interpolation.

    Without positive examples it is 0.

    Raises:
      ValueError: as `roc_curve`.
    """
    precision, recall, _ = precision_recall_curve(scores, positive, weight)
    return float(max(0.0, -(np.diff(recall) * precision[:-1]).sum()))


def area_under_curve(x: Float[np.ndarray, "t"], y: Float[np.ndarray, "t"]) -> float:
    """Area under the line through points whose x rises or falls throughout, by the trapezoidal rule.

    Raises:
      ValueError: fewer than two points, or x goes to and fro.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"an area needs two points or more, x and y alike, got the shapes {x.shape} and {y.shape}")
    steps = np.diff(x)
    if (steps < 0).any() and (steps > 0).any():
        raise ValueError("x must rise or fall throughout: sort the points by it")
    return float(np.trapezoid(y, x) * (-1 if (steps < 0).any() else 1))


def calibration_curve(
    probabilities: Float[np.ndarray, "b"],
    positive: Bool[np.ndarray, "b"],
    bins: int = 10,
    strategy: Literal["uniform", "quantile"] = "uniform",
) -> CalibrationCurve:
    """How often what is said to have probability p is true: a reliability diagram (DeGroot & Fienberg, 1983).

    Args:
      probabilities: in [0, 1].
      positive: whether it was true.
      bins: how many; those without examples are left out.
      strategy: "uniform", bins of equal width; "quantile", bins of equally many examples.

    Raises:
      ValueError: probabilities outside of [0, 1], a label other than 0 and 1, `bins` below 1, or an unknown strategy.
    """
    p, true = np.asarray(probabilities, np.float64), _truth(positive)
    _check(p, true)
    if p.min() < 0 or p.max() > 1:
        raise ValueError(f"probabilities must be from 0 to 1, got {p.min()} to {p.max()}: give softmax or sigmoid's")
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    if strategy not in ("uniform", "quantile"):
        raise unknown("strategy", strategy, ("uniform", "quantile"))
    even = np.linspace(0.0, 1.0, bins + 1)
    edges = even if strategy == "uniform" else np.percentile(p, even * 100)
    index = np.searchsorted(edges[1:-1], p)
    count = np.bincount(index, minlength=bins)
    there = count > 0
    predicted, observed = (np.bincount(index, weights=values, minlength=bins) for values in (p, true))
    return CalibrationCurve(predicted[there] / count[there], observed[there] / count[there], count[there] / len(p))


def _truth(positive: np.ndarray) -> np.ndarray:
    """Bool of 0 and 1 too; other labels are refused, as 1 and 2 would both be positive."""
    given = np.asarray(positive)
    strange = given[~np.isin(given, (0, 1))]
    if strange.size:
        raise ValueError(f"positive must be True or False, or 1 or 0, got {strange[0]}: compare labels with a class")
    return given.astype(bool)


def _check(scores: np.ndarray, positive: np.ndarray) -> None:
    if scores.ndim != 1 or scores.shape != positive.shape:
        raise ValueError(f"scores and positive must be [B], got the shapes {scores.shape} and {positive.shape}")
    some_examples(len(scores))
    if not np.isfinite(scores).all():
        raise ValueError(f"{int((~np.isfinite(scores)).sum())} scores are not finite: leave these examples out")


def _cumulated(scores: np.ndarray, positive: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Weight of the positive and of the negative examples at or above each different score, and the scores, falling."""
    scores, positive = np.asarray(scores, np.float64), _truth(positive)
    _check(scores, positive)
    w = np.ones(len(scores)) if weight is None else np.asarray(weight, np.float64)
    if w.shape != scores.shape or not (w >= 0).all() or not w.any():
        raise ValueError(f"weight must be {scores.shape}, 0 or more and not all 0, got the shape {w.shape}")
    scores, positive, w = scores[w > 0], positive[w > 0], w[w > 0]  # what weighs nothing makes no threshold
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # the last of equal scores
    hits = np.cumsum((w * positive)[order])[last]
    false = np.cumsum((w * ~positive)[order])[last]
    return hits, false, ranked[last]
