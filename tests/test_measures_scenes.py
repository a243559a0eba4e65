"""Measures of segmenters and detectors on toys whose figures are known, and what brightness finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score

from gen_models.data.boxes import Objects as Named
from gen_models.data.item_scenes import item_scenes
from gen_models.data.splits import Splits
from gen_models.data.symbols import with_meaning
from gen_models.evaluation.average_precision import Hits
from gen_models.measures import AveragePrecision, DetectionBaseline, Segmentation, SegmentationBaselines, Split
from gen_models.measures.detection import _means as averages_of
from gen_models.measures.segmentation import mean_overlap, overlaid
from gen_models.measures.thresholding import regions
from gen_models.models.supervised.detector import Detections
from tests.measured import KEY, figures_of, trained_of
from tests.test_data_item_scenes import SQUARE

SCENES = item_scenes(12, SQUARE, [0, 1], side=20, most=2, seed=3)
UNIT = SCENES | {"x": SCENES["x"].astype(np.float32) / 255}
SPLITS = with_meaning(Splits.of_arrays(UNIT, UNIT, name="toy", examples="scenes"), Named(("block", "frame")))
SPLIT = Split(SPLITS, SPLITS.test, "test")
SHIFT = 2  # columns by which the toy's answer is beside the truth


def _by_brightness(params, stats, x):
    """A segmenter: grey is class 2, bright class 1."""
    return jax.nn.one_hot(jnp.where(x[..., 0] > 0.6, 1, jnp.where(x[..., 0] > 0.3, 2, 0)), 3)


def test_overlaps_are_those_of_scikit_learn(tmp_path):
    trained = trained_of(apply=_by_brightness)
    found = figures_of(Segmentation(by_class=True), trained, SPLIT)
    said = np.asarray(_by_brightness(None, None, UNIT["x"])).argmax(-1).ravel()
    truth = UNIT["mask"].ravel()
    ious = jaccard_score(truth, said, average=None)
    assert found["mean IoU"].value == pytest.approx(ious.mean()) and 0.3 < ious.mean() < 1
    assert found["IoU of frame"].value == pytest.approx(ious[2])
    assert found["mean Dice"].value == pytest.approx(f1_score(truth, said, average="macro"))
    assert found["pixel accuracy"].value == pytest.approx((truth == said).mean())
    Segmentation(shown=3).draw(trained, SPLIT, KEY, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"overlays.png", "pixel_confusion.png"}
    coloured = overlaid(np.ones((1, 1, 2)), np.array([[[0, 1]]]))
    assert (coloured[0, 0, 0] == 1).all() and (coloured[0, 0, 1] < 1).any()


def test_a_segmenter_that_has_broken_down_has_no_figures():
    """The argmax of NaN would be the background, which most pixels are."""
    broken = trained_of(apply=lambda params, stats, x: _by_brightness(params, stats, x) * jnp.nan)
    found = figures_of(Segmentation(by_class=True), broken, SPLIT)
    assert found and all(np.isnan(figure.value) for figure in found.values())


def test_the_standard_error_of_a_ratio_is_that_of_repeated_samples():
    draw = np.random.default_rng(0)

    def sample(n):
        whole = draw.uniform(5, 20, size=(n, 2))
        return whole * draw.uniform(0.2, 0.9, size=(n, 2)), whole

    errors, means = zip(*((own[2], own[1]) for own in (mean_overlap(*sample(80)) for _ in range(400))), strict=True)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.1)
    ratios, mean, _ = mean_overlap(np.array([[1.0, 0]]), np.array([[2.0, 0]]))
    assert ratios[0] == mean == 0.5 and np.isnan(ratios[1])


def _told(shift):
    """A detector that is told the truth, beside it by some columns, the first object alone at the higher score."""

    def apply(params, stats, x):
        whole = jnp.asarray(UNIT["x"])
        at = jax.vmap(lambda own: jnp.abs(whole - own).sum((1, 2, 3)).argmin())(x)
        boxes = jnp.asarray(UNIT["boxes"])[at] + jnp.array([shift, 0, shift, 0])
        present = jnp.arange(2) < jnp.asarray(UNIT["count"])[at][:, None]
        return Detections(boxes, jnp.where(present, 0.9, 0.0), jnp.asarray(UNIT["classes"])[at])

    return trained_of(apply=apply)


def test_average_precision_of_the_truth_is_one_and_falls_as_boxes_move(tmp_path):
    right = figures_of(AveragePrecision(), _told(0), SPLIT)
    assert right["AP50"].value == right["AP"].value == 1 and right["AP"].spread == 0
    beside = figures_of(AveragePrecision(), _told(1), SPLIT)
    assert 0.2 < beside["AP"].value < beside["AP50"].value <= 1
    assert figures_of(AveragePrecision(), _told(9), SPLIT)["AP50"].value == 0
    assert np.isnan(averages_of([[Hits(np.zeros(0), np.zeros((10, 0), bool), 0)]])).all()  # where there is no object
    AveragePrecision(shown=3).draw(_told(0), SPLIT, KEY, tmp_path)
    assert (tmp_path / "boxes.png").stat().st_size > 1000


def test_regions_are_the_bright_ones_and_their_baselines_find_what_lies_alone():
    image = np.zeros((20, 20))
    image[2:9, 3:11] = 0.8
    image[4:6, 5:7] = 0.0  # a hole
    image[15, 15] = 1.0  # too small
    image[12:18, 2:8] = 0.5
    own = regions(image, 0.3)
    assert own.boxes.tolist() == [[3, 2, 11, 9], [2, 12, 8, 18]] and own.numbers[4, 5] == 1 and own.numbers[15, 15] == 0
    trained = trained_of()
    masks = figures_of(SegmentationBaselines(scenes=12, neighbours=1), trained, SPLIT)
    empty = np.array([(UNIT["mask"] == 0).mean(), 0, 0]).mean()
    assert masks["mean IoU, background alone"].value == pytest.approx(empty)
    assert masks["mean IoU, threshold and neighbours"].value > empty + 0.2
    boxes = figures_of(DetectionBaseline(scenes=12, neighbours=1), trained, SPLIT)
    assert 0.2 < boxes["AP50, threshold and neighbours"].value <= 1
