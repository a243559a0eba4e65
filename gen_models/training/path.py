"""The way of parameters through a training, step by step: what is drawn where optimizers are held against theory."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from gen_models.core import Batch, Key, Model, Optimizer, Params, init_state, make_train_step


def parameter_path(model: Model, tx: Optimizer, batches: Batch, key: Key) -> tuple[Params, Array]:
    """Parameters after 0, 1, ..., T ordinary training steps, and the loss that each step saw.

    All are kept: it is for models of few parameters. One compiled program.

    Args:
      model: what is trained, by its one loss.
      tx: the optimizer.
      batches: the batches of the T steps, [T, B, ...] on every leaf.
      key: of the initialisation and the noise.

    Returns:
      Parameters with [T + 1, ...] on every leaf, and losses [T].
    """
    step = make_train_step(model.loss, tx)

    def one(state: Any, batch: Batch) -> tuple[Any, tuple[Params, Array]]:
        state, metrics = step(state, batch)
        return state, (state.params, metrics["loss"])

    @jax.jit
    def walk(batches: Batch, key: Key) -> tuple[Params, Array]:
        first = jax.tree.map(lambda leaf: leaf[0], batches)
        start = init_state(model, tx, key, first)
        _, (after, losses) = jax.lax.scan(one, start, batches)
        return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start.params, after), losses

    return walk(batches, key)
