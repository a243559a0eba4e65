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
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jax_core

from gen_models.checkpoint import Checkpoints
from gen_models.core import Key, Metrics, Step, TrainState
from gen_models.data import Batches

MAX_STEPS_PER_CALL = 64
SECONDS_PER_CALL = 0.5  # so that a signal or a progress bar never waits long for a program of many steps


class Outcome(NamedTuple):
    """How a call of `fit` ended."""

    status: Literal["finished", "interrupted", "diverged"]
    state: TrainState  # where it diverged: the state after the step that did, for inspection
    step: int  # updates done
    checkpoint: Path | None  # the last good one


def fit(
    step: Step,
    state: TrainState,
    batches: Batches,
    *,
    steps: int,
    key: Key,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int = 1000,
    log: Callable[[int, dict[str, float]], None] | None = None,
    log_every: int = 100,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    evaluate_every: int = 0,
    draw: Callable[[TrainState, int], None] | None = None,
    draw_every: int = 0,
    report: Callable[[int, dict[str, float]], None] | None = None,
    steps_per_call: int | None = None,
    diverged_above: float = 1e8,
) -> Outcome:
    """Train until `state.step` is `steps`, from wherever `state` is.

    Args:
      step: from `make_train_step`; or its `vmap` over a stacked state, whose metrics are then logged as means.
      state: fresh or restored; its buffers are donated, so do not use it afterwards.
      batches: from `gen_models.data`; which examples a step sees is a function of the step alone.
      steps: total number of updates, those done before included.
      key: randomness of the data's transforms; step k uses `fold_in(key, k)`.
      checkpoints: where the state is saved, every `checkpoint_every` steps (0: not during the run) and at the end.
      log: called with (step, means over the last `log_every` steps), and with evaluations.
      evaluate: `state -> {name: value}`, every `evaluate_every` steps and at the end (0: never).
      draw: `(state, step)`, every `draw_every` steps (0: never).
      report: called with (step, newest metrics) after each program, for a progress bar.
      steps_per_call: how many steps at most one program runs; None chooses: 1 where batches come from the host, and
        where the step holds a convolution on a CPU (XLA:CPU's convolution gradients are slow in control flow).
      diverged_above: a loss of greater magnitude counts as diverged, as does a non-finite loss or gradient norm.

    Returns:
      The outcome. A first SIGINT or SIGTERM saves and returns with status "interrupted"; a second SIGINT raises.

    Raises:
      ValueError: an interval is negative, or the step changes the structure, shapes or dtypes of the state.
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
    state = jax.tree.map(_strong, state)
    program, most = _compile(step, state, batches, key, done, steps_per_call, diverged_above)
    window = _Window(log, log_every)
    pending: deque[tuple[int, Any]] = deque()  # programs whose metrics are still on the device
    pace = _Pace(most)

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
            count = min(pace.count, due - done)
            rows = _pad(batches.rows(done, count), most)
            state, *outputs = program(state, batches.data, key, rows, np.int32(done), np.int32(count))
            pending.append((done, outputs))
            done += count
            at_end, stop = done == steps, interrupted()
            evaluates = evaluate_every > 0 and (at_end or done % evaluate_every == 0) and not stop
            draws = draw_every > 0 and done % draw_every == 0 and not stop
            saves = at_end or stop or (checkpoint_every > 0 and done % checkpoint_every == 0)
            good = settle(0 if evaluates or draws or saves else 1)
            if good and saves and not _finite(state):
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
                checkpoints.save(done, state)
            if at_end or stop:
                return Outcome("finished" if at_end else "interrupted", state, done, _newest(checkpoints))
            if evaluates or draws or saves:
                pace.restart()


def _compile(step, state, batches, key, start, most, limit):
    """`(program, most)`: up to `most` steps as one compiled function."""
    if most is not None and most < 1:
        raise ValueError(f"steps_per_call must be 1 or more, got {most}")
    row = jax.tree.map(lambda x: np.asarray(x)[0], batches.rows(start, 1))
    leaves, tree = jax.tree.flatten((state, batches.data, key, row, np.int32(0)))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    on_host = not jax.tree.leaves(batches.data)
    return _program(step, batches.make, tree, shapes, 1 if on_host and most is None else most, limit)


@lru_cache(maxsize=4)  # a second `fit` with the same step, as after a restore, traces and compiles nothing again
def _program(step, make, tree, shapes, most, limit):
    def one(state, data, key, row, index):
        return step(state, make(data, row, jax.random.fold_in(key, index)))

    arguments = jax.tree.unflatten(tree, shapes)
    jaxpr, (new_state, metrics) = jax.make_jaxpr(one, return_shape=True)(*arguments)
    _same_shape(arguments[0], new_state)
    if most is None:
        slow_inside_loops = jax.default_backend() == "cpu" and _has_convolution(jaxpr.jaxpr)
        most = 1 if slow_inside_loops else MAX_STEPS_PER_CALL
    flat = jax_core.jaxpr_as_fun(jaxpr)
    out_tree = jax.tree.structure((new_state, metrics))

    def one_again(*args):  # the same step from its jaxpr: nothing of the user's is traced a second time
        return jax.tree.unflatten(out_tree, flat(*jax.tree.leaves(args)))

    def program(state, data, key, rows, start, count):
        def body(carry):
            index, state, buffers, _ = carry
            row = jax.tree.map(lambda r: jax.lax.dynamic_index_in_dim(r, index, keepdims=False), rows)
            state, metrics = one_again(state, data, key, row, start + index)
            buffers = jax.tree.map(lambda b, m: b.at[index].set(m), buffers, metrics)
            return index + 1, state, buffers, _good(metrics, limit)

        def proceed(carry):
            index, _, _, ok = carry
            return ok & (index < count)

        buffers = jax.tree.map(lambda m: jnp.zeros((most, *m.shape), m.dtype), metrics)
        carry = (jnp.int32(0), state, buffers, jnp.array(True))
        index, state, buffers, ok = jax.lax.while_loop(proceed, body, carry) if most > 1 else body(carry)
        return state, buffers, index, ok

    return jax.jit(program, donate_argnums=0), most


def _good(metrics: Metrics, limit: float) -> jax.Array:
    """Whether every loss and gradient norm is finite and within the limit; of a vmapped step, of any member."""
    good = jnp.array(True)
    for name, value in metrics.items():
        last = name.rsplit("/", 1)[-1]
        if last == "loss":
            good &= (jnp.abs(value) <= limit).any()  # false for NaN
        elif last == "grad_norm":
            good &= jnp.isfinite(value).any()
    return good


@jax.jit
def _all_finite(leaves: list[jax.Array]) -> jax.Array:
    return jnp.all(jnp.array([jnp.isfinite(leaf).any() if leaf.size else True for leaf in leaves]))


def _finite(state: TrainState) -> bool:
    """Whether no parameter has gone to NaN or infinity as a whole; a vmapped state may have members that did."""
    leaves = [leaf for leaf in jax.tree.leaves(state.params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return bool(_all_finite(leaves))


class _Window:
    """Means of metrics over windows that end at multiples of `every`, however steps were grouped into programs."""

    def __init__(self, log, every: int) -> None:
        self._log, self._every = log, every
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, first: int, metrics: Mapping[str, np.ndarray], count: int) -> dict[str, float]:
        """Take the metrics of steps `first` to `first + count`; returns those of the last."""
        values: dict[str, float] = {}
        columns = {k: np.asarray(v, np.float64) for k, v in metrics.items()}
        columns = {k: v.reshape(v.shape[0], -1).mean(1) for k, v in columns.items()}
        for i in range(count):
            values = {k: float(v[i]) for k, v in columns.items()}
            for k, v in values.items():
                self._sums[k] = self._sums.get(k, 0.0) + v
            self._count += 1
            if self._every and (first + i + 1) % self._every == 0:
                if self._log is not None:
                    self._log(first + i + 1, {f"train/{k}": s / self._count for k, s in self._sums.items()})
                self._sums, self._count = {}, 0
        return values


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


def _pad(rows: Any, most: int) -> Any:
    """Rows for `most` steps, whatever their number, so that the program's shapes stay the same."""

    def pad(r):
        r = np.asarray(r)
        return r if len(r) == most else np.concatenate([r, np.zeros((most - len(r), *r.shape[1:]), r.dtype)])

    return jax.tree.map(pad, rows)


def _same_shape(state: TrainState, new: TrainState) -> None:
    """A step that changes its state's form would be compiled again and again, and could not be resumed."""
    old_leaves = jax.tree_util.tree_leaves_with_path(state)
    old_tree, new_tree = str(jax.tree.structure(state)), str(jax.tree.structure(new))
    if old_tree != new_tree:
        raise ValueError(f"the step changes the state's structure from {old_tree} to {new_tree}")
    for (path, a), b in zip(old_leaves, jax.tree.leaves(new), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            where = jax.tree_util.keystr(path)
            raise ValueError(f"the step changes {where} from {a.dtype}{list(a.shape)} to {b.dtype}{list(b.shape)}")


def _has_convolution(jaxpr) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
    return any(_has_convolution(inner) for inner in jax_core.subjaxprs(jaxpr))


def _strong(leaf: jax.Array) -> jax.Array:
    """Without JAX's weak type, which a restored state has lost: the program is the same for both."""
    return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf


def _newest(checkpoints: Checkpoints | None) -> Path | None:
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
