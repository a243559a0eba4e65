"""What a search for near-duplicates leaves in its folder: groups, leaks, pictures, and the cleaned data set."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import gen_models as gm
from gen_models.data.near_duplicates import Kept, NearestReference
from gen_models.files import whole_file, write_text
from gen_models.plots import drawing, literal

from .codes import images_at
from .parts import Files, Parts

ROWS, COLUMNS = 16, 8  # of a picture: groups, and the images of each
LARGEST = 2**30  # bytes of a cleaned archive that is written without being asked for


class Found(NamedTuple):
    """What was found in a data set."""

    kept: Kept  # of the training part
    leaks: Mapping[str, NearestReference]  # part -> of each of its examples the nearest for training
    distance: int
    stays: np.ndarray  # bool [N], which examples for training the cleaned data set has

    def groups(self) -> list[np.ndarray]:
        """Each kept example with those that it stands for, which are more or less near it, in order."""
        order = np.argsort(self.kept.by, kind="stable")
        cuts = np.flatnonzero(np.diff(self.kept.by[order])) + 1
        return [group for group in np.split(order, cuts) if len(group) > 1]


def write_record(found: Found, parts: Parts, path: Path, asked: Mapping[str, Any]) -> None:
    """Groups and leaks as JSON: positions in their parts as every experiment reads them, and files where there are."""

    def said(part: str, index: int) -> Any:
        files = None if parts.files is None else parts.files[part]
        return int(index) if files is None else {"index": int(index), "file": str(files.below[index])}

    def leak(part: str, near: NearestReference, index: int) -> dict[str, Any]:
        pair = {"example": said(part, index), "train": said("train", near.nearest[index])}
        return {**pair, "bits": int(near.distances[index])}

    bits = found.kept.distances
    record = {
        **asked,
        "examples": {name: len(part) for name, part in parts.crops.items()},
        "removed": int((~found.stays).sum()),
        "groups": [
            {
                "kept": said("train", group[0]),
                "near": [{"example": said("train", index), "bits": int(bits[index])} for index in group[1:]],
            }
            for group in found.groups()
        ],
        "leaks": {
            part: [leak(part, near, index) for index in np.flatnonzero(near.nearest >= 0).tolist()]
            for part, near in found.leaks.items()
        },
    }
    write_text(path, json.dumps(record, indent=1) + "\n")


def draw_groups(found: Found, crops: gm.Dataset, path: Path) -> Path | None:
    """A row for each of some groups: the one that is kept, and the others with the bits in which their codes differ.

    Of many groups, those are drawn that lie evenly among all, ordered by their largest distance.
    """
    groups = sorted(found.groups(), key=lambda group: (int(found.kept.distances[group].max()), int(group[0])))
    rows = []
    for number in _evenly(len(groups)):
        first, *others = groups[number].tolist()
        others.sort(key=lambda index: -int(found.kept.distances[index]))
        shown = others[: COLUMNS - 1]
        more = f", {len(others) - len(shown)} more" if len(others) > len(shown) else ""
        titles = [f"kept: {first}{more}", *(f"{index}: {_bits(found.kept.distances[index])}" for index in shown)]
        rows.append((images_at(crops, np.array([first, *shown])), titles))
    return _draw(rows, path)


def draw_leaks(part: str, near: NearestReference, crops: gm.Dataset, train: gm.Dataset, path: Path) -> Path | None:
    """Examples of a part, each beside the one for training that is nearest to it, four pairs in a row."""
    order = np.lexsort((np.arange(len(near.nearest)), near.distances))
    order = order[near.nearest[order] >= 0]
    pairs = [order[number] for number in _evenly(len(order), ROWS * COLUMNS // 2)]
    rows = []
    for start in range(0, len(pairs), COLUMNS // 2):
        own = pairs[start : start + COLUMNS // 2]
        images = [images_at(data, np.array([at])) for i in own for data, at in ((crops, i), (train, near.nearest[i]))]
        titles = [
            text for i in own for text in (f"{part}: {i}", f"train: {near.nearest[i]}, {_bits(near.distances[i])}")
        ]
        rows.append((np.concatenate(images), titles))
    return _draw(rows, path)


def _bits(number: int | np.integer) -> str:
    return "1 bit" if number == 1 else f"{number} bits"


def _evenly(total: int, most: int = ROWS) -> list[int]:
    return sorted({int(index) for index in np.linspace(0, total - 1, min(total, most)).round()})


def _draw(rows: Sequence[tuple[np.ndarray, list[str]]], path: Path) -> Path | None:
    if not rows:
        return None
    wide = max(len(images) for images, _ in rows)
    # Room of a fixed size for the titles, as matplotlib's own layout draws everything once more to find it.
    room = {"left": 0.01, "right": 0.99, "bottom": 0.05 / len(rows), "top": 1 - 0.2 / len(rows)}
    room |= {"wspace": 0.1, "hspace": 0.25}
    with drawing(path, figsize=(1.45 * wide, 1.5 * len(rows)), layout=None) as canvas:
        axes = canvas.subplots(len(rows), wide, squeeze=False, gridspec_kw=room)
        for row, (images, titles) in zip(axes, rows, strict=True):
            for axis, image, title in zip(row, images, titles, strict=False):
                axis.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
                axis.set_title(literal(title), fontsize=7)
            for axis in row:
                axis.set_axis_off()
    return path


def write_archive(parts: Mapping[str, gm.Dataset], stays: np.ndarray | None, path: Path) -> None:
    """An archive that `npz:PATH` reads, its training part without what does not stay."""
    arrays = {}
    for name, part in parts.items():
        own = part.arrays or {}
        chosen = stays if name == "train" and stays is not None else slice(None)
        arrays[f"{name}_image"] = own["x"][chosen]
        if part.num_classes is not None:
            arrays[f"{name}_label"] = own["y"][chosen]
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def why_not(parts: Mapping[str, gm.Dataset], asked: bool) -> str | None:
    """Why no archive of a data set is written; None where it is."""
    train = parts["train"]
    if any(part.arrays is None for part in parts.values()):
        return "the images do not fit into memory: take kept.npz"
    if train.levels not in (2, 256):
        return f"an archive cannot say that there are {train.levels} levels: take kept.npz"
    size = sum(part.arrays["x"].nbytes for part in parts.values() if part.arrays is not None)
    if size > LARGEST and not asked:
        return f"it would have {size / 2**30:.1f} GiB: --write writes it"
    return None


def link_files(files: Mapping[str, Files], stays: np.ndarray, folder: Path) -> None:
    """A folder of links that `folder:PATH` reads, PART/CLASS/FILE, its training part without what does not stay."""
    for part, own in files.items():
        for index, (path, below) in enumerate(zip(own.paths, own.below, strict=True)):
            if part == "train" and not stays[index]:
                continue
            link = folder / part / below
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.abspath(path))
