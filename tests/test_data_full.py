"""The original files: `GEN_MODELS_DATA_DIR` holds mnist/*.gz and fashion_mnist/*.gz as their authors publish them."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from gen_models.data import load
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
