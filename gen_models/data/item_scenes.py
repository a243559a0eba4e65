"""Scenes composed of images of single items, with a class for each pixel, boxes and classes of the items.

An example has the fields of `boxes.py`: {"x": uint8 [S, S, 1], "boxes": float32 [M, 4], "classes": int32 [M],
"count": int32 [], "mask": uint8 [S, S]}. One to M items, scaled, lie on noise; a later one hides what is behind it. A
pixel is an item's where its image, with its holes filled, is brighter than `INSIDE`. The mask is 0 on the background
and c + 1 where an item of class c is seen; a box is left, top, right, bottom of what is seen of an item, in pixels.
What is seen of each item is at least the share `SEEN` of it, and its scale is 0.6 to 1.1. Training scenes are of
training items, those to validate on of items for validation, test scenes of test items.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from gen_models.data.boxes import Objects
from gen_models.data.sources import load
from gen_models.data.splits import Splits
from gen_models.data.symbols import with_meaning
from gen_models.data.transforms import to_unit

SCALES = (0.6, 1.1)  # of the items' sides
INSIDE = 25  # of 255
SEEN = 0.4  # of an item's pixels, at least
NOISE = (20.0, 12.0)  # mean and standard deviation of the background, of 255
MOST = 254  # classes, as a pixel of a mask is a byte, of which 0 is the background and 255 is left free
TRIES = 20  # places at which an item is tried, before the scene goes without it


def item_scene_splits(
    examples: int,
    *,
    dataset: str = "fashion_mnist_bundled",
    data_dir: str | Path | None = None,
    side: int = 48,
    most: int = 3,
    seed: int = 0,
) -> Splits:
    """Scenes to train on, and 500 each to validate and to test on, x float32 in [0, 1] behind the transform.

    Args:
      examples: scenes to train on.
      dataset: of images of single items [H, W, 1], as `load` knows it.
      data_dir: where it lies, if it is not bundled.
      side: pixels of a scene's sides.
      most: items of a scene, at most.
      seed: of all that is drawn.

    Raises:
      ValueError: a number is not positive, a scene is smaller than an item at its largest, or the data are no images
        of one channel with labels, or of more than 254 classes.
    """
    if min(examples, most) < 1:
        raise ValueError(f"examples and most must be 1 or more, got {examples} and {most}")
    items = [load(dataset, split, data_dir=data_dir) for split in ("train", "validation", "test")]
    train = items[0]
    if train.kind != "images" or train.shape[-1] != 1 or not train.num_classes:
        raise ValueError(f"{dataset!r} must be images of one channel with labels, got {train.kind} {train.shape}")
    if train.num_classes > MOST:
        raise ValueError(f"{dataset!r} has {train.num_classes} classes, and a mask holds {MOST} at most")
    arrays = [own.arrays for own in items if own.arrays is not None]
    if len(arrays) < len(items):
        raise ValueError(f"{dataset!r} is too large for memory: take a smaller set of items")
    made = [
        item_scenes(count, own["x"], own["y"], side=side, most=most, seed=3 * seed + part)
        for part, (own, count) in enumerate(zip(arrays, (examples, 500, 500), strict=True))
    ]
    splits = Splits.of_arrays(
        made[0], made[2], made[1], name=f"scenes of {dataset}", transform=to_unit, examples="scenes"
    )
    names = (
        tuple(train.meaning.classes) if hasattr(train.meaning, "classes") else tuple(map(str, range(train.num_classes)))
    )
    return with_meaning(splits, Objects(names))


def item_scenes(
    count: int,
    items: UInt8[np.ndarray, "n h w 1"],
    labels: Sequence[int] | np.ndarray,
    *,
    side: int = 48,
    most: int = 3,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """The fields of `count` scenes of these items; see the top of this file.

    Raises:
      ValueError: a number is not positive, or a scene is smaller than an item at its largest.
    """
    largest = round(max(items.shape[1:3]) * SCALES[1])
    if min(count, most) < 1:
        raise ValueError(f"count and most must be 1 or more, got {count} and {most}")
    if side < largest:
        raise ValueError(f"side must be {largest} or more, the largest that an item is drawn, got {side}")
    draw = np.random.default_rng(seed)
    scenes = [_scene(draw, items, np.asarray(labels), side, most) for _ in range(count)]
    return {field: np.stack([scene[field] for scene in scenes]) for field in scenes[0]}


def _scene(draw: np.random.Generator, items, labels, side: int, most: int) -> dict[str, Any]:
    canvas = draw.normal(*NOISE, (side, side))
    whole: list[int] = []
    owner, classes = np.full((side, side), -1), []  # of each pixel the item that is seen; sizes of items
    for _ in range(draw.integers(1, most + 1)):
        index = draw.integers(len(items))
        picture, inside = _scaled(items[index, ..., 0], draw.uniform(*SCALES))
        height, width = inside.shape
        for _ in range(TRIES):
            top, left = draw.integers(side - height + 1), draw.integers(side - width + 1)
            tried = owner.copy()
            tried[top : top + height, left : left + width][inside] = len(whole)
            seen = np.bincount(tried[tried >= 0], minlength=len(whole) + 1)
            if (seen >= SEEN * np.array([*whole, inside.sum()])).all() and inside.any():
                owner = tried
                region = canvas[top : top + height, left : left + width]
                region[inside] = picture[inside] + draw.normal(0, NOISE[1] / 2, inside.sum())
                whole.append(int(inside.sum()))
                classes.append(int(labels[index]))
                break
    boxes, found = np.zeros((most, 4), np.float32), np.full(most, -1, np.int32)
    for place in range(len(whole)):
        lines, columns = np.nonzero(owner == place)
        boxes[place] = columns.min(), lines.min(), columns.max() + 1, lines.max() + 1
        found[place] = classes[place]
    mask = np.zeros((side, side), np.uint8)
    mask[owner >= 0] = np.array([*classes, 0], np.uint8)[owner[owner >= 0]] + 1
    x = np.clip(np.rint(canvas), 0, 255).astype(np.uint8)[..., None]
    return {"x": x, "boxes": boxes, "classes": found, "count": np.int32(len(whole)), "mask": mask}


def _scaled(item: UInt8[np.ndarray, "h w"], scale: float) -> tuple[np.ndarray, Bool[np.ndarray, "lines columns"]]:
    """The item at another size, cut to what is inside of it, and where that is."""
    size = tuple(max(1, round(side * scale)) for side in item.shape[::-1])
    picture = np.asarray(Image.fromarray(item).resize(size, Image.Resampling.BILINEAR), np.float64)
    inside = _filled()(picture > INSIDE)
    if not inside.any():
        return picture, inside
    lines, columns = np.nonzero(inside)
    window = slice(lines.min(), lines.max() + 1), slice(columns.min(), columns.max() + 1)
    return picture[window], inside[window]


@cache
def _filled() -> Any:
    from scipy.ndimage import binary_fill_holes

    return binary_fill_holes
