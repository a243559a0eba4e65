"""Boundaries: the matching equals a dense assignment, scores those by hand, shifts count as the tolerance says."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from gen_models.evaluation.boundaries import (
    ALONE,
    BoundaryCounts,
    boundary_counts,
    boundary_scores,
    matched_pixels,
    thinned_strength,
)
from gen_models.measures import Boundaries

THRESHOLDS = np.array([0.25, 0.5, 0.75])


def test_the_matching_is_the_cheapest_assignment():
    """Against SciPy's dense one, in which a pixel may take a partner of its own that stands for none."""
    draw, distance = np.random.default_rng(0), 2.3
    for density in (0.1, 0.3, 0.6):
        found, marked = (draw.random((9, 11)) < density for _ in range(2))
        ours, theirs = np.argwhere(found), np.argwhere(marked)
        lengths = np.hypot(*np.moveaxis(ours[:, None] - theirs, -1, 0))
        costs = np.concatenate([np.where(lengths <= distance, lengths, 1e6), np.full((len(ours),) * 2, 1e6)], 1)
        costs[np.arange(len(ours)), len(theirs) + np.arange(len(ours))] = ALONE * distance
        _, columns = linear_sum_assignment(costs)
        pairs = columns < len(theirs)
        of_found, of_marked = matched_pixels(found, marked, distance)
        assert of_found.sum() == of_marked.sum() == pairs.sum() < max(len(ours), len(theirs))
        assert not (of_found & ~found).any() and not (of_marked & ~marked).any()
    assert not np.any(matched_pixels(found, 0 * marked > 0, distance))
    near = np.zeros((1, 8), bool), np.zeros((1, 8), bool)
    near[0][0, [0, 3]] = near[1][0, [2, 6]] = True  # pixels 2, 1 and 3 apart: one pair within 2, the nearest
    of_found, of_marked = matched_pixels(*near, 2.0)
    assert np.flatnonzero(of_found).tolist() == [3] and np.flatnonzero(of_marked).tolist() == [2]


@pytest.mark.parametrize(("shift", "f"), [(0, 1.0), (2, 1.0), (3, 0.0)])
def test_a_boundary_is_found_where_the_tolerance_says(shift, f):
    """The diagonal of 240x320 pixels is 400, so that 0.0074 of it is just below 3."""
    marks = np.zeros((2, 240, 320), bool)
    marks[:, 60:180, 100] = marks[0, 60:180, 200] = True
    strength = np.zeros((240, 320))
    strength[60:180, 100 + shift] = strength[60:180, 200 + shift] = 0.6
    counts = boundary_counts(strength, marks, THRESHOLDS, tolerance=0.0074)
    scores = boundary_scores([counts], THRESHOLDS)
    assert counts.found.tolist() == [240, 240, 0] and counts.marked.tolist() == [360, 360, 360]
    assert (scores.ods, scores.ois, scores.precision, scores.recall) == pytest.approx((f,) * 4)


def test_scores_by_hand():
    """Two images at three thresholds; between the thresholds precision and recall are interpolated."""
    counts = [
        BoundaryCounts(*map(lambda v: np.array(v, float), ([20, 10, 2], [10, 8, 2], [10, 10, 10], [9, 8, 2]))),
        BoundaryCounts(*map(lambda v: np.array(v, float), ([30, 10, 8], [10, 8, 8], [10, 10, 10], [10, 8, 8]))),
    ]
    scores = boundary_scores(counts, THRESHOLDS)
    # P = 20/50, 16/20, 10/10 and R = 19/20, 16/20, 10/20: F = 0.563, 0.8, 0.667; after the second threshold F falls.
    weights = np.linspace(0, 1, 101)
    p, r = 0.4 + 0.4 * weights, 0.95 - 0.15 * weights
    between = 2 * p * r / (p + r)
    assert scores.ods == pytest.approx(between.max()) and scores.ods == pytest.approx(0.8, abs=5e-3)
    # Each at its own best: the second threshold's 8 of 10 and 8 of 10, and the third's 8 of 8 and 8 of 10.
    assert scores.ois == pytest.approx(2 * (16 / 18) * (16 / 20) / (16 / 18 + 16 / 20))
    at = np.arange(101) / 100
    area = np.interp(at, [0.5, 0.8, 0.95], [1.0, 0.8, 0.4], left=0, right=0).sum() / 100
    assert scores.ap == pytest.approx(area)
    nothing = boundary_scores([BoundaryCounts(*np.zeros((4, 3)))], THRESHOLDS)
    assert (nothing.ods, nothing.ois, nothing.ap) == (0, 0, 0)


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.1, 2.0, 2.8])
def test_a_ridge_becomes_a_line(angle):
    lines, columns = np.indices((60, 70)) - 30.3
    away = np.cos(angle) * columns + np.sin(angle) * lines
    thin = thinned_strength(np.exp(-0.5 * (away / 2) ** 2))[6:-6, 6:-6]
    kept, distance = thin > 0, np.abs(away[6:-6, 6:-6])
    assert kept.any() and distance[kept].max() < 1.0 and kept[distance < 0.2].all()


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match=r"marks must be \[annotators, 4, 5\], got \(4, 5\)"):
        boundary_counts(np.zeros((4, 5)), np.zeros((4, 5), bool), THRESHOLDS)
    with pytest.raises(ValueError, match="thresholds must be 1 or more, got 0"):
        Boundaries(0)
    with pytest.raises(ValueError, match="one image or more"):
        boundary_scores([], THRESHOLDS)
