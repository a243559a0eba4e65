"""Decoding and resizing of single images with PIL."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

GREY = ("1", "L", "LA", "La")


def decode(file: str | Path | bytes, mode: str, size: tuple[int, int] | None = None) -> np.ndarray:
    """An image file, or its bytes, as uint8 [H, W, C] in PIL's `mode` ("L" or "RGB"), fitted to `size` where given.

    Raises:
      ValueError: it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            pixels = cropped(image.convert(mode), size)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # PIL raises SyntaxError for some broken PNGs
        where = "an image" if isinstance(file, bytes) else file
        raise ValueError(f"{where} cannot be decoded ({error}): remove it or get it again") from None
    return pixels[..., None] if pixels.ndim == 2 else pixels


def cropped(image: Any, size: tuple[int, int] | None) -> np.ndarray:
    """A PIL image as uint8 [H, W] or [H, W, C], cropped at its centre to the aspect ratio of `size`, then resized.

    `size` is (height, width), and the filter is bicubic; None leaves the image as it is.
    """
    if size is None or (image.height, image.width) == size:
        return np.asarray(image)
    height, width = size
    scale = min(image.height / height, image.width / width)
    crop_height, crop_width = scale * height, scale * width
    top, left = (image.height - crop_height) / 2, (image.width - crop_width) / 2
    box = (left, top, left + crop_width, top + crop_height)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC, box=box))


def stretch(file: Path, mode: str, size: tuple[int, int] | None) -> tuple[np.ndarray, tuple[float, float]]:
    """An image file as uint8 [H, W, C], stretched to `size` where given, and its new over its old (width, height).

    Raises:
      ValueError: it cannot be decoded.
    """
    pixels = decode(file, mode)
    if size is None or pixels.shape[:2] == size:
        return pixels, (1.0, 1.0)
    image = Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
    out = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))
    scale = size[1] / pixels.shape[1], size[0] / pixels.shape[0]
    return out[..., None] if out.ndim == 2 else out, scale


def cropped_array(pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """An image uint8 [H, W, C], cropped and resized as by `cropped`."""
    if size is None or pixels.shape[:2] == size:
        return pixels
    out = cropped(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), size)
    return out[..., None] if out.ndim == 2 else out


def cropped_arrays(pixels: np.ndarray, size: tuple[int, int], levels: int) -> np.ndarray:
    """Images uint8 [N, H, W] or [N, H, W, C] of one size, each cropped and resized; values stay below `levels`.

    What is no such array is given back as it is: the check of images that follows says what is wrong with it.
    """
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or pixels.shape[3:] not in ((), (1,), (3,), (4,)):
        return pixels
    four = pixels if pixels.ndim == 4 else pixels[..., None]
    out = np.empty((len(four), *size, four.shape[-1]), np.uint8)
    for index, image in enumerate(four):
        out[index] = cropped_array(image, size)
    return np.minimum(out, levels - 1, out=out)


def header(path: Path) -> tuple[tuple[int, int], str]:
    """((height, width), mode "L" or "RGB") of an image file, without decoding its pixels.

    Raises:
      ValueError: not an image, or one with more than 8 bits a channel.
    """
    try:
        with Image.open(path) as image:
            size, mode = (image.height, image.width), image.mode
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be decoded ({error}): remove it or get it again") from None
    if mode.startswith(("I", "F")):
        raise ValueError(f"{path} has more than 8 bits a channel (mode {mode}): convert it to 8 bits")
    return size, "L" if mode in GREY else "RGB"
