"""One split of a data set, and the words that name a split.

A reader (IDX, `.npz`, folder, TFDS) says which *official* splits it has. What is asked for is made from those:

- `train`, `validation`, `test`, `train+validation`;
- a set without an official validation split holds out the last part of its official train split as `validation`:
  `train` is the rest, and `train+validation` the whole;
- a slice behind any of them, as in TFDS: `train[:10%]`, `test[500:]`, `train[-100:]`. Positions are those of the split
  before the bracket.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.access import Arrays, ArraySource, Joined, Subset
from gen_models.data.fields import own_arrays
from gen_models.data.labels import last_of_each_class, tail_is_unlike
from gen_models.data.words import parse_split

IN_MEMORY_BYTES = 2 * 10**9  # decoded splits above this stay on disk


@dataclass(frozen=True, eq=False)
class Dataset:
    """One split of a data set: in memory as `arrays`, or on disk behind `source`; the other one is None.

    The fields of an example by `kind`; every kind but images is described in the file of its reader:

    - images: x uint8 [H, W, C], y int32 [], 0 where there are no labels
    - tokens: x int32 [T], y int32 [T] the tokens that follow, start bool []        (`tokens.py`)
    - sentences: x int32 [T] words, y int32 []                                      (`sentences.py`)
    - stories: x int32 [1 + M, W] a question and sentences, y int32 []              (`babi.py`)
    - parallel: source int32 [T], source_length int32 [], x int32 [T], y int32 [T], length int32 []  (`parallel.py`)
    - audio: x int16 [T], y int32 [], length int32 []                               (`audio.py`)
    - rolls: x uint8 [T, 88], y uint8 [T, 88] the rows that follow, length int32 [], start bool []  (`rolls.py`)
    - series: x float32 [L, F], y float32 [H, F] the rows that follow               (`series.py`)
    - tables: x float32 [F], mask bool [F], categories int32 [K], y                 (`tables.py`)
    - points: x float32 [D], y int32 [] where there are labels                      (`points.py`)
    - pairs: x uint8 [H, W, C], y uint8 [H', W', C']                                (`pairs.py`)
    - boxes: x uint8 [H, W, C], boxes float32 [M, 4], classes int32 [M], count int32 [], mask uint8 [H, W]  (`boxes.py`)
    - arrays: what one's own arrays are
    """

    name: str
    split: str
    arrays: Arrays | None  # field -> [N, ...]: images {"x": uint8 [N, H, W, C], "y": int32 [N]}
    source: Any | None  # len() and [i] -> one example: images {"x": uint8 [H, W, C], "y": int32 []}
    shape: tuple[int, ...]  # of one example's x: (H, W, C) of an image
    num_classes: int | None  # None where there are no labels: images then have "y" 0 throughout
    levels: int  # of uint8 images, whose pixels are 0 to levels - 1: 256 for 8 bits
    note: str  # licence and caveats in one line
    kind: str = "images"
    meaning: Any = None  # what the values mean: a `tokens.Vocabulary`, `tables.Columns`, ...; see the readers
    passed_over: tuple[str, ...] = ()  # what the reader did not take, in phrases: "3 files of other kinds (.txt)"
    made: str = ""  # how we made the part, where the data do not come with it: "held out by us"

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values()))) if self.arrays is not None else len(self.source)  # type: ignore[arg-type]


def of_arrays(
    arrays: Mapping[str, Any],
    name: str = "arrays",
    split: str = "train",
    num_classes: int | None = None,
    levels: int | None = None,
) -> Dataset:
    """A data set of one's own arrays: any fields, shapes and dtypes that share a leading axis [N, ...].

    uint8 [N, H, W, C] count as images, all else as what it is. Images have `levels` levels; where that is None, they
    have two if their pixels are 0 and 1 alone, as binarised ones are often saved, and else 256. Integers of "y" become
    int32. Lists become arrays.

    Raises:
      ValueError: there is no array or no example, lengths disagree, values are no numbers or not finite, or labels or
        pixels lie outside of the classes or levels.
    """
    found = own_arrays(arrays, name)
    if num_classes is not None:
        _check_labels(found.get("y"), num_classes, f"{name}, {split}")
    x = found.get("x")
    images = x is not None and x.dtype == np.uint8 and x.ndim == 4
    if images and levels is None:
        levels = 2 if x[:100].max(initial=0) <= 1 and x.max(initial=0) == 1 else 256  # type: ignore[index, union-attr]
    if images and levels is not None and levels < 256 and x.max() >= levels:  # type: ignore[union-attr]
        raise ValueError(f"{name}, {split}: a pixel is {x.max()}, but the data have {levels} levels")  # type: ignore[union-attr]
    shape = () if x is None else x.shape[1:]
    kind = "images" if images else "arrays"
    return Dataset(name, split, found, None, shape, num_classes, levels or 256, "arrays in memory", kind)


def _check_labels(label: np.ndarray | None, num_classes: int, where: str) -> None:
    """Refuse labels that are none of the classes; values [N, ...] of floats are no labels, but targets of one's own."""
    if label is not None and label.dtype.kind == "f" and label.ndim > 1:
        return
    if label is None or label.dtype.kind not in "iu":
        is_ = "no array" if label is None else str(label.dtype)
        raise ValueError(f"{where}: num_classes={num_classes} needs labels 'y' of integers, but it is {is_}")
    if label.min() < 0 or label.max() >= num_classes:
        raise ValueError(f"{where}: labels must be 0 to {num_classes - 1}, got {label.min()} to {label.max()}")


class Classes(NamedTuple):
    """What the labels of images mean."""

    classes: tuple[str, ...]  # the name of each class, from 0 on


class Origin(NamedTuple):
    """What a reader found: the official splits, each of which is read when it is asked for."""

    splits: Mapping[str, Callable[[], Any]]  # split -> arrays (a mapping) or a random-access source
    num_classes: int | None  # this and the others as in `Dataset`
    note: str
    levels: int = 256
    hold_out: int | float = 0.1  # the default size of `validation`, where none is official
    # Whether the last examples of each class are held out, and not the last of all; None: where labels are in order.
    balanced: bool | None = None
    kind: str = "images"
    meaning: Any = None
    check: Callable[[Arrays, str, "Origin"], dict[str, np.ndarray]] | None = None  # None: `check_arrays`, of images
    passed_over: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()  # the splits that we drew, as the data do not come with them: ("test",)


def check_kind(dataset: Dataset, kinds: Sequence[str], who: str = "this model") -> None:
    """Refuse data of a kind that a model cannot take; one's own arrays pass, as their kind is not known.

    Raises:
      ValueError: the data set is of none of the kinds.
    """
    if dataset.kind not in (*kinds, "arrays"):
        raise ValueError(
            f"{dataset.name!r} is of the kind {dataset.kind!r}, and {who} takes {' or '.join(kinds)}: "
            "choose another --dataset"
        )


def take_split(origin: Origin, name: str, split: str, validation: int | float | None = None) -> Dataset:
    """The data set that `split` names of `origin`; see the top of this file for the words.

    Raises:
      ValueError: an unknown word, an empty or malformed slice, a hold-out that is impossible, or bad data.
    """
    word, cut = parse_split(split)
    official, indices, made = _official(origin, name, word, validation)
    start, stop = cut(len(indices))
    if start >= stop:
        few = "hold out more of it, or train on train+validation" if word == "validation" and not len(indices) else ""
        raise ValueError(
            f"split {split!r} of {name!r} is empty: {word!r} has {len(indices)} examples" + (few and f": {few}")
        )
    indices = indices[start:stop]
    check = origin.check or _check_images
    arrays, source = None, None
    if isinstance(official, Mapping):
        arrays = check({key: take_examples(value, indices) for key, value in official.items()}, name, origin)
        shape, fields = arrays["x"].shape[1:], set(official)
    else:
        source = Subset(official, indices)
        first = check({key: np.asarray(value)[None] for key, value in source[0].items()}, name, origin)
        shape, fields = first["x"].shape[1:], set(first)
    return Dataset(
        name,
        split,
        arrays,
        source,
        shape,
        None if origin.kind in ("images", "points", "tables") and "y" not in fields else origin.num_classes,
        origin.levels,
        origin.note,
        origin.kind,
        origin.meaning,
        origin.passed_over,
        made,
    )


def _check_images(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return check_arrays(arrays, name, origin.num_classes, origin.levels)


def take_examples(values: np.ndarray, indices: range | np.ndarray) -> np.ndarray:
    """The examples of values [N, ...] at these indices: a view where they are contiguous, else a copy."""
    if isinstance(indices, range) and indices.step == 1:
        return values[indices.start : indices.stop]
    return values[np.asarray(indices)]


def check_arrays(arrays: Arrays, name: str, num_classes: int | None, levels: int) -> dict[str, np.ndarray]:
    """Images and labels as `{"x": uint8 [N, H, W, C], "y": int32 [N]}`.

    [N, H, W] becomes [N, H, W, 1]; missing labels become zeros.

    Raises:
      ValueError: a dtype, a shape, a pixel or a label is wrong; the message says what to do.
    """
    image = np.asarray(arrays["x"])
    if image.dtype != np.uint8:
        if image.dtype.kind == "f" and not np.isfinite(image).all():
            raise ValueError(f"{name}: {int((~np.isfinite(image)).sum())} pixels are not finite: drop or repair them")
        raise ValueError(f"{name}: pixels must be uint8, got {image.dtype}: convert them to 0 to {levels - 1}")
    if image.ndim == 3:
        image = image[..., None]
    if image.ndim != 4 or 0 in image.shape:
        raise ValueError(f"{name}: images must be [N, H, W, C] with no empty axis, got {image.shape}")
    if image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"{name}: images must have 1, 3 or 4 channels in the last axis (NHWC), got {image.shape}")
    if levels < 256 and image.max() >= levels:
        raise ValueError(f"{name}: a pixel is {image.max()}, but the data have {levels} levels")
    label = np.asarray(arrays.get("y", np.zeros(len(image), np.int32)))
    if label.dtype.kind not in "iu" or label.shape != (len(image),):
        raise ValueError(f"{name}: labels must be integers [{len(image)}], got {label.dtype} {list(label.shape)}")
    if num_classes is not None and (label.min() < 0 or label.max() >= num_classes):
        raise ValueError(
            f"{name}: labels must be 0 to {num_classes - 1}, got {label.min()} to {label.max()}: classes are numbered "
            "by the labels for training"
        )
    return {"x": image, "y": label.astype(np.int32)}


def hold_out_count(validation: int | float, total: int, name: str) -> int:
    """The number of examples to hold out of `total`, from a number (int) or a fraction (float).

    Raises:
      ValueError: `validation` is negative, is no number, or leaves nothing to train on.
    """
    bad = isinstance(validation, bool) or not isinstance(validation, int | float)
    if bad or not validation >= 0 or (isinstance(validation, float) and validation >= 1):  # not >=: NaN is refused too
        raise ValueError(f"validation must be a count (int) or a fraction in [0, 1) (float), got {validation!r}")
    count = round(validation * total) if isinstance(validation, float) else validation
    if count >= total:
        raise ValueError(f"validation={validation} leaves nothing of the {total} training examples of {name!r}")
    return count


def _official(
    origin: Origin, name: str, word: str, validation: int | float | None
) -> tuple[Any, range | np.ndarray, str]:
    """What holds the split `word`, the indices of the examples that are in it, and how we made it ("": we did not)."""
    if word in origin.splits and (word == "test" or "validation" in origin.splits):
        if word != "test":
            _refuse_hold_out(name, validation)
        data = origin.splits[word]()
        return data, range(_length(data)), "drawn by us" if word in origin.drawn else ""
    if word == "test":
        raise ValueError(
            f"{name!r} has no test split: it has {', '.join(origin.splits)}: add one, or measure on validation"
        )
    if "validation" in origin.splits:
        _refuse_hold_out(name, validation)
        data = _join(origin.splits["train"](), origin.splits["validation"](), name)
        return data, range(_length(data)), ""
    data = origin.splits["train"]()
    total = _length(data)
    if word == "train+validation" and validation is None:
        return data, range(total), ""
    count = hold_out_count(origin.hold_out if validation is None else validation, total, name)
    if word == "train+validation":
        return data, range(total), ""
    return data, *_held_out(origin, data, word, total, count)


def _held_out(origin: Origin, data: Any, word: str, total: int, count: int) -> tuple[range | np.ndarray, str]:
    """The indices of the part `word` of the official training split, `count` of which are held out; how we made it."""
    made = "held out by us" if word == "validation" else ""
    labels = data.get("y") if isinstance(data, Mapping) and origin.num_classes is not None else None
    by_class = origin.balanced
    if by_class is None and labels is not None and tail_is_unlike(labels, count):
        by_class, made = True, made and f"{made}, the last of each class, as the labels are in order"
    if not by_class or labels is None:
        return (range(total - count) if word == "train" else range(total - count, total)), made
    held = last_of_each_class(labels, count)
    return np.flatnonzero(held if word == "validation" else ~held), made


def _refuse_hold_out(name: str, validation: int | float | None) -> None:
    """Refuse the size of a part that the data set comes with."""
    if validation is not None:
        raise ValueError(f"{name!r} has an official validation split: leave out validation={validation!r}")


def _length(data: Any) -> int:
    return len(data["x"]) if isinstance(data, Mapping) else len(data)


def _join(first: Any, second: Any, name: str) -> Any:
    """Two splits, one behind the other: arrays where both are in memory, else a source."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if set(first) != set(second):
            raise ValueError(
                f"{name!r} has {' and '.join(first)} for training, but {' and '.join(second)} for validation: "
                "train on train alone"
            )
        return {key: np.concatenate([first[key], second[key]]) for key in first}
    return Joined(_as_source(first), _as_source(second))


def _as_source(data: Any) -> Any:
    return ArraySource(data) if isinstance(data, Mapping) else data


def missing(name: str, data_dir: str | Path | None) -> ValueError:
    """The error for a data set that is not there, with the command that gets it; the caller raises it."""
    where = "needs data_dir, the folder of prepared data sets" if data_dir is None else f"is not in {data_dir}"
    command = f"python -m tools.prepare_data {name} --raw-dir RAW --data-dir {data_dir or 'DIR'}"
    return ValueError(f"data set {name!r} {where}: get it with `{command}` (without --raw-dir it downloads)")
