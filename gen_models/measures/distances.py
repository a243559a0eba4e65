"""How far samples of any model are from data, in the features of a network; beside it, of what is known how good it is.

No such figure says anything by itself. So each is given for the model's samples, and at the same number of images for

- held-out examples, the floor: what a model that draws the data's distribution would have;
- a memoriser, which draws training examples: where a model is no further off than this one, and no more of its samples
  are authentic, it has copied;
- noise, independent uniform pixels.

All are compared with training examples, as is the custom for the FID (Heusel et al., 2017); copies are sought among all
of these. Only the original Inception network's figures are called FID, KID and Inception score; those of others carry
the network's name, and each says the network's weights and how images were brought to its size.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen_models import plots
from gen_models.core import Key
from gen_models.evaluation.frechet import frechet_distance, moments
from gen_models.evaluation.inception_score import inception_score
from gen_models.evaluation.kernel_distance import kernel_distance
from gen_models.evaluation.manifold import authenticity, expected_coverage, manifold_statistics
from gen_models.evaluation.neighbours import nearest_neighbours
from gen_models.evaluation.support import class_coverage
from gen_models.features.extractor import Extracted, Extractor, described
from gen_models.measures.base import Split, Trained
from gen_models.measures.feature_sets import (
    FeatureSets,
    feature_sets,
    images_of,
    samples_of,
    training_examples,
    training_features,
)
from gen_models.measures.figure import Figure
from gen_models.measures.kept_features import extracted
from gen_models.models.sizes import check_sizes

_SPLITS = 10  # of the samples, for a score: Salimans et al. (2016) take so many
_NEIGHBOURS_SHOWN = 5


@dataclass(frozen=True)
class Distances:
    """Distances of samples to training examples in an extractor's features, with what they are to be read beside.

    Raises:
      ValueError: a number is not positive, or there are fewer samples than neighbours.
    """

    extractor: Extractor
    samples: int = 10_000  # images of each set; fewer, where there are fewer held-out or training examples
    training: int = 0  # training examples, evenly spaced among all, that are known to it; 0: all
    neighbours: int = 5  # k of precision, recall, density and coverage
    levels: int = 2  # of a pixel, which the model draws from 0 to levels - 1
    conditional: bool = False  # whether the model is told the class
    at_once: int = 250  # images that are drawn at a time
    count: int = 10  # samples in the picture
    # Whether samples are compared with images as they are, in [0, 1], and not as the model sees them: a model of
    # binarised images may draw their means, which are grey.
    unchanged: bool = False
    folder: Path | None = None  # where features of the data are kept for other runs; None: nowhere
    beside: bool = True  # whether held-out examples, a memoriser and noise are measured too

    def __post_init__(self) -> None:
        check_sizes(samples=self.samples, neighbours=self.neighbours, at_once=self.at_once, count=self.count)
        if self.training < 0 or self.levels < 2:
            raise ValueError(
                f"training must be 0 or more and levels 2 or more, got training={self.training}, levels={self.levels}"
            )

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The figures of the samples, and behind them those of held-out examples, a memoriser and noise.

        Raises:
          ValueError: the model has no samples, the data are no images, there are too few of them, or samples are not
            finite.
        """
        self._check(trained, split)
        found = feature_sets(
            self.extractor,
            trained,
            split,
            key,
            count=self.samples,
            training=self.training,
            levels=self.levels,
            conditional=self.conditional,
            at_once=self.at_once,
            unchanged=self.unchanged,
            folder=self.folder,
            beside=self.beside,
        )
        for name in found.compared:
            yield from self._figures(found, name, split)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `neighbours_NAME.png`, named after the extractor: in each row a sample, then the training examples
        that are nearest to it in its features, the nearest first.
        """
        self._check(trained, split)
        if split.dataset.shape[-1] not in (1, 3):
            return
        at_once = min(self.at_once, self.count)
        drawn = samples_of(trained, key, self.count, self.levels, self.conditional, at_once)
        samples = np.concatenate(list(drawn))
        known = training_features(
            self.extractor,
            split.data,
            self.training,
            2 if self.unchanged else self.levels,  # as in `feature_sets`, for which they are kept
            self.at_once,
            self.unchanged,
            self.folder,
        )
        k = min(_NEIGHBOURS_SHOWN, len(known.features))
        near = nearest_neighbours(extracted(self.extractor, iter([samples])).features, known.features, k).indices
        rows = np.concatenate([samples[:, None], self._training_images(split, near)], 1)
        path = folder / f"neighbours_{self.extractor.name}.png"
        plots.image_grid(rows.reshape(-1, *samples.shape[1:]), path, columns=1 + k)

    def _training_images(self, split: Split, indices: np.ndarray) -> np.ndarray:
        """The training images of these numbers, [..., H, W, C]; the data are gone through once, and no more is kept."""
        found = np.empty((*indices.shape, *split.dataset.shape), np.float32)
        start = 0
        examples = training_examples(split.data, self.training)
        for images in images_of(examples, self.levels, self.at_once, self.unchanged):
            here = (indices >= start) & (indices < start + len(images))
            found[here] = images[indices[here] - start]
            start += len(images)
        return found

    def _check(self, trained: Trained, split: Split) -> None:
        if not trained.model.has("sample"):
            raise ValueError("distances are of samples, and the model draws none: measure one that does")
        if len(split.dataset.shape) != 3:
            raise ValueError(f"distances are of images, and an example of the data is {split.dataset.shape}")
        training = training_examples(split.data, self.training)
        available = min(len(training), len(training) // 2 if split.dataset is split.data.train else len(split))
        least = max(3, self.neighbours + 1)
        if min(self.samples, available) < least:
            raise ValueError(
                f"{self.neighbours} neighbours need {least} images or more, got samples={self.samples} and data of "
                f"which there are {available} to compare: give more, or take fewer neighbours"
            )

    def _figures(self, found: FeatureSets, name: str, split: Split) -> Iterator[Figure]:
        """Those of one set."""
        images, reference = found.compared[name], found.reference
        what, n, total = self.extractor.name, len(images.features), len(found.training.features)
        words = f"{split.data.name}, {n:,} {split.data.examples} of each set, {total:,} training {split.data.examples}"
        how_seen = "as they are" if self.unchanged else split.data.how
        where = ", ".join(word for word in (words, how_seen) if word)
        of, how = f", {name}" if name else "", described(self.extractor)
        if self.conditional and not name:
            how = f"{how}; samples of the classes in turn"
        original = what == "inception"
        frechet = frechet_distance(moments(images.features), moments(reference.features))
        yield Figure("FID" + of if original else f"FD {what}{of}", frechet, "", where, note=how, better="minimize")
        kernel, error = kernel_distance(images.features, reference.features)
        yield Figure("KID" + of if original else f"KD {what}{of}", kernel, "", where, error, how, "minimize")
        places = manifold_statistics(reference.features, images.features, self.neighbours)
        note = f"k = {self.neighbours}; {how}"
        for word, value in places._asdict().items():
            more = f", {expected_coverage(n, n, self.neighbours):.3f} expected of the data's own distribution"
            own = f"k = {self.neighbours}{more}; {how}" if word == "coverage" else note
            unit = "" if word == "density" else "fraction"
            yield Figure(f"{word} by {what}{of}", value, unit, where, note=own, better="maximize")
        if name in found.authentic:
            share, error, _ = authenticity(found.training.features, images.features)
            yield Figure(f"authenticity by {what}{of}", share, "fraction", where, error, how)
        yield from self._of_classes(images, reference, of, where, how)

    def _of_classes(self, images: Extracted, reference: Extracted, of: str, where: str, how: str) -> Iterator[Figure]:
        """What needs class probabilities: a score, and which classes there are beside those of training examples."""
        if images.probabilities is None or reference.probabilities is None:
            return
        what, classes = self.extractor.name, images.probabilities.shape[1]
        splits = _SPLITS if len(images.probabilities) >= 10 * _SPLITS else 1
        score, spread, _ = inception_score(images.probabilities, splits=splits)
        name = "Inception score" if what == "inception" else f"{what} score"
        spread = spread / math.sqrt(splits)
        note = f"{splits} splits; {how}" if splits > 1 else how
        yield Figure(name + of, score, "", where, None if splits == 1 else spread, note, "maximize")
        covered = class_coverage(images.probabilities.argmax(1), classes, reference=reference.probabilities.argmax(1))
        yield Figure(f"classes covered by {what}{of}", covered.classes, f"of {classes}", where, None, how, "maximize")
        divergence = f"class divergence by {what}{of}"
        yield Figure(divergence, covered.reverse_kl, "nats", where, None, f"from training; {how}", "minimize")
