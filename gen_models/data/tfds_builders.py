"""TFDS's builders without TensorFlow: what `tools.prepare_data` runs.

TFDS's own builders read archives and encode images through TensorFlow. Each has a twin here that keeps its name,
version, features, URLs and registered checksums, and replaces only those two parts; what it writes, the stock reader
opens. The examples keep the order of the original files, where stock builders shuffle them.
"""

import importlib
import io
import os
import platform
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.util import DownloadError
from tensorflow_datasets.core.registered import skip_registration

from gen_models.data.idx import read_idx
from gen_models.data.tfds_sources import ENTRIES


def prepare(name: str, data_dir: str | Path, raw_dir: str | Path | None = None) -> Path:
    """Write the data set `name` as array_record into `data_dir`, unless it is there; returns its folder.

    Args:
      name: a key of `ENTRIES`.
      data_dir: where TFDS keeps prepared data sets.
      raw_dir: a folder of the original files, checked against TFDS's sizes and SHA-256; None downloads them.

    Raises:
      ValueError: a file is missing in `raw_dir`, or is not the one that TFDS registers, or a package is missing.
    """
    data_dir = Path(data_dir).expanduser()
    _, _, config = ENTRIES[name].path.partition("/")
    data_dir.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(data_dir)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".extracted-{platform.node()}-{os.getpid()}-") as scratch:
        raw_dir = None if raw_dir is None else Path(raw_dir).expanduser()
        builder = twin(name, raw_dir, Path(scratch))(data_dir=data_dir, config=config or None)
        options = tfds.download.DownloadConfig(
            manual_dir=raw_dir, try_download_gcs=False, force_checksums_validation=True
        )
        try:
            builder.download_and_prepare(download_config=options, file_format="array_record")
        except NonMatchingChecksumError as error:
            raise ValueError(f"{name}: a file differs from the one that TFDS registers: {error}") from None
        except DownloadError as error:
            raise ValueError(f"{name}: {error}; get the files yourself and pass --raw-dir") from None
    return Path(builder.data_path)


def _remove_abandoned(data_dir: Path) -> None:
    """Remove unpacked archives that processes of this machine left when they were killed."""
    for folder in data_dir.glob(f".extracted-{platform.node()}-*"):
        owner = folder.name.rsplit("-", 2)[1]
        try:
            os.kill(int(owner), 0)  # signal 0 only asks whether the process is there
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, OSError):  # not ours to judge, or somebody else's process
            pass


def twin(name: str, raw_dir: Path | None, scratch: Path) -> Any:
    """TFDS's builder class for `name`, with reading and encoding that need no TensorFlow."""
    stock = tfds.builder_cls(ENTRIES[name].path.partition("/")[0])
    generate = _GENERATE.get(name, _stock_examples)

    with skip_registration():

        class Twin(stock):  # type: ignore[misc, valid-type]
            url_infos = stock.url_infos

            def _info(self):
                info = super()._info()
                info.as_proto.disable_shuffling = True
                return info

            def _split_generators(self, dl_manager):
                return super()._split_generators(_Files(dl_manager, self.url_infos, raw_dir, scratch))

            def _generate_examples(self, *args, **kwargs):
                examples = generate(self, super()._generate_examples, *args, **kwargs)
                # TFDS writes unshuffled data in the order of their keys, which are therefore numbers.
                for index, record in enumerate(examples):
                    if isinstance(record["image"], np.ndarray):
                        pixels = record["image"]
                        record["image"] = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
                    yield index, record

    Twin.__name__, Twin.name = stock.__name__, stock.name
    return Twin


class _Files:
    """TFDS's download manager, with archives opened by Python instead of TensorFlow."""

    def __init__(self, manager: Any, url_infos: Any, raw_dir: Path | None, scratch: Path):
        self.manager, self.url_infos, self.raw_dir, self.scratch = manager, url_infos, raw_dir, scratch

    def download(self, urls: Any) -> Any:
        names = [self.url_infos[url].filename for url in _leaves(urls)]
        if self.raw_dir is not None:
            lacking = [name for name in names if not (self.raw_dir / name).is_file()]
            if lacking:
                raise ValueError(f"{self.raw_dir} lacks {', '.join(lacking)}: put the original files there")
        return self.manager.download(urls)

    def download_and_extract(self, urls: Any) -> Any:
        return _map(self._extract, self.download(urls))

    def iter_archive(self, path: Any) -> Iterator[tuple[str, io.BytesIO]]:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, io.BytesIO(archive.read(entry))

    def _extract(self, path: Any) -> Path:
        target = self.scratch / Path(path).name.replace(".", "_")
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(target)
            return target
        if tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                archive.extractall(target, filter="data")
            return target
        return Path(path)  # a gzipped IDX file: its reader unpacks it


def _stock_examples(builder: Any, stock: Callable, *args: Any, **kwargs: Any) -> Iterator[dict]:
    """The examples of TFDS's own builder."""
    for _, record in stock(*args, **kwargs):
        yield record


def _idx_examples(builder: Any, stock: Callable, num_examples: int, data_path: Any, label_path: Any) -> Iterator[dict]:
    """The examples of two IDX files, in their order."""
    images, labels = read_idx(data_path), read_idx(label_path)
    if len(images) != num_examples or len(labels) != num_examples:
        raise ValueError(f"{data_path} has {len(images)} images and {len(labels)} labels, expected {num_examples}")
    for image, label in zip(images[..., None], labels, strict=True):
        yield {"image": image, "label": label}


def _cifar_examples(builder: Any, stock: Callable, split_prefix: str, filepaths: Any) -> Iterator[dict]:
    """The examples of CIFAR's binary version: a record is its labels, then 32x32 red, green and blue bytes."""
    keys, index = builder._cifar_info.label_keys, 0
    for path in filepaths:
        for record in np.fromfile(path, np.uint8).reshape(-1, len(keys) + 3 * 32 * 32):
            image = np.ascontiguousarray(record[len(keys) :].reshape(3, 32, 32).transpose(1, 2, 0))
            yield {"id": f"{split_prefix}{index:05d}", "image": image, **dict(zip(keys, record, strict=False))}
            index += 1


def _lmdb_examples(builder: Any, stock: Callable, extracted_dir: Any, file_path: Any) -> Iterator[dict]:
    """The JPEGs of an LMDB database, in the order of their keys."""
    try:
        lmdb = importlib.import_module("lmdb")
    except ImportError:
        raise ValueError("LSUN's files are LMDB databases: pip install lmdb") from None
    with (
        lmdb.open(str(Path(extracted_dir) / file_path), readonly=True, lock=False) as database,
        database.begin() as view,
    ):
        for key, jpeg in view.cursor():
            yield {"id": key.decode(), "image": io.BytesIO(jpeg)}


_GENERATE: dict[str, Callable] = {
    "mnist": _idx_examples,
    "fashion_mnist": _idx_examples,
    "cifar10": _cifar_examples,
    "cifar100": _cifar_examples,
    "lsun": _lmdb_examples,
}


def _leaves(tree: Any) -> list:
    if isinstance(tree, dict):
        return list(tree.values())
    return list(tree) if isinstance(tree, list | tuple) else [tree]


def _map(function: Callable, tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: function(value) for key, value in tree.items()}
    return [function(value) for value in tree] if isinstance(tree, list | tuple) else function(tree)
