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
    """A file."""

    path: Path
    group: str | None  # the name of its class
    place: float  # in [0, 1), from the hash of its path


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
        splits = {"train": [f for f in files if f.place >= TEST_FRACTION]}
        splits["test"] = [f for f in files if f.place < TEST_FRACTION]
    if not splits["train"]:
        raise ValueError(f"{kind}:{root} has no {what} for training (looked for {', '.join(suffixes)})")
    if not splits.get("test", True):
        del splits["test"]  # too few files for one of them to fall there
    return splits


def classes_of(splits: Mapping[str, Sequence[Found]]) -> list[str]:
    """The names of the classes of the training files; empty where there are none."""
    return sorted({file.group for file in splits["train"] if file.group is not None})


def labels_of(files: Sequence[Found], groups: Sequence[str]) -> np.ndarray:
    """int32 [N]: the class of each file, 0 where there are no classes.

    Raises:
      ValueError: a class that the training files do not have.
    """
    for file in files:
        if groups and file.group not in groups:
            raise unknown("class", file.group, groups)
    return np.asarray([groups.index(file.group or "") if groups else 0 for file in files], np.int32)


def _scan(root: Path, suffixes: Sequence[str], what: str) -> list[Found]:
    found = []
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        if path.suffix.lower() not in suffixes or any(part.startswith(".") for part in inside.parts):
            continue
        group = inside.parts[0] if len(inside.parts) > 1 else None
        found.append(Found(path, group, place_of(inside)))
    with_group = sum(file.group is not None for file in found)
    if 0 < with_group < len(found):
        loose = next(file.path for file in found if file.group is None)
        raise ValueError(
            f"{root} has {what} both in sub-folders (classes) and outside of them ({loose.name}): move them"
        )
    return sorted(found, key=lambda file: (file.place, file.path))


def place_of(inside: Path) -> float:
    """A number in [0, 1) from the hash of a relative path."""
    return int.from_bytes(hashlib.sha256(inside.as_posix().encode()).digest()[:6], "big") / 2**48
