"""Tables: `table:PATH?target=COLUMN&categorical=A,B&drop=C,D&test=last`.

PATH is a CSV file whose first line names the columns, a Parquet file (extra `tables`), or a folder with `train.csv`,
`test.csv` and perhaps `validation.csv` (or .parquet). Of one file, a tenth of the rows is `test`: drawn by a fixed
permutation, or with `test=last` the last ones, and then all splits keep the file's order, as time series need it.
Other ways to cut one file (`splitting.py`): `test=stratified`, `group=COLUMN`, `time=COLUMN`, `fold=I&folds=N`.

An example is `{"x": float32 [F], "mask": bool [F], "categories": int32 [K], "y"}`:

- x has the columns of numbers in the file's order, NaN where a value is missing, and mask is False there;
- categories has the other columns, if there are any: each word as its position, from 1 on, among the column's sorted
  words; 0 is a missing word, or one that the training file does not have;
- y is the target: float32 [], or int32 [] from 0 on where its column is not numeric. Without a target there is none.

A column is numeric where all its values are numbers, unless `categorical` names it or a Parquet file says it is text.
Missing is what is empty, NA, N/A, NaN, null or ?, and among numbers also None, - and a point. Values may be separated
by commas, semicolons, tabs or bars (`csvs.py`). A column without a name is passed over if it is empty or counts the
rows.

A row without a target is refused, unless `untargeted=skip` leaves such rows out.

`scale_of` measures mean and deviation on the training part, for `transforms.standardise`, which makes NaN 0;
`gen_models.data.table_preparation` does all that a model may need besides (missing values, scales, one-hot).
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from gen_models.data.access import ArraySource, within
from gen_models.data.dataset import Arrays, Dataset, Origin, take_examples
from gen_models.data.tables.columns import Columns, arrays_of, columns_of, has_no_value, numbers_of
from gen_models.data.tables.prepared import Prepared
from gen_models.data.tables.reading import Table, files_of, read_table
from gen_models.data.tables.splitting import CUTTING, check_options, parts_of

__all__ = ["Columns", "Prepared", "scale_of", "table_origin"]


def table_origin(path: Path, options: Mapping[str, str], limit: int) -> Origin:
    """The splits of a table; those of at most `limit` bytes are in memory.

    Raises:
      ValueError: no such file or column, rows of several lengths, or values that do not fit.
    """
    check_options(options)
    files = files_of(path)
    tables = {split: read_table(file) for split, file in files.items()}
    tables = {split: _targeted(table, options) for split, table in tables.items()}
    train = tables["train"]
    columns = columns_of(train.words, files["train"], options, train.texts)
    found = {split: arrays_of(table.words, files[split], columns) for split, table in tables.items()}
    parts = None
    if len(found) == 1:
        (arrays,) = found.values()
        parts = parts_of(train.words, arrays, columns, options, files["train"])
        found = {
            split: {key: take_examples(value, where) for key, value in arrays.items()} for split, where in parts.items()
        }
    elif own := [name for name in CUTTING if name in options]:
        raise ValueError(f"table:{path} comes with its parts: leave out {own[0]}={options[own[0]]}")
    note = f"rows of {path}" + ("" if len(files) > 1 else "; test split by us")
    splits = {split: partial(within, limit, ArraySource(arrays)) for split, arrays in found.items()}
    classes = len(columns.classes) if columns.classes else None
    return Origin(
        splits,
        classes,
        note,
        balanced=False if options.get("test") == "last" else None,
        kind="tables",
        meaning=columns,
        check=_check,
        passed_over=tuple(dict.fromkeys(phrase for table in tables.values() for phrase in table.passed_over)),
        drawn=tuple(split for split in parts or () if split != "train"),
    )


def _targeted(table: Table, options: Mapping[str, str]) -> Table:
    """The table without the rows that lack their target, where these are to be skipped."""
    target = options.get("target")
    if options.get("untargeted") != "skip" or target not in table.words:
        return table
    number = target not in table.texts and numbers_of(table.words[target]) is not None
    kept = [row for row, word in enumerate(table.words[target]) if not has_no_value(word, number)]
    left = len(table.words[target]) - len(kept)
    if not left:
        return table
    words = {name: [cells[row] for row in kept] for name, cells in table.words.items()}
    return table._replace(words=words, passed_over=[*table.passed_over, f"{left} rows without {target!r}, the target"])


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


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    """The arrays as they are: `arrays_of` made them."""
    return dict(arrays)
