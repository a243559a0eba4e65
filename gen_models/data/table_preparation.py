"""Raw rows of a table to the numbers that a model reads: missing values, scales, words as one-hot.

    splits = gm.prepared_table(gm.load_splits("table:FILE.csv?target=price"), missing="median", scaling="robust")

All that is measured, is measured on the training part alone, and stands in `splits.train.meaning` (`Prepared`), which
a run keeps in `data.json`: raw rows are prepared in the same way where the data are no longer there. What becomes of a
row is one compiled function of arrays, so that it can be exported with the model:

1. numbers become (x - centre) / scale: "standard", mean and deviation; "min_max", the least value and the range;
   "robust", median and interquartile range; or "none". Scales of 0 are 1. Missing values do not count.
2. a missing number becomes the column's mean, median or most frequent value, or with "nearest" the mean of that column
   in the `neighbours` nearest rows for training that have it, by the Euclidean distance of the scaled numbers which
   both rows have (Troyanskaya et al., Missing value estimation methods for DNA microarrays, 2001), their sum of squares
   divided by how many they are; with "drop", rows in which anything is missing are left out.
3. with `indicator`, 1 for what was missing and else 0, for each column that lacks a value in a row for training;
4. words become one-hot. A missing word, or one that no row for training has, gives zeros throughout; a missing one is
   the most frequent word where `missing` is "most_frequent".

Each is what scikit-learn's scalers, imputers, `MissingIndicator` and `OneHotEncoder(handle_unknown="ignore")` make.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.data.dataset import Dataset
from gen_models.data.splits import Splits
from gen_models.data.tables.columns import Columns
from gen_models.data.tables.prepared import MISSING, SCALING, Prepared
from gen_models.data.transforms import Transform
from gen_models.errors import unknown

MOST_ROWS = 2000  # among which neighbours are sought, evenly spaced in the training part


def prepared_table(
    splits: Splits, *, missing: str = "mean", scaling: str = "standard", indicator: bool = False, neighbours: int = 5
) -> Splits:
    """The same splits of a table, whose batches have `x` float32 [B, D] in place of `x`, `mask` and `categories`.

    Args:
      splits: of `load_splits("table:...")`.
      missing: "mean", "median", "most_frequent", "nearest" or "drop".
      scaling: "standard", "min_max", "robust" or "none".
      indicator: whether to mark what was missing.
      neighbours: how many, where `missing` is "nearest".

    Raises:
      ValueError: the data are no table, an option is unknown, a column has no value for training, or no row is left.
    """
    for name, value, known in (("missing", missing, MISSING), ("scaling", scaling, SCALING)):
        if value not in known:
            raise unknown(f"choice of {name}", value, known)
    if neighbours < 1:
        raise ValueError(f"neighbours must be 1 or more, got {neighbours}")
    columns = splits.train.meaning
    if not isinstance(columns, Columns):
        raise ValueError(f"{splits.name!r} is no raw table, and only tables are prepared: give a table:PATH")
    parts = {word: getattr(splits, word) for word in ("train", "held_out", "test")}
    if any(part is not None and part.arrays is None for part in parts.values()):
        raise ValueError(f"{splits.name!r} does not fit into memory, and only tables that do are prepared: take a part")
    if missing == "drop":
        parts = _each_changed(parts, _complete)
    columns, parts = _seen_words(columns, parts)
    found = measured(parts["train"], columns, missing, scaling, indicator, neighbours)
    parts = _each_changed(parts, lambda part: replace(part, meaning=found))
    how = f"missing: {missing}, scale: {scaling}"
    return replace(splits, **parts, transform=preparation(found), evaluation=preparation(found), how=how)


def measured(
    train: Dataset, columns: Columns, missing: str, scaling: str, indicator: bool, neighbours: int
) -> Prepared:
    """What the rows of the training part say; see above.

    Raises:
      ValueError: a numeric column has no value in them.
    """
    assert train.arrays is not None
    x = np.asarray(train.arrays["x"], np.float64)
    empty = np.isnan(x).all(0) if len(x) else np.ones(x.shape[1], bool)
    if empty.any():
        column = columns.numeric[int(empty.argmax())]
        raise ValueError(f"column {column!r} of {train.name} has no value in {train.split}: leave it out with drop=")
    centre, scale = _scale(x, scaling)
    words = train.arrays.get("categories", np.zeros((len(x), 0), np.int32))
    y = np.asarray(train.arrays.get("y", np.zeros(1)), np.float64)
    number = columns.target is not None and columns.classes is None
    chosen = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_ROWS)).astype(int))
    rows = (x[chosen] - centre) / scale if missing == "nearest" else np.zeros((0, x.shape[1]))
    return Prepared(
        *columns,
        missing=missing,
        scaling=scaling,
        centre=_floats(centre),
        scale=_floats(scale),
        fill=_floats(_fill(x, missing)),
        marked=tuple(int(i) for i in np.flatnonzero(np.isnan(x).any(0))) if indicator else (),
        common=tuple(_mode(column[column > 0]) for column in words.T)
        if missing == "most_frequent"
        else (0,) * words.shape[1],
        neighbours=neighbours if missing == "nearest" else 0,
        rows=tuple(tuple(None if np.isnan(v) else float(v) for v in row) for row in rows),
        target_centre=float(y.mean()) if number else 0.0,
        target_scale=float(y.std()) or 1.0 if number else 1.0,
    )


def preparation(found: Prepared) -> Transform:
    """The transform `(batch, key) -> batch` that makes prepared rows of raw ones; see above.

    Raises:
      ValueError: when called, x has not the table's columns.
    """
    centre, scale, fill = (np.asarray(v, np.float32) for v in (found.centre, found.scale, found.fill))
    marked, common = np.asarray(found.marked, int), np.asarray(found.common, np.int32)
    rows = np.array([[np.nan if v is None else v for v in row] for row in found.rows], np.float32)

    def transform(batch: Mapping[str, Any], key: Any = None) -> dict[str, Any]:
        x = jnp.asarray(batch["x"])
        if x.ndim != 2 or x.shape[1] != len(found.numeric) or not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"a raw row has {len(found.numeric)} numbers, got {x.dtype} {list(x.shape)}")
        lacks = jnp.isnan(x)
        scaled = (x - centre) / scale
        stands = (fill - centre) / scale
        instead = _of_neighbours(scaled, rows, found.neighbours, stands) if len(rows) else stands
        parts = [jnp.where(lacks, instead, scaled), lacks[:, marked].astype(jnp.float32)]
        for index, (_, words) in enumerate(found.categorical):
            number = batch["categories"][:, index]
            number = jnp.where(number == 0, common[index], number)
            parts.append(jax.nn.one_hot(number - 1, len(words), dtype=jnp.float32))  # -1 is all zeros
        rest = {name: value for name, value in batch.items() if name not in ("mask", "categories")}
        return {**rest, "x": jnp.concatenate(parts, 1)}

    return transform


def _of_neighbours(x: jax.Array, rows: np.ndarray, count: int, fallback: np.ndarray) -> jax.Array:
    """Mean of each column [B, F] in the nearest rows that have it, of scaled rows x [B, F]; see above.

    Where no row has a column and shares another one with x, it is `fallback`.
    """
    has, there = ~jnp.isnan(x), ~np.isnan(rows)
    apart = (jnp.nan_to_num(x)[:, None] - np.nan_to_num(rows)[None]) ** 2
    both = has[:, None] & there[None]
    shared = both.sum(-1)
    distance = jnp.where(shared > 0, (apart * both).sum(-1) / jnp.maximum(shared, 1), jnp.inf)  # [B, M]
    columns = []
    for column in range(rows.shape[1]):
        donors = np.flatnonzero(there[:, column])
        least, at = jax.lax.top_k(-distance[:, donors], min(count, len(donors)))
        near = least > -jnp.inf
        total = (jnp.asarray(rows[donors, column])[at] * near).sum(-1)
        columns.append(jnp.where(near.any(-1), total / jnp.maximum(near.sum(-1), 1), fallback[column]))
    return jnp.stack(columns, 1)


def _each_changed(parts: Mapping[str, Dataset | None], change: Callable[[Dataset], Dataset]) -> dict[str, Any]:
    """The parts, each changed once: where the held-out part is the test part, it still is (`Splits.held_out_word`)."""
    made = {id(part): change(part) for part in parts.values() if part is not None}
    return {word: None if part is None else made[id(part)] for word, part in parts.items()}


def _seen_words(columns: Columns, parts: Mapping[str, Any]) -> tuple[Columns, dict[str, Any]]:
    """Columns with the words of the rows for training alone, and parts whose categories are numbers of these."""
    numbers = parts["train"].arrays.get("categories")
    if numbers is None:
        return columns, dict(parts)
    seen, renumbered = [], []
    for index, (name, words) in enumerate(columns.categorical):
        own = np.unique(numbers[:, index])
        own = own[own > 0]
        seen.append((name, tuple(words[number - 1] for number in own)))
        new = np.zeros(len(words) + 1, np.int32)
        new[own] = np.arange(1, len(own) + 1)
        renumbered.append(new)

    def of(part: Dataset) -> Dataset:
        assert part.arrays is not None
        old = part.arrays["categories"]
        new = np.stack([number[old[:, index]] for index, number in enumerate(renumbered)], 1)
        return replace(part, arrays={**part.arrays, "categories": new})

    return columns._replace(categorical=tuple(seen)), _each_changed(parts, of)


def _complete(part: Dataset) -> Dataset:
    """The rows of a part in which nothing is missing.

    Raises:
      ValueError: none is left.
    """
    assert part.arrays is not None
    keep = np.asarray(part.arrays["mask"]).all(1)
    if "categories" in part.arrays:
        keep &= (np.asarray(part.arrays["categories"]) > 0).all(1)
    left = int((~keep).sum())
    if not keep.any():
        raise ValueError(f"in all {left} rows of {part.split} of {part.name} something is missing: do not drop them")
    if not left:
        return part
    arrays = {name: values[keep] for name, values in part.arrays.items()}
    phrase = f"{left} rows of {part.split} in which something is missing"
    return replace(part, arrays=arrays, passed_over=(*part.passed_over, phrase))


_SCALES: dict[str, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "standard": lambda x: (np.nanmean(x, 0), np.nanstd(x, 0)),
    "min_max": lambda x: (np.nanmin(x, 0), np.nanmax(x, 0) - np.nanmin(x, 0)),
    "robust": lambda x: (np.nanmedian(x, 0), np.nanpercentile(x, 75, axis=0) - np.nanpercentile(x, 25, axis=0)),
    "none": lambda x: (np.zeros(x.shape[1]), np.ones(x.shape[1])),
}


def _scale(x: np.ndarray, scaling: str) -> tuple[np.ndarray, np.ndarray]:
    """Centre and scale of each column; a scale that is rounding alone is 1."""
    centre, scale = _SCALES[scaling](x)
    return centre, np.where(scale > 10 * np.finfo(np.float32).eps * np.abs(centre), scale, 1.0)


def _fill(x: np.ndarray, missing: str) -> np.ndarray:
    """What stands for a missing value of each column; of the nearest rows, where there are none, the mean."""
    if missing == "most_frequent":
        return np.array([_mode(column[~np.isnan(column)]) for column in x.T])
    return np.nanmedian(x, 0) if missing == "median" else np.nanmean(x, 0)


def _mode(values: np.ndarray) -> Any:
    """The most frequent value, of several the least; 0 of none."""
    if not len(values):
        return 0
    different, counts = np.unique(values, return_counts=True)
    return different[counts.argmax()].item()


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
