"""A folder of images: `folder:PATH`.

    PATH/train/CLASS/*.png  PATH/test/CLASS/*.png  (PATH/validation/CLASS/*.png)      official splits
    PATH/CLASS/*.png                                                                  split by us
    PATH/*.png, PATH/train/*.png ...                                                  no classes

Classes are numbered in the order of their folders' sorted names. Images come in the order of the SHA-256 of their path
below PATH (or below its split), which mixes the classes the same way on every machine. Without `train` and `test`
folders, those whose hash lies in the lowest tenth are `test`: a new image never moves an old one in or out of it.

All images are grey if every one is, else all are RGB (transparency is dropped). Sizes must agree, or be given.
"""

import hashlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gen_models.data.cache import cached, file_stamp
from gen_models.data.dataset import Origin
from gen_models.data.images import decode, header
from gen_models.errors import unknown

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")
TEST_FRACTION = 0.1


class Files:
    """Image files as a random-access source."""

    def __init__(self, paths: list[Path], labels: np.ndarray, mode: str, size: tuple[int, int] | None):
        self.paths, self.labels, self.mode, self.size = paths, labels, mode, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"x": decode(self.paths[index], self.mode, self.size), "y": self.labels[index]}


class _Found(NamedTuple):
    path: Path
    group: str | None  # the name of its class
    place: float  # in [0, 1), from the hash of its path


def folder_origin(root: Path, size: tuple[int, int] | None, limit: int) -> Origin:
    """The splits of the folder; those that decode to at most `limit` bytes are read into memory.

    Raises:
      ValueError: no such folder, no images, sizes that differ where `size` is None, or files that are not images.
    """
    if not root.is_dir():
        raise ValueError(f"folder:{root}: there is no such folder")
    found = _splits(root)
    groups = sorted({file.group for file in found["train"] if file.group is not None})
    mode, shape = _common(found, size)

    def read(files):
        paths = [file.path for file in files]
        for file in files:
            if groups and file.group not in groups:
                raise unknown("class", file.group, groups)
        labels = np.asarray([groups.index(file.group) if groups else 0 for file in files], np.int32)
        source = Files(paths, labels, mode, size)
        if len(paths) * int(np.prod(shape)) > limit:
            return source
        stamp = (mode, size, groups, [(file.group, file.place, file_stamp(file.path)) for file in files])
        image = partial(_decode_all, source, shape)
        return cached(root, "folder", stamp, lambda: {"x": image(), "y": labels})

    return Origin(
        {split: partial(read, files) for split, files in found.items()},
        len(groups) or None,
        f"images in {root}" + (f", cropped and resized to {size[0]}x{size[1]}" if size else ""),
    )


def _splits(root: Path) -> dict[str, list[_Found]]:
    names = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}
    if (root / "train").is_dir():
        official = {s: root / n for s, options in names.items() for n in options if (root / n).is_dir()}
        splits = {split: _scan(folder) for split, folder in official.items()}
    else:
        files = _scan(root)
        splits = {"train": [f for f in files if f.place >= TEST_FRACTION]}
        splits["test"] = [f for f in files if f.place < TEST_FRACTION]
    if not splits["train"]:
        raise ValueError(f"folder:{root} has no images for training (looked for {', '.join(SUFFIXES)})")
    if not splits.get("test", True):
        del splits["test"]  # too few images for one of them to fall there
    return splits


def _scan(root: Path) -> list[_Found]:
    found = []
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if path.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
            continue
        digest = hashlib.sha256(inside.as_posix().encode()).digest()
        group = inside.parts[0] if len(inside.parts) > 1 else None
        found.append(_Found(path, group, int.from_bytes(digest[:6], "big") / 2**48))
    with_group = sum(file.group is not None for file in found)
    if 0 < with_group < len(found):
        loose = next(file.path for file in found if file.group is None)
        raise ValueError(
            f"{root} has images both in sub-folders (classes) and outside of them ({loose.name}): move them"
        )
    return sorted(found, key=lambda file: (file.place, file.path))


def _common(found, size) -> tuple[str, tuple[int, int, int]]:
    """The mode and the shape that all images have or get."""
    first, mode = (header(found["train"][0].path)[0], found["train"][0].path), "L"
    for files in found.values():
        for file in files:
            own_size, own_mode = header(file.path)
            if size is None and own_size != first[0]:
                sizes = f"{first[1].name} is {first[0]}, {file.path.name} is {own_size}"
                raise ValueError(f"images differ in size (height, width): {sizes}; give size=, as in size=64")
            if own_mode == "RGB":
                mode = "RGB"
    return mode, (*(size or first[0]), 1 if mode == "L" else 3)


def _decode_all(source: Files, shape: tuple[int, int, int]) -> np.ndarray:
    image = np.empty((len(source), *shape), np.uint8)
    for index in range(len(source)):
        image[index] = source[index]["x"]
    return image
