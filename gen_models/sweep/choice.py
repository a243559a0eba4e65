"""How a group of runs is trained: the candidates are measured where that is worth its time, and the fastest is taken.

Imports no JAX.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gen_models.run.config import InputError
from gen_models.run.fields import to_json
from gen_models.sweep.crew import Crew
from gen_models.sweep.plan import PlannedRun, group_of
from gen_models.sweep.pool import Worker

EXECUTIONS = ("auto", "processes", "one", "vmap", "scan")
STACKED = ("vmap", "scan")
WORTH_STACKING = 4  # runs of a group, below which stacking is not measured
TOY_SECONDS = 0.003  # a step below this is so short that stacking is measured even in a short sweep
FILLED = 0.8  # share of the free memory that a stack takes at most
LONG_SECONDS = 60.0  # a group that is expected to take longer is worth measuring every candidate


class Choice(NamedTuple):
    """How a group is to be trained."""

    how: str  # "processes", "one", "vmap" or "scan"
    seconds: Mapping[str, float]  # execution -> seconds a step of one run, as throughput: those at once counted
    note: str


class Chooser:
    """Chooses how groups are trained, by what the crew's workers measure.

    Args:
      crew: the workers.
      execution: one of `EXECUTIONS`, as the user asked.
      launcher: "local", "ray" or "slurm".
      keep_cost: called with a group and what its step costs.
    """

    def __init__(
        self, crew: Crew, execution: str, launcher: str, keep_cost: Callable[[str, Mapping[str, float]], None]
    ) -> None:
        self._crew, self._execution, self._launcher, self._keep_cost = crew, execution, launcher, keep_cost

    def choose(self, runs: Sequence[PlannedRun], until: int | None = None, pinned: float | None = None) -> Choice:
        """Measure the candidates for a group, where that is worth its time, and take the fastest.

        Args:
          runs: of the group.
          until: the step to which they are trained now; None: to their end.
          pinned: seconds a step in a pinned process, where that was measured.

        Raises:
          InputError: the execution that was asked for does not work for this group.
        """
        if self._launcher != "local":
            return Choice(self._launcher, {}, "as asked: each run by itself")
        if until is not None:
            return Choice("processes" if self._crew.pinned() else "one", {}, "halving trains runs by themselves")
        if self._execution != "auto":
            return self._as_asked(runs)
        seconds: dict[str, float] = {}
        if self._crew.pinned():
            if len(runs) < WORTH_STACKING:
                return Choice("processes", seconds, f"not measured: fewer than {WORTH_STACKING} runs")
            pinned = self.pinned_seconds({"": runs})[""] if pinned is None else pinned
            seconds["processes"] = pinned / min(len(self._crew.pinned()), len(runs))
            expected = seconds["processes"] * runs[0].config.steps * len(runs)
            if expected < LONG_SECONDS and pinned > TOY_SECONDS:
                return Choice("processes", seconds, f"nothing else measured: {expected:.0f} s of training expected")
        elif len(runs) < 2:
            return Choice("one", {}, "not measured: a single run")
        return self._fastest(runs, seconds)

    def _fastest(self, runs: Sequence[PlannedRun], seconds: dict[str, float]) -> Choice:
        """The fastest of what is measured already and of all that one process with the whole machine can do."""
        alone = len(runs) < 2 or runs[0].config.early_stopping or runs[0].config.keep_best
        candidates = ["one"] if alone else ["one", *STACKED]
        answer = self.measure([(self._crew.pool("wide")[0], runs[0].config)], candidates, len(runs))[0]
        seconds |= answer["seconds"]
        best = min(seconds, key=lambda name: seconds[name])
        failed = (f"{name} does not work: {why}" for name, why in answer["problems"].items())
        return Choice(best, seconds, "; ".join(["the fastest", *failed]))

    def _as_asked(self, runs: Sequence[PlannedRun]) -> Choice:
        if self._execution not in STACKED:
            how = "processes" if self._execution == "processes" and self._crew.pinned() else "one"
            return Choice(how, {}, "as asked")
        answer = self.measure([(self._crew.pool("wide")[0], runs[0].config)], [self._execution], len(runs))[0]
        if self._execution in answer["problems"]:
            problem = answer["problems"][self._execution]
            raise InputError(f"--execution {self._execution} does not work here: {problem}")
        return Choice(self._execution, answer["seconds"], "as asked")

    def estimated(self, runs: Sequence[PlannedRun]) -> Choice:
        """`choose`, with a measurement of the chosen execution even where there is no choice."""
        choice = self.choose(runs)
        if choice.how not in choice.seconds:
            pool = self._crew.first()
            at_once = min(len(pool), len(runs)) if choice.how == "processes" else 1
            answers = self.measure([(worker, runs[0].config) for worker in pool[:at_once]], ["one"], 1)
            seconds = max(answer["seconds"]["one"] for answer in answers) / at_once
            choice = choice._replace(seconds={choice.how: seconds})
        return choice

    def compare(self, runs: Sequence[PlannedRun], hows: Sequence[str]) -> dict[str, float]:
        """Seconds a step of one run: in pinned processes, all of them at work, and each of `hows` with all cores."""
        pinned = self.pinned_seconds({"": runs})
        seconds = {"processes": pinned[""] / len(self._crew.pinned())} if pinned else {}
        wide = self._crew.pool("wide")[0]
        return seconds | self.measure([(wide, runs[0].config)], hows, len(runs))[0]["seconds"]

    def pinned_seconds(self, groups: Mapping[str, Sequence[PlannedRun]]) -> dict[str, float]:
        """Seconds a step in a pinned process while the others are busy too, of each group that is large enough.

        Each worker measures another group, as many at once as there are workers, and keeps what it has compiled.
        """
        pool = self._crew.pinned()
        if self._execution != "auto" or self._launcher != "local" or not pool:
            return {}
        found: dict[str, float] = {}
        names = [name for name, runs in groups.items() if len(runs) >= WORTH_STACKING]
        for first in range(0, len(names), len(pool)):
            some = names[first : first + len(pool)]
            asked = [(worker, some[i % len(some)]) for i, worker in enumerate(pool)]
            answers = self.measure([(worker, groups[name][0].config) for worker, name in asked], ["one"], 1)
            for (worker, name), answer in zip(asked, answers, strict=True):
                found[name] = max(found.get(name, 0.0), answer["seconds"]["one"])
                self._crew.compiled[worker.number] = name
        return found

    def measure(self, asked: Sequence[tuple[Worker, Any]], hows: Sequence[str], count: int) -> list[dict[str, Any]]:
        """What each worker measures of its config, all at the same time; `count` runs are stacked.

        Raises:
          InputError: not even a run by itself can take a step.
        """
        questions = [
            (worker, {"do": "measure", "config": to_json(config), "hows": list(hows), "members": count})
            for worker, config in asked
        ]
        answers = self._crew.ask(questions)
        for (_, config), answer in zip(asked, answers, strict=True):
            self._keep_cost(group_of(config), answer["cost"])
            if "one" in hows and "one" not in answer["seconds"]:
                raise InputError(f"a step cannot be run: {answer['problems']['one']}")
        return answers
