"""A folder of images, in sub-folders that name their classes: `folder:PATH`. `listing.py` says how it is laid out.

All images are grey if every one is, else all are RGB (transparency is dropped). Sizes must agree, or be given.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gen_models.data.cache import cached, file_stamp
from gen_models.data.dataset import Origin
from gen_models.data.images import decode, header
from gen_models.data.listing import Found, class_numbers, classes_of, find_splits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".gif")


class Files:
    """Image files as a random-access source."""

    def __init__(self, paths: list[Path], labels: np.ndarray, mode: str, size: tuple[int, int] | None):
        self.paths, self.labels, self.mode, self.size = paths, labels, mode, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"x": decode(self.paths[index], self.mode, self.size), "y": self.labels[index]}


def folder_origin(root: Path, size: tuple[int, int] | None, limit: int, damaged: str = "stop") -> Origin:
    """The splits of the folder; those that decode to at most `limit` bytes are read into memory.

    Raises:
      ValueError: no such folder, no images, sizes that differ where `size` is None, or files that are not images.
    """
    found = find_splits(root, SUFFIXES, "folder", "images")
    classes = classes_of(found)
    mode, shape = common_form(found, size)

    def read(files: Sequence[Found]) -> Any:
        paths = [file.path for file in files]
        labels = class_numbers(files, classes)
        source = Files(paths, labels, mode, size)
        if len(paths) * int(np.prod(shape)) > limit:
            return source
        stamp = (mode, size, classes, [(file.class_name, file.fraction, file_stamp(file.path)) for file in files])
        image = partial(_decode_all, source, shape)
        return cached(root, "folder", stamp, lambda: {"x": image(), "y": labels})

    return Origin(
        {split: partial(read, files) for split, files in found.items()},
        len(classes) or None,
        f"images in {root}" + (f", cropped and resized to {size[0]}x{size[1]}" if size else ""),
    )


def common_form(found: Mapping[str, Sequence[Found]], size: tuple[int, int] | None) -> tuple[str, tuple[int, int, int]]:
    """The mode ("L" or "RGB") and the shape (H, W, C) that all images have or get.

    Raises:
      ValueError: sizes differ where `size` is None, or a file is no image.
    """
    first, mode = (header(found["train"][0].path)[0], found["train"][0].path), "L"  # first: its size, its path
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
    """All images, uint8 [N, H, W, C]."""
    image = np.empty((len(source), *shape), np.uint8)
    for index in range(len(source)):
        image[index] = source[index]["x"]
    return image
