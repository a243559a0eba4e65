"""Measures of detectors: average precision, what brightness alone finds, and pictures of boxes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.evaluation.average_precision import THRESHOLDS, Hits, Objects, average_precisions, hits_of_image
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.segmentation import class_names, colours_of
from gen_models.measures.thresholding import classes_of, fitted, regions

RESAMPLES = 50  # of images, for standard errors


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision as COCO's, at an overlap of a half and over ten overlaps, a mean over classes."""

    shown: int = 8  # images in the picture
    sure: float = 0.3  # score from which a detection is drawn
    headline: ClassVar[Headline] = ("ap50", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """AP50, and AP, with their standard errors by resampled images."""
        found = [_objects(rows, scores=True) for rows in split.each(_found, trained, key, size=50)]
        yield from figures_of_detections(found, split, trained, key)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `boxes.png`: images with their boxes, above those that are found, with scores."""
        some = split.first(self.shown)
        x = np.concatenate([np.asarray(batch["x"])[np.asarray(batch["weight"]) > 0] for batch in some.batches(50)])
        found = [_objects(rows, scores=True) for rows in some.each(_found, trained, key)]
        truth = [_objects(rows) for rows in some.each(_truth, trained, key)]
        boxes_over(x, truth, found, folder / "boxes.png", class_names(split), self.sure)


@dataclass(frozen=True)
class DetectionBaseline:
    """The average precision of bright regions, each of the class of its nearest crops of training scenes."""

    scenes: int = 2000  # first training scenes, of which crops and the threshold are
    neighbours: int = 5
    reads_parameters = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """What `AveragePrecision` says, of these."""
        known, found = fitted(split, self.scenes), []
        for batch in split.batches(250):
            for image in np.asarray(batch["x"]).mean(-1)[np.asarray(batch["weight"]) > 0]:
                own = regions(image, known.threshold)
                classes, share = classes_of(own.crops, known, self.neighbours)
                found.append(Objects(own.boxes.astype(np.float64), classes, share))
        note = f"regions brighter than {known.threshold:g}, {self.neighbours} of {len(known.crops):,} training crops"
        yield from figures_of_detections(found, split, trained, key, ", threshold and neighbours", note)


def figures_of_detections(
    found: Sequence[Objects],
    split: Split,
    trained: Trained,
    key: Key,
    of: str = "",
    note: str = "",
) -> Iterator[Figure]:
    """AP50 and AP of what is found in each image of a split."""
    truth = [_objects(rows) for rows in split.each(_truth, trained, key, size=50)]
    count = len(class_names(split))
    hits = [[hits_of_image(a, b, kind) for kind in range(count)] for a, b in zip(found, truth, strict=True)]
    draw = np.random.default_rng(0)
    again = [_means([hits[i] for i in draw.integers(len(hits), size=len(hits))]) for _ in range(RESAMPLES)]
    errors = np.std(again, 0, ddof=1)
    said = "; ".join(word for word in (f"mean over classes; {RESAMPLES} resamples of images", note) if word)
    for name, value, error in zip(("AP50", "AP"), _means(hits), errors, strict=True):
        yield Figure(f"{name}{of}", float(value), "fraction", split.where, float(error), said, "maximize")


def _means(hits: Sequence[Sequence[Hits]]) -> np.ndarray:
    """AP50 and AP, means over the classes that there are; NaN without an object in any image."""
    each = average_precisions(hits)
    assert THRESHOLDS[0] == 0.5
    there = ~np.isnan(each[0])  # a class that no image has is NaN at all thresholds
    return np.array([each[0, there].mean(), each[:, there].mean()]) if there.any() else np.full(2, np.nan)


def _found(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    own = model.apply(params, stats, batch["x"])
    return jnp.concatenate([own.boxes, own.classes[..., None], own.scores[..., None]], -1)


def _truth(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    present = jnp.arange(batch["boxes"].shape[1]) < batch["count"][:, None]
    own = (batch["boxes"], batch["classes"][..., None], present[..., None])
    return jnp.concatenate([jnp.asarray(part, jnp.float32) for part in own], -1)


def _objects(rows: np.ndarray, scores: bool = False) -> Objects:
    """Of rows [n, 6], box, class and score, those whose score is not 0."""
    rows = rows[rows[:, 5] > 0]
    return Objects(rows[:, :4], rows[:, 4].astype(int), rows[:, 5] if scores else None)


def boxes_over(
    images: np.ndarray,
    truth: Sequence[Objects],
    found: Sequence[Objects],
    path: Path,
    names: Sequence[str],
    sure: float,
) -> Path:
    """Draw images [N, H, W, C] with their boxes, above the same with what is found from the score `sure` on."""
    from matplotlib.patches import Rectangle

    with plots.drawing(path, figsize=(1.6 * len(images), 3.5), layout="constrained") as canvas:
        axes = canvas.subplots(2, len(images), squeeze=False)
        for line, every in zip(axes, (truth, found), strict=True):
            for axis, image, own in zip(line, images, every, strict=True):
                axis.axis("off")
                axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                scores = np.ones(len(own.classes)) if own.scores is None else own.scores
                for box, kind, score, colour in zip(
                    own.boxes, own.classes, scores, colours_of(own.classes.tolist()), strict=True
                ):
                    if score < sure:
                        continue
                    left, top, right, bottom = box - 0.5  # a pixel's middle is a whole number here
                    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, lw=1.3))
                    said = names[kind] if own.scores is None else f"{names[kind]} {score:.2f}"
                    axis.text(left, max(top - 1, 3), plots.literal(said), color=colour, fontsize=6, clip_on=True)
    return path
