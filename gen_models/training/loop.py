"""`fit`: the host's loop around a training step.

The device never waits for the host: many steps run in one program, the next program is dispatched before the last one's
metrics are fetched, and saves are asynchronous. How many steps a call of the program takes varies with their speed, and
never changes a bit of the result: it is a number that the program reads, not part of it.
"""

import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from gen_models.core import Key, Metrics, Step, TrainState
from gen_models.data import Batches
from gen_models.training import parallel
from gen_models.training.program import LARGEST_LOSS, compile_program

SECONDS_PER_CALL = 0.5  # so that a signal or a progress bar never waits long for a program of many steps
CALLS_PER_AGREEMENT = 16  # of several hosts whose calls take one step each, about a signal that one of them got


class Saves(Protocol):
    """What `fit` needs of `Checkpoints`."""

    def latest(self) -> int | None: ...  # noqa: D102
    def path(self, step: int) -> Path: ...  # noqa: D102
    def notes(self, step: int) -> dict[str, Any]: ...  # noqa: D102
    def save(self, step: int, state: Any, notes: Mapping[str, Any]) -> None: ...  # noqa: D102


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
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    evaluate_every: int = 0,
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
      key: randomness of the data's transforms; step k uses `fold_in(key, k)`.
      numbers: floats that the step gets as a third argument (a learning rate, say): other ones, in another call with
        the same step, compile nothing again.
      checkpoints: where the state is saved, every `checkpoint_every` steps (0: not during the run) and at the end.
      log: called with (step, means over the last `log_every` steps), and with evaluations; the means of a stacked
        state's metrics are arrays with one value for each member.
      evaluate: `state -> {name: value}`, every `evaluate_every` steps and at the end (0: never).
      draw: `(state, step)`, every `draw_every` steps (0: never).
      report: called with (step, newest metrics) after each program, for a progress bar.
      steps_per_call: how many steps at most one program runs; None chooses: 1 where batches come from the host, and
        on a CPU where the step holds convolutions that XLA:CPU makes slow in loops (those not of `nn/conv.py`).
      diverged_above: a loss of greater magnitude counts as diverged, as does a non-finite loss or gradient norm.
      mesh: devices over which each batch is cut (`parallel.data_mesh`), the result being that of one device up to
        rounding. Where batches are streamed, each of several hosts reads the examples of its own devices alone. None:
        on a CPU with several devices, a step with layers whose gradients are written out (`nn/conv.py`,
        `nn/recurrent.py`) is cut over as many as there are cores and divide the batch; else all is done where the state
        is.
      shard_parameters: with a mesh, cut the state as well (`parallel.shardings`).

    Returns:
      The outcome. A first SIGINT or SIGTERM, on any host, saves and returns with status "interrupted"; a second SIGINT
      raises.

    Raises:
      ValueError: an interval is negative, the mesh does not divide the batch, or the step changes the structure, shapes
        or dtypes of the state.
    """
    for name, value in {
        "steps": steps,
        "checkpoint_every": checkpoint_every,
        "log_every": log_every,
        "evaluate_every": evaluate_every,
        "draw_every": draw_every,
    }.items():
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    done = int(np.max(jax.device_get(state.step)))
    if done >= steps:
        return Outcome("finished", state, done, _newest(checkpoints))
    if shard_parameters and mesh is None:
        raise ValueError("shard_parameters needs a mesh: parallel.data_mesh() has all devices")
    state = jax.tree.map(_strong, state)
    if mesh is None and _is_copied(state):
        state = parallel.local(state)
    constants = {name: jnp.asarray(value, jnp.float32) for name, value in (numbers or {}).items()}
    part = None  # of each batch, that this host reads
    if mesh is not None and jax.process_count() > 1 and batches.streamed:
        part = parallel.own_part(mesh, batches.batch_size)
    program, most, mesh = compile_program(
        step,
        state,
        batches,
        _shapes(batches, done, part),
        key,
        constants,
        most=steps_per_call,
        limit=diverged_above,
        mesh=mesh,
        shard_parameters=shard_parameters,
    )
    data = batches.data
    if mesh is not None:
        state = parallel.put(state, parallel.shardings(state, mesh, shard_parameters=shard_parameters))
        data, key, constants = parallel.put((data, key, constants), parallel.shardings((data, key, constants), mesh))
    window = _Window(log, log_every)
    if checkpoints is not None:
        window.resume(checkpoints.notes(done))
    pending: deque[tuple[int, Any]] = deque()  # programs whose metrics are still on the device
    pace = _Pace(most)
    calls = 0
    failed: int | None = None

    def settle(keep: int) -> bool:
        """Fetch metrics until `keep` programs are under way; False once a step diverged."""
        nonlocal failed
        while len(pending) > keep:
            first, outputs = pending.popleft()
            metrics, count, ok = jax.device_get(outputs)
            pace.measure(int(count))
            newest = window.add(first, metrics, int(count))
            if report is not None:
                report(first + int(count), newest)
            if not ok:
                pending.clear()
                failed = first + int(count)
                return False
        return True

    with _signals() as interrupted:
        while True:
            due = _due(done, steps, (checkpoint_every, evaluate_every, draw_every))
            count, stop = pace.count, interrupted()
            if jax.process_count() > 1:
                agreed = most > 1 or calls % CALLS_PER_AGREEMENT == 0
                count, stop = _agreed(count, stop) if agreed else (count, False)
            count, calls = min(count, due - done), calls + 1
            rows = _pad(_rows(batches, done, count, part), most)
            if part is not None and mesh is not None:
                rows = parallel.of_all_hosts(rows, mesh, batches.batch_size)
            state, *outputs = program(state, data, key, constants, rows, np.int32(done), np.int32(count))
            pending.append((done, outputs))
            done += count
            at_end = done == steps
            stop = stop or (jax.process_count() == 1 and interrupted())
            evaluates = evaluate_every > 0 and (at_end or done % evaluate_every == 0) and not stop
            draws = draw_every > 0 and done % draw_every == 0 and not stop
            saves = at_end or stop or (checkpoint_every > 0 and done % checkpoint_every == 0)
            good = settle(0 if evaluates or draws or saves else 1)
            if good and saves and not is_finite(state):
                good, failed = False, done
            if not good:
                return Outcome("diverged", state, failed or done, _newest(checkpoints))
            # Evaluated before it is saved: a run that is killed in between does both again.
            if evaluates and evaluate is not None:
                values = {name: float(value) for name, value in evaluate(state).items()}
                if log is not None:
                    log(done, values)
            if draws and draw is not None:
                draw(state, done)
            if saves and checkpoints is not None:
                checkpoints.save(done, state, window.open())
            if at_end or stop:
                return Outcome("finished" if at_end else "interrupted", state, done, _newest(checkpoints))
            if evaluates or draws or saves:
                pace.restart()


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).any() if leaf.size else True for leaf in leaves]))


def is_finite(state: TrainState) -> bool:
    """Whether no parameter has gone to NaN or infinity as a whole; a vmapped state may have members that did."""
    leaves = [leaf for leaf in jax.tree.leaves(state.params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return bool(_all_finite(leaves))


class _Window:
    """Means of metrics over windows that end at multiples of `every`, however steps were grouped into programs."""

    def __init__(self, log, every: int) -> None:
        self._log, self._every = log, every
        self._sums: dict[str, Any] = {}  # floats, or arrays with one value for each member of a stacked state
        self._count = 0

    def open(self) -> dict[str, Any]:
        """What a run that goes on from here has to know of the window that is open."""
        return {"sums": {name: np.asarray(total).tolist() for name, total in self._sums.items()}, "count": self._count}

    def resume(self, notes: Mapping[str, Any]) -> None:
        """Go on with the window that `open` described."""
        sums = {name: np.asarray(total, np.float64) for name, total in notes.get("sums", {}).items()}
        self._sums = {name: total if total.ndim else float(total) for name, total in sums.items()}
        self._count = int(notes.get("count", 0))

    def add(self, first: int, metrics: Mapping[str, np.ndarray], count: int) -> dict[str, float]:
        """Take the metrics of steps `first` to `first + count`; returns those of the last, of members their mean."""
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


class _Pace:
    """How many steps a program takes, so that it lasts about `SECONDS_PER_CALL`."""

    def __init__(self, most: int) -> None:
        self.count, self._most = 1, most
        self.restart()

    def restart(self) -> None:
        self._last: float | None = None  # the next interval would hold more than steps

    def measure(self, count: int) -> None:
        now = time.perf_counter()
        if self._last is not None and count:
            fits = int(SECONDS_PER_CALL * count / max(now - self._last, 1e-6))
            self.count = max(1, min(self._most, 2 * self.count, fits))
        self._last = now


def _due(done: int, steps: int, intervals: tuple[int, ...]) -> int:
    """The next step after `done` at which something must happen."""
    return min([steps] + [done - done % every + every for every in intervals if every])


def _rows(batches: Batches, step: int, count: int, part: slice | None) -> Any:
    return batches.rows(step, count) if part is None else batches.rows(step, count, part)


def _shapes(batches: Batches, step: int, part: slice | None) -> Any:
    """Shapes and dtypes of the whole rows of one step, of which this host may read a part alone."""

    def one(x):
        x = np.asarray(x)
        return jax.ShapeDtypeStruct(x.shape if part is None else (1, batches.batch_size, *x.shape[2:]), x.dtype)

    return jax.tree.map(one, _rows(batches, step, 1, part))


def _pad(rows: Any, most: int) -> Any:
    """Rows for `most` steps, whatever their number, so that the program's shapes stay the same."""

    def pad(r):
        r = np.asarray(r)
        return r if len(r) == most else np.concatenate([r, np.zeros((most - len(r), *r.shape[1:]), r.dtype)])

    return jax.tree.map(pad, rows)


def _agreed(count: int, stop: bool) -> tuple[int, bool]:
    """One number of steps for all hosts, as their programs wait for each other, and whether any was asked to stop."""
    both = np.asarray(multihost_utils.process_allgather(np.array([count, -int(stop)])))
    count, stopped = both.min(0)
    return int(count), bool(stopped)


def _is_copied(state: TrainState) -> bool:
    """Whether each CPU device holds the state, as after a `fit` that cut its batches: all would take the same steps."""
    alone = jax.default_backend() == "cpu" and jax.process_count() == 1 and state.step.ndim == 0
    rest = state._replace(carry=None)  # which is cut as the batches were
    return alone and all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(rest))


def _strong(leaf: jax.Array) -> jax.Array:
    """Without JAX's weak type, which a restored state has lost: the program is the same for both."""
    return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def _newest(checkpoints: Saves | None) -> Path | None:
    if checkpoints is None:
        return None
    latest = checkpoints.latest()
    return None if latest is None else checkpoints.path(latest)


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether SIGINT or SIGTERM has come; a second SIGINT interrupts at once."""
    came: list[int] = []

    def handle(number, frame):
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may catch signals
        return
    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
