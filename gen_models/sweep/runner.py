"""Train what a sweep has not trained yet: choose how, share the runs out over workers, and keep how each ended.

The parent imports no JAX. It gives runs to its workers one at a time, or several of a group as a stack, and a run
belongs to whoever holds its directory's lock: so two parents on one folder share the work, and neither repeats what the
other has done.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from gen_models.machine import cores
from gen_models.run import directory
from gen_models.run.config import Experiment, InputError
from gen_models.run.directory import Request
from gen_models.run.fields import to_json
from gen_models.sweep import remote
from gen_models.sweep.choice import FILLED, STACKED, Choice, Chooser
from gen_models.sweep.crew import Crew
from gen_models.sweep.endings import Ending, ended_before
from gen_models.sweep.plan import PlannedRun, group_of, merge
from gen_models.sweep.pool import source_of
from gen_models.sweep.report.study import Group
from gen_models.sweep.search import Objective
from gen_models.sweep.sharing import POLL_SECONDS, Sharing, Task, message_of


class Runner:
    """Workers, and what is known of the groups; a context manager that ends the workers, what they did saved.

    Args:
      experiment: whose sweep it is.
      folder: of the sweep; workers' logs go to `logs/` there.
      execution: one of `choice.EXECUTIONS`.
      count: how many worker processes there are; None: one for each core.
      say: called with a line for the user.
      launcher: "local", "ray" or "slurm".
      runs_in_all: how many runs will be trained at most; no more processes than that are started.
      slurm: parameters of submitit's executor.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: Path,
        execution: str,
        count: int | None,
        say: Callable[[str], None],
        launcher: str = "local",
        runs_in_all: int = 10**6,
        slurm: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder, self.execution, self.say = folder, execution, say
        self.keeps = False  # whether costs are written to the folder
        self.choices: dict[str, Choice] = {}
        self.groups: dict[str, Group] = {}
        self.costs: dict[str, Mapping[str, float]] = {}
        self.took: dict[Path, float] = {}  # seconds that runs by themselves took in their workers
        self.objective: Objective | None = None  # by which rows are judged, once `check` has asked the workers
        self._source, self._launcher, self._slurm = source_of(experiment), launcher, slurm
        self._crew = Crew(self._source, folder / "logs", min(count or cores(), max(1, runs_in_all)))
        self._chooser = Chooser(self._crew, execution, launcher, self._keep_cost)
        self._experiment = experiment
        self._checked: set[str] = set()
        self._told: list[str] = []  # what was read, as it was said

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.close()

    @property
    def at_once(self) -> int:
        """How many runs train at the same time."""
        return len(self._crew.pinned()) or 1

    def check(self, runs: Sequence[PlannedRun]) -> None:
        """Start the first workers, and build each row's config once: what is wrong is said before anything compiles.

        Raises:
          InputError: a config cannot be built.
        """
        self._crew.open(self.execution in ("auto", "processes") and self._crew.count > 1)
        configs = {run.label: run.config for run in runs if run.label not in self._checked}
        self._checked |= set(configs)
        pool = self._crew.first()
        shares = [list(configs.values())[i :: len(pool)] for i in range(len(pool))]
        questions = [
            (worker, {"do": "check", "configs": [to_json(c) for c in share], "how": self.execution})
            for worker, share in zip(pool, shares, strict=True)
            if share
        ]
        for answer in self._crew.ask(questions):
            if answer.get("objective") is not None:
                self.objective = tuple(answer["objective"])
            for error in answer["errors"]:
                if error is not None:
                    raise InputError(error)
            for line in answer.get("told", ()):
                if line not in self._told:
                    self._told.append(line)
                    self.say(line)

    def train(self, runs: Sequence[PlannedRun], until: int | None = None) -> dict[Path, Ending]:
        """How each run ended; those that have not are trained first, to their end or to the step `until`.

        Raises:
          InputError: a config cannot be built, or the execution asked for is not possible.
        """
        endings = {run.folder: ending for run in runs if (ending := ended_before(run.folder)) is not None}
        self._compare_moved([run for run in runs if run.folder in endings])
        todo = [run for run in runs if run.folder not in endings]
        if not todo:
            return endings
        self.check(todo)
        groups: dict[str, list[PlannedRun]] = {}
        for run in todo:
            groups.setdefault(group_of(run.config), []).append(run)
        self._choose(groups, until)
        if self._launcher != "local":
            return endings | self._remotely(todo, until)
        for how, kind in (("processes", "pinned"), ("one", "wide")):
            alone = [(run, group) for run in todo if self.choices[group := group_of(run.config)].how == how]
            endings |= self._share([Task("one", [run], group) for run, group in alone], kind, until)
        for group, some in groups.items():
            if self.choices[group].how in STACKED:
                endings |= self._share(self._stacks(group, some), "wide", until)
        return endings

    def _compare_moved(self, ended: Sequence[PlannedRun]) -> None:
        """Have a worker compare the data of runs that have ended, where they lie elsewhere now: else they are others'.

        Raises:
          InputError: other data lie there.
        """
        asked = ((run, Request(self._experiment, run.variant, run.config, run.folder)) for run in ended)
        moved = [run for run, request in asked if directory.moved(request)]
        if not moved:
            return
        self.check(moved)
        question = {"do": "compare", "runs": [message_of(run) for run in moved]}
        for error in self._crew.ask([(self._crew.first()[0], question)])[0]["errors"]:
            if error is not None:
                raise InputError(error)

    def estimated(self, runs: Sequence[PlannedRun]) -> Choice:
        """How the runs of a group would be trained, with the seconds of a step measured."""
        self.check(runs)
        return self._chooser.estimated(runs)

    def compare(self, runs: Sequence[PlannedRun], hows: Sequence[str]) -> dict[str, float]:
        """Seconds a step of one run: in pinned processes, all of them at work, and each of `hows` with all cores."""
        self.check(runs)
        return self._chooser.compare(runs, hows)

    def _choose(self, groups: Mapping[str, Sequence[PlannedRun]], until: int | None) -> None:
        """Choose how each group is trained, where that is not known yet; rounds of halving choose again."""
        new = {group: runs for group, runs in groups.items() if group not in self.choices and until is None}
        pinned = self._chooser.pinned_seconds(new)
        for group, runs in groups.items():
            if until is not None or group not in self.choices:
                self.choices[group] = self._chooser.choose(runs, until, pinned.get(group))
            choice = self.choices[group]
            labels = tuple(dict.fromkeys(run.label for run in runs))
            self.groups.setdefault(group, Group(labels, len(runs), choice.how, choice.seconds, choice.note))

    def _keep_cost(self, group: str, cost: Mapping[str, float]) -> None:
        """Keep a group's cost at once: a sweep that goes on does not measure it where all of its runs are done."""
        if group not in self.costs:
            self.costs[group] = cost
            if self.keeps:
                merge(self.folder / "costs.json", {group: cost})

    def _share(self, tasks: Sequence[Task], kind: str, until: int | None) -> dict[Path, Ending]:
        if not tasks:
            return {}
        sharing = Sharing(self._crew, kind, tasks, until, self._keep_cost, self.say)
        endings = sharing.work()
        self.took |= sharing.took
        return endings

    def _stacks(self, group: str, runs: Sequence[PlannedRun]) -> list[Task]:
        """The runs in stacks that fit in memory, all of the same size but the last."""
        question = {"do": "memory", "config": to_json(runs[0].config)}
        answer = self._crew.ask([(self._crew.pool("wide")[0], question)])[0]
        most = max(1, int(FILLED * answer["available"] / max(1, answer["member"])))
        count = -(-len(runs) // most)
        size = -(-len(runs) // count)
        how, known = self.choices[group].how, self.groups[group]
        if count > 1:
            gib = answer["member"] / 2**30
            note = f"{known.note}; {count} stacks of up to {size}, as a run takes {gib:.2g} GiB by estimate"
            self.groups[group] = known._replace(note=note)
        return [Task(how, list(runs[i : i + size]), group) for i in range(0, len(runs), size)]

    def _remotely(self, todo: Sequence[PlannedRun], until: int | None) -> dict[Path, Ending]:
        """Give the runs to Ray or Slurm, until each has ended; those that another process holds are waited for."""
        endings: dict[Path, Ending] = {}
        left = list(todo)
        while left:
            self._launched(left, until, endings, len(todo))
            left = [run for run in left if run.folder not in endings]
            if left:
                time.sleep(POLL_SECONDS)
                endings |= {run.folder: ending for run in left if (ending := ended_before(run.folder)) is not None}
                left = [run for run in left if run.folder not in endings]
        return endings

    def _launched(self, runs: Sequence[PlannedRun], until: int | None, endings: dict[Path, Ending], total: int) -> None:
        """Launch the runs, and add the endings of those that no other process holds."""
        known = {str(run.folder.absolute()): run for run in runs}
        messages = [message_of(run) | {"folder": folder} for folder, run in known.items()]
        if self._launcher == "ray":
            results = remote.by_ray(self._source, messages, until)
        else:
            results = remote.by_slurm(self._source, messages, until, self.folder / "slurm", self._slurm)
        for result in results:
            run = known[result["folder"]]
            if "cost" in result:
                self._keep_cost(group_of(run.config), result["cost"])
            if result["status"] == "busy":
                continue
            status = "failed" if result["status"] == "interrupted" else result["status"]
            endings[run.folder] = Ending(status, result["message"])
            about = f": {result['message']}" if result["message"] else ""
            self.say(f"{run.label}, seed {run.config.seed}: {status}{about} ({len(endings)} of {total})")
