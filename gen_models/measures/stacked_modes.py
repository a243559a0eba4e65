"""How many of 1,000 modes samples of stacked MNIST cover: triples of digits, as a classifier of one channel tells them.

Metz et al., Unrolled Generative Adversarial Networks (2017), and Lin et al., PacGAN (2018), section 4.2: each of a
sample's channels is classified, and the classes are the sample's mode. Whatever the images are: noise is of some class
too, so that the pictures must be looked at, and the divergence read beside the number of modes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import Key, init_state, make_train_step
from gen_models.data.splits import Splits
from gen_models.data.transforms import to_unit
from gen_models.evaluation.modes import Coverage, coverage_of
from gen_models.features.classifier import classifier_features
from gen_models.features.extractor import Extractor
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.samples import drawn
from gen_models.models.supervised.cnn import cnn
from gen_models.optimizers import adamw
from gen_models.schedules import schedule
from gen_models.training.loop import fit

Better = Literal["maximize", "minimize"] | None
_BATCH = 128  # images in a step of the classifier


@dataclass(frozen=True)
class StackedModes:
    """Modes of samples [n, H, W, channels] whose channels are images of classes, as are those of the data."""

    classifier: Extractor | None = None  # of one channel; None: `trained_classifier` of the data
    steps: int = 1500  # of its training
    samples: int = 25_600  # that are classified
    channels: int = 3
    at_once: int = 640  # samples that are drawn at a time

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The classifier's accuracy; modes covered and their divergence, of samples and of as many real stacks."""
        classifier = self.classifier or trained_classifier(split.data, self.steps)
        real, labels = self._real(classifier, split)
        classes = int(labels.max()) + 1 if classifier.num_classes is None else classifier.num_classes
        accuracy = 100 * float((real == labels).mean())
        yield Figure("accuracy of the classifier", accuracy, "%", split.where, better="maximize")
        draw = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
        stacks = real[draw.integers(len(real), size=(self.samples, self.channels))]
        for name, found in (("", self._of_samples(trained, classifier, key)), (", real images", stacks)):
            coverage = coverage_of(found @ classes ** np.arange(self.channels), classes**self.channels)
            yield from _figures(coverage, name, classes**self.channels, f"{self.samples:,} samples")

    def _of_samples(self, trained: Trained, classifier: Extractor, key: Key) -> np.ndarray:
        """The class of each channel, [samples, channels]; every sample has noise of its own part's key."""
        parts = []
        for start in range(0, self.samples, self.at_once):
            images = np.asarray(drawn(trained, jax.random.fold_in(key, start), self.at_once))
            channels = np.clip(np.moveaxis(images, -1, 1), 0, 1).reshape(-1, *images.shape[1:3], 1)
            parts.append(_classes(classifier, channels).reshape(-1, self.channels))
        return np.concatenate(parts)[: self.samples]

    def _real(self, classifier: Extractor, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """The classes that the classifier finds in the split's images of one channel, and their labels."""
        found, labels = [], []
        for batch in split.batches(500, to_unit):
            kept = np.asarray(batch["weight"]) > 0
            found.append(_classes(classifier, np.asarray(batch["x"])[kept]))
            labels.append(np.asarray(batch["y"])[kept])
        return np.concatenate(found), np.concatenate(labels)


def _figures(coverage: Coverage, name: str, modes: int, where: str) -> Iterator[Figure]:
    """Both figures; those of real images, what samples are to be read beside, have no better way."""
    fewer: Better = None if name else "minimize"
    more: Better = None if name else "maximize"
    yield Figure(f"modes covered{name}", coverage.modes, f"of {modes:,}", where, better=more)
    yield Figure(f"KL to uniform modes{name}", coverage.divergence, "nats", where, better=fewer)


def _classes(classifier: Extractor, images: np.ndarray) -> np.ndarray:
    """The likeliest class of each image [n, H, W, 1] in [0, 1]."""
    probabilities = classifier(images).probabilities
    if probabilities is None:
        raise ValueError(f"modes are told by classes, and {classifier.name!r} has none: give a classifier of the data")
    return probabilities.argmax(-1)


@lru_cache(maxsize=4)
def trained_classifier(data: Splits, steps: int) -> Extractor:
    """A small CNN that is trained on single images of the data, the same for every run; kept for this process.

    Measured with MNIST's 50,000 images for training, on one core of an Intel Xeon that other programs shared: 1,500
    steps took 127 s of its time, and 99.1 % of the 10,000 test images were then named rightly.

    Raises:
      ValueError: the data have no classes, or the training diverged.
    """
    alone = replace(data.with_labels("a classifier"), transform=to_unit, packing=1)
    model = cnn(alone.shape, alone.num_classes or 1, channels=(32, 64, 64, 64), strides=(2, 2, 1, 1), dropout=0.0)
    rule = adamw(schedule("cosine", 3e-3, steps), weight_decay=0.02)
    state_key, data_key = jax.random.split(jax.random.key(0))
    batches = alone.batches(min(_BATCH, len(alone.train)), seed=0)
    first = alone.first_batch(batches.batch_size, data_key)
    state = jax.jit(lambda key: init_state(model, rule, key, first))(state_key)
    outcome = fit(make_train_step(model.loss, rule), state, batches, steps=steps, key=data_key)
    if outcome.status != "finished":
        raise ValueError(f"the training of a classifier of {data.name!r} was {outcome.status} at step {outcome.step}")
    one = jax.devices()[0]
    params, stats = jax.tree.map(
        lambda leaf: jax.device_put(jnp.asarray(np.asarray(leaf)), one), (outcome.state.params, outcome.state.stats)
    )
    return classifier_features(model, params, stats, tuple(alone.shape), at_once=500)
