"""Reading and preparing through TFDS, without TensorFlow."""

import gzip
import hashlib
import io
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gen_models.data import evaluation_batches, in_memory, load, streamed, tfds_sources
from gen_models.data.tfds_sources import ENTRIES
from tools import prepare_data

tfds = pytest.importorskip("tensorflow_datasets")
checksums = pytest.importorskip("tensorflow_datasets.core.download.checksums")
tfds_builders = pytest.importorskip("gen_models.data.tfds_builders")

VERSIONS = {name: "3.0.1" for name in ("mnist", "fashion_mnist")} | {
    "cifar10": "3.0.2",
    "cifar100": "3.0.2",
    "celeb_a": "2.1.0",
    "lsun": "3.1.0",
    "imagenet_resized": "0.1.0",
}
SHAPES = {name: (28, 28, 1) for name in ("mnist", "fashion_mnist")} | {
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "celeb_a": (218, 178, 3),
    "lsun": (24, 24, 3),
    "imagenet_resized": (64, 64, 3),
}


@pytest.fixture
def mocked(monkeypatch):
    """TFDS's mock, whose own `__getitems__` of the innermost reader lacks its `self`: rows are taken one by one."""
    base = pytest.importorskip("tensorflow_datasets.core.data_sources.base")
    monkeypatch.setattr(base.BaseDataSource, "__getitems__", lambda self, keys: [self[key] for key in keys])
    with tfds.testing.mock_data(num_examples=12, policy=tfds.testing.MockPolicy.USE_CODE):
        yield


@pytest.mark.parametrize("name", ENTRIES)
def test_stock_readers_answer_through_load(name, tmp_path, mocked):
    """TFDS's mock replaces the files; the builders, their features and our reader are the real ones."""
    folder = tmp_path / ENTRIES[name].path / VERSIONS[name]
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    options = {"size": 24} if name == "lsun" else {}
    held = {} if "validation" in ENTRIES[name].splits else {"validation": 2}
    train, test = load(name, "train[:50%]", tmp_path, **options, **held), load(name, "test", tmp_path, **options)
    assert len(train) == (5 if held else 6) and len(test) == 12
    for data in (train, test):
        assert data.shape == SHAPES[name] and data.arrays["x"].dtype == np.uint8
        assert data.arrays["x"].std() > 0 and data.arrays["y"].any() == (data.num_classes is not None)
    if name == "lsun":
        with pytest.raises(ValueError, match="give --size 64, or size=64 in the library"):
            load(name, "train", tmp_path)


def test_large_splits_stay_on_disk_with_the_same_rows(tmp_path, monkeypatch, mocked):

    for folder in ("cifar10/3.0.2", "celeb_a/2.1.0"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "dataset_info.json").write_text("{}")
    memory = load("cifar10", "train[2:6]", tmp_path, validation=3)
    monkeypatch.setattr(tfds_sources, "IN_MEMORY_BYTES", 1000)
    disk = load("cifar10", "train[2:6]", tmp_path, validation=3)
    assert disk.arrays is None and len(disk) == len(memory) == 4 and disk.shape == (32, 32, 3)
    many = disk.source.__getitems__([3, 1])
    np.testing.assert_array_equal(many[0]["x"], memory.arrays["x"][3])
    np.testing.assert_array_equal(disk.source[1]["x"], memory.arrays["x"][1])
    assert disk.source[1]["y"] == memory.arrays["y"][1]
    assert len(load("cifar10", "validation", tmp_path, validation=3)) == 3
    assert len(load("celeb_a", "train+validation", tmp_path, size=8)) == 24  # two official splits, joined


class Raw:
    """Original files made small, and registered with TFDS's classes in the place of the real sizes and hashes."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch
        folder.mkdir()

    def register(self, name, files):
        """`files`: name of a file -> its bytes; the stock builder's URL of that name is given the new hash."""
        stock = tfds.builder_cls(ENTRIES[name].path.partition("/")[0])
        infos = dict(stock.url_infos)
        for file, content in files.items():
            (self.folder / file).write_bytes(content)
            urls = [url for url, info in infos.items() if info.filename == file]
            assert len(urls) == 1, f"TFDS registers {file} under {urls}"
            digest = hashlib.sha256(content).hexdigest()
            infos[urls[0]] = checksums.UrlInfo(size=len(content), checksum=digest, filename=file)
        self.monkeypatch.setattr(stock, "url_infos", infos)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    return Raw(tmp_path / "raw", monkeypatch)


def prepare(name, raw, tmp_path):
    return prepare_data.main([name, "--raw-dir", str(raw.folder), "--data-dir", str(tmp_path / "data")])


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_prepare_cifar_from_its_binary_archive(name, raw, tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    keys = 1 if name == "cifar10" else 2
    folder, trains, tests = {
        "cifar10": ("cifar-10-batches-bin", [f"data_batch_{i}.bin" for i in range(1, 6)], ["test_batch.bin"]),
        "cifar100": ("cifar-100-binary", ["train.bin"], ["test.bin"]),
    }[name]
    rows = {file: rng.integers(0, 10, (20, keys + 3072)).astype(np.uint8) for file in (*trains, *tests)}
    contents = {file: values.tobytes() for file, values in rows.items()}
    names = lambda n: "".join(f"{chr(97 + i % 26)}{i}\n" for i in range(n)).encode()  # noqa: E731
    contents |= {
        "cifar10": {"batches.meta.txt": names(10)},
        "cifar100": {"coarse_label_names.txt": names(20), "fine_label_names.txt": names(100)},
    }[name]
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, content in contents.items():
            info = tarfile.TarInfo(f"{folder}/{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    raw.register(name, {f"{name.replace('cifar', 'cifar-')}-binary.tar.gz": buffer.getvalue()})
    assert prepare(name, raw, tmp_path) == 0, capsys.readouterr().err
    for split, files in (("train+validation", trains), ("test", tests)):
        data = load(name, split, tmp_path / "data")
        expected = np.concatenate([rows[file] for file in files])
        pixels = expected[:, keys:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(data.arrays["x"], pixels)  # in the order of the files
        np.testing.assert_array_equal(data.arrays["y"], expected[:, keys - 1])
    check_streaming(name, tmp_path / "data", monkeypatch)


def check_streaming(name, data_dir, monkeypatch):
    """From array_record through grain, the batches are those that memory gives; damaged files are named."""

    memory = load(name, "train+validation", data_dir)
    monkeypatch.setattr(tfds_sources, "IN_MEMORY_BYTES", 1000)
    disk = load(name, "train+validation", data_dir)
    assert disk.arrays is None
    stream, rows = streamed(disk, 6, seed=2), in_memory(memory, 6, seed=2).rows(0, 12)
    for step, count in ((0, 5), (5, 2), (2, 10)):
        read = stream.rows(step, count)
        np.testing.assert_array_equal(read["x"], memory.arrays["x"][rows[step : step + count]])
        np.testing.assert_array_equal(read["y"], memory.arrays["y"][rows[step : step + count]])
    (record,) = data_dir.glob(f"{name}/*/*-train.array_record*")
    damaged = bytearray(record.read_bytes())
    damaged[len(damaged) // 2] ^= 255
    record.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"cannot be read .* prepare it again"):
        sum(len(x["x"]) for x in evaluation_batches(load(name, "train", data_dir), 10))
    info = record.parent / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match="is not array_record"):
        load(name, "train", data_dir)
    info.write_text("{")
    with pytest.raises(ValueError, match=r"dataset_info.json is damaged"):
        load(name, "train", data_dir)


def test_prepare_celeb_a_from_its_archive(raw, tmp_path, capsys):
    from tensorflow_datasets.datasets.celeb_a import celeb_a_dataset_builder as stock

    rng = np.random.default_rng(0)
    images = {}
    for i in range(6):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (218, 178, 3)).astype(np.uint8)).save(buffer, "JPEG")
        images[f"{i:06d}.jpg"] = buffer.getvalue()

    def table(headings, value):
        head = f"6\n{' '.join(headings)}\n" if headings else ""
        return (head + "".join(f"{file} {value}\n" for file in images)).encode()

    raw.register(
        "celeb_a",
        {
            "img_align_celeba.zip": zipped({f"img_align_celeba/{k}": v for k, v in images.items()}),
            "list_eval_partition.txt": "".join(
                f"{f} {i // 3 if i < 5 else 2}\n" for i, f in enumerate(images)
            ).encode(),
            "list_attr_celeba.txt": table(stock.ATTR_HEADINGS, " ".join(["1"] * 40)),
            "list_landmarks_align_celeba.txt": table(stock.LANDMARK_HEADINGS, " ".join(["7"] * 10)),
            "identity_CelebA.txt": table((), "3 3 3 3 3 3 3 3 3 3 3"),
        },
    )
    assert prepare("celeb_a", raw, tmp_path) == 0, capsys.readouterr().err
    found = [load("celeb_a", split, tmp_path / "data") for split in ("train", "validation", "test")]
    assert [len(data) for data in found] == [3, 2, 1]
    expected = np.stack([np.asarray(Image.open(io.BytesIO(content))) for content in images.values()])
    np.testing.assert_array_equal(np.concatenate([data.arrays["x"] for data in found]), expected)


def test_prepare_imagenet_resized_from_its_archives(raw, tmp_path, capsys):
    rng = np.random.default_rng(0)

    def archive(count, start):
        buffer = io.BytesIO()
        image = rng.integers(0, 256, (count, 3 * 64 * 64)).astype(np.uint8)
        np.savez(buffer, data=image, labels=np.arange(start, start + count) + 1)
        return image.reshape(-1, 3, 64, 64).transpose(0, 2, 3, 1), zipped({f"batch_{start}.npz": buffer.getvalue()})

    parts = {"train_part1": archive(3, 0), "train_part2": archive(2, 500), "val": archive(4, 900)}
    raw.register("imagenet_resized", {f"Imagenet64_{key}_npz.zip": value for key, (_, value) in parts.items()})
    assert prepare("imagenet_resized", raw, tmp_path) == 0, capsys.readouterr().err
    train = load("imagenet_resized", "train+validation", tmp_path / "data")
    expected = np.concatenate([parts["train_part1"][0], parts["train_part2"][0]])
    np.testing.assert_array_equal(train.arrays["x"], expected)
    assert train.arrays["y"].tolist() == [0, 1, 2, 500, 501]
    test = load("imagenet_resized", "test", tmp_path / "data")
    np.testing.assert_array_equal(test.arrays["x"], parts["val"][0])


def test_prepare_lsun_from_its_databases(raw, tmp_path, capsys):
    lmdb = pytest.importorskip("lmdb", reason="LSUN's files are LMDB databases: pip install lmdb")
    archives, images = {}, {}
    for split, count in (("train", 5), ("val", 2)):
        folder = tmp_path / f"bedroom_{split}_lmdb"
        with lmdb.open(str(folder), map_size=2**22) as database, database.begin(write=True) as write:
            for i in range(count):
                buffer = io.BytesIO()
                pixels = np.random.default_rng(i).integers(0, 256, (30 + i, 40, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(buffer, "JPEG")
                write.put(f"{split}{i}".encode(), buffer.getvalue())
                images[split, i] = Image.open(io.BytesIO(buffer.getvalue()))
        archives[f"{folder.name}.zip"] = zipped({f"{folder.name}/data.mdb": (folder / "data.mdb").read_bytes()})
    raw.register("lsun", archives)
    assert prepare("lsun", raw, tmp_path) == 0, capsys.readouterr().err
    train = load("lsun", "train+validation", tmp_path / "data", size=16)
    assert train.shape == (16, 16, 3) and len(train) == 5
    assert len(load("lsun", "test", tmp_path / "data", size=16)) == 2
    from gen_models.data.images import cropped

    np.testing.assert_array_equal(train.arrays["x"][3], cropped(images["train", 3], (16, 16)))


def mnist_files(count=4):
    files = {}
    for stem in ("train", "t10k"):
        image, label = np.zeros((count, 28, 28), np.uint8), np.zeros(count, np.uint8)
        for kind, values in (("images-idx3", image), ("labels-idx1", label)):
            head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
            files[f"{stem}-{kind}-ubyte.gz"] = gzip.compress(head + values.tobytes())
    return files


def test_prepare_refuses_wrong_missing_and_short_files(raw, tmp_path, capsys):
    for name, content in mnist_files().items():
        (raw.folder / name).write_bytes(content)
    assert prepare("mnist", raw, tmp_path) == 1
    assert "differs from the one that TFDS registers" in capsys.readouterr().err
    raw.register("mnist", mnist_files())
    assert prepare("mnist", raw, tmp_path) == 1
    assert "has 4 images and 4 labels, expected 60000" in capsys.readouterr().err
    (raw.folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert prepare("mnist", raw, tmp_path) == 1
    assert "lacks t10k-labels-idx1-ubyte.gz" in capsys.readouterr().err
    with pytest.raises(ValueError, match="prepare_data mnist"):
        load("mnist", "train", tmp_path / "data")


def test_command_line_answers_before_tfds_is_imported():
    code = "import sys; from tools import prepare_data as p\ntry: p.parse(sys.argv[1:])\nexcept SystemExit: pass\n"
    code += "print('tensorflow_datasets' in sys.modules)"
    for arguments, text in ((["--help"], "Imagenet64"), (["mnsit", "--data-dir", "x"], "did you mean 'mnist'?")):
        out = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert text in out.stdout + out.stderr and out.stdout.endswith("False\n")


def test_tensorflow_is_not_needed():
    assert "tensorflow" not in sys.modules


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_unpacked_is_removed_however_the_preparation_ends(number, tmp_path):
    """At once after SIGTERM; after SIGKILL by the next preparation, which leaves those of living processes alone."""
    code = (
        "import pathlib, runpy, sys, time\n"
        "from gen_models.data import tfds_builders\n"
        "def unpack(name, raw_dir, scratch):\n"
        "    (scratch / 'large.bin').write_bytes(b'x' * 1000)\n"
        "    print('unpacked', flush=True)\n"
        "    time.sleep(60)\n"
        "tfds_builders.twin = unpack\n"
        "sys.argv = ['prepare_data', 'mnist', '--raw-dir', '.', '--data-dir', sys.argv[1]]\n"
        "runpy.run_module('tools.prepare_data', run_name='__main__')\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout is not None and process.stdout.readline() == "unpacked\n"
        tfds_builders._remove_abandoned(tmp_path)
        assert len(list(tmp_path.glob(".extracted-*/large.bin"))) == 1
        process.send_signal(number)
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number)
    assert bool(list(tmp_path.glob(".extracted-*"))) == (number == signal.SIGKILL)
    tfds_builders._remove_abandoned(tmp_path)
    assert not list(tmp_path.glob(".extracted-*"))
