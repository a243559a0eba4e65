"""Pixels as people save them, as uint8 [N, H, W] or [N, H, W, C]; what else they may be is refused with its remedy."""

import math

import numpy as np

CHANNELS = (1, 3, 4)


def as_pixels(image: np.ndarray, name: str, labels: int | None = None) -> np.ndarray:
    """Images as uint8 [N, H, W] or [N, H, W, C]; `name` is what they are called, for messages.

    Integers of 0 to 255, whole numbers of 0 to 255 in a floating-point dtype, floats that are 0 to 255 divided by 255,
    and booleans (as 0 and 1) are read as they are; nothing is rounded.

    Args:
      image: the array.
      name: its name.
      labels: how many labels there are, where there are some, which tells the axis of the examples.

    Raises:
      ValueError: another form or other values; the message says by which expression of NumPy they are mended.
    """
    _check_form(image, name, labels)
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.bool_:
        return image.astype(np.uint8)
    if image.dtype.kind in "iu":
        low, high = int(image.min()), int(image.max())
        if low >= 0 and high <= 255:
            return image.astype(np.uint8)
        mend = f"np.uint8(np.round(255.0 * ({name} - {low}) / {high - low}))" if high > low else "values of 0 to 255"
        raise ValueError(f"pixels must be 0 to 255, and those of {name} are {low:,} to {high:,}: save {mend}")
    if image.dtype.kind != "f":
        raise ValueError(f"pixels must be numbers, and {name} is {image.dtype}: save np.uint8 values of 0 to 255")
    return _of_floats(image, name)


def _of_floats(image: np.ndarray, name: str) -> np.ndarray:
    """Floats that stand for 8 bits exactly, as uint8."""
    bad = int((~np.isfinite(image)).sum())
    if bad:
        raise ValueError(f"{bad:,} pixels of {name} are not finite: drop or repair these images")
    low, high = float(image.min()), float(image.max())
    if low >= 0 and high <= 255 and (image == np.round(image)).all():
        return image.astype(np.uint8)
    if low >= 0 and high <= 1:
        scaled = image.astype(np.float32) * np.float32(255)
        whole = np.round(scaled)
        if (np.abs(scaled - whole) < 1e-3).all():
            return whole.astype(np.uint8)
        mend = f"np.uint8(np.round({name} * 255))"
    elif low >= -1 and high <= 1:
        mend = f"np.uint8(np.round(({name} + 1) * 127.5))"
    elif low >= 0 and high <= 255:
        mend = f"np.uint8(np.round({name}))"
    else:
        mend = f"np.uint8(np.round(255 * ({name} - {low:.6g}) / {high - low:.6g}))"
    raise ValueError(
        f"pixels must be whole numbers of 0 to 255, and those of {name} are {low:.4g} to {high:.4g} "
        f"({image.dtype}): save {mend}"
    )


def _check_form(image: np.ndarray, name: str, labels: int | None) -> None:
    """Refuse what is no [N, H, W] or [N, H, W, C]."""
    shape = list(image.shape)
    if image.size == 0:
        raise ValueError(f"{name} {shape} is empty: save at least one image")
    mend = _mend(image.shape, name, labels)
    if mend is not None:
        raise ValueError(
            f"images must be [N, H, W] or [N, H, W, C] with 1, 3 or 4 channels, and {name} is {shape}: save {mend}"
        )


def _mend(shape: tuple[int, ...], name: str, labels: int | None) -> str | None:
    """The expression that makes images of an array of this shape; None where it needs none."""
    fits = labels is None or shape[:1] == (labels,)
    if len(shape) > 2 and not fits:  # the examples are along another axis
        if shape[:2] == (1, labels):
            return f"{name}[0]"
        if shape[-1] == labels:
            return f"np.moveaxis({name}, -1, 0)"
    if len(shape) == 5 and shape[0] == 1:
        return f"{name}[0]"
    if len(shape) == 2:
        return _mend_rows(shape[1], name)
    if len(shape) == 3:
        one = shape[-1] in (3, 4) and shape[0] > 4 and shape[1] > 4 and labels is None
        return f"{name}[None], if it is one image" if one else None
    if len(shape) == 4:
        if shape[-1] in CHANNELS:
            return None
        if shape[1] in CHANNELS:
            return f"np.moveaxis({name}, 1, -1)"
        return f"{name}[0]" if shape[0] == 1 else f"{name}[..., :3], if the first three channels are colours"
    return "one array of all images"


def _mend_rows(values: int, name: str) -> str:
    """The expression that makes images of rows [N, values]."""
    side, third = math.isqrt(values), math.isqrt(values // 3)
    if side**2 == values:
        return f"{name}.reshape(-1, {side}, {side})"
    if 3 * third**2 == values:  # as CIFAR's: red, then green, then blue
        return f"{name}.reshape(-1, 3, {third}, {third}).transpose(0, 2, 3, 1)"
    return f"{name}.reshape(-1, HEIGHT, WIDTH)"
