"""The loop traces a step once, whatever its calls are; and a second call of `fit` traces nothing."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from gen_models.run.job import keys
from gen_models.training import parallel
from gen_models.training.loop import fit

from . import Report, Status
from .subjects import SEED, job_of

STEPS = 12


def run(subjects: Sequence[str], report: Report) -> None:
    """Check each subject."""
    report.of_each(subjects, _check)


def _check(subject: str) -> Iterator[tuple[Status, str, dict]]:
    devices = jax.device_count()
    job, traces = job_of(subject, devices=devices), 0
    # As a run does: over all devices where they are several accelerators; on a CPU `fit` chooses.
    mesh = parallel.data_mesh() if devices > 1 and jax.default_backend() != "cpu" else None
    losses: list[float] = []

    def counted(*arguments: Any) -> Any:
        nonlocal traces
        traces += 1
        return job.step(*arguments)

    def log(step: int, values: dict[str, Any]) -> None:
        losses.extend(float(np.mean(value)) for name, value in values.items() if name.endswith("loss"))

    state = job.initial(SEED)
    for goal in (STEPS, 2 * STEPS):
        outcome = fit(
            counted,
            state,
            job.batches(SEED),
            steps=goal,
            key=keys(SEED).data,
            numbers=job.numbers(job.config),
            log=log,
            log_every=5,
            mesh=mesh,
        )
        state = outcome.state
    well = traces == 1 and outcome.status == "finished" and bool(losses) and bool(np.isfinite(losses).all())
    said = f"{2 * STEPS} steps in two calls of the loop: {outcome.status}, traced {traces} times"
    yield ("ok" if well else "failed"), said, {"traces": traces}
