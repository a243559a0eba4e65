"""What models of sound are measured by: sounds that they make, and what their likelihoods say of a label.

The models are those of mu-law codes (`gen_models/data/mu_law.py`), each sample a token.
"""

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.mu_law import mu_law_decode
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.samples import classes_in_turn

FRAME, HOP = 128, 32  # samples of a spectrogram's column, and from one column to the next: 16 and 4 ms at 8 kHz
FLOOR = -80.0  # decibels below the loudest, which are drawn black
PAUSE = 0.25  # seconds between the sounds of a file


@dataclass(frozen=True)
class Sounds:
    """Sounds that the model makes, as one .wav file and a picture of their spectrograms, beside sounds of the data."""

    count: int = 10  # sounds
    length: int = 4096  # samples of each
    levels: int = 256  # mu-law codes, which are the model's tokens
    rate: int = 8000  # samples a second
    conditional: bool = False  # whether the model is told the class
    temperature: float = 1.0

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Write `samples.wav` and `samples.png`, and of as many sounds of the split `data.wav` and `data.png`."""
        self.show(self.sample(trained, key, self.count), folder / "samples.png")
        self.show(self._of_data(split), folder / "data.png")

    def sample(self, trained: Trained, key: Key, n: int, **condition: Any) -> np.ndarray:
        """n sounds, float32 [n, length] in [-1, 1]; of the classes in turn, where the model is told one.

        Args:
          trained: the model.
          key: the randomness of the sounds.
          n: how many.
          **condition: what the model's `sample` takes, in place of this measure's own: label [n], temperature, ...
        """
        condition.setdefault("temperature", self.temperature)
        if self.conditional and "label" not in condition:
            condition["label"] = classes_in_turn(trained, n)
        codes = _compiled(trained.model, n, self.length)(trained.params, trained.stats, key, condition)
        return np.asarray(mu_law_decode(codes, self.levels))

    def show(self, samples: np.ndarray, path: Path) -> None:
        """Write sounds [n, T] to a file beside the picture, one after another, and draw their spectrograms."""
        write_sounds(samples, path.with_suffix(".wav"), self.rate)
        seconds, top = samples.shape[1] / self.rate, self.rate / 2
        plots.spectrograms(np.stack([spectrogram(one) for one in samples]), path, seconds=seconds, hertz=top)

    def _of_data(self, split: Split) -> np.ndarray:
        """The split's first sounds; of the classes in turn, where there are any."""
        some = split.some(400)
        order = np.arange(len(some["y"]))
        if "label" in some:  # by how many of its class came before, then by class
            label = some["label"]
            rank = np.array([(label[:i] == label[i]).sum() for i in order])
            order = np.lexsort((label, rank))
        return np.asarray(mu_law_decode(jnp.asarray(some["y"][order[: self.count]]), self.levels))


@lru_cache(maxsize=64)
def _compiled(model: Model, n: int, length: int) -> Any:
    sample = partial(model.sample, length=length)
    return jax.jit(lambda params, stats, key, condition: sample(params, stats, key, n, **condition))


@dataclass(frozen=True)
class LabelByLikelihood:
    """How often the label that makes a sequence most probable is its own: Bayes' rule with equal priors.

    A model that makes no use of its label comes to chance.
    """

    size: int = 10  # sequences taken at a time

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The share of the split's sequences, with its standard error.

        Raises:
          ValueError: the data have no classes.
        """
        if trained.num_classes is None:
            raise ValueError("these data have no classes: measure models that are told one")
        mean = split.mean(_Labels(trained.num_classes).right, trained, key, size=self.size)
        note = f"chance is {1 / trained.num_classes:.3g}"
        error = float(mean.standard_error)
        yield Figure("label by likelihood", float(mean.value), "fraction", split.where, error, note, "maximize")


@dataclass(frozen=True)
class _Labels:
    """The labels 0 to count - 1, of which one is the likeliest."""

    count: int

    def right(self, model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
        """[B]: 1 where the own label is the most probable one, else 0."""

        def log_prob(label: jax.Array) -> jax.Array:
            labels = jnp.full(len(batch["y"]), label)
            lengths = batch.get("length")
            return model.log_prob(params, stats, batch["y"], key, inputs=batch["x"], lengths=lengths, label=labels)

        log_p = jax.lax.map(log_prob, jnp.arange(self.count))  # [K, B]
        return (log_p.argmax(0) == batch["label"]).astype(jnp.float32)


def spectrogram(sound: Float[np.ndarray, "t"]) -> Float[np.ndarray, "bins columns"]:
    """Decibels below the loudest bin, [FRAME / 2 + 1, columns], low frequencies first; FLOOR is the least.

    Each column is the Fourier transform of FRAME samples under a Hann window, the next one HOP samples later.

    Raises:
      ValueError: the sound is shorter than a column.
    """
    if len(sound) < FRAME:
        raise ValueError(f"a spectrogram needs {FRAME} samples or more, got {len(sound)}")
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP] * np.hanning(FRAME)
    power = np.abs(np.fft.rfft(frames)).T ** 2
    loudest = power.max()
    if loudest == 0:
        return np.full(power.shape, FLOOR)
    return np.maximum(10 * np.log10(np.maximum(power / loudest, 1e-30)), FLOOR)


def write_sounds(sounds: Float[np.ndarray, "n t"], path: Path, rate: int) -> Path:
    """Write sounds in [-1, 1], one after another with pauses, to a .wav file of 16 bits; what is beyond is clipped."""
    pause = np.zeros((len(sounds), round(PAUSE * rate)))
    samples = np.clip(np.concatenate([sounds, pause], 1).ravel() * 2**15, -(2**15), 2**15 - 1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(samples).astype("<i2").tobytes())
    return path
