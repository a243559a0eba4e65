"""Measures of models that make x again of a code: the squared error, and pictures of what single units do."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Split, Trained, compiled_for
from gen_models.measures.figure import Figure
from gen_models.measures.likelihood import one


@dataclass(frozen=True)
class ReconstructionError:
    """The squared error of what is decoded of each example's code, summed over its numbers: of pixels from 0 to 1."""

    headline: ClassVar[Headline] = ("squared_error", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The mean over the examples, with its standard error."""
        error = split.mean(_squared_errors, trained, key, size=500)
        unit, where = f"squared/{one(split)}", split.where
        value, spread = float(error.value), float(error.standard_error)
        note = "summed over its numbers; of the code's mean, nothing drawn"
        yield Figure("squared error", value, unit, where, spread, note, "minimize")


def code_of(model: Model, params: Params, stats: Stats, x: jax.Array) -> jax.Array:
    """The code of each x [B, D]; the first entry of a code that is several, such as the mean of q(z|x)."""
    code = model.encode(params, stats, x)
    return code[0] if isinstance(code, tuple) else code


def _squared_errors(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """[B]."""
    again = model.decode(params, stats, code_of(model, params, stats, batch["x"]))
    return ((again - batch["x"]) ** 2).reshape(len(again), -1).sum(1)


@dataclass(frozen=True)
class UnitPictures:
    """What single units of a model of images see and make: the first layer's weights, and the units of the code."""

    count: int = 64  # units in a picture, the first ones
    examples: int = 1000  # first examples of the split, over which a unit's mean and deviation are taken

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `weights.png` and `code_units.png`: grey is 0, and the largest number of a picture is white or black.

        A picture of the first is a unit's weights from each pixel, where a layer sees whole images, or else its window.
        One of the second is what changes in the decoded image when a unit of the code goes from a deviation below its
        mean to one above, all others at their means: of a linear decoder, its column times two deviations.
        """
        shape = split.dataset.shape
        weights = _first_weights(trained.params, shape)
        if weights is not None:
            _draw(weights[: self.count], folder / "weights.png", scale=2 if weights.shape[1:] == shape else 8)
        responses = _responses(trained, split.first(self.examples), key)
        _draw(responses[: self.count], folder / "code_units.png", scale=2)


def _first_weights(params: Params, shape: tuple[int, ...]) -> np.ndarray | None:
    """Weights [units, height, width, 1 or 3] of the layer that sees the image; None where there is no such layer.

    That is the first array of the parameters with a row for each number of an image, or else a window for its channels.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    for leaf in leaves:
        if leaf.ndim == 2 and leaf.shape[0] == np.prod(shape):
            return leaf.T.reshape(-1, *shape)
    encoder = params.get("encoder", {}) if isinstance(params, dict) else {}
    for leaf in jax.tree.leaves(encoder):
        if leaf.ndim == 4 and leaf.shape[2] == shape[-1]:
            return np.moveaxis(np.asarray(leaf), 3, 0)
    return None


def _responses(trained: Trained, split: Split, key: Key) -> np.ndarray:
    """The change of the decoded image for each unit of the code, [D, ...]."""
    codes = split.each(_codes, trained, key, size=500)
    mean, deviation = codes.mean(0), codes.std(0)
    ends = mean + np.array([[[1.0]], [[-1.0]]]) * np.diag(deviation)  # [2, D, D]
    decode = compiled_for(_decode, trained.model)
    above, below = (np.asarray(decode(trained.params, trained.stats, jnp.asarray(z, jnp.float32))) for z in ends)
    return above - below


def _codes(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return code_of(model, params, stats, batch["x"])


def _decode(model: Model, params: Params, stats: Stats, z: jax.Array) -> jax.Array:
    return model.decode(params, stats, z)


def _draw(images: np.ndarray, path: Path, scale: int) -> None:
    """Pictures of numbers of both signs, each on a scale of its own; nothing of what is neither grey nor coloured.

    One whose largest number is below 1/1000 of the largest of all stays grey: the rest of a unit that does nothing.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        return
    largest = np.abs(images).max((1, 2, 3), keepdims=True)
    least = max(1e-3 * float(largest.max()), 1e-30)
    plots.image_grid(0.5 + images / (2 * np.maximum(largest, least)), path, scale=scale)
