"""Regression tables with fixed splits, in the layout that Bayesian deep learning compares on.

A folder has `data.txt` (numbers, one example a line), `index_features.txt` and `index_target.txt` (columns from 0 on),
and `index_train_K.txt` and `index_test_K.txt` for each split K (rows from 0 on): Hernandez-Lobato & Adams (2015), Gal &
Ghahramani (2016).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int


class FixedSplits(NamedTuple):
    """A table and the rows of its splits."""

    x: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n"]
    train: Int[np.ndarray, "splits n_train"]
    test: Int[np.ndarray, "splits n_test"]


def fixed_splits(folder: str | Path) -> FixedSplits:
    """The table of a folder in this layout, or of its subfolder `data`, in float64.

    Raises:
      ValueError: a file is not there, holds no such numbers, or names rows or columns that the table has not, or a row
        is in both parts of a split.
    """
    folder = Path(folder)
    folder = folder / "data" if (folder / "data" / "data.txt").is_file() else folder
    table = np.atleast_2d(_numbers(folder / "data.txt"))
    features, target = (_indices(folder / f"index_{name}.txt", table.shape[1]) for name in ("features", "target"))
    count = len(list(folder.glob("index_train_*.txt")))
    if count == 0 or len(target) != 1:
        raise ValueError(f"{folder} has {count} splits and {len(target)} targets: one target and a split are needed")
    parts = {
        word: [_indices(folder / f"index_{word}_{k}.txt", len(table)) for k in range(count)]
        for word in ("train", "test")
    }
    for word, each in parts.items():
        if len({len(rows) for rows in each}) != 1:
            raise ValueError(
                f"{folder}: the {word} parts have different sizes, and are compared at one size: repair them"
            )
    for k, (train, test) in enumerate(zip(parts["train"], parts["test"], strict=True)):
        if np.intersect1d(train, test).size:
            raise ValueError(f"{folder}: split {k} has rows in both of its parts: repair it")
    return FixedSplits(table[:, features], table[:, target[0]], np.stack(parts["train"]), np.stack(parts["test"]))


def _numbers(path: Path) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"{path} is not there: give a folder with data.txt, index_features.txt and so on")
    try:
        found = np.loadtxt(path)
    except ValueError as error:
        raise ValueError(f"{path} holds no table of numbers ({error}): repair it") from None
    if not np.isfinite(found).all() or not found.size:
        raise ValueError(f"{path} has no numbers, or some that are not finite: repair it")
    return found


def _indices(path: Path, count: int) -> np.ndarray:
    found = np.atleast_1d(_numbers(path))
    if (found != np.round(found)).any() or found.min() < 0 or found.max() >= count:
        raise ValueError(f"{path} must hold whole numbers from 0 to {count - 1}: repair it")
    return found.astype(int)
