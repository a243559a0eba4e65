"""Near-duplicates that are known: lightly changed copies of images, how many of them codes find, and spoiled data.

Copies are made of the crops that the codes are of, so that a shift by one pixel is a thirty-second of the image.
"""

import io
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image

from gen_models.data.near_duplicates import first_kept, hamming, near_codes

from .codes import Encoder

DISTANCES = (0, 1, 2, 3, 4, 5, 6, 8, 10, 12)
COMPARED = 2**22  # codes that are compared at a time

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]  # (image uint8 [H, W, C], generator) -> changed image


def shifted(image: np.ndarray, generator: np.random.Generator, *, pixels: int) -> np.ndarray:
    """The image moved along one axis, the pixels at its border repeated."""
    down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[generator.integers(4)]
    wide = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
    top, left = pixels * (1 + down), pixels * (1 + right)
    return wide[top : top + image.shape[0], left : left + image.shape[1]]


def gained(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """All values multiplied by 0.8 or 1.2."""
    return _rounded(image * generator.choice([0.8, 1.2]))


def brightened(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """All values raised or lowered by 20 of 255."""
    return _rounded(image + generator.choice([-20.0, 20.0]))


def hued(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Hues turned by 18 degrees either way."""
    values = np.array(Image.fromarray(image).convert("HSV"))
    values[..., 0] += np.uint8(generator.choice([13, 243]))  # 256 are 360 degrees
    return np.asarray(Image.fromarray(values, "HSV").convert("RGB"))


def recompressed(image: np.ndarray, generator: np.random.Generator, *, quality: int) -> np.ndarray:
    """The image through JPEG."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).reshape(image.shape)


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


GREY: Mapping[str, Change] = {  # with 1 or 2 pixels, and JPEG's quality
    "shift 1": partial(shifted, pixels=1),
    "shift 2": partial(shifted, pixels=2),
    "gain": gained,
    "bright": brightened,
    "JPEG 50": partial(recompressed, quality=50),
    "JPEG 20": partial(recompressed, quality=20),
}
COLOUR: Mapping[str, Change] = {**GREY, "hue": hued}


def changes_of(channels: int) -> Mapping[str, Change]:
    """The kinds of changes that images of so many channels can have."""
    return COLOUR if channels == 3 else GREY


class Curve(NamedTuple):
    """What `measured` gives: a number for each of `DISTANCES`."""

    recall: dict[str, list[float]]  # kind of change -> share of the copies that are found
    precision: list[float]  # share of right ones among the examples that copies of all kinds are found near
    false: list[float]  # wrong examples for each copy
    removed: list[int]  # of the examples as they are


def measured(encode: Encoder, crops: np.ndarray, chosen: np.ndarray, codes: np.ndarray, seed: int) -> Curve:
    """How well codes find lightly changed copies of some examples among all of a part.

    An example near a copy that is not its original counts as wrong; where it is a near-duplicate of the original in
    its own right, it is not, so that the precision is a lower bound.

    Args:
      encode: crops -> codes.
      crops: of the chosen examples, uint8 [n, h, w, C].
      chosen: their positions.
      codes: of all examples, [N, 2].
      seed: of the changes.
    """
    generator = np.random.default_rng(seed)
    recall: dict[str, list[float]] = {}
    right, wrong = np.zeros(len(DISTANCES)), np.zeros(len(DISTANCES))
    for name, change in changes_of(crops.shape[-1]).items():
        copies = encode(np.stack([change(image, generator) for image in crops]))
        own = hamming(copies, codes[chosen])
        found = np.array([(own <= distance).sum() for distance in DISTANCES])
        recall[name] = (found / len(chosen)).tolist()
        right += found
        wrong += _near(copies, codes) - found
    near = near_codes(codes, max(DISTANCES))
    removed = [int((first_kept(near, distance).by != np.arange(len(codes))).sum()) for distance in DISTANCES]
    precision = np.divide(right, right + wrong, out=np.ones_like(right), where=right + wrong > 0)
    return Curve(recall, precision.tolist(), (wrong / (len(recall) * len(chosen))).tolist(), removed)


def _near(queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """How many pairs of a query and a code are within each of `DISTANCES`."""
    found = np.zeros(len(DISTANCES))
    rows = max(1, COMPARED // len(codes))
    for start in range(0, len(queries), rows):
        differing = hamming(queries[start : start + rows, None], codes[None])
        counts = np.bincount(differing.ravel(), minlength=max(DISTANCES) + 1).cumsum()
        found += counts[list(DISTANCES)]
    return found


def spoiled(
    images: np.ndarray, labels: np.ndarray, share: float, copies: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The examples, and behind them `copies` lightly changed copies of a share of them; each change is drawn by itself.

    Args:
      images: uint8 [N, H, W, C].
      labels: [N].
      share: of the examples that are copied, drawn by the seed.
      copies: of each.
      seed: of the examples and the changes.
    """
    generator = np.random.default_rng(seed)
    changes = list(changes_of(images.shape[-1]).values())
    chosen = generator.choice(len(images), round(share * len(images)), replace=False).repeat(copies)
    more = [changes[generator.integers(len(changes))](images[index], generator) for index in chosen]
    return np.concatenate([images, np.stack(more)]), np.concatenate([labels, labels[chosen]])
