"""What words on the command line stand for, in one place; and the data that configs of images ask for.

The library itself takes functions and objects, never such words.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from gen_models.data.absent import AbsentSource
from gen_models.data.access import gathered
from gen_models.data.report import class_counts
from gen_models.data.splits import Splits, load_splits
from gen_models.data.transforms import (
    Transform,
    binarise_dynamic,
    binarise_fixed,
    compose,
    cutout,
    quantise,
    random_flip,
    random_shift,
    to_unit,
)
from gen_models.models.supervised.classification import balanced_weights
from gen_models.nn import autoencoding, likelihoods, priors
from gen_models.run.config import BinaryImages, Images, Tokens

ACTIVATIONS: Mapping[str, Callable[..., Any]] = {
    "relu": nn.relu,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
    "leaky_relu": nn.leaky_relu,
    "glu": nn.glu,  # halves the width: one half gates the other
}
# Name -> a likelihood of images of so many levels. The Bernoulli one wants images of two, the Gaussian ones of [0, 1].
LIKELIHOODS: Mapping[str, Callable[[int], likelihoods.Likelihood]] = {
    "bernoulli": lambda levels: likelihoods.bernoulli(),
    "gaussian_fixed": lambda levels: likelihoods.gaussian(0.1),
    "gaussian": lambda levels: likelihoods.gaussian("learned"),
    "gaussian_each": lambda levels: likelihoods.gaussian("each"),
    "logistic": likelihoods.discretised_logistic,
    "categorical": likelihoods.categorical,
}
# Name -> a prior of so many components for images of a shape.
PRIORS: Mapping[str, Callable[[Sequence[int], int], priors.Prior]] = {
    "normal": lambda shape, components: priors.standard_normal(),
    "mixture": lambda shape, components: priors.mixture(components),
    "vamp": priors.vamp,
}
ENLARGEMENTS: Mapping[str, autoencoding.Enlargement] = {
    "transposed": autoencoding.transposed,
    "transposed_3x3": autoencoding.transposed_with(3),
    "resized": autoencoding.resized,
}
AUGMENTATIONS: Mapping[str, Transform] = {"flip": random_flip, "shift": random_shift(2), "cutout": cutout(8)}


def class_weights(name: str, data: Splits) -> Sequence[float] | None:
    """The weights of the classes in a loss: None for "none", `balanced_weights` of the training part for "balanced".

    None too where the data are not there: then nothing is trained.

    Raises:
      ValueError: the examples of each class cannot be counted.
    """
    if name == "none" or isinstance(data.train.source, AbsentSource):
        return None
    counts = class_counts(data.train)
    if counts is None:
        raise ValueError(
            f"the classes of {data.name!r} cannot be counted without reading every example: leave --class-weights at "
            "none, or give the model class_weights of your own in the library"
        )
    return balanced_weights(counts)


def _load_images(config: Images, transform: Transform, **how: Any) -> Splits:
    """The images that a config names; the options are those of `load_splits`."""
    return load_splits(
        config.dataset,
        config.train_split,
        config.data_dir,
        size=config.size,
        damaged=config.damaged,
        transform=transform,
        examples="images",
        kinds=("images",),
        **how,
    )


def unit_images(config: Images, augmentation: Sequence[str] = ()) -> Splits:
    """Images in [0, 1]; the named `AUGMENTATIONS` change training images at random.

    Raises:
      ValueError, OSError, ImportError: as `load_splits`.
    """
    transform = compose(to_unit, *(AUGMENTATIONS[name] for name in augmentation))
    return _load_images(config, transform, evaluation=to_unit)


def token_windows(config: Tokens, *, contiguous: bool = False) -> Splits:
    """Windows of a text; with `contiguous`, each goes on where the one before in its place of the batch ended.

    Raises:
      ValueError, OSError, ImportError: as `load_splits`.
    """
    name = config.dataset
    if config.length is not None:
        name += f"{'&' if '?' in name else '?'}length={config.length}"
    return load_splits(
        name, config.train_split, config.data_dir, examples="windows", contiguous=contiguous, kinds=("tokens",)
    )


def training_windows(data: Splits) -> Mapping[str, np.ndarray]:
    """All windows of the part of a text that is trained on, in their order: for models that are fitted by counting.

    Raises:
      DataAbsent: the text is not there.
    """
    arrays = data.train.arrays
    return gathered(data.train.source) if arrays is None else arrays


def binary_images(config: BinaryImages, *, redraws: bool = False) -> Splits:
    """Images of zeros and ones; with `redraws`, those of the final evaluation are drawn by the run's seed.

    Raises:
      ValueError, OSError, ImportError: as `load_splits`.
    """
    transform = binarise_dynamic if config.binarisation == "dynamic" else binarise_fixed()
    return _load_images(config, transform, how=f"binarised ({config.binarisation})", redraws=redraws)


def images_for(likelihood: str, config: BinaryImages, levels: int = 256) -> Splits:
    """The images that the named one of `LIKELIHOODS` has probabilities of: of 0 and 1, of levels, or within [0, 1].

    Raises:
      ValueError, OSError, ImportError: as `load_splits`; or the images have fewer levels.
    """
    if likelihood == "bernoulli":
        return binary_images(config)
    return unit_images(config) if likelihood.startswith("gaussian") else level_images(config, levels)


def level_images(config: BinaryImages, levels: int) -> Splits:
    """Images whose pixels are integers 0 to levels - 1; with two levels, `binary_images` that are redrawn.

    Raises:
      ValueError, OSError, ImportError: as `load_splits`; or the images have fewer levels.
    """
    if levels == 2:
        return binary_images(config, redraws=True)
    splits = _load_images(config, quantise(levels), how=f"{levels} levels")
    if levels > splits.levels:
        raise ValueError(
            f"the images of {config.dataset!r} have {splits.levels} levels, and {levels} are wanted: --levels "
            f"{splits.levels} (in the library, levels={splits.levels})"
        )
    return splits
