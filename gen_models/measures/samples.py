"""Samples of a model: pictures at the end, during training (`--draw-every`) and from a run directory (`tools.sample`).

A measure that draws samples has `count`, `sample(trained, key, n, **condition) -> [n, ...]` and `show(samples, path)`.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model
from gen_models.measures.base import Split, Trained
from gen_models.measures.likelihood import upper_half


@lru_cache(maxsize=64)
def _compiled(model: Model, n: int) -> Any:
    return jax.jit(lambda params, stats, key, condition: model.sample(params, stats, key, n, **condition))


def drawn(trained: Trained, key: Key, n: int, **condition: Any) -> jax.Array:
    """n samples [n, ...] by `model.sample`, compiled once for a model and a number of samples."""
    return _compiled(trained.model, n)(trained.params, trained.stats, key, condition)


def classes_in_turn(trained: Trained, n: int) -> jax.Array:
    """Labels int32 [n]: 0, 1, ... up to the last class, and from 0 again."""
    return jnp.arange(n) % (trained.num_classes or 1)


@dataclass(frozen=True)
class Samples:
    """Images that the model draws."""

    count: int = 64  # images in the picture
    levels: int = 2  # of a pixel, which the model draws from 0 to levels - 1
    conditional: bool = False  # whether the model is told the class

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `samples.png`: a grid of samples."""
        self.show(self.sample(trained, key, self.count), folder / "samples.png")

    def sample(self, trained: Trained, key: Key, n: int, **condition: Any) -> np.ndarray:
        """Draw n samples [n, H, W, C]; a conditional model's are of the classes in turn, where no label is given.

        Args:
          trained: the model.
          key: the randomness of the samples.
          n: how many.
          **condition: what the model's `sample` takes: label [n], given [n, H, W, C] with mask [H, W], ...
        """
        if self.conditional and "label" not in condition:
            condition["label"] = classes_in_turn(trained, n)
        return np.asarray(drawn(trained, key, n, **condition))

    def show(self, samples: np.ndarray, path: Path) -> None:
        """Write a grid of samples [n, H, W, C], whose pixels are 0 to levels - 1."""
        plots.image_grid(np.asarray(samples, np.float32) / (self.levels - 1), path)


@dataclass(frozen=True)
class Completions:
    """The lower half of images, drawn given the upper one."""

    levels: int = 2  # of a pixel, which the model draws from 0 to levels - 1
    conditional: bool = False  # whether the model is told the class
    count: int = 24  # images
    times: int = 4  # completions of each

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `completions.png`: the image, its upper half and its completions, two images to a row."""
        some = split.some(self.count)
        x, upper = some["x"], upper_half(some["x"].shape[1:])
        condition: dict[str, Any] = {"label": some["y"]} if self.conditional else {}
        keys = jax.random.split(key, self.times)
        completed = [np.asarray(drawn(trained, own, len(x), given=x, mask=upper, **condition)) for own in keys]
        columns = [x, np.where(upper[..., None], x, 0), *completed]
        grid = np.stack(columns, 1).reshape(-1, *x.shape[1:])
        shown = np.asarray(grid, np.float32) / (self.levels - 1)
        plots.image_grid(shown, folder / "completions.png", columns=2 * len(columns))
