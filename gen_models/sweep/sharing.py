"""Runs shared out to the workers of a pool, until each has ended; runs that other processes hold are waited for.

Imports no JAX.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.run.fields import to_json
from gen_models.sweep.crew import Crew
from gen_models.sweep.endings import BY_ANOTHER, Ending, ended_before
from gen_models.sweep.plan import PlannedRun, group_of
from gen_models.sweep.pool import Worker

ATTEMPTS = 2  # at a run whose worker died
POLL_SECONDS = 1.0  # between looks at runs that another process holds


class Task(NamedTuple):
    """What one worker gets at once: a run, or several of a group as a stack."""

    how: str  # "one", "vmap" or "scan"
    runs: list[PlannedRun]
    group: str


def message_of(run: PlannedRun) -> dict[str, Any]:
    """The run as a worker is told of it."""
    return {"variant": run.variant, "config": to_json(run.config), "folder": str(run.folder)}


class Sharing:
    """Gives tasks to the workers of one pool, and keeps how their runs ended.

    Args:
      crew: the workers' owner.
      kind: the pool: "pinned" or "wide".
      tasks: what is to be trained.
      until: train each run to this step; None: to its end.
      keep_cost: called with a group and what its step costs.
      say: called with a line for the user.
    """

    def __init__(
        self,
        crew: Crew,
        kind: str,
        tasks: Sequence[Task],
        until: int | None,
        keep_cost: Callable[[str, Mapping[str, float]], None],
        say: Callable[[str], None],
    ) -> None:
        self.endings: dict[Path, Ending] = {}
        self.took: dict[Path, float] = {}  # seconds that runs by themselves took in their workers
        self._crew, self._pool, self._until = crew, crew.pool(kind), until
        self._keep_cost, self._say = keep_cost, say
        self._waiting, self._held = deque(tasks), list[PlannedRun]()
        self._attempts: dict[Path, int] = {}
        self._total = sum(len(task.runs) for task in tasks)

    def work(self) -> dict[Path, Ending]:
        """Train all runs of all tasks; returns how each ended.

        Raises:
          KeyboardInterrupt: a worker was told to stop.
        """
        while self._waiting or self._held or self._at_work():
            self._hand_out()
            if self._at_work():
                self._take(*self._crew.hear())
            elif self._held and not self._waiting:
                time.sleep(POLL_SECONDS)
                self._waiting.extend(Task("one", [run], group_of(run.config)) for run in self._held)
                self._held.clear()
        return self.endings

    def _at_work(self) -> bool:
        return any(worker.busy for worker in self._pool)

    def _hand_out(self) -> None:
        """Give a task to each worker that has none; runs that another process has ended meanwhile are left out."""
        for worker in self._pool:
            if not self._waiting or worker.busy is not None:
                continue
            task = self._next(worker)
            left = [run for run in task.runs if self._until or not self._has_ended(run)]
            if left:
                self._crew.compiled[worker.number] = task.group
                worker.busy = task._replace(runs=left)
                messages = [message_of(run) for run in left]
                worker.ask({"do": "run", "how": task.how, "until": self._until, "runs": messages})

    def _next(self, worker: Worker) -> Task:
        """A task of the group that the worker has compiled, else of one that no other worker has, else the first."""
        compiled = self._crew.compiled
        own, taken = compiled.get(worker.number), {compiled.get(other.number) for other in self._pool}
        order = [lambda t: t.group == own, lambda t: t.group not in taken, lambda t: True]
        task = next(task for fits in order for task in self._waiting if fits(task))
        self._waiting.remove(task)
        return task

    def _has_ended(self, run: PlannedRun) -> bool:
        """Whether another process has ended the run since it was planned."""
        ending = ended_before(run.folder)
        if ending is not None:
            self._end(run, ending._replace(message=BY_ANOTHER))
        return ending is not None

    def _take(self, worker: Worker, message: Any) -> None:
        """What follows from a worker's message."""
        if not any(worker is own for own in self._pool):
            return
        if message is None:
            self._after_a_death(worker)
        elif "folder" in message:
            run = next(run for run in worker.busy.runs if str(run.folder) == message["folder"])
            if "cost" in message:
                self._keep_cost(group_of(run.config), message["cost"])
                return
            if message["status"] == "interrupted":
                raise KeyboardInterrupt
            if message["status"] == "busy":
                self._held.append(run)
            else:
                self._end(run, Ending(message["status"], message["message"]), message.get("took"))
            worker.busy.runs.remove(run)
        elif "done" in message:
            worker.busy = None

    def _end(self, run: PlannedRun, ending: Ending, took: float | None = None) -> None:
        """Keep the run's ending, and say it."""
        self.endings[run.folder] = ending
        if took is not None:
            self.took[run.folder] = took
        seconds = "" if took is None else f" in {took:.1f} s"
        about = f": {ending.message}" if ending.message else ""
        count = f"({len(self.endings)} of {self._total})"
        self._say(f"{run.label}, seed {run.config.seed}: {ending.status}{seconds}{about} {count}")

    def _after_a_death(self, worker: Worker) -> None:
        """Replace a worker that died; the runs that it had are tried again first, each by itself."""
        code, words, task = worker.process.wait(), worker.last_words(), worker.busy
        for run in task.runs if task is not None else []:
            self._attempts[run.folder] = self._attempts.get(run.folder, 0) + 1
            if self._attempts[run.folder] < ATTEMPTS:
                self._waiting.appendleft(Task("one", [run], task.group))
            else:
                message = f"its process ended with status {code}, {ATTEMPTS} times{words}"
                self._end(run, Ending("failed", message))
        self._say(f"a worker process ended with status {code}{words}; another process goes on")
        self._crew.replace(self._pool, worker)
