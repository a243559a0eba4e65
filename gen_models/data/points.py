"""Points of a space: `points:PATH`, floats [N, D], labels or not.

- `.npy`: one array [N, D];
- `.npz`: `x` and perhaps `y`, or `train_x`, `test_x` (and `train_y`, `validation_x`, ...), and the
  other names of `array_names.py`;
- `.csv`: numbers alone, one point a line, with or without a line of names before them; `csvs.py` says how it is read.

Without official splits a tenth, drawn by a fixed permutation, is `test`. An example is `{"x": float32 [D]}`, and with
labels `"y"`: int32 [], or float32 [] where they are no integers.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import ArraySource, tenth, within
from gen_models.data.array_names import SPLITS, Names, check_misspelt, known_names
from gen_models.data.csvs import is_number, read_rows
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.names import counted, listed


def points_origin(path: Path, limit: int) -> Origin:
    """The splits of a file of points; those of at most `limit` bytes are in memory.

    Raises:
      ValueError: no such file, a file of another form, or values that are no finite numbers.
    """
    if not path.is_file():
        raise ValueError(f"points:{path}: there is no such file")
    arrays = _read(path)
    names = known_names(path, tuple(arrays))
    official = [split for split in SPLITS if (split, "x") in names.of]
    if official and "train" not in official:
        raise ValueError(f"{path} has points of {' and '.join(official)} alone: add train_x")
    if not official and ("", "x") not in names.of:
        raise ValueError(f"{path} has the arrays {', '.join(arrays)}: name the points x, or train_x and test_x")
    checked = {split: _checked(names, arrays, split) for split in official or [""]}
    if not official:
        own = checked.pop("")
        chosen = {split: tenth(len(own["x"]), split) for split in ("train", "test")}
        checked = {split: {field: value[where] for field, value in own.items()} for split, where in chosen.items()}
    label = checked["train"].get("y")
    classes = int(label.max()) + 1 if label is not None and label.dtype.kind == "i" else None
    splits = {split: partial(within, limit, ArraySource(own)) for split, own in checked.items()}
    note = f"points of {path}" + ("" if official else "; test split by us")
    taken = {names.of[key] for key in names.of if key[0] in (official or [""])}
    left = [name for name in arrays if name not in taken]
    return Origin(
        splits,
        classes,
        note,
        kind="points",
        check=_check,
        passed_over=(f"{counted(len(left), 'array')} ({listed(left)})",) if left else (),
        drawn=() if official else ("test",),
    )


def _read(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays of a file by name; one array alone is called x."""
    if path.suffix.lower() in (".csv", ".tsv", ".txt", ".gz"):
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
    rows = read_rows(path)
    if rows and not any(is_number(word) for word in rows[0][1]):
        rows = rows[1:]  # the columns' names
    points = []
    for line, row in rows:
        try:
            points.append([float(word) for word in row])
        except ValueError as error:
            raise ValueError(f"{path}, line {line}: {error}: points are numbers alone, use table:{path}") from None
    if len({len(point) for point in points}) != 1:
        raise ValueError(f"{path} has {len(points)} points, not all of one dimension: give each line as many numbers")
    return np.array(points)


def _checked(names: Names, arrays: Mapping[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """The points x float32 [N, D] of a split, and y int32 or float32 [N] where they have it."""
    path, x_name, y_name = names.path, names.of[split, "x"], names.of.get((split, "y"))
    x = arrays[x_name]
    if x.ndim != 2 or 0 in x.shape or x.dtype.kind not in "fiu":
        raise ValueError(f"{path}: {x_name} must be numbers [N, D], got {x.dtype} {list(x.shape)}")
    if x.dtype.kind in "iu" and np.abs(x.astype(np.float64)).max() > 2**24:
        raise ValueError(
            f"{path}: {x_name} has integers above {2**24:,}, which float32 cannot tell apart: rescale them"
        )
    check_misspelt(names, split)
    found = {"x": _single(x)}
    if y_name is not None:
        y = arrays[y_name]
        y = y.reshape(-1) if y.ndim == 2 and 1 in y.shape else y
        if y.shape != x.shape[:1] or y.dtype.kind not in "fiub":
            raise ValueError(f"{path}: {y_name} must be numbers [{len(x)}], got {y.dtype} {list(y.shape)}")
        if y.dtype.kind in "iu" and y.min() < 0:
            raise ValueError(f"{path}: labels must be 0 or more, got {y.min()} in {y_name}")
        found["y"] = _single(y) if y.dtype.kind == "f" else y.astype(np.int32)
    for name, value in ((x_name, found["x"]), (y_name, found.get("y"))):
        bad = 0 if value is None else int((~np.isfinite(value)).sum())
        if bad:
            raise ValueError(f"{path}: {name} has {bad} values that are not finite in float32: drop or repair them")
    return found


def _single(values: np.ndarray) -> np.ndarray:
    """The values as float32, infinite where that holds none so large."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    """Refuse labels beyond the classes of the training split."""
    y = arrays.get("y")
    if y is not None and origin.num_classes is not None and y.max() >= origin.num_classes:
        raise ValueError(
            f"{name}: labels must be 0 to {origin.num_classes - 1}, got {y.max()}: classes are numbered by the labels "
            "for training"
        )
    return dict(arrays)
