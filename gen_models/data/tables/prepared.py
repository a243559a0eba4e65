"""What a table's columns mean, and how its raw rows become numbers: measured on the rows for training alone."""

from typing import NamedTuple

MISSING = ("mean", "median", "most_frequent", "nearest", "drop")  # what stands for a missing number
SCALING = ("standard", "min_max", "robust", "none")


class Prepared(NamedTuple):
    """As `Columns`, with what `table_preparation` measured; a run keeps it, and needs no data to prepare raw rows."""

    numeric: tuple[str, ...]
    categorical: tuple[tuple[str, tuple[str, ...]], ...]
    target: str | None
    classes: tuple[str, ...] | None
    missing: str  # one of `MISSING`
    scaling: str  # one of `SCALING`
    centre: tuple[float, ...]  # of each numeric column, which becomes (x - centre) / scale
    scale: tuple[float, ...]
    fill: tuple[float, ...]  # what stands for a missing value of each numeric column, in its own unit
    marked: tuple[int, ...]  # numeric columns beside which stands 1 where the value is missing, and else 0
    common: tuple[int, ...]  # number of the word that stands for a missing one, by categorical column; 0: none
    neighbours: int  # rows whose mean stands for a missing value, where `missing` is "nearest"
    rows: tuple[tuple[float | None, ...], ...]  # scaled rows for training among which they are sought
    target_centre: float  # of a target that is a number; 0 and 1 for classes
    target_scale: float

    @property
    def width(self) -> int:
        """Numbers that a prepared row has."""
        return len(self.numeric) + len(self.marked) + sum(len(words) for _, words in self.categorical)

    @property
    def names(self) -> tuple[str, ...]:
        """What each of these numbers is: "age", "age missing", "town=Oslo"."""
        words = [f"{name}={word}" for name, own in self.categorical for word in own]
        return (*self.numeric, *(f"{self.numeric[index]} missing" for index in self.marked), *words)
