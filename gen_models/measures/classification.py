"""Measures of classifiers: accuracy, cross-entropy, calibration; the confusion matrix and the surest mistakes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import metrics, plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.dataset import Classes
from gen_models.data.sentences import Words
from gen_models.data.tables import Columns, Prepared
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.likelihood import one


def _logits(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return model.apply(params, stats, batch["x"])


def _logits_by_length(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return model.apply(params, stats, batch["x"], batch["length"])


def predicted(trained: Trained, split: Split, lengths: bool = False) -> tuple[jax.Array, jax.Array]:
    """Logits float32 [N, K] and labels int32 [N] of a whole split, in order; K is 2 where the model has one logit.

    With `lengths`, the model's `apply` is told how many steps of each sequence count.
    """
    read = _logits_by_length if lengths else _logits
    logits = split.each(read, trained, jax.random.key(0), size=500)  # `apply` draws nothing: the key is not used
    if logits.ndim == 1:  # one logit, of yes against no: p(1) = sigmoid(z) is the softmax of (0, z)
        logits = np.stack([np.zeros_like(logits), logits], 1)
    return jnp.asarray(logits, jnp.float32), jnp.asarray(labels_of(split))


def class_names(split: Split) -> tuple[str, ...]:
    """The names that the classes have in the data; none where they are numbers."""
    meaning = split.dataset.meaning
    return meaning.classes or () if isinstance(meaning, Classes | Columns | Prepared | Words) else ()


def labels_of(split: Split) -> np.ndarray:
    """The field y of a whole split, in order: of classes int32 [N].

    Raises:
      ValueError: the split has no labels, though the training part has.
    """
    if split.dataset.num_classes is None and split.data.num_classes is not None:
        raise ValueError(f"{split.word} of {split.dataset.name!r} has no labels to compare with: measure another part")
    if split.dataset.arrays is not None:
        return np.asarray(split.dataset.arrays["y"])
    labels = [np.asarray(batch["y"])[np.asarray(batch["weight"]) > 0] for batch in split.batches(500)]
    return np.concatenate(labels)


@dataclass(frozen=True)
class Accuracy:
    """Share of examples whose class is found, cross-entropy, and how well the probabilities are calibrated."""

    note: str = ""  # of the accuracy, such as what a guess would reach
    lengths: bool = False  # whether the model's `apply` is told how many steps of each sequence count
    headline: ClassVar[Headline] = ("accuracy", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Accuracy with its standard error over examples, its mean over classes, cross-entropy, and calibration error.

        Cross-entropy is in nats; the calibration error is taken in 15 bins.
        """
        logits, labels = predicted(trained, split, self.lengths)
        accuracy = float(metrics.accuracy(logits, labels))
        error = float(np.sqrt(accuracy * (1 - accuracy) / len(labels)))
        note = self.note or f"the spread is over {split.data.examples}"
        yield Figure("accuracy", accuracy, "fraction", split.where, error, note, "maximize")
        balanced = float(metrics.balanced_accuracy(logits, labels))
        note = "mean over the classes of the accuracy in each"
        yield Figure("balanced accuracy", balanced, "fraction", split.where, note=note, better="maximize")
        nats = float(metrics.negative_log_likelihood(logits, labels))
        yield Figure("cross-entropy", nats, f"nats/{one(split)}", split.where, better="minimize")
        calibration = float(metrics.expected_calibration_error(logits, labels))
        yield Figure("calibration error", calibration, "fraction", split.where, better="minimize")


@dataclass(frozen=True)
class ValidationAccuracy:
    """Accuracy on the held-out split, measured at the end, so that one may choose by it."""

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The accuracy, on the held-out split of the same data."""
        held_out = split.held_out()
        accuracy = float(metrics.accuracy(*predicted(trained, held_out)))
        yield Figure(f"{held_out.word} accuracy", accuracy, "fraction", held_out.where, better="maximize")


@dataclass(frozen=True)
class Confusion:
    """Which classes are taken for which, and the mistakes that the model is surest of."""

    mistakes: int = 40  # the largest number of mistakes in the picture
    lengths: bool = False  # as of `Accuracy`

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `confusion.png`, and of images `surest_mistakes.png` if there are any: often these are mislabelled."""
        logits, labels = predicted(trained, split, self.lengths)
        guess = logits.argmax(-1)
        counts = metrics.confusion_matrix(guess, labels, logits.shape[-1])
        names = class_names(split)
        plots.matrix(np.asarray(counts), folder / "confusion.png", names)
        surest = np.asarray(jnp.where(guess == labels, -1.0, jax.nn.softmax(logits).max(-1))).argsort()[::-1]
        wrong = [index for index in surest[: self.mistakes] if guess[index] != labels[index]]
        if wrong and len(split.dataset.shape) == 3:
            images = np.concatenate([np.asarray(batch["x"]) for batch in split.batches(500)])
            pairs = [(int(labels[index]), int(guess[index])) for index in wrong]
            titles = [
                f"{names[label]}\ntaken for {names[taken]}" if names else f"{label}, taken for {taken}"
                for label, taken in pairs
            ]
            plots.captioned(images[wrong], titles, folder / "surest_mistakes.png")
