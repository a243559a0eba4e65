"""Images side by side: a grid, with captions, and with what each word of a caption looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from gen_models.plots.canvas import drawing, literal


def image_grid(
    images: Float[np.ndarray, "n h w c"], path: str | Path, *, columns: int | None = None, scale: int = 2, gap: int = 2
) -> Path:
    """Write images side by side, row by row; values beyond [0, 1] are clipped.

    Args:
      images: values in [0, 1]; 1 or 3 channels.
      path: the PNG file.
      columns: images in a row; by default the grid is about square.
      scale: pixels of the file, along each axis, for a pixel of an image; without smoothing.
      gap: pixels of the file between images.

    Raises:
      ValueError: the array is not four-dimensional, is empty, has neither 1 nor 3 channels, or is not finite.
    """
    images = np.asarray(images, np.float32)
    if images.ndim != 4 or not len(images) or images.shape[-1] not in (1, 3):
        raise ValueError(f"images must be [n, height, width, 1 or 3], got {list(images.shape)}")
    if not np.isfinite(images).all():
        raise ValueError("images hold NaN or infinity")
    count, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    height, width = height * scale, width * scale
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 0.5, np.float32)
    for index, image in enumerate(np.clip(images, 0, 1).repeat(scale, 1).repeat(scale, 2)):
        row, column = divmod(index, columns)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        grid[top : top + height, left : left + width] = image
    pixels = np.round(grid * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(path)
    return Path(path)


def word_by_word(
    images: Float[np.ndarray, "n h w c"],
    words: Sequence[Sequence[str]],
    path: str | Path,
    *,
    weights: Float[np.ndarray, "n t s"] | None = None,
) -> Path:
    """Draw images with their captions, a row each; with weights also once for each word, lit where it looked.

    Args:
      images: in [0, 1].
      words: of each image, the words of its caption.
      path: the PNG file.
      weights: of each word to the positions of a square map of the image, line by line.

    Raises:
      ValueError: there are not as many captions as images, or the positions are those of no square.
    """
    images = np.asarray(images)
    if len(words) != len(images) or not len(images):
        raise ValueError(f"captions must be those of each of {len(images)} images, got {len(words)}")
    side = 0 if weights is None else round(weights.shape[2] ** 0.5)
    if weights is not None and side**2 != weights.shape[2]:
        raise ValueError(f"weights must be to the positions of a square, got {weights.shape[2]} positions")
    columns = 1 if weights is None else 1 + max(map(len, words))
    height, width = images.shape[1:3]
    with drawing(path, figsize=(max(5.0, 1.05 * columns), 1.25 * len(images)), layout="constrained") as canvas:
        axes = canvas.subplots(len(images), columns, squeeze=False)
        for index, (line, image, own) in enumerate(zip(axes, images, words, strict=True)):
            for axis in line:
                axis.axis("off")
            line[0].imshow(image.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if weights is None:
                line[0].set_title(literal(" ".join(own)), fontsize=7)
                continue
            for axis, word, of_word in zip(line[1:], own, weights[index], strict=False):
                lit = of_word.reshape(side, side) / max(of_word.max(), 1e-9)
                lines, across = (np.arange(size) * side // size for size in (height, width))
                bright = 0.25 + 0.75 * lit[lines][:, across]
                axis.imshow((image * bright[..., None]).squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set_title(literal(word), fontsize=8)
    return Path(path)


def captioned(
    images: Float[np.ndarray, "n h w c"], captions: Sequence[str], path: str | Path, *, columns: int = 8
) -> Path:
    """Draw images with a line of text over each.

    Args:
      images: values in [0, 1]; 1 or 3 channels.
      captions: one for each image.
      path: the PNG file.
      columns: images in a row.
    """
    rows = -(-len(images) // columns)
    with drawing(path, figsize=(1.25 * columns, 1.45 * rows), layout="constrained") as canvas:
        axes = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axis in axes:
            axis.axis("off")
        for axis, image, caption in zip(axes, np.clip(images, 0, 1), captions, strict=False):
            axis.imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
            axis.set_title(literal(caption), fontsize=7)
    return Path(path)
