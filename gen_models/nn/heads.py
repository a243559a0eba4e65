"""Distributions of a pixel given a network's outputs for it: what autoregressive image models end in.

Pixels are levels 0 to L - 1. A network sees them scaled to [-1, 1]: `to_unit_range`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_models.core import Key

COLDEST = 1e-30  # stands for temperature 0, so that a logit of 0 is not divided by it


class Head(NamedTuple):
    """A pixel's distribution."""

    outputs: int  # numbers that the network gives for a pixel
    by_channel: bool  # whether they may depend on the pixel's earlier channels
    log_prob: Callable[..., Array]  # (outputs [..., outputs], pixels [..., C]) -> [...] nats
    draw: Callable[..., Array]  # (key, outputs [B, outputs], pixel [B, C], channel, temperature) -> pixel [B, C]


def categorical(channels: int, levels: int) -> Head:
    """A softmax over the levels for each channel (PixelRNN, 2016, section 3.2); outputs are [channels, levels], flat.

    The network makes the outputs of a channel depend on the channels before it.
    """

    def log_prob(outputs: Float[Array, "*n o"], pixels: Int[Array, "*n c"]) -> Float[Array, "*n"]:
        log_p = jax.nn.log_softmax(outputs.reshape(*outputs.shape[:-1], channels, levels))
        return jnp.take_along_axis(log_p, pixels[..., None], -1)[..., 0].sum(-1)

    def draw(key: Key, outputs, pixel, channel, temperature):
        logits = cooled(outputs.reshape(-1, channels, levels)[:, channel], temperature)
        return pixel.at[:, channel].set(jax.random.categorical(key, logits).astype(pixel.dtype))

    return Head(channels * levels, channels > 1, log_prob, draw)


def cooled(logits: Float[Array, "*n k"], temperature: float | Array) -> Float[Array, "*n k"]:
    """Logits over the temperature, their largest at 0: at temperature 0 nothing else is left, several alike by lot."""
    return (logits - logits.max(-1, keepdims=True)) / jnp.maximum(temperature, COLDEST)


def to_unit_range(pixels: Array, levels: int) -> Float[Array, "..."]:
    """Levels 0 to L - 1 as floats from -1 to 1."""
    return pixels.astype(jnp.float32) * (2 / (levels - 1)) - 1


def discretised_logistic_mixture(channels: int, levels: int, mixtures: int = 10) -> Head:
    """Mixture of logistic distributions, integrated over each level's bin; the outermost bins reach to infinity.

    Salimans et al., PixelCNN++ (2017), section 2.1, eq. 2, and 2.2, eq. 3: for C channels the mean of each is moved
    linearly by the channels before it. `outputs` for a pixel: mixture logits [K]; then for each channel means [K] and
    log scales [K]; then K for each pair of channels. For one channel 3 K numbers, for RGB 10 K.
    """
    pairs = channels * (channels - 1) // 2

    def parts(outputs):
        shape = outputs.shape[:-1]
        logits, rest = outputs[..., :mixtures], outputs[..., mixtures:]
        rest, linear = rest[..., : 2 * channels * mixtures], rest[..., 2 * channels * mixtures :]
        rest = rest.reshape(*shape, 2, channels, mixtures)
        means, log_scales = rest[..., 0, :, :], jnp.maximum(rest[..., 1, :, :], -7.0)
        return logits, means, log_scales, jnp.tanh(linear.reshape(*shape, pairs, mixtures))

    def moved(means, linear, x, channel):
        """Mean [..., K] of a channel given the channels x [..., C] before it, scaled to [-1, 1]."""
        first = channel * (channel - 1) // 2
        mean = means[..., channel, :]
        for before in range(channel):
            mean = mean + linear[..., first + before, :] * x[..., before, None]
        return mean

    def log_prob(outputs, pixels):
        logits, means, log_scales, linear = parts(outputs)
        x = to_unit_range(pixels, levels)
        total = jax.nn.log_softmax(logits)
        for channel in range(channels):
            mean, log_scale = moved(means, linear, x, channel), log_scales[..., channel, :]
            total += log_of_level(x[..., channel, None], mean, log_scale, levels)
        return jax.nn.logsumexp(total, -1)

    def draw(key, outputs, pixel, channel, temperature):
        logits, means, log_scales, linear = parts(outputs)
        which_key, noise_key = jax.random.split(key)
        which = jax.random.categorical(which_key, cooled(logits, temperature))
        pick = jax.nn.one_hot(which, mixtures)
        noise = jax.random.logistic(noise_key, (outputs.shape[0], channels), outputs.dtype) * temperature
        x: list[Array] = []
        for c in range(channels):
            so_far = jnp.stack([*x, *[jnp.zeros(outputs.shape[0], outputs.dtype)] * (channels - len(x))], -1)
            mean = (moved(means, linear, so_far, c) * pick).sum(-1)
            scale = jnp.exp((log_scales[:, c] * pick).sum(-1))
            value = jnp.clip(mean + scale * noise[:, c], -1, 1)
            level = jnp.round((value + 1) * (levels - 1) / 2)
            x.append(level * (2 / (levels - 1)) - 1)
        return jnp.round((jnp.stack(x, -1) + 1) * (levels - 1) / 2).astype(pixel.dtype)

    return Head(mixtures * (1 + 2 * channels + pairs), False, log_prob, draw)


def log_of_level(x: Array, mean: Array, log_scale: Array, levels: int) -> Array:
    """log of a logistic's mass within a level's bin, x - h to x + h with h half a level; the edges take the rest.

    Salimans et al., PixelCNN++ (2017), eq. 2.

    Args:
      x: levels scaled to [-1, 1], as `to_unit_range` does.
      mean: of the logistic, on the same scale; it broadcasts against x, as does the next.
      log_scale: the logarithm of its scale.
      levels: of a pixel.
    """
    half = 1 / (levels - 1)
    inverse = jnp.exp(-log_scale)
    upper, lower = (x + half - mean) * inverse, (x - half - mean) * inverse
    below = -jax.nn.softplus(-upper)  # log of all up to the upper end: for the lowest level
    above = -jax.nn.softplus(lower)  # log of all from the lower end: for the highest
    # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), exact also where both are near 0 or 1. The
    # width u - l comes from the scale: far from the mean, u and l are too large for their difference to mean anything.
    width = 2 * half * inverse
    wide = width > 1e-3
    log_width = jnp.log(2 * half) - log_scale - width / 2  # of 1 - exp(-width), where that is small
    log_width = jnp.where(wide, jnp.log(-jnp.expm1(-jnp.where(wide, width, 1.0))), log_width)
    inside = below + above + log_width
    return jnp.where(x < -1 + half, below, jnp.where(x > 1 - half, above, inside))
