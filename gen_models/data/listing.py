"""Files below a folder, by split and by class.

    PATH/train/CLASS/*.png  PATH/test/CLASS/*.png  (PATH/validation/CLASS/*.png)      official splits
    PATH/CLASS/*.png                                                                  split by us
    PATH/*.png, PATH/train/*.png ...                                                  no classes

Classes are numbered in the order of their folders' sorted names. Files come in the order of the SHA-256 of their path
below PATH (or below its split), which mixes the classes the same way on every machine. Without `train` and `test`
folders, those whose hash lies in the lowest tenth are `test`: a new file never moves an old one in or out of it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gen_models.errors import unknown

TEST_FRACTION = 0.1
SPLIT_FOLDERS = {"train": ("train",), "validation": ("validation", "val"), "test": ("test",)}


class Found(NamedTuple):
    """A file that a data set is made of."""

    path: Path
    class_name: str | None  # the name of its class, where it lies in a class's folder
    fraction: float  # in [0, 1), from the hash of its path: it says the file's split and order


def find_splits(root: Path, suffixes: Sequence[str], kind: str, what: str) -> dict[str, list[Found]]:
    """The files of each split; see the top of this file. `kind` and `what` are words for errors: "folder", "images".

    Raises:
      ValueError: no such folder, no such files, or files both in class folders and outside of them.
    """
    if not root.is_dir():
        raise ValueError(f"{kind}:{root}: there is no such folder")
    if (root / "train").is_dir():
        official = {s: root / n for s, names in SPLIT_FOLDERS.items() for n in names if (root / n).is_dir()}
        splits = {split: _scan(folder, suffixes, what) for split, folder in official.items()}
    else:
        files = _scan(root, suffixes, what)
        splits = {"train": [f for f in files if f.fraction >= TEST_FRACTION]}
        splits["test"] = [f for f in files if f.fraction < TEST_FRACTION]
    if not splits["train"]:
        raise ValueError(f"{kind}:{root} has no {what} for training (looked for {', '.join(suffixes)})")
    if not splits.get("test", True):
        del splits["test"]  # too few files for one of them to fall there
    return splits


def classes_of(splits: Mapping[str, Sequence[Found]]) -> list[str]:
    """The names of the classes of the training files; empty where there are none."""
    return sorted({file.class_name for file in splits["train"] if file.class_name is not None})


def class_numbers(files: Sequence[Found], classes: Sequence[str]) -> np.ndarray:
    """The class of each file as a number of its position in `classes`, int32 [N]; 0 where there are no classes.

    Raises:
      ValueError: a file is of a class that is not among them.
    """
    for file in files:
        if classes and file.class_name not in classes:
            raise unknown("class", file.class_name, classes)
    return np.asarray([classes.index(file.class_name or "") if classes else 0 for file in files], np.int32)


def _scan(root: Path, suffixes: Sequence[str], what: str) -> list[Found]:
    """All files below a folder with one of the suffixes, in the order of their fractions; hidden ones are left out."""
    found = []
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if path.suffix.lower() not in suffixes or any(part.startswith(".") for part in inside.parts):
            continue
        class_name = inside.parts[0] if len(inside.parts) > 1 else None
        found.append(Found(path, class_name, fraction_of(inside)))
    of_classes = sum(file.class_name is not None for file in found)
    if 0 < of_classes < len(found):
        loose = next(file.path for file in found if file.class_name is None)
        raise ValueError(
            f"{root} has {what} both in sub-folders (classes) and outside of them ({loose.name}): move them"
        )
    return sorted(found, key=lambda file: (file.fraction, file.path))


def fraction_of(inside: Path) -> float:
    """A number in [0, 1) from the hash of a relative path: the same on every machine, and evenly spread."""
    return int.from_bytes(hashlib.sha256(inside.as_posix().encode()).digest()[:6], "big") / 2**48
