"""Requests that wait are computed together, in one of a few sizes that are compiled at the start.

While one batch is computed, requests queue up; they are the next batch. So nothing waits on purpose: a lone request is
computed at once, and under load batches grow by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

Arrays = Mapping[str, np.ndarray]


class Full(Exception):
    """So many rows wait that no more are taken."""


class Stopped(Exception):
    """The batcher has ended, and takes nothing more."""


class _Waiting(NamedTuple):
    """A request in the queue."""

    arrays: Arrays
    rows: int
    answer: "asyncio.Future[np.ndarray]"  # the outputs [rows, ...], once they are there


class Batcher:
    """A queue in front of a function of arrays [N, ...], which is called with N of `sizes` alone."""

    def __init__(
        self,
        compute: Callable[[Arrays], np.ndarray],
        sizes: Sequence[int],
        most_waiting: int,
        told: Callable[[int], None] = lambda rows: None,
    ):
        self.compute, self.sizes, self.most_waiting = compute, tuple(sorted(sizes)), most_waiting
        self.told = told  # called with the rows of each batch
        self.waiting_rows = 0
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "compute")

    async def start(self, example: Arrays) -> None:
        """Compile all sizes, of copies of an example [1, ...], and begin to take requests."""
        loop = asyncio.get_running_loop()
        for size in self.sizes:
            await loop.run_in_executor(self._thread, self.compute, _filled([example], size))
        self._task = loop.create_task(self._work())

    async def submit(self, arrays: Arrays) -> np.ndarray:
        """The outputs [N, ...] of arrays [N, ...], N at most the largest size.

        Raises:
          Full: too many rows wait.
          Stopped: the batcher has been stopped.
        """
        rows = _rows(arrays)
        if self._stopping or self._task is None or self._task.done():
            raise Stopped
        if self.waiting_rows + rows > self.most_waiting:
            raise Full
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(arrays, rows, answer))
        self.waiting_rows += rows
        self._arrived.set()
        return await answer

    async def stop(self) -> None:
        """Answer all that was taken, then end."""
        self._stopping = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    async def _work(self) -> None:
        """Answer one batch after another, until the batcher is stopped and nothing waits."""
        while self._queue or not self._stopping:
            if self._queue:
                await self._answer(self._taken())
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _answer(self, batch: list[_Waiting]) -> None:
        """Compute a batch, and give each request its own rows, or the error. One that is done has lost its client."""
        rows = sum(one.rows for one in batch)
        size = next(size for size in self.sizes if size >= rows)
        try:
            arrays = _filled([one.arrays for one in batch], size)
            outputs = await asyncio.get_running_loop().run_in_executor(self._thread, self.compute, arrays)
        except Exception as error:  # whatever it is, it is the answer to these requests, and others go on
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        self.told(rows)
        start = 0
        for one in batch:
            if not one.answer.done():
                one.answer.set_result(outputs[start : start + one.rows])
            start += one.rows

    def _taken(self) -> list[_Waiting]:
        """The first requests that fit into the largest size together."""
        batch, rows = [], 0
        while self._queue and rows + self._queue[0].rows <= self.sizes[-1]:
            batch.append(self._queue.popleft())
            rows += batch[-1].rows
        self.waiting_rows -= rows
        return batch


def _rows(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _filled(parts: Sequence[Arrays], size: int) -> dict[str, np.ndarray]:
    """The parts behind one another, filled up to `size` with the first example."""
    missing = size - sum(map(_rows, parts))
    return {
        name: np.concatenate([*(part[name] for part in parts), np.repeat(values[:1], missing, 0)])
        for name, values in parts[0].items()
    }
