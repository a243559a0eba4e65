"""What models of sequences that go on from window to window are measured by, and music as pictures and MIDI files."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, carry_for
from gen_models.data.batching import batches
from gen_models.data.midi import KEYS, PER_BEAT, has_mido, write_midi
from gen_models.measures.base import Headline, Split, Trained, mean_of
from gen_models.measures.figure import Figure
from gen_models.measures.text import ratio_of_sums


@dataclass(frozen=True)
class StepLikelihood:
    """-log p of a split's steps, each given all those before it in its sequence: nats a step.

    The windows of a sequence are read in their order, and the model goes on in each from where the one before ended
    (`init_carry`). The model's loss must be the mean over the steps of a window, padding among them.
    """

    headline: ClassVar[Headline] = ("nats_per_step", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The mean over all steps, and the mean over sequences of each one's own, in which a short one weighs as much.

        Papers often do not say which of the two they report. The spreads are standard errors over sequences.
        """
        nats, steps = _of_sequences(trained, split, key)
        value, error = ratio_of_sums(nats, steps)
        note = f"exact; {len(nats):,} sequences, {int(steps.sum()):,} steps"
        yield Figure("nats/step", value, "nats", split.where, error, note, "minimize")
        mean = mean_of(nats / steps)
        note = "exact; the mean over sequences of each one's own"
        error = float(mean.standard_error)
        yield Figure("nats/step, sequences alike", float(mean.value), "nats", split.where, error, note, "minimize")


def _of_sequences(trained: Trained, split: Split, key: Key) -> tuple[np.ndarray, np.ndarray]:
    """Nats and number of steps of each sequence of the split."""
    windows = batches(split.dataset, 1, transform=split.data.evaluation, contiguous=True)
    program = _window_program(trained.model)
    carry, found, starts = None, [], []
    for row in range(windows.steps_per_epoch):
        rows = jax.tree.map(lambda leaf: leaf[0], windows.rows(row, 1))
        batch = windows.make(windows.data, rows, key)
        if carry is None:
            carry = trained.model.init_carry(trained.params, batch)
        value, carry = program(trained.params, trained.stats, carry, batch, key)
        length = batch["x"].shape[1]
        found.append((float(value) * length, int(batch["length"][0]) if "length" in batch else length))
        starts.append(bool(batch["start"][0]))
    sequence = np.cumsum(starts) - 1
    nats, steps = np.array(found).T
    return np.bincount(sequence, nats), np.bincount(sequence, steps)


@lru_cache(maxsize=16)
def _window_program(model: Model) -> Any:
    """(params, stats, carry, batch of one window, key) -> its loss, and what goes on."""
    assert callable(model.loss)
    loss = model.loss

    def window(params, stats, carry, batch, key):
        carry = carry_for(carry, model.init_carry, params, batch)
        value, (_, _, carry) = loss(params, stats, batch, key, step=0, train=False, carry=carry)
        return value, carry

    return jax.jit(window)


@dataclass(frozen=True)
class Rolls:
    """Music that the model writes: piano rolls, and a MIDI file of each where mido is installed."""

    count: int = 4  # pieces
    length: int = 128  # rows of each
    temperature: float = 1.0
    per_beat: int = PER_BEAT  # rows of a beat in the MIDI files

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `samples.png` of what the model writes and `data.png` of the split's first windows, and MIDI files."""
        plots.rolls(split.some(self.count)["y"], folder / "data.png")
        self.show(self.sample(trained, key, self.count), folder / "samples.png")

    def sample(self, trained: Trained, key: Key, n: int, **condition: Any) -> np.ndarray:
        """n pieces, uint8 [n, length, keys].

        Args:
          trained: the model.
          key: the randomness of the pieces.
          n: how many.
          **condition: what the model's `sample` takes: a prompt, ..., in place of this measure's own temperature.
        """
        condition.setdefault("temperature", self.temperature)
        return np.asarray(_compiled(trained.model, n, self.length)(trained.params, trained.stats, key, condition))

    def show(self, samples: np.ndarray, path: Path) -> None:
        """Write a picture of pieces [n, T, keys]; and each of a whole piano as `NAME_0.mid`, ... where that is read."""
        plots.rolls(samples, path)
        if samples.shape[-1] == KEYS and has_mido():
            for index, piece in enumerate(samples):
                write_midi(piece, path.with_name(f"{path.stem}_{index}.mid"), per_beat=self.per_beat)


@lru_cache(maxsize=64)
def _compiled(model: Model, n: int, length: int) -> Any:
    return jax.jit(
        lambda params, stats, key, condition: model.sample(params, stats, key, n, length=length, **condition)
    )
