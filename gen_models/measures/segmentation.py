"""Measures of segmenters: overlap of classes, which pixels are taken for which, and pictures of masks over images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Integer

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.boxes import Objects
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure

COLOURS = np.array(
    [
        *([230, 80, 60], [60, 180, 75], [70, 120, 240], [240, 200, 40], [180, 70, 200], [70, 210, 220]),
        *([245, 140, 40], [150, 220, 60], [240, 110, 180], [120, 90, 60]),
    ]
)  # of classes, again from the first where there are more


def overlap_counts(confusion: Float[np.ndarray, "*n k k"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each class pixels in both masks, in either, and in the one plus in the other, [..., K].

    `confusion[..., i, j]` are pixels of class i that are taken for j.
    """
    both = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(-1) + confusion.sum(-2)
    return both, total - both, total


def mean_overlap(part: Float[np.ndarray, "n k"], whole: Float[np.ndarray, "n k"]) -> tuple[np.ndarray, float, float]:
    """Ratios of sums over images, [K], their mean over the classes that there are, and its standard error over images.

    A class whose `whole` is 0 in all images has no ratio: NaN. All are NaN where a count is. The error is that of the
    ratios linearised at their values (Cochran, Sampling Techniques, 1977, section 6.3).
    """
    sums = whole.sum(0)
    if np.isnan(sums).any():
        return np.full(len(sums), np.nan), float("nan"), float("nan")
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(sums > 0, part.sum(0) / sums, np.nan)
        residuals = np.nanmean(np.where(sums > 0, (part - ratios * whole) / sums, np.nan), 1)
        n = len(part)
        error = float(np.sqrt((residuals**2).sum() * n / (n - 1))) if n > 1 else float("nan")
    return ratios, float(np.nanmean(ratios)), error


@dataclass(frozen=True)
class Segmentation:
    """Intersection over union and Dice's coefficient by class and their means, and the share of pixels that is right.

    Counts are summed over all images of the split, then divided (Long et al., Fully Convolutional Networks, 2015,
    section 5); class 0 is the background.
    """

    by_class: bool = False  # whether each class has its own figure
    shown: int = 8  # images in the picture
    headline: ClassVar[Headline] = ("mean_iou", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The mean IoU with its standard error over images, the means of Dice's coefficient, and pixels' accuracy."""
        yield from figures_of_confusion(split.each(_confusion, trained, key, size=50), split, self.by_class)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `overlays.png` (images, their masks, what the model says), and `pixel_confusion.png`."""
        some = split.first(self.shown)
        x, mask, said = (np.moveaxis(some.each(_maps, trained, key), 1, 0)[i] for i in range(3))
        rows = [np.repeat(x[..., None], 3, -1), overlaid(x, mask.astype(int)), overlaid(x, said.astype(int))]
        plots.image_grid(np.concatenate(rows), folder / "overlays.png", columns=len(x))
        counts = split.each(_confusion, trained, key, size=50).sum(0)
        plots.matrix(counts, folder / "pixel_confusion.png", ("background", *class_names(split)))


def pixel_confusion(
    found: Integer[Any, "b h w"], mask: Integer[Any, "b h w"], num_classes: int
) -> Int[jax.Array, "b k k"]:
    """Pixels of class i that are taken for class j, of each image."""
    pairs = jnp.asarray(mask, jnp.int32) * num_classes + jnp.asarray(found, jnp.int32)
    counts = jax.vmap(lambda own: jnp.bincount(own.ravel(), length=num_classes**2))(pairs)
    return counts.reshape(-1, num_classes, num_classes)


def figures_of_confusion(
    confusion: Float[np.ndarray, "n k k"], split: Split, by_class: bool = False, of: str = "", note: str = ""
) -> Iterator[Figure]:
    """What `Segmentation` says, of counts of pixels of each image."""
    both, either, total = overlap_counts(confusion)
    ious, mean, error = mean_overlap(both, either)
    said = "; ".join(word for word in ("mean over classes, the background is one", note) if word)
    yield Figure(f"mean IoU{of}", mean, "fraction", split.where, error, said, "maximize")
    _, dice, error = mean_overlap(2 * both, total)
    yield Figure(f"mean Dice{of}", dice, "fraction", split.where, error, said, "maximize")
    shares = both.sum(1) / confusion.sum((1, 2))
    error = float(shares.std(ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else float("nan")
    yield Figure(f"pixel accuracy{of}", float(shares.mean()), "fraction", split.where, error, note, "maximize")
    if by_class:
        names = ("background", *class_names(split))
        for name, value in zip(names, ious, strict=True):
            if np.isfinite(value):
                yield Figure(f"IoU of {name}{of}", float(value), "fraction", split.where, better="maximize")


def class_names(split: Split) -> tuple[str, ...]:
    """The names of the classes of objects, or their numbers.

    Raises:
      ValueError: the data do not say how many classes there are.
    """
    meaning, count = split.dataset.meaning, split.dataset.num_classes
    if isinstance(meaning, Objects) and meaning.classes:
        return meaning.classes
    if count is None:
        raise ValueError(f"{split.data.name!r} does not say what its classes are: give it their names, Objects(...)")
    return tuple(map(str, range(count)))


def overlaid(images: Float[np.ndarray, "n h w"], masks: Integer[np.ndarray, "n h w"]) -> Float[np.ndarray, "n h w 3"]:
    """Grey images in [0, 1] with the colour of each class other than 0 over half of their light."""
    grey = np.repeat(np.asarray(images, np.float64)[..., None], 3, -1)
    colour = COLOURS[(masks - 1) % len(COLOURS)] / 255
    return np.where(masks[..., None] > 0, 0.45 * grey + 0.55 * colour, grey)


def _confusion(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """Counts of pixels of each image; NaN where a logit is, whose `argmax` would be the background."""
    logits = model.apply(params, stats, batch["x"])
    counts = pixel_confusion(logits.argmax(-1), batch["mask"], logits.shape[-1])
    spoiled = jnp.isnan(logits).any((1, 2, 3))
    return jnp.where(spoiled[:, None, None], jnp.nan, counts)


def _maps(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """An image's mean over channels, its mask, and what the model says: [B, 3, H, W]."""
    found = model.apply(params, stats, batch["x"]).argmax(-1)
    return jnp.stack([batch["x"].mean(-1), batch["mask"].astype(jnp.float32), found.astype(jnp.float32)], 1)


def colours_of(classes: Sequence[int]) -> list[tuple[float, ...]]:
    """The colour of each class, numbers from 0 to 1."""
    return [tuple(COLOURS[index % len(COLOURS)] / 255) for index in classes]
