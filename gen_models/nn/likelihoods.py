"""Distributions p(x|z) that a decoder ends in: what its outputs mean, as one object for all latent-variable models.

A decoder gives `outputs` numbers for each number of x, side by side on the last axis: [B, ..., C * outputs] for x of
[B, ..., C]. The numbers of x are independent given z. `bernoulli`, `discretised_logistic` and `categorical` are
probabilities of pixels; `gaussian` is a density of real numbers, whose values are not to be compared with those.

Kingma & Welling, Auto-Encoding Variational Bayes (2014), appendix C, has the Bernoulli and the Gaussian decoder;
Salimans et al., PixelCNN++ (2017), section 2.1, the discretised logistic; Rybkin et al., Simple and Effective VAE
Training with Calibrated Decoders (2021), section 3, the one learned variance.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key, Params
from gen_models.distributions import bernoulli_log_prob, categorical_log_prob, normal_log_prob
from gen_models.errors import unknown
from gen_models.nn.heads import log_of_level, to_unit_range

Outputs = Float[Array, "b *dims outputs"]


class Likelihood(NamedTuple):
    """p(x|z) as functions. `params` are the likelihood's own, such as a learned variance; most have none."""

    outputs: int  # numbers that a decoder gives for each number of x
    levels: int | None  # x holds integers from 0 to levels - 1; None: real numbers
    unit: bool  # whether x must be between 0 and 1 where it is real
    init: Callable[[], Params]  # () -> params
    log_prob: Callable[[Params, Outputs, Array], Array]  # (params, outputs, x) -> [B] nats
    # (params, outputs) -> a picture with pixels from 0 to 1: E[x|z]; of the logistic its location
    mean: Callable[[Params, Outputs], Array]
    draw: Callable[[Key, Params, Outputs], Array]  # (key, params, outputs) -> x drawn from p(x|z), as the data have it
    grey: bool = False  # whether training and encoders also take x between the levels, for which log p is no log p

    def scaled(self, x: Array) -> Float[Array, "..."]:
        """x as an encoder sees it: levels become numbers from 0 to 1, all else stays as it is."""
        return x.astype(jnp.float32) / (1 if self.levels is None else self.levels - 1)


def bernoulli() -> Likelihood:
    """Pixels of 0 and 1, by their logits. Of grey ones, between these, log p is a cross-entropy and no bound."""

    def draw(key, params, outputs):
        return jax.random.bernoulli(key, jax.nn.sigmoid(outputs)).astype(jnp.float32)

    return Likelihood(
        outputs=1,
        levels=2,
        unit=True,
        init=dict,
        log_prob=lambda params, outputs, x: bernoulli_log_prob(x, outputs),
        mean=lambda params, outputs: jax.nn.sigmoid(outputs),
        draw=draw,
        grey=True,
    )


def gaussian(
    sigma: float | Literal["learned", "each"] = "learned", *, least_sigma: float = 0.01, unit: bool = True
) -> Likelihood:
    """A normal density of real x with the decoder's mean; its values depend on the unit of x.

    A variance that is learned falls without end where x can be met exactly, as the black borders of images can, and the
    likelihood rises with it (Mattei & Frellsen, 2018, proposition 1). `least_sigma` keeps it from that: log sigma is
    log least + softplus(raw - log least).

    Args:
      sigma: the standard deviation; or "learned": one number for all of x, which is trained; or "each": the decoder
        gives one for each number of x.
      least_sigma: below which a learned one does not fall.
      unit: whether x holds pixels between 0 and 1, by which it is checked and its mean is clipped for pictures; else
        any real numbers.

    Raises:
      ValueError: a deviation is not positive and finite, or `sigma` is another word.
    """
    if isinstance(sigma, str) and sigma not in ("learned", "each"):
        raise unknown("standard deviation of a Gaussian likelihood", sigma, ("learned", "each"))
    for name, value in (("sigma", sigma), ("least_sigma", least_sigma)):
        if not isinstance(value, str) and not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
    each = sigma == "each"
    lowest = math.log(least_sigma)

    def parts(params, outputs):
        """Mean and log sigma of each number of x."""
        if not isinstance(sigma, str):
            return outputs, jnp.full_like(outputs, math.log(sigma))
        mean, raw = jnp.split(outputs, 2, -1) if each else (outputs, jnp.full_like(outputs, params["log_sigma"]))
        return mean, lowest + jax.nn.softplus(raw - lowest)

    def draw(key, params, outputs):
        mean, log_sigma = parts(params, outputs)
        return mean + jnp.exp(log_sigma) * jax.random.normal(key, mean.shape, mean.dtype)

    def mean_of(params, outputs):
        mean = parts(params, outputs)[0]
        return jnp.clip(mean, 0, 1) if unit else mean

    return Likelihood(
        outputs=2 if each else 1,
        levels=None,
        unit=unit,
        init=lambda: {"log_sigma": jnp.zeros(())} if sigma == "learned" else {},
        log_prob=lambda params, outputs, x: normal_log_prob(x, *parts(params, outputs)),
        mean=mean_of,
        draw=draw,
    )


def discretised_logistic(levels: int = 256) -> Likelihood:
    """A logistic distribution for each pixel, integrated over each level's bin; the outermost bins reach to infinity.

    Salimans et al. (2017), section 2.1, with one component. The outputs are the means of all channels, on the scale
    from -1 to 1, then the logarithms of their scales.

    Raises:
      ValueError: fewer than two levels.
    """
    _check_levels(levels)

    def parts(outputs):
        mean, log_scale = jnp.split(outputs, 2, -1)
        return mean, jnp.maximum(log_scale, -7.0)

    def log_prob(params, outputs, x):
        mean, log_scale = parts(outputs)
        each = log_of_level(to_unit_range(x, levels), mean, log_scale, levels)
        return each.sum(tuple(range(1, each.ndim)))

    def draw(key, params, outputs):
        mean, log_scale = parts(outputs)
        value = mean + jnp.exp(log_scale) * jax.random.logistic(key, mean.shape, mean.dtype)
        return jnp.round((jnp.clip(value, -1, 1) + 1) * ((levels - 1) / 2))

    return Likelihood(
        outputs=2,
        levels=levels,
        unit=True,
        init=dict,
        log_prob=log_prob,
        mean=lambda params, outputs: (jnp.clip(parts(outputs)[0], -1, 1) + 1) / 2,
        draw=draw,
    )


def categorical(levels: int) -> Likelihood:
    """A softmax over the levels for each pixel and channel; the outputs are [C, levels], flat.

    Raises:
      ValueError: fewer than two levels.
    """
    _check_levels(levels)

    def logits(outputs):
        return outputs.reshape(*outputs.shape[:-1], -1, levels)

    def draw(key, params, outputs):
        return jax.random.categorical(key, logits(outputs)).astype(jnp.float32)

    def mean(params, outputs):
        return jax.nn.softmax(logits(outputs)) @ jnp.linspace(0, 1, levels)

    return Likelihood(
        outputs=levels,
        levels=levels,
        unit=True,
        init=dict,
        log_prob=lambda params, outputs, x: categorical_log_prob(x.astype(jnp.int32), logits(outputs)),
        mean=mean,
        draw=draw,
    )


def _check_levels(levels: Any) -> None:
    if not isinstance(levels, int) or levels < 2:
        raise ValueError(f"a pixel needs two levels or more, got levels={levels}")
