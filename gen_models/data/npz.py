"""One archive of arrays: `npz:PATH`. Each array is known by its name, in any case:

    train_image, train_label, test_image, test_label     or x_train, y_train, ...: the official splits, perhaps with
                                                         validation_image, validation_label
    image, label                   or x and y, data and target, ...: a tenth, drawn by a fixed permutation, is `test`
    arr_0, arr_1                   as np.savez names arrays that it is given without names: images, labels
    header, {train,test}_scan, {train,test}_offset, {train,test}_label
                                   small JPEGs that share one header: image i of a split is the bytes
                                   header + scan[offset[i]:offset[i + 1]]

`WORDS` has all names. Images are [N, H, W] or [N, H, W, C], labels [N] from 0, or words; `pixels.py` and `labels.py`
say which other forms are read. Labels may be absent. `Dataset.passed_over` names the arrays that are not taken.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from gen_models.data.access import tenth
from gen_models.data.cache import cached, file_stamp
from gen_models.data.dataset import Classes, Origin
from gen_models.data.labels import class_count, class_names, class_numbers, flat_labels
from gen_models.data.pixels import as_pixels

SPLITS = ("train", "validation", "test")
WORDS: Mapping[str, tuple[str, ...]] = {  # in the order in which one is taken where an archive has several
    "train": ("train", "training", "tr"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "te"),
    "x": ("image", "images", "img", "imgs", "x", "pixels", "data", "arr_0"),
    "y": ("label", "labels", "y", "target", "targets", "class", "classes", "arr_1"),
}


class Names(NamedTuple):
    """What an archive's arrays are called."""

    path: Path
    of: Mapping[tuple[str, str], str]  # (split or "", "x" or "y") -> the name of the array
    rest: tuple[str, ...]  # all other names


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
    names = _known(path, every)
    official = [split for split in SPLITS if (split, "x") in names.of]
    if official and "train" not in official:
        raise ValueError(f"{path} has images of {' and '.join(official)} alone ({', '.join(every)}): add train_image")
    own = official or ([""] if ("", "x") in names.of else [])
    if not own:
        raise ValueError(f"{path} has the arrays {', '.join(every)}: name them image and label, or train_image, ...")
    labelled = (own[0], "y") in names.of
    for split in own:
        _check_misspelt(names, split)
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
        passed_over=(_passed_over(left),) if left else (),
        drawn=() if official else ("test",),
    )


def _classes(names: Names, split: str) -> tuple[int, tuple[str, ...] | None]:
    """The number of classes of a split's labels, and their names where labels are words."""
    label, name = _labels(names, split), names.of[split, "y"]
    words = class_names(label)
    return (len(words) if words else _told(names.path, class_count, label, name)), words


def _passed_over(names: Sequence[str]) -> str:
    """Arrays that are not taken, as a phrase."""
    return f"{len(names)} array{'' if len(names) == 1 else 's'} ({', '.join(names[:5])}{', ...' * (len(names) > 5)})"


def _known(path: Path, every: tuple[str, ...]) -> Names:
    """Which array is what, by its name."""
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for name in every:
        what = _meaning(name)
        if what is None:
            continue
        split, field, rank = what
        if (split, field) in found and found[split, field][0] == rank:
            raise ValueError(f"{path} has both {found[split, field][1]} and {name}: leave out one of them")
        if (split, field) not in found or found[split, field][0] > rank:
            found[split, field] = rank, name
    of = {key: name for key, (_, name) in found.items()}
    return Names(path, of, tuple(name for name in every if name not in of.values()))


def _meaning(name: str) -> tuple[str, str, int] | None:
    """The split ("" for none), the field and the rank of the word that an array's name says; None for another name."""
    word = name.lower().replace("-", "_").replace(".", "_").strip("_")
    candidates = [("", word)]
    for split in SPLITS:
        for known in WORDS[split]:
            if word.startswith(known):
                candidates.append((split, word.removeprefix(known).strip("_")))
            if word.endswith(known):
                candidates.append((split, word.removesuffix(known).strip("_")))
    for split, rest in candidates:
        for field in ("x", "y"):
            if split and not rest:
                return split, "x", len(WORDS["x"])
            if rest in WORDS[field] and not (split and rest.startswith("arr_")):
                return split, field, WORDS[field].index(rest)
    return None


def _check_misspelt(names: Names, split: str) -> None:
    """Refuse a split without labels where an unknown array's name is nearly that of labels."""
    if (split, "y") in names.of:
        return
    for name in names.rest:
        plain = name.lower().replace("-", "_")
        for known in WORDS[split] if split else ("",):
            near = [f"{known}_{word}".strip("_") for word in WORDS["y"] if len(word) > 2]
            near += [f"{word}_{known}".strip("_") for word in WORDS["y"] if len(word) > 2]
            match = difflib.get_close_matches(plain, near, n=1, cutoff=0.8)
            if match:
                raise ValueError(
                    f"{names.path} has no labels beside {names.of[split, 'x']}, but an array {name!r}: call it "
                    f"{match[0]}, or leave it out"
                )


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
