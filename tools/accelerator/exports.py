"""An exported sampler, read back as another process would, draws what the model draws."""

from collections.abc import Iterator, Sequence
from functools import partial

import jax
import numpy as np
from jax import export as jax_export

from gen_models.export import export_sampler

from . import Report, Status
from .subjects import batch_of, job_of, state_of

DRAWN = 16
PLATFORMS = {"gpu": "cuda"}  # JAX's names of backends, as exports name them where they differ


def run(subjects: Sequence[str], report: Report) -> None:
    """Check each subject that has samples."""
    platforms = tuple(dict.fromkeys(("cpu", PLATFORMS.get(report.platform, report.platform))))
    report.of_each(subjects, partial(_check, platforms), concerns=lambda s: job_of(s).model.has("sample"))


def _check(platforms: Sequence[str], subject: str) -> Iterator[tuple[Status, str, dict]]:
    job = job_of(subject)
    state = state_of(job.model, batch_of(job))
    with jax.default_matmul_precision("highest"):
        program = export_sampler(job.model, state.params, state.stats, platforms=platforms)
        loaded = jax_export.deserialize(bytearray(program))
        exported = np.asarray(loaded.call(np.uint32(7), np.zeros(DRAWN, np.uint32)), np.float64)
        key = jax.random.key(7, impl="threefry2x32")
        own = jax.jit(lambda: job.model.sample(state.params, state.stats, key, DRAWN))()
    off = np.abs(exported - np.asarray(own, np.float64)).reshape(DRAWN, -1).max(1)
    differ = int((off > 1e-3).sum())
    said = f"{len(program):,} bytes for {' and '.join(platforms)}, {DRAWN - differ} of {DRAWN} samples equal"
    yield ("ok" if differ <= DRAWN // 8 else "failed"), said, {"bytes": len(program), "samples that differ": differ}
