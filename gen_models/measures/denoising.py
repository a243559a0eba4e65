"""What models that take noise out of sounds are measured by: the signal-to-noise ratio before and after."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import metrics, plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.spectrograms import istft, stft
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.sound import spectrogram, write_sounds


@dataclass(frozen=True)
class Denoising:
    """Signal-to-noise ratios of noisy sounds, of `apply(x, lengths)`, and of Wiener's mask; sounds to listen to.

    Wiener's mask knows the clean sound S and the noise N, |S|^2 / (|S|^2 + |N|^2) of each bin (Wang et al., 2014,
    section II.B, without the square root). It is no bound: it does not use that frames overlap.
    """

    rate: int = 8000  # samples a second
    window: int = 256  # of the transform of Wiener's mask
    hop: int = 64
    shown: int = 5  # sounds that are written
    size: int = 50  # sounds taken at a time
    headline: ClassVar[Headline] = ("improvement", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Means over sounds in decibels, with their standard errors; the improvement is paired."""
        values = split.each(self._ratios, trained, key, size=self.size)  # [N, 3]: before, after, by Wiener's mask
        before, after, known = values.T
        for name, each, note, better in (
            ("improvement", after - before, "a mean over sounds of differences", "maximize"),
            ("signal-to-noise ratio", after, "", "maximize"),
            ("signal-to-noise ratio before", before, "of the noisy sounds", None),
            ("signal-to-noise ratio by Wiener's mask", known, "which knows sounds and noise; no bound", None),
        ):
            spread = float(each.std(ddof=1) / np.sqrt(len(each))) if len(each) > 1 else None
            yield Figure(name, float(each.mean()), "dB", split.where, spread, note, better)  # type: ignore[arg-type]

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `noisy.wav`, `denoised.wav` and `clean.wav` of the first sounds, and `denoised.png`, a row of each."""
        some = split.first(self.shown)
        parts = [some.each(what, trained, key, size=self.size) for what in (_noisy, _denoised, _clean)]
        for name, sounds in zip(("noisy", "denoised", "clean"), parts, strict=True):
            write_sounds(sounds, folder / f"{name}.wav", self.rate)
        pictures = np.stack([spectrogram(sound) for sounds in parts for sound in sounds])
        seconds, top = parts[0].shape[1] / self.rate, self.rate / 2
        plots.spectrograms(pictures, folder / "denoised.png", seconds=seconds, hertz=top, across=len(parts[0]))

    def _ratios(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        x, y = jnp.asarray(batch["x"]), jnp.asarray(batch["y"])
        how = {"window": self.window, "hop": self.hop}
        signal, noise = (jnp.abs(stft(part, **how)) ** 2 for part in (y, x - y))
        mask = signal / jnp.maximum(signal + noise, 1e-12)
        known = istft(mask * stft(x, **how), x.shape[1], **how)
        found = _denoised(model, params, stats, batch, key)
        return jnp.stack([metrics.signal_to_noise(each, y) for each in (x, found, known)], -1)


def _denoised(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return model.apply(params, stats, batch["x"], batch.get("length"))


def _noisy(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch["x"]


def _clean(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch["y"]
