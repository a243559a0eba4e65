"""Cached samplers compute each pixel once, and draw what naive ones draw, which run the whole network for each."""

import inspect
from collections.abc import Iterator, Sequence
from functools import partial

import jax
import numpy as np

from . import Report, Status
from .subjects import batch_of, job_of, state_of

DRAWN = 16


def run(subjects: Sequence[str], report: Report) -> None:
    """Check each subject that has both samplers."""
    report.of_each(subjects, _check, concerns=_has_both)


def _has_both(subject: str) -> bool:
    model = job_of(subject).model
    return model.has("sample") and "method" in inspect.signature(model.sample).parameters


def _check(subject: str) -> Iterator[tuple[Status, str, dict]]:
    job = job_of(subject)
    state = state_of(job.model, batch_of(job))

    @partial(jax.jit, static_argnums=0)
    def draw(method: str) -> jax.Array:
        return job.model.sample(state.params, state.stats, state.key, DRAWN, method=method)

    with jax.default_matmul_precision("highest"):
        cached, naive = (np.asarray(draw(method)) for method in ("cached", "naive"))
    differ = int((cached != naive).reshape(DRAWN, -1).any(1).sum())
    constant = bool((cached == cached.flat[0]).all())
    # Both round in their own way. A pixel whose draw falls between the two roundings of its probability is another one,
    # and so may all be that come after it: that is seldom, while a cache that is wrong spoils every image.
    well = differ <= DRAWN // 8 and not constant
    said = f"{DRAWN - differ} of {DRAWN} images equal" + (", but all pixels are the same" if constant else "")
    yield ("ok" if well else "failed"), said, {"images that differ": differ}
