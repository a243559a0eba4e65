"""Tables: `table:PATH?target=COLUMN&categorical=A,B&drop=C,D&test=last`.

PATH is a CSV file whose first line names the columns, or a folder with `train.csv`, `test.csv` and perhaps
`validation.csv`. Of one file, a tenth of the rows is `test`: drawn by a fixed permutation, or with `test=last` the last
ones, and then all splits keep the file's order, as time series need it.

An example is `{"x": float32 [F], "mask": bool [F], "categories": int32 [K], "y"}`:

- x has the columns of numbers in the file's order, NaN where a value is missing, and mask is False there;
- categories has the other columns, if there are any: each word as its position, from 1 on, among the column's sorted
  words; 0 is a missing word, or one that the training file does not have;
- y is the target: float32 [], or int32 [] from 0 on where its column is not numeric. Without a target there is none.

A column is numeric where all its values are numbers, unless `categorical` names it. Missing is what is empty, NA, N/A,
NaN, null or ?, and among numbers also None, - and a point. Values may be separated by commas, semicolons, tabs or bars
(`csvs.py`). A column without a name is passed over if it is empty or counts the rows.

`scale_of` measures mean and deviation on the training part, for `transforms.standardise`, which makes NaN 0.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gen_models.data.access import ArraySource, tenth, within
from gen_models.data.csvs import is_number, read_rows
from gen_models.data.dataset import Arrays, Dataset, Origin, take_examples
from gen_models.data.listing import SPLIT_FOLDERS
from gen_models.errors import unknown

MISSING = ("", "na", "nan", "null", "?", "n/a", "#n/a", "<na>", "-nan")
MISSING_NUMBERS = ("none", "-", "--", ".")  # are missing in columns of numbers, and words in others
_SIGNS = str.maketrans("", "", "%$€£, ")  # what stands around numbers that are not written plainly


class Columns(NamedTuple):
    """What the fields of a table's examples mean."""

    numeric: tuple[str, ...]  # the columns of x
    categorical: tuple[tuple[str, tuple[str, ...]], ...]  # column and its words: word i has the number i + 1
    target: str | None  # the column of y
    classes: tuple[str, ...] | None  # of the target, from 0 on; None where it is a number


def table_origin(path: Path, options: Mapping[str, str], limit: int) -> Origin:
    """The splits of a table; those of at most `limit` bytes are in memory.

    Raises:
      ValueError: no such file or column, rows of several lengths, or values that do not fit.
    """
    last = options.get("test")
    if last not in (None, "last"):
        raise ValueError(f"test={last} of a table must be left out, or be 'last'")
    files = _files(path)
    read = {split: _read(file) for split, file in files.items()}
    tables = {split: table for split, (table, _) in read.items()}
    columns = _columns(tables["train"], files["train"], options)
    found = {split: _arrays(table, files[split], columns) for split, table in tables.items()}
    if len(found) == 1:
        (arrays,) = found.values()
        total = len(arrays["mask"])
        cut = total - max(1, round(0.1 * total))
        in_order = {"train": range(cut), "test": range(cut, total)}
        drawn = {split: tenth(total, split) for split in ("train", "test")}
        found = {
            split: {key: take_examples(value, where) for key, value in arrays.items()}
            for split, where in (in_order if last else drawn).items()
        }
    note = f"rows of {path}" + ("" if len(files) > 1 else "; test split by us")
    splits = {split: partial(within, limit, ArraySource(arrays)) for split, arrays in found.items()}
    classes = len(columns.classes) if columns.classes else None
    return Origin(
        splits,
        classes,
        note,
        balanced=False if last else None,
        kind="tables",
        meaning=columns,
        check=_check,
        passed_over=tuple(dict.fromkeys(phrase for _, passed in read.values() for phrase in passed)),
        drawn=("test",) if len(files) == 1 else (),
    )


def scale_of(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of a table's columns over the values that are there, float32 [F] each; a deviation of 0 is 1.

    Raises:
      ValueError: a column has no value in this split.
    """
    if dataset.arrays is not None:
        x = np.asarray(dataset.arrays["x"], np.float64)
    else:
        x = np.stack([np.asarray(dataset.source[i]["x"], np.float64) for i in range(len(dataset))])  # type: ignore[index]
    there = ~np.isnan(x)
    count = there.sum(0)
    if (count == 0).any():
        column = dataset.meaning.numeric[int(np.argmin(count))]
        raise ValueError(
            f"column {column!r} of {dataset.name} has no value in {dataset.split}: leave it out with drop="
        )
    mean = np.where(there, x, 0).sum(0) / count
    deviation = np.sqrt(np.where(there, (x - mean) ** 2, 0).sum(0) / count)
    return mean.astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise ValueError(f"table:{path}: there is no such file or folder")
    found = {s: path / f"{n}.csv" for s, names in SPLIT_FOLDERS.items() for n in names if (path / f"{n}.csv").is_file()}
    if not {"train", "test"} <= set(found):
        raise ValueError(f"table:{path} lacks train.csv or test.csv: add them, or give one file")
    return found


def _read(path: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Column -> its words, in the order of the rows; and which columns were passed over, in phrases."""
    rows = read_rows(path)
    if len(rows) < 2:
        raise ValueError(f"{path} has no rows below the names of its columns: get it again")
    names = [name.strip() for name in rows[0][1]]
    names[0] = names[0].lstrip("# ")  # as np.savetxt marks its header
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise ValueError(f"{path}, line {line}: {len(row)} values for {len(names)} columns")
    _check_names(names, path)
    columns = [list(column) for column in zip(*(row for _, row in rows[1:]), strict=True)]
    table, passed_over = {}, []
    for index, (name, words) in enumerate(zip(names, columns, strict=True)):
        if name:
            table[name] = words
        elif not any(words) or words in (_count(0, len(words)), _count(1, len(words))):
            passed_over.append(
                f"column {index + 1}, which has no name and " + ("counts rows" if any(words) else "is empty")
            )
        else:
            raise ValueError(f"{path}: column {index + 1} has no name: give it one")
    return table, passed_over


def _check_names(names: Sequence[str], path: Path) -> None:
    """Refuse names that are no names, as those of a file whose first line is a row."""
    own = [name for name in names if name]
    if len(set(own)) < len(own):
        twice = next(name for name in own if own.count(name) > 1)
        raise ValueError(
            f"{path}: two columns are called {twice!r}: each column needs a name of its own in the first line"
        )
    numbers = [name for name in own if is_number(name)]
    in_order = all(name.isdecimal() for name in numbers) and (
        [int(name) for name in numbers] == list(range(int(numbers[0]), int(numbers[0]) + len(numbers)))
        if numbers
        else 1
    )
    if numbers and not in_order:
        raise ValueError(
            f"{path}: the first line must name the columns, and {numbers[0]!r} is a number: "
            "put a line of names before it"
        )


def _count(start: int, total: int) -> list[str]:
    """The words of an index of rows."""
    return [str(number) for number in range(start, start + total)]


def _columns(table: Mapping[str, Sequence[str]], path: Path, options: Mapping[str, str]) -> Columns:
    """Which columns of the training table are numeric, which categorical, and which is the target."""
    target = options.get("target")
    chosen = {what: [name for name in options.get(what, "").split(",") if name] for what in ("categorical", "drop")}
    for name in ([target] if target else []) + chosen["categorical"] + chosen["drop"]:
        if name not in table:
            raise unknown(f"column of {path.name}", name, table)
    numeric, categorical, classes = [], [], None
    for name, words in table.items():
        if name in chosen["drop"]:
            continue
        is_numeric = name not in chosen["categorical"] and _numbers(words) is not None
        own = tuple(sorted({word for word in words if not _is_missing(word)}))
        if not is_numeric and name not in chosen["categorical"]:
            _refuse_spoiled(name, words, path)
        if name == target:
            classes = None if is_numeric else own
        elif is_numeric:
            numeric.append(name)
        elif name not in chosen["categorical"] and len(own) > max(20, len(words) // 2):
            raise ValueError(
                f"{path}: column {name!r} has {len(own)} different words in {len(words)} rows: leave it out with "
                f"drop={name}"
            )
        else:
            categorical.append((name, own))
    if not numeric and not categorical:
        raise ValueError(f"{path} has no column but the target: there is nothing to learn from")
    return Columns(tuple(numeric), tuple(categorical), target, classes)


def _refuse_spoiled(name: str, words: Sequence[str], path: Path) -> None:
    """Refuse a column most of whose values are numbers, perhaps with a sign or a comma: it was meant to be numeric."""
    there = [(row, word) for row, word in enumerate(words) if not _is_missing(word)]
    strange = next(((row, word) for row, word in there if _numbers([word]) is None), None)
    alike = sum(is_number(word) or is_number(word.translate(_SIGNS)) for _, word in there)
    if strange is not None and 2 * alike > len(there):
        row, word = strange
        raise ValueError(
            f"{path}: column {name!r} has numbers, but {word!r} in row {row + 1}: repair it, leave the cell empty "
            f"where the number is missing, or say categorical={name} or drop={name}"
        )


def _arrays(table: Mapping[str, Sequence[str]], path: Path, columns: Columns) -> dict[str, np.ndarray]:
    """The fields of a table's N rows: x [N, F], mask [N, F], categories [N, K] and y [N]."""
    total = len(next(iter(table.values())))
    for name in (*columns.numeric, *(name for name, _ in columns.categorical), columns.target):
        if name is not None and name not in table:
            raise ValueError(f"{path} lacks the column {name!r} of the training file: add it")
    x = np.empty((total, len(columns.numeric)), np.float32)
    for index, name in enumerate(columns.numeric):
        x[:, index] = _single(_numeric(table[name], path, name), path, name)
    found = {"x": x, "mask": ~np.isnan(x)}
    if columns.categorical:
        by_column = []
        for name, words in columns.categorical:
            number = {word: i + 1 for i, word in enumerate(words)}
            by_column.append([number.get(word, 0) for word in table[name]])
        found["categories"] = np.array(by_column, np.int32).T.copy()
    if columns.target is not None:
        found["y"] = _target(table[columns.target], path, columns)
    return found


def _target(words: Sequence[str], path: Path, columns: Columns) -> np.ndarray:
    """The target column as y [N]: int32 of classes, else float32."""
    for row, word in enumerate(words):
        if _is_missing(word) or (columns.classes is None and word.lower() in MISSING_NUMBERS):
            raise ValueError(f"{path}: row {row + 1} has no {columns.target!r}, the target: remove the row")
        if columns.classes is not None and word not in columns.classes:
            raise unknown(f"class in {path.name}", word, columns.classes)
    if columns.classes is not None:
        number = {word: i for i, word in enumerate(columns.classes)}
        return np.array([number[word] for word in words], np.int32)
    return _single(_numeric(words, path, columns.target or ""), path, columns.target or "")


def _numeric(words: Sequence[str], path: Path, name: str) -> np.ndarray:
    """A numeric column, [N] float64: NaN where a cell is missing."""
    numbers = _numbers(words)
    if numbers is not None:
        return numbers
    row, word = next((row, word) for row, word in enumerate(words) if _numbers([word]) is None)
    raise ValueError(f"{path}: row {row + 1} has {word!r} in the numeric column {name!r}: repair or remove it")


def _single(numbers: np.ndarray, path: Path, name: str) -> np.ndarray:
    """A column as float32; ValueError where that does not hold its numbers, or cannot tell most of them apart."""
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    there = np.isfinite(numbers)
    if not np.isfinite(single[there]).all():
        raise ValueError(f"{path}: column {name!r} has {np.abs(numbers[there]).max():.3g}, too large: rescale it")
    if len(np.unique(single[there])) * 2 < len(np.unique(numbers[there])):
        raise ValueError(
            f"{path}: column {name!r} has numbers such as {numbers[there][0]:.17g}, which differ beyond 7 digits: "
            f"subtract their smallest, or say drop={name}"
        )
    return single


def _numbers(words: Sequence[str]) -> np.ndarray | None:
    """The cells as [N] float64, NaN where one is missing; None where one is neither missing nor a finite number."""
    missing = np.array([word.lower() in (*MISSING, *MISSING_NUMBERS) for word in words], bool)
    try:
        numbers = np.array(["nan" if gone else word for word, gone in zip(words, missing, strict=True)], np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers[~missing]).all() else None


def _is_missing(word: str) -> bool:
    return word.lower() in MISSING


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
