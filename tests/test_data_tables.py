"""Tables: prepared as scikit-learn does, by the training part alone; cut into parts; read from Parquet."""

import json
from datetime import datetime

import jax
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import sklearn.impute
import sklearn.model_selection
import sklearn.preprocessing

from gen_models.data.access import mixed
from gen_models.data.meanings import meaning_from_json, meaning_to_json
from gen_models.data.sources import load
from gen_models.data.splits import load_splits
from gen_models.data.table_preparation import preparation, prepared_table

SCALERS = {
    "standard": sklearn.preprocessing.StandardScaler(),
    "min_max": sklearn.preprocessing.MinMaxScaler(),
    "robust": sklearn.preprocessing.RobustScaler(),
    "none": None,
}
N = 120


def write(path, rows=N, seed=0, change=(), digits=0):
    """Numbers, words town, a time, a group and targets; a, b and town may be missing. Rows of `change` differ."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rows) + 3, 4 * rng.uniform(size=rows)
    town = rng.choice(["Oslo", "Bergen", "Molde"], rows)
    lines = ["a,b,c,town,when,who,kind,price"]
    for i in range(rows):
        far = 1000.0 if i in change else 0.0
        cells = [
            f"{a[i] + far:.4f}",
            f"{b[i] + far:.{digits}f}",
            "7" if not digits else f"{rng.normal():.4f}",
            "Paris" if far else town[i],
        ]
        cells = ["" if rng.uniform() < 0.15 and column != 2 else cell for column, cell in enumerate(cells)]
        when = f"2024-{1 + (i * 7) % 12:02d}-{1 + i % 28:02d}"
        lines.append(
            ",".join([*cells, when, f"p{i % 17}", "yn"[i % 3 == 0], f"{round(2 * a[i], 1) + i / 1e4 + far:.4f}"])
        )
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tables") / "t.csv")


def raw(splits, word="train"):
    return np.asarray(getattr(splits, word).arrays["x"], np.float64), splits.train.meaning


@pytest.mark.slow_cases("min_max-median", "none-median", "standard-mean", "robust-nearest")
# The scales and the imputers are made apart, so that these pairs stand for all of them.
@pytest.mark.parametrize(
    ("scaling", "missing"),
    [
        *((scaling, "median") for scaling in SCALERS),
        *(("standard", missing) for missing in ("mean", "most_frequent", "nearest")),
        ("robust", "nearest"),
    ],
)
def test_prepared_rows_are_scikit_learns(file, scaling, missing, tmp_path):
    if missing == "nearest":  # among equally distant rows scikit-learn's choice is not defined: here there are none
        file = write(tmp_path / "t.csv", digits=4)
    splits = load_splits(f"table:{file}?target=kind&drop=when,who,price")
    found = prepared_table(splits, missing=missing, scaling=scaling, indicator=True, neighbours=4)
    x, columns = raw(splits)
    imputer = (
        sklearn.impute.KNNImputer(n_neighbors=4, keep_empty_features=True)
        if missing == "nearest"
        else sklearn.impute.SimpleImputer(strategy=missing)
    )
    scaler = SCALERS[scaling]
    scaled = x if scaler is None else scaler.fit_transform(x)
    imputer.fit(scaled)
    marks = sklearn.impute.MissingIndicator(features="missing-only").fit(x)
    known = columns.categorical[0][1]
    encoder = sklearn.preprocessing.OneHotEncoder(categories=[known], handle_unknown="ignore", sparse_output=False)
    for word in ("train", "held_out", "test"):
        x, _ = raw(splits, word)
        part = getattr(found, word)
        numbers = getattr(splits, word).arrays["categories"][:, 0]
        words = np.array(["?", *known])[numbers]
        if missing == "most_frequent":
            town = splits.train.arrays["categories"][:, 0]
            words[words == "?"] = known[np.bincount(town[town > 0]).argmax() - 1]
        encoded = encoder.fit(np.array(known)[:, None]).transform(words[:, None])
        expected = np.concatenate(
            [imputer.transform(x if scaler is None else scaler.transform(x)), marks.transform(x), encoded], 1
        )
        batch = jax.jit(found.evaluation)(part.arrays)
        assert set(batch) == {"x", "y"} and batch["x"].shape[1] == found.train.meaning.width == 3 + 2 + 3
        np.testing.assert_allclose(batch["x"], expected, rtol=1e-4, atol=1e-4)
    assert found.train.meaning.names == ("a", "b", "c", "a missing", "b missing", *(f"town={w}" for w in known))


@pytest.mark.slow_cases("nearest")
@pytest.mark.parametrize("missing", ["mean", "nearest"])
def test_nothing_of_the_other_parts_leaks_into_what_is_trained_on(tmp_path, missing):
    """Rows of the held-out and the test part are changed beyond recognition, with a word of their own."""
    order = mixed(N)
    others = set(order[: N // 10].tolist()) | set(order[-len(order[N // 10 :]) // 10 :].tolist())
    found = []
    for name, change in (("as_it_is", ()), ("changed", others)):
        splits = load_splits(f"table:{write(tmp_path / f'{name}.csv', change=change)}?target=price&drop=when,who,kind")
        found.append(prepared_table(splits, missing=missing, indicator=True))
    first, second = found
    assert np.abs(np.nan_to_num(first.test.arrays["x"] - second.test.arrays["x"])).max() > 900
    assert "Paris" in str(load(f"table:{tmp_path / 'changed.csv'}?target=price&drop=when,who").meaning.categorical)
    assert first.train.meaning == second.train.meaning
    for splits in found:
        splits.train.arrays["x"].setflags(write=False)
    batches = [splits.batches(32, seed=0) for splits in found]
    rows = [each.make(each.data, jax.tree.map(lambda x: x[0], each.rows(0, 1)), jax.random.key(0)) for each in batches]
    np.testing.assert_array_equal(rows[0]["x"], rows[1]["x"])
    np.testing.assert_array_equal(rows[0]["y"], rows[1]["y"])


def test_a_run_keeps_what_was_measured(file):
    """As JSON and back, it prepares rows alike."""
    splits = load_splits(f"table:{file}?target=price&drop=when,who,kind")
    found = prepared_table(splits, missing="nearest", scaling="robust")
    kept = meaning_from_json(json.loads(json.dumps(meaning_to_json(found.train.meaning), allow_nan=False)))
    assert kept == found.train.meaning and type(kept) is type(found.train.meaning)
    ours, again = found.evaluation(found.test.arrays)["x"], preparation(kept)(found.test.arrays)["x"]
    np.testing.assert_array_equal(ours, again)
    assert kept.target_centre == pytest.approx(splits.train.arrays["y"].mean(), rel=1e-5)
    assert kept.target_scale == pytest.approx(splits.train.arrays["y"].std(), rel=1e-5)


def test_rows_in_which_something_is_missing_can_be_dropped(file):
    splits = load_splits(f"table:{file}?target=kind&drop=when,who,price")
    found = prepared_table(splits, missing="drop")
    for word in ("train", "held_out", "test"):
        arrays = getattr(splits, word).arrays
        kept = arrays["mask"].all(1) & (arrays["categories"] > 0).all(1)
        assert 0 < kept.sum() < len(kept) and len(getattr(found, word)) == kept.sum()
        np.testing.assert_array_equal(getattr(found, word).arrays["y"], arrays["y"][kept])
    assert "something is missing" in found.train.passed_over[0]


@pytest.mark.parametrize("way", ["test=stratified", "group=who", "time=when", ""])
def test_folds_are_a_cross_validation(file, way):
    base = f"table:{file}?{way}{'&' if way else ''}target=kind&drop={_others(way)}"
    own = [load(f"{base}&fold={fold}&folds=4", "test") for fold in range(4)]
    sizes = [len(part) for part in own]
    if way != "time=when":
        assert sum(sizes) == N
        seen = np.concatenate([part.arrays["x"][:, 0] for part in own])
        whole = load(f"table:{file}?target=kind&drop=when,who,price", "train+validation").arrays["x"][:, 0]
        whole = np.concatenate([whole, load(f"table:{file}?target=kind&drop=when,who,price", "test").arrays["x"][:, 0]])
        np.testing.assert_array_equal(np.sort(seen), np.sort(whole))  # each row is tested once
    if way == "test=stratified":
        counts = np.array([np.bincount(part.arrays["y"]) for part in own])
        assert (np.ptp(counts, 0) <= 1).all()
    assert own[0].made == "drawn by us"


def _others(way):
    """The columns that are neither inputs nor cut the table."""
    return ",".join(name for name in ("when", "who", "price") if name not in way)


def test_groups_stay_together(file):
    parts = {}
    for split in ("train", "validation", "test"):
        rows = load(f"table:{file}?group=who&target=price&drop=kind&categorical=when", split)
        assert "who" not in dict(rows.meaning.categorical)
        parts[split] = rows.arrays["y"]
    lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
    who = {np.float32(line[-1]).item(): line[5] for line in lines}
    groups = [{who[price] for price in part.tolist()} for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 17
    assert 8 <= len(parts["test"]) <= 20


def test_by_time_nothing_is_trained_on_that_is_later_than_what_is_measured(file):
    lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
    when = {np.float32(line[-1]).item(): line[4] for line in lines}
    for fold in ("", "&fold=1&folds=4"):
        name = f"table:{file}?time=when&target=price&drop=kind,who{fold}"
        parts = {split: load(name, split).arrays["y"].tolist() for split in ("train", "validation", "test")}
        times = {split: [when[y] for y in part] for split, part in parts.items()}
        assert max(times["train"]) <= min(times["validation"]) and max(times["validation"]) <= min(times["test"])
        assert times["test"] == sorted(times["test"])
    theirs = list(sklearn.model_selection.TimeSeriesSplit(4).split(np.zeros(N)))[1]
    assert [len(times["train"]) + len(times["validation"]), len(times["test"])] == [len(part) for part in theirs]


@pytest.mark.parametrize(
    "form", ["%Y-%m-%d", "%Y/%m/%d", "%Y-%m-%d %H:%M:%S", "%Y-%m", "%d/%m/%Y", "%b %Y", "%Y-%m-%dT00:00:00+00:00"]
)
def test_times_are_sorted_as_times_or_refused(tmp_path, form):
    months = [(i * 7) % 12 for i in range(12)]
    when = [datetime(2024 + month // 10, 1 + month, 20 - month) for month in months]
    rows = [f"{month},{day:{form}},{month}" for month, day in zip(months, when, strict=True)]
    (tmp_path / "t.csv").write_text("a,when,y\n" + "\n".join(rows) + "\n")
    name = f"table:{tmp_path / 't.csv'}?target=y&time=when"
    if form[1] != "Y":
        with pytest.raises(ValueError, match=r"row 1 has .* in 'when'.*as 2020-01-31"):
            load(name)
        return
    parts = [load(name, split).arrays["y"].tolist() for split in ("train", "validation", "test")]
    assert [y for part in parts for y in part] == list(range(12))


def test_parquet_is_read_as_csv_is_with_its_own_kinds(file, tmp_path):
    lines = [line.split(",") for line in file.read_text().splitlines()]
    columns = {name: list(cells) for name, cells in zip(lines[0], zip(*lines[1:], strict=True), strict=True)}
    typed = {
        name: [None if not c else float(c) for c in cells] if name in ("a", "b", "c", "price") else cells
        for name, cells in columns.items()
    }
    typed["town"] = [cell or None for cell in typed["town"]]
    typed["code"] = [str(i % 3) for i in range(N)]  # a text whose every word is a number
    pyarrow.parquet.write_table(pyarrow.table(typed), tmp_path / "t.parquet")
    for split in ("train", "test"):
        theirs = load(f"table:{file}?target=kind&drop=when,who", split)
        ours = load(f"table:{tmp_path / 't.parquet'}?target=kind&drop=when,who,code", split)
        assert ours.meaning == theirs.meaning
        for name, values in theirs.arrays.items():
            np.testing.assert_array_equal(ours.arrays[name], values)
    coded = load(f"table:{tmp_path / 't.parquet'}?target=kind&drop=when,who")
    assert dict(coded.meaning.categorical)["code"] == ("0", "1", "2")
    pyarrow.parquet.write_table(pyarrow.table({"a": [[1], [2]]}), tmp_path / "nested.parquet")
    with pytest.raises(ValueError, match="column 'a' is list"):
        load(f"table:{tmp_path / 'nested.parquet'}")
    (tmp_path / "bad.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="is no Parquet file that can be read"):
        load(f"table:{tmp_path / 'bad.parquet'}")


def test_rows_without_a_target(tmp_path):
    (tmp_path / "t.csv").write_text(
        "a,y\n" + "\n".join(f"{i},{'' if i % 10 == 3 else i * 2}" for i in range(50)) + "\n"
    )
    with pytest.raises(ValueError, match=r"row 4 has no 'y', the target: .* untargeted=skip"):
        load(f"table:{tmp_path / 't.csv'}?target=y")
    part = load(f"table:{tmp_path / 't.csv'}?target=y&untargeted=skip", "train+validation")
    assert part.passed_over == ("5 rows without 'y', the target",) and len(part) == 41
    np.testing.assert_array_equal(part.arrays["y"], 2 * part.arrays["x"][:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("test=first", "must be left out, or be 'last' or 'stratified'"),
        ("test=stratified&group=who", "test= and group= of a table exclude each other"),
        ("test=last&fold=0", "test=last of a table has no folds"),
        ("folds=4", "needs the one that is measured: add fold=0"),
        ("fold=4&folds=4", "fold=4 must be from 0 to folds - 1"),
        ("fold=one", "fold=one of a table must be a whole number"),
        ("group=town", r"row \d+ has no 'town', by which parts are cut"),
        ("group=kind&folds=3&fold=0", "has 2 groups for 3 folds"),
        ("test=stratified&target=price", "test=stratified needs a target of classes"),
        ("time=year", "unknown column of t.csv 'year'"),
        ("time=price&target=price", "the target 'price' cannot also cut the table"),
        ("target=when", "the target 'when' cannot be dropped"),
        ("fold=150&folds=200", "too few for 200 folds"),
        ("untargeted=drop", "must be left out, or be 'skip'"),
    ],
)
def test_bad_options_are_refused(file, options, message):
    with pytest.raises(ValueError, match=message):
        load(f"table:{file}?{options}&drop={'who' if 'time' in options else 'when'}")


def test_what_cannot_be_prepared_is_refused(file, tmp_path):
    splits = load_splits(f"table:{file}?target=kind&drop=when,who,price")
    for options, message in (
        ({"missing": "mode"}, "unknown choice of missing 'mode'"),
        ({"scaling": "normal"}, "unknown choice of scaling"),
        ({"neighbours": 0}, "neighbours must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            prepared_table(splits, **options)
    with pytest.raises(ValueError, match="is no raw table"):
        prepared_table(prepared_table(splits))
    with pytest.raises(ValueError, match=r"a raw row has 3 numbers, got float32 \[2, 5\]"):
        prepared_table(splits).transform({"x": np.zeros((2, 5), np.float32)})
    (tmp_path / "e.csv").write_text("a,b,y\n" + "\n".join(f",{i},{i}" for i in range(50)) + "\n")
    with pytest.raises(ValueError, match=r"column 'a' of .* has no value in train"):
        prepared_table(load_splits(f"table:{tmp_path / 'e.csv'}?target=y", transform=lambda batch, key: batch))
