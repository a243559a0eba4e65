"""Data sets that TFDS has prepared as array_record, read without TensorFlow.

Without an official test split (LSUN, ImageNet), `test` is the official validation split, as published figures have it,
and `validation` is held out from the training split.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.access import DamagedExample, Example
from gen_models.data.cache import cached, file_stamp
from gen_models.data.dataset import IN_MEMORY_BYTES, Origin, missing

CHUNK = 1024  # examples read at once


class Entry(NamedTuple):
    """What we have to know about a TFDS data set."""

    path: str  # its name and configuration in TFDS
    splits: dict[str, str]  # our split -> TFDS's
    num_classes: int | None  # this and the others as in `Origin`
    note: str
    hold_out: int | float = 0.1


_TRAIN_TEST = {"train": "train", "test": "test"}
_TRAIN_VALIDATION = {"train": "train", "test": "validation"}
ENTRIES = {
    "mnist": Entry("mnist", _TRAIN_TEST, 10, "MNIST, CC BY-SA 3.0", 10_000),
    "fashion_mnist": Entry("fashion_mnist", _TRAIN_TEST, 10, "Fashion-MNIST, MIT, Zalando SE", 10_000),
    "cifar10": Entry("cifar10", _TRAIN_TEST, 10, "CIFAR-10, no licence stated"),
    "cifar100": Entry("cifar100", _TRAIN_TEST, 100, "CIFAR-100 (fine labels), no licence stated"),
    "celeb_a": Entry(
        "celeb_a",
        {"train": "train", "validation": "validation", "test": "test"},
        None,
        "CelebA, aligned, non-commercial research only",
    ),
    "lsun": Entry("lsun/bedroom", _TRAIN_VALIDATION, None, "LSUN bedrooms; test is the official validation split"),
    "imagenet_resized": Entry(
        "imagenet_resized/64x64",
        _TRAIN_VALIDATION,
        1000,
        "ImageNet at 64x64, non-commercial research only; test is the official validation split",
    ),
}


class Examples:
    """A TFDS data source as `{"x": uint8 [H, W, C], "y": int32 []}`; labels are 0 where there are none."""

    def __init__(self, source: Any, name: str, folder: Path, size: tuple[int, int] | None):
        self.source, self.name, self.folder, self.size = source, name, folder, size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        with _readable(self.folder):
            return self._example(self.source[index])

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        with _readable(self.folder):
            return [self._example(example) for example in self.source.__getitems__(list(indices))]

    def _example(self, example: Mapping[str, Any]) -> Example:
        from gen_models.data.images import cropped_array

        return {"x": cropped_array(example["image"], self.size), "y": np.int32(example.get("label", 0))}


def tfds_origin(name: str, root: Path, size: tuple[int, int] | None) -> Origin:
    """The splits of a prepared data set in `root`.

    Raises:
      ValueError: it is not there (with the command that gets it), is not array_record, or images vary in size.
    """
    entry = ENTRIES[name]
    versions = sorted((root / entry.path).glob("*/dataset_info.json"), key=_version)
    if not versions:
        raise missing(name, root)
    if name == "lsun" and size is None:
        raise ValueError("the images of 'lsun' vary in size: give --size 64, or size=64 in the library")
    info = versions[-1]
    try:
        json.loads(info.read_text(encoding="utf-8"))  # TFDS would fail on it in protobuf, without the file's name
    except ValueError as error:
        raise ValueError(f"{info} is damaged ({error}): delete its folder and prepare it again") from None
    builder = f"{entry.path}:{info.parent.name}"

    def read(split: str) -> Any:
        with _readable(info.parent):
            source = Examples(_data_source(builder, root, entry.splits[split], name), name, info.parent, size)
        shape = source[0]["x"].shape
        if len(source) * int(np.prod(shape)) > IN_MEMORY_BYTES:
            return source
        stem = f"{entry.path.replace('/', '-')}-{split}"
        return cached(root, stem, (file_stamp(info), builder, size), partial(_read_all, source, shape))

    note = entry.note + (f"; cropped and resized to {size[0]}x{size[1]}" if size else "")
    return Origin({split: partial(read, split) for split in entry.splits}, entry.num_classes, note, 256, entry.hold_out)


def _data_source(builder: str, root: Path, split: str, name: str) -> Any:
    """TFDS's random-access source of a split."""
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(f"{name!r} is read by TFDS ({error}): pip install 'gen_models[data]'") from None
    try:
        return tfds.builder(builder, data_dir=root, try_gcs=False).as_data_source(split)
    except NotImplementedError:
        command = f"python -m tools.prepare_data {name} --data-dir DIR"
        raise ValueError(
            f"{builder} in {root} is not array_record: prepare it in another folder, `{command}`"
        ) from None


@contextlib.contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Make what array_record raises where a file is damaged or missing a `DamagedExample` that names the folder."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise DamagedExample(f"{folder} cannot be read ({error})", "delete it and prepare it again") from error


def _read_all(source: Examples, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """All examples as arrays; ValueError where an image has another shape."""
    image, label = np.empty((len(source), *shape), np.uint8), np.empty(len(source), np.int32)
    for start in range(0, len(source), CHUNK):
        indices = range(start, min(start + CHUNK, len(source)))
        for index, example in zip(indices, source.__getitems__(indices), strict=True):
            if example["x"].shape != shape:
                sizes = f"{shape} and {example['x'].shape}"
                raise ValueError(
                    f"the images of {source.name!r} vary in size ({sizes}): give --size 64, or size=64 in the library"
                )
            image[index], label[index] = example["x"], example["y"]
    return {"x": image, "y": label}


def _version(info: Path) -> tuple[int, ...]:
    """The version that a folder is named by, as numbers that sort: "3.0.1" is (3, 0, 1)."""
    return tuple(int(part) if part.isdigit() else 0 for part in info.parent.name.split("."))
