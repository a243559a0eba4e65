"""Batch norm's statistics for parameters that did not train with them, such as averaged ones.

Izmailov et al., Averaging Weights Leads to Wider Optima (2018), section 3.2: the network passes over training data once
more. Here the result is the plain mean of each batch's own means and variances, so that nothing is left of the
statistics that were there before.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import Model, Params, Stats
from gen_models.data.batching import Batches

# Enough for a standard error of a hundredth of a unit's deviation in each mean. A running average of weight 0.9 over
# batches of 128, whose last 19 batches count, is as sure as 2,400 examples make it; one of weight 0.99 as 25,000.
EXAMPLES = 10_000


def estimated(model: Model, params: Params, stats: Stats, batches: Batches, examples: int = EXAMPLES) -> Stats:
    """`stats` with batch norm's means and variances over the first `examples` training examples, or one epoch of them.

    What else the statistics hold stays as it is. The model sees the batches as training does, with their random
    transforms and its own dropout, whose noise is the same in each call.

    Args:
      model: has the operation `batch_stats`.
      params: the parameters that the statistics are to fit.
      stats: those that are there; of batch norm's, shapes alone are read.
      batches: of the training part.
      examples: about how many are looked at: whole batches, one at least.
    """
    step, key, found = _step(model, batches.make), jax.random.key(0), stats
    for number in range(min(-(-examples // batches.batch_size), batches.steps_per_epoch)):
        row = jax.tree.map(lambda x: np.asarray(x)[0], batches.rows(number, 1))
        found = step(params, found, number, batches.data, row, jax.random.fold_in(key, number))
    return found


@lru_cache(maxsize=16)
def _step(model: Model, make: Callable[..., Any]) -> Callable[..., Stats]:
    """One batch of the mean, compiled once for a model and its batches."""

    def step(params: Params, so_far: Stats, number: Any, data: Any, row: Any, key: Any) -> Stats:
        data_key, model_key = jax.random.split(key)
        own = model.batch_stats(params, so_far, make(data, row, data_key), model_key)
        # The first batch replaces what was there, whatever that was: no rounded difference from it is left.
        mean = lambda s, b: jnp.where(number == 0, b, s + (b - s) / (number + 1)).astype(s.dtype)  # noqa: E731
        return jax.tree.map(mean, so_far, own)

    return jax.jit(step)
