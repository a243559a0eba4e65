"""Average precision of detections, as COCO's evaluation defines it (Lin et al., Microsoft COCO, 2014, and its code).

In each image the detections of a class, the surest first, each take of the objects of that class that none took before
the one with which their intersection over union is largest, if that is the threshold or more; they are hits then, and
misses else. Over all images, from the surest down, precision is the share of hits so far and recall hits over all
objects; the average precision is the mean over 101 recalls, 0, 0.01, ... 1, of the largest precision at that recall or
more, 0 where it is not reached. AP50 is that at the threshold 0.5, and AP without a number the mean over 0.5, 0.55,
... 0.95. COCO's limit of 100 detections an image, its ranges of areas and its crowds are not here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
_RECALLS = np.linspace(0, 1, 101)


class Objects(NamedTuple):
    """Boxes of one image; scores where they are detections."""

    boxes: Float[np.ndarray, "n 4"]
    classes: Integer[np.ndarray, "n"]
    scores: Float[np.ndarray, "n"] | None = None


class Hits(NamedTuple):
    """What an image adds, for one class."""

    scores: Float[np.ndarray, "n"]
    hits: Bool[np.ndarray, "t n"]  # at each threshold
    objects: int


def average_precision(scores: Float[np.ndarray, "n"], hits: Bool[np.ndarray, "n"], objects: int) -> float:
    """The average precision of detections in any order; NaN where there are no objects."""
    if objects < 1:
        return float("nan")
    own = hits[np.argsort(-scores, kind="stable")]
    found = np.cumsum(own)
    precision, recall = found / np.arange(1, len(own) + 1), found / objects
    best = np.maximum.accumulate(precision[::-1])[::-1]  # the largest from each detection on
    at = np.searchsorted(recall, _RECALLS, side="left")
    return float(np.where(at < len(own), np.append(best, 0)[np.minimum(at, len(own))], 0).mean())


def hits_of_image(found: Objects, truth: Objects, kind: int, thresholds: Sequence[float] = THRESHOLDS) -> Hits:
    """Which detections of a class are hits in one image, at each threshold.

    Raises:
      ValueError: the detections have no scores.
    """
    if found.scores is None:
        raise ValueError("detections need scores: Objects(boxes, classes, scores)")
    own, boxes = found.classes == kind, truth.boxes[truth.classes == kind]
    scores = found.scores[own]
    order = np.argsort(-scores, kind="stable")
    overlaps = pairwise_iou(found.boxes[own][order], boxes)
    hits = np.zeros((len(thresholds), len(order)), bool)
    for row, threshold in zip(hits, thresholds, strict=True):
        free = np.ones(len(boxes), bool)
        for index, overlap in enumerate(overlaps):
            eligible = np.where(free, overlap, -1)
            # Of equal overlaps the last object is taken, as COCO's code does.
            best = len(boxes) - 1 - int(eligible[::-1].argmax()) if len(boxes) else -1
            if best >= 0 and eligible[best] >= min(threshold, 1 - 1e-10):
                row[index], free[best] = True, False
    return Hits(scores[order], hits, len(boxes))


def pairwise_iou(a: Float[np.ndarray, "n 4"], b: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of all pairs of boxes (left, top, right, bottom), in float64."""
    a, b = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    union = sum(np.maximum(box[..., 2:] - box[..., :2], 0).prod(-1) for box in (a, b)) - shared
    return shared / np.maximum(union, 1e-12)


def average_precisions(of_images: Sequence[Sequence[Hits]]) -> Float[np.ndarray, "t k"]:
    """The average precision at each threshold of each class, of hits by image and class; NaN of absent classes."""
    found = []
    for hits in zip(*of_images, strict=True):
        scores, each = (np.concatenate([getattr(own, name) for own in hits], -1) for name in ("scores", "hits"))
        objects = sum(own.objects for own in hits)
        found.append([average_precision(scores, at, objects) for at in each])
    return np.array(found).T
