"""Folders as strangers bring them: links, splits' names, files of any name, and what is passed over."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path, PurePath

import jax
import numpy as np
import pytest
from pictures import cut, fill, write

from experiments.vae import EXPERIMENT
from gen_models.data import load, load_splits
from gen_models.data.access import DamagedExample
from gen_models.data.listing import find_splits, fraction_of, split_of, with_test
from gen_models.data.names import shown
from gen_models.run.job import make_job


def links(root):
    """Classes, files and splits that are links."""
    fill(root / "pool", "cat", "dog", count=30)
    for name in ("classes", "split"):
        (root / name).mkdir()
    for name in ("cat", "dog"):
        (root / "classes" / name).symlink_to(f"../pool/{name}")
        (root / "files" / name).mkdir(parents=True)
        for path in (root / "pool" / name).iterdir():
            (root / "files" / name / path.name).symlink_to(path)
    for split in ("train", "test"):
        (root / "split" / split).symlink_to("../pool")


def test_links_are_followed(tmp_path):
    links(tmp_path)
    whole = load(f"folder:{tmp_path / 'pool'}", "train+validation")
    for name in ("classes", "files"):
        found = load(f"folder:{tmp_path / name}", "train+validation")
        np.testing.assert_array_equal(found.arrays["x"], whole.arrays["x"])
        np.testing.assert_array_equal(found.arrays["y"], whole.arrays["y"])
        assert found.passed_over == ()
    split = load(f"folder:{tmp_path / 'split'}", "test")
    assert len(split) == 60 and split.passed_over == ("the fact that 60 files of test are in train too",)


def test_links_that_lead_back_or_nowhere_are_counted(tmp_path):
    fill(tmp_path / "set", "cat", "dog")
    (tmp_path / "set" / "all").symlink_to(".")
    (tmp_path / "set" / "cat" / "up").symlink_to("../..")  # all that the set lies in
    (tmp_path / "set" / "cat" / "dog").symlink_to("../dog")  # twice, and no circle
    (tmp_path / "set" / "dog" / "cat").symlink_to("../cat")
    (tmp_path / "set" / "gone").symlink_to("nowhere")
    (tmp_path / "set" / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "set" / "cat" / "self.png").symlink_to("self.png")
    found = load(f"folder:{tmp_path / 'set'}", "train+validation")
    words = " ".join(found.passed_over)
    assert found.num_classes == 2 and "5 broken links" in words and "links that lead back (all" in words
    assert len(found) + len(load(found.name, "test")) == 12  # each class's own, and the other's


def test_what_is_passed_over_is_counted(tmp_path, monkeypatch):
    name = fill(tmp_path, "cat", "dog")
    for other in ("cat/a.heic", "cat/b.HEIC", "dog/notes.txt", "Thumbs.db", "LICENSE", ".DS_Store", "dog/._0.png"):
        (tmp_path / other).write_bytes(b"x")
    for other in ("__MACOSX/cat/0.png", "@eaDir/0.png", ".ipynb_checkpoints/0.png", "owl/locked/0.png"):
        write(tmp_path / other)
    (tmp_path / "empty").mkdir()
    write(tmp_path / "cat" / "tabby" / "0.png")
    os.mkfifo(tmp_path / "cat" / "pipe.png")  # to read it would wait for ever
    scandir = os.scandir

    def locked(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    data = load(name, "train+validation")
    assert data.num_classes == 2 and data.meaning.classes == ("cat", "dog")
    assert set(data.passed_over) == {
        "6 files of other kinds (1 without a suffix, 1 .db, 2 .heic, 1 .png, 1 .txt)",
        "3 hidden files or folders (.DS_Store, .ipynb_checkpoints, dog/._0.png)",
        "2 folders of the system (@eaDir, __MACOSX)",
        "1 folder that cannot be read (owl/locked)",
        "2 folders without images (empty, owl)",
        "1 folder within those of classes, not told apart (cat/tabby)",
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "train_set", "training-images", "Train Data")),
        *((name, "validation") for name in ("valid", "Val", "VALIDATION", "dev", "valid_set", "val_images")),
        *((name, "test") for name in ("test", "Testing", "Test Set", "testset", "test_split")),
        *((name, None) for name in ("trains", "pretest", "valley", "data", "set", "tests", "device", "training day")),
    ],
)
def test_names_of_splits(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "words", [("train", "valid", "test"), ("Train", "Val", "Test"), ("training_set", "dev", "TESTING")]
)
def test_folders_of_splits_under_customary_names(tmp_path, words):
    for word, count in zip(words, (5, 3, 2), strict=True):
        name = fill(tmp_path, f"{word}/a", f"{word}/b", count=count)
        fill(tmp_path / "sides" / word, "x", "y", count=count)
    (tmp_path / "annotations").mkdir()
    sides = f"pairs:{tmp_path / 'sides'}"
    (tmp_path / "sides").rename(tmp_path.parent / f"{tmp_path.name}_sides")
    sides = f"pairs:{tmp_path.parent / f'{tmp_path.name}_sides'}"
    for split, count in (("train", 5), ("validation", 3), ("test", 2)):
        data = load(name, split)
        assert len(data) == 2 * count and data.num_classes == 2
        assert data.passed_over == ("1 folder without images (annotations)",)
        assert len(load(sides, split)) == count


REFUSED = {
    "a class called as a split": (("train", "bus", "car"), r"has the folder 'train'.*beside bus, car: .*rename.*move"),
    "two for one split": (("train/a", "Valid/a", "val/a"), r"two folders for the validation split, Valid and val"),
    "none for training": (("test/a", "val/a"), r"none for training: add a folder train, or give .*/test"),
    "splits within classes": (("mug/train", "mug/test"), r"folder mug would be a class, but holds test, train"),
    "an archive's own folder": (
        ("set/train/a", "set/test/a"),
        r"folder set would be a class.*give the path down to it",
    ),
    "a test split without labels": (("train/a", "train/b", "test"), r"train has class folders and test has none"),
    "labels for the test split alone": (("train", "test/a", "test/b"), r"test has class folders and train has none"),
    "loose files": (("a", ""), r"both in sub-folders \(classes\) and outside of them \(0.png, 1.png, 2.png\)"),
    "nothing": (("train/.hidden", "test/a"), r"no images for training .*passed over: 1 hidden"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_layouts_that_could_be_meant_otherwise_are_refused(tmp_path, case):
    folders, message = REFUSED[case]
    name = fill(tmp_path, *folders)
    with pytest.raises(ValueError, match=message) as caught:
        load(name, "train")
    assert "\n" not in str(caught.value)


def test_splits_beside_other_folders_of_images_are_taken_and_the_others_counted(tmp_path):
    name = fill(tmp_path, "train/a", "test/a", "extra", count=4)
    write(tmp_path / "preview.png")
    data = load(name, "train", validation=0)
    assert len(data) == 4 and data.passed_over == (
        "5 files beside the folders of splits (extra/0.png, extra/1.png, extra/2.png and 2 more)",
    )
    fill(tmp_path / "b", "test", "bus")  # no image lies in `test`
    for path in (tmp_path / "b" / "test").iterdir():
        path.unlink()
    assert load(f"folder:{tmp_path / 'b'}").num_classes == 1


def test_without_a_test_split_the_held_out_part_is_measured(tmp_path):
    name = fill(tmp_path, "train/a", "train/b", "valid/a", "valid/b")
    splits = load_splits(name)
    assert (len(splits.train), len(splits.held_out), splits.test) == (6, 6, None)
    assert splits.held_out_word == "validation"
    config = replace(EXPERIMENT.config_class(dataset=name, batch_size=2), hidden=(4,), latent=2)
    assert make_job(EXPERIMENT, config).test(jax.random.key(0)).word == "validation"
    with pytest.raises(ValueError, match="has no test split: it has train, validation: add one, or"):
        load(name, "test")
    with pytest.raises(ValueError, match=r"no test split, so that --train-split train.validation leaves nothing"):
        load_splits(name, "train+validation")


def test_a_few_files_have_a_test_split_too(tmp_path):
    """Whichever names the files have: of two or more files one is `test`, and a tenth where the hashes give too few."""
    for count in (2, 3, 9, 41):
        for start in range(5):
            root = tmp_path / f"{count}_{start}"
            root.mkdir()
            for i in range(count):
                (root / f"{start}{i}.png").touch()
            found = find_splits(root, (".png",), "folder", "images")
            splits = with_test(found.splits, found.official, lambda file: file.fraction)
            assert len(splits["train"]) + len(splits["test"]) == count and len(splits["train"])
            assert len(splits["test"]) >= max(1, count // 20)


STRANGE = [
    b"stra\xdfe.png",
    b"a\nb.png",
    b"[old] {x}%s?.png",
    b"x" * 240 + b".png",
    "bild ä 日本.PNG".encode(),
    b" .png",
]


def test_files_of_any_name(tmp_path):
    for i, name in enumerate(STRANGE):
        for group in (b"cl\xe4ss", b"[b]\n"):
            os.makedirs(os.path.join(os.fsencode(tmp_path), group), exist_ok=True)
            write(tmp_path / "x.png", np.full((6, 5), 20 * i, np.uint8))
            os.rename(tmp_path / "x.png", os.path.join(os.fsencode(tmp_path), group, name))
    parts = [load(f"folder:{tmp_path}", split, validation=2) for split in ("train", "validation", "test")]
    values = sorted(int(x) for part in parts for x in part.arrays["x"][:, 0, 0, 0])
    assert values == sorted(2 * list(range(0, 20 * len(STRANGE), 20)))
    assert parts[0].meaning.classes == (r"[b]\n", r"cl\xe4ss")
    bad = tmp_path / os.fsdecode(b"cl\xe4ss") / os.fsdecode(STRANGE[0])
    cut(bad)
    with pytest.raises(DamagedExample) as caught:
        load(f"folder:{tmp_path}", "train+validation", size=5)
    assert r"cl\xe4ss/stra\xdfe.png cannot be decoded" in str(caught.value)
    assert json.loads(json.dumps(str(caught.value).encode().decode())) and shown(bad).isprintable()


@pytest.mark.parametrize("name", ["cat/0.png", "bild ä 日本.PNG", "a b/c.d/e.jpg"])
def test_the_order_is_that_of_the_names_hashes(name):
    """So the splits of a folder stay those of the years before."""
    expected = int.from_bytes(hashlib.sha256(name.encode("utf-8")).digest()[:6], "big") / 2**48
    assert fraction_of(PurePath(name)) == expected
