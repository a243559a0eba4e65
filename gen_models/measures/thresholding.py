"""What is found in scenes without training a network: bright regions, each of the class of the crops most like it.

Pixels above a threshold, with holes filled and specks removed, are cut into connected regions, of which those of fewer
than `LEAST` pixels are left out. The crop of each region, at 14x14 pixels, gets the class of most of its nearest
neighbours among the crops of training scenes, by squared distance. Items that touch are one region: that is what such a
method cannot know. The threshold is that of `THRESHOLDS` whose regions overlap most with the masks of the first 200
training scenes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from gen_models.core import Key
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.segmentation import class_names, figures_of_confusion, pixel_confusion

CROP = 14  # pixels of a crop's sides
THRESHOLDS = (0.15, 0.2, 0.25, 0.3)
LEAST = 20  # pixels of a region


class Regions(NamedTuple):
    """What is found in one image."""

    numbers: Integer[np.ndarray, "h w"]  # 0 outside of all, then from 1
    boxes: Integer[np.ndarray, "m 4"]  # left, top, right, bottom
    crops: Float[np.ndarray, "m d"]


def regions(image: Float[np.ndarray, "h w"], threshold: float) -> Regions:
    """Connected regions above the threshold that have `LEAST` pixels or more; see above."""
    from scipy.ndimage import binary_fill_holes, binary_opening, find_objects, label

    inside = binary_opening(binary_fill_holes(image > threshold))
    numbers, count = label(inside)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)
    kept = np.where((sizes >= LEAST) & (np.arange(count + 1) > 0), 1, 0)
    numbers = np.where(kept[numbers], np.cumsum(kept)[numbers], 0)
    places = find_objects(numbers)
    boxes = [(across.start, down.start, across.stop, down.stop) for down, across in places]
    crops = [crop(image, box) for box in boxes]
    return Regions(numbers, np.array(boxes, int).reshape(-1, 4), np.array(crops, float).reshape(-1, CROP * CROP))


def crop(image: Float[np.ndarray, "h w"], box: Any) -> Float[np.ndarray, "d"]:
    """What a box holds at 14x14 pixels, less its mean."""
    from PIL import Image

    left, top, right, bottom = map(float, box)
    whole = Image.fromarray(np.asarray(image, np.float32))
    picture = whole.resize((CROP, CROP), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    flat = np.asarray(picture, np.float64).ravel()
    return flat - flat.mean()


class Fitted(NamedTuple):
    """What a baseline has of training scenes."""

    threshold: float
    crops: Float[np.ndarray, "n d"]
    classes: Integer[np.ndarray, "n"]


def fitted(split: Split, scenes: int) -> Fitted:
    """The threshold and the crops of the first `scenes` training scenes; asked again, what was found before."""
    return _fitted(split.train().dataset, split.data, scenes)


@lru_cache(maxsize=4)
def _fitted(dataset: Any, data: Any, scenes: int) -> Fitted:
    some = Split(data, dataset, "train").first(scenes)
    batches = [{name: np.asarray(value) for name, value in batch.items()} for batch in some.batches(500)]
    x, mask = (np.concatenate([b[name][b["weight"] > 0] for b in batches]) for name in ("x", "mask"))
    boxes, classes = (np.concatenate([b[name][b["weight"] > 0] for b in batches]) for name in ("boxes", "classes"))
    grey, truth = x.mean(-1)[:200], mask[:200] > 0

    def overlap(threshold: float) -> float:
        found = np.stack([regions(image, threshold).numbers > 0 for image in grey])
        return (found & truth).sum() / (found | truth).sum()

    own = [
        (image, box, label)
        for image, b, c in zip(x.mean(-1), boxes, classes, strict=True)
        for box, label in zip(b, c, strict=True)
        if label >= 0
    ]
    crops = np.stack([crop(image, box) for image, box, _ in own])
    return Fitted(max(THRESHOLDS, key=overlap), crops, np.array([label for *_, label in own]))


def classes_of(found: Float[np.ndarray, "m d"], known: Fitted, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The class of most of the nearest crops of each, and the share of these that have it."""
    if not len(found):
        return np.zeros(0, int), np.zeros(0)
    squares = (found**2).sum(1)[:, None] + (known.crops**2).sum(1) - 2 * found @ known.crops.T
    nearest = known.classes[np.argsort(squares, axis=1, kind="stable")[:, :neighbours]]
    votes = np.stack([np.bincount(own, minlength=known.classes.max() + 1) for own in nearest])
    return votes.argmax(1), votes.max(1) / nearest.shape[1]


@dataclass(frozen=True)
class SegmentationBaselines:
    """The overlap that masks of background alone have, and those of bright regions and their nearest crops."""

    scenes: int = 2000  # first training scenes, of which crops and the threshold are
    neighbours: int = 5
    reads_parameters = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """What `Segmentation` says, of both."""
        known, count, counts, empty = fitted(split, self.scenes), 1 + len(class_names(split)), [], []
        for batch in split.batches(250):
            real = np.asarray(batch["weight"]) > 0
            images, masks = np.asarray(batch["x"]).mean(-1)[real], np.asarray(batch["mask"])[real]
            said = np.stack([self._mask(image, known) for image in images])
            counts.append(np.asarray(pixel_confusion(said, masks, count), np.float64))
            empty.append(np.asarray(pixel_confusion(0 * masks, masks, count), np.float64))
        yield from figures_of_confusion(np.concatenate(empty), split, of=", background alone")
        note = f"regions brighter than {known.threshold:g}, {self.neighbours} of {len(known.crops):,} training crops"
        yield from figures_of_confusion(np.concatenate(counts), split, of=", threshold and neighbours", note=note)

    def _mask(self, image: np.ndarray, known: Fitted) -> np.ndarray:
        found = regions(image, known.threshold)
        classes, _ = classes_of(found.crops, known, self.neighbours)
        return np.concatenate([[0], classes + 1])[found.numbers]
