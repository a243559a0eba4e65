"""The worker processes of a sweep together: started when they are needed, asked together, replaced when they die.

There are two kinds of pools. The "pinned" pool has a process for each core; the "wide" pool is one process that has the
whole machine. Imports no JAX.
"""

import queue
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from gen_models.machine import core_numbers
from gen_models.run.config import InputError
from gen_models.sweep.pool import Source, Worker, workers


class Died(InputError):
    """A worker process ended instead of answering; its log says why."""


class Crew:
    """All worker processes of one sweep; a context manager that ends them, what they did saved.

    Args:
      source: the experiment that the workers import.
      logs: the folder of the workers' log files.
      count: how many processes the pinned pool has.
    """

    def __init__(self, source: Source, logs: Path, count: int) -> None:
        self.count = count
        self.compiled: dict[int, str] = {}  # a worker's number -> the group that it has compiled last
        self._source, self._logs = source, logs
        self._answers: queue.Queue[Any] = queue.Queue()
        self._stack = ExitStack()
        self._pools: dict[str, list[Worker]] = {}

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self._stack.close()
        self._pools.clear()

    def open(self, pinned: bool) -> None:
        """Start the first pool: the pinned one where that is wanted and JAX runs on the CPU, else the wide one."""
        if not self._pools and pinned and self.pool("pinned")[0].backend != "cpu":
            self.close()  # an accelerator cannot be shared out by cores
        if not self._pools:
            self.pool("wide")

    def pinned(self) -> list[Worker]:
        """The workers of the pinned pool; none where it was not started."""
        return self._pools.get("pinned", [])

    def first(self) -> list[Worker]:
        """The workers of the pool that `open` started."""
        return next(iter(self._pools.values()))

    def pool(self, kind: str) -> list[Worker]:
        """The workers of the "pinned" or the "wide" pool, which is started when it is first asked for."""
        for worker in list(self._pools.get(kind, [])):
            if worker.busy is None and worker.process.poll() is not None:  # it died while it had nothing to do
                self.replace(self._pools[kind], worker)
        if kind not in self._pools:
            available = core_numbers()
            pinned: list[int | None] = [available[i % len(available)] for i in range(self.count)]
            cores = pinned if kind == "pinned" else [None]
            started = self._start(cores, sum(len(pool) for pool in self._pools.values()))
            self._pools[kind] = started
            for worker, hello in zip(started, self.ask([(worker, None) for worker in started]), strict=True):
                worker.backend = hello["backend"]
        return self._pools[kind]

    def replace(self, pool: list[Worker], worker: Worker) -> None:
        """Put a new process into the pool instead of one that ended."""
        pool[pool.index(worker)] = self._start([worker.core], worker.number)[0]

    def hear(self) -> tuple[Worker, Any]:
        """The next message of any worker, waited for; None as message: that worker has ended."""
        return self._answers.get()

    def ask(self, questions: Sequence[tuple[Worker, Any]]) -> list[dict[str, Any]]:
        """Each worker's answer to its question, in the order of the questions; None as question waits for its greeting.

        Raises:
          Died: a worker ended instead of answering.
        """
        for worker, question in questions:
            if question is not None:
                worker.busy = question
                worker.ask(question)
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(questions):
            worker, message = self.hear()
            if not any(worker is other for other, _ in questions):
                continue
            if message is None:
                raise Died(f"a worker process ended with status {worker.process.wait()}{worker.last_words()}")
            if message["number"] == worker.asked:  # else it is the greeting of a worker that replaced another one
                found[worker.number] = message
                worker.busy = None
        return [found[worker.number] for worker, _ in questions]

    def _start(self, cores: Sequence[int | None], first: int) -> list[Worker]:
        return self._stack.enter_context(workers(self._source, cores, self._logs, self._answers, first=first))
