"""The parts of a data set twice: as they are, and as the crops that codes are of; and the files of a folder."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gen_models as gm
from gen_models.data.dataset import Origin, take_split
from gen_models.data.folder import folder_origin

from .codes import SIDE

NAMES = ("train", "validation", "test")
FOLDER = "folder:"


class Parts(NamedTuple):
    """The parts of a data set by their names, those that it has."""

    name: str
    whole: dict[str, gm.Dataset] | None  # as they are; None of a folder whose images are only looked at
    crops: dict[str, gm.Dataset]  # squares of at most 32 pixels
    files: dict[str, "Files"] | None  # of a folder


class Files(NamedTuple):
    """The image files of a part, in the order of its examples."""

    paths: list[Path]
    below: list[Path]  # the same, relative to the folder or to that of an official part


def read(name: str, data_dir: str | None, size: int | None, damaged: str) -> Parts:
    """Read a data set of images.

    Raises:
      ValueError: as `gm.load_splits`, or the data are no images.
    """
    how: dict[str, Any] = {"data_dir": data_dir, "kinds": ("images",), "damaged": damaged}
    if name.startswith(FOLDER) and size is None:
        looked_at = _parts(gm.load_splits(name, size=SIDE, **how))
        return Parts(name, None, looked_at, _files(name, looked_at, damaged))
    whole = gm.load_splits(name, size=size, **how)
    height, width, channels = whole.shape
    if channels not in (1, 3):
        raise ValueError(f"{name!r} has images of {channels} channels, and codes are of grey or RGB images")
    side = min(SIDE, height, width)
    crops = whole if (height, width) == (side, side) else gm.load_splits(name, size=side, **how)
    return Parts(name, _parts(whole), _parts(crops), None)


def _parts(splits: gm.Splits) -> dict[str, gm.Dataset]:
    """The parts that are not another one."""
    found = {"train": splits.train}
    if splits.held_out is not None and splits.held_out_word == "validation":
        found["validation"] = splits.held_out
    if splits.test is not None and splits.test_word == "test":
        found["test"] = splits.test
    return found


def _files(name: str, crops: dict[str, gm.Dataset], damaged: str) -> dict[str, Files]:
    """The files of a folder's parts, which are cut as the data are: by the labels, where these are in memory."""
    root = Path(name.removeprefix(FOLDER)).expanduser()
    origin = folder_origin(root, (SIDE, SIDE), 0, damaged)  # with a limit of 0 bytes it gives sources, which have paths
    sources = {split: read() for split, read in origin.splits.items()}
    drawn = bool(origin.drawn)
    found = {}
    for part, crop in crops.items():
        split = part if part in sources else "train"
        if crop.arrays is None:
            source: Any = take_split(origin, name, part).source
            own = source.indices
        else:
            numbered = {known: partial(_numbers, source) for known, source in sources.items()}
            arrays: Any = take_split(origin._replace(splits=numbered, check=_as_they_are), name, part).arrays
            own = arrays["x"]
        paths = [sources[split].paths[int(index)] for index in own]
        inside = [path.relative_to(root) for path in paths]
        found[part] = Files(paths, inside if drawn else [Path(*path.parts[1:]) for path in inside])
    return found


def _numbers(source) -> dict[str, np.ndarray]:
    """The positions of a source's examples, with their labels."""
    return {"x": np.arange(len(source)), "y": source.labels}


def _as_they_are(arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
