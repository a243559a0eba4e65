"""The original files: `GEN_MODELS_DATA_DIR` holds mnist/*.gz and fashion_mnist/*.gz as their authors publish them.

Files of other kinds of data are tested where the folder has them: names and layouts are in the tests.
"""

import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from gen_models.data import load, load_splits
from gen_models.data.idx import read_idx
from gen_models.data.sources import BUNDLED

DATA_DIR = os.environ.get("GEN_MODELS_DATA_DIR", "")
pytestmark = pytest.mark.skipif(
    not DATA_DIR, reason="set GEN_MODELS_DATA_DIR to a folder with mnist/ and fashion_mnist/, each its four .gz files"
)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_splits_are_the_files_in_their_order(name):
    image = read_idx(Path(DATA_DIR) / name / "train-images-idx3-ubyte.gz")[..., None]
    label = read_idx(Path(DATA_DIR) / name / "train-labels-idx1-ubyte.gz")
    assert image.shape == (60_000, 28, 28, 1)
    for split, rows in {
        "train": slice(0, 50_000),
        "validation": slice(50_000, None),
        "train[:1%]": slice(0, 500),
    }.items():
        data = load(name, split, DATA_DIR)
        np.testing.assert_array_equal(data.arrays["x"], image[rows])
        np.testing.assert_array_equal(data.arrays["y"], label[rows])
    assert len(load(name, "test", DATA_DIR)) == 10_000
    assert "tensorflow" not in sys.modules


def test_bundled_is_the_first_of_each_class():
    for split, count in (("train+validation", 1000), ("test", 200)):
        full, bundled = load("fashion_mnist", split, DATA_DIR).arrays, load(split=split).arrays
        taken = np.zeros(10, int)
        rows = []
        for row, label in enumerate(full["y"]):
            if taken[label] < count:
                taken[label] += 1
                rows.append(row)
        np.testing.assert_array_equal(bundled["x"], full["x"][rows])
        np.testing.assert_array_equal(bundled["y"], full["y"][rows])


def test_bundled_tool_makes_the_arrays_again(tmp_path):
    from tools.make_bundled import cut, write

    write(cut(Path(DATA_DIR) / "fashion_mnist"), tmp_path / "again.npz")
    with np.load(BUNDLED) as shipped, np.load(tmp_path / "again.npz") as again:
        assert shipped.files == again.files
        for name in shipped.files:
            np.testing.assert_array_equal(shipped[name], again[name])


@pytest.mark.slow  # writes 70,000 PNGs and reads them back: a minute
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_prepared_equals_the_idx_files(name, tmp_path):
    from tools.prepare_data import main

    assert main([name, "--raw-dir", f"{DATA_DIR}/{name}", "--data-dir", str(tmp_path)]) == 0
    for split in ("train", "validation", "test"):
        prepared, original = load(name, split, tmp_path).arrays, load(name, split, DATA_DIR).arrays
        np.testing.assert_array_equal(prepared["x"], original["x"])
        np.testing.assert_array_equal(prepared["y"], original["y"])


def _there(*parts):
    path = Path(DATA_DIR).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def test_tiny_shakespeare_has_its_customary_vocabulary_and_split():
    name = f"tokens:{_there('tinyshakespeare.txt.gz')}?length=100"
    splits = load_splits(name, "train+validation")
    assert splits.num_classes == 65 and len(splits.train) == 1_003_854 // 100 and len(splits.test) == 111_539 // 100
    assert splits.train.meaning.decode(splits.train.arrays["x"][0]).startswith("First Citizen:\nBefore we proceed")


def test_names_one_a_line():
    splits = load_splits(f"tokens:{_there('text', 'names.txt')}?documents=lines")
    assert splits.num_classes == 27 and splits.shape == (16,)  # the longest name has 15 letters; its end is one token
    assert sum(len(part) for part in (splits.train, splits.held_out, splits.test)) == 32_033


def test_spoken_digits_have_their_customary_test_set():
    splits = load_splits(f"audio:{_there('fsdd_8khz.npz')}?length=4000")
    assert len(splits.test) == 300 and len(splits.train) + len(splits.held_out) == 2700
    assert (np.bincount(splits.test.arrays["y"]) == 30).all() and splits.train.arrays["x"].dtype == np.int16


@pytest.mark.parametrize(
    ("file", "options", "numeric", "categorical", "classes"),
    [
        ("iris", "?target=species", 4, 0, 3),
        ("titanic", "?target=survived&categorical=survived,pclass&drop=alive", 4, 9, 2),
        ("mpg", "?target=mpg&drop=name", 6, 1, None),
        ("penguins", "?target=species", 4, 2, 3),
        ("ETTh1", "?drop=date&test=last", 7, 0, None),
    ],
)
def test_tables(file, options, numeric, categorical, classes):
    splits = load_splits(f"table:{_there('tabular', f'{file}.csv')}{options}")
    columns = splits.train.meaning
    assert (len(columns.numeric), len(columns.categorical), splits.num_classes) == (numeric, categorical, classes)
    batch = splits.first_batch(32, jax.random.key(0))
    assert np.isfinite(batch["x"]).all() and batch["x"].shape == (32, numeric)
