"""`python -m tools.dedup`: what it finds and writes, that experiments read it, and how planted copies are counted."""

import json

import numpy as np
import pytest
from PIL import Image

import gen_models as gm
from gen_models.data.near_duplicates import hamming, pack_bits
from tools import dedup
from tools.duplicates import codes, plants, search

SIDE = 10


def _smooth(count, seed, channels=1):
    """Images of some waves each, that differ from each other."""
    generator = np.random.default_rng(seed)
    at = np.arange(SIDE) / SIDE
    waves = np.cos(2 * np.pi * (np.arange(1, 5)[:, None] * at + generator.random((count, channels, 2, 4, 1))))
    rows, columns = (generator.normal(size=(count, channels, 2, 4, 1)) * waves).sum(3).transpose(2, 0, 1, 3)
    x = rows[..., :, None] + columns[..., None, :]
    x -= x.min((2, 3), keepdims=True)
    return (255 * x / x.max((2, 3), keepdims=True)).astype(np.uint8).transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """120 examples for training, of which 100 to 119 are the first 20 again, and 30 for tests, 3 of them known."""
    folder = tmp_path_factory.mktemp("archive")
    own, test = _smooth(100, 0), _smooth(30, 1)
    test[[4, 5, 6]] = own[[50, 60, 70]]
    x = np.concatenate([own, own[:20]])
    y = np.arange(120) % 3
    np.savez(
        folder / "images.npz",
        train_image=x,
        train_label=y,
        validation_image=_smooth(20, 2),
        validation_label=np.arange(20) % 3,
        test_image=test,
        test_label=np.arange(30) % 3,
    )
    out = folder / "out"
    words = [f"npz:{folder / 'images.npz'}", "--distance", "0", "--steps", "20", "--out", str(out), "--remove-leaks"]
    assert dedup.main(words) == 0
    return folder, out


def test_copies_are_found_and_left_out(archive):
    _, out = archive
    record = json.loads((out / "groups.json").read_text())
    pairs = {near["example"]: group["kept"] for group in record["groups"] for near in group["near"]}
    assert pairs.items() >= {100 + index: index for index in range(20)}.items()
    leaks = {leak["example"]: (leak["train"], leak["bits"]) for leak in record["leaks"]["test"]}
    assert leaks.items() >= {4: (50, 0), 5: (60, 0), 6: (70, 0)}.items()
    kept = np.load(out / "kept.npz")["train"]
    gone = sorted(set(range(120)) - set(kept.tolist()))
    assert set(gone) >= {*range(100, 120), 50, 60, 70} and len(gone) == record["removed"] < 60
    assert (out / "removed.txt").read_text().split() == list(map(str, gone))


def test_experiments_read_the_cleaned_archive(archive):
    folder, out = archive
    before, after = (gm.load_splits(f"npz:{path}") for path in (folder / "images.npz", out / "cleaned.npz"))
    kept = np.load(out / "kept.npz")["train"]
    for field in ("x", "y"):
        np.testing.assert_array_equal(after.train.arrays[field], before.train.arrays[field][kept])
        np.testing.assert_array_equal(after.test.arrays[field], before.test.arrays[field])
        np.testing.assert_array_equal(after.held_out.arrays[field], before.held_out.arrays[field])


def test_groups_are_drawn(archive):
    for name in ("groups", "leaks_test"):
        with Image.open(archive[1] / f"{name}.png") as picture:
            assert min(picture.size) > 150 and len(np.unique(np.asarray(picture.convert("L")))) > 50


def test_a_folder_becomes_one_of_links(tmp_path, monkeypatch):
    monkeypatch.setattr(codes, "trained", lambda crops, steps, seed: _brighter_than_middle)  # trained codes: see above
    own = _smooth(40, 3, channels=3)
    for index, image in enumerate([*own, *own[:10]]):
        path = tmp_path / "images" / f"class{index % 2}" / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    name, out = f"folder:{tmp_path / 'images'}", tmp_path / "out"
    assert dedup.main([name, "--distance", "0", "--steps", "2", "--out", str(out)]) == 0
    before, after = gm.load_splits(name), gm.load_splits(f"folder:{out / 'cleaned'}")
    kept = np.load(out / "kept.npz")["train"]
    assert len(kept) < len(before.train)
    for part, kept_of, read in (
        (before.train, kept, after.train),
        (before.held_out, slice(None), after.held_out),
        (before.test, slice(None), after.test),
    ):
        np.testing.assert_array_equal(read.arrays["x"], part.arrays["x"][kept_of])
        np.testing.assert_array_equal(read.arrays["y"], part.arrays["y"][kept_of])
    removed = (out / "removed.txt").read_text().split()
    assert len(removed) == len(before.train) - len(kept)
    assert all(
        (tmp_path / "images" / line).exists() and not (out / "cleaned" / "train" / line).exists() for line in removed
    )


@pytest.mark.slow  # two trainings
def test_a_code_depends_on_the_image_alone():
    crops = gm.Splits.of_arrays({"x": _smooth(150, 5)}).train
    encode = codes.trained(crops, steps=3, seed=1)
    own = codes.codes_of(encode, crops)
    assert own.shape == (150, 2) and len(np.unique(own, axis=0)) > 100
    np.testing.assert_array_equal(encode(crops.arrays["x"][20:31]), own[20:31])
    np.testing.assert_array_equal(codes.trained(crops, steps=3, seed=1)(crops.arrays["x"]), own)


def _brighter_than_middle(crops):
    flat = crops.reshape(len(crops), -1)
    return pack_bits(flat[:, :100] > np.median(flat, axis=1, keepdims=True))


def test_planted_copies_are_counted_as_one_by_one():
    images = _smooth(60, 6)
    chosen = np.array([3, 9, 40])
    own = _brighter_than_middle(images)
    found = plants.measured(_brighter_than_middle, images[chosen], chosen, own, seed=0)
    assert set(found.recall) == set(plants.GREY) and found.recall["JPEG 50"][-1] > 0.5
    generator, right, near = np.random.default_rng(0), 0, 0
    for name, change in plants.GREY.items():
        copies = _brighter_than_middle(np.stack([change(image, generator) for image in images[chosen]]))
        hits = [int(hamming(copy, own[index])) <= 12 for copy, index in zip(copies, chosen, strict=True)]
        assert found.recall[name][-1] == np.mean(hits)
        right += sum(hits)
        near += sum(int(hamming(copy, code)) <= 12 for copy in copies for code in own)
    assert found.precision[-1] == pytest.approx(right / near)
    assert found.false[-1] == pytest.approx((near - right) / (6 * 3))


def test_changes_are_what_they_say():
    generator = np.random.default_rng(0)
    image = _smooth(1, 7, channels=3)[0]
    for pixels in (1, 2):
        moved = plants.shifted(image, generator, pixels=pixels)
        same = [
            np.array_equal(moved[2:-2, 2:-2], np.roll(image, k, axis)[2:-2, 2:-2])
            for k in (-pixels, pixels)
            for axis in (0, 1)
        ]
        assert moved.shape == image.shape and sum(same) == 1
    assert set(np.unique(plants.brightened(np.full_like(image, 100), generator))) <= {80, 120}
    assert set(np.unique(plants.gained(np.full_like(image, 100), generator))) <= {80, 120}
    grey = np.repeat(image[..., :1], 3, -1)
    np.testing.assert_array_equal(plants.hued(grey, generator), grey)  # grey has no hue
    assert 5 < np.abs(plants.hued(image, generator).astype(int) - image).mean() < 100
    grey = image[..., :1]
    lost = [np.abs(plants.recompressed(grey, generator, quality=q).astype(int) - grey).mean() for q in (95, 20)]
    assert lost[0] < 5 < lost[1] < 40


def test_spoiled_data_hold_changed_copies_with_their_labels(tmp_path):
    images, labels = _smooth(20, 8), np.arange(20)
    x, y = plants.spoiled(images, labels, 0.25, 4, seed=3)
    assert len(x) == 40 and (np.bincount(y) >= 1).all() and sorted(np.bincount(y))[-5:] == [5] * 5
    np.testing.assert_array_equal(x[:20], images)
    assert np.abs(x[20:].astype(int) - images[y[20:]]).mean() < 40
    np.savez(tmp_path / "own.npz", image=images, label=labels)
    assert dedup.main([f"npz:{tmp_path / 'own.npz'}", "--spoil", "0.5", "--out", str(tmp_path / "spoiled")]) == 0
    before, after = (gm.load_splits(f"npz:{path}") for path in (tmp_path / "own.npz", tmp_path / "spoiled/spoiled.npz"))
    assert len(after.train) == len(before.train) + 5 * round(0.5 * len(before.train))
    np.testing.assert_array_equal(after.test.arrays["x"], before.test.arrays["x"])


def test_the_search_is_timed(capsys):
    lines = list(search.timed(2000, 4))
    assert "equal" in lines[0] and ": 0 pairs" in lines[0] and " 1 kept" in lines[0]
    assert "random" in lines[1] and ": 0 pairs" in lines[1] and "2,000 kept" in lines[1]
    assert "clustered" in lines[2] and ": 0 pairs" not in lines[2]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give a data set, such as npz"),
        (["digits", "--search", "10"], "give a data set, such as npz"),
        (["digits", "--plant", "5", "--spoil", "0.1"], "give one of them"),
        (["digits", "--steps", "0"], "--steps must be 1 or more, got 0"),
        (["digits", "--distance", "129"], "from 0 to the 128 bits of a code, got 129"),
        (["digits", "--spoil", "1.5"], "above 0 and up to 1, got 1.5"),
        (["digits", "--out", "."], "not empty: give another folder"),
        (["tokens:x.txt"], "no such file|there is no"),
    ],
)
def test_what_cannot_be_done_is_refused(words, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        dedup.main(words)
