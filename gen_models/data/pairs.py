"""Pairs of images: `pairs:PATH?x=low&y=high`.

    PATH/x/*.png  PATH/y/*.png                                        split by us, as `listing.py` says
    PATH/train/x/*.png  PATH/train/y/*.png  PATH/test/x/*.png ...     official splits

A pair is two files whose paths below `x` and `y` are equal but for their suffix; `x=` and `y=` give these two folders
other names. An example is `{"x": uint8 [H, W, C], "y": uint8 [H', W', C']}`: all x have one size, and all y have one
that may be another. By default both become float32 in [0, 1]; `transforms.on("y", ...)` changes the second.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from gen_models.data.access import Example, within
from gen_models.data.dataset import Arrays, Origin, check_arrays
from gen_models.data.folder import SUFFIXES, common_form
from gen_models.data.images import decode
from gen_models.data.listing import SPLIT_FOLDERS, TEST_FRACTION, Found, fraction_of


class PairFiles:
    """Files of both sides, as a random-access source."""

    def __init__(self, pairs: Sequence[tuple[Found, Found]], modes: tuple[str, str], size: tuple[int, int] | None):
        self.pairs, self.modes, self.size = pairs, modes, size

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Example:
        both = zip(("x", "y"), self.pairs[index], self.modes, strict=True)
        return {side: decode(file.path, mode, self.size) for side, file, mode in both}


def pairs_origin(
    path: Path, options: Mapping[str, str], size: tuple[int, int] | None, limit: int, damaged: str = "stop"
) -> Origin:
    """The splits of a folder of pairs; those of at most `limit` decoded bytes are in memory.

    Raises:
      ValueError: no such folder, a file without its other half, sizes that differ within a side, or no images.
    """
    sides = options.get("x", "x"), options.get("y", "y")
    if not path.is_dir():
        raise ValueError(f"pairs:{path}: there is no such folder")
    if (path / "train").is_dir():
        official = {s: path / n for s, names in SPLIT_FOLDERS.items() for n in names if (path / n).is_dir()}
        found = {split: _pairs(folder, sides) for split, folder in official.items()}
    else:
        every = _pairs(path, sides)
        found = {
            "train": [pair for pair in every if pair[0].fraction >= TEST_FRACTION],
            "test": [pair for pair in every if pair[0].fraction < TEST_FRACTION],
        }
        if not found["test"]:
            del found["test"]  # too few pairs for one of them to fall there
    if not found["train"]:
        raise ValueError(f"pairs:{path} has no images for training (looked for {', '.join(SUFFIXES)})")
    forms = [
        common_form({split: [pair[side] for pair in pairs] for split, pairs in found.items()}, size) for side in (0, 1)
    ]
    modes = forms[0][0], forms[1][0]
    splits = {split: partial(within, limit, PairFiles(pairs, modes, size)) for split, pairs in found.items()}
    return Origin(splits, None, f"pairs of images in {path}", kind="pairs", meaning=forms[1][1], check=_check)


def _pairs(root: Path, sides: tuple[str, str]) -> list[tuple[Found, Found]]:
    """The pairs of files below the folders of both sides, in the order of their fractions."""
    found: list[dict[Path, Found]] = []
    for side in sides:
        folder = root / side
        if not folder.is_dir():
            raise ValueError(f"{root} lacks the folder {side!r} of a pair's images: name its folders with ?x=...&y=...")
        files: dict[Path, Found] = {}
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder)
            if file.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside.parts):
                continue
            name = inside.with_suffix("")
            if name in files:
                raise ValueError(f"{file} and {files[name].path} have one name: remove one of them")
            files[name] = Found(file, None, fraction_of(name))
        found.append(files)
    first, second = found  # of each side: path below its folder, without suffix -> file
    for name in sorted(set(first) ^ set(second)):
        has, lacks = sides if name in first else sides[::-1]
        raise ValueError(f"{root / has / name} has no other half in {root / lacks}: add it, or remove the first")
    names = sorted(first, key=lambda name: (first[name].fraction, name))
    return [(first[name], second[name]) for name in names]


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return {side: check_arrays({"x": arrays[side]}, f"{name}, {side}", None, 256)["x"] for side in ("x", "y")}
