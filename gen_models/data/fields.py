"""One's own arrays by field, checked."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def own_arrays(arrays: Mapping[str, Any], name: str = "arrays") -> dict[str, np.ndarray]:
    """Arrays, or lists of numbers, that share a leading axis [N, ...], by field; integers of "y" become int32.

    Raises:
      ValueError: they are no mapping, there is no array or no example, lengths disagree, or values are no numbers or
        not finite.
    """
    if not isinstance(arrays, Mapping):
        raise ValueError(f'{name} must be arrays by field, such as {{"x": array}}, got {type(arrays).__name__}')
    found = {str(key): _array(value, f"{key!r} of {name}") for key, value in arrays.items()}
    if "y" in found and found["y"].dtype.kind in "iu":
        if found["y"].size and not -(2**31) <= int(found["y"].min()) <= int(found["y"].max()) < 2**31:
            raise ValueError(
                f"'y' of {name} is {found['y'].min()} to {found['y'].max()}, and int32 holds no such numbers"
            )
        found["y"] = found["y"].astype(np.int32)
    lengths = {key: value.shape[0] if value.ndim else 0 for key, value in found.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"all arrays must have the same number of examples, got {lengths}")
    if not next(iter(lengths.values())):
        raise ValueError(f"{name} has no example: {', '.join(found)} must be [N, ...] with N of 1 or more")
    return found


def _array(value: Any, what: str) -> np.ndarray:
    """One field as an array of finite numbers."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{what} is no array ({error}): give examples of one shape") from None
    if array.dtype.kind in "OUSMm":
        raise ValueError(
            f"{what} holds {array.dtype} values: give numbers, as words and objects cannot be computed with"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{what} has {int((~np.isfinite(array)).sum())} values that are not finite")
    return array
