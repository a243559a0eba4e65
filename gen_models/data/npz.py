"""One archive of arrays: `npz:PATH`. Each array is known by its name, in any case:

    train_image, train_label, test_image, test_label     or x_train, y_train, ...: the official splits, perhaps with
                                                         validation_image, validation_label
    image, label                   or x and y, data and target, ...: a tenth, drawn by a fixed permutation, is `test`
    arr_0, arr_1                   as np.savez names arrays that it is given without names: images, labels
    header, {train,test}_scan, {train,test}_offset, {train,test}_label
                                   small JPEGs that share one header: image i of a split is the bytes
                                   header + scan[offset[i]:offset[i + 1]]

`array_names.py` has all names. Images are [N, H, W] or [N, H, W, C], labels [N] from 0, or words; `pixels.py` and
`labels.py` say which other forms are read. Labels may be absent. `Dataset.passed_over` names what is not taken.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import tenth
from gen_models.data.array_names import SPLITS, Names, check_misspelt, known_names
from gen_models.data.cache import cached, file_stamp
from gen_models.data.dataset import Classes, Origin
from gen_models.data.labels import class_count, class_names, class_numbers, flat_labels
from gen_models.data.names import counted, listed
from gen_models.data.pixels import as_pixels


def npz_origin(path: Path) -> Origin:
    """The splits of the archive.

    Raises:
      ValueError: no such file, not an .npz, Python objects in it, names other than those above, or arrays of another
        form; the message says what mends them.
    """
    if not path.is_file():
        raise ValueError(f"npz:{path}: there is no such file")
    every = _names(path)
    if "header" in every and "train_scan" in every:
        return _of_jpegs(path, every)
    names = known_names(path, every)
    official = [split for split in SPLITS if (split, "x") in names.of]
    if official and "train" not in official:
        raise ValueError(f"{path} has images of {' and '.join(official)} alone ({', '.join(every)}): add train_image")
    own = official or ([""] if ("", "x") in names.of else [])
    if not own:
        raise ValueError(f"{path} has the arrays {', '.join(every)}: name them image and label, or train_image, ...")
    labelled = (own[0], "y") in names.of
    for split in own:
        check_misspelt(names, split)
    count, meaning = _classes(names, own[0]) if labelled else (None, None)
    splits = {split: partial(_take, names, split, meaning, labelled) for split in official}
    if not official:
        splits = {split: partial(_drawn, names, split, meaning) for split in ("train", "test")}
    taken = {names.of[key] for key in names.of if key[0] in own and (key[1] == "x" or labelled)}
    left = [name for name in every if name not in taken]
    return Origin(
        splits,
        count,
        f"arrays in {path}" + ("" if official else "; test split by us"),
        meaning=None if meaning is None else Classes(meaning),
        passed_over=(f"{counted(len(left), 'array')} ({listed(left)})",) if left else (),
        drawn=() if official else ("test",),
    )


def _classes(names: Names, split: str) -> tuple[int, tuple[str, ...] | None]:
    """The number of classes of a split's labels, and their names where labels are words."""
    label, name = _labels(names, split), names.of[split, "y"]
    words = class_names(label)
    return (len(words) if words else _told(names.path, class_count, label, name)), words


def _names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in an archive."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return tuple(archive.files)
    except (BadZipFile, ValueError, OSError, EOFError, AttributeError) as error:  # a lone .npy has no files
        raise ValueError(
            f"{path} is not an .npz archive ({error}): make it with np.savez(PATH, image=..., label=...)"
        ) from None


def _read(path: Path, name: str) -> np.ndarray:
    """One array of an archive."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive[name]
    except (BadZipFile, ValueError, EOFError) as error:
        mend = f"save np.stack(list({name}))" if "pickle" in str(error) else "save plain arrays with np.savez"
        what = "it holds Python objects" if "pickle" in str(error) else str(error)
        raise ValueError(f"{name!r} in {path} cannot be read ({what}): {mend}") from None


def _labels(names: Names, split: str) -> np.ndarray:
    """The labels of a split, flat; they are not compared with the images yet."""
    name = names.of[split, "y"]
    label = _read(names.path, name)
    return _told(names.path, flat_labels, label, _examples(label), name)


def _examples(label: np.ndarray) -> int:
    """How many examples an array has labels for."""
    return label.size if label.ndim < 2 or 1 in label.shape else len(label)


def _take(names: Names, split: str, words: tuple[str, ...] | None, labelled: bool) -> dict[str, np.ndarray]:
    """Images and labels of a split; no "y" where there are no labels, or none for training."""
    image, label_name = names.of[split, "x"], names.of.get((split, "y"))
    label = _read(names.path, label_name) if label_name is not None and labelled else None
    count = None if label is None else _examples(label)
    found = {"x": _told(names.path, as_pixels, _read(names.path, image), image, count)}
    if label is not None:
        flat = _told(names.path, flat_labels, label, len(found["x"]), label_name)
        found["y"] = _told(names.path, class_numbers, flat, words, label_name)
    return found


def _told(path: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives; its errors, with the file's name."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _drawn(names: Names, split: str, words: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    """The images of a split that we draw, in the archive's order."""
    arrays = _take(names, "", words, True)
    chosen = np.sort(tenth(len(arrays["x"]), split))
    return {key: value[chosen] for key, value in arrays.items()}


def _of_jpegs(path: Path, names: tuple[str, ...]) -> Origin:
    """The splits of an archive of JPEGs with one header."""
    splits = {split: partial(_decode, path, split) for split in SPLITS if f"{split}_scan" in names}
    count = None
    if "train_label" in names:
        count, _ = _classes(Names(path, {("train", "y"): "train_label"}, ()), "train")
    return Origin(splits, count, f"arrays in {path}, lossy: decoded from JPEG")


def _decode(path: Path, split: str) -> dict[str, np.ndarray]:
    """The images of a split that is kept as JPEGs with one header, and their labels."""
    from gen_models.data.images import decode

    def make() -> dict[str, np.ndarray]:
        head, scan, offset = (_read(path, name) for name in ("header", f"{split}_scan", f"{split}_offset"))
        count = len(offset) - 1
        if head.dtype != np.uint8 or scan.dtype != np.uint8 or count < 1 or offset[0] or offset[-1] != len(scan):
            raise ValueError(f"{path}: {split}_offset must run from 0 to the length of {split}_scan (uint8)")
        prefix, body = head.tobytes(), scan.tobytes()
        images = [decode(prefix + body[offset[i] : offset[i + 1]], "RGB") for i in range(count)]
        label = f"{split}_label"
        has_label = label in _names(path)
        return {"x": np.stack(images), "y": _read(path, label) if has_label else np.zeros(count, np.int32)}

    return cached(path.parent, f"{path.stem}-{split}", file_stamp(path), make)
