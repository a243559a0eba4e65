"""Damage that a denoising model repairs: pure functions `(x, key) -> x` of arrays of any shape.

Vincent et al., Stacked Denoising Autoencoders (2010), section 3.3, has the three. Differs from there: each number is
damaged with the probability `share`, by itself, where the paper damages a fixed number of them in each example. So the
share is right on average alone, and it may be traced.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key

Corruption = Callable[[Array, Key], Array]


def gaussian(sigma: float | Array) -> Corruption:
    """x + sigma e, with e of the standard normal distribution: additive noise, in the unit of x.

    Args:
      sigma: the noise's standard deviation; may be traced.

    Raises:
      ValueError: sigma is negative, infinite or NaN.
    """
    if isinstance(sigma, int | float) and not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must not be negative, infinite or NaN, got {sigma}")

    def corrupt(x: Float[Array, "*shape"], key: Key) -> Float[Array, "*shape"]:
        return x + sigma * jax.random.normal(key, x.shape, x.dtype)

    return corrupt


def masking(share: float | Array) -> Corruption:
    """0 in place of a share of the numbers.

    Args:
      share: the probability with which a number is replaced; may be traced.

    Raises:
      ValueError: the share is not in [0, 1].
    """
    _check_share(share)

    def corrupt(x: Float[Array, "*shape"], key: Key) -> Float[Array, "*shape"]:
        return jnp.where(jax.random.uniform(key, x.shape) < share, jnp.zeros([], x.dtype), x)

    return corrupt


def salt_and_pepper(share: float | Array, low: float = 0.0, high: float = 1.0) -> Corruption:
    """The least or the largest value in place of a share of the numbers, by the toss of a fair coin.

    Args:
      share: the probability with which a number is replaced; may be traced.
      low: the least value of x.
      high: its largest value.

    Raises:
      ValueError: the share is not in [0, 1].
    """
    _check_share(share)

    def corrupt(x: Float[Array, "*shape"], key: Key) -> Float[Array, "*shape"]:
        drawn = jax.random.uniform(key, x.shape)  # below share / 2: pepper; below share: salt
        replaced = jnp.where(drawn < share / 2, jnp.asarray(low, x.dtype), jnp.asarray(high, x.dtype))
        return jnp.where(drawn < share, replaced, x)

    return corrupt


def _check_share(share: float | Array) -> None:
    if isinstance(share, int | float) and not 0 <= share <= 1:
        raise ValueError(f"a share of damaged numbers must be in [0, 1], got {share}")
