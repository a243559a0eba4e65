"""The Inception score: how sure a classifier is of samples, and over how many classes they spread.

    exp(mean_i KL(p(y | x_i) || p(y))),  p(y) = mean_i p(y | x_i)

Salimans et al., Improved Techniques for Training GANs (2016), section 4: from 1, where all samples have the same
probabilities, to the number of classes. No data are looked at; a model that gives one good sample of each class has the
highest score. It is biased, by the number of samples over which p(y) is a mean: compare scores of equal numbers.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gen_models.evaluation._features import check_finite, slices, wide
from gen_models.models.sizes import check_sizes

# How far sums of probabilities may be from 1: those that are computed in float32 and rounded to float16 are within it,
# as each is changed by a 2048th of itself at most; of bfloat16, or with sums in half precision, they may not be.
_CLOSE = 1e-3
_AT_ONCE = 4096  # samples that are taken to float64 together


class InceptionScore(NamedTuple):
    """What `inception_score` gives."""

    score: float  # the mean over the splits
    spread: float  # standard deviation over the splits, divided by splits - 1; NaN with one split
    each: Float[np.ndarray, "splits"]


def inception_score(
    probabilities: Float[np.ndarray, "n k"] | Sequence[Sequence[float]], *, splits: int = 10
) -> InceptionScore:
    """The score of each of `splits` stretches of the samples, in their order, and their mean and spread.

    Salimans et al. give 50,000 samples in 10 splits. The splits are stretches, as in their code, so that samples must
    come in random order, not class by class. Their spread is ours times sqrt((splits - 1) / splits), and it is that of
    one split's score.

    Args:
      probabilities: [N, K] of the K classes for each sample, an array or nested lists, not logits; rows are divided by
        their sums, which rounding has left near 1.
      splits: into how many stretches of equal size, or sizes that differ by 1, the samples are cut.

    Raises:
      ValueError: rows are not finite, have negative entries or do not sum to 1 within 0.001, or there are fewer samples
        than splits.
    """
    check_sizes(splits=splits)
    probabilities = np.asarray(probabilities)
    if np.ndim(probabilities) != 2 or len(probabilities) < splits:
        raise ValueError(
            f"probabilities must be [N, K] with one sample or more for each of {splits} splits, got "
            f"{np.shape(probabilities)}"
        )
    check_finite("the probabilities", probabilities)
    edges = [split * len(probabilities) // splits for split in range(splits + 1)]
    each = np.array([_score(probabilities[start:end], start) for start, end in pairwise(edges)])
    return InceptionScore(float(each.mean()), float(each.std(ddof=1)) if splits > 1 else math.nan, each)


def _score(probabilities: np.ndarray, start: int) -> float:
    """exp(H(mean_i p_i) - mean_i H(p_i)), the same as the mean divergence from the mean."""
    total, entropies = np.zeros(probabilities.shape[1]), 0.0
    for rows in slices(len(probabilities), _AT_ONCE):
        p = wide(probabilities[rows])
        sums = p.sum(1, keepdims=True)
        wrong = np.nonzero((np.abs(sums[:, 0] - 1) > _CLOSE) | (p < 0).any(1))[0]
        if wrong.size:
            raise ValueError(
                "rows must be probabilities, of 0 or more and with the sum 1, but those of row "
                f"{start + rows.start + wrong[0]} sum to {sums[wrong[0], 0]:g}, and the least of them is "
                f"{p[wrong[0]].min():g}: take the softmax of logits"
            )
        p = p / sums
        total += p.sum(0)
        entropies += _entropy(p).sum()
    mean = total[None] / len(probabilities)
    return float(np.exp(_entropy(mean)[0] - entropies / len(probabilities)))


def _entropy(p: np.ndarray) -> np.ndarray:
    """[N]: - sum p log p over the classes, nats; 0 log 0 is 0."""
    return -(p * np.log(np.where(p > 0, p, 1))).sum(1)
