"""What may be wrong with a table: equal rows, columns that say nothing, outliers, what is missing, labels in doubt.

    for line in gm.table_report(gm.load_splits("table:FILE.csv?target=COLUMN")).lines(): print(line)

Nothing is changed. Rows are counted from 0 within their part, in the part's order, which is not the file's where one
file is cut at random: what stands in a row is said too, to find it by.

Labels in doubt are those of confident learning (Northcutt et al., Confident learning, 2021, section 3): with p(k) an
example's predicted probability of class k, by a model that was not trained on it, and t_k the mean of p(k) over the
examples labelled k, an example whose label is i counts as of the class j with the largest p(j) among those where
p(j) >= t_j; where j is not i, its label is in doubt. The probabilities are those of scikit-learn's random forest in a
cross-validation.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_models.data.dataset import Dataset
from gen_models.data.splits import Splits

FENCE = 3.0  # interquartile ranges beyond the quartiles, where Tukey (1977) calls a value far out
SHOWN = 5  # examples of each finding in a line


class Doubt(NamedTuple):
    """A label that may be wrong."""

    row: int
    label: str
    rather: str
    probability: float  # of the class that it rather has


class TableReport(NamedTuple):
    """What was found in the rows for training, which are counted from 0; `leaked` alone looks at the others."""

    rows: int
    duplicates: tuple[tuple[int, int], ...]  # (row, the first row that is equal), target and all
    contradictions: tuple[tuple[int, int], ...]  # (row, the first row with equal inputs), of another target
    leaked: tuple[tuple[str, int], ...]  # (part, how many of its rows are for training too)
    constant: tuple[str, ...]  # columns
    missing: tuple[tuple[str, float], ...]  # column, share of rows; columns that lack none are left out
    outliers: tuple[tuple[str, tuple[int, ...]], ...]  # column, its rows far out
    doubts: tuple[Doubt, ...]  # the surest first
    cells: Mapping[int, str]  # what stands in each row that is named above, to find it in the file by

    def lines(self) -> Iterator[str]:
        """One line for each finding, and one for each row that these name."""
        yield f"{self.rows:,} rows for training" + (", which are counted from 0 below" if self.cells else "")
        named: list[int] = []
        if self.duplicates:
            pairs = [f"{row} = {first}" for row, first in self.duplicates]
            yield f"duplicates: {len(self.duplicates)} rows are equal to an earlier one ({_some(pairs)})"
            named += [row for row, _ in self.duplicates[:SHOWN]]
        if self.contradictions:
            pairs = [f"{row} and {first}" for row, first in self.contradictions]
            yield f"contradictions: {len(pairs)} rows have an earlier one's inputs and another target ({_some(pairs)})"
            named += [row for pair in self.contradictions[:SHOWN] for row in pair]
        for part, count in self.leaked:
            yield f"leaked: {count} rows of {part} are for training too"
        if self.constant:
            yield f"constant columns: {', '.join(self.constant)}"
        for name, share in self.missing:
            yield f"missing: {name} in {share:.1%} of the rows"
        for name, rows in self.outliers:
            yield f"outliers: {name} in {len(rows)} rows, more than {FENCE:g} interquartile ranges out ({_some(rows)})"
            named += rows[:SHOWN]
        if self.doubts:
            yield f"labels in doubt: {len(self.doubts)}"
        for doubt in self.doubts[:SHOWN]:
            yield f"  row {doubt.row} is {doubt.label}, rather {doubt.rather} (probability {doubt.probability:.2f})"
            named.append(doubt.row)
        for row in dict.fromkeys(named):
            yield f"row {row}: {self.cells[row]}"


def table_report(splits: Splits, *, labels: bool = True, folds: int = 5) -> TableReport:
    """What may be wrong with the rows for training of a raw or a prepared table; see above.

    Args:
      splits: of `load_splits("table:...")`.
      labels: whether to look for labels in doubt, where the target has classes; it needs scikit-learn (extra `tables`).
      folds: of the cross-validation; a class with fewer rows is not judged.

    Raises:
      ValueError: the data are no table in memory, or `folds` is below 2.
      ImportError: scikit-learn is missing.
    """
    train = splits.train
    if train.kind != "tables" or train.arrays is None:
        raise ValueError(f"{train.name!r} is no table in memory: give a table:PATH")
    if folds < 2:
        raise ValueError(f"folds must be 2 or more, got {folds}")
    x, columns = np.asarray(train.arrays["x"]), train.meaning
    inputs, target = _keys(train, False), _keys(train, True)
    names = (*columns.numeric, *(name for name, _ in columns.categorical))
    words = train.arrays.get("categories", np.zeros((len(x), 0), np.int32))
    lacks = np.concatenate([np.isnan(x), words == 0], 1)
    cells = [column[~np.isnan(column)] for column in x.T] + [column[column > 0] for column in words.T]
    first, first_inputs = _first(target), _first(inputs)
    duplicates = tuple((row, at) for row, at in enumerate(first) if at != row)
    contradictions = tuple((row, at) for row, at in enumerate(first_inputs) if at != row and target[row] != target[at])
    outliers = tuple(_outliers(x, columns.numeric))
    doubts = tuple(_doubts(train, folds)) if labels and columns.classes is not None else ()
    named = {row for pair in duplicates + contradictions for row in pair} | {doubt.row for doubt in doubts}
    named |= {row for _, rows in outliers for row in rows}
    return TableReport(
        rows=len(train),
        duplicates=duplicates,
        contradictions=contradictions,
        leaked=tuple(_leaked(splits, set(target))),
        constant=tuple(name for name, own in zip(names, cells, strict=True) if len(np.unique(own)) <= 1),
        missing=tuple((name, float(share)) for name, share in zip(names, lacks.mean(0), strict=True) if share),
        outliers=outliers,
        doubts=doubts,
        cells={row: _cells(train, row) for row in sorted(named)},
    )


def suspected_labels(
    probabilities: Float[np.ndarray, "n k"], labels: Int[np.ndarray, "n"]
) -> list[tuple[int, int, float]]:
    """(example, the class that it rather has, its probability), surest first, by confident learning; see above.

    Args:
      probabilities: of a model that was not trained on the example; NaN for examples that are not judged.
      labels: from 0 to k - 1.

    Raises:
      ValueError: the shapes do not fit.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(labels)
    if p.ndim != 2 or y.shape != p.shape[:1]:
        raise ValueError(f"probabilities must be [N, K] and labels [N], got the shapes {p.shape} and {y.shape}")
    judged = ~np.isnan(p).any(1)
    threshold = np.full(p.shape[1], np.inf)
    for k in range(p.shape[1]):
        own = judged & (y == k)
        if own.any():
            threshold[k] = p[own, k].mean()
    surely = np.where(p >= threshold, p, -1.0)
    rather = surely.argmax(1)
    found = np.flatnonzero(judged & (surely.max(1) >= 0) & (rather != y))
    return [(int(i), int(rather[i]), float(p[i, rather[i]])) for i in found[np.argsort(-p[found, rather[found]])]]


def _keys(part: Dataset, with_target: bool) -> list[bytes]:
    """The bytes of each row: all its numbers and words, and with it the target."""
    assert part.arrays is not None
    names = [name for name in ("x", "categories", "y") if name in part.arrays and (with_target or name != "y")]
    arrays = [np.ascontiguousarray(part.arrays[name]) for name in names]
    return [b"".join(values[row].tobytes() for values in arrays) for row in range(len(part))]


def _first(keys: list[bytes]) -> list[int]:
    """For each row the first one that is equal."""
    seen: dict[bytes, int] = {}
    return [seen.setdefault(key, row) for row, key in enumerate(keys)]


def _cells(train: Dataset, row: int) -> str:
    """Each column's name and what stands in it, the target last; columns that the row lacks are left out."""
    assert train.arrays is not None
    own, columns = {name: values[row] for name, values in train.arrays.items()}, train.meaning
    found = [f"{name} {value:g}" for name, value in zip(columns.numeric, own["x"], strict=False) if value == value]
    words = zip(columns.categorical, own.get("categories", ()), strict=False)
    found += [f"{name} {known[index - 1]}" for (name, known), index in words if index]
    if "y" in own:
        found.append(f"{columns.target} {columns.classes[own['y']] if columns.classes else format(own['y'], 'g')}")
    return ", ".join(found)


def _leaked(splits: Splits, train: set[bytes]) -> Iterator[tuple[str, int]]:
    """Each part that holds rows for training, and how many."""
    others = {splits.test_word: splits.test, splits.held_out_word: splits.held_out}
    for word, part in others.items():
        if part is None or part is splits.train:
            continue
        count = sum(key in train for key in _keys(part, True))
        if count:
            yield word, count


def _outliers(x: np.ndarray, names: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Each column that has values far out, and their rows; of a column whose quartiles are equal none is."""
    for name, column in zip(names, x.T, strict=True):
        if np.isnan(column).all():
            continue
        low, high = np.nanpercentile(column, [25, 75])
        reach = FENCE * (high - low)  # 0 where half of the values are equal: then all others would be far out
        far = np.flatnonzero((column < low - reach) | (column > high + reach)) if reach else np.zeros(0, int)
        if len(far):
            yield name, tuple(int(row) for row in far)


def _doubts(train: Dataset, folds: int) -> Iterator[Doubt]:
    """Labels in doubt, by a random forest in a cross-validation; classes with fewer rows than folds are not judged."""
    assert train.arrays is not None
    try:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
    except ImportError:
        raise ImportError("labels in doubt are found by scikit-learn: pip install 'gen_models[tables]'") from None
    x, y = np.asarray(train.arrays["x"], np.float64), np.asarray(train.arrays["y"])
    words = train.arrays.get("categories", np.zeros((len(x), 0), np.int32))
    hot = [words[:, [index]] == np.arange(1, len(own) + 1) for index, (_, own) in enumerate(train.meaning.categorical)]
    inputs = np.concatenate([x, *hot], 1)  # a forest takes numbers that are missing as they are
    counts = np.bincount(y, minlength=len(train.meaning.classes))
    judged = counts[y] >= folds
    known = np.flatnonzero(counts >= folds)
    if len(known) < 2:
        return
    cut = StratifiedKFold(folds, shuffle=True, random_state=0)
    forest = RandomForestClassifier(random_state=0)
    found: Any = cross_val_predict(forest, inputs[judged], y[judged], cv=cut, method="predict_proba")
    p = np.full((len(y), len(counts)), np.nan)
    p[np.ix_(judged, known)] = found
    p[np.ix_(judged, np.flatnonzero(counts < folds))] = 0.0
    names = train.meaning.classes
    for row, rather, probability in suspected_labels(p, y):
        yield Doubt(row, names[y[row]], names[rather], probability)


def _some(values: Any) -> str:
    shown = ", ".join(map(str, list(values)[:SHOWN]))
    return shown + (", ..." if len(values) > SHOWN else "")
