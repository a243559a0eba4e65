"""Several runs of one group trained together, in one program: their states stacked, and stepped by `vmap` or in turn.

Each run keeps a directory of its own, as if it had trained alone, and its results are those of that, up to the rounding
of stacked products; so a run may begin in a group and go on alone. A member that diverges is left as it was before
that step, while the others go on.
"""

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import TrainState
from gen_models.data import Batches
from gen_models.run import directory as runs
from gen_models.run import job as experiment
from gen_models.run.config import traced_fields
from gen_models.run.job import Prepared
from gen_models.sweep.endings import ended_before
from gen_models.training import parallel
from gen_models.training.checkpoint import Checkpoints, quiet, remove_unfinished
from gen_models.training.loop import fit, is_finite
from gen_models.training.program import LARGEST_LOSS, is_good

How = Literal["vmap", "scan"]


class Asked(NamedTuple):
    """One run."""

    variant: str
    config: Any
    folder: Path


class Ended(NamedTuple):
    """How it ended."""

    folder: Path
    status: str  # "finished", "diverged", "dropped", "failed", "interrupted", "busy"
    message: str = ""


class _Open(NamedTuple):
    asked: Asked
    run: runs.Run
    checkpoints: Checkpoints


def run_group(prepared: Prepared, experiment_name: str, asked: Sequence[Asked], how: How) -> Iterator[Ended]:
    """Train the runs together, from wherever each is; then measure each. Yields each as it ends.

    Args:
      prepared: for any of the runs: their configs differ in seeds and traced numbers alone.
      experiment_name: the experiment's module.
      asked: what to train; a run that another process holds is left to it.
      how: `vmap`, or "scan": one after another within a step. With several devices each takes its share.

    Raises:
      ValueError, OSError: a directory holds another config, or cannot be written.
    """
    with ExitStack() as stack:
        stack.enter_context(quiet())
        members: list[_Open] = []
        for one in asked:
            try:
                run = stack.enter_context(runs.open_run(one.folder, experiment_name, one.variant, one.config))
            except runs.InUse as error:
                yield Ended(one.folder, "busy", str(error))
                continue
            if (before := ended_before(one.folder)) is not None:  # since the parent looked
                yield Ended(one.folder, before.status, before.message)
                continue
            run.begin()
            remove_unfinished(run.checkpoints)
            members.append(_Open(one, run, stack.enter_context(Checkpoints(run.checkpoints))))
        states = [experiment.initial_or_saved(prepared.job, m.asked.config.seed, m.checkpoints) for m in members]
        begun = [int(state.step) for state in states]
        for start in sorted(set(begun), reverse=True):  # runs that were killed may have got to different steps
            at = [i for i, step in enumerate(begun) if step == start]
            yield from _train(prepared, [members[i] for i in at], [states[i] for i in at], start, how)


def _train(
    prepared: Prepared, members: Sequence[_Open], states: Sequence[TrainState], start: int, how: How
) -> Iterator[Ended]:
    job, config = prepared.job, members[0].asked.config
    before = [member.run.rewind(start) for member in members]
    for member in members:
        runs.record_environment(member.run)
    keys = [experiment.keys(member.asked.config.seed) for member in members]
    step, place = stacked_step(prepared, len(members), how)
    started = time.perf_counter()

    def seconds(i: int) -> float:
        return before[i] + (time.perf_counter() - started) / len(members)  # its share

    def log(at: int, values: Mapping[str, Any]) -> None:
        for i, member in enumerate(members):
            own = {name: float(value[i]) for name, value in values.items()}
            # No rows of evaluations, which are written below, and of members that have diverged.
            if own and all(np.isfinite(value) for name, value in own.items() if name.endswith("loss")):
                member.run.log(at, seconds(i), own)

    def alive(state: TrainState) -> list[int]:
        steps = np.asarray(state.step)
        return [i for i in range(len(members)) if steps[i] == steps.max()]

    def evaluate(state: TrainState) -> Mapping[str, float]:
        if job.evaluate is not None:
            for i in alive(state):
                values = {name: float(value) for name, value in job.evaluate(member_of(state, i), keys[i][2]).items()}
                members[i].run.log(int(np.max(state.step)), seconds(i), values)
        return {}

    def draw(state: TrainState, at: int) -> None:
        if job.sample is not None and job.show is not None:
            for i in alive(state):
                samples = job.sample(member_of(state, i), keys[i][4], job.shown)
                job.show(samples, members[i].run.samples / f"step_{at:06d}.png")

    outcome = fit(
        step,
        place(jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)),
        stacked_batches(prepared, [m.asked.config.seed for m in members], [own[1] for own in keys]),
        steps=config.steps,
        key=jax.random.key(0),  # the members' keys are in the batches
        numbers=stacked_numbers(prepared, [m.asked.config for m in members]),
        checkpoints=_Together(members, alive),
        checkpoint_every=config.checkpoint_every,
        log=log,
        log_every=config.log_every,
        evaluate=evaluate,
        evaluate_every=0 if job.evaluate is None else config.evaluate_every,
        draw=draw,
        draw_every=config.draw_every,
    )
    trained = [seconds(i) for i in range(len(members))]
    going = alive(outcome.state)
    living = {} if outcome.status == "diverged" else {i: member_of(outcome.state, i) for i in going}
    living = {i: state for i, state in living.items() if is_finite(state)}
    for i, member in enumerate(members):  # first, as an interruption ends this
        if i not in living:
            frozen = outcome.status == "diverged" or i not in going  # else its last update ended in NaN
            at = int(outcome.state.step[i]) + int(frozen)
            message = experiment.diverged_message(at)
            member.run.stop("diverged", at, message)
            yield Ended(member.asked.folder, "diverged", message)
    for i, state in living.items():
        asked = members[i].asked
        if outcome.status == "interrupted":
            yield Ended(asked.folder, "interrupted")
            continue
        try:
            experiment.conclude(job, members[i].run, asked.variant, asked.config, state, trained[i])
        except Exception as error:  # of one run: the others have their figures
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            members[i].run.stop("failed", config.steps, message)
            yield Ended(asked.folder, "failed", message)
        else:
            yield Ended(asked.folder, "finished")


def member_of(state: TrainState, index: int) -> TrainState:
    """One member's state, on one device."""
    device = jax.devices()[0]
    return jax.tree.map(lambda leaf: jax.device_put(leaf[index], device), state)


def stacked_step(prepared: Prepared, members: int, how: How) -> tuple[Any, Any]:
    """`parallel.train_many` of the step; a member that diverges stays as it was, and has no metrics from then on.

    Who has diverged is seen from the step counters, which fall behind; so nothing need be kept beside the state.

    Raises:
      ValueError: the job cannot serve other seeds and numbers.
    """
    refuse_unstackable(prepared)
    return _stacked_step(prepared.step, bool(prepared.names), members, how)


def refuse_unstackable(prepared: Prepared) -> None:
    """Raises ValueError where the job cannot serve other seeds and numbers."""
    job, numbers = prepared.job, traced_fields(prepared.config)
    if job.place is not None or job.batches_of is None or (numbers and job.step_of is None):
        raise ValueError("runs of this experiment cannot be stacked: its job has no step_of and batches_of")


@lru_cache(maxsize=8)  # the same objects again, so that `fit` compiles nothing again
def _stacked_step(one: Any, takes_numbers: bool, members: int, how: How) -> tuple[Any, Any]:
    def careful(state, batch, numbers, newest):
        new, metrics = one(state, batch, numbers) if takes_numbers else one(state, batch)
        good = (state.step == newest) & is_good(metrics, LARGEST_LOSS)
        kept = jax.tree.map(lambda a, b: _where(good, a, b), new, state)
        return kept, jax.tree.map(lambda value: jnp.where(good, value, jnp.nan), metrics)

    together, place = parallel.train_many(careful, members, how)

    def step(states, batches, numbers):
        numbers = {name: value for name, value in numbers.items() if name != _MEMBERS}
        return together(states, batches, numbers, jnp.broadcast_to(states.step.max(), (members,)))

    return step, place


def _where(good, new, old):
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        return old  # a run's key never changes
    return jnp.where(good, new, old)


_MEMBERS = "members"  # there is always one number, so that the step always has its third argument


def stacked_numbers(prepared: Prepared, configs: Sequence[Any]) -> dict[str, np.ndarray]:
    """Each traced number of the configs as [members]."""
    numbers = [prepared.numbers(config) for config in configs]
    own = {name: np.array([of[name] for of in numbers], np.float32) for name in prepared.names}
    return own | {_MEMBERS: np.arange(len(configs), dtype=np.float32)}


def stacked_batches(prepared: Prepared, seeds: Sequence[int], keys: Sequence[Any]) -> Batches:
    """Batches of all members, those that each would have alone: the same data, rows and transforms' keys."""
    own = [prepared.batches(seed) for seed in seeds]
    base, stack = own[0], jnp.stack(list(keys))

    def rows(step: int, count: int) -> Any:
        by_seed = {seed: batches.rows(step, count) for seed, batches in zip(seeds, own, strict=True)}
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *(by_seed[seed] for seed in seeds))
        return {"row": stacked, "step": np.arange(step, step + count, dtype=np.int32)}

    return base._replace(data=(base.data, stack), rows=rows, make=_stacked_make(base.make))


@lru_cache(maxsize=8)
def _stacked_make(one: Any) -> Any:
    def make(data, row, key):
        data, keys = data
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, row["step"])
        return jax.vmap(one, (None, 0, 0))(data, row["row"], keys)

    return make


class _Together:
    """The members' checkpoints as `fit` uses one's."""

    def __init__(self, members: Sequence[_Open], alive) -> None:
        self._members, self._alive = members, alive

    def latest(self) -> None:
        """Each member knows its own."""
        return None

    def path(self, step: int) -> Path:
        """Each member has its own; `fit` asks for the place of `latest` alone, and there is none."""
        raise AssertionError(f"stacked runs have no common checkpoint, at step {step} or any other")

    def notes(self, step: int) -> dict[str, Any]:
        """The open window of the members' metrics."""
        notes = [member.checkpoints.notes(step) for member in self._members]
        names = notes[0].get("sums", {})
        if not names or any(note.get("count") != notes[0]["count"] for note in notes):
            return {}
        return {"sums": {n: [note["sums"][n] for note in notes] for n in names}, "count": notes[0]["count"]}

    def save(self, step: int, state: TrainState, notes: Mapping[str, Any]) -> None:
        """One checkpoint for each member that has not diverged."""
        for i in self._alive(state):
            sums = {name: np.asarray(total)[i].item() for name, total in notes["sums"].items()}
            own = member_of(state, i)
            if is_finite(own):
                self._members[i].checkpoints.save(step, own, {"sums": sums, "count": notes["count"]})
