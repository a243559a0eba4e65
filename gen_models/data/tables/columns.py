"""Columns of a table: which are numbers and which words, and their cells as arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.csvs import is_number
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


def columns_of(
    table: Mapping[str, Sequence[str]], path: Path, options: Mapping[str, str], texts: frozenset[str] = frozenset()
) -> Columns:
    """Which columns of the training table are numeric, which categorical, and which is the target.

    Columns of `texts` are categorical, whatever stands in them. Those that cut the table into parts are no inputs.
    """
    asked = _asked_for(table, path, options)
    numeric, categorical, classes = [], [], None
    for name, words in table.items():
        if name in asked.left_out:
            continue
        said_categorical = name in asked.categorical or name in texts
        is_numeric = not said_categorical and numbers_of(words) is not None
        own = tuple(sorted({word for word in words if not is_missing(word)}))
        if not is_numeric and not said_categorical:
            _refuse_spoiled(name, words, path)
        if name == asked.target:
            classes = None if is_numeric else own
        elif is_numeric:
            numeric.append(name)
        elif not said_categorical and len(own) > max(20, len(words) // 2):  # names or numbers of rows, say
            raise ValueError(
                f"{path}: column {name!r} has {len(own)} different words in {len(words)} rows: leave it out with "
                f"drop={name}"
            )
        else:
            categorical.append((name, own))
    if not numeric and not categorical:
        raise ValueError(f"{path} has no column but the target: there is nothing to learn from")
    return Columns(tuple(numeric), tuple(categorical), asked.target, classes)


class _Asked(NamedTuple):
    """What the options say of columns."""

    target: str | None
    categorical: list[str]
    left_out: list[str]  # dropped, or columns that cut the table into parts


def _asked_for(table: Mapping[str, Sequence[str]], path: Path, options: Mapping[str, str]) -> _Asked:
    """What options say of columns; ValueError where one is not there, or the target cuts the table or is left out."""
    target = options.get("target")
    categorical, dropped = ([name for name in options.get(o, "").split(",") if name] for o in ("categorical", "drop"))
    cutting = [options[option] for option in ("group", "time") if option in options]
    for name in [*([target] if target else []), *categorical, *dropped, *cutting]:
        if name not in table:
            raise unknown(f"column of {path.name}", name, table)
    if target in cutting:
        raise ValueError(f"{path}: the target {target!r} cannot also cut the table into parts: name another column")
    if target in dropped:
        raise ValueError(f"{path}: the target {target!r} cannot be dropped: leave it out of drop=")
    return _Asked(target, categorical, dropped + cutting)


def _refuse_spoiled(name: str, words: Sequence[str], path: Path) -> None:
    """Refuse a column most of whose values are numbers, perhaps with a sign or a comma: it was meant to be numeric."""
    there = [(row, word) for row, word in enumerate(words) if not is_missing(word)]
    strange = next(((row, word) for row, word in there if numbers_of([word]) is None), None)
    alike = sum(is_number(word) or is_number(word.translate(_SIGNS)) for _, word in there)
    if strange is not None and 2 * alike > len(there):
        row, word = strange
        raise ValueError(
            f"{path}: column {name!r} has numbers, but {word!r} in row {row + 1}: repair it, leave the cell empty "
            f"where the number is missing, or say categorical={name} or drop={name}"
        )


def arrays_of(
    table: Mapping[str, Sequence[str]], path: Path, columns: Any, *, with_target: bool = True
) -> dict[str, np.ndarray]:
    """The fields of a table's N rows: x [N, F], mask [N, F], categories [N, K] and, with a target, y [N].

    The columns are `Columns`, or `Prepared`, which has the same fields and more.

    Raises:
      ValueError: a column is missing, a value is of the wrong kind, or a target is missing or of no class.
    """
    total = len(next(iter(table.values())))
    target = columns.target if with_target else None
    for name in (*columns.numeric, *(name for name, _ in columns.categorical), target):
        if name is not None and name not in table:
            raise ValueError(f"{path} lacks the column {name!r} of the training file: add it")
    x = np.empty((total, len(columns.numeric)), np.float32)
    for index, name in enumerate(columns.numeric):
        x[:, index] = _numeric(table[name], path, name)
    found = {"x": x, "mask": ~np.isnan(x)}
    if columns.categorical:
        by_column = []
        for name, words in columns.categorical:
            number = {word: i + 1 for i, word in enumerate(words)}
            by_column.append([number.get(word, 0) for word in table[name]])
        found["categories"] = np.array(by_column, np.int32).T.copy()
    if target is not None:
        found["y"] = _target(table[target], path, columns)
    return found


def _target(words: Sequence[str], path: Path, columns: Any) -> np.ndarray:
    """The target column as y [N]: int32 of classes, else float32."""
    for row, word in enumerate(words):
        if has_no_value(word, columns.classes is None):
            raise ValueError(
                f"{path}: row {row + 1} has no {columns.target!r}, the target: remove the row, or leave out all such "
                "rows by untargeted=skip"
            )
        if columns.classes is not None and word not in columns.classes:
            raise unknown(f"class in {path.name}", word, columns.classes)
    if columns.classes is not None:
        number = {word: i for i, word in enumerate(columns.classes)}
        return np.array([number[word] for word in words], np.int32)
    return _numeric(words, path, columns.target or "")


def _numeric(words: Sequence[str], path: Path, name: str) -> np.ndarray:
    """A numeric column, [N] float32: NaN where a cell is missing."""
    numbers = numbers_of(words)
    if numbers is None:
        row, word = next((row, word) for row, word in enumerate(words) if numbers_of([word]) is None)
        raise ValueError(f"{path}: row {row + 1} has {word!r} in the numeric column {name!r}: repair or remove it")
    return _single(numbers, path, name)


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


def unknown_words(table: Mapping[str, Sequence[str]], columns: Any) -> list[tuple[int, str, str]]:
    """(row from 0 on, column, word) of each cell with a word that the training part does not have; empty is none."""
    found = []
    for name, words in columns.categorical:
        known = set(words)
        found += [
            (row, name, word) for row, word in enumerate(table[name]) if word not in known and not is_missing(word)
        ]
    return found


def numbers_of(words: Sequence[str]) -> np.ndarray | None:
    """The cells as [N] float64, NaN where one is missing; None where one is neither missing nor a finite number."""
    missing = np.array([word.lower() in (*MISSING, *MISSING_NUMBERS) for word in words], bool)
    try:
        numbers = np.array(["nan" if gone else word for word, gone in zip(words, missing, strict=True)], np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers[~missing]).all() else None


def is_missing(word: str) -> bool:
    """Whether a cell of words is missing."""
    return word.lower() in MISSING


def has_no_value(word: str, number: bool) -> bool:
    """Whether a cell is missing, among numbers or among words."""
    return is_missing(word) or (number and word.lower() in MISSING_NUMBERS)
