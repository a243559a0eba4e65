"""What people say of images: how often generated ones pass for real ones, and which of two models they prefer.

Error rates are those of HYPE (Zhou et al., HYPE: A Benchmark for Human eYe Perceptual Evaluation of Generative Models,
2019): of images half of which are real, the share that is judged wrongly; 1/2 is what guessing gives, and more than
that says that generated images look more real than real ones. With unlimited time it is their HYPE-infinity. Their
HYPE-time finds, for each rater, the exposure at which errors set in; a rate at one fixed exposure, as here, is not that
number.

Preferences between several models are read by the model of Bradley and Terry (Rank Analysis of Incomplete Block
Designs, 1952): i is preferred to j with probability 1 / (1 + exp(s_j - s_i)), s the log-strengths.

All judgements by one rater share that rater's eye, so that intervals which take them for independent ones are too
narrow. Beside each such interval stands one that takes raters for the independent units. Both are of 95%, and the
second is itself too narrow for few raters: below ten or so the uncertainty is larger than it says.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from gen_models.evaluation._intervals import Z, wilson
from gen_models.models.sizes import check_sizes

_AT_ONCE = 1000  # resamples whose weights are in memory together
_STEPS = 100  # of Newton's method, which needs about ten
_CLOSE = 1e-10  # how far a log-strength moves in a step at which Newton's method ends

Interval = tuple[float, float]  # (low, high)


class Share(NamedTuple):
    """A share of judgements, with 95% intervals."""

    share: float
    interval: Interval  # Wilson's, as if all judgements were independent
    by_rater: Interval | None  # percentiles of the bootstrap over raters; None with one rater
    held: int  # judgements of which it holds
    total: int
    raters: int


def share(
    found: Bool[np.ndarray, "n"], raters: Int[np.ndarray, "n"], *, resamples: int = 10_000, seed: int = 0
) -> Share:
    """The share of judgements of which something holds.

    The bootstrap draws raters with replacement, each with all of their judgements, and pools these.

    Args:
      found: of which judgements it holds.
      raters: who gave each, as any whole numbers.
      resamples: how many times raters are drawn.
      seed: of these draws.

    Raises:
      ValueError: there is no judgement, or the arrays differ in length.
    """
    check_sizes(resamples=resamples)
    _check_alike(found=found, raters=raters)
    who, index = np.unique(raters, return_inverse=True)
    totals = np.bincount(index, minlength=len(who))
    counts = np.bincount(index[found], minlength=len(who))
    count, total = int(counts.sum()), int(totals.sum())
    by_rater = None if len(who) < 2 else _bootstrap(counts, totals, resamples, seed)
    return Share(count / total, wilson(count, total), by_rater, count, total, len(who))


def _bootstrap(counts: np.ndarray, totals: np.ndarray, resamples: int, seed: int) -> Interval:
    """Percentiles of the pooled share over resamples of the raters."""
    rng, found = np.random.default_rng(seed), list[np.ndarray]()
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        weights = rng.multinomial(len(totals), np.full(len(totals), 1 / len(totals)), size=size)
        found.append((weights @ counts) / (weights @ totals))
    low, high = np.percentile(np.concatenate(found), [2.5, 97.5])
    return float(low), float(high)


class ErrorRates(NamedTuple):
    """What `error_rates` gives; None where no such image has been judged."""

    fakes_as_real: Share | None  # of the generated images, those that were taken for real ones
    reals_as_fake: Share | None  # of the real images, those that were taken for generated ones
    error: Share  # of all judgements, the wrong ones: HYPE's rate, where half of the images are real


def error_rates(
    real: Bool[np.ndarray, "n"],
    said_real: Bool[np.ndarray, "n"],
    raters: Int[np.ndarray, "n"],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> ErrorRates:
    """How often raters were wrong about which images are real (Zhou et al., 2019).

    Args:
      real: which images are real.
      said_real: which were said to be.
      raters: who said so, as any whole numbers.
      resamples: of the bootstrap over raters.
      seed: of these resamples.

    Raises:
      ValueError: there is no judgement, or the arrays differ in length.
    """
    _check_alike(real=real, said_real=said_real, raters=raters)
    wrong = real != said_real

    def of(chosen: np.ndarray) -> Share | None:
        return share(wrong[chosen], raters[chosen], resamples=resamples, seed=seed) if chosen.any() else None

    return ErrorRates(of(~real), of(real), share(wrong, raters, resamples=resamples, seed=seed))


class Strengths(NamedTuple):
    """What `bradley_terry` gives: log-strengths, whose mean is 0, with 95% intervals."""

    strengths: Float[np.ndarray, "k"]
    intervals: Float[np.ndarray, "k 2"]  # by Fisher's information, as if all judgements were independent
    by_rater: Float[np.ndarray, "k 2"] | None  # by the sums of each rater's scores; None with one rater
    wins: Int[np.ndarray, "k k"]  # [i, j]: how often i was preferred to j

    def preferred(self, one: int, other: int) -> float:
        """The probability that `one` is preferred to `other`."""
        return float(_logistic(self.strengths)[one, other])


def bradley_terry(
    winners: Int[np.ndarray, "n"], losers: Int[np.ndarray, "n"], raters: Int[np.ndarray, "n"], competitors: int
) -> Strengths:
    """The maximum-likelihood strengths of competitors that were compared in pairs (Bradley & Terry, 1952).

    They are found by Newton's method, as the log-likelihood is concave in log-strengths. They are finite, and the only
    ones, where each competitor is tied to each other by a chain of wins in both directions (Ford, Solution of a Ranking
    Problem from Binary Comparisons, 1957; assumption 1 of Hunter, MM Algorithms for Generalized Bradley-Terry Models,
    2004). The first intervals are normal, with the inverse of Fisher's information; the second ones put the variance
    of the raters' sums of scores in its middle (Liang & Zeger, Longitudinal Data Analysis Using Generalized Linear
    Models, 1986), times raters / (raters - 1).

    Args:
      winners: of each comparison, who was preferred, 0 to competitors - 1.
      losers: the other one.
      raters: who said so, as any whole numbers.
      competitors: how many there are.

    Raises:
      ValueError: there is no comparison, a competitor is none or its own opponent, or no finite strengths fit, which
        names a set of competitors that never lost to the rest, or never met it.
    """
    check_sizes(competitors=competitors)
    _check_alike(winners=winners, losers=losers, raters=raters)
    _check_competitors(winners, losers, competitors)
    wins = np.zeros((competitors, competitors), np.int64)
    np.add.at(wins, (winners, losers), 1)
    if (unbeaten := unbeaten_set(wins)) is not None:
        raise ValueError(
            f"no finite strengths fit: the competitors {unbeaten} have lost to none of the others, so that their "
            "strengths would be infinite; ask more questions, or leave competitors out"
        )
    strengths = _fitted(wins)
    covariance = _inverse(_information(wins, strengths))
    intervals = _around(strengths, covariance)
    who, index = np.unique(raters, return_inverse=True)
    if len(who) < 2:
        return Strengths(strengths, intervals, None, wins)
    surprise = 1 - _logistic(strengths)[winners, losers]  # of each comparison, its score
    scores = np.zeros((len(who), competitors))
    np.add.at(scores, (index, winners), surprise)
    np.add.at(scores, (index, losers), -surprise)
    middle = scores.T @ scores * len(who) / (len(who) - 1)
    return Strengths(strengths, intervals, _around(strengths, covariance @ middle @ covariance), wins)


def unbeaten_set(wins: Int[np.ndarray, "k k"]) -> list[int] | None:
    """Competitors, not all of them, who have never lost to one of the others; None where there is no such set.

    There is none exactly where a chain of wins leads from every competitor to every other.

    Args:
      wins: [i, j]: how often i was preferred to j.
    """
    beats = np.asarray(wins) > 0
    for one in range(len(beats)):
        reached = np.arange(len(beats)) == one
        while (more := reached | beats[:, reached].any(1)).sum() > reached.sum():  # and who has beaten one of them
            reached = more
        if not reached.all():
            return [int(index) for index in np.nonzero(reached)[0]]
    return None


def _fitted(wins: np.ndarray) -> np.ndarray:
    strengths = np.zeros(len(wins))
    for _ in range(_STEPS):
        expected = (wins + wins.T) * _logistic(strengths)
        step = _inverse(_information(wins, strengths)) @ (wins.sum(1) - expected.sum(1))
        before = _log_likelihood(wins, strengths)
        # Far from the maximum a whole step may lead too far; halved often enough it climbs, up to rounding.
        while np.abs(step).max() > _CLOSE and _log_likelihood(wins, strengths + step) < before:
            step = step / 2
        strengths = strengths + step
        if np.abs(step).max() <= _CLOSE:
            break
    return strengths - strengths.mean()


def _log_likelihood(wins: np.ndarray, strengths: np.ndarray) -> float:
    return -float((wins * np.logaddexp(0, strengths - strengths[:, None])).sum())


def _information(wins: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """Fisher's information on the log-strengths [K, K], which is singular along their common shift."""
    p = _logistic(strengths)
    weights = (wins + wins.T) * p * (1 - p)
    return np.diag(weights.sum(1)) - weights


def _inverse(information: np.ndarray) -> np.ndarray:
    """The inverse among log-strengths whose sum is 0."""
    count = len(information)
    return np.linalg.inv(information + np.ones((count, count)) / count) - np.ones((count, count)) / count


def _around(strengths: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    half = Z * np.sqrt(np.maximum(np.diag(covariance), 0))
    return np.stack([strengths - half, strengths + half], 1)


def _logistic(strengths: np.ndarray) -> np.ndarray:
    """[K, K]: the probability that i is preferred to j."""
    return np.exp(-np.logaddexp(0, strengths - strengths[:, None]))


def _check_alike(**arrays: np.ndarray) -> None:
    sizes = {name: np.shape(values) for name, values in arrays.items()}
    if len({*sizes.values()}) > 1 or any(len(size) != 1 or not size[0] for size in sizes.values()):
        got = ", ".join(f"{name} {list(size)}" for name, size in sizes.items())
        raise ValueError(f"judgements must be one or more, [N] in each array, got {got}")


def _check_competitors(winners: np.ndarray, losers: np.ndarray, competitors: int) -> None:
    both = np.stack([winners, losers])
    wrong = (both < 0) | (both >= competitors) | (winners == losers)
    if competitors < 2 or wrong.any():
        at = int(np.argmax(wrong.any(0)))
        raise ValueError(
            f"each comparison must be of two different competitors from 0 to {competitors - 1}, and there must be two "
            f"or more of them; comparison {at} is of {winners[at]} and {losers[at]}"
        )
