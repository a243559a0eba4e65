"""Files that cannot be read: named, counted, left out where that is asked for, and as if they were not there."""

import json
import pickle
import wave

import numpy as np
import pytest
from pictures import coco, cut, fill, pixels, write

from gen_models.data import batches, load, sources
from gen_models.data.access import DamagedExample
from gen_models.data.listing import fraction_of


def damaged_folder(root):
    """Twenty images of two classes, of which one is no image, one is empty and one is cut off."""
    name = fill(root, "a", "b", count=20)
    (root / "a" / "3.png").write_bytes(b"<html>404</html>")
    (root / "b" / "5.png").write_bytes(b"")
    cut(root / "b" / "7.png")
    return name


def test_damaged_files_are_named_and_counted(tmp_path):
    name = damaged_folder(tmp_path)
    with pytest.raises(
        DamagedExample, match=r"[35].png cannot be decoded \(it is .*\), and 1 more: remove .*--damaged"
    ):
        load(name)
    for path in ("a/3.png", "b/5.png"):
        (tmp_path / path).unlink()
    with pytest.raises(DamagedExample, match=r"7.png cannot be decoded \(image file is truncated\): remove it"):
        for split in ("test", "train+validation"):
            load(name, split)


def test_what_is_left_out_is_as_if_it_were_not_there(tmp_path, monkeypatch):
    name = damaged_folder(tmp_path)
    memory = load(name, "train+validation", damaged="skip")
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    disk = load(name, "train+validation", damaged="skip")
    assert disk.arrays is None and "3 damaged files (" in disk.passed_over[0] and memory.passed_over == disk.passed_over
    left, right = batches(memory, 4, seed=1), batches(disk, 4, seed=1)
    np.testing.assert_array_equal(
        memory.arrays["x"][left.rows(0, 9).ravel()], right.rows(0, 9)["x"].reshape(36, *memory.shape)
    )
    for path in ("a/3.png", "b/5.png", "b/7.png"):
        (tmp_path / path).unlink()
    monkeypatch.undo()
    clean = load(name, "train+validation")
    np.testing.assert_array_equal(clean.arrays["x"], memory.arrays["x"])
    np.testing.assert_array_equal(clean.arrays["y"], memory.arrays["y"])


def test_the_only_file_that_would_be_tested_may_be_damaged(tmp_path):
    name = fill(tmp_path, "a", count=8)
    first = min(tmp_path.rglob("*.png"), key=lambda path: fraction_of(path.relative_to(tmp_path)))
    cut(first)
    assert [len(load(name, split, damaged="skip")) for split in ("train+validation", "test")] == [6, 1]


def test_all_damaged_is_an_error_all_the_same(tmp_path):
    for i in range(4):
        cut(write(tmp_path / f"{i}.png"))
    for damaged in ("stop", "skip"):
        with pytest.raises(DamagedExample, match="png cannot be decoded"):
            load(f"folder:{tmp_path}", damaged=damaged)


def test_a_damaged_example_of_a_stream_arrives_unchanged(tmp_path, monkeypatch):
    """Through grain's threads, at the step that needs it; and what is put right is read at the next try."""
    name = fill(tmp_path, "a", count=30)
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 0)
    data = load(name, "train+validation")
    whole = batches(data, 3, seed=2).rows(0, 8)["x"]
    bad = data.source.source.paths[int(batches(data, 3, seed=2).rows(5, 1)["index"][0, 1])]
    raw = bad.read_bytes()
    cut(bad)
    found = batches(data, 3, seed=2)
    np.testing.assert_array_equal(found.rows(0, 5)["x"], whole[:5])
    for _ in range(2):
        with pytest.raises(DamagedExample) as caught:
            found.rows(5, 1)
        assert str(caught.value).startswith(f"{bad} cannot be decoded (") and "--damaged skip" in str(caught.value)
    write(bad, pixels(7, 7))
    with pytest.raises(DamagedExample, match=r"was \(6, 5, 1\) at first and is \(7, 7, 1\) now: put the file back"):
        found.rows(5, 1)
    bad.unlink()
    with pytest.raises(DamagedExample, match=r"cannot be read .No such file"):
        found.rows(5, 1)
    bad.write_bytes(raw)
    np.testing.assert_array_equal(found.rows(5, 3)["x"], whole[5:])
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is DamagedExample and str(again) == str(caught.value)


def write_sound(path, total, *, stated=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(np.arange(total, dtype="<i2").tobytes())
    if stated is not None:
        raw = path.read_bytes()
        path.write_bytes(raw[:40] + stated.to_bytes(4, "little") + raw[44:])


def test_sounds_that_end_early_or_do_not_know_their_end(tmp_path):
    for i in range(12):
        write_sound(tmp_path / f"{i}.wav", 20)
    write_sound(tmp_path / "piped.wav", 20, stated=0xFFFFFFFF)  # as ffmpeg writes to a pipe
    data = load(f"audio:{tmp_path}", "train+validation")
    assert data.shape == (20,) and (data.arrays["length"] == 20).all()
    write_sound(tmp_path / "cut.wav", 20, stated=80)
    with pytest.raises(DamagedExample, match=r"cut.wav ends after 20 of 40 samples: remove it"):
        load(f"audio:{tmp_path}")
    (tmp_path / "none.wav").write_bytes(b"ID3")
    left = load(f"audio:{tmp_path}", "train+validation", damaged="skip")
    np.testing.assert_array_equal(left.arrays["x"], data.arrays["x"])
    assert "2 damaged files" in left.passed_over[0]


def test_a_path_with_a_question_mark(tmp_path):
    fill(tmp_path / "q?x=1", "x", "y")
    assert len(load(f"pairs:{tmp_path / 'q?x=1'}", "train+validation")) == 2
    fill(tmp_path / "r", "1", "y")
    assert len(load(f"pairs:{tmp_path / 'r'}?x=1", "train+validation")) == 2


def test_pairs_and_boxes_leave_out_what_is_damaged(tmp_path):
    fill(tmp_path / "q", "x", "y", count=20)
    cut(tmp_path / "q" / "y" / "4.png")
    (tmp_path / "q" / "x" / "5.png").write_bytes(b"")
    with pytest.raises(DamagedExample, match=r"5.png cannot be decoded \(it is empty\)"):
        load(f"pairs:{tmp_path / 'q'}")
    parts = [load(f"pairs:{tmp_path / 'q'}", split, damaged="skip") for split in ("train+validation", "test")]
    assert sum(map(len, parts)) == 18 and "2 damaged files" in parts[0].passed_over[0]
    name = coco(tmp_path / "c", (6, 10))
    cut(tmp_path / "c" / "2.jpg")
    with pytest.raises(DamagedExample, match=r"2.jpg cannot be decoded"):
        load(name, "train+validation")
        load(name, "test")
    assert sum(len(load(name, split, damaged="skip")) for split in ("train+validation", "test")) == 3


def test_boxes_sorted_by_class_are_held_out_mixed(tmp_path):
    for split, total in (("train", 40), ("valid", 0), ("Test", 4)):
        images, objects = [], []
        for i in range(total):
            write(tmp_path / f"{split}{i}.png")
            images.append({"id": i, "file_name": f"{split}{i}.png"})
            objects.append({"image_id": i, "category_id": i // 20, "bbox": [0, 0, 2, 2]})
        content = {"images": images, "annotations": objects, "categories": [{"id": k, "name": str(k)} for k in (0, 1)]}
        if total:
            (tmp_path / f"{split}.json").write_text(json.dumps(content))
    held = load(f"boxes:{tmp_path}", "validation", validation=8)
    assert set(held.arrays["classes"][:, 0]) == {0, 1} and len(load(f"boxes:{tmp_path}", "test")) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [c], "lacks images, annotations, categories"),
        (lambda c: c | {"annotations": [{"image_id": 0}]}, "lacks the field 'category_id'"),
        (lambda c: c | {"images": [{"id": 0}]}, "lacks the field 'file_name'"),
        (lambda c: c | {"categories": [{"id": 1}]}, "a category lacks or mixes 'name'"),
        (lambda c: c | {"annotations": [None]}, "does not fit"),
    ],
)
def test_annotations_that_lack_a_field_are_refused(tmp_path, change, message):
    name = coco(tmp_path, (6, 10))
    content = json.loads((tmp_path / "all.json").read_text())
    (tmp_path / "all.json").write_text(json.dumps(change(content)))
    with pytest.raises(ValueError, match=message):
        load(name)
