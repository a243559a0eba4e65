"""Means over seeds, how sure they are, and differences between two rows of a sweep. Imports no JAX.

Two intervals are given, as neither is right at the few seeds that a sweep has. The bootstrap assumes no distribution,
but a resample of n values cannot spread as n new ones would: it is too narrow. Student's interval has its coverage at
every n where the values are normal, and is wide. Share of 95% intervals that hold the true mean, 8,000 draws each
(2,000 resamples; the test repeats the normal ones):

    seeds                           2     3     5    10    20
    normal, bootstrap percentile  50%   75%   84%   90%   92%
    normal, bootstrap BCa         50%   73%   84%   90%   92%
    normal, Student's t           95%   95%   95%   95%   95%
    log-normal, percentile        42%   64%   72%   79%   85%
    log-normal, Student's t       89%   84%   83%   83%   87%

Sources: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 14; Student, Biometrika 1908;
Holm, Scandinavian Journal of Statistics 6, 1979. SciPy computes them; it is an optional extra.
"""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

Numbers = Sequence[float] | np.ndarray

# Measured coverage in percent of the 95% bootstrap interval for normal draws; see the table above.
COVERAGE = {2: 50, 3: 75, 5: 84, 10: 90, 20: 92}
ROUNDING = 1e-12  # values that differ by less, relative to the largest, are one value computed twice

Interval = tuple[float, float]


class Difference(NamedTuple):
    """Of a row from the base, over the seeds that both have."""

    mean: float
    interval: Interval | None  # bootstrap
    t_interval: Interval | None  # Student
    p: float  # two-sided; NaN where there is no test
    pairs: int


def bootstrap_interval(
    values: Numbers, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> Interval | None:
    """Percentile bootstrap interval of the mean (Efron & Tibshirani 1993, section 13.3).

    Not BCa: its acceleration and bias are themselves estimated from the n values. It was measured to cover no better
    at 5 to 20 normal values and worse at 3 (see the module). With 3 values the interval runs from the least to the
    largest, as one resample in 27 is three times the least: no resampling can do more.

    Args:
      values: [n], finite; one for each seed.
      confidence: share of such intervals that would hold the mean if n were large.
      resamples: draws with replacement.
      seed: of these draws: the same values give the same interval.

    Returns:
      (low, high) in the unit of the values, or None where they say nothing about spread: fewer than two, or all equal.

    Raises:
      ValueError: a value is not finite, or `confidence` is not between 0 and 1.
      ImportError: SciPy is not there.
    """
    array = _checked(values, confidence)
    if _constant(array):
        return None
    found = _scipy_stats().bootstrap(
        (array,),
        np.mean,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def t_interval(values: Numbers, confidence: float = 0.95) -> Interval | None:
    """Student's interval of the mean: mean +- t(n - 1) s / sqrt(n). Exact for normal values.

    Args:
      values: [n], finite.
      confidence: share of such intervals that hold the mean.

    Returns:
      (low, high) in the unit of the values, or None: fewer than two, or all equal.

    Raises:
      ValueError: as `bootstrap_interval`.
      ImportError: SciPy is not there.
    """
    array = _checked(values, confidence)
    if _constant(array):
        return None
    low, high = _scipy_stats().t.interval(
        confidence, len(array) - 1, loc=array.mean(), scale=array.std(ddof=1) / math.sqrt(len(array))
    )
    return float(low), float(high)


def paired_difference(values: Numbers, base: Numbers, confidence: float = 0.95) -> Difference:
    """Mean of values - base, pair by pair, its intervals, and the p-value of the paired t-test (Student 1908).

    Where every difference is the same there is nothing to test with. Where it is zero, the rows are equal and p is 1.
    Where it is not, the t statistic is infinite and its p would be 0, however few the seeds: that claims certainty from
    the absence of any measured spread. Such figures (a count of parameters, a whole number of modes in three runs) get
    NaN, "no test", and are left out of the correction for many tests.

    Args:
      values: [n], finite; one for each seed.
      base: [n], finite; of the same seeds in the same order.
      confidence: of both intervals.

    Returns:
      The difference; without pairs its mean is NaN, with fewer than two it has no interval and p is NaN.

    Raises:
      ValueError: the lengths differ, or as `bootstrap_interval`.
      ImportError: SciPy is not there.
    """
    ours, theirs = _checked(values, confidence), _checked(base, confidence)
    if len(ours) != len(theirs):
        raise ValueError(
            f"paired values need the same seeds in the same order, got {len(ours)} and {len(theirs)}: "
            "keep those seeds that both have"
        )
    if not len(ours):
        return Difference(math.nan, None, None, math.nan, 0)
    differences = ours - theirs
    scale = float(np.abs([ours, theirs]).max())
    if np.ptp(differences) <= ROUNDING * scale:
        # One pair is no test either, even where it is equal.
        same = len(ours) > 1 and float(np.abs(differences).max()) <= ROUNDING * scale
        return Difference(float(differences.mean()), None, None, 1.0 if same else math.nan, len(ours))
    p = float(_scipy_stats().ttest_rel(ours, theirs).pvalue)
    pairs = differences.tolist()
    return Difference(
        float(differences.mean()),
        bootstrap_interval(pairs, confidence),
        t_interval(pairs, confidence),
        p,
        len(pairs),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may be below the one before it, none above
    1. Rejecting those at or below alpha keeps the chance of any false rejection at or below alpha, however the tests
    depend on each other.

    Args:
      p_values: [m], each in [0, 1], or NaN where there was no test: these stay NaN and are not counted.

    Returns:
      [m], in the same order.

    Raises:
      ValueError: a value lies outside [0, 1].
    """
    tested = [index for index, p in enumerate(p_values) if not math.isnan(p)]
    for index in tested:
        if not 0 <= p_values[index] <= 1:
            raise ValueError(f"a p-value lies between 0 and 1, got {p_values[index]}: give NaN where there was no test")
    corrected, before = [math.nan] * len(p_values), 0.0
    for rank, index in enumerate(sorted(tested, key=lambda index: p_values[index])):
        before = corrected[index] = min(1.0, max(before, (len(tested) - rank) * p_values[index]))
    return corrected


def _checked(values: Numbers, confidence: float) -> np.ndarray:
    array = np.asarray(values, np.float64).reshape(-1)
    if not np.isfinite(array).all():
        bad = float(array[~np.isfinite(array)][0])
        raise ValueError(f"{bad} among the values has no mean: leave such runs out, and say how many")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}: such as 0.95")
    return array


def _constant(array: np.ndarray) -> bool:
    """Whether fewer than two values differ by more than rounding."""
    return len(array) < 2 or bool(np.ptp(array) <= ROUNDING * np.abs(array).max())


def _scipy_stats() -> ModuleType:
    try:
        from scipy import stats
    except ImportError as error:
        raise ImportError("a sweep's table needs an extra: pip install 'gen_models[sweep]'") from error
    return stats
