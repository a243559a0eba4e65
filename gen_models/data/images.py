"""Image files as pixels, read with PIL: what viewers show, as far as eight bits and three colours go.

- Pictures are turned as their EXIF orientation says, and sizes are those of the turned picture.
- What is transparent lies over white.
- Of an animation, or a file of several pages, the first picture is read.
- Of 16 bits for each of red, green and blue the upper 8 are kept. Grey of more than 8 bits is refused: whether it uses
  its whole range, the file does not say.
- Colour profiles are left alone, and inks (CMYK) become light by PIL's plain formula.
"""

import io
import math
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from gen_models.data.access import DamagedExample
from gen_models.data.names import shown

GREY = ("1", "L", "LA", "La")
COLOUR = ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr", "HSV")
GIVE_SIZE = "give --size 64, or size=64 in the library"  # the remedy for images of several sizes
MOST_PIXELS = 2**29  # that are decoded at once: 1.6 GB in colour
REDUCED = 2**25  # pixels above which a JPEG that is to be resized is decoded at a half, a quarter or an eighth
GAP = 3  # how many times the wanted size such a JPEG still has at least, so that the filter has enough to go by
ORIENTATION = 274  # EXIF's number of it
TURNS = {  # EXIF's orientations -> how the stored pixels are turned to be shown
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
Size = tuple[int, int] | None  # (height, width); None: as the image is


class Header(NamedTuple):
    """What an image file says before its pixels."""

    size: tuple[int, int]  # height and width, as shown
    mode: str  # PIL's mode in which it is read: "L" or "RGB"
    several: bool  # whether there are more pictures in it than the first
    transparent: bool  # whether some of it may be transparent


def decode(file: str | Path | bytes, mode: str, size: Size = None, *, stretch: bool = False) -> np.ndarray:
    """An image file, or its bytes, as uint8 [H, W, C] in PIL's `mode` ("L" or "RGB"), fitted to `size` where given.

    It is cropped to the aspect ratio of `size` and resized, or with `stretch` resized alone.

    Raises:
      DamagedExample: it cannot be decoded.
    """
    with _reading(file) as source, Image.open(source) as image:
        turn = TURNS.get(_orientation(image))
        if size is not None and image.width * image.height > REDUCED:
            stored = size[::-1] if _lies(turn) else size
            gap = GAP / min(image.height / stored[0], image.width / stored[1])
            image.draft(None, (math.ceil(gap * image.width), math.ceil(gap * image.height)))  # JPEGs alone heed it
        picture = _plain(image, mode)
        if turn is not None:
            picture = picture.transpose(turn)
        pixels = stretched(picture, size) if stretch else cropped(picture, size)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def cropped(image: Any, size: Size) -> np.ndarray:
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


def stretched(image: Any, size: Size) -> np.ndarray:
    """A PIL image as uint8 [H, W] or [H, W, C], resized to `size` whatever its aspect ratio."""
    if size is None or (image.height, image.width) == size:
        return np.asarray(image)
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BICUBIC))


def cropped_array(pixels: np.ndarray, size: Size) -> np.ndarray:
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


def header(path: Path, size: Size = None) -> Header:
    """What an image file says before its pixels, which are not decoded; `size` is what it will be resized to.

    Raises:
      DamagedExample: it is no image.
      ValueError: its pixels are of a kind that is not read, or too many.
    """
    with _reading(path) as source, Image.open(source) as image:
        stored, form, mode = (image.height, image.width), image.format, image.mode
        lies = _lies(TURNS.get(_orientation(image)))
        grey = mode in GREY or (mode == "P" and _has_grey_palette(image))
        # A second picture of a JPEG (MPO) is a map of depth or light that cameras put there.
        several = form not in ("JPEG", "MPO") and getattr(image, "is_animated", False)
        transparent = image.has_transparency_data
    if mode.startswith(("I", "F")):
        raise ValueError(f"{shown(path)} has more than 8 bits a channel (mode {mode}): convert it to 8 bits")
    if mode not in GREY + COLOUR:
        raise ValueError(f"{shown(path)} has colours of the form {mode}: convert it to RGB")
    pixels = stored[0] * stored[1]
    if pixels > MOST_PIXELS * (64 if form == "JPEG" and size is not None else 1):
        remedy = GIVE_SIZE if form == "JPEG" and size is None else "make it smaller, or remove it"
        raise ValueError(
            f"{shown(path)} has {pixels / 1e6:.0f} million pixels ({stored[1]}x{stored[0]}), too many to be decoded at "
            f"once (at most {MOST_PIXELS / 1e6:.0f} million): {remedy}"
        )
    return Header(stored[::-1] if lies else stored, "L" if grey else "RGB", several, transparent)


def _plain(image: Any, mode: str) -> Any:
    """A PIL image in the mode "L" or "RGB", what is transparent in it over white."""
    if not image.has_transparency_data:
        return image.convert(mode)
    picture = image.convert("RGBA")  # as some modes know of transparency in their palette or a colour alone
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert(mode)


def _has_grey_palette(image: Any) -> bool:
    """Whether all colours of a palette, [C, R, G, B and perhaps A], are grey."""
    if image.palette is None:
        return False
    kind, data = image.palette.getdata()
    values = np.frombuffer(bytes(data), np.uint8)
    if kind == "RGB;L":  # TIFF: all reds, all greens, all blues
        colours = values[: len(values) // 3 * 3].reshape(3, -1).T
    elif kind in ("RGB", "BGR", "RGBA", "BGRX", "RGBX"):
        colours = values[: len(values) // len(kind) * len(kind)].reshape(-1, len(kind))
    else:
        return False
    return bool((colours[:, :1] == colours[:, 1:3]).all())


def _lies(turn: Image.Transpose | None) -> bool:
    """Whether height and width change places as a picture is turned so."""
    return turn is not None and turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180


def _orientation(image: Any) -> int:
    """The EXIF orientation of an image that has been opened and not decoded, 1 to 8; 1 where none is told.

    It is read here, as PIL decodes a whole PNG to look for it, and warns of what is odd in other fields. TIFFs are
    turned by PIL itself.
    """
    exif = image.info.get("exif", b"")
    if image.format == "TIFF" or not isinstance(exif, bytes):
        return 1
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            number, _, _, value = struct.unpack_from(f"{order}HHIH", exif, place)
            if number == ORIENTATION:
                return int(value)
    except struct.error:  # cut off
        pass
    return 1


@contextmanager
def _reading(file: str | Path | bytes) -> Iterator[Any]:
    """What PIL opens in place of a file; whatever PIL raises while it reads becomes a `DamagedExample`."""
    try:
        with _UNLIMITED:
            yield io.BytesIO(file) if isinstance(file, bytes) else file
    except Exception as error:  # PIL's readers raise nearly anything at a broken file
        if isinstance(file, bytes):
            raise DamagedExample(f"an image cannot be {_reason(file, error)}", "remove it or get it again") from error
        raise DamagedExample(f"{shown(file)} cannot be {_reason(file, error)}") from error


def _reason(file: str | Path | bytes, error: Exception) -> str:
    """What is wrong with a file, behind "cannot be"."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"read ({error.strerror})"
    if isinstance(error, UnidentifiedImageError):
        size = len(file) if isinstance(file, bytes) else Path(file).stat().st_size
        return "decoded (it is no image that can be read)" if size else "decoded (it is empty)"
    return f"decoded ({(str(error) or type(error).__name__).splitlines()[0]})"


class _Unlimited:
    """While anything is in it, PIL neither refuses nor warns of large images, nor of what is odd in a file.

    PIL keeps its limit in a global variable, and threads read at the same time: the first one in changes it, the last
    one out changes it back. Our own limit is `MOST_PIXELS`.
    """

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.limit: int | None = None
        self.warnings: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self.warnings = warnings.catch_warnings()
                self.warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.warnings.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self.limit


_UNLIMITED = _Unlimited()
