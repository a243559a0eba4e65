"""Average precision by hand, and by a search over recalls that is written out."""

from pathlib import Path

import numpy as np
import pytest

from gen_models.evaluation.average_precision import (
    THRESHOLDS,
    Objects,
    average_precision,
    average_precisions,
    hits_of_image,
    pairwise_iou,
)


def _brute_force(scores, hits, objects):
    """The mean over 101 recalls of the largest precision at that recall or more."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    points = []
    for count in range(1, len(order) + 1):
        right = sum(hits[i] for i in order[:count])
        points.append((right / objects, right / count))
    best = [max((precision for recall, precision in points if recall >= at / 100), default=0) for at in range(101)]
    return sum(best) / 101


def test_by_hand():
    """Three objects; sure hit, miss, hit: precision 1 up to a recall of a third, 2 / 3 up to two thirds."""
    scores, hits = np.array([0.5, 0.9, 0.8]), np.array([True, True, False])
    assert average_precision(scores, hits, 3) == pytest.approx((34 * 1 + 33 * 2 / 3) / 101)
    assert average_precision(scores, hits, 2) == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 2) == 0
    assert np.isnan(average_precision(scores, hits, 0))


def test_it_is_the_written_out_search():
    draw = np.random.default_rng(0)
    for objects in (1, 3, 7, 20):
        hits = np.zeros(25, bool)
        hits[draw.permutation(25)[: min(objects, 12)]] = True
        scores = draw.permutation(25) / 25
        assert average_precision(scores, hits, objects) == pytest.approx(_brute_force(scores, hits, objects))


def test_detections_take_objects_in_the_order_of_their_scores_and_each_once():
    truth = Objects(np.array([[0, 0, 10, 10], [20, 0, 30, 10], [0, 0, 10, 10]], float), np.array([0, 0, 1]))
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 10], [20, 0, 30, 6], [0, 0, 10, 10]], float)
    found = Objects(boxes, np.array([0, 0, 0, 1]), np.array([0.9, 0.8, 0.7, 0.1]))
    own = hits_of_image(found, truth, 0)
    assert own.objects == 2 and own.scores.tolist() == [0.9, 0.8, 0.7]
    at = dict(zip(THRESHOLDS, own.hits.tolist(), strict=True))
    assert at[0.5] == [True, False, True] and at[0.6] == [True, False, True] and at[0.65] == [True, False, False]
    assert at[0.9] == [True, False, False] and at[0.95] == [False, True, False]
    other = hits_of_image(found, truth, 1)
    each = average_precisions([[own, other]])
    assert each.shape == (10, 2) and (each[:, 1] == 1).all()
    assert each[0, 0] == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert each[-1, 0] == pytest.approx(51 * 0.5 / 101)
    nothing = Objects(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    assert average_precisions([[hits_of_image(nothing, truth, 0)]])[0, 0] == 0
    with pytest.raises(ValueError, match="detections need scores"):
        hits_of_image(truth, truth, 0)


def test_overlaps_of_pairs():
    a, b = np.array([[0, 0, 2, 2], [0, 0, 0, 0.0]]), np.array([[1, 0, 3, 2], [5, 5, 6, 6.0]])
    np.testing.assert_allclose(pairwise_iou(a, b), [[1 / 3, 0], [0, 0]])


def test_it_is_what_cocos_own_code_says():
    with np.load(Path(__file__).parent / "fixtures" / "average_precision_coco.npz") as archive:
        truth, found, precision = (archive[name] for name in ("truth", "found", "precision"))
    of_images = []
    for image in range(int(found[:, 0].max()) + 1):
        objects, said = truth[truth[:, 0] == image], found[found[:, 0] == image]
        own = Objects(said[:, 2:6], said[:, 1].astype(int), said[:, 6])
        there = Objects(objects[:, 2:6], objects[:, 1].astype(int))
        of_images.append([hits_of_image(own, there, kind) for kind in range(3)])
    each = average_precisions(of_images)
    np.testing.assert_allclose(each, precision, atol=1e-12)
    assert each[-1].mean() < 0.2 < each[0].mean() < 0.9
