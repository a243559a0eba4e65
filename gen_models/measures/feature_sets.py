"""Features of the sets of images that distances compare: training examples, others, samples, a memoriser's and noise.

Images are taken some at a time, and their features alone are kept: 4 D bytes for each image of D features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import Key
from gen_models.data.access import Subset
from gen_models.data.splits import Splits
from gen_models.data.transforms import to_unit
from gen_models.features.extractor import Extracted, Extractor
from gen_models.measures.base import Split, Trained
from gen_models.measures.kept_features import extracted, kept_features
from gen_models.measures.samples import drawn


class FeatureSets(NamedTuple):
    """Features of sets of N images each, but for all the training examples, among which copies are sought."""

    training: Extracted  # of as many training examples as were asked for
    reference: Extracted  # N of these: what the others are compared with
    compared: dict[str, Extracted]  # name -> N images; "" is the model's samples
    authentic: tuple[str, ...]  # names of those of which authenticity says something


def spread_over(split: Split, count: int) -> Split:
    """A split of `count` examples, evenly spaced among all, as these may be in order; the whole one for 0."""
    if count <= 0 or count >= len(split):
        return split
    chosen = np.arange(count) * len(split) // count
    arrays, source = split.dataset.arrays, split.dataset.source
    some = {name: values[chosen] for name, values in arrays.items()} if arrays is not None else None
    dataset = replace(split.dataset, arrays=some, source=None if source is None else Subset(source, chosen.tolist()))
    return replace(split, dataset=dataset)


def images_of(split: Split, levels: int, at_once: int, unchanged: bool = False) -> Iterator[np.ndarray]:
    """The split's images in [0, 1], some at a time: as the model sees them, or `unchanged` as they are."""
    for batch in split.batches(at_once, to_unit if unchanged else None):
        kept = np.asarray(batch["weight"]) > 0
        yield np.asarray(batch["x"], np.float32)[kept] / (1 if unchanged else levels - 1)


def samples_of(
    trained: Trained, key: Key, count: int, levels: int, conditional: bool, at_once: int
) -> Iterator[np.ndarray]:
    """Samples in [0, 1], cut to that range, some at a time; those of a conditional model are of the classes in turn."""
    for start in range(0, count, at_once):
        condition = {}
        if conditional:
            condition["label"] = jnp.arange(start, start + at_once) % (trained.num_classes or 1)
        some = drawn(trained, jax.random.fold_in(key, start), at_once, **condition)  # of one number: one program
        images = np.clip(np.asarray(some, np.float32) / (levels - 1), 0, 1)
        yield images[: count - start]


def noise_of(shape: Sequence[int], count: int, draw: np.random.Generator, at_once: int) -> Iterator[np.ndarray]:
    """Images whose pixels are independent and uniform in [0, 1], some at a time."""
    for start in range(0, count, at_once):
        yield draw.random((min(at_once, count - start), *shape), np.float32)


@lru_cache(maxsize=1)
def training_features(
    extractor: Extractor,
    data: Splits,
    count: int,
    levels: int,
    at_once: int,
    unchanged: bool = False,
    folder: Path | None = None,
) -> Extracted:
    """Those of `count` training examples, of all for 0; kept for the extractor and data of the last call, and in files
    of the folder where one is given.
    """
    examples = training_examples(data, count)
    return kept_features(extractor, lambda: images_of(examples, levels, at_once, unchanged), folder)


def training_examples(data: Splits, count: int) -> Split:
    """The training examples among which neighbours are sought: `count` of them, or all for 0."""
    return spread_over(Split(data, data.train, "train"), count)


def feature_sets(
    extractor: Extractor,
    trained: Trained,
    split: Split,
    key: Key,
    *,
    count: int,
    training: int = 0,
    levels: int = 2,
    conditional: bool = False,
    at_once: int = 250,
    unchanged: bool = False,
    folder: Path | None = None,
    beside: bool = True,
) -> FeatureSets:
    """Features of `count` images of each set, or of as many as there are of other examples and of training ones.

    The memoriser is a model that draws training examples, with replacement. Other examples are those of the split, or
    where it is the training part itself, a half of it that shares none with the reference.

    Args:
      extractor: of the features.
      trained: the model, which has `sample`.
      split: what is measured.
      key: of the samples, of the noise, and of which examples are drawn.
      count: images of each set, at most.
      training: training examples that are taken; 0: all.
      levels: of a pixel, which samples and data have from 0 to levels - 1; 2 for images in [0, 1] as well.
      conditional: whether the model is told the class.
      at_once: images that are drawn, and are given to the extractor, at a time.
      unchanged: whether data are images as they are, and not as the model sees them.
      folder: where features of the data are kept; None: nowhere.
      beside: whether there are other sets than the samples.
    """
    draw = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    # Levels are of images as a model sees them: of images as they are, features are kept for models of all levels.
    seen = 2 if unchanged else levels
    known = training_features(extractor, split.data, training, seen, at_once, unchanged, folder)
    total, alone = len(known.features), split.dataset is split.data.train
    count = min(count, total // 2 if alone else len(split), total)
    order = draw.permutation(total)
    compared = {"": extracted(extractor, samples_of(trained, key, count, levels, conditional, at_once))}
    name = "other training examples" if alone else "held-out examples"
    if beside and alone:
        compared[name] = _chosen(known, order[count : 2 * count])
    elif beside:
        some = spread_over(split, count)
        compared[name] = kept_features(extractor, lambda: images_of(some, levels, at_once, unchanged), folder)
    if beside:
        compared["memoriser"] = _chosen(known, draw.integers(total, size=count))
        compared["noise"] = extracted(extractor, noise_of(split.dataset.shape, count, draw, at_once))
    # Of training examples themselves it would be 0, as of copies.
    authentic = tuple(each for each in compared if not (alone and each == name))
    return FeatureSets(known, _chosen(known, order[:count]), compared, authentic)


def _chosen(found: Extracted, rows: np.ndarray) -> Extracted:
    probabilities = None if found.probabilities is None else found.probabilities[rows]
    return Extracted(found.features[rows], probabilities)
