"""Which rows of one table are for training, which are held out, and which are the test part.

Without options a tenth is `test`, drawn by a fixed permutation, and with `test=last` it is the last tenth. The others
cut the table into N folds (`folds=N`, ten by default); fold I (`fold=I`, from 0 on) is the test part, the next one is
held out, and the rest is trained on:

- `test=stratified`: each fold has its share of each class of the target, up to one row; of a class with fewer rows than
  there are folds some folds have none, which may be those that are trained on;
- `group=COLUMN`: rows of one group, such as a patient, are in one fold, so that none is both trained on and measured;
- `time=COLUMN`: rows are sorted by time, and what is measured is not earlier than anything that is trained on. Times
  are numbers, dates and times as ISO 8601 writes them, or words of one form that begin with the year (2020-Q1). Without
  a fold the last tenth is tested and the tenth before is held out; with one, fold I of N is a window whose past is
  trained on, as in scikit-learn's TimeSeriesSplit, but for the last tenth of that past, which is held out;
- `fold=I` alone: folds drawn by the fixed permutation.

So `fold` from 0 to N - 1, with all else alike, is a cross-validation. The columns `group` and `time` are no inputs.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gen_models.data.access import mixed, tenth
from gen_models.data.tables.columns import has_no_value, numbers_of

CUTTING = ("test", "group", "time", "fold", "folds")  # the options that cut one table into parts
FOLDS = 10  # where none are asked for
Parts = dict[str, Any]  # split -> indices of its rows


def check_options(options: Mapping[str, str]) -> None:
    """Refuse options that cannot be, alone or together.

    Raises:
      ValueError: an option has another value than it may, or two of them exclude each other.
    """
    test = options.get("test")
    if test not in (None, "last", "stratified"):
        raise ValueError(f"test={test} of a table must be left out, or be 'last' or 'stratified'")
    if options.get("untargeted") not in (None, "skip"):
        raise ValueError(f"untargeted={options['untargeted']} of a table must be left out, or be 'skip'")
    ways = [name for name in ("test", "group", "time") if name in options]
    if len(ways) > 1:
        raise ValueError(f"{ways[0]}= and {ways[1]}= of a table exclude each other: leave one out")
    if test == "last" and "fold" in options:
        raise ValueError("test=last of a table has no folds: give time=COLUMN, or leave out fold=")
    if "folds" in options and "fold" not in options:
        raise ValueError("folds= of a table needs the one that is measured: add fold=0")
    if "fold" in options:
        fold, folds = (_whole(name, options.get(name, str(FOLDS))) for name in ("fold", "folds"))
        if not (folds >= 3 and 0 <= fold < folds):
            raise ValueError(f"fold={fold} must be from 0 to folds - 1, and folds={folds} must be 3 or more")


def parts_of(
    words: Mapping[str, Sequence[str]],
    arrays: Mapping[str, np.ndarray],
    columns: Any,
    options: Mapping[str, str],
    path: Path,
) -> Parts:
    """Split -> the indices of its rows; see above. Parts that are not there are made by the data's own rules.

    Raises:
      ValueError: the target has no classes to stratify by, a fold is empty, a group or time is missing, or times are
        written so that their order cannot be told.
    """
    total, folds = len(arrays["mask"]), _folds(options)
    if "time" in options:
        return _by_time(words[options["time"]], options, path)
    if "group" in options:
        fold_of_row = _grouped(words[options["group"]], folds, options["group"], path)
    elif options.get("test") == "stratified":
        if columns.classes is None:
            raise ValueError(f"{path}: test=stratified needs a target of classes: name one, or leave it out")
        fold_of_row = _stratified(arrays["y"], folds)
    elif "fold" in options:
        fold_of_row = _stratified(np.zeros(total, int), folds)  # as if all rows were of one class
    elif options.get("test") == "last":
        cut = total - max(1, round(0.1 * total))
        return {"train": range(cut), "test": range(cut, total)}
    else:
        return {split: tenth(total, split) for split in ("train", "test")}
    return _folded(fold_of_row, options, path)


def _stratified(labels: np.ndarray, folds: int) -> np.ndarray:
    """The fold of each row [N]: rows go round the folds class by class, in mixed order."""
    order = mixed(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def _grouped(words: Sequence[str], folds: int, column: str, path: Path) -> np.ndarray:
    """The fold of each row [N]: each group, the largest first, goes to the fold that has the fewest rows so far."""
    _check_there(words, column, False, path)
    names, group_of_row, sizes = np.unique(np.array(words, object).astype(str), return_inverse=True, return_counts=True)
    if len(names) < folds:
        raise ValueError(f"{path}: column {column!r} has {len(names)} groups for {folds} folds: ask for fewer folds")
    order = mixed(len(names))  # that of groups of one size
    rows_of_fold, fold_of_group = np.zeros(folds, int), np.empty(len(names), int)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of_group[group] = rows_of_fold.argmin()
        rows_of_fold[fold_of_group[group]] += sizes[group]
    return fold_of_group[group_of_row]


def _folded(fold_of_row: np.ndarray, options: Mapping[str, str], path: Path) -> Parts:
    """The parts where one fold is tested and the next is held out, each in mixed order."""
    folds, test = _folds(options), int(options.get("fold", 0))
    order = mixed(len(fold_of_row))
    fold = fold_of_row[order]
    held_out = (test + 1) % folds
    parts = {
        "train": order[(fold != test) & (fold != held_out)],
        "validation": order[fold == held_out],
        "test": order[fold == test],
    }
    for split, rows in parts.items():
        if not len(rows):
            raise ValueError(f"{path} has {len(fold)} rows, too few for {folds} folds: {split} would be empty")
    return parts


def _by_time(words: Sequence[str], options: Mapping[str, str], path: Path) -> Parts:
    """The parts by time, earliest first; equal times keep the file's order."""
    column, total = options["time"], len(words)
    numbers = numbers_of(words)
    _check_there(words, column, numbers is not None, path)
    order = np.argsort(numbers, kind="stable") if numbers is not None else _chronological(words, column, path)
    # What is tested has `size` rows from `start` on; the `held` rows before it are held out.
    if "fold" in options:  # as TimeSeriesSplit: the first window of N + 1 is never tested
        folds, fold = _folds(options), int(options["fold"])
        size = total // (folds + 1)
        start = total - (folds - fold) * size
        held = max(1, round(0.1 * start))
    else:
        size = held = max(1, round(0.1 * total))
        start = total - size
    stop = start + size
    if size < 1 or start - held < 1:
        raise ValueError(f"{path} has {total} rows, too few to be cut by time: ask for fewer folds")
    return {"train": order[: start - held], "validation": order[start - held : start], "test": order[start:stop]}


def _chronological(words: Sequence[str], column: str, path: Path) -> np.ndarray:
    """The order of times that are words, earliest first; equal ones keep theirs.

    Raises:
      ValueError: they are neither dates of ISO 8601, nor of one form with the year in front: 9/1/2020 is a greater word
        than 10/1/2020, and what is sorted so would be trained on its own future.
    """
    try:
        moments = [datetime.fromisoformat(word) for word in words]
        # Digits behind the microseconds are in the words alone.
        return np.array(sorted(range(len(words)), key=lambda row: (moments[row], words[row])))
    except (ValueError, TypeError):  # TypeError: some have an offset from UTC, and others have none
        pass
    forms = [re.sub(r"\d", "0", word) for word in words]
    strange = next((row for row, form in enumerate(forms) if not form.startswith("0000") or form != forms[0]), None)
    if strange is not None:
        raise ValueError(
            f"{path}: row {strange + 1} has {words[strange]!r} in {column!r}, by which parts are cut: times must be "
            "numbers, or all be written as 2020-01-31 or 2020-01-31 23:59:00"
        )
    return np.argsort(np.array(words, object).astype(str), kind="stable")


def _check_there(words: Sequence[str], column: str, number: bool, path: Path) -> None:
    """Refuse a column by which parts are cut where a row lacks its value."""
    missing = next((row for row, word in enumerate(words) if has_no_value(word, number)), None)
    if missing is not None:
        raise ValueError(f"{path}: row {missing + 1} has no {column!r}, by which parts are cut: repair or remove it")


def _folds(options: Mapping[str, str]) -> int:
    return int(options.get("folds", FOLDS))


def _whole(name: str, word: str) -> int:
    if not word.isdecimal():
        raise ValueError(f"{name}={word} of a table must be a whole number")
    return int(word)
