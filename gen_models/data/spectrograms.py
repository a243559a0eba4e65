"""Spectrograms: sound as the energy of short pieces at each frequency, and back.

The short-time Fourier transform of a sound x under a window w of N samples, every H samples (Allen & Rabiner, A Unified
Approach to Short-Time Fourier Analysis and Synthesis, 1977):

    X[p, k] = sum_n w[n] x[p H + n - N / 2] exp(-2 pi i k n / N),   k = 0, ..., N / 2

so that frame p is centred at the sample p H, and what lies outside of the sound counts as zeros. The window is Hann's,
periodic: w[n] = sin^2(pi n / N). Up to a factor this is `scipy.signal.stft`. It is inverted by the least squares of
Griffin & Lim, Signal Estimation from Modified Short-Time Fourier Transform (1984), eq. 6,

    x[m] = sum_p w[m - p H] y_p[m - p H] / sum_p w[m - p H]^2,   y_p the inverse transform of frame p,

which is exact where the frames are those of a sound and H is at most N / 2. Of magnitudes alone their algorithm finds
phases: it goes back and forth between sounds and spectrograms that have these magnitudes (`griffin_lim`).

Mel frequencies are spaced as the ear hears them (O'Shaughnessy, Speech Communication, 1987, page 150):

    mel(f) = 2595 log10(1 + f / 700)
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from gen_models.data.transforms import Transform, to_waveform


def hann(window: int) -> Float[np.ndarray, " n"]:
    """The periodic Hann window of `window` samples, sin^2(pi n / window), float32."""
    return (np.sin(np.pi * np.arange(window) / window) ** 2).astype(np.float32)


def stft(x: Float[Array, "*batch t"], *, window: int = 256, hop: int = 64) -> Complex[Array, "*batch frames bins"]:
    """The short-time Fourier transform of sounds, complex64 [..., ceil(T / hop) + 1, window / 2 + 1].

    Frame p is centred at sample p hop. The last one is centred at the sound's end or behind it, so that all samples lie
    between the centres of two frames: what is changed in a spectrogram is not enlarged at the end of the sound.

    Raises:
      ValueError: `window` is odd or below 2, `hop` is not from 1 to `window`, or x is not float [..., T].
    """
    _check(window, hop)
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.floating) or not x.ndim or not x.shape[-1]:
        raise ValueError(f"sounds must be floats [..., T], got {x.dtype} {list(x.shape)}: to_waveform makes them")
    count = 1 - (-x.shape[-1] // hop)
    padded = jnp.pad(x.astype(jnp.float32), [(0, 0)] * (x.ndim - 1) + [(window // 2, window // 2 + hop)])
    at = np.arange(count)[:, None] * hop + np.arange(window)
    return jnp.fft.rfft(padded[..., at] * hann(window))


def istft(
    frames: Complex[Array, "*batch frames bins"], length: int, *, window: int = 256, hop: int = 64
) -> Float[Array, "*batch t"]:
    """Sounds [..., length] whose frames are nearest to these in squares; of `stft`'s own, the sounds themselves.

    Raises:
      ValueError: `hop` is above half the window, so that samples would be lost, or as `stft`; the frames are not those
        of sounds of this length.
    """
    _check(window, hop)
    if 2 * hop > window:
        raise ValueError(f"hop={hop} is above half of window={window}: some samples are in no frame")
    count, bins = 1 - (-length // hop), window // 2 + 1
    if frames.shape[-2:] != (count, bins):
        raise ValueError(f"sounds of {length} samples have frames [..., {count}, {bins}], got {list(frames.shape)}")
    weights = hann(window)
    pieces = jnp.fft.irfft(frames, window) * weights
    at = np.arange(count)[:, None] * hop + np.arange(window)
    total = jnp.zeros((*frames.shape[:-2], (count - 1) * hop + window), jnp.float32).at[..., at].add(pieces)
    squares = np.bincount(at.ravel(), np.tile(weights**2, count)).astype(np.float32)
    inside = slice(window // 2, window // 2 + length)
    return total[..., inside] / squares[inside]


def spectrogram(
    x: Float[Array, "*batch t"], *, window: int = 256, hop: int = 64, power: float = 2.0
) -> Float[Array, "*batch frames bins"]:
    """|stft(x)|^power: the energy of each bin, or with power 1 its magnitude.

    Raises:
      ValueError: as `stft`.
    """
    found = stft(x, window=window, hop=hop)
    energy = found.real**2 + found.imag**2
    return energy if power == 2 else energy ** (power / 2)


def mel(hertz: Any) -> Any:
    """The mel frequency of a frequency in hertz."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_filters(
    count: int, *, rate: int, window: int = 256, low: float = 0.0, high: float | None = None
) -> Float[np.ndarray, "bins count"]:
    """Triangles over the bins of a spectrogram, whose corners are evenly spaced in mel frequency, float32.

    Each is 1 at its middle and 0 at those of its neighbours, so that they sum to 1 from the first middle to the last.

    Args:
      count: how many.
      rate: samples of the sound in a second.
      window: samples of a frame; it has window / 2 + 1 bins.
      low: where the first begins, in hertz.
      high: where the last ends; None: half the rate.

    Raises:
      ValueError: `count` is below 1, the frequencies do not lie in order within half the rate, or so many filters are
        so narrow that one is between two bins.
    """
    _check(window, 1)
    high = rate / 2 if high is None else high
    if count < 1 or not 0 <= low < high <= rate / 2:
        raise ValueError(f"filters need 0 <= low < high <= rate / 2 and a count of 1 or more, got {count=}, {rate=}, "
                         f"{low=}, {high=}")  # fmt: skip
    corners = 700 * (10 ** (np.linspace(mel(low), mel(high), count + 2) / 2595) - 1)
    bins = np.arange(window // 2 + 1)[:, None] * rate / window
    rising = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling))
    if empty := int((filters.sum(0) == 0).sum()):
        raise ValueError(f"{empty} of {count} mel filters lie between bins of window={window}: take fewer filters or a "
                         "longer window")  # fmt: skip
    return filters.astype(np.float32)


def log_mel(
    x: Float[Array, "*batch t"], *, rate: int, count: int = 40, window: int = 256, hop: int = 128, floor: float = 1e-6
) -> Float[Array, "*batch frames count"]:
    """The natural logarithm of the energy within each mel filter, of which at least `floor` is taken.

    There are ceil(T / hop) frames: those that are centred in the sound.

    Raises:
      ValueError: as `stft` and `mel_filters`, or the floor is not positive.
    """
    if not floor > 0:
        raise ValueError(f"floor must be above 0, as a logarithm is taken, got {floor}")
    filters = mel_filters(count, rate=rate, window=window)
    return jnp.log(jnp.maximum(spectrogram(x, window=window, hop=hop)[..., :-1, :] @ filters, floor))


def log_mel_features(
    *, rate: int, count: int = 40, window: int = 256, hop: int = 128, floor: float = 1e-6, normalise: bool = True
) -> Transform:
    """A transform of sounds, int16 [B, T], to what networks of vectors read.

    It makes "x", float32 [B, frames, count], `log_mel` of the sound; and of "length", where there is one, the number of
    frames that are centred in the sound. With `normalise`, each filter's values have mean 0 and deviation 1 over these
    frames, so that neither loudness nor the microphone is seen. What lies behind the length is 0, whatever was there.

    Raises:
      ValueError: as `log_mel`; when called, x is not int16 [B, T].
    """
    mel_filters(count, rate=rate, window=window)
    _check(window, hop)

    def transform(batch: Mapping[str, Any], key: Any = None) -> Mapping[str, Any]:
        sound = to_waveform(batch)["x"]
        if sound.ndim != 2:
            raise ValueError(f"log_mel_features needs sounds [B, T], got {list(sound.shape)}")
        lengths = jnp.asarray(batch.get("length", jnp.full(len(sound), sound.shape[1])))
        sound = jnp.where(jnp.arange(sound.shape[1]) < lengths[:, None], sound, 0)
        x = log_mel(sound, rate=rate, count=count, window=window, hop=hop, floor=floor)
        frames = -(-lengths // hop)
        counts = (jnp.arange(x.shape[1]) < frames[:, None])[..., None]
        if normalise:
            total = jnp.maximum(frames, 1)[:, None, None]
            x = x - jnp.where(counts, x, 0).sum(1, keepdims=True) / total
            deviation = jnp.sqrt(jnp.where(counts, x**2, 0).sum(1, keepdims=True) / total)
            x = x / (deviation + 1e-3)
        changed = {"length": frames.astype(jnp.int32)} if "length" in batch else {}
        return {**batch, "x": jnp.where(counts, x, 0), **changed}

    return transform


def griffin_lim(
    magnitudes: Float[Array, "*batch frames bins"],
    length: int,
    key: Any,
    *,
    window: int = 256,
    hop: int = 64,
    iterations: int = 60,
) -> Float[Array, "*batch t"]:
    """Sounds [..., length] whose spectrogram of power 1 is near to these magnitudes (Griffin & Lim, 1984).

    Phases begin at random. No iteration makes the distance between the magnitudes larger; what it ends in is not the
    sound itself, as its sign and more are not in the magnitudes.

    Raises:
      ValueError: as `istft`, or `iterations` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be 1 or more, got {iterations}")
    phases = jax.random.uniform(key, magnitudes.shape, maxval=2 * math.pi)

    def once(_: Any, sound: Array) -> Array:
        found = stft(sound, window=window, hop=hop)
        sizes = jnp.abs(found)
        unit = jnp.where(sizes > 0, found / jnp.where(sizes > 0, sizes, 1), 1)
        return istft(magnitudes * unit, length, window=window, hop=hop)

    first = istft(magnitudes * jnp.exp(1j * phases), length, window=window, hop=hop)
    return jax.lax.fori_loop(0, iterations, once, first)


def _check(window: int, hop: int) -> None:
    whole = all(isinstance(number, int) and not isinstance(number, bool) for number in (window, hop))
    if not whole or window < 2 or window % 2 or not 1 <= hop <= window:
        raise ValueError(f"window must be even, 2 or more, and hop from 1 to window, got {window=}, {hop=}")
