"""`load`: a data set by name, as a `Dataset` whatever it is read from.

| name | what | needs |
|---|---|---|
| `fashion_mnist_bundled` | 10,000 + 2,000 images of Fashion-MNIST, balanced; comes with the package | |
| `tiny_shakespeare` | 1,115,394 characters of plays, as `tokens:PATH` with its options; comes with the package | |
| `names` | 32,033 first names, a line each, likewise, with documents=lines; comes with the package | |
| `spoken_digits` | 500 spoken digits of one speaker at 8 kHz, as `audio:PATH` with its options; likewise | |
| `digits` | scikit-learn's 1,797 digits, 8x8, 17 levels; the last 297 are `test` | scikit-learn |
| `mnist`, `fashion_mnist` | the original IDX files in `data_dir/NAME`, else TFDS; in the files' order | `data_dir` |
| `cifar10`, `cifar100`, `celeb_a`, `lsun`, `imagenet_resized` | TFDS as array_record, without TensorFlow | `data_dir` |
| `folder:PATH` | images in sub-folders that name their classes: `folder.py` | |
| `idx:PATH` | a folder with four files named like MNIST's: `idx.py` | |
| `npz:PATH` | one archive of arrays: `npz.py` | |
| `tokens:PATH` | text as sequences of characters or bytes: `tokens.py` | |
| `sentences:PATH` | labelled sentences as words: `sentences.py` | |
| `parallel:PATH` | sentences in two languages, as byte pairs: `parallel.py` | tokenizers |
| `babi:PATH` | stories with questions, the bAbI tasks: `babi.py` | |
| `audio:PATH` | sounds, `.wav` files or an archive: `audio.py` | |
| `rolls:PATH` | music as piano rolls, MIDI files or an archive: `rolls.py` | mido for MIDI files |
| `series:PATH` | numbers over time, in windows with what follows: `series.py` | |
| `table:PATH` | numbers and words of a CSV file, as in `table:PATH?target=COLUMN`: `tables.py` | |
| `points:PATH` | points of a space: `points.py` | |
| `pairs:PATH` | pairs of images: `pairs.py` | |
| `boxes:PATH` | images with boxes and masks: `boxes.py` | |

Options stand behind a path as in `tokens:PATH?length=64&unit=bytes`, and behind the name of a text or of sounds that
come with the package, `tiny_shakespeare?length=64`; the reader's file names them.

`validation` defaults to the last 10,000 training images of MNIST and Fashion-MNIST, 1,000 of the bundled set (the last
100 of each class, so that both parts are balanced), and a tenth elsewhere, unless the set has an official one. Splits
and slices: `dataset.py`.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.dataset import IN_MEMORY_BYTES, Dataset, Origin, missing, take_split
from gen_models.data.idx import find_idx, has_idx, read_idx_split
from gen_models.data.packaged import BUNDLED as BUNDLED
from gen_models.data.packaged import PACKAGED, bundled_fashion, digits_origin
from gen_models.errors import unknown

TFDS_NAMES = ("mnist", "fashion_mnist", "cifar10", "cifar100", "celeb_a", "lsun", "imagenet_resized")
NAMES = ("fashion_mnist_bundled", *PACKAGED, "digits", *TFDS_NAMES)
# The kinds of paths, and the options that may stand behind each.
PATHS: Mapping[str, Sequence[str]] = {
    "folder": (),
    "idx": (),
    "npz": (),
    "tokens": ("length", "unit", "documents"),
    "sentences": ("min_count", "length", "fold", "encoding"),
    "babi": ("task", "memory"),
    "parallel": ("from", "to", "units", "length", "test"),
    "audio": ("length", "label"),
    "rolls": ("length", "per_beat"),
    "series": ("look_back", "horizon", "train", "validation", "test", "columns"),
    "table": ("target", "categorical", "drop", "untargeted", "test", "group", "time", "fold", "folds"),
    "points": (),
    "pairs": ("x", "y"),
    "boxes": ("masks",),
}
# Kinds of paths whose examples are files, some of which may be damaged.
FILES = ("folder", "audio", "rolls", "pairs", "boxes")
IMAGES = ("folder", "idx", "npz", "pairs", "boxes")  # kinds of paths whose images may be given another size
MOST = 2**14  # the largest height or width that images are resized to
DAMAGED = ("stop", "skip")
Size = tuple[int, int] | None  # (height, width); None: as the images are


class Wanted(NamedTuple):
    """What is wanted of a reader's files."""

    size: Size  # of images
    damaged: str  # what to do about damaged files, one of `DAMAGED`


def load(
    name: str = "fashion_mnist_bundled",
    split: str = "train",
    data_dir: str | Path | None = None,
    *,
    validation: int | float | None = None,
    size: int | tuple[int, int] | None = None,
    damaged: str = "stop",
) -> Dataset:
    """One split of a data set.

    Args:
      name: one of `NAMES`, or a kind of path, `folder:PATH`, with options where it has some, `tokens:PATH?length=64`.
      split: `train`, `validation`, `test` or `train+validation`, with a slice behind it where wanted: `train[:10%]`.
      data_dir: where prepared data sets are; the bundled set, digits and paths need none.
      validation: how many training examples to hold out (int), or which fraction (float), where no split is official.
      size: height and width to which images and pairs are cropped at the centre and resized, and images with boxes
        stretched.
      damaged: at a file that cannot be read, "stop" raises `access.DamagedExample`, which names it; "skip" reads all
        files of a folder, of pairs, boxes, sounds or MIDI first, and leaves out those that are damaged, as if they were
        not there.

    Raises:
      ValueError: an unknown name or split (with the nearest known one), a data set that is not there (with the command
        that gets it), or files that are corrupt or do not fit.
    """
    return take_split(origin_of(name, data_dir, size=size, damaged=damaged), name, split, validation)


def origin_of(
    name: str,
    data_dir: str | Path | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    damaged: str = "stop",
) -> Origin:
    """What the reader of a data set finds, of which `take_split` takes splits; the arguments are those of `load`.

    Raises:
      ValueError: as `load`.
    """
    kind, colon, path = name.partition(":")
    if colon and kind not in PATHS:
        raise unknown("kind of path", kind, PATHS)
    first, _, words = name.partition("?")
    if not colon and first in PACKAGED:
        if size is not None:
            raise ValueError(f"{name!r} has no images to resize: leave out size={size}")
        packaged = PACKAGED[first]
        own = "&".join(f"{option}={value}" for option, value in packaged.options.items() if option not in words)
        given = "&".join(part for part in (own, words) if part)
        name = f"{packaged.kind}:{BUNDLED.parent / packaged.file}" + (f"?{given}" if given else "")
        return origin_of(name, damaged=damaged)._replace(note=packaged.note)
    if not colon and name not in NAMES:
        raise unknown("data set", name, (*NAMES, *(f"{kind}:PATH" for kind in PATHS)))
    if damaged not in DAMAGED:
        raise unknown("choice of damaged", damaged, DAMAGED)
    if damaged != "stop" and not (colon and kind in FILES):
        raise ValueError(f"{name!r} is not made of single files that could be left out: leave out damaged={damaged}")
    if size is not None and colon and kind not in IMAGES:
        raise ValueError(f"{name!r} has no images to resize: leave out size={size}")
    wanted = Wanted(_size(size), damaged)
    if colon:
        path, options = _options(kind, path)
        return _looked_at(_remembered(_READERS[kind](Path(path).expanduser(), options, wanted)), name)
    origin = _named(name, data_dir, wanted)
    return _remembered(origin)._replace(balanced=bool(origin.balanced))  # their files are known to be mixed


def _remembered(origin: Origin) -> Origin:
    """The same origin, each split of which is read once."""
    return origin._replace(splits={split: cache(read) for split, read in origin.splits.items()})


def _looked_at(origin: Origin, name: str) -> Origin:
    """Images in memory have two levels where no pixel for training is above 1, as binarised ones are often saved.

    Raises:
      ValueError: all pixels for training are alike.
    """
    train = origin.splits["train"]() if origin.kind == "images" and origin.check is None else None
    if not isinstance(train, Mapping) or train["x"].dtype != np.uint8 or not train["x"].size:
        return origin
    pixels = train["x"]
    if len(pixels) > 1 and pixels[:2].min() == pixels[:2].max() and pixels.min() == pixels.max():
        raise ValueError(
            f"{name}: all pixels of the {len(pixels):,} images for training are {pixels.min()}: get it again"
        )
    return origin._replace(levels=2) if pixels[:100].max() <= 1 and pixels.max() == 1 else origin


def _named(name: str, data_dir: str | Path | None, wanted: Wanted) -> Origin:
    """What the reader of a data set that we know finds."""
    if name in ("fashion_mnist_bundled", "digits"):
        return resized(bundled_fashion() if name == "fashion_mnist_bundled" else digits_origin(), wanted.size)
    if data_dir is None:
        raise missing(name, None)
    root = Path(data_dir).expanduser()
    if name in ("mnist", "fashion_mnist") and any(find_idx(root / name, split) for split in ("train", "test")):
        return resized(idx_origin(root / name, _NOTES[name], hold_out=10_000, num_classes=10), wanted.size)
    from gen_models.data.tfds_sources import tfds_origin

    return tfds_origin(name, root, wanted.size)


def idx_origin(folder: Path, note: str, *, hold_out: int | float = 0.1, num_classes: int | None = None) -> Origin:
    """The splits of a folder of IDX files; without `num_classes`, it is the training split's largest label plus 1.

    Raises:
      ValueError: files of the training split are missing, or bad.
    """
    there = ("train", "test") if has_idx(folder, "test") else ("train",)
    for split in there:
        if not find_idx(folder, split):
            read_idx_split(folder, split)  # says what is missing
    splits = {split: partial(read_idx_split, folder, split) for split in there}
    if num_classes is None:
        num_classes = int(splits["train"]()["y"].max()) + 1
    return Origin(splits, num_classes, note, hold_out=hold_out)


def _options(kind: str, text: str) -> tuple[str, dict[str, str]]:
    """`PATH?a=1&b=2` as the path and its options, for kinds of paths that have some; or a path with ? that is there."""
    if not PATHS[kind] or "?" not in text or os.path.exists(os.path.expanduser(text)):
        return text, {}
    path, _, words = text.rpartition("?")
    options = {}
    for word in words.split("&"):
        option, equals, value = word.partition("=")
        if option not in PATHS[kind]:
            raise unknown(f"option of {kind}:PATH", option, PATHS[kind])
        if not equals or not value:
            raise ValueError(f"{kind}:{text}: the option {option!r} needs a value, as in {option}=...")
        options[option] = value
    return path, options


def _idx(folder: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    if not folder.is_dir():
        raise ValueError(f"idx:{folder}: there is no such folder")
    return resized(idx_origin(folder, f"IDX files in {folder}"), wanted.size)


def _npz(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.npz import npz_origin

    return resized(npz_origin(path), wanted.size)


def _folder(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.folder import folder_origin

    return folder_origin(path, wanted.size, IN_MEMORY_BYTES, wanted.damaged)


def _tokens(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.tokens import tokens_origin

    return tokens_origin(path, options, IN_MEMORY_BYTES)


def _sentences(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.sentences import sentences_origin

    return sentences_origin(path, options)


def _babi(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.babi import babi_origin

    return babi_origin(path, options)


def _parallel(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.parallel import parallel_origin

    return parallel_origin(path, options)


def _audio(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.audio import audio_origin

    return audio_origin(path, options, IN_MEMORY_BYTES, wanted.damaged)


def _rolls(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.rolls import rolls_origin

    return rolls_origin(path, options, IN_MEMORY_BYTES, wanted.damaged)


def _series(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.series import series_origin

    return series_origin(path, options, IN_MEMORY_BYTES)


def _table(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.tables import table_origin

    return table_origin(path, options, IN_MEMORY_BYTES)


def _points(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.points import points_origin

    return points_origin(path, IN_MEMORY_BYTES)


def _pairs(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.pairs import pairs_origin

    return pairs_origin(path, options, wanted.size, IN_MEMORY_BYTES, wanted.damaged)


def _boxes(path: Path, options: Mapping[str, str], wanted: Wanted) -> Origin:
    from gen_models.data.boxes import boxes_origin

    return boxes_origin(path, options, wanted.size, IN_MEMORY_BYTES, wanted.damaged)


_READERS: dict[str, Callable[[Path, Mapping[str, str], Wanted], Origin]] = {
    "folder": _folder,
    "idx": _idx,
    "npz": _npz,
    "tokens": _tokens,
    "sentences": _sentences,
    "babi": _babi,
    "parallel": _parallel,
    "audio": _audio,
    "rolls": _rolls,
    "series": _series,
    "table": _table,
    "points": _points,
    "pairs": _pairs,
    "boxes": _boxes,
}
_NOTES = {"mnist": "MNIST, CC BY-SA 3.0", "fashion_mnist": "Fashion-MNIST, MIT, Copyright 2017 Zalando SE"}


def resized(origin: Origin, size: Size) -> Origin:
    """An origin whose images are in memory and of one size, with images of another: cropped at the centre, resized."""
    if size is None:
        return origin
    from gen_models.data.images import cropped_arrays

    def read(arrays: Callable[[], Any]) -> dict[str, np.ndarray]:
        found = arrays()
        return {**found, "x": cropped_arrays(found["x"], size, origin.levels)}

    splits = {split: partial(read, arrays) for split, arrays in origin.splits.items()}
    return origin._replace(splits=splits, note=f"{origin.note}; cropped and resized to {size[0]}x{size[1]}")


def _size(size: int | tuple[int, int] | None) -> Size:
    """(height, width) of a size, which one number gives for both."""
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if not 1 <= min(height, width) <= max(height, width) <= MOST:
        raise ValueError(f"size={size} must be 1 to {MOST} pixels")
    return height, width
