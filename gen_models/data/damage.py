"""Files that cannot be read: named all together, or left out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gen_models.data.access import DamagedExample, together
from gen_models.data.cache import cached
from gen_models.data.names import counted, shown
from gen_models.machine import cores

T = TypeVar("T")
CHUNK = 64  # examples that a thread reads one after another


def whole(
    found: Mapping[str, Sequence[T]], check: Callable[[T], object], damaged: str
) -> tuple[dict[str, list[T]], list[DamagedExample]]:
    """The examples of each split for which `check` raises no `DamagedExample`, and all that it raised.

    Raises:
      DamagedExample: it raised one and `damaged` is not "skip", or nothing is left of a split.
    """
    kept: dict[str, list[T]] = {split: [] for split in found}
    faults = []
    for split, examples in found.items():
        for example in examples:
            try:
                check(example)
                kept[split].append(example)
            except DamagedExample as error:
                faults.append(error)
    _refuse(kept, faults, damaged)
    return kept, faults


def readable(
    found: Mapping[str, Sequence[T]],
    source: Callable[[Sequence[T]], Any],
    cache: Path,
    stamp: Callable[[Sequence[T]], Iterable[object]],
) -> tuple[dict[str, list[T]], list[DamagedExample]]:
    """The examples of each split that can be read, and what is wrong with the others: all are read once.

    `source` makes a random-access source of examples, and `stamp` says what their reading depends on: what was found is
    kept in the cache in the folder `cache`, and not sought again.

    Raises:
      DamagedExample: nothing is left of a split.
    """
    kept: dict[str, list[T]] = {}
    faults = []
    for split, examples in found.items():
        own = source(examples)
        good = cached(cache, "intact", stamp(examples), partial(_intact, own), ("intact",))["intact"]
        kept[split] = [example for example, is_good in zip(examples, good, strict=True) if is_good]
        faults += [error for index in np.flatnonzero(~good) if (error := _fault(own, int(index))) is not None]
    _refuse(kept, faults, "skip")
    return kept, faults


def intact(source: Any) -> np.ndarray:
    """Which examples of a source can be read, bool [N]: each is, by as many threads as there are cores."""

    def check(start: int) -> list[bool]:
        return [_fault(source, index) is None for index in range(start, min(start + CHUNK, len(source)))]

    with ThreadPoolExecutor(cores()) as pool:
        return np.array([good for part in pool.map(check, range(0, len(source), CHUNK)) for good in part], bool)


def left_out(faults: Sequence[DamagedExample]) -> tuple[str, ...]:
    """The phrase for what was left out, if anything was: "2 damaged files (a.png cannot be decoded (...), ...)"."""
    if not faults:
        return ()
    more = f", {len(faults) - 1:,} more" if len(faults) > 1 else ""
    return (f"{counted(len(faults), 'damaged file')} ({faults[0].fault}{more})",)


def was_changed(path: Path, now: Sequence[int], before: Sequence[int]) -> DamagedExample:
    """The error for an image file whose shape is not what its header said at first; the caller raises it."""
    return DamagedExample(f"{shown(path)} was {tuple(before)} at first and is {tuple(now)} now", "put the file back")


def _intact(source: Any) -> dict[str, np.ndarray]:
    return {"intact": intact(source)}


def _fault(source: Any, index: int) -> DamagedExample | None:
    try:
        source[index]
    except DamagedExample as error:
        return error
    return None


def _refuse(kept: Mapping[str, Sequence[Any]], faults: Sequence[DamagedExample], damaged: str) -> None:
    if faults and (damaged != "skip" or not all(kept.values())):
        raise together(faults)
