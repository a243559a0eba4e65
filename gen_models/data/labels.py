"""Labels as people save them, as classes from 0 on; and which examples are held out of sorted ones."""

from collections.abc import Sequence

import numpy as np

from gen_models.errors import unknown

EXPECTED = 5  # examples of a class, which a tail of mixed data would have lacked once in e^5 = 148 times


def flat_labels(label: np.ndarray, count: int, name: str) -> np.ndarray:
    """Labels of `count` examples as integers or words [count]; `name` is what they are called, for messages.

    [N, 1] and [1, N] become [N]; rows of which one value is 1 and all others are 0 (one-hot) the position of the 1;
    whole numbers of a floating-point dtype, and booleans, become integers.

    Raises:
      ValueError: labels of another form, or another number of them; the message says what to do.
    """
    if label.ndim == 2 and label.size == count and 1 in label.shape:
        label = label.reshape(-1)
    if label.ndim == 2 and len(label) == count and label.dtype.kind in "biuf":
        label = _of_one_hot(label, name)
    if label.ndim != 1:
        raise ValueError(f"{name} must be one label an example, [{count}], got {list(label.shape)}")
    if len(label) != count:
        raise ValueError(f"{name} has {len(label)} labels for {count} examples: give each example one")
    if label.dtype.kind == "f":
        if not np.isfinite(label).all():
            raise ValueError(
                f"{name} has {int((~np.isfinite(label)).sum())} labels that are not finite: leave them out"
            )
        if (label != np.round(label)).any():
            raise ValueError(
                f"{name} has labels such as {label[label != np.round(label)][0]}: classes are whole numbers"
            )
    if label.dtype.kind == "S":
        label = np.array([word.decode("utf-8", "replace") for word in label.tolist()])
    if label.dtype.kind not in "biufU":
        raise ValueError(f"{name} must be whole numbers or words, got {label.dtype}: np.asarray({name}.tolist())")
    return label.astype(np.int64) if label.dtype.kind in "bf" else label


def class_names(label: np.ndarray) -> tuple[str, ...] | None:
    """The names of the classes of flat labels that are words, sorted (by value where all are numbers); else None."""
    if label.dtype.kind != "U":
        return None
    names = {str(name) for name in np.unique(label)}
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names))


def class_numbers(label: np.ndarray, names: Sequence[str] | None, name: str) -> np.ndarray:
    """Flat labels as classes from 0 on, int32 [N]: words by their position among the names of the training part.

    Raises:
      ValueError: a word that training has not, or labels that count from another number than 0.
    """
    if names is not None:
        number = {word: index for index, word in enumerate(names)}
        strange = next((str(word) for word in np.unique(label) if str(word) not in number), None)
        if strange is not None:
            raise unknown(f"class in {name}", strange, names)
        return np.array([number[str(word)] for word in label], np.int32)
    if label.dtype.kind == "U":
        raise ValueError(f"{name} holds words, and the labels for training are numbers: save all of one kind")
    _check_range(label, name)
    return label.astype(np.int32)


def class_count(label: np.ndarray, name: str) -> int:
    """The number of classes of flat training labels, whole numbers [N] that count from 0.

    Raises:
      ValueError: they count from 1, or are no classes.
    """
    _check_range(label, name)
    values = np.unique(label)
    if len(values) > 1 and values[0] == 1 and values[-1] == len(values):
        raise ValueError(f"{name} counts classes from 1 to {values[-1]}, and they count from 0: save {name} - 1")
    most = int(values[-1]) + 1
    if most > max(100, len(label)):
        raise ValueError(
            f"{name} has {len(values):,} different labels up to {values[-1]:,}: number them from 0 on, "
            f"np.unique({name}, return_inverse=True)[1]"
        )
    return most


def last_of_each_class(label: np.ndarray, count: int) -> np.ndarray:
    """A mask bool [N] of `count` examples: the last ones of each class, as evenly over the classes as can be."""
    # from_end is 0 for the last example of each class, 1 for the one before it, and so on. Sorted by it first, and by
    # the label second, examples come from all classes in turn, the last ones first.
    from_end = np.empty(len(label), np.int64)
    for value in np.unique(label):
        (where,) = np.nonzero(label == value)
        from_end[where] = np.arange(len(where))[::-1]
    mask = np.zeros(len(label), bool)
    mask[np.lexsort((label, from_end))[:count]] = True
    return mask


def tail_is_unlike(label: np.ndarray, count: int) -> bool:
    """Whether the last `count` labels of [N] are no fair part: sorted files end with one class.

    So it is where they lack a class of which a fair part would have several examples, or have all examples of a class
    that has several.
    """
    if label.ndim != 1 or label.dtype.kind not in "iu" or not 0 < count < len(label):
        return False
    values, where = np.unique(label, return_inverse=True)
    every = np.bincount(where, minlength=len(values))
    held = np.bincount(where[len(label) - count :], minlength=len(values))
    lacks = (held == 0) & (every * count / len(label) >= EXPECTED)
    in_order = len(values) > 1 and bool((np.diff(label.astype(np.int64)) >= 0).all()) and (held == 0).any()
    takes_all = (held == every) & (every > 1)
    return bool(lacks.any() or in_order or (takes_all.any() and len(values) > 1))


def _check_range(label: np.ndarray, name: str) -> None:
    """Refuse labels below 0, which often stand for none, and those that no int32 holds."""
    if label.size and label.min() < 0:
        few, low = int((label < 0).sum()), int(label.min())
        raise ValueError(
            f"{few:,} of {len(label):,} labels in {name} are below 0, the lowest {low}: keep the examples where "
            f"{name} >= 0, or leave {name} out"
        )
    if label.size and label.max() >= 2**31:
        raise ValueError(f"{name} has the label {label.max()}: number the classes from 0 on")


def _of_one_hot(label: np.ndarray, name: str) -> np.ndarray:
    """The position of the 1 in each row of [N, K]."""
    ones = label == 1
    if ((label == 0) | ones).all() and (ones.sum(1) == 1).all():
        return ones.argmax(1)
    raise ValueError(
        f"{name} {list(label.shape)} has several values an example, and no row of them is one 1 among 0: choose one, "
        f"as in {name}[:, 0], or the largest, {name}.argmax(1)"
    )
