"""Random-access sources, `len()` and `[i] -> {"x": ..., ...}`: data on disk, read an example at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray]
Example = dict[str, Any]  # field -> array, or a scalar of NumPy

REMEDY = 'remove it or get it again, or leave out damaged files with --damaged skip (in the library, damaged="skip")'


class DamagedExample(ValueError):
    """An example cannot be read: the message names its file, the reason and the remedy.

    It is what reading raises, at the start or while batches are streamed; threads and processes pass it on unchanged.
    """

    def __init__(self, fault: str, remedy: str = REMEDY):
        super().__init__(fault, remedy)  # both are arguments, so that a copy that is sent between processes has both
        self.fault, self.remedy = fault, remedy

    def __str__(self) -> str:
        return f"{self.fault}: {self.remedy}"


class Subset:
    """The examples of a random-access source that `indices` names, in their order."""

    def __init__(self, source: Any, indices: Sequence[int] | range | np.ndarray):
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Example:
        return self.source[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int] | np.ndarray) -> list[Example]:
        own = [int(self.indices[i]) for i in indices]
        many = getattr(self.source, "__getitems__", None)  # TFDS reads many examples at once in a third of the time
        return list(many(own)) if many else [self.source[i] for i in own]


class Joined:
    """Two random-access sources, one behind the other."""

    def __init__(self, first: Any, second: Any):
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, index: int) -> Example:
        return self.first[index] if index < len(self.first) else self.second[index - len(self.first)]


class ArraySource:
    """Arrays [N, ...] as a random-access source."""

    def __init__(self, arrays: Arrays):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> Example:
        return {key: value[index] for key, value in self.arrays.items()}


def within(limit: int, source: Any) -> Any:
    """The source's examples as arrays [N, ...] where they take at most `limit` bytes, else the source itself."""
    if isinstance(source, ArraySource):
        return source if sum(value.nbytes for value in source.arrays.values()) > limit else source.arrays
    size = sum(value.nbytes for value in _first(source).values())
    return source if len(source) * size > limit else gathered(source)


def gathered(source: Any) -> dict[str, np.ndarray]:
    """All examples of a source as arrays [N, ...].

    Raises:
      DamagedExample: some cannot be read; the first is named, and the others are counted.
    """
    first = _first(source)
    arrays = {key: np.empty((len(source), *value.shape), value.dtype) for key, value in first.items()}
    faults = []
    for index in range(len(source)):
        try:
            for key, value in source[index].items():
                arrays[key][index] = value
        except DamagedExample as error:
            faults.append(error)
    if faults:
        raise together(faults)
    return arrays


def _first(source: Any) -> dict[str, np.ndarray]:
    """The first example that can be read, or else the error of all."""
    faults = []
    for index in range(len(source)):
        try:
            return {key: np.asarray(value) for key, value in source[index].items()}
        except DamagedExample as error:
            faults.append(error)
    raise together(faults)


def together(faults: Sequence[DamagedExample]) -> DamagedExample:
    """One error that names the first of several faults and the number of the others; the caller raises it."""
    if len(faults) == 1:
        return faults[0]
    return DamagedExample(f"{faults[0].fault}, and {len(faults) - 1:,} more", faults[0].remedy)


def mixed(total: int) -> np.ndarray:
    """A fixed permutation of 0 to total - 1, the same on every machine, for data that their authors have not split."""
    return np.random.Generator(np.random.Philox(0)).permutation(total)


def tenth(total: int, split: str) -> np.ndarray:
    """Indices of the examples of `train` or `test`, where we split: a tenth of `total`, drawn by `mixed`, is `test`.

    Both are in mixed order, as the last of `train` are held out as `validation`, and files are often sorted by class.
    """
    order = mixed(total)
    test = max(1, round(0.1 * total)) if total > 1 else 0
    return order[:test] if split == "test" else order[test:]
