"""Calls of a training program that are under way: their metrics, and how many steps the next call takes."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

SECONDS_PER_CALL = 0.5  # so that a signal or a progress bar never waits long for a call of many steps
CALLS_PER_AGREEMENT = 16  # of several hosts whose calls take one step each, about a signal that one of them got


class Calls:
    """Calls of the program that are under way, their metrics still on the device."""

    def __init__(self, window: "Window", most: int, report: Callable[[int, dict[str, float]], None] | None) -> None:
        self._window, self._most, self._report = window, most, report
        self._pace = Pace(most)
        self._pending: deque[tuple[int, Any]] = deque()
        self._started = 0
        self.settled = True  # whether metrics of all calls that are over are logged: an error may have come in between

    def agree(self, stop: bool) -> tuple[int, bool]:
        """How many steps the next call takes, and whether to stop; all hosts give and get the same."""
        count = self._pace.count
        if jax.process_count() > 1:
            agreed = self._most > 1 or self._started % CALLS_PER_AGREEMENT == 0
            return _agreed(count, stop) if agreed else (count, False)
        return count, stop

    def add(self, first: int, outputs: Any) -> None:
        """Remember a call that was started, from step `first` on: its metrics, steps taken, and whether good."""
        self._pending.append((first, outputs))
        self._started += 1

    def settle(self, keep: int) -> int | None:
        """Fetch metrics until `keep` calls are under way; the steps done where one diverged, else None."""
        self.settled = False
        while len(self._pending) > keep:
            first, outputs = self._pending.popleft()
            # Waited for first: what a call found no memory for would be read for ever.
            metrics, count, good = jax.device_get(jax.block_until_ready(outputs))
            self._pace.measure(int(count))
            newest = self._window.add(first, metrics, int(count))
            if self._report is not None:
                self._report(first + int(count), newest)
            if not good:
                return first + int(count)
        self.settled = True
        return None

    def restart_pace(self) -> None:
        """Leave the time since the last call out of the pace, as it held more than steps."""
        self._pace.restart()


class Window:
    """Means of metrics over windows of steps that end at multiples of `every`, however many steps a call took."""

    def __init__(self, log: Callable[[int, dict[str, Any]], None] | None, every: int) -> None:
        self._log, self._every = log, every
        self._sums: dict[str, Any] = {}  # floats, or arrays with one value for each member of a stacked state
        self._count = 0

    def open(self) -> dict[str, Any]:
        """Sums and count of the window that has not ended, as JSON holds them, for a run that goes on from here."""
        return {"sums": {name: np.asarray(total).tolist() for name, total in self._sums.items()}, "count": self._count}

    def resume(self, notes: Mapping[str, Any]) -> None:
        """Go on with the window that `open` described."""
        sums = {name: np.asarray(total, np.float64) for name, total in notes.get("sums", {}).items()}
        self._sums = {name: total if total.ndim else float(total) for name, total in sums.items()}
        self._count = int(notes.get("count", 0))

    def add(self, first: int, metrics: Mapping[str, np.ndarray], count: int) -> dict[str, float]:
        """Take the metrics, [>= count, ...] each, of the `count` steps after `first`; returns those of the last step.

        Of a stacked state's metrics, the mean over its members is returned.
        """
        columns = {name: np.asarray(value, np.float64) for name, value in metrics.items()}
        for i in range(count):
            for name, column in columns.items():
                self._sums[name] = self._sums.get(name, 0.0) + (column[i] if column.ndim > 1 else float(column[i]))
            self._count += 1
            if self._every and (first + i + 1) % self._every == 0:
                if self._log is not None:
                    self._log(first + i + 1, {f"train/{k}": s / self._count for k, s in self._sums.items()})
                self._sums, self._count = {}, 0
        return {name: float(np.mean(column[count - 1])) for name, column in columns.items()} if count else {}


class Pace:
    """How many steps a call takes, so that it lasts about `SECONDS_PER_CALL`."""

    def __init__(self, most: int) -> None:
        self.count, self._most = 1, most
        self.restart()

    def restart(self) -> None:
        """Forget when the last call ended."""
        self._last: float | None = None

    def measure(self, count: int) -> None:
        """Learn that a call of `count` steps has ended; the number of steps at most doubles from call to call."""
        now = time.perf_counter()
        if self._last is not None and count:
            fits = int(SECONDS_PER_CALL * count / max(now - self._last, 1e-6))
            self.count = max(1, min(self._most, 2 * self.count, fits))
        self._last = now


def _agreed(count: int, stop: bool) -> tuple[int, bool]:
    """One number of steps for all hosts, as their programs wait for each other, and whether any was asked to stop.

    One exchange finds both: the least count, and the least of -1 for a host that was asked to stop and 0 for others.
    """
    both = np.asarray(multihost_utils.process_allgather(np.array([count, -int(stop)])))
    count, stopped = both.min(0)
    return int(count), bool(stopped)
