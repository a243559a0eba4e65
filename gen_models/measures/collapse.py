"""Whether samples are too much alike, cheap enough to be taken during training: what shows mode collapse on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from gen_models.core import Key
from gen_models.evaluation.collapse import LEAST_SUPPORT, likeness
from gen_models.evaluation.neighbours import nearest_neighbours
from gen_models.evaluation.support import class_coverage
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.feature_sets import spread_over
from gen_models.measures.figure import Figure
from gen_models.measures.samples import classes_in_turn, drawn
from gen_models.models.sizes import check_sizes


@dataclass(frozen=True)
class Collapse:
    """Spread and number of different samples beside examples (`gen_models.evaluation.collapse`), and classes.

    Samples and examples are compared as they are, pixel by pixel. Where the data have classes, a sample has that of the
    training example that is nearest to it: of digits and clothes a fair classifier, of photographs none. Collapsed are
    samples with less than half of the data's spread, or of which fewer than 30 are different, or that cover at most
    half of the classes that as many examples cover by the same rule.

    Raises:
      ValueError: a number is not positive, or there are fewer than 2 samples.
    """

    count: int = 500  # samples; fewer, where there are fewer examples
    known: int = 2000  # training examples, evenly spaced, whose classes samples may have
    levels: int = 2  # of a pixel, which the model draws from 0 to levels - 1
    conditional: bool = False  # whether the model is told the class, in turn; then classes are not counted
    headline: ClassVar[Headline] = ("spread_of_samples", "maximize")

    def __post_init__(self) -> None:
        check_sizes(count=self.count, known=self.known)
        if self.count < 2 or self.levels < 2:
            raise ValueError(f"count and levels must be 2 or more, got count={self.count}, levels={self.levels}")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Spread, different samples, covered classes, and whether the model has collapsed: 1, or 0."""
        examples = _flat(spread_over(split, self.count), self.levels)[0]
        samples = self.sample(trained, key, len(examples))
        found = likeness(samples, examples)
        where, beside = f"{len(samples):,} samples", f"beside {len(examples):,} examples of {split.where}"
        yield Figure("spread of samples", found.spread, "of data's", where, note=beside, better="maximize")
        note = f"as near as half of an example's distance to the nearest other; data: {found.data_support:,.0f}"
        yield Figure("different samples", found.support, "at least", where, note=note, better="maximize")
        missed = False
        if trained.num_classes and not self.conditional:
            covered, of_data = self._classes(trained, split, samples, examples)
            missed = 2 * covered <= of_data
            unit, note = f"of {trained.num_classes}", f"by the nearest of {self.known:,} training examples"
            note += f"; as many examples: {of_data}"
            yield Figure("classes covered", float(covered), unit, where, note=note, better="maximize")
        note = f"1: spread below 0.5, below {LEAST_SUPPORT:g} different samples, or half of the classes at most"
        yield Figure("collapsed", float(found.collapsed or missed), "of runs", where, note=note, better="minimize")

    def sample(self, trained: Trained, key: Key, n: int) -> np.ndarray:
        """Draw n samples [n, D], with pixels from 0 to 1."""
        condition: dict[str, Any] = {"label": classes_in_turn(trained, n)} if self.conditional else {}
        samples = np.asarray(drawn(trained, jax.random.fold_in(key, 1), n, **condition), np.float32)
        return samples.reshape(n, -1) / (self.levels - 1)

    def _classes(self, trained: Trained, split: Split, *sets: np.ndarray) -> list[int]:
        """How many classes the training examples have that are nearest to those of each set."""
        training, labels = _flat(spread_over(split.train(), self.known), self.levels)
        nearest = [nearest_neighbours(each, training).indices[:, 0] for each in sets]
        return [class_coverage(labels[each], trained.num_classes or 1).classes for each in nearest]


def _flat(split: Split, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """The examples of a split as the model sees them, [N, D] with pixels from 0 to 1, and their labels, or none."""
    examples, labels = [], []
    for batch in split.batches(250):
        kept = np.asarray(batch["weight"]) > 0
        examples.append(np.asarray(batch["x"], np.float32)[kept].reshape(int(kept.sum()), -1) / (levels - 1))
        labels.append(np.asarray(batch["y"])[kept] if "y" in batch else np.zeros(0, np.int32))
    return np.concatenate(examples), np.concatenate(labels).ravel()
