"""Nearest neighbours of features in Euclidean distance: exact, in float64 and in blocks of bounded memory.

Nearest training examples beside samples show what a model has memorised. Features may be float32; blocks of them are
taken to float64. Of `block` points on each side, some matrices [block, block] and [block, D] are held beside the
features and the result, whatever their numbers.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_models.evaluation._distances import BLOCK, nearest
from gen_models.evaluation._features import check_features, check_neighbours
from gen_models.models.sizes import check_sizes


class Neighbours(NamedTuple):
    """What `nearest_neighbours` gives: of each point its neighbours, the nearest first."""

    distances: Float[np.ndarray, "n k"]  # Euclidean; 0 exactly for identical points
    indices: Int[np.ndarray, "n k"]  # of equally distant ones the lower index comes first


class ClosestPairs(NamedTuple):
    """What `closest_pairs` gives: pairs of points, the closest first."""

    distances: Float[np.ndarray, "count"]
    indices: Int[np.ndarray, "count 2"]  # the lower index of a pair first


def nearest_neighbours(
    queries: Float[np.ndarray, "n d"], references: Float[np.ndarray, "m d"], k: int = 1, *, block: int = BLOCK
) -> Neighbours:
    """The k nearest references of each query, such as the training examples that a sample is nearest to.

    Args:
      queries: [N, D].
      references: [M, D].
      k: how many neighbours, at most M.
      block: points on each side of the blocks that are compared at a time; the result does not depend on it.

    Raises:
      ValueError: features are empty, not finite or of different dimensions, or k is below 1 or above M.
    """
    check_features(queries=queries, references=references)
    check_neighbours(k, len(references), "references")
    check_sizes(block=block)
    squared, indices = nearest(queries, references, k, block)
    return Neighbours(np.sqrt(squared), indices)


def other_neighbours(features: Float[np.ndarray, "n d"], k: int = 1, *, block: int = BLOCK) -> Neighbours:
    """The k nearest other points of each point of one set; a copy of it is another point, at distance 0.

    Args:
      features: [N, D].
      k: how many neighbours, at most N - 1.
      block: as in `nearest_neighbours`.

    Raises:
      ValueError: there are fewer than 2 points, features are not finite, or k is below 1 or above N - 1.
    """
    check_features(least=2, features=features)
    check_neighbours(k, len(features) - 1, "other points")
    check_sizes(block=block)
    squared, indices = nearest(features, features, k, block, others=True)
    return Neighbours(np.sqrt(squared), indices)


def closest_pairs(features: Float[np.ndarray, "n d"], count: int = 20, *, block: int = BLOCK) -> ClosestPairs:
    """The closest pairs of one set, to be looked at: are they duplicates?

    Arora & Zhang, Do GANs Actually Learn the Distribution? (2017), show a person the 20 most similar pairs of a batch
    of samples; `gen_models.evaluation.support` tells what duplicates say.

    Args:
      features: [N, D].
      count: how many pairs, at most N (N - 1) / 2.
      block: as in `nearest_neighbours`.

    Raises:
      ValueError: as `other_neighbours`, or `count` is below 1 or above the number of pairs.
    """
    check_features(least=2, features=features)
    check_sizes(count=count)
    available = len(features) * (len(features) - 1) // 2
    if count > available:
        raise ValueError(f"count={count} pairs are asked for, but there are {available}: take a smaller count")
    # A point of one of the first pairs has fewer than `count` neighbours that are nearer than the other point.
    k = min(count, len(features) - 1)
    distances, indices = other_neighbours(features, k, block=block)
    first, second = np.repeat(np.arange(len(features)), k), indices.ravel()
    once = first < second
    first, second, distance = first[once], second[once], distances.ravel()[once]
    order = np.lexsort((second, first, distance))[:count]
    return ClosestPairs(distance[order], np.stack([first, second], 1)[order])
