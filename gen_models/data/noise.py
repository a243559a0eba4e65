"""Noise that is added to sounds, at a ratio of powers that is drawn for each.

The signal-to-noise ratio of a sound s with noise n is 10 log10(sum s^2 / sum n^2) decibels, over its own samples.
"""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.data.transforms import Transform, to_waveform
from gen_models.errors import unknown

COLOURS = ("white", "pink")
LEAST = 1e-12  # of powers: silence has none


def coloured_noise(key: Any, shape: tuple[int, ...], colour: str = "white") -> Float[Array, "*shape"]:
    """Normal noise whose power is the same at all frequencies f, "white", or falls as 1 / f, "pink"; of deviation 1.

    Pink noise is white noise whose Fourier transform is divided by sqrt(f), without the constant; it goes on where it
    begins, as if it were periodic.

    Raises:
      ValueError: an unknown colour.
    """
    if colour not in COLOURS:
        raise unknown("colour of noise", colour, COLOURS)
    white = jax.random.normal(key, shape, jnp.float32)
    if colour == "white":
        return white
    found = jnp.fft.rfft(white)
    steps = jnp.arange(found.shape[-1])
    pink = jnp.fft.irfft(jnp.where(steps > 0, found / jnp.sqrt(jnp.maximum(steps, 1)), 0), shape[-1])
    return pink / jnp.maximum(pink.std(-1, keepdims=True), LEAST)


def noisy(low: float, high: float, *, colour: Literal["white", "pink"] = "white") -> Transform:
    """A transform of sounds, int16 [B, T], to noisy ones and themselves.

    It makes "y", float32 [B, T], the sounds as they are, "x", the same with noise up to each "length", where there is
    one, and 0 behind it. Other fields stay. Neither is clipped: samples may lie beyond 1.

    Args:
      low: the least signal-to-noise ratio, in decibels; that of each sound is drawn evenly.
      high: the largest one.
      colour: of the noise.

    Raises:
      ValueError: `low` is above `high`, an unknown colour, or when called, x is not int16 [B, T].
    """
    if not low <= high:
        raise ValueError(f"the ratio is drawn from low to high, got {low=}, {high=}")
    if colour not in COLOURS:
        raise unknown("colour of noise", colour, COLOURS)

    def transform(batch: Mapping[str, Any], key: Any) -> Mapping[str, Any]:
        sound = to_waveform(batch)["x"]
        if sound.ndim != 2:
            raise ValueError(f"noisy needs sounds [B, T], got {list(sound.shape)}")
        lengths = jnp.asarray(batch.get("length", jnp.full(len(sound), sound.shape[1])))
        inside = jnp.arange(sound.shape[1]) < lengths[:, None]
        sound = jnp.where(inside, sound, 0)
        ratio_key, noise_key = jax.random.split(key)
        ratio = jax.random.uniform(ratio_key, (len(sound), 1), minval=low, maxval=high)
        noise = jnp.where(inside, coloured_noise(noise_key, sound.shape, colour), 0)
        powers = [jnp.maximum((part**2).sum(1, keepdims=True), LEAST) for part in (sound, noise)]
        return {**batch, "x": sound + noise * jnp.sqrt(powers[0] / powers[1]) * 10 ** (-ratio / 20), "y": sound}

    return transform
