"""A normal distribution fitted to a given density on the line, by the Kullback-Leibler divergence in either direction.

    forward   KL(p || q) = int p log(p / q), whose minimum has the mean and the variance of p: q covers all of p
    reverse   KL(q || p) = int q log(q / p), which is large where q has mass and p has none: q seeks one mode of p

Bishop, Pattern Recognition and Machine Learning (2006), section 10.1.2. Integrals are sums over a grid, by the
trapezoidal rule, whose error for smooth densities that vanish at the ends falls faster than any power of the spacing.
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.distributions import normal_log_prob
from gen_models.errors import unknown


def mixture_log_density(
    x: Float[np.ndarray, " n"], means: Sequence[float], sigmas: Sequence[float], weights: Sequence[float]
) -> Float[np.ndarray, " n"]:
    """log density of a mixture of normal distributions at x [n], in float64.

    Raises:
      ValueError: the mixture's lists differ in length or are empty, a deviation or a weight is not positive, or the
        weights do not sum to 1.
    """
    if not len(means) == len(sigmas) == len(weights) or not len(means):
        raise ValueError(f"means, sigmas and weights must be one list each, got {means=}, {sigmas=}, {weights=}")
    if min(*sigmas, *weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"sigmas and weights must be positive, and weights sum to 1, got {sigmas=}, {weights=}")
    mu, sigma, weight = (np.asarray(each, np.float64) for each in (means, sigmas, weights))
    z = (np.asarray(x, np.float64)[:, None] - mu) / sigma
    return np.logaddexp.reduce(np.log(weight) - np.log(sigma) - (z**2 + np.log(2 * np.pi)) / 2, axis=1)


def divergence(
    log_p: Float[Array | np.ndarray, " n"], log_q: Float[Array | np.ndarray, " n"], spacing: float
) -> Float[Array, ""]:
    """KL(p || q) in nats of densities given as logarithms on a grid of this spacing; what p lacks counts nothing."""
    p = jnp.exp(log_p)
    return jnp.where(p > 0, p * (log_p - log_q), 0).sum() * spacing


def gaussian_fit(
    grid: Float[np.ndarray, " n"],
    log_density: Float[np.ndarray, " n"],
    *,
    direction: Literal["forward", "reverse"],
    mu: float = 0.0,
    sigma: float = 1.0,
) -> Model:
    """The fit as a model, whose parameters are "mu" and "log_sigma"; its batches are not looked at.

    The loss is the divergence in nats. `apply(params, stats, x)` gives log q at x [n].

    Args:
      grid: evenly spaced points over all of p, at which p is given.
      log_density: log p there.
      direction: "forward" or "reverse".
      mu: the start's mean.
      sigma: the start's standard deviation.

    Raises:
      ValueError: the direction is unknown, `sigma` is not positive, the grid is uneven, or p is missing at a point.
    """
    if direction not in ("forward", "reverse"):
        raise unknown("direction", direction, ("forward", "reverse"))
    gaps = np.diff(grid)
    if len(grid) < 2 or grid.shape != log_density.shape or not np.allclose(gaps, gaps[0]) or not gaps[0] > 0:
        raise ValueError(
            f"p must be given on an even, rising grid, got {len(grid)} points and {len(log_density)} values"
        )
    if not sigma > 0:
        raise ValueError(f"sigma must be positive, got {sigma}")
    spacing = float(gaps[0])
    at, log_p = jnp.asarray(grid, jnp.float32), jnp.asarray(log_density, jnp.float32)

    def apply(params, stats, x):
        """log q at x [n]."""
        return normal_log_prob(x[:, None], params["mu"], params["log_sigma"])

    def init(key, batch):
        return {"mu": jnp.asarray(mu, jnp.float32), "log_sigma": jnp.log(jnp.asarray(sigma, jnp.float32))}, {}

    def loss(params, stats, batch, key, *, step, train=True):
        """The divergence."""
        pair = (log_p, apply(params, stats, at))
        one, other = pair if direction == "forward" else pair[::-1]
        return divergence(one, other, spacing), (stats, {})

    return Model(init, loss, apply=apply)
