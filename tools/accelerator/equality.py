"""A step under jit, pmap and shard_map on this machine's devices, against plain XLA on one CPU device, in float32."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import Batch, Metrics, Step, TrainState, make_train_step
from gen_models.nn.devices import DATA_AXIS, plain
from gen_models.training.parallel import compile_step

from . import Report, Status
from .subjects import batch_of, gradient_optimizer, job_of, state_of

CLOSE = 1e-3  # norm of an update's difference, against the update's norm
Found = tuple[TrainState, Metrics]


def run(subjects: Sequence[str], report: Report) -> None:
    """Check each subject."""
    report.of_each(subjects, _check)


def _check(subject: str) -> Iterator[tuple[Status, str, dict]]:
    devices = jax.device_count()
    job = job_of(subject, devices=devices)
    batch = jax.device_get(batch_of(job))
    state = state_of(job.model, batch)

    def step(axis_name: str | None = None) -> Step:
        tx, init_carry = gradient_optimizer(job.model), job.model.init_carry
        return make_train_step(job.model.loss, tx, init_carry=init_carry, axis_name=axis_name)

    # Accelerators multiply float32 in fewer bits unless they are told otherwise, and no comparison could tell a fault
    # from that.
    with jax.default_matmul_precision("highest"):
        whole = _on_cpu(step(), state, batch)
        members = _on_cpu(_members(step(DATA_AXIS), devices), state, batch)
        ways: dict[str, tuple[Callable[[], Found], Found]] = {
            "jit": (lambda: jax.jit(step())(state, batch), whole),
            "pmap": (lambda: compile_step(step(DATA_AXIS), "pmap", donate=False)(state, batch), members),
            "shard_map": (lambda: compile_step(step(DATA_AXIS), "shard_map", donate=False)(state, batch), members),
        }
        if devices > 1:
            ways[f"jit, {devices} devices"] = lambda: compile_step(step(), donate=False)(state, batch), whole
            cut = compile_step(step(), shard_parameters=True, donate=False)
            ways["jit, parameters cut"] = lambda: cut(state, batch), whole
        if _deterministic(job.model, state, batch) and not jax.tree.leaves(state.stats):
            yield _compared("copies of the step", lambda: members, whole, state)  # on the CPU: the loss is a mean
        for way, (compute, reference) in ways.items():
            yield _compared(way, compute, reference, state)


def _on_cpu(step: Step, state: TrainState, batch: Batch) -> Found:
    """What plain XLA computes on one CPU device."""
    cpu = jax.devices("cpu")[0]
    with plain(), jax.default_device(cpu):
        return jax.jit(step)(*jax.device_put((state, batch), cpu))


def _members(step: Step, devices: int) -> Step:
    """Copies of the step, each on its part of the batch, by `vmap`: what pmap and shard_map do on devices."""

    def together(state: TrainState, batch: Batch) -> Found:
        parts, carry = jax.tree.map(lambda x: jnp.reshape(x, (devices, -1, *x.shape[1:])), (batch, state.carry))
        axes: Any = TrainState(None, None, None, None, None, None, carry=0)  # type: ignore[arg-type]
        mapped = jax.vmap(step, in_axes=(axes, 0), out_axes=(axes, None), axis_name=DATA_AXIS)
        state, metrics = mapped(state._replace(carry=carry), parts)
        return state._replace(carry=jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state.carry)), metrics

    return together


def _deterministic(model: Any, state: TrainState, batch: Batch) -> bool:
    """Whether the loss is the same for any key: then copies of the step are the step of the whole batch."""
    step = make_train_step(model.loss, gradient_optimizer(model), init_carry=model.init_carry)
    other = state._replace(key=jax.random.fold_in(state.key, 1))
    first, second = (_on_cpu(step, one, batch)[1] for one in (state, other))
    return all(np.array_equal(first[name], second[name]) for name in first)


def _compared(way: str, compute: Callable[[], Found], reference: Found, before: TrainState) -> tuple[Status, str, dict]:
    """How far what is computed is from the reference: in the update, in the statistics and in the metrics."""
    found = jax.device_get(compute())
    differences = {
        "update": _distance(_change(found[0].params, before.params), _change(reference[0].params, before.params)),
        "statistics": _distance(found[0].stats, reference[0].stats),
        "metrics": _distance(found[1], reference[1]),
    }
    name, worst = max(differences.items(), key=lambda item: item[1] if np.isfinite(item[1]) else np.inf)
    said = f"{way}: {name} off by {worst:.1e} of their size"
    return ("ok" if worst < CLOSE else "failed"), said, {f"{way}, {name}": value for name, value in differences.items()}


def _change(after: Any, before: Any) -> Any:
    return jax.tree.map(lambda a, b: np.asarray(a, np.float64) - np.asarray(b, np.float64), after, before)


def _distance(found: Any, reference: Any) -> float:
    """The norm of the difference of two trees, over the norm of the second; 0 where they have no leaves."""
    pairs = [
        (np.asarray(a, np.float64).ravel(), np.asarray(b, np.float64).ravel())
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(reference), strict=True)
    ]
    if not pairs:
        return 0.0
    a, b = (np.concatenate(values) for values in zip(*pairs, strict=True))
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))
