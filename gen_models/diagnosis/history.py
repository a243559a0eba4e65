"""What was logged of a training, as series by name: rows of metrics.jsonl, or those of a `fit` under way."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np


class Series(NamedTuple):
    """A metric over the steps at which it was logged."""

    steps: np.ndarray  # [n] int64, rising
    values: np.ndarray  # [n] float64; NaN and infinities stay

    def __len__(self) -> int:
        return len(self.steps)

    def newest(self, share: float = 0.2, least: int = 3) -> np.ndarray:
        """The newest values: a share of all, and `least` or more, as far as there are as many."""
        return self.values[-max(least, math.ceil(share * len(self.values))) :]

    def thirds(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The values in three parts that are as equal as can be, in order."""
        first, second, third = np.array_split(self.values, 3)
        return first, second, third


class History:
    """Metrics by name over steps.

    Args:
      rows: each with "step" and values by name; words that stand for NaN and infinities are numbers again.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self._steps: dict[str, list[int]] = {}
        self._values: dict[str, list[float]] = {}
        self.last_step = 0
        for row in rows:
            self.add(int(row["step"]), row)

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Take what was logged at a step; arrays, the values of a stacked training, are passed over."""
        self.last_step = max(self.last_step, step)
        for name, value in values.items():
            if name in ("step", "seconds") or np.ndim(value) > 0:
                continue
            self._steps.setdefault(name, []).append(step)
            self._values.setdefault(name, []).append(float(value))

    @property
    def names(self) -> list[str]:
        """Names of all metrics, in the order in which they came."""
        return list(self._steps)

    def series(self, name: str) -> Series:
        """The metric of this name; an empty series where nothing was logged under it."""
        return Series(np.asarray(self._steps.get(name, []), np.int64), np.asarray(self._values.get(name, []), float))

    def count(self, name: str) -> int:
        """How often the metric was logged."""
        return len(self._steps.get(name, []))

    def ending_in(self, *endings: str) -> list[str]:
        """Names whose last part, behind the last slash, is one of these."""
        return [name for name in self._steps if name.rpartition("/")[2] in endings]
