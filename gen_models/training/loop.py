"""`fit`: the host's loop around a training step.

The device never waits for the host: many steps run in one call of a program, the next call is started before the last
one's metrics are fetched, and saves are asynchronous. How many steps a call takes varies with their speed, and never
changes a bit of the result: it is a number that the program reads.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gen_models.core import Key, Metrics, Step, TrainState
from gen_models.data import Batches
from gen_models.diagnosis.watch import Watch
from gen_models.machine import stopping_signals
from gen_models.training.best import Best
from gen_models.training.calls import Calls, Window
from gen_models.training.prepared import prepare
from gen_models.training.program import LARGEST_LOSS


@runtime_checkable
class Saves(Protocol):
    """What `fit` needs of `Checkpoints`."""

    def latest(self) -> int | None:
        """The newest step that was saved, or None."""

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` is."""

    def notes(self, step: int) -> dict[str, Any]:
        """The notes that were saved with `step`, or none."""

    def save(self, step: int, state: Any, notes: Mapping[str, Any]) -> None:
        """Save the state and notes, as JSON holds them, unless `step` is saved already."""


class Outcome(NamedTuple):
    """How a call of `fit` ended."""

    status: Literal["finished", "interrupted", "diverged"]
    state: TrainState  # where it diverged: the state after the step that did, for inspection
    step: int  # updates done
    checkpoint: Path | None  # the last good one


def fit(
    step: Step | Callable[[TrainState, Any, Any], tuple[TrainState, Metrics]],
    state: TrainState,
    batches: Batches,
    *,
    steps: int,
    key: Key,
    numbers: Mapping[str, Any] | None = None,
    checkpoints: Saves | None = None,
    checkpoint_every: int = 1000,
    log: Callable[[int, dict[str, Any]], None] | None = None,
    log_every: int = 100,
    watch: Watch | None = None,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    evaluate_every: int = 0,
    best: Best | None = None,
    draw: Callable[[TrainState, int], None] | None = None,
    draw_every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
    steps_per_call: int | None = None,
    diverged_above: float = LARGEST_LOSS,
    mesh: Mesh | None = None,
    shard_parameters: bool = False,
) -> Outcome:
    """Train until `state.step` is `steps`, from wherever `state` is.

    Args:
      step: from `make_train_step`; or its `vmap` over a stacked state, whose metrics are then arrays.
      state: fresh or restored; its buffers are donated, so do not use it afterwards.
      batches: from `gen_models.data`; which examples a step sees is a function of the step alone.
      steps: total number of updates, those done before included.
      key: the randomness of the data's transforms; step k uses `fold_in(key, k)`.
      numbers: name -> float, what the step takes as a third argument (a learning rate, say). Another call with the same
        step and other values compiles nothing again.
      checkpoints: where the state is saved, every `checkpoint_every` steps (0: not during the run) and at the end.
      log: called with (step, means over the last `log_every` steps), and with evaluations; the means of a stacked
        state's metrics are arrays with one value for each member.
      watch: told what `log` is, before it; warns, once for each failure, of what these numbers show to go wrong
        (`gen_models.diagnosis`). It does its work on the host, and sees nothing of a stacked state.
      evaluate: `state -> {name: value}`, every `evaluate_every` steps and at the end (0: never).
      best: told of each evaluation; keeps the best state, and may end the training.
      draw: `(state, step)`, every `draw_every` steps (0: never).
      report: called with (step, newest metrics) after each call of the program, for a progress bar.
      steps_per_call: how many steps a call of the program takes at most; None chooses: 1 where batches come from the
        host, and on a CPU where the step holds convolutions that XLA:CPU makes slow in loops (not `nn/conv.py`'s).
      diverged_above: a loss of greater magnitude counts as diverged, as does a non-finite loss or gradient norm.
      mesh: devices over which each batch is cut (`parallel.data_mesh`), the result being that of one device up to
        rounding. Where batches are streamed, each of several hosts reads the examples of its own devices alone. None:
        on a CPU with several devices, a step with layers whose gradients are written out (`nn/conv.py`,
        `nn/recurrent.py`) is cut over as many as there are cores and divide the batch; else all is done where the state
        is.
      shard_parameters: with a mesh, cut the state as well (`parallel.shardings`).

    Returns:
      The outcome: "finished" also where `best` ended the training before the last step. A first SIGINT, SIGTERM or
      other of `stopping_signals`, on any host, saves and returns with status "interrupted"; a second SIGINT raises.

    Raises:
      ValueError: an interval is negative, the mesh does not divide the batch, or the step changes the structure, shapes
        or dtypes of the state.
      Exception: whatever the data, `evaluate` or `draw` raise; on one host the state of the last good step is saved
        before, and an evaluation that is owed is made when training goes on.
    """
    intervals = _Intervals(checkpoint_every, evaluate_every, draw_every)
    _refuse_negative(steps=steps, log_every=log_every, **intervals._asdict())
    done = int(np.max(jax.device_get(state.step)))
    log = _watched(log, watch, steps)
    window = Window(log, log_every)
    notes = {} if checkpoints is None else checkpoints.notes(done)
    window.resume(notes)
    if best is not None:
        best.resume(notes, done)
    owed = bool(notes.get("owed"))  # whether the evaluation at this step failed when it was due
    if not owed and (done >= steps or (best is not None and best.exhausted)):
        return Outcome("finished", state, done, _newest(checkpoints))
    limits = {"most": steps_per_call, "limit": diverged_above}
    program, state = prepare(step, state, batches, done, key, numbers or {}, mesh, shard_parameters, limits)
    calls = Calls(window, program.most, report)
    began = done

    def keep() -> None:  # what the names stand for when an error comes
        if checkpoints is not None and done > began:
            own = {} if best is None else best.open()
            _keep(checkpoints, done, state, calls, lambda: window.open() | own | {"owed": owed})

    with _signals() as interrupted, _before_errors(keep):
        while True:
            count, stop = calls.agree(interrupted())
            if not owed:
                count = min(count, _due(done, steps, intervals) - done)
                state, *outputs = program.run(state, done, count)
                calls.add(done, outputs)
                done, owed = done + count, True
            now = _after_step(done, steps, intervals, stop or (jax.process_count() == 1 and interrupted()))
            # Metrics are fetched one call behind, unless what comes next needs to know that this one was good.
            diverged_at = calls.settle(0 if now.any_but_log else 1)
            keeps = now.saves or (now.evaluates and best is not None)
            if diverged_at is None and keeps and not is_finite(state):
                diverged_at = done
            if diverged_at is not None:
                return Outcome("diverged", state, diverged_at, _newest(checkpoints))
            # Evaluated before it is saved: a run that is killed in between does both again.
            if now.evaluates and evaluate is not None:
                values = {name: float(value) for name, value in evaluate(state).items()}
                if best is not None:
                    best.take(done, state, values)
                if log is not None:
                    log(done, values)
                if best is not None:
                    now = now if not best.exhausted else now._replace(saves=True, ends="finished")
            owed = False
            if now.draws and draw is not None:
                draw(state, done)
            if now.saves and checkpoints is not None:
                checkpoints.save(done, state, window.open() | ({} if best is None else best.open()))
                if best is not None:
                    best.kept()
            if now.ends is not None:
                return Outcome(now.ends, state, done, _newest(checkpoints))
            if now.any_but_log:
                calls.restart_pace()


def _watched(
    log: Callable[[int, dict[str, Any]], None] | None, watch: Watch | None, steps: int
) -> Callable[[int, dict[str, Any]], None] | None:
    """`log` behind a watch, where there is one."""
    if watch is None:
        return log
    watch.expect(steps)

    def both(step: int, values: dict[str, Any]) -> None:
        watch(step, values)
        if log is not None:
            log(step, values)

    return both


@contextmanager
def _before_errors(keep: Callable[[], None]) -> Iterator[None]:
    """Call `keep` before an error leaves the block."""
    try:
        yield
    except Exception:
        keep()
        raise


def _keep(
    checkpoints: Saves, done: int, state: TrainState, calls: Calls, notes: Callable[[], Mapping[str, Any]]
) -> None:
    """Save the state after `done` steps, where it is there and good and all its metrics are logged."""
    if jax.process_count() > 1 or not calls.settled:  # of several hosts, others may be waiting
        return
    with suppress(Exception):  # the error that ends the training is the one to show
        if calls.settle(0) is None and not _is_gone(state) and is_finite(state):
            checkpoints.save(done, state, notes())
            checkpoints.latest()  # waits for it


def _is_gone(state: TrainState) -> bool:
    """Whether its buffers were given to a call that failed."""
    return any(leaf.is_deleted() for leaf in jax.tree.leaves(state))


class _Intervals(NamedTuple):
    """Steps between what is done on the host; 0: not during the run."""

    checkpoint_every: int
    evaluate_every: int
    draw_every: int


class _Now(NamedTuple):
    """What is to be done after a call."""

    evaluates: bool
    draws: bool
    saves: bool
    ends: Literal["finished", "interrupted"] | None

    @property
    def any_but_log(self) -> bool:
        """Whether there is anything to be done but to log metrics."""
        return self.evaluates or self.draws or self.saves


def _after_step(done: int, steps: int, intervals: _Intervals, stop: bool) -> _Now:
    """What is to be done when `done` of `steps` steps are done; `stop` saves and ends."""
    at_end = done == steps
    return _Now(
        evaluates=not stop and _is_due(done, intervals.evaluate_every, at_end),
        draws=not stop and _is_due(done, intervals.draw_every, False),
        saves=at_end or stop or _is_due(done, intervals.checkpoint_every, False),
        ends="finished" if at_end else "interrupted" if stop else None,
    )


def _is_due(done: int, every: int, at_end: bool) -> bool:
    return every > 0 and (at_end or done % every == 0)


def _due(done: int, steps: int, intervals: _Intervals) -> int:
    """The next step after `done` at which something must happen."""
    return min([steps] + [done - done % every + every for every in intervals if every])


def _refuse_negative(**values: int) -> None:
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")


@partial(jax.jit, static_argnums=1)
def _all_finite(leaves: list[jax.Array], stacked: bool) -> jax.Array:
    """Whether each leaf is finite; of stacked states, whether each has a finite element: bool []."""
    whole = jnp.any if stacked else jnp.all
    return jnp.all(jnp.array([whole(jnp.isfinite(leaf)) if leaf.size else True for leaf in leaves]))


def is_finite(state: TrainState) -> bool:
    """Whether all parameters are finite.

    A stacked state may have members that diverged, and counts as finite as long as one did not: there, a finite element
    of each leaf is enough.
    """
    leaves = [leaf for leaf in jax.tree.leaves(state.params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return bool(_all_finite(leaves, state.step.ndim > 0))


def _newest(checkpoints: Saves | None) -> Path | None:
    if checkpoints is None:
        return None
    latest = checkpoints.latest()
    return None if latest is None else checkpoints.path(latest)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether a signal that asks to end has come; a second SIGINT interrupts at once."""
    came: list[int] = []

    def handle(number: int, frame: Any) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may catch signals
        return
    numbers = {int(signal.SIGINT), int(signal.SIGTERM), *map(int, stopping_signals())}
    before = {number: signal.signal(number, handle) for number in sorted(numbers)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
