"""A step in bfloat16: its loss and its gradient's direction are float32's, and what it returns is in float32."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from . import Report, Status
from .subjects import batch_of, job_of, state_of

LOSS, DIRECTION = 0.03, 0.98  # the loss's largest relative difference, and the gradients' least cosine


def run(subjects: Sequence[str], report: Report) -> None:
    """Check each subject."""
    report.of_each(subjects, _check)


def _check(subject: str) -> Iterator[tuple[Status, str, dict]]:
    whole, half = job_of(subject), job_of(subject, "bfloat16")
    batch = batch_of(whole)
    state = state_of(whole.model, batch)
    losses = whole.model.loss if isinstance(whole.model.loss, Mapping) else {"": whole.model.loss}
    halves = half.model.loss if isinstance(half.model.loss, Mapping) else {"": half.model.loss}
    carry = {} if state.carry is None else {"carry": state.carry}

    @partial(jax.jit, static_argnums=0)
    def gradient(loss: Any, params: Any, stats: Any) -> Any:
        call = partial(loss, step=jnp.array(0), **carry)
        return jax.value_and_grad(call, has_aux=True)(params, stats, batch, state.key)

    for player, loss in losses.items():
        with jax.default_matmul_precision("highest"):
            (value, _), grads = gradient(loss, state.params, state.stats)
        (rounded, (stats, *_)), its = gradient(halves[player], state.params, state.stats)
        kept = all(leaf.dtype != jnp.bfloat16 for leaf in jax.tree.leaves((rounded, stats, its)))
        a, b = (np.concatenate([np.asarray(g, np.float64).ravel() for g in jax.tree.leaves(g)]) for g in (grads, its))
        cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
        off = abs(float(rounded) - float(value)) / max(abs(float(value)), 1e-6)
        well = kept and off < LOSS and cosine > DIRECTION and not np.array_equal(a, b)
        said = f"{f'{player}: ' if player else ''}loss off by {off:.1e}, cosine of the gradients {cosine:.5f}"
        said += "" if kept else ", but something comes back in bfloat16"
        said += ", and nothing was rounded: bfloat16 was not used" if np.array_equal(a, b) else ""
        yield ("ok" if well else "failed"), said, {"loss": off, "cosine": cosine}
