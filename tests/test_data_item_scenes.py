"""Scenes of items: boxes are those of the pixels of the mask, items are where they should be, parts share no item."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from gen_models.data.item_scenes import SEEN, item_scene_splits, item_scenes
from gen_models.measures import Split
from gen_models.run.experiments import find
from gen_models.run.job import make_job
from gen_models.run.tiny import tiny_config

SQUARE = np.zeros((2, 8, 8, 1), np.uint8)
SQUARE[0, 1:7, 2:6] = 200  # class 0: a bright rectangle
SQUARE[1, 0:8, 0:8] = 120  # class 1: a grey frame, whose hole is inside of it
SQUARE[1, 3:5, 3:5] = 0


def test_boxes_and_masks_fit_the_pixels():
    found = item_scenes(60, SQUARE, [0, 1], side=20, most=3, seed=1)
    assert found["x"].shape == (60, 20, 20, 1) and found["x"].dtype == found["mask"].dtype == np.uint8
    assert found["boxes"].shape == (60, 3, 4) and set(np.unique(found["count"])) == {1, 2, 3}
    hidden = 0
    for x, mask, boxes, classes, count in zip(
        *(found[k] for k in ("x", "mask", "boxes", "classes", "count")), strict=True
    ):
        assert (classes[count:] == -1).all() and (boxes[count:] == 0).all() and (classes[:count] >= 0).all()
        covered = np.zeros_like(mask, bool)
        for (left, top, right, bottom), kind in zip(boxes[:count].astype(int), classes, strict=False):
            own = mask[top:bottom, left:right] == kind + 1
            assert own.any() and own.any(0)[[0, -1]].all() and own.any(1)[[0, -1]].all()  # the box is tight
            assert (right - left, bottom - top) <= (9, 9)
            covered[top:bottom, left:right] = True
        assert ((mask > 0) <= covered).all() and set(np.unique(mask)) - {0} == set(classes[:count] + 1)
        alone = count == 1
        if alone and classes[0] == 0:  # bright inside, noise outside
            assert x[mask == 1].mean() > 80 and x[mask == 0].mean() < 30
        if alone and classes[0] == 1:  # the hole is the item's
            left, top, right, bottom = boxes[0].astype(int)
            assert (mask[top:bottom, left:right] == 2).all() and x[mask == 2].min() < 90
        hidden += sum((mask == kind + 1).sum() < SEEN * 20 for kind in classes[:count])
    again = item_scenes(60, SQUARE, [0, 1], side=20, most=3, seed=1)
    assert all((found[name] == again[name]).all() for name in found) and hidden == 0
    assert (item_scenes(60, SQUARE, [0, 1], side=20, most=3, seed=2)["x"] != found["x"]).any()


def test_splits_are_of_other_items_and_named():
    splits = item_scene_splits(20, side=32, most=2)
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [20, 500, 500]
    batch = splits.first_batch(4, None)
    assert batch["x"].dtype == np.float32 and 0.5 < batch["x"].max() <= 1 and batch["mask"].shape == (4, 32, 32)
    assert splits.train.meaning.classes == tuple(map(str, range(10)))


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="side must be 9 or more"):
        item_scenes(1, SQUARE, [0, 1], side=8)
    with pytest.raises(ValueError, match="count and most must be 1 or more, got 0 and 3"):
        item_scenes(0, SQUARE, [0, 1])
    with pytest.raises(ValueError, match="examples and most must be 1 or more, got 5 and 0"):
        item_scene_splits(5, most=0)


@pytest.mark.parametrize("name", ["segmentation", pytest.param("detection", marks=pytest.mark.slow)])
def test_items_of_any_number_of_classes_are_measured(name, tmp_path):
    """Three: figures, pictures and baselines of an untrained model know no other."""
    draw = np.random.default_rng(0)
    arrays = {"x_train": draw.integers(100, 256, size=(60, 8, 8), dtype=np.uint8), "y_train": np.arange(60) % 3}
    arrays |= {"x_test": arrays["x_train"][:12], "y_test": arrays["y_train"][:12]}
    np.savez(tmp_path / "three.npz", **arrays)
    experiment = find(name)
    config = replace(
        tiny_config(experiment, next(iter(experiment.variants))), dataset=f"npz:{tmp_path / 'three.npz'}", side=16
    )
    job = make_job(experiment, config)
    assert job.data.train.meaning.classes == ("0", "1", "2")
    found = job.trained(job.initial(0))
    split = Split(job.data, job.data.test, "test").first(6)
    figures = [
        figure
        for measure in job.measures
        for figure in replace_scenes(measure).figures(found, split, jax.random.key(0))
    ]
    values = {figure.name: figure.value for figure in figures}
    assert all(np.isfinite(value) for value in values.values())
    if name == "segmentation":
        assert {key for key in values if key.startswith("IoU of")} <= {f"IoU of {k}" for k in ("background", *"012")}
        assert values["mean IoU, background alone"] < values["mean IoU, threshold and neighbours"]
    else:
        assert values["AP50, threshold and neighbours"] > 0.1
    job.measures[0].draw(found, split, jax.random.key(0), tmp_path)
    assert list(tmp_path.glob("*.png"))


def replace_scenes(measure):
    """The measure with few training scenes, where it has them."""
    return replace(measure, scenes=20) if hasattr(measure, "scenes") else measure
