"""`load`: splits, IDX, .npz, folders, caches and what they refuse."""

import gzip
import io
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from gen_models.data import NAMES, load
from gen_models.data.cache import FOLDER, cached
from gen_models.data.idx import read_idx
from gen_models.data.labels import last_of_each_class


def write_idx(path, values):
    raw = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def make_idx_folder(folder, train=60, test=20, suffix=".gz"):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    written = {}
    for stem, n in (("train", train), ("t10k", test)):
        image = rng.integers(0, 256, (n, 5, 4)).astype(np.uint8)
        label = (np.arange(n) % 10).astype(np.uint8)
        write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", image)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", label)
        written[stem] = image, label
    return written


def test_import_is_light():
    code = "import gen_models.data, sys; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["tensorflow_datasets", "grain", "sklearn", "PIL", "flax"]
    out = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_bundled_splits_partition_the_data_and_stay_balanced():
    parts = {split: load(split=split) for split in ("train", "validation", "test", "train+validation")}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 9000,
        "validation": 1000,
        "test": 2000,
        "train+validation": 10_000,
    }
    for part in parts.values():
        assert part.arrays["x"].dtype == np.uint8 and part.shape == (28, 28, 1)
        assert set(np.bincount(part.arrays["y"], minlength=10)) == {len(part) // 10}
    whole = sorted(map(bytes, parts["train+validation"].arrays["x"]))
    apart = [*map(bytes, parts["train"].arrays["x"]), *map(bytes, parts["validation"].arrays["x"])]
    assert sorted(apart) == whole


def test_bundled_licence_is_beside_the_data():
    from gen_models.data.sources import BUNDLED

    assert "Copyright © 2017 Zalando SE" in (BUNDLED.parent / "LICENSE").read_text(encoding="utf-8")
    assert "github.com/zalandoresearch/fashion-mnist" in (BUNDLED.parent / "ATTRIBUTION.md").read_text()


def test_last_of_each_class_by_hand():
    label = np.array([0, 1, 0, 1, 1, 0, 0])
    assert np.flatnonzero(last_of_each_class(label, 2)).tolist() == [4, 6]
    assert np.flatnonzero(last_of_each_class(label, 3)).tolist() == [4, 5, 6]  # an odd one goes to the first class


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("test[:10%]", slice(0, 30)),
        ("test[90%:]", slice(267, 297)),
        ("test[5:8]", slice(5, 8)),
        ("test[-7:]", slice(290, 297)),
        ("test[:-290]", slice(0, 7)),
        ("test[:]", slice(None)),
    ],
)
def test_slices(text, expected):
    np.testing.assert_array_equal(load("digits", text).arrays["x"], load("digits", "test").arrays["x"][expected])


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    digits = load_digits()
    got = [load("digits", split) for split in ("train", "validation", "test")]
    np.testing.assert_array_equal(np.concatenate([d.arrays["x"][..., 0] for d in got]), digits.images)
    np.testing.assert_array_equal(np.concatenate([d.arrays["y"] for d in got]), digits.target)
    assert got[0].levels == 17 and [len(d) for d in got] == [1350, 150, 297]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fashion_mnist_bundle",), "did you mean 'fashion_mnist_bundled'"),
        (("foldr:x",), "did you mean 'folder'"),
        (("digits", "tset"), "did you mean 'test'"),
        (("digits", "test[1:2:3]"), "malformed"),
        (("digits", "test[:120%]"), "above 100"),
        (("digits", "test[50:50]"), "is empty"),
        (("mnist",), r"python -m tools.prepare_data mnist --raw-dir RAW --data-dir DIR"),
        (("cifar10", "train", "no_such_dir"), r"prepare_data cifar10 --raw-dir RAW --data-dir no_such_dir"),
        (("idx:no_such_dir",), "no such folder"),
        (("npz:no_such.npz",), "no such file"),
        (("folder:no_such_dir",), "no such folder"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        load(*arguments)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("validation", [-1, 1.0, 1500, True, "10%", float("nan")])
def test_impossible_hold_out(validation):
    with pytest.raises(ValueError, match="validation"):
        load("digits", validation=validation)


def test_hold_out_by_count_fraction_and_none():
    assert len(load("digits", "validation", validation=7)) == 7
    assert len(load("digits", "train", validation=0.5)) == 750
    assert len(load("digits", "train", validation=0)) == 1500
    with pytest.raises(ValueError, match="is empty"):
        load("digits", "validation", validation=0)


@pytest.mark.parametrize("suffix", [".gz", ""])
def test_idx_round_trip_in_the_files_order(tmp_path, suffix):
    written = make_idx_folder(tmp_path / "mnist", suffix=suffix)
    for name, data_dir in ((f"idx:{tmp_path / 'mnist'}", None), ("mnist", tmp_path)):
        kwargs = {"validation": 15}
        train, held = (load(name, s, data_dir, **kwargs) for s in ("train", "validation"))
        np.testing.assert_array_equal(train.arrays["x"][..., 0], written["train"][0][:45])
        np.testing.assert_array_equal(held.arrays["y"], written["train"][1][45:])
        np.testing.assert_array_equal(load(name, "test", data_dir).arrays["x"][..., 0], written["t10k"][0])
        assert train.num_classes == 10 and train.arrays["y"].dtype == np.int32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"\x01" + raw[1:], "not an IDX file"),
        (lambda raw: raw[:2] + b"\x0d" + raw[3:], "0x0d"),
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[:6], "truncated"),
        (lambda raw: raw + b"\x00", "truncated or corrupt"),
        (lambda raw: b"", "not an IDX file"),
        (lambda raw: raw[:4] + b"\xff" * 12 + raw[16:], "4294967295"),
        (lambda raw: gzip.compress(raw)[:-9], "corrupt gzip"),
    ],
)
def test_corrupt_idx(tmp_path, change, message):
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((3, 2, 2), np.uint8))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_idx(path)


def test_idx_that_do_not_fit(tmp_path):
    make_idx_folder(tmp_path / "set")
    write_idx(tmp_path / "set" / "train-labels-idx1-ubyte.gz", np.zeros(7, np.uint8))
    with pytest.raises(ValueError, match="do not fit"):
        load(f"idx:{tmp_path / 'set'}")
    make_idx_folder(tmp_path / "mnist")
    write_idx(tmp_path / "mnist" / "train-labels-idx1-ubyte.gz", np.full(60, 11, np.uint8))
    with pytest.raises(ValueError, match=r"labels must be 0 to 9, got 11 to 11"):
        load("mnist", "train+validation", tmp_path)


def test_npz_named_splits_and_own_split(tmp_path):
    rng = np.random.default_rng(0)
    image, label = rng.integers(0, 256, (50, 6, 6, 3)).astype(np.uint8), np.arange(50) % 5
    np.savez(tmp_path / "a.npz", train_image=image[:40], train_label=label[:40], test_image=image[40:])
    train = load(f"npz:{tmp_path / 'a.npz'}", "train+validation")
    np.testing.assert_array_equal(train.arrays["x"], image[:40])
    assert train.num_classes == 5 and not load(f"npz:{tmp_path / 'a.npz'}", "test").arrays["y"].any()
    np.savez(tmp_path / "b.npz", image=image, label=label)
    parts = [load(f"npz:{tmp_path / 'b.npz'}", split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [41, 4, 5]  # round(0.1 * 45) to even
    pixels = [bytes(x) for part in parts for x in part.arrays["x"]]
    assert sorted(pixels) == sorted(map(bytes, image)), "the three parts are the whole, without overlap"


def test_npz_of_jpegs_that_share_a_header(tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for value in rng.integers(0, 256, (6, 8, 8, 3)).astype(np.uint8):
        buffer = io.BytesIO()
        Image.fromarray(value).save(buffer, "JPEG", quality=75)
        files.append(buffer.getvalue())
    length = next(i for i, column in enumerate(zip(*files, strict=False)) if len(set(column)) > 1)
    header = files[0][:length]
    scans = [file[len(header) :] for file in files]
    scan, offset = np.frombuffer(b"".join(scans), np.uint8), np.cumsum([0, *map(len, scans)])
    arrays = {"train_scan": scan, "train_offset": offset, "train_label": np.arange(6)}
    np.savez(tmp_path / "j.npz", header=np.frombuffer(header, np.uint8), **arrays)
    for _ in range(2):  # the second time from the cache
        data = load(f"npz:{tmp_path / 'j.npz'}", "train+validation")
        expected = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
        np.testing.assert_array_equal(data.arrays["x"], expected)
    assert "lossy" in data.note and len(list((tmp_path / FOLDER).iterdir())) == 2
    np.savez(tmp_path / "k.npz", header=np.frombuffer(header, np.uint8), **arrays | {"train_offset": offset + 1})
    with pytest.raises(ValueError, match="must run from 0"):
        load(f"npz:{tmp_path / 'k.npz'}")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "name them image and label"),
        ({"image": np.full((30, 4, 4), np.nan)}, "not finite"),
        ({"image": np.zeros((30, 4, 4), np.uint8)}, "all pixels of the 27 images for training are 0"),
        ({"image": np.array([object()] * 3)}, r"holds Python objects.: save np.stack\(list\(image\)\)"),
    ],
)
def test_npz_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load(f"npz:{tmp_path / 'bad.npz'}", "train+validation")


def test_npz_that_is_none(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match=r"not an \.npz"):
        load(f"npz:{tmp_path / 'bad.npz'}")


def _make_folder(root, groups=("cat", "dog"), count=20, size=(6, 5), mode="RGB"):
    rng = np.random.default_rng(len(groups))
    for group in groups:
        (root / group).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / group / f"{i}.png")


def test_folder_split_by_hash(tmp_path, monkeypatch):
    from gen_models.data import sources

    _make_folder(tmp_path / "set", count=60)
    name = f"folder:{tmp_path / 'set'}"
    train, test = load(name, "train+validation"), load(name, "test")
    assert len(train) + len(test) == 120 and 4 <= len(test) <= 22  # 12 expected, 3.3 standard deviation
    assert set(train.arrays["y"]) == {0, 1} == set(load(name, "validation").arrays["y"])
    assert train.shape == (6, 5, 3) and train.num_classes == 2
    by_pixels = {}
    for label, group in enumerate(("cat", "dog")):
        for path in (tmp_path / "set" / group).iterdir():
            by_pixels[np.asarray(Image.open(path)).tobytes()] = label
    for part in (train, test):
        assert [by_pixels[bytes(x)] for x in part.arrays["x"]] == part.arrays["y"].tolist()
    _make_folder(tmp_path / "set", groups=("eel",), count=5)  # new images move none of the old ones
    old = {bytes(x) for x in test.arrays["x"]}
    assert old == {bytes(x) for x in load(name, "test").arrays["x"]} & set(by_pixels)
    monkeypatch.setattr(sources, "IN_MEMORY_BYTES", 10)
    lazy = load(name, "train+validation")
    assert lazy.arrays is None and lazy.shape == (6, 5, 3)
    monkeypatch.undo()
    again = load(name, "train+validation")
    np.testing.assert_array_equal(np.stack([lazy.source[i]["x"] for i in range(len(lazy))]), again.arrays["x"])


def test_folder_with_official_splits_greys_and_resizing(tmp_path):
    for split in ("train", "val", "test"):
        _make_folder(tmp_path / split, count=3, mode="L")
    name = f"folder:{tmp_path}"
    assert [len(load(name, s)) for s in ("train", "validation", "test", "train+validation")] == [6, 6, 6, 12]
    assert load(name).shape == (6, 5, 1)
    with pytest.raises(ValueError, match="official validation"):
        load(name, validation=2)
    Image.fromarray(np.full((10, 30, 3), 200, np.uint8)).save(tmp_path / "train" / "cat" / "wide.png")
    with pytest.raises(ValueError, match="differ in size"):
        load(name)
    assert load(name, size=(4, 4)).shape == (4, 4, 3)


def test_resizing_crops_at_the_centre():
    from gen_models.data.images import cropped_array

    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    np.testing.assert_array_equal(cropped_array(wide, (10, 10)), np.full((10, 10, 3), 255))
    smooth = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (64, 64, 1))
    small = cropped_array(smooth, (16, 16))[..., 0].astype(float)
    np.testing.assert_allclose(small[2:-2], smooth[..., 0].reshape(16, 4, 16, 4).mean((1, 3))[2:-2], atol=1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "cat" / "0.png").write_bytes(b"nothing"), "cannot be decoded"),
        (lambda root: Image.new("I;16", (5, 6)).save(root / "cat" / "0.png"), "more than 8 bits"),
        (lambda root: Image.new("RGB", (5, 6)).save(root / "loose.png"), "outside of them"),
    ],
)
def test_folder_refused(tmp_path, spoil, message):
    _make_folder(tmp_path, count=2)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(f"folder:{tmp_path}")


def test_folder_truncated_image_and_unknown_class(tmp_path):
    for split in ("train", "test"):
        _make_folder(tmp_path / split, count=2)
    path = tmp_path / "train" / "cat" / "1.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(ValueError, match=r"1.png cannot be decoded"):
        load(f"folder:{tmp_path}")
    path.unlink()
    (tmp_path / "test" / "cat").rename(tmp_path / "test" / "cta")
    with pytest.raises(ValueError, match="did you mean 'cat'"):
        load(f"folder:{tmp_path}", "test")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no images"):
        load(f"folder:{tmp_path / 'empty'}")


def test_cache_is_keyed_whole_and_optional(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return {"x": np.arange(12).reshape(3, 4), "y": np.arange(3)}

    for stamp, expected in (("a", 1), ("a", 1), ("b", 2)):
        np.testing.assert_array_equal(cached(tmp_path, "x", stamp, make)["x"], np.arange(12).reshape(3, 4))
        assert len(calls) == expected
    for path in (tmp_path / FOLDER).iterdir():
        path.write_bytes(path.read_bytes()[:-8])
    np.testing.assert_array_equal(cached(tmp_path, "x", "a", make)["y"], np.arange(3))
    assert len(calls) == 3 and not list((tmp_path / FOLDER).glob(".*"))
    (tmp_path / "file").write_text("")  # a place where no folder can be made
    assert cached(tmp_path / "file", "x", "a", make)["x"].shape == (3, 4)


def test_two_processes_may_fill_the_cache_at_once(tmp_path):
    code = """
import sys, pathlib, numpy as np
from gen_models.data.cache import cached
root = pathlib.Path(sys.argv[1])
for stamp in range(30):
    out = cached(root, "x", [stamp], lambda: {"x": np.full((200, 200), stamp), "y": np.full(9, stamp)})
    assert (out["x"] == stamp).all() and (out["y"] == stamp).all()
"""
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [run.wait() for run in runs] == [0, 0]
    assert len(list((tmp_path / FOLDER).iterdir())) == 60


def test_names():
    assert NAMES[0] == "fashion_mnist_bundled" and len(set(NAMES)) == len(NAMES) == 13
