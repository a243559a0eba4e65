"""What the distances between sets of features share: checks of their input, and blocks of rows in float64."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from gen_models.models.sizes import check_sizes

_AT_ONCE = 4096  # rows that are looked at together, so that no copy of all features is made


def check_features(least: int = 1, **features: np.ndarray) -> None:
    """Refuse features from which no distance can be computed.

    Args:
      least: the fewest examples that will do.
      **features: [N, D] each, by the names of the function's arguments, which the error gives.

    Raises:
      ValueError: one is no matrix of floats, has no dimension or too few examples, or holds NaN or infinite values; or
        their dimensions differ.
    """
    for name, each in features.items():
        if not hasattr(each, "dtype"):
            raise ValueError(
                f"{name} must be an array of features [N, D] of float32 or float64, got a {type(each).__name__}: make "
                "it one by np.asarray"
            )
        if np.ndim(each) != 2 or not np.issubdtype(each.dtype, np.floating):
            raise ValueError(
                f"{name} must be features [N, D] of float32 or float64, got {list(np.shape(each))} of {each.dtype}: "
                "flatten and cast them first"
            )
        if each.shape[0] < least or each.shape[1] < 1:
            raise ValueError(f"{name} must hold {least} or more examples of 1 or more dimensions, got {each.shape}")
        check_finite(name, each)
    dimensions = {name: each.shape[1] for name, each in features.items()}
    if len({*dimensions.values()}) > 1:
        got = ", ".join(f"{name} {size}" for name, size in dimensions.items())
        raise ValueError(f"the dimensions of features must be equal, got {got}: take the same layer of one network")


def check_finite(name: str, values: np.ndarray) -> None:
    """Refuse rows [N, ...] that hold NaN or infinite values, and say how many do and which is the first."""
    broken = [rows.start + np.nonzero(~np.isfinite(values[rows]).all(1))[0] for rows in slices(len(values), _AT_ONCE)]
    index = np.concatenate(broken)
    if index.size:
        raise ValueError(
            f"{index.size} of {len(values)} rows of {name} hold NaN or infinite values, the first of them row "
            f"{index[0]}: a distance would be NaN, so look for a diverged model, or leave these rows out and say so"
        )


def check_neighbours(k: int, available: int, what: str) -> None:
    """Refuse a number of neighbours that is no size, or more than there are.

    Raises:
      ValueError: k is below 1 or no whole number, or above `available`.
    """
    check_sizes(k=k)
    if k > available:
        raise ValueError(f"k={k} neighbours are asked for, but there are {available} {what}: take a smaller k")


def slices(count: int, size: int) -> Iterator[slice]:
    """The rows 0 to count - 1 in blocks of `size`, the last of which may be smaller."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def wide(values: Any) -> np.ndarray:
    """The values in float64, in one piece of memory."""
    return np.ascontiguousarray(values, np.float64)
