"""Points of a space: `points:PATH`, floats [N, D], labels or not.

- `.npy`: one array [N, D];
- `.npz`: `x` and perhaps `y`, or `train_x`, `test_x` (and `train_y`, `validation_x`, ...);
- `.csv`: numbers alone, one point a line, with or without a line of names before them.

Without official splits a tenth, drawn by a fixed permutation, is `test`. An example is `{"x": float32 [D]}`, and with
labels `"y"`: int32 [], or float32 [] where they are no integers.
"""

import csv
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import ArraySource, tenth, within
from gen_models.data.dataset import Arrays, Origin

SPLITS = ("train", "validation", "test")


def points_origin(path: Path, limit: int) -> Origin:
    """The splits of a file of points; those of at most `limit` bytes are in memory.

    Raises:
      ValueError: no such file, a file of another form, or values that are no finite numbers.
    """
    if not path.is_file():
        raise ValueError(f"points:{path}: there is no such file")
    arrays = _read(path)
    official = "train_x" in arrays
    if official:
        found = {
            split: {field: arrays[f"{split}_{field}"] for field in ("x", "y") if f"{split}_{field}" in arrays}
            for split in SPLITS
            if f"{split}_x" in arrays
        }
        checked = {split: _checked(own, path, f"{split}_") for split, own in found.items()}
    elif "x" in arrays:
        own = _checked({field: arrays[field] for field in ("x", "y") if field in arrays}, path, "")
        chosen = {split: tenth(len(own["x"]), split) for split in ("train", "test")}
        checked = {split: {field: value[where] for field, value in own.items()} for split, where in chosen.items()}
    else:
        raise ValueError(f"{path} has the arrays {', '.join(arrays)}: name the points x, or train_x and test_x")
    label = checked["train"].get("y")
    classes = int(label.max()) + 1 if label is not None and label.dtype.kind == "i" else None
    splits = {split: partial(within, limit, ArraySource(own)) for split, own in checked.items()}
    note = f"points of {path}" + ("" if official else "; test split by us")
    return Origin(splits, classes, note, kind="points", check=_check)


def _read(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file by name; one array alone is called x."""
    if path.suffix.lower() == ".csv":
        return {"x": _read_csv(path)}
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            with loaded as archive:
                return {name: archive[name] for name in archive.files}
    except (BadZipFile, ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} is no .npy, .npz or .csv of plain numbers ({error}): save it with NumPy") from None


def _read_csv(path: Path) -> np.ndarray:
    """The points float64 [N, D] of a CSV file of numbers alone."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is no CSV file in UTF-8 ({error}): convert it") from None
    points = []
    for number, row in enumerate(rows):
        try:
            points.append([float(word) for word in row])
        except ValueError as error:
            if number:  # the first line may hold the columns' names
                raise ValueError(
                    f"{path}, point {number}: {error}: points are numbers alone, use table:{path}"
                ) from None
    if len({len(point) for point in points}) != 1:
        raise ValueError(f"{path} has {len(points)} points, not all of one dimension: give each line as many numbers")
    return np.array(points)


def _checked(arrays: Mapping[str, np.ndarray], path: Path, prefix: str) -> dict[str, np.ndarray]:
    """The points x float32 [N, D], and y int32 or float32 [N] where they have it."""
    x = arrays["x"]
    if x.ndim != 2 or 0 in x.shape or x.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {prefix}x must be numbers [N, D], got {x.dtype} {list(x.shape)}")
    found = {"x": x.astype(np.float32)}
    if "y" in arrays:
        y = arrays["y"]
        if y.shape != x.shape[:1] or y.dtype.kind not in "fiu":
            raise ValueError(f"{path}: {prefix}y must be numbers [{len(x)}], got {y.dtype} {list(y.shape)}")
        if y.dtype.kind in "iu" and y.min() < 0:
            raise ValueError(f"{path}: labels must be 0 or more, got {y.min()} in {prefix}y")
        found["y"] = y.astype(np.float32 if y.dtype.kind == "f" else np.int32)
    for field, value in found.items():
        bad = int((~np.isfinite(value)).sum())
        if bad:
            raise ValueError(f"{path}: {prefix}{field} has {bad} values that are not finite: drop or repair them")
    return found


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    """Refuse labels beyond the classes of the training split."""
    y = arrays.get("y")
    if y is not None and origin.num_classes is not None and y.max() >= origin.num_classes:
        raise ValueError(f"{name}: labels must be 0 to {origin.num_classes - 1}, got {y.max()}")
    return dict(arrays)
