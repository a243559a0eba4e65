"""Pairs of images: `pairs:PATH?x=low&y=high`.

    PATH/x/*.png  PATH/y/*.png                                        split by us, as `listing.py` says
    PATH/train/x/*.png  PATH/train/y/*.png  PATH/test/x/*.png ...     official splits

Folders of splits are named, and files are found and read, as `listing.py` and `images.py` say. A pair is two files
whose paths below `x` and `y` are equal but for their suffix; `x=` and `y=` give these two folders other names. An
example is `{"x": uint8 [H, W, C], "y": uint8 [H', W', C']}`: all x have one size, and all y have one that may be
another. By default both become float32 in [0, 1]; `transforms.on("y", ...)` changes the second.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePath

import numpy as np

from gen_models.data.access import Example, within
from gen_models.data.cache import file_stamp
from gen_models.data.damage import left_out, readable
from gen_models.data.dataset import Arrays, Origin, check_arrays
from gen_models.data.folder import SUFFIXES, Form, common_form, headers, picture
from gen_models.data.listing import Found, below, check_folder, fraction_of, official_splits, with_test
from gen_models.data.names import shown
from gen_models.data.walking import Passed, files_below


class PairFiles:
    """Files of both sides, as a random-access source."""

    def __init__(self, pairs: Sequence[tuple[Found, Found]], forms: tuple[Form, Form], size: tuple[int, int] | None):
        self.pairs, self.forms, self.size = pairs, forms, size
        self.paths = [pair[0].path for pair in pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        both = zip(("x", "y"), self.pairs[index], self.forms, strict=True)
        return {side: picture(file.path, form, self.size) for side, file, form in both}


def pairs_origin(
    path: Path, options: Mapping[str, str], size: tuple[int, int] | None, limit: int, damaged: str = "stop"
) -> Origin:
    """The splits of a folder of pairs; those of at most `limit` decoded bytes are in memory.

    Raises:
      DamagedExample: files are no images, unless `damaged` is "skip" and their pairs are left out.
      ValueError: no such folder, a file without its other half, sizes that differ within a side, or no images.
    """
    sides = options.get("x", "x"), options.get("y", "y")
    check_folder(path, "pairs")
    passed = Passed()
    files, folders = files_below(path, SUFFIXES, passed)
    here = [file for file in files if file.parts[0] in sides]
    official = {} if here else official_splits(path, files, folders)
    if official:
        found = {split: _pairs(path / name, below(name, files), sides) for split, name in official.items()}
        beside = [file for file in files if file.parts[0] not in official.values()]
    else:
        found = {"train": _pairs(path, files, sides)}
        beside = [file for file in files if file.parts[0] not in sides]
    passed.add("file beside the folders of pairs", "files beside the folders of pairs", beside)
    if not found["train"]:
        raise ValueError(f"pairs:{shown(path)} has no images for training (looked for {', '.join(SUFFIXES)})")
    found = {split: pairs for split, pairs in found.items() if pairs}
    found, heads, faults = headers(found, lambda pair: (pair[0].path, pair[1].path), size, damaged)
    every = [pair for pairs in found.values() for pair in pairs]
    one, other = (common_form([(pair[side].path, heads[pair[side].path]) for pair in every], size) for side in (0, 1))

    def source(pairs: Sequence[tuple[Found, Found]]) -> PairFiles:
        return PairFiles(pairs, (one, other), size)

    def stamp(pairs: Sequence[tuple[Found, Found]]) -> list[object]:
        return ["pairs", one.mode, other.mode, size, [file_stamp(file.path) for pair in pairs for file in pair]]

    if damaged == "skip":
        found, unreadable = readable(found, source, path, stamp)
        faults += unreadable
    found = with_test(found, bool(official), lambda pair: pair[0].fraction)
    splits = {split: partial(within, limit, source(pairs)) for split, pairs in found.items()}
    note = f"pairs of images in {shown(path)}{one.note() or other.note()}"
    passed_over = (*passed.phrases(), *left_out(faults), *one.phrases(), *other.phrases())
    drawn = () if official else ("test",)
    return Origin(
        splits, None, note, kind="pairs", meaning=other.shape, check=_check, passed_over=passed_over, drawn=drawn
    )


def _pairs(root: Path, files: Sequence[PurePath], sides: tuple[str, str]) -> list[tuple[Found, Found]]:
    """The pairs of `files`, which are relative to `root`, in the order of their fractions."""
    found: list[dict[PurePath, Found]] = []
    for side in sides:
        if not (root / side).is_dir():
            raise ValueError(
                f"{shown(root)} lacks the folder {side!r} of a pair's images: name its folders with ?x=...&y=..."
            )
        own: dict[PurePath, Found] = {}
        for inside in below(side, files):
            file, name = root / side / inside, inside.with_suffix("")
            if name in own:
                raise ValueError(f"{shown(file)} and {shown(own[name].path)} have one name: remove one of them")
            own[name] = Found(file, None, fraction_of(name))
        found.append(own)
    first, second = found  # of each side: path below its folder, without suffix -> file
    alone = sorted(set(first) ^ set(second))
    if alone:
        has, lacks = sides if alone[0] in first else sides[::-1]
        more = f", nor have {len(alone) - 1:,} more" if len(alone) > 1 else ""
        raise ValueError(
            f"{shown(root / has / alone[0])} has no other half in {shown(root / lacks)}{more}: add it or remove the one"
        )
    names = sorted(first, key=lambda name: (first[name].fraction, name))
    return [(first[name], second[name]) for name in names]


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return {side: check_arrays({"x": arrays[side]}, f"{name}, {side}", None, 256)["x"] for side in ("x", "y")}
