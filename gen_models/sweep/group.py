"""Several runs of one group trained together in one program (`stacked.py`), each with a directory of its own.

Its results are those of training alone, up to the rounding of stacked products; so a run may begin in a group and go on
alone. A run that diverges is left as it was before that step, while the others go on.
"""

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import TrainState
from gen_models.run import directory, endings, loggers
from gen_models.run.directory import Request, Run
from gen_models.run.environment import record_environment
from gen_models.run.job import Job, keys
from gen_models.run.loggers import Loggers
from gen_models.run.start import Source, source_of, starting_state
from gen_models.run.train import conclude, diverged_message, draw_samples
from gen_models.sweep.endings import BY_ANOTHER, ended_before
from gen_models.sweep.stacked import How, alive, member_of, stacked_batches, stacked_numbers, stacked_step
from gen_models.training.checkpoint import Checkpoints, quiet, remove_unfinished
from gen_models.training.loop import Outcome, fit, is_finite


class Ended(NamedTuple):
    """How a run ended."""

    folder: Path
    status: str  # "finished", "diverged", "dropped", "failed", "interrupted", "busy"
    message: str = ""


class _Open(NamedTuple):
    asked: Request
    run: Run
    checkpoints: Checkpoints
    write: Loggers
    source: Source | None


def run_group(job: Job, asked: Sequence[Request], how: How) -> Iterator[Ended]:
    """Train the runs together, from wherever each is; then measure each. Yields each as it ends.

    Args:
      job: of any of the runs: their configs differ in seeds and TRACED numbers alone.
      asked: what to train; a run that another process holds is left to it.
      how: `vmap`, or "scan": one after another within a step. With several devices each takes its share.

    Raises:
      ValueError, OSError: a directory holds another config, or cannot be written.
    """
    with ExitStack() as stack:
        stack.enter_context(quiet())
        runs: list[_Open] = []
        for one in asked:
            source = source_of(job, one)
            try:
                run = stack.enter_context(directory.open_run(one, job.described()))
            except directory.InUse as error:
                yield Ended(one.folder, "busy", str(error))
                continue
            if (before := ended_before(one.folder)) is not None:  # since the parent looked
                yield Ended(one.folder, before.status, BY_ANOTHER)
                continue
            run.begin()
            remove_unfinished(run.checkpoints)
            checkpoints = stack.enter_context(Checkpoints(run.checkpoints, protected=run.earlier_ends()))
            write = stack.enter_context(Loggers(run, one.config, loggers.chosen(one.experiment, one.config)))
            runs.append(_Open(one, run, checkpoints, write, source))
        states = [starting_state(job, run.asked, run.checkpoints, run.source) for run in runs]
        begun = [int(state.step) for state in states]
        for start in sorted(set(begun), reverse=True):  # runs that were killed may have got to different steps
            at = [i for i, step in enumerate(begun) if step == start]
            stacked = _Stack(job, [runs[i] for i in at], start)
            yield from stacked.conclude(stacked.fit([states[i] for i in at], how))


class _Stack:
    """Runs that are at the same step, trained as one state."""

    def __init__(self, job: Job, runs: Sequence[_Open], start: int) -> None:
        self._job, self._runs = job, runs
        self._keys = [keys(run.asked.config.seed) for run in runs]
        self._before = [run.run.rewind(start) for run in runs]
        for run in runs:
            record_environment(run.run, start, run.asked.config.steps)
            run.write.start()
        self._began = time.perf_counter()

    def fit(self, states: Sequence[TrainState], how: How) -> Outcome:
        """Train them to their end."""
        configs = [run.asked.config for run in self._runs]
        step, place = stacked_step(self._job, len(self._runs), how)
        return fit(
            step,
            place(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)),
            stacked_batches(self._job, [config.seed for config in configs], [own.data for own in self._keys]),
            steps=configs[0].steps,
            key=jax.random.key(0),  # the runs' own keys are in the batches
            numbers=stacked_numbers(self._job, configs),
            checkpoints=_Together(self._runs),
            checkpoint_every=configs[0].checkpoint_every,
            log=self._log,
            log_every=configs[0].log_every,
            evaluate=self._evaluate,
            evaluate_every=configs[0].evaluate_every,
            draw=self._draw,
            draw_every=configs[0].draw_every,
        )

    def conclude(self, outcome: Outcome) -> Iterator[Ended]:
        """Measure the runs that got to their end; yields how each ended."""
        seconds = [self._seconds(i) for i in range(len(self._runs))]
        going = alive(outcome.state)
        living = {} if outcome.status == "diverged" else {i: member_of(outcome.state, i) for i in going}
        living = {i: state for i, state in living.items() if is_finite(state)}
        for i, run in enumerate(self._runs):  # first, as an interruption ends this
            if i not in living:
                frozen = outcome.status == "diverged" or i not in going  # else its last update ended in NaN
                at = int(outcome.state.step[i]) + int(frozen)
                run.run.stop("diverged", at, diverged_message(at))
                run.write.ended("diverged")
                yield Ended(run.asked.folder, "diverged", diverged_message(at))
        for i, state in living.items():
            if outcome.status == "interrupted":
                self._runs[i].write.ended("interrupted")
                yield Ended(self._runs[i].asked.folder, "interrupted")
            else:
                yield self._measure(self._runs[i], state, seconds[i])

    def _measure(self, run: _Open, state: TrainState, seconds: float) -> Ended:
        """Figures and pictures of one run; an error ends it alone, the others have theirs."""
        try:
            run.write.ended("finished", conclude(self._job, run.run, run.asked, state, seconds))
        except Exception as error:
            traceback.print_exc()
            message = endings.message_of(error)
            run.run.stop("failed", run.asked.config.steps, message)
            return Ended(run.asked.folder, "failed", message)
        return Ended(run.asked.folder, "finished")

    def _seconds(self, i: int) -> float:
        return self._before[i] + (time.perf_counter() - self._began) / len(self._runs)  # its share

    def _log(self, step: int, values: Mapping[str, Any]) -> None:
        for i, run in enumerate(self._runs):
            own = {name: float(value[i]) for name, value in values.items()}
            # Neither lines of evaluations, which are written below, nor of runs that have diverged.
            if own and all(np.isfinite(value) for name, value in own.items() if name.endswith("loss")):
                run.write.log(step, self._seconds(i), own)

    def _evaluate(self, state: TrainState) -> Mapping[str, float]:
        for i in alive(state):
            values = self._job.evaluate(member_of(state, i), self._keys[i].evaluation)
            if values:
                self._runs[i].write.log(int(np.max(state.step)), self._seconds(i), values)
        return {}

    def _draw(self, state: TrainState, step: int) -> None:
        for i in alive(state):
            path = self._runs[i].run.samples / f"step_{step:06d}.png"
            draw_samples(self._job, member_of(state, i), self._keys[i], path)


class _Together:
    """The runs' checkpoints as `fit` uses one run's."""

    def __init__(self, runs: Sequence[_Open]) -> None:
        self._runs = runs

    def latest(self) -> None:
        """Each run knows its own."""
        return None

    def path(self, step: int) -> Path:
        """Each run has its own; `fit` asks for the place of `latest` alone, and there is none."""
        raise AssertionError(f"stacked runs have no common checkpoint, at step {step} or any other")

    def notes(self, step: int) -> dict[str, Any]:
        """The open window of the runs' metrics."""
        notes = [run.checkpoints.notes(step) for run in self._runs]
        names = notes[0].get("sums", {})
        if not names or any(note.get("count") != notes[0]["count"] for note in notes):
            return {}
        return {"sums": {n: [note["sums"][n] for note in notes] for n in names}, "count": notes[0]["count"]}

    def save(self, step: int, state: TrainState, notes: Mapping[str, Any]) -> None:
        """One checkpoint for each run that has not diverged."""
        for i in alive(state):
            sums = {name: np.asarray(total)[i].item() for name, total in notes["sums"].items()}
            own = member_of(state, i)
            if is_finite(own):
                self._runs[i].checkpoints.save(step, own, {"sums": sums, "count": notes["count"]})
