"""Exact comparisons of Euclidean distances, at the speed of products of matrices.

|a - b|^2 = |a|^2 + |b|^2 - 2 a.b is one product for a whole block of pairs, but it loses the digits of small distances.
So it gives an interval that holds |a - b|^2, as wide as the rounding can be (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, section 3.1). Where the interval leaves a comparison open, and there only, the differences
of the coordinates are squared and summed. Every answer is therefore the one that such sums give: identical points are
at distance 0 exactly, and distances that are equal are ties.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from gen_models.evaluation._features import slices, wide

BLOCK = 1024  # points on each side of a block of pairs: 8 MiB for each of its matrices in float64
_AT_ONCE = 2**21  # coordinates of differences that are held together


class Pairs(NamedTuple):
    """A block of pairs: points `rows` of the first set with points `columns` of the second."""

    rows: slice
    columns: slice
    low: np.ndarray  # [b, t]: |a - b|^2 is not below it; 0 or more
    high: np.ndarray  # [b, t]: nor above it

    def turned(self) -> "Pairs":
        """The same pairs, the second set's points first."""
        return Pairs(self.columns, self.rows, self.low.T, self.high.T)


def pairs(first: np.ndarray, second: np.ndarray, block: int, *, once: bool = False) -> Iterator[Pairs]:
    """All pairs of two sets [N, D] and [M, D], block by block, by rows and within them by columns.

    With `once`, both sets are one, and of each two blocks the pairs come once, those of earlier rows with later ones.

    Raises:
      ValueError: squared distances may overflow.
    """
    for points in (first, second):
        _check_range(points)
    # Distances do not change where all points are moved alike, and small coordinates round to smaller errors.
    centre = sum(wide(second[part]).sum(0) for part in slices(len(second), block)) / len(second)
    # With u = epsilon / 2, to first order: norms and product 2 D u (|a|^2 + |b|^2), moving the points 4 u, the sums
    # above 4 u, and 2 (D + 2) u for the sum of squared differences itself, of which the interval must hold what is
    # computed. In all (4 D + 12) u.
    width = (2 * first.shape[1] + 8) * np.finfo(np.float64).eps
    for rows in slices(len(first), block):
        a = wide(first[rows]) - centre
        a_squared = np.square(a).sum(1)[:, None]
        for columns in slices(len(second), block):
            if once and columns.start < rows.start:
                continue
            b = wide(second[columns]) - centre
            sizes = a_squared + np.square(b).sum(1)
            low = a @ b.T
            low *= -2
            low += sizes
            sizes *= width
            high = low + sizes
            low -= sizes
            yield Pairs(rows, columns, np.maximum(low, 0, out=low), high)


def _check_range(points: np.ndarray) -> None:
    """Refuse coordinates of a size m for which a sum here may overflow: none exceeds 16 D m^2."""
    largest = max(float(np.abs(points[part]).max()) for part in slices(len(points), BLOCK))
    most = float(np.sqrt(np.finfo(np.float64).max / (16 * points.shape[1])))
    if largest > most:
        raise ValueError(
            f"features are as large as {largest:g}, whose squared distances overflow in {points.shape[1]} dimensions: "
            f"scale them all to at most {most:.0e}"
        )


def squared_differences(first: np.ndarray, second: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[P]: the sums of squared differences of the pairs first[rows], second[columns]: the same in either order."""
    found = np.empty(len(rows))
    for part in slices(len(rows), max(1, _AT_ONCE // first.shape[1])):
        difference = wide(first[rows[part]]) - second[columns[part]]
        found[part] = np.square(difference, out=difference).sum(1)
    return found


def within(first: np.ndarray, second: np.ndarray, block: Pairs, limit: np.ndarray) -> np.ndarray:
    """Bool [b, t]: whether |a - b|^2 is at most the limit, [b, 1] or [1, t], for the pairs of a block."""
    inside = block.high <= limit
    row, column = np.nonzero((block.low <= limit) != inside)
    if row.size:
        exact = squared_differences(first[block.rows], second[block.columns], row, column)
        inside[row, column] = exact <= np.broadcast_to(limit, inside.shape)[row, column]
    return inside


def nearest(
    queries: np.ndarray, references: np.ndarray, k: int, block: int, *, others: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances and indices, [N, k] each, of the k nearest references, the nearest first.

    Of equally distant references those with a lower index come first. With `others`, both sets are one, and no point is
    a neighbour of itself.
    """
    squared = np.full((len(queries), k), np.inf)
    indices = np.full((len(queries), k), -1)
    for each in pairs(queries, references, block, once=others):
        if others and each.rows == each.columns:
            np.fill_diagonal(each.low, np.inf)
            np.fill_diagonal(each.high, np.inf)
        both = others and each.rows != each.columns
        for one in (each, each.turned()) if both else (each,):
            row, column = _possible(one, squared[one.rows, -1:], k)
            if row.size:
                found = squared_differences(queries[one.rows], references[one.columns], row, column)
                squared[one.rows], indices[one.rows] = _nearer(
                    squared[one.rows], indices[one.rows], row, found, one.columns.start + column
                )
    return squared, indices


def _possible(block: Pairs, last: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pairs that may be among the k nearest, where the last of these was at `last`, [b, 1].

    References come in the order of their indices, so that one which is as far as the last comes behind it.
    """
    possible = block.low < last
    crowded = possible.sum(1) > k
    if crowded.any():
        limit = np.partition(block.high[crowded], k - 1)[:, k - 1 : k]
        possible[crowded] &= block.low[crowded] <= limit
    row, column = np.nonzero(possible)
    return row, column


def _nearer(
    squared: np.ndarray, indices: np.ndarray, row: np.ndarray, found: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest [b, k] of those that are known, [b, k], and of further ones of given rows, [P]."""
    count, k = squared.shape
    rows = np.concatenate([np.repeat(np.arange(count), k), row])
    values = np.concatenate([squared.ravel(), found])
    index = np.concatenate([indices.ravel(), index])
    order = np.lexsort((values, rows))  # it is stable: equal values stay in the order of their indices
    first = np.searchsorted(rows[order], np.arange(count))
    best = order[first[:, None] + np.arange(k)]
    return values[best], index[best]
