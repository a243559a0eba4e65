"""Reports: what a run says of its data, what it sees of a change, and what it still knows without them."""

import dataclasses
import json
import time
import zlib

import jax
import materials
import numpy as np
import pytest
from PIL import Image

from gen_models.data import Splits, evaluation_batches, load_splits, sources
from gen_models.data.checksums import of_arrays
from gen_models.data.report import DataAbsent, absent, changes, report_of, told

KEY = jax.random.key(0)


def stored(splits: Splits) -> dict:
    """A report that has been written and read."""
    return json.loads(json.dumps(report_of(splits)))


def test_the_line_of_the_bundled_set():
    report = stored(load_splits("fashion_mnist_bundled"))
    line = told(report)
    assert line.startswith(
        "fashion_mnist_bundled: train 9,000, validation 1,000 (held out by us), test 2,000 images 28x28x1, 256 levels, "
        "10 classes (900 each), checksum "
    )
    assert "\n" not in line


@pytest.mark.parametrize("array", [np.arange(6, dtype=np.int32).reshape(2, 3), np.zeros((4, 0), np.float32)])
def test_a_checksum_is_that_of_all_bytes(array):
    about = f"x {array.dtype.str} {array.shape}".encode()
    assert of_arrays({"x": array}) == f"{zlib.crc32(array.tobytes(), zlib.crc32(about)):08x}"
    assert of_arrays({"x": np.asfortranarray(array)}) == of_arrays({"x": array})


def test_a_checksum_sees_shape_dtype_name_and_order():
    x = np.arange(6, dtype=np.int32)
    others = [{"x": x.reshape(2, 3)}, {"x": x.view(np.uint32)}, {"y": x}, {"x": x[::-1]}]
    assert len({of_arrays(one) for one in [{"x": x}, *others]}) == 5


def test_the_same_data_have_not_changed_and_others_have():
    x = np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1)
    y = np.arange(10) % 3

    def report(x, y, name="one"):
        return stored(Splits.of_arrays({"x": x, "y": y}, num_classes=3, name=name))

    before = report(x, y)
    assert changes(before, report(x.copy(), y, name="moved")) == []
    (one,) = changes(before, report(x + np.uint8(1), y))
    assert one.startswith("the checksum of train was ")
    assert changes(before, report(x[:9], y[:9]))[0] == "train had 10 examples and has 9"
    assert any("other labels" in phrase for phrase in changes(before, report(x, (y + 1) % 3)))
    assert changes(before, report(x.reshape(10, 4, 1, 1), y))[0] == "the shape was 2x2x1 and is 4x1x1"


def test_data_that_are_absent_are_known_and_cannot_be_used():
    splits = load_splits("digits", train_split="train+validation")
    report = stored(splits)
    gone = absent(report, OSError("no such file"))
    for name in ("shape", "num_classes", "levels", "name", "packing", "held_out_word", "test_word"):
        assert getattr(gone, name) == getattr(splits, name), name
    assert (len(gone.train), len(gone.test)) == (1500, 297)
    says = "'digits', which cannot be read .no such file.: put the data back"
    for use in (
        lambda: gone.batches(8, seed=0).rows(0, 1),
        lambda: gone.first_batch(8, KEY),
        lambda: next(evaluation_batches(gone.test, 8)),
        lambda: report_of(gone),
    ):
        with pytest.raises(DataAbsent, match=says):
            use()


def test_meanings_survive_json(tmp_path):
    (tmp_path / "text.txt").write_text("some text, that is long enough\n" * 20)
    (tmp_path / "t.csv").write_text("a,b,c\n" + "1,u,x\n2,v,y\n" * 10)
    for name in (f"tokens:{tmp_path}/text.txt?length=8", f"table:{tmp_path}/t.csv?target=c"):
        splits = load_splits(name)
        gone = absent(stored(splits), OSError("gone"))
        assert gone.train.meaning == splits.train.meaning and type(gone.train.meaning) is type(splits.train.meaning)


KINDS = (
    "folder:damaged_images",
    "npz:my_images.npz",
    "tokens:my_text.txt",
    "audio:my_sounds",
    "table:my_table.csv?target=town",
    "table:my_table.csv?target=price",
    "points:my_points.csv",
    "pairs:my_pairs?x=low&y=high",
    "boxes:my_boxes?masks=1",
)


@pytest.mark.parametrize("name", KINDS)
def test_what_a_run_has_kept_of_its_data_equals_what_it_reads_again(name, tmp_path, monkeypatch):
    """Of every kind of data: else a run refuses to go on, and tools take its data for absent."""
    materials.write_all(tmp_path)
    monkeypatch.chdir(tmp_path)
    splits = load_splits(name, damaged="skip") if name.startswith("folder") else load_splits(name)
    assert stored(splits) == report_of(splits)
    assert changes(stored(splits), report_of(splits)) == []


def test_dim_images_and_parts_without_classes_are_told():
    dim = {"x": np.full((6, 2, 2, 1), 16, np.uint8), "y": np.array([0, 1, 2, 0, 1, 2])}
    test = {"x": np.tile(dim["x"][:2], (5, 1, 1, 1)), "y": np.tile(dim["y"][:2], 5)}
    line = told(stored(Splits.of_arrays(dim, test, num_classes=3)))
    assert line.endswith("; test has no example of class 2; the brightest pixel is 16 of 255")


def test_what_was_passed_over_is_told_once():
    splits = load_splits("digits")
    passed = ("3 files (.txt)",)
    parts = {word: dataclasses.replace(getattr(splits, word), passed_over=passed) for word in ("train", "test")}
    line = told(stored(dataclasses.replace(splits, **parts)))
    assert line.endswith("; passed over: 3 files (.txt)")


def write_images(root, shade=0):
    for name in ("ant", "bee"):
        for index in range(20):
            path = root / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 4), index + shade, np.uint8)).save(path)
    return f"folder:{root}"


def test_streamed_data_are_known_by_their_files_and_some_examples(tmp_path, monkeypatch):
    memory = stored(load_splits(write_images(tmp_path / "a")))
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    name = write_images(tmp_path / "b" / "a")
    before = stored(load_splits(name))
    assert before["parts"]["train"]["counts"] == memory["parts"]["train"]["counts"]
    assert "of files and some examples" in told(before)
    assert changes(memory, before) == []  # checksums of two kinds are not compared
    moved = tmp_path / "c"
    (tmp_path / "b").rename(moved)
    assert changes(before, stored(load_splits(f"folder:{moved / 'a'}"))) == []
    write_images(moved / "a", shade=7)
    assert any(
        "the checksum of train" in phrase for phrase in changes(before, stored(load_splits(f"folder:{moved / 'a'}")))
    )


def test_other_names_of_classes_are_a_change(tmp_path):
    name = write_images(tmp_path / "a")
    before = stored(load_splits(name))
    assert absent(before, OSError("gone")).train.meaning.classes == ("ant", "bee")
    (tmp_path / "a" / "bee").rename(tmp_path / "a" / "cow")
    assert "the names of the classes, columns or symbols are others" in changes(before, stored(load_splits(name)))


def test_a_report_of_100_mb_takes_less_than_a_second():
    splits = Splits.of_arrays({"x": np.zeros((100, 1000, 1000), np.uint8)})
    start = time.process_time()
    report_of(splits)
    assert time.process_time() - start < 1.0
