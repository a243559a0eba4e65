"""How far a decoder's outputs are from what they are to reproduce: what autoencoders without a density are trained by.

A reconstruction is what a likelihood (`gen_models/nn/likelihoods.py`) is to models with a density: one object that says
what a decoder's outputs mean. A decoder gives one output for each number of x.

- `squared`: |x - outputs|^2, summed over the numbers of an example, whose unit is that of x, squared.
- `cross_entropy`: of pixels between 0 and 1, by their logits, in nats (Vincent et al., 2010, section 2.2). For grey
  pixels its least value is not 0 but their entropy.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from gen_models.distributions import bernoulli_log_prob


class Reconstruction(NamedTuple):
    """An error of reconstruction as functions."""

    unit: bool  # whether x must be between 0 and 1
    error: Callable[[Array, Array], Array]  # (outputs [B, ...], x [B, ...]) -> [B]
    picture: Callable[[Array], Array]  # outputs -> x, in the unit of the data


def squared() -> Reconstruction:
    """The squared error, summed over the numbers of an example; the outputs are x itself, any real numbers."""
    return Reconstruction(unit=False, error=_squared, picture=_as_it_is)


def cross_entropy() -> Reconstruction:
    """The cross-entropy of pixels between 0 and 1, summed over an example; the outputs are their logits."""
    return Reconstruction(unit=True, error=lambda outputs, x: -bernoulli_log_prob(x, outputs), picture=jax.nn.sigmoid)


def _squared(outputs: Float[Array, "b *dims"], x: Float[Array, "b *dims"]) -> Float[Array, "b"]:
    return ((outputs - x) ** 2).reshape(x.shape[0], -1).sum(1)


def _as_it_is(outputs: Array) -> Array:
    return outputs
