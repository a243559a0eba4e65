"""Distributions q(z|x) that an encoder ends in, in one object that every latent-variable model takes.

An encoder ends in linear layers, the posterior's `heads`, and what they give for an x is its *code*: what q is
computed from. A flow is a posterior whose code holds what its layers are conditioned on, and whose `params` are those
layers'.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key, Params
from gen_models.distributions import normal_log_prob

Code = Any  # a tree of arrays [B, ...]; of a diagonal normal a `Normal`


class Normal(NamedTuple):
    """A diagonal normal distribution for each example."""

    mu: Float[Array, "b d"]
    log_sigma: Float[Array, "b d"]


class Posterior(NamedTuple):
    """q(z|x) as functions. `params` are the posterior's own, `made` is what the prior's function of that name gives."""

    heads: Callable[[int], dict[str, int]]  # dimensions of z -> the encoder's linear outputs: name -> width
    init: Callable[[Key, int], Params]  # (key, dimensions of z) -> params
    code: Callable[[dict[str, Array]], Code]  # the heads' outputs, each [B, width] -> code
    draw: Callable[..., Array]  # (params, code, key, made) -> z [B, D], by which q can be differentiated
    log_prob: Callable[..., Array]  # (params, code, z [B, D], made) -> [B] nats
    # (params, code, made) -> the mean and the deviation of each dimension of z, given the means of those that come
    # before
    normal: Callable[..., Normal]
    is_normal: bool = False  # whether q is the diagonal normal distribution that its code says
    by_layer: Callable[..., Array] | None = None  # (params, code, z, made) -> log q / p of each layer of z, [B, L]


def diagonal_normal() -> Posterior:
    """N(mu(x), sigma(x)) with a mean and a deviation for each dimension (Kingma & Welling, 2014, eq. 9).

    A draw is mu + sigma * noise, the reparameterisation of section 2.4.
    """
    return Posterior(
        heads=lambda latent: {"mu": latent, "log_sigma": latent},
        init=lambda key, latent: {},
        code=lambda heads: Normal(heads["mu"], heads["log_sigma"]),
        draw=lambda params, code, key, made=None: drawn(code, key),
        log_prob=lambda params, code, z, made=None: normal_log_prob(z, code.mu, code.log_sigma),
        normal=lambda params, code, made=None: code,
        is_normal=True,
    )


def drawn(normal: Normal, key: Key) -> Float[Array, "b d"]:
    """A draw from a normal distribution, mu + sigma * noise."""
    return normal.mu + jnp.exp(normal.log_sigma) * jax.random.normal(key, normal.mu.shape, normal.mu.dtype)
