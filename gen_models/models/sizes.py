"""Checks of a network's sizes, made when a model is built, before anything is computed."""

from collections.abc import Mapping, Sequence


def check_sizes(*, shape: Sequence[int] | None = None, **sizes: int | None) -> None:
    """Refuse sizes below 1; None stands for something that the network does without, and passes.

    Args:
      shape: (height, width, channels), where the model has one.
      **sizes: by the names of the model's arguments, which the error gives.

    Raises:
      ValueError: a size, or an entry of `shape`, is below 1; or `shape` is not three sizes.
    """
    if shape is not None and len(shape) != 3:
        raise ValueError(f"an image's shape is (height, width, channels), got shape={tuple(shape)}")
    wrong: dict[str, object] = {}
    if shape is not None and min(shape) < 1:
        wrong["shape"] = tuple(shape)
    wrong |= {name: size for name, size in sizes.items() if size is not None and size < 1}
    if wrong:
        raise ValueError(f"sizes must be positive, got {_listed(wrong)}")


def check_windows(**windows: int) -> None:
    """Refuse windows that have no middle.

    Raises:
      ValueError: one is even, or below 1.
    """
    wrong = {name: size for name, size in windows.items() if size < 1 or size % 2 == 0}
    if wrong:
        raise ValueError(f"windows must be odd and positive, got {_listed(wrong)}")


def check_divides(what: str, number: int, **features: int) -> None:
    """Refuse features that cannot be shared equally: `check_divides("channels", 3, features=8)`.

    Raises:
      ValueError: the number does not divide one of them.
    """
    wrong = {name: size for name, size in features.items() if size % number}
    if wrong:
        raise ValueError(f"{number} {what} must divide {_listed(wrong)}: take a multiple of {number}")


def _listed(sizes: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={size}" for name, size in sizes.items())
