"""The detector: its loss by hand, what it finds, and that it learns to find."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.models.supervised.detector import cell_boxes, detector
from gen_models.nn.boxes import generalised_iou
from gen_models.nn.heatmaps import focal_loss, peaks_of_boxes

KEY = jax.random.key(0)


def squares(seed, size):
    """Bright or grey squares on 8x8 pixels; the second object is often none."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.05, (size, 8, 8, 1)).astype(np.float32)
    boxes, classes = np.zeros((size, 2, 4), np.float32), np.full((size, 2), -1, np.int32)
    count = rng.integers(1, 3, size=size).astype(np.int32)
    for index in range(size):
        for place in range(count[index]):
            left, top, kind = 4 * place + rng.integers(2), rng.integers(5), rng.integers(2)
            x[index, top : top + 3, left : left + 3] += (1.0, 0.4)[kind]
            boxes[index, place], classes[index, place] = (left, top, left + 3, top + 3), kind
    return {"x": x, "boxes": boxes, "classes": classes, "count": count}


def _model(**how):
    return detector((8, 8, 1), 2, **({"channels": (8, 8), "strides": (2, 1), "head": 8, "found": 6} | how))


def test_the_loss_is_that_of_the_maps_that_apply_gives_and_what_is_found_are_their_peaks():
    model, batch = _model(), squares(0, 3)
    params, stats = jax.jit(model.init)(KEY, batch)
    params = jax.tree.map(lambda p: p + 0.1 * np.random.default_rng(1).normal(size=p.shape).astype(np.float32), params)

    @jax.jit
    def both(params, batch):
        maps = model.apply(params, stats, batch["x"], maps=True)
        loss = model.loss(params, stats, batch, KEY, step=0, train=False)
        return maps, loss, model.apply(params, stats, batch["x"])

    (heat, boxes), (value, (_, metrics)), found = both(params, batch)
    boxes = np.asarray(boxes)
    present = np.arange(2) < batch["count"][:, None]
    target = peaks_of_boxes(batch["boxes"], batch["classes"], present, (4, 4), 2, 2)
    apart = []
    for index, own in enumerate(batch["boxes"]):
        each = []
        for box in own[: batch["count"][index]]:
            line, column = int((box[1] + box[3]) / 2 // 2), int((box[0] + box[2]) / 2 // 2)
            each.append(1 - float(generalised_iou(boxes[index, line, column], box)))
        apart.append(np.mean(each))
    np.testing.assert_allclose(metrics["focal_loss"], focal_loss(heat, target).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["box_loss"], np.mean(apart), rtol=1e-4)
    np.testing.assert_allclose(value, metrics["focal_loss"] + metrics["box_loss"], rtol=1e-6)
    assert found.boxes.shape == (3, 6, 4) and found.scores.shape == found.classes.shape == (3, 6)
    top = np.asarray(jax.nn.sigmoid(heat)).reshape(3, -1)
    np.testing.assert_allclose(found.scores[:, 0], top.max(1), rtol=1e-5)
    np.testing.assert_array_equal(found.classes[:, 0], top.argmax(1) % 2)
    # What is behind the number of objects is not read.
    changed = batch | {
        "boxes": np.where(present[..., None], batch["boxes"], 7),
        "classes": np.where(present, batch["classes"], 1),
    }
    assert both(params, changed)[1][0] == value


def test_boxes_lie_around_the_middles_of_their_cells():
    boxes = np.asarray(cell_boxes(jnp.array([1.0, 2.0, 3.0, 4.0]) * jnp.ones((1, 2, 3, 1)), 4))
    assert boxes[0, 1, 2].tolist() == [9.0, 4.0, 13.0, 10.0] and boxes[0, 0, 0].tolist() == [1.0, 0.0, 5.0, 6.0]


@pytest.mark.slow
def test_it_learns_to_find_squares():
    model, tx = _model(found=4), optax.adam(1e-2)
    state = init_state(model, tx, KEY, squares(0, 32))
    step = jax.jit(make_train_step(model.loss, tx))
    for seed in range(300):
        state, _ = step(state, squares(seed, 32))
    batch = squares(1000, 64)
    found = jax.jit(model.apply)(state.params, state.stats, batch["x"])
    right = 0
    for index in range(64):
        for box, kind in zip(batch["boxes"][index], batch["classes"][index], strict=True):
            overlaps = np.asarray(generalised_iou(found.boxes[index], box))
            right += bool(((overlaps > 0.6) & (found.classes[index] == kind) & (found.scores[index] > 0.3)).any())
    assert right > 0.9 * batch["count"].sum(), (right, batch["count"].sum())


def test_what_cannot_be_meant_is_refused():
    for how, message in (
        ({"strides": (2,)}, "of one length"),
        ({"strides": (3, 1)}, "strides' product 3 must divide"),
        ({"found": 33}, "found=33 is more than the 32 cells"),
        ({"overlap": 1.5}, "overlap in"),
    ):
        with pytest.raises(ValueError, match=message):
            _model(**how)
    model, batch = _model(), squares(0, 2)
    params, stats = jax.eval_shape(model.init, KEY, batch)
    for wrong, message in (
        ({"boxes": batch["boxes"][:, :, :3]}, r"'boxes' must be \[2, M, 4\]"),
        ({"count": batch["count"][:1]}, "'classes' and 'count' must be"),
        ({"classes": batch["classes"] + 9}, r"'classes' must be 0 to \d, got \d+ to \d+"),
    ):
        with pytest.raises(ValueError, match=message):
            model.loss(params, stats, batch | wrong, KEY, step=0)
    with pytest.raises(ValueError, match="has no 'boxes'"):
        model.loss(params, stats, {"x": batch["x"]}, KEY, step=0)
