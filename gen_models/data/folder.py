"""A folder of images, in sub-folders that name their classes: `folder:PATH`. `listing.py` says how it is laid out.

All images are grey if every one is, else all are RGB; `images.py` says how files become pixels. Sizes, as shown, must
agree, or be given.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from gen_models.data.access import Example, gathered
from gen_models.data.cache import cached, file_stamp
from gen_models.data.damage import left_out, readable, was_changed, whole
from gen_models.data.dataset import Classes, Origin
from gen_models.data.images import GIVE_SIZE, Header, decode, header
from gen_models.data.listing import Found, class_numbers, classes_of, find_splits, with_test
from gen_models.data.names import counted, shown

T = TypeVar("T")
SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
FORM = 2  # of what the cache holds: in the first one, neither orientation nor transparency was heeded


class Form(NamedTuple):
    """What the images of a set have in common, or get."""

    mode: str  # PIL's: "L" or "RGB"
    shape: tuple[int, int, int]  # (H, W, C)
    several: int  # how many files hold more pictures than the first
    transparent: int  # how many may be transparent somewhere

    def phrases(self) -> tuple[str, ...]:
        """What of the files is not taken."""
        files = counted(self.several, "file")
        return (f"the pictures after the first of {files} (animations, pages)",) if self.several else ()

    def note(self) -> str:
        """What became of transparent pixels, if there may be some, to be put behind a note."""
        files = counted(self.transparent, "file")
        return f"; what is transparent lies over white ({files} with transparency)" if self.transparent else ""


class Files:
    """Image files as a random-access source."""

    def __init__(self, paths: list[Path], labels: np.ndarray, form: Form, size: tuple[int, int] | None):
        self.paths, self.labels, self.form, self.size = paths, labels, form, size

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Example:
        return {"x": picture(self.paths[index], self.form, self.size), "y": self.labels[index]}


def folder_origin(root: Path, size: tuple[int, int] | None, limit: int, damaged: str = "stop") -> Origin:
    """The splits of the folder; those that decode to at most `limit` bytes are read into memory.

    Raises:
      DamagedExample: files are no images, unless `damaged` is "skip" and these are left out.
      ValueError: no such folder, no images, sizes that differ where `size` is None, or pixels of a kind not read.
    """
    listing = find_splits(root, SUFFIXES, "folder", "images")
    found, heads, faults = headers(listing.splits, lambda file: (file.path,), size, damaged)
    form = common_form([(file.path, heads[file.path]) for files in found.values() for file in files], size)
    classes = classes_of(found)

    def source(files: Sequence[Found]) -> Files:
        return Files([file.path for file in files], class_numbers(files, classes), form, size)

    def stamp(files: Sequence[Found]) -> list[object]:
        own = [(file.class_name, file.fraction, file_stamp(file.path)) for file in files]
        return [FORM, form.mode, size, classes, own]

    if damaged == "skip":
        found, unreadable = readable(found, source, root, stamp)
        faults += unreadable
    found = with_test(found, listing.official, lambda file: file.fraction)

    def read(files: Sequence[Found]) -> Any:
        own = source(files)
        if len(files) * int(np.prod(form.shape)) > limit:
            return own
        return cached(root, "folder", stamp(files), partial(gathered, own))

    note = f"images in {shown(root)}" + (f", cropped and resized to {size[0]}x{size[1]}" if size else "")
    return Origin(
        {split: partial(read, files) for split, files in found.items()},
        len(classes) or None,
        note + form.note(),
        meaning=Classes(tuple(map(shown, classes))) if classes else None,
        passed_over=(*listing.passed_over, *left_out(faults), *form.phrases()),
        drawn=() if listing.official else ("test",),
    )


def headers(
    found: Mapping[str, Sequence[T]],
    files: Callable[[T], Iterable[Path]],
    size: tuple[int, int] | None,
    damaged: str,
) -> tuple[dict[str, list[T]], dict[Path, Header], list[Any]]:
    """The examples whose image files have a header, these headers, and the faults of what was left out.

    `files` says of which files an example is made.

    Raises:
      DamagedExample: a file has none, unless `damaged` is "skip", or nothing is left of a split.
      ValueError: the pixels of a file are of a kind that is not read, or too many.
    """
    heads: dict[Path, Header] = {}

    def check(example: T) -> None:
        for path in files(example):
            heads[path] = header(path, size)

    kept, faults = whole(found, check, damaged)
    return kept, heads, faults


def common_form(heads: Sequence[tuple[Path, Header]], size: tuple[int, int] | None) -> Form:
    """What all images have or get; `heads` are their files and headers.

    Raises:
      ValueError: sizes differ where `size` is None.
    """
    (path, first), *others = heads
    for other, head in others if size is None else ():
        if head.size != first.size:
            sizes = f"{shown(path)} is {first.size}, {shown(other)} is {head.size}"
            raise ValueError(f"images differ in size (height, width): {sizes}: {GIVE_SIZE}")
    mode = "RGB" if any(head.mode == "RGB" for _, head in heads) else "L"
    shape = (*(size or first.size), 1 if mode == "L" else 3)
    return Form(mode, shape, sum(head.several for _, head in heads), sum(head.transparent for _, head in heads))


def picture(path: Path, form: Form, size: tuple[int, int] | None, *, stretch: bool = False) -> np.ndarray:
    """An image file as uint8 [H, W, C], in the common form.

    Raises:
      DamagedExample: it cannot be decoded, or has another shape than its header said at first.
    """
    pixels = decode(path, form.mode, size, stretch=stretch)
    if pixels.shape != form.shape:
        raise was_changed(path, pixels.shape, form.shape)
    return pixels
