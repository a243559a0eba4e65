"""Distributions p(z) of latent variables, in one object that every latent-variable model takes.

A prior may need the encoder, as the VampPrior does: `made(params, encode)` is called once for a batch and gives what
the other functions take in place of the parameters. A flow, or an autoregressive model of codes, is a prior by its
`log_prob` and `draw`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key, Params
from gen_models.distributions import normal_log_prob
from gen_models.nn.posteriors import Code, Normal

Encode = Callable[[Array], Code]  # x [N, ...], scaled from 0 to 1 -> codes


class Prior(NamedTuple):
    """p(z) as functions; `made` stands for what the function of that name gives."""

    init: Callable[[Key, int, Array], Params]  # (key, dimensions of z, first batch's x from 0 to 1) -> params
    made: Callable[[Params, Encode], Any]  # (params, encode) -> made
    log_prob: Callable[[Any, Array], Array]  # (made, z [B, D]) -> [B] nats
    draw: Callable[[Any, Key, tuple[int, int]], Array]  # (made, key, (n, D)) -> z [n, D]
    kl: Callable[[Any, Normal], Array] | None  # (made, normal q) -> KL(q || p) [B, D], where it has a closed form
    asks_encoder: bool = False  # whether `made` calls `encode`


def standard_normal() -> Prior:
    """N(0, 1) in each dimension; the KL of a normal q is that of Kingma & Welling (2014), appendix B."""

    def kl(made, code):
        # expm1 keeps the digits where q is close to p and the KL close to 0
        return 0.5 * (jnp.expm1(2 * code.log_sigma) + code.mu**2) - code.log_sigma

    return Prior(
        init=lambda key, latent, x: {},
        made=lambda params, encode: None,
        log_prob=lambda made, z: normal_log_prob(z, jnp.zeros_like(z), jnp.zeros_like(z)),
        draw=lambda made, key, shape: jax.random.normal(key, shape, jnp.float32),
        kl=kl,
    )


def mixture(components: int = 10) -> Prior:
    """A mixture of equally probable diagonal normals, whose means and deviations are trained.

    It is the "mixture of Gaussians" prior that Tomczak & Welling, VAE with a VampPrior (2018), compare theirs with.

    Raises:
      ValueError: `components` is no positive whole number.
    """
    _check_count("components", components)

    def init(key, latent, x):
        return Normal(jax.random.normal(key, (components, latent)), jnp.zeros((components, latent)))._asdict()

    return Prior(init, lambda params, encode: Normal(**params), _log_mixture, _draw_of_mixture, None)


def vamp(shape: Sequence[int], pseudo_inputs: int = 500, *, unit: bool = True) -> Prior:
    """The variational mixture of posteriors: p(z) = 1/K sum_k q(z | u_k), whose pseudo-inputs u_k are trained.

    Tomczak & Welling, VAE with a VampPrior (2018), eq. 9. Differs: a pseudo-input is the sigmoid of its parameters,
    where theirs are cut off at 0 and 1; and they start near examples of the first batch, taken in turn, with noise.

    Args:
      shape: of x, which an encoder sees scaled from 0 to 1.
      pseudo_inputs: K.
      unit: whether x is between 0 and 1; else pseudo-inputs are their parameters themselves.

    Raises:
      ValueError: `pseudo_inputs` is no positive whole number.
    """
    _check_count("pseudo_inputs", pseudo_inputs)

    def init(key, latent, x):
        like = x[jnp.arange(pseudo_inputs) % x.shape[0]]
        noise = jax.random.normal(key, (pseudo_inputs, *shape), jnp.float32)
        return {"pseudo_inputs": (jax.scipy.special.logit(0.1 + 0.8 * like) if unit else like) + 0.1 * noise}

    def made(params, encode):
        code = encode(jax.nn.sigmoid(params["pseudo_inputs"]) if unit else params["pseudo_inputs"])
        return Normal(code.mu, code.log_sigma)

    return Prior(init, made, _log_mixture, _draw_of_mixture, None, asks_encoder=True)


def _log_mixture(made: Normal, z: Float[Array, "b d"]) -> Float[Array, "b"]:
    """log of the mean of the components' densities.

    By differences of all pairs: multiplied out, as products of matrices, small deviations would cost whole nats.
    """
    each = jax.vmap(lambda mu, log_sigma: normal_log_prob(z, mu, log_sigma))(made.mu, made.log_sigma)  # [K, B]
    return jax.nn.logsumexp(each, axis=0) - math.log(len(made.mu))


def _draw_of_mixture(made: Normal, key: Key, shape: tuple[int, int]) -> Float[Array, "n d"]:
    which_key, noise_key = jax.random.split(key)
    which = jax.random.randint(which_key, shape[:1], 0, len(made.mu))
    return made.mu[which] + jnp.exp(made.log_sigma[which]) * jax.random.normal(noise_key, shape, jnp.float32)


def _check_count(name: str, count: Any) -> None:
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more, got {count}")
