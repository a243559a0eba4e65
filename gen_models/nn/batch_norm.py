"""Batch norm's statistics of one batch, for a network whose parameters are not those that trained with them.

Averaged parameters make other activations than each of those that were averaged, so that neither the running averages
of the last ones nor a mean of such averages fits them. Izmailov et al., Averaging Weights Leads to Wider Optima (2018),
section 3.2, therefore pass over training data once more.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Stats = Any


def of_one_batch(updated: Callable[[Stats], Stats], stats: Stats) -> Stats:
    """Means and variances of the batch itself, as running averages that forget everything else would hold them.

    A running average s becomes m s + (1 - m) b with the batch's own b, which training reads in place of s. So b is what
    becomes of 0, divided by 1 - m, and m is the derivative of what becomes of s.

    Args:
      updated: a training pass of the network: its running averages -> those after the batch.
      stats: the running averages, whose values are not read.
    """
    nothing, ones = jax.tree.map(jnp.zeros_like, stats), jax.tree.map(jnp.ones_like, stats)
    found, momentum = jax.jvp(updated, (nothing,), (ones,))
    return jax.tree.map(lambda s, m: s / (1 - m), found, momentum)
