"""Train what a sweep has not trained yet: measure how, share the runs out over workers, and say how each ended.

The parent imports no JAX. It gives runs to its workers one at a time, or several of a group as a stack, and a run
belongs to whoever holds its directory's lock: so two parents on one folder share the work, and neither repeats what the
other has done.
"""

import queue
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from gen_models.run import directory as runs
from gen_models.run.config import InputError
from gen_models.sweep.plan import Planned, group_of, merge
from gen_models.sweep.pool import Worker, cores, workers
from gen_models.sweep.report.study import Group

EXECUTIONS = ("auto", "processes", "one", "vmap", "scan")
STACKED = ("vmap", "scan")
WORTH_STACKING = 4  # runs of a group, below which stacking is not measured
TOY_SECONDS = 0.003  # a step below this is so short that stacking is measured even in a short sweep
LONG_SECONDS = 60.0  # a group that is expected to take longer is worth measuring every candidate
ATTEMPTS = 2  # of a run whose worker died
FILLED = 0.8  # of the memory that there is, at most
POLL_SECONDS = 1.0  # between looks at runs that another process holds


class Ending(NamedTuple):
    """How a run ended, in this process or before."""

    status: str  # "finished", "diverged", "dropped" (by successive halving), "failed", "paused"
    message: str = ""


class Choice(NamedTuple):
    """How a group is to be trained."""

    how: str  # "processes", "one", "vmap" or "scan"
    seconds: Mapping[str, float]  # execution -> seconds a step of one run, as throughput: those at once counted
    note: str


class Task(NamedTuple):
    """What a worker gets at once."""

    how: str  # "one", "vmap" or "scan"
    members: list[Planned]
    group: str


def ended_before(folder: Path) -> Ending | None:
    """The ending of a run that need not be trained, else None; one that failed is tried again."""
    if (folder / "result.json").exists():
        return Ending("finished")
    stopped = runs.Run(folder).stopped()
    if stopped is None or stopped["status"] not in ("diverged", "dropped"):
        return None
    return Ending(stopped["status"], stopped["message"])


class Runner:
    """Workers, and what is known of the groups; a context manager that ends the workers, what they did saved.

    Args:
      experiment: its module.
      folder: of the sweep; workers' logs go to `logs/` there.
      execution: one of `EXECUTIONS`.
      count: worker processes; None: one for each core.
      say: called with a line for the user.
      launcher: "local", "ray" or "slurm".
      runs_in_all: that will be trained: no more processes are started.
      slurm: parameters of submitit's executor.
    """

    def __init__(
        self,
        experiment: str,
        folder: Path,
        execution: str,
        count: int | None,
        say: Callable[[str], None],
        launcher: str = "local",
        runs_in_all: int = 10**6,
        slurm: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.experiment, self.folder, self.execution, self.say = experiment, folder, execution, say
        self._launcher, self._slurm = launcher, slurm
        self.keeps = False  # whether costs are written to the folder
        self.choices: dict[str, Choice] = {}
        self.groups: dict[str, Group] = {}
        self.costs: dict[str, Mapping[str, float]] = {}
        self.took: dict[Path, float] = {}  # seconds that runs by themselves took in their workers
        self._available = cores()
        self._count = min(count or len(self._available), max(1, runs_in_all))
        self._answers: queue.Queue[Any] = queue.Queue()
        self._stack = ExitStack()
        self._pools: dict[str, list[Worker]] = {}
        self._checked: set[str] = set()
        self._newest: dict[int, str] = {}  # worker -> the group that it has compiled last

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def at_once(self) -> int:
        """How many runs train at the same time."""
        return len(self._pools.get("pinned", [None]))

    def train(self, todo: Sequence[Planned], until: int | None = None) -> dict[Path, Ending]:
        """Train the runs, from wherever each is, to their end or to the step `until`.

        Raises:
          InputError: a config cannot be built, or the execution asked for is not possible.
        """
        if not todo:
            return {}
        self.check(todo)
        groups: dict[str, list[Planned]] = {}
        for one in todo:
            groups.setdefault(group_of(one.config), []).append(one)
        unknown = {name: members for name, members in groups.items() if name not in self.choices and until is None}
        pinned = self._pinned_seconds(unknown)
        for name, members in groups.items():
            if until is not None or name not in self.choices:
                self.choices[name] = self.choose(members, until, pinned.get(name))
            choice = self.choices[name]
            labels = tuple(dict.fromkeys(one.label for one in members))
            self.groups.setdefault(name, Group(labels, len(members), choice.how, choice.seconds, choice.note))
        if self._launcher != "local":
            return self._remotely(todo, until)
        endings: dict[Path, Ending] = {}
        for how, pool in (("processes", "pinned"), ("one", "wide")):
            tasks = [Task("one", [o], g) for o in todo if self.choices[g := group_of(o.config)].how == how]
            if tasks:
                endings |= self._drain(self._pool(pool), tasks, until)
        for name in groups:
            if self.choices[name].how in STACKED:
                endings |= self._drain(self._pool("wide"), self._stacks(name, groups[name]), until)
        return endings

    def measured(self, members: Sequence[Planned]) -> Choice:
        """`choose`, with a measurement even where there is no choice: for an estimate."""
        self.check(members)
        choice = self.choose(members)
        if choice.how not in choice.seconds:
            pool = next(iter(self._pools.values()))
            at_once = min(len(pool), len(members)) if choice.how == "processes" else 1
            answers = self._measure([(worker, members[0].config) for worker in pool[:at_once]], ["one"], 1)
            seconds = max(answer["seconds"]["one"] for answer in answers) / at_once
            choice = choice._replace(seconds={choice.how: seconds})
        return choice

    def compare(self, members: Sequence[Planned], hows: Sequence[str]) -> dict[str, float]:
        """Seconds a step of one run: in pinned processes, all of them at work, and each of `hows` with all cores."""
        self.check(members)
        config = members[0].config
        pinned = self._pinned_seconds({"": members})
        seconds = {"processes": pinned[""] / len(self._pools["pinned"])} if pinned else {}
        return seconds | self._measure([(self._pool("wide")[0], config)], hows, len(members))[0]["seconds"]

    def _pinned_seconds(self, groups: Mapping[str, Sequence[Planned]]) -> dict[str, float]:
        """Seconds a step, in a pinned process while the others are busy too, of the groups for which it is asked.

        Each worker measures another group, as many at once as there are workers, and keeps what it has compiled.
        """
        pool = self._pools.get("pinned", [])
        if self.execution != "auto" or self._launcher != "local" or not pool:
            return {}
        found: dict[str, float] = {}
        names = [name for name, members in groups.items() if len(members) >= WORTH_STACKING]
        for first in range(0, len(names), len(pool)):
            some = names[first : first + len(pool)]
            asked = [(worker, some[i % len(some)]) for i, worker in enumerate(pool)]
            answers = self._measure([(worker, groups[name][0].config) for worker, name in asked], ["one"], 1)
            for (worker, name), answer in zip(asked, answers, strict=True):
                found[name] = max(found.get(name, 0.0), answer["seconds"]["one"])
                self._newest[worker.number] = name
        return found

    def choose(self, members: Sequence[Planned], until: int | None = None, pinned: float | None = None) -> Choice:
        """Measure the candidates for a group, where that is worth its time, and take the fastest.

        Args:
          members: the group's runs.
          until: as for `train`.
          pinned: seconds a step in a pinned process, where that was measured.

        Raises:
          InputError: the execution that was asked for does not work for this group.
        """
        config = members[0].config
        steps = config.steps if until is None else min(until, config.steps)
        if self._launcher != "local":
            return Choice(self._launcher, {}, "as asked: each run by itself")
        if until is not None:
            return Choice("processes" if "pinned" in self._pools else "one", {}, "halving trains runs by themselves")
        if self.execution != "auto":
            return self._as_asked(config, len(members))
        seconds: dict[str, float] = {}
        problems: dict[str, str] = {}
        if "pinned" in self._pools:
            if len(members) < WORTH_STACKING:
                return Choice("processes", seconds, f"not measured: fewer than {WORTH_STACKING} runs")
            if pinned is None:
                pinned = self._pinned_seconds({"": members})[""]
            seconds["processes"] = pinned / min(len(self._pools["pinned"]), len(members))
            expected = seconds["processes"] * steps * len(members)
            if expected < LONG_SECONDS and pinned > TOY_SECONDS:
                return Choice("processes", seconds, f"nothing else measured: {expected:.0f} s of training expected")
        elif len(members) < 2:
            return Choice("one", {}, "not measured: a single run")
        candidates = ["one", *STACKED] if len(members) > 1 else ["one"]
        for answer in self._measure([(self._pool("wide")[0], config)], candidates, len(members)):
            seconds |= answer["seconds"]
            problems |= answer["problems"]
        best = min(seconds, key=lambda name: seconds[name])
        note = "; ".join(["the fastest", *(f"{name} does not work: {why}" for name, why in problems.items())])
        return Choice(best, seconds, note)

    def _as_asked(self, config: Any, members: int) -> Choice:
        if self.execution not in STACKED:
            how = "processes" if self.execution == "processes" and "pinned" in self._pools else "one"
            return Choice(how, {}, "as asked")
        answer = self._measure([(self._pool("wide")[0], config)], [self.execution], members)[0]
        if self.execution in answer["problems"]:
            raise InputError(f"--execution {self.execution} does not work here: {answer['problems'][self.execution]}")
        return Choice(self.execution, answer["seconds"], "as asked")

    def _measure(self, asked: Sequence[tuple[Worker, Any]], hows: Sequence[str], members: int) -> list[dict[str, Any]]:
        """What each worker measures of a config, all at the same time."""
        questions = [
            (worker, {"do": "measure", "config": runs.plain(config), "hows": list(hows), "members": members})
            for worker, config in asked
        ]
        answers = self._gather(questions)
        for (_, config), answer in zip(asked, answers, strict=True):
            self._keep_cost(group_of(config), answer["cost"])
            if "one" in hows and "one" not in answer["seconds"]:
                raise InputError(f"a step cannot be run: {answer['problems']['one']}")
        return answers

    def _keep_cost(self, group: str, cost: Mapping[str, float]) -> None:
        """At once: a sweep that is killed measures no cost of a group whose runs are all done."""
        if group not in self.costs:
            self.costs[group] = cost
            if self.keeps:
                merge(self.folder / "costs.json", {group: cost})

    def _stacks(self, group: str, members: Sequence[Planned]) -> list[Task]:
        """The members in stacks that fit in memory, all of the same size but the last."""
        question = {"do": "memory", "config": runs.plain(members[0].config)}
        answer = self._gather([(self._pool("wide")[0], question)])[0]
        most = max(1, int(FILLED * answer["available"] / max(1, answer["member"])))
        parts = -(-len(members) // most)
        size = -(-len(members) // parts)
        how, known = self.choices[group].how, self.groups[group]
        if parts > 1:
            gib = answer["member"] / 2**30
            note = f"{known.note}; {parts} stacks of up to {size}, as a run takes {gib:.2g} GiB by estimate"
            self.groups[group] = known._replace(note=note)
        return [Task(how, list(members[i : i + size]), group) for i in range(0, len(members), size)]

    def _remotely(self, todo: Sequence[Planned], until: int | None) -> dict[Path, Ending]:
        """Give the runs to Ray or Slurm, until each has ended."""
        from gen_models.sweep import remote

        if not todo:
            return {}
        known = {str(one.folder.absolute()): one for one in todo}
        asked = [_asked(one) | {"folder": folder} for folder, one in known.items()]
        if self._launcher == "ray":
            results = remote.by_ray(self.experiment, asked, until)
        else:
            results = remote.by_slurm(self.experiment, asked, until, self.folder / "slurm", self._slurm)
        endings: dict[Path, Ending] = {}
        held = []
        for result in results:
            one = known[result["folder"]]
            if "cost" in result:
                self._keep_cost(group_of(one.config), result["cost"])
            if result["status"] == "busy":
                held.append(one)
                continue
            status = "failed" if result["status"] == "interrupted" else result["status"]
            endings[one.folder] = Ending(status, result["message"])
            about = f": {result['message']}" if result["message"] else ""
            self.say(f"{one.label}, seed {one.config.seed}: {status}{about} ({len(endings)} of {len(todo)})")
        if held:  # by another process
            time.sleep(POLL_SECONDS)
            endings |= {one.folder: ending for one in held if (ending := ended_before(one.folder)) is not None}
            endings |= self._remotely([one for one in held if one.folder not in endings], until)
        return endings

    def _drain(self, pool: list[Worker], tasks: Sequence[Task], until: int | None) -> dict[Path, Ending]:
        """Give the tasks to the workers until each run has ended; runs held elsewhere are waited for."""
        waiting, held = deque(tasks), list[Planned]()
        endings: dict[Path, Ending] = {}
        attempts: dict[Path, int] = {}
        last = self._newest
        total = sum(len(task.members) for task in tasks)

        def end(one: Planned, ending: Ending, took: float | None = None) -> None:
            endings[one.folder] = ending
            seconds = "" if took is None else f" in {took:.1f} s"
            about = f": {ending.message}" if ending.message else ""
            self.say(
                f"{one.label}, seed {one.config.seed}: {ending.status}{seconds}{about} ({len(endings)} of {total})"
            )

        while waiting or held or any(worker.busy for worker in pool):
            for worker in pool:
                if waiting and worker.busy is None:
                    task = self._next(waiting, last.get(worker.number), {last.get(w.number) for w in pool})
                    left = [one for one in task.members if until or not self._take_over(one, end)]
                    if left:
                        last[worker.number] = task.group
                        worker.busy = task._replace(members=left)
                        worker.ask({"do": "run", "how": task.how, "until": until, "runs": [_asked(o) for o in left]})
            if not any(worker.busy for worker in pool):
                if held and not waiting:
                    time.sleep(POLL_SECONDS)
                    waiting.extend(Task("one", [one], group_of(one.config)) for one in held)
                    held.clear()
                continue
            worker, message = self._answers.get()
            if not any(worker is other for other in pool):
                continue
            if message is None:
                waiting.extendleft(self._after_a_death(pool, worker, attempts, end))
            elif "folder" in message:
                one = next(o for o in worker.busy.members if str(o.folder) == message["folder"])
                if "cost" in message:
                    self._keep_cost(group_of(one.config), message["cost"])
                    continue
                if message["status"] == "busy":
                    held.append(one)
                elif message["status"] == "interrupted":
                    raise KeyboardInterrupt
                else:
                    self.took |= {one.folder: message["took"]} if "took" in message else {}
                    end(one, Ending(message["status"], message["message"]), message.get("took"))
                worker.busy.members.remove(one)
            elif "done" in message:
                worker.busy = None
        return endings

    def _take_over(self, one: Planned, end: Callable[..., None]) -> bool:
        """Whether another process has ended the run in the meantime."""
        ending = ended_before(one.folder)
        if ending is not None:
            end(one, ending._replace(message="by another process"))
        return ending is not None

    def _next(self, waiting: deque[Task], mine: str | None, taken: set[str | None]) -> Task:
        """Of the group that this worker has compiled, else of one that no other has, else the first."""
        order = [lambda t: t.group == mine, lambda t: t.group not in taken, lambda t: True]
        task = next(task for fits in order for task in waiting if fits(task))
        waiting.remove(task)
        return task

    def _after_a_death(
        self, pool: list[Worker], worker: Worker, attempts: dict[Path, int], end: Callable[..., None]
    ) -> list[Task]:
        """Put another worker in the place of one that died; the runs that it had are tried again, each by itself."""
        code, task = worker.process.wait(), worker.busy
        again = []
        for one in task.members if task is not None else []:
            attempts[one.folder] = attempts.get(one.folder, 0) + 1
            if attempts[one.folder] < ATTEMPTS:
                again.append(Task("one", [one], task.group))
            else:
                end(one, Ending("failed", f"its process ended with status {code}, {ATTEMPTS} times: see {worker.log}"))
        self.say(f"a worker process ended with status {code} (see {worker.log}); another one goes on")
        pool[pool.index(worker)] = self._another(worker)
        return again

    def _another(self, worker: Worker) -> Worker:
        """A new process in the place of one that ended."""
        places, logs = [worker.core], self.folder / "logs"
        return self._stack.enter_context(workers(self.experiment, places, logs, self._answers, first=worker.number))[0]

    def check(self, todo: Sequence[Planned]) -> None:
        """Start the first workers, and build each row's config once: what is wrong is said before anything compiles.

        Raises:
          InputError: a config cannot be built.
        """
        if not self._pools:
            pinned = self.execution in ("auto", "processes") and self._count > 1
            if pinned and self._pool("pinned")[0].backend != "cpu":  # an accelerator is not shared out by cores
                self._stack.close()
                self._pools.clear()
            if not self._pools:
                self._pool("wide")
        todo = [one for one in todo if one.label not in self._checked]
        self._checked |= {one.label for one in todo}
        pool = next(iter(self._pools.values()))
        if not todo:
            return
        rows = {one.label: one.config for one in todo}
        parts = [list(rows.values())[i :: len(pool)] for i in range(len(pool))]
        asked = [
            (worker, {"do": "check", "configs": [runs.plain(c) for c in part], "how": self.execution})
            for worker, part in zip(pool, parts, strict=True)
            if part
        ]
        for answer in self._gather(asked):
            for error in answer["errors"]:
                if error is not None:
                    raise InputError(error)

    def _pool(self, kind: str) -> list[Worker]:
        """The pinned workers, or the one that has the whole machine; started when first asked for."""
        for i, worker in enumerate(self._pools.get(kind, [])):
            if worker.busy is None and worker.process.poll() is not None:  # it died while it had nothing to do
                self._pools[kind][i] = self._another(worker)
        if kind not in self._pools:
            places: list[int | None] = [None]
            if kind == "pinned":
                places = [self._available[i % len(self._available)] for i in range(self._count)]
            first = sum(len(pool) for pool in self._pools.values())
            pool = self._stack.enter_context(
                workers(self.experiment, places, self.folder / "logs", self._answers, first=first)
            )
            self._pools[kind] = pool
            for worker, hello in zip(pool, self._gather([(worker, None) for worker in pool]), strict=True):
                worker.backend = hello["backend"]
        return self._pools[kind]

    def _gather(self, asked: Sequence[tuple[Worker, Any]]) -> list[dict[str, Any]]:
        """Each worker's answer, in their order; a question of None waits for its greeting."""
        for worker, question in asked:
            if question is not None:
                worker.busy = question
                worker.ask(question)
        found: dict[int, dict[str, Any]] = {}
        while len(found) < len(asked):
            worker, message = self._answers.get()
            if not any(worker is other for other, _ in asked):
                continue
            if message is None:
                raise InputError(f"a worker process ended with status {worker.process.wait()}: see {worker.log}")
            if message["number"] == worker.asked:  # else the greeting of one that was put in another's place
                found[worker.number] = message
                worker.busy = None
        return [found[worker.number] for worker, _ in asked]


def _asked(one: Planned) -> dict[str, Any]:
    return {"variant": one.variant, "config": runs.plain(one.config), "folder": str(one.folder)}
