"""How far samples and data lie in the same places: precision, recall, density, coverage and authenticity of features.

The first four compare samples y_1, ..., y_M with the balls around data x_1, ..., x_N whose radius is the distance to
the k-th nearest other example, or the other way round:

- precision (Kynkaanniemi et al., Improved Precision and Recall Metric for Assessing Generative Models, 2019, eq. 1 and
  2): the share of samples that lie in a ball of any example; recall: the share of data in a ball of any sample;
- density (Naeem et al., Reliable Fidelity and Diversity Metrics for Generative Models, 2020, section 3): the number of
  examples' balls that a sample lies in, divided by k, as a mean over samples: it may exceed 1; coverage: the share of
  examples in whose ball any sample lies.

Balls are closed, as in the first paper's eq. 1: a sample at the very distance of the k-th neighbour is inside. The
second paper's code leaves it out, which makes a difference where distances repeat, and there alone.

If data and samples have the same continuous distribution, density is 1 and coverage `expected_coverage` in expectation,
whatever the distribution and the dimension; precision and recall depend on both, and are far below 1 in many
dimensions. All four depend on N, M and k: compare them at equal ones.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gen_models.evaluation._distances import BLOCK, nearest, pairs, within
from gen_models.evaluation._features import check_features, check_neighbours
from gen_models.models.sizes import check_sizes


class ManifoldStatistics(NamedTuple):
    """What `manifold_statistics` gives."""

    precision: float  # share of the samples
    recall: float  # share of the data
    density: float  # 0 or more
    coverage: float  # share of the data


def manifold_statistics(
    data: Float[np.ndarray, "n d"], samples: Float[np.ndarray, "m d"], k: int = 5, *, block: int = BLOCK
) -> ManifoldStatistics:
    """Precision, recall, density and coverage of samples; see the module's docstring.

    Comparisons are exact, in float64. Beside the features, which may be float32, a few matrices [block, block] and
    [block, D] are held, 0.1 GB of them for 2,048 dimensions, and k + 2 numbers for each point, however many there are.
    10,000 examples and as many samples of 512 dimensions took 6.4 s of one core's time, of 2 cores of an AMD EPYC,
    shared; nearly all of it is products of matrices, so that it grows as the number of pairs and of dimensions.

    Args:
      data: features of examples that the samples are compared with.
      samples: features of as many samples, by custom.
      k: the neighbour whose distance is a ball's radius: 3 for Kynkaanniemi et al., 5 for Naeem et al.
      block: points on each side of the blocks that are compared at a time; the result does not depend on it.

    Raises:
      ValueError: features are not finite or of different dimensions, or k is below 1, or not below N and M.
    """
    check_features(least=2, data=data, samples=samples)
    check_neighbours(k, len(data) - 1, "other examples beside each of the data")
    check_neighbours(k, len(samples) - 1, "other samples beside each of the samples")
    check_sizes(block=block)
    data_radius = nearest(data, data, k, block, others=True)[0][:, -1:]  # squared, as all that is compared
    sample_radius = nearest(samples, samples, k, block, others=True)[0][:, -1:]
    balls_of_data = np.zeros(len(samples), np.int64)  # in how many each sample lies
    covered, recalled = np.zeros(len(data), bool), np.zeros(len(data), bool)
    for each in pairs(data, samples, block):
        inside = within(data, samples, each, data_radius[each.rows])
        balls_of_data[each.columns] += inside.sum(0)
        covered[each.rows] |= inside.any(1)
        recalled[each.rows] |= within(data, samples, each, sample_radius[each.columns].T).any(1)
    return ManifoldStatistics(
        precision=float((balls_of_data > 0).mean()),
        recall=float(recalled.mean()),
        density=float(balls_of_data.mean() / k),
        coverage=float(covered.mean()),
    )


def expected_coverage(examples: int, samples: int, k: int = 5) -> float:
    """The expectation of coverage where samples and data have the same continuous distribution (Naeem et al., Lemma 2).

    The ball of an example holds no sample if its k nearest of all other points are data: with N examples and M samples
    the coverage is 1 - prod_{i=1..k} (N - i) / (N + M - i), about 1 - 2^-k for N = M.

    Args:
      examples: N.
      samples: M.
      k: as in `manifold_statistics`.

    Raises:
      ValueError: a number is below 1, or k is not below N.
    """
    check_sizes(examples=examples, samples=samples)
    check_neighbours(k, examples - 1, "other examples beside each of the data")
    return 1 - math.prod((examples - i) / (examples + samples - i) for i in range(1, k + 1))


class Authenticity(NamedTuple):
    """What `authenticity` gives."""

    share: float  # of the samples that are authentic
    standard_error: float  # of the share over draws of samples, for these training examples
    authentic: Bool[np.ndarray, "m"]  # which samples are


def authenticity(
    training: Float[np.ndarray, "n d"], samples: Float[np.ndarray, "m d"], *, block: int = BLOCK
) -> Authenticity:
    """The share of samples that are no copies of training examples.

    Alaa et al., How Faithful is your Synthetic Data? (2022): a sample is authentic if it is further from the training
    example that is nearest to it than that example is from its own nearest training neighbour. Copies are at distance
    0, and are never authentic. Nor are all new draws of the training distribution itself: of many, in one dimension a
    third are, and more in more dimensions. So the share must be read beside that of examples that were held out.

    The standard error is sqrt(share (1 - share) / (M - 1)), of independent samples. Memory is bounded as in
    `manifold_statistics`, but for a copy of those training examples that are nearest to a sample.

    Args:
      training: features of the training examples.
      samples: features of samples.
      block: as in `manifold_statistics`.

    Raises:
      ValueError: features are not finite or of different dimensions, or there are fewer than 2 of either.
    """
    check_features(least=2, training=training, samples=samples)
    check_sizes(block=block)
    squared, index = nearest(samples, training, 1, block)
    near, at = np.unique(index[:, 0], return_inverse=True)  # neighbours are needed of these training examples alone
    # The nearest of all is the example itself or a copy of it; then the second one is its neighbour.
    neighbour = nearest(training[near], training, 2, block)[0][:, 1]
    authentic = squared[:, 0] > neighbour[at]
    share = float(authentic.mean())
    return Authenticity(share, math.sqrt(share * (1 - share) / (len(samples) - 1)), authentic)
