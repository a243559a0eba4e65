"""Checks of a network's sizes, made when a model is built, before anything is computed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def check_sizes(*, shape: Sequence[int] | None = None, **sizes: Any) -> None:
    """Refuse sizes that are no whole numbers from 1 on; None stands for something that the network does without.

    Args:
      shape: (height, width, channels), where the model has one.
      **sizes: by the names of the model's arguments, which the error gives.

    Raises:
      ValueError: a size, or an entry of `shape`, is below 1 or no whole number; or `shape` is not three sizes.
    """
    if shape is not None:
        check_each(shape=shape)
        if len(shape) != 3:
            raise ValueError(f"an image's shape is (height, width, channels), got shape={tuple(shape)}")
    _refuse({name: size for name, size in sizes.items() if size is not None and not _is_size(size)})


def check_each(**sizes: Any) -> None:
    """Refuse what are not several sizes, such as the widths of layers: `check_each(hidden=(64, 32))`.

    Raises:
      ValueError: one is no sequence, or an entry of it is below 1 or no whole number.
    """
    for name, each in sizes.items():
        if isinstance(each, str | bytes) or not isinstance(each, Sequence | np.ndarray):
            raise ValueError(f"{name} must be a sequence of sizes, such as ({each!r},), got {name}={each!r}")
    _refuse({name: tuple(each) for name, each in sizes.items() if not all(map(_is_size, each))})


def check_windows(**windows: int) -> None:
    """Refuse windows that have no middle.

    Raises:
      ValueError: one is even, or below 1.
    """
    wrong = {name: size for name, size in windows.items() if not _is_size(size) or size % 2 == 0}
    if wrong:
        raise ValueError(f"windows must be odd and positive, got {_listed(wrong)}")


def check_first_window(first_window: int) -> None:
    """Refuse a window of the image itself that has no middle, or nothing but it: a first layer sees no pixel there.

    Raises:
      ValueError: it is even, or below 3.
    """
    check_windows(first_window=first_window)
    if first_window < 3:
        raise ValueError(
            f"first_window={first_window} sees no earlier pixel of its row, as the first layer does not see the pixel "
            "itself: it must be 3 or more"
        )


def check_divides(what: str, number: int, **features: int) -> None:
    """Refuse features that cannot be shared equally: `check_divides("channels", 3, features=8)`.

    Raises:
      ValueError: the number does not divide one of them.
    """
    wrong = {name: size for name, size in features.items() if size % number}
    if wrong:
        raise ValueError(f"{number} {what} must divide {_listed(wrong)}: take a multiple of {number}")


def check_numbers(**numbers: Any) -> None:
    """Refuse numbers that are negative, infinite or NaN; a traced one is taken as it is.

    Raises:
      ValueError: one is.
    """
    for name, number in numbers.items():
        if isinstance(number, int | float | np.number) and not 0 <= number < float("inf"):
            raise ValueError(f"{name} must not be negative, infinite or NaN, got {number}")


def _is_size(size: Any) -> bool:
    return isinstance(size, int | np.integer) and not isinstance(size, bool) and int(size) >= 1


def _refuse(wrong: Mapping[str, object]) -> None:
    if wrong:
        whole = "" if all(_is_whole(size) for size in wrong.values()) else "whole numbers, and "
        raise ValueError(f"sizes must be {whole}positive, got {_listed(wrong)}")


def _is_whole(size: Any) -> bool:
    entries = size if isinstance(size, tuple) else (size,)
    return all(isinstance(entry, int | np.integer) and not isinstance(entry, bool) for entry in entries)


def _listed(sizes: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
