"""Files below a folder, by split and by class.

    PATH/train/CLASS/*.png  PATH/test/CLASS/*.png  (PATH/validation/CLASS/*.png)      official splits
    PATH/CLASS/*.png                                                                  split by us
    PATH/*.png, PATH/train/*.png ...                                                  no classes

The folders of splits have any of the names in `SPLIT_FOLDERS`, in any case, perhaps with "set", "data", "images" or
"split" behind. Classes are numbered in the order of their folders' sorted names; folders within them are not told
apart. Files come in the order of the SHA-256 of their path below PATH (or below its split), which mixes the classes the
same way on every machine. Without folders of splits, those whose hash lies in the lowest tenth are `test`: a new file
never moves an old one in or out of it. (Where these are less than a twentieth of the files, which happens where there
are few, it is the tenth of the files with the lowest hashes.) Links are followed, and what is not taken is counted.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple, TypeVar

import numpy as np

from gen_models.data.names import counted, listed, shown
from gen_models.data.walking import Passed, files_below
from gen_models.errors import unknown

T = TypeVar("T")
TEST_FRACTION = 0.1
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_NAME = re.compile(r"(.+?)(?:[ _-]?(?:set|data|images|split))?")


class Found(NamedTuple):
    """A file that a data set is made of."""

    path: Path
    class_name: str | None  # the name of its class, where it lies in a class's folder
    fraction: float  # in [0, 1), from the hash of its path: it says the file's split and order


class Listing(NamedTuple):
    """The files that a folder has."""

    splits: dict[str, list[Found]]  # `train` alone where `official` is False: `with_test` takes `test` out of it
    official: bool  # whether the folder is laid out in splits
    passed_over: tuple[str, ...]  # what was not taken, in phrases: "3 files of other kinds (.txt)"


def find_splits(root: Path, suffixes: Sequence[str], kind: str, what: str) -> Listing:
    """The files of each split; see the top of this file. `kind` and `what` are words for errors: "folder", "images".

    Raises:
      ValueError: no such folder, no such files, files both in class folders and outside of them, or folders of which
        one cannot tell whether they are splits or classes.
    """
    check_folder(root, kind)
    passed = Passed()
    files, folders = files_below(root, suffixes, passed)
    official = official_splits(root, files, folders)
    if official:
        splits = {split: _found(root / name, below(name, files), what) for split, name in official.items()}
        beside = [file for file in files if file.parts[0] not in official.values()]
        passed.add("file beside the folders of splits", "files beside the folders of splits", beside)
    else:
        splits = {"train": _found(root, files, what)}
    _tell_folders(files, folders, official, what, passed)
    if not splits["train"]:
        also = "; ".join(passed.phrases())
        raise ValueError(
            f"{kind}:{shown(root)} has no {what} for training (looked for {', '.join(suffixes)})"
            + (f"; passed over: {also}" if also else "")
        )
    splits = {split: own for split, own in splits.items() if own}
    _check_labels(root, splits, official, what)
    return Listing(splits, bool(official), (*passed.phrases(), *(_shared(splits) if passed.linked else ())))


def split_of(name: str) -> str | None:
    """The split that a folder's or a file's name says, in any of its customary forms: "Test_Set" is `test`."""
    match = _SPLIT_NAME.fullmatch(name.strip().lower())
    word = match[1] if match else ""
    return next((split for split, names in SPLIT_FOLDERS.items() if word in names), None)


def official_splits(root: Path, files: Sequence[PurePath], folders: Sequence[PurePath]) -> dict[str, str]:
    """Split -> name of its folder directly below `root`; empty where no folder's name says a split.

    `files` and `folders` are the relative paths of all files and folders below `root`.

    Raises:
      ValueError: two folders of one split, none for training, or one beside folders that look like classes.
    """
    holding = {file.parts[0] for file in files if len(file.parts) > 1}
    named = {f.name: split for f in folders if len(f.parts) == 1 and (split := split_of(f.name))}
    others = sorted(holding - set(named))
    if others:
        named = {name: split for name, split in named.items() if name in holding}
    if not named:
        return {}
    first, where = sorted(named)[0], shown(root)
    if others and (len(set(named.values())) == 1 or "train" not in named.values()):
        raise ValueError(
            f"{where} has the folder {shown(first)!r}, whose name says a split, beside {listed(others)}: if it is a "
            f"class, rename it (to {shown(first)}_, say); if it is the {named[first]} split, move the others elsewhere"
        )
    found: dict[str, str] = {}
    for name, split in sorted(named.items()):
        if split in found:
            both = f"{shown(found[split])} and {shown(name)}"
            raise ValueError(f"{where} has two folders for the {split} split, {both}: rename or remove one of them")
        found[split] = name
    if "train" not in found:
        raise ValueError(
            f"{where} has a folder for the {named[first]} split ({shown(first)}) and none for training: add a folder "
            f"train, or give {shown(root / first)}, of which we make the splits"
        )
    return {split: found[split] for split in SPLIT_FOLDERS if split in found}


def split_files(folder: Path, suffix: str) -> dict[str, Path]:
    """Split -> file of a folder whose name is a customary one of the split, with this suffix: "Valid.json".

    Raises:
      ValueError: there are two files of one split.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = split_of(path.stem) if path.suffix.lower() == suffix and path.is_file() else None
        if split in found:
            both = f"{shown(found[split].name)} and {shown(path.name)}"
            raise ValueError(
                f"{shown(folder)} has two files of the {split} split, {both}: rename or remove one of them"
            )
        if split is not None:
            found[split] = path
    return found


def with_test(splits: Mapping[str, list[T]], official: bool, fraction: Callable[[T], float]) -> dict[str, list[T]]:
    """The splits, where there are no official ones with the `test` that we take out of `train`.

    `fraction` is that of an example, in whose order they are. It is done when damaged ones have been left out.
    """
    if official:
        return dict(splits)
    every = splits["train"]
    total, below = len(every), sum(fraction(example) < TEST_FRACTION for example in every)
    few = below < max(1, total // 20)
    test = max(0, min(total - 1, max(1, round(TEST_FRACTION * total)) if few else below))
    return {"train": every[test:], "test": every[:test]} if test else {"train": every}


def check_folder(path: Path, kind: str) -> None:
    """Raise a ValueError where a path is no folder."""
    if path.is_file():
        raise ValueError(f"{kind}:{shown(path)} is a file, and a folder is needed: unpack it if it is an archive")
    if not path.is_dir():
        raise ValueError(f"{kind}:{shown(path)}: there is no such folder")


def classes_of(splits: Mapping[str, Sequence[Found]]) -> list[str]:
    """The names of the classes of the training files; empty where there are none."""
    return sorted({file.class_name for file in splits["train"] if file.class_name is not None})


def class_numbers(files: Sequence[Found], classes: Sequence[str]) -> np.ndarray:
    """The class of each file as a number of its position in `classes`, int32 [N]; 0 where there are no classes.

    Raises:
      ValueError: a file is of a class that is not among them.
    """
    for name in {file.class_name for file in files} if classes else ():
        if name not in classes:
            raise unknown("class", shown(name or ""), map(shown, classes))
    number: dict[str | None, int] = {name: index for index, name in enumerate(classes)}
    return np.asarray([number.get(file.class_name, 0) for file in files], np.int32)


def fraction_of(inside: PurePath) -> float:
    """A number in [0, 1) from the hash of a relative path: the same on every machine, and evenly spread."""
    return int.from_bytes(hashlib.sha256(os.fsencode(inside.as_posix())).digest()[:6], "big") / 2**48


def below(name: str, files: Iterable[PurePath]) -> list[PurePath]:
    """The paths of files below the folder `name`, relative to it."""
    return [PurePath(*file.parts[1:]) for file in files if file.parts[0] == name and len(file.parts) > 1]


def _found(root: Path, files: Iterable[PurePath], what: str) -> list[Found]:
    """The files below a folder by their relative paths, in the order of their fractions."""
    found = []
    for inside in files:
        class_name = inside.parts[0] if len(inside.parts) > 1 else None
        found.append(Found(root / inside, class_name, fraction_of(inside)))
    loose = [file.path.name for file in found if file.class_name is None]
    if 0 < len(loose) < len(found):
        raise ValueError(
            f"{shown(root)} has {what} both in sub-folders (classes) and outside of them ({listed(sorted(loose))}): "
            "move them"
        )
    return sorted(found, key=lambda file: (file.fraction, file.path))


def _check_labels(root: Path, splits: Mapping[str, Sequence[Found]], official: Mapping[str, str], what: str) -> None:
    """Refuse splits of which some have class folders and others have none."""
    labelled = {split: files[0].class_name is not None for split, files in splits.items() if files}
    other = next((split for split, has in labelled.items() if has != labelled["train"]), None)
    if other is not None:
        with_classes, without = ("train", other) if labelled["train"] else (other, "train")
        raise ValueError(
            f"{shown(root)}: {official[with_classes]} has class folders and {official[without]} has none, so that its "
            f"{what} have no labels: sort them into class folders, or move {official[other]} out of {shown(root)}"
        )


def _tell_folders(
    files: Sequence[PurePath], folders: Sequence[PurePath], official: Mapping[str, str], what: str, passed: Passed
) -> None:
    """Count folders of splits and classes without files, and folders within those of classes.

    Raises:
      ValueError: a class's folder holds folders whose names say splits.
    """
    depth = 2 if official else 1  # of a class's folder
    full = {PurePath(*file.parts[:k]) for file in files for k in range(len(file.parts))}  # folders with files below
    empty = [f for f in folders if len(f.parts) <= depth and f not in full and f.parent in full | {PurePath()}]
    passed.add(f"folder without {what}", f"folders without {what}", empty)
    own = set(official.values())
    deeper = sorted(f for f in full if len(f.parts) == depth + 1 and (not official or f.parts[0] in own))
    for name in sorted({folder.parent for folder in deeper}):
        words = [folder.name for folder in deeper if folder.parent == name and split_of(folder.name)]
        if len({split_of(word) for word in words}) > 1:
            raise ValueError(
                f"the folder {shown(name)} would be a class, but holds {listed(words)}, whose names say splits: give "
                "the path down to it, or sort the files as SPLIT/CLASS/FILE"
            )
    passed.add(
        "folder within those of classes, not told apart", "folders within those of classes, not told apart", deeper
    )


def _shared(splits: Mapping[str, Sequence[Found]]) -> list[str]:
    """Phrases on files that are in the training split and in another one as well, as links may make them."""
    remarks = []
    of_train = {os.path.realpath(file.path) for file in splits["train"]}
    for split in (split for split in splits if split != "train"):
        same = sum(os.path.realpath(file.path) in of_train for file in splits[split])
        if same:
            remarks.append(f"the fact that {counted(same, 'file')} of {split} are in train too")
    return remarks
