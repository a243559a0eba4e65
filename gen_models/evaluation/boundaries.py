"""How well boundaries of photographs are found, as the benchmark of BSDS500 measures it.

Arbelaez et al., Contour Detection and Hierarchical Image Segmentation (2011), section 3.1, and the benchmark's code. A
map of strengths in [0, 1] is cut at each of some thresholds and thinned to lines of one pixel. What is found is matched
one to one with the boundaries of each annotator, pixels at most 0.0075 of the image's diagonal apart. Precision is the
share of found pixels that are matched with some annotator's, recall the share of all annotators' pixels that are
matched:

    F = 2 P R / (P + R)

ODS is the largest F of counts summed over all images at one threshold, OIS that of counts at each image's own best
threshold, AP the area under precision by recall. Between two thresholds P and R are interpolated, as in the benchmark.

Networks' maps are made thin first, by keeping what is largest across the boundary (`thinned_strength`), as Dollar and
Zitnick's toolbox does (Fast Edge Detection Using Structured Forests, 2015) and HED is measured.

We differ in the matching. Ours has the smallest sum of distances and costs of pixels left alone that there is, 100
times the largest distance for each such pixel, as the benchmark's; its code minimises that in whole numbers over a
graph of which some edges are drawn at random. And the direction across a boundary is that of the Hessian's eigenvector,
where the toolbox has an approximation that agrees along axes and diagonals.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from gen_models.data.boundaries import thinning

TOLERANCE = 0.0075  # of the diagonal
SMOOTHED = 4  # radius in pixels of the triangle by which strengths are smoothed, before directions are taken of them
BORDER = 5  # pixels at an image's edges over which strengths fall to 0
SLACK = 1.01  # a pixel stays unless a neighbour across the boundary exceeds it by more than this factor
ALONE = 200  # times the largest distance: the cost of a pair less, which leaves one pixel alone in each map


class BoundaryCounts(NamedTuple):
    """Pixels of one image at each of T thresholds; counts add up over images."""

    found: Float[np.ndarray, "t"]
    found_matched: Float[np.ndarray, "t"]  # with at least one annotator's
    marked: Float[np.ndarray, "t"]  # by all annotators together
    marked_matched: Float[np.ndarray, "t"]


class BoundaryScores(NamedTuple):
    """What the benchmark says of a set of images."""

    ods: float
    threshold: float  # that of ODS
    precision: float  # at it
    recall: float  # at it
    ois: float
    ap: float


def thinned_strength(strength: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Strengths, 0 where a neighbour one pixel across the boundary is stronger, and less near the image's edges."""
    from scipy.ndimage import convolve1d, map_coordinates

    strength = np.asarray(strength, np.float64)
    triangle = np.minimum(np.arange(1, 2 * SMOOTHED + 2), np.arange(2 * SMOOTHED + 1, 0, -1)) / (SMOOTHED + 1) ** 2
    smooth = convolve1d(convolve1d(strength, triangle, axis=0), triangle, axis=1)
    down, across = np.gradient(smooth)
    (down_down, down_across), across_across = np.gradient(down), np.gradient(across, axis=1)
    # Along this angle the second derivative is largest. Across a boundary it is so in magnitude: negative on the ridge,
    # where the angle is a quarter of a turn away, and positive at its feet.
    angle = 0.5 * np.arctan2(2 * down_across, across_across - down_down)
    angle += np.where(across_across + down_down < 0, np.pi / 2, 0)
    lines, columns = np.indices(strength.shape)
    keep = np.ones(strength.shape, bool)
    for way in (-1, 1):
        places = (lines + way * np.sin(angle), columns + way * np.cos(angle))
        keep &= SLACK * strength >= map_coordinates(strength, places, order=1, mode="nearest")
    inside = [np.minimum(np.arange(n), np.arange(n)[::-1]) / max(1, min(BORDER, n // 2)) for n in strength.shape]
    return np.where(keep, strength, 0) * np.minimum(inside[0], 1)[:, None] * np.minimum(inside[1], 1)


def matched_pixels(
    found: Bool[np.ndarray, "h w"], marked: Bool[np.ndarray, "h w"], distance: float
) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """Pixels of both maps that have a partner in the other, at most `distance` pixels away, each its own.

    The sum of distances and of the cost of those without a partner is the smallest that there is.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    ours, theirs = np.argwhere(found), np.argwhere(marked)
    reach = int(distance)
    number = np.full(np.add(found.shape, 2 * reach), -1)
    number[tuple((theirs + reach).T)] = np.arange(len(theirs))
    offsets = np.indices((2 * reach + 1, 2 * reach + 1)).reshape(2, -1).T - reach
    lengths = np.hypot(*offsets.T)
    offsets, lengths = offsets[lengths <= distance], lengths[lengths <= distance]
    partners = number[tuple(np.moveaxis(ours[:, None] + reach + offsets, -1, 0))]  # [n, offsets]
    there = partners >= 0
    both = np.zeros(found.shape, bool), np.zeros(found.shape, bool)
    if not there.any():
        return both
    # A pixel that could have a partner may stay alone instead, at a cost: its last entry is a column of its own.
    some = there.any(1)
    count, costs = int(some.sum()), np.broadcast_to(1 + lengths, there.shape)  # scipy takes 0 for no edge
    columns = np.column_stack([partners[some], len(theirs) + np.arange(count)])
    costs = np.column_stack([costs[some], np.full(count, 1 + ALONE * distance)])
    kept = np.column_stack([there[some], np.ones(count, bool)])
    starts = np.concatenate([[0], np.cumsum(kept.sum(1))])
    graph = csr_array((costs[kept], columns[kept], starts), (count, len(theirs) + count))
    _, partner = min_weight_full_bipartite_matching(graph)
    real = partner < len(theirs)
    both[0][tuple(ours[some][real].T)] = True
    both[1][tuple(theirs[partner[real]].T)] = True
    return both


def boundary_counts(
    strength: Float[np.ndarray, "h w"],
    marks: Bool[np.ndarray, "a h w"],
    thresholds: Float[np.ndarray, "t"],
    *,
    tolerance: float = TOLERANCE,
) -> BoundaryCounts:
    """Counts of one image: what is found from each threshold on, thinned, against each annotator's marks.

    Args:
      strength: in [0, 1].
      marks: boundaries of one annotator or more.
      thresholds: of the strength.
      tolerance: largest distance of a pair, as a share of the diagonal.

    Raises:
      ImportError: scikit-image is not there.
      ValueError: shapes disagree, or there is no annotator.
    """
    if marks.ndim != 3 or marks.shape[1:] != strength.shape or not len(marks):
        raise ValueError(f"marks must be [annotators, {strength.shape[0]}, {strength.shape[1]}], got {marks.shape}")
    thin, distance = thinning(), tolerance * float(np.hypot(*strength.shape))
    counts = np.zeros((4, len(thresholds)))
    last = None
    for index, threshold in enumerate(thresholds):
        found = thin(strength >= threshold)
        if last is not None and (found == last).all():
            counts[:, index] = counts[:, index - 1]
            continue
        last = found
        any_matched = np.zeros_like(found)
        for own in marks:
            ours, theirs = matched_pixels(found, own, distance)
            any_matched |= ours
            counts[3, index] += theirs.sum()
        counts[:3, index] = found.sum(), any_matched.sum(), marks.sum()
    return BoundaryCounts(*counts)


def boundary_scores(counts: Sequence[BoundaryCounts], thresholds: Float[np.ndarray, "t"]) -> BoundaryScores:
    """ODS with its threshold, precision and recall, OIS and AP of images' counts.

    Raises:
      ValueError: there is no image.
    """
    if not counts:
        raise ValueError("scores are of one image or more, got none")
    each = np.stack([np.stack(own) for own in counts])  # [N, 4, T]
    precision, recall = _precision_recall(each.sum(0))
    threshold, p, r = (_between(values) for values in (np.asarray(thresholds), precision, recall))
    best = int(_f(p, r).argmax())
    own = np.stack([values[:, _f(*_precision_recall(values)).argmax()] for values in each])  # [N, 4]
    ois = float(_f(*_precision_recall(own.sum(0))))
    known, first = np.unique(recall, return_index=True)
    area = 0.0
    if len(known) > 1:
        area = float(np.interp(np.arange(101) / 100, known, precision[first], left=0, right=0).sum()) / 100
    return BoundaryScores(float(_f(p, r)[best]), float(threshold[best]), float(p[best]), float(r[best]), ois, area)


def _precision_recall(counts: Float[np.ndarray, "4 *t"]) -> tuple[Any, Any]:
    """0 where nothing is found, or nothing is marked."""
    found, found_matched, marked, marked_matched = counts
    return found_matched / np.maximum(found, 1), marked_matched / np.maximum(marked, 1)


def _f(precision, recall):
    return 2 * precision * recall / np.maximum(precision + recall, 1e-30)


def _between(values: Float[np.ndarray, "t"]) -> Float[np.ndarray, "more"]:
    """The values and 99 between each and the next, in a line."""
    places = np.arange(100 * (len(values) - 1) + 1) / 100
    return np.interp(places, np.arange(len(values)), values)
