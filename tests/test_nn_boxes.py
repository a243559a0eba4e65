"""Overlaps of boxes, suppression and heatmaps against pixels that are counted and loops that are written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.nn.boxes import box_iou, generalised_iou, surest_boxes
from gen_models.nn.heatmaps import WIDTH, centre_cells, focal_loss, found_peaks, peaks_of_boxes

RNG = np.random.default_rng(0)


def _boxes(n, side=12):
    ends = np.sort(RNG.integers(0, side, size=(n, 2, 2)), 1) + np.array([[[0, 0], [1, 1]]])
    return ends.reshape(n, 4).astype(np.float32)


def _pixels(box, side=16):
    painted = np.zeros((side, side), bool)
    left, top, right, bottom = box.astype(int)
    painted[top:bottom, left:right] = True
    return painted


def test_overlaps_are_those_of_counted_pixels():
    a, b = _boxes(9), _boxes(7)
    both = jax.jit(lambda a, b: (box_iou(a, b), generalised_iou(a, b)))
    found = jax.device_get(both(a[:, None], b[None]))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            shared, either = (f(_pixels(one), _pixels(other)).sum() for f in (np.logical_and, np.logical_or))
            around = _pixels(np.concatenate([np.minimum(one, other)[:2], np.maximum(one, other)[2:]])).sum()
            np.testing.assert_allclose(found[0][i, j], shared / either, rtol=1e-5)
            np.testing.assert_allclose(
                found[1][i, j], shared / either - (around - either) / around, rtol=1e-5, atol=1e-6
            )
    assert (np.abs(box_iou(a, a) - 1) < 1e-6).all()
    empty = jnp.zeros(4)
    assert float(box_iou(empty, empty)) == 0 and np.isfinite(jax.grad(lambda x: generalised_iou(x, x))(empty)).all()


def _naive(boxes, scores, classes, threshold):
    """Greedy suppression, box by box."""
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        rivals = [i for i in kept if classes[i] == classes[index]]
        if all(float(box_iou(boxes[index], boxes[i])) <= threshold for i in rivals):
            kept.append(int(index))
    return np.isin(np.arange(len(boxes)), kept)


def test_suppression_is_that_of_the_loop_also_of_equal_scores():
    compiled = jax.jit(surest_boxes, static_argnums=3)
    for seed in range(6):
        draw = np.random.default_rng(seed)
        boxes, classes = _boxes(20), draw.integers(2, size=20)
        scores = draw.integers(6, size=20).astype(np.float32) / 6  # many are equal
        want = _naive(boxes, scores, classes, 0.31)
        np.testing.assert_array_equal(compiled(boxes, scores, classes, 0.31), want)
        assert 0 < want.sum() < 20
    assert surest_boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)).shape == (0,)


def test_targets_have_a_peak_of_one_where_the_middle_is_and_fall_off_by_the_sides():
    boxes = np.array([[[2, 4, 18, 12], [0, 0, 8, 8], [9, 9, 10, 10]]], np.float32)
    classes, present = np.array([[1, 1, 0]]), np.array([[True, True, False]])
    target = np.asarray(jax.jit(lambda *of: peaks_of_boxes(*of, (5, 6), 4, 2))(boxes, classes, present))
    assert np.asarray(centre_cells(boxes, (5, 6), 4))[0, :2].tolist() == [[2, 2], [1, 1]]
    assert target.shape == (1, 5, 6, 2) and (target[..., 0] == 0).all() and (target == 1).sum() == 2
    for line in range(5):
        for column in range(6):
            first = np.exp(-0.5 * (((line - 2) / (WIDTH * 2)) ** 2 + ((column - 2) / (WIDTH * 4)) ** 2))
            second = np.exp(-0.5 * (((line - 1) / (WIDTH * 2)) ** 2 + ((column - 1) / (WIDTH * 2)) ** 2))
            np.testing.assert_allclose(target[0, line, column, 1], max(first, second), rtol=1e-4, atol=1e-12)
    assert not np.any(peaks_of_boxes(boxes[:, :0], classes[:, :0], present[:, :0], (5, 6), 4, 2))  # no objects


def test_the_focal_loss_is_equation_one():
    logits, target = RNG.normal(size=(2, 3, 4, 2)).astype(np.float32), RNG.uniform(size=(2, 3, 4, 2))
    target[0, 1, 1, 0] = target[0, 2, 3, 1] = 1
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    terms = np.where(target == 1, (1 - p) ** 2 * np.log(p), (1 - target) ** 4 * p**2 * np.log(1 - p))
    np.testing.assert_allclose(focal_loss(logits, target.astype(np.float32)), -terms.sum((1, 2, 3)) / [2, 1], rtol=1e-4)


def test_peaks_are_the_cells_that_no_neighbour_exceeds():
    heat = RNG.uniform(size=(1, 6, 5, 3)).astype(np.float32)
    values, lines, columns, classes = (np.asarray(each)[0] for each in found_peaks(heat, 8))
    padded, want = np.pad(heat[0], ((1, 1), (1, 1), (0, 0))), []
    for line, column, kind in np.ndindex(6, 5, 3):
        if heat[0, line, column, kind] == padded[line : line + 3, column : column + 3, kind].max():
            want.append((float(heat[0, line, column, kind]), line, column, kind))
    want = sorted(want, reverse=True)[:8]
    for found, (value, *place) in zip(zip(values, lines, columns, classes, strict=True), want, strict=False):
        assert (float(found[0]), *map(int, found[1:])) == (value, *place)
    with pytest.raises(ValueError, match="count must be 1 to 90"):
        found_peaks(heat, 91)
