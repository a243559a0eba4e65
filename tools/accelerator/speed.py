"""What the device can do, by products of matrices and copies; then steps at the experiments' own sizes against that."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gen_models.run.fields import with_values
from gen_models.run.job import Job, make_job

from . import Report, Status
from .subjects import SEED, batch_of, named

PRECISIONS = ("float32", "bfloat16")
ENOUGH = 0.4  # seconds that something is repeated for


def run(subjects: Sequence[str], report: Report) -> None:
    """Measure the device first, and then each subject."""
    able: dict[str, float] = {}
    report.of_each(["the device"], partial(_device, report.platform, able))
    if able:
        report.of_each(subjects, partial(_steps, able))


def _device(platform: str, able: dict[str, float], _: str) -> Iterator[tuple[Status, str, dict]]:
    """Floating-point operations and bytes a second, into `able`."""
    side = 1024 if platform == "cpu" else 8192
    for precision in PRECISIONS:
        a = jnp.ones((side, side), precision)
        able[precision] = 2 * side**3 / _seconds(partial(jax.jit(jnp.matmul), a, a))
    values = jnp.ones(2**24 if platform == "cpu" else 2**28, jnp.float32)  # 64 MB, or 1 GB
    able["bytes"] = 2 * values.nbytes / _seconds(partial(jax.jit(lambda x: x + 1), values))
    products = ", ".join(f"{able[name] / 1e12:.3g} TFLOP/s in {name}" for name in PRECISIONS)
    said = f"products of {side}x{side} matrices: {products}; {able['bytes'] / 1e9:.4g} GB/s"
    yield "measured", said, dict(able)


def _steps(able: Mapping[str, float], subject: str) -> Iterator[tuple[Status, str, dict]]:
    experiment, variant = named(subject)
    for precision in PRECISIONS:
        job = make_job(experiment, with_values(experiment.variants[variant], {"precision": precision}))
        yield _step(able, precision, job)


def _step(able: Mapping[str, float], precision: str, job: Job) -> tuple[Status, str, dict]:
    """One job's step, compiled alone, called again and again from the host."""
    batch, state = batch_of(job), job.initial(SEED)
    numbers = (job.numbers(job.config),) if job.names else ()
    began = time.perf_counter()
    program = jax.jit(job.step, donate_argnums=0).lower(state, batch, *numbers).compile()
    compiled = time.perf_counter() - began

    def once() -> Any:
        nonlocal state
        state, metrics = program(state, batch, *numbers)
        return state, metrics

    seconds = _seconds(once)
    cost, memory = program.cost_analysis() or {}, program.memory_analysis()
    operations, moved = cost.get("flops", math.nan), cost.get("bytes accessed", math.nan)
    # The roofline (Williams et al., 2009): no step is faster than its operations and its traffic allow.
    share = max(operations / able[precision], moved / able["bytes"]) / seconds
    held = 0 if memory is None else memory.temp_size_in_bytes + memory.argument_size_in_bytes
    found = {
        "ms": seconds * 1e3,
        "roofline": share,
        "operations": operations,
        "bytes": moved,
        "memory": held,
        "compile_s": compiled,
    }
    said = (
        f"{precision}: {seconds * 1e3:.3g} ms a step, {share:.1%} of the roofline, {held / 1e6:,.0f} MB, compiled in "
    )
    return "measured", f"{said}{compiled:.1f} s", {f"{precision}, {name}": value for name, value in found.items()}


def _seconds(call: Callable[[], Any]) -> float:
    """The time of a call: the best of three means, after two calls that compile and settle."""
    for _ in range(2):
        jax.block_until_ready(call())
    began = time.perf_counter()
    jax.block_until_ready(call())
    repeats = max(1, math.ceil(ENOUGH / 3 / max(time.perf_counter() - began, 1e-6)))
    best = math.inf
    for _ in range(3):
        began = time.perf_counter()
        for _ in range(repeats):
            last = call()
        jax.block_until_ready(last)
        best = min(best, (time.perf_counter() - began) / repeats)
    return best
