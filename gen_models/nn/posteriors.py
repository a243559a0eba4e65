"""Distributions q(z|x) that an encoder ends in, in one object that every latent-variable model takes.

An encoder ends in linear layers, the posterior's `heads`, and what they give for an x is its *code*: a named tuple
whose first entry is the mean of q, [B, D]. A flow is a posterior whose code holds what its layers are conditioned on,
and whose `params` are those layers'.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key, Params
from gen_models.distributions import normal_log_prob

Code = Any  # a named tuple of arrays [B, ...]; its first entry is the mean of q(z|x)


class Normal(NamedTuple):
    """A diagonal normal distribution for each example."""

    mu: Float[Array, "b d"]
    log_sigma: Float[Array, "b d"]


class Posterior(NamedTuple):
    """q(z|x) as functions. `params` are the posterior's own; a diagonal normal has none."""

    heads: Callable[
        [int], dict[str, int]
    ]  # dimensions of z -> the encoder's linear outputs, by name, with their widths
    init: Callable[[Key, int], Params]  # (key, dimensions of z) -> params
    code: Callable[[dict[str, Array]], Code]  # the heads' outputs, each [B, width] -> code
    draw: Callable[[Params, Code, Key], Array]  # (params, code, key) -> z [B, D], by which q can be differentiated
    log_prob: Callable[[Params, Code, Array], Array]  # (params, code, z [B, D]) -> [B] nats


def diagonal_normal() -> Posterior:
    """N(mu(x), sigma(x)) with a mean and a deviation for each dimension (Kingma & Welling, 2014, eq. 9).

    A draw is mu + sigma * noise, the reparameterisation of section 2.4.
    """

    def draw(params, code, key):
        return code.mu + jnp.exp(code.log_sigma) * jax.random.normal(key, code.mu.shape, code.mu.dtype)

    return Posterior(
        heads=lambda latent: {"mu": latent, "log_sigma": latent},
        init=lambda key, latent: {},
        code=lambda heads: Normal(heads["mu"], heads["log_sigma"]),
        draw=draw,
        log_prob=lambda params, code, z: normal_log_prob(z, code.mu, code.log_sigma),
    )
