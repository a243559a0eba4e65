"""A code of two dimensions as a map of the data, next to the map of principal components."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.dataset import Classes
from gen_models.measures.base import Split, Trained, mean_of
from gen_models.measures.classification import labels_of
from gen_models.measures.figure import Figure
from gen_models.measures.likelihood import one
from gen_models.measures.probes import classes_of_neighbours
from gen_models.measures.reconstruction import code_of


@dataclass(frozen=True)
class PrincipalMap:
    """Principal components of the training part, as many as the code has dimensions, beside the code.

    `NearestNeighbours` and `ReconstructionError` measure the code itself in the same way.
    """

    neighbours: int = 5
    examples: int = 10_000  # first training examples, of which components are and among which neighbours are sought
    shown: int = 2000  # first examples of the split in the picture

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The squared error of the components, and the accuracy of nearest neighbours among them."""
        known = split.train().first(self.examples)
        x, queries = (part.each(_flat, trained, key, size=500) for part in (known, split))
        dimensions = split.first(1).each(_code, trained, key).shape[1]
        mean, components = principal_axes(x, dimensions)
        codes, sought = (x - mean) @ components, (queries - mean) @ components
        error = mean_of(((sought @ components.T + mean - queries) ** 2).sum(1))
        value, spread = float(error.value), float(error.standard_error)
        note = f"{dimensions} components of {len(x):,} training examples"
        unit, where = f"squared/{one(split)}", split.where
        yield Figure("squared error, principal components", value, unit, where, spread, note, "minimize")
        if trained.num_classes is None:
            return
        found = classes_of_neighbours(sought, codes, labels_of(known), trained.num_classes, self.neighbours)
        share = float((found == labels_of(split)).mean())
        spread = float(np.sqrt(share * (1 - share) / len(found)))
        note = f"of {self.neighbours} among {len(x):,} training codes, by Euclidean distance"
        yield Figure("neighbours' accuracy, principal components", share, "fraction", where, spread, note, "maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `map.png`: examples by their first two principal components and by their code, if that has two."""
        some, known = split.first(self.shown), split.train().first(self.examples)
        codes = some.each(_code, trained, key, size=500)
        if codes.shape[1] != 2 or trained.num_classes is None:
            return
        mean, components = principal_axes(known.each(_flat, trained, key, size=500), 2)
        panels = {
            "principal components": (some.each(_flat, trained, key, size=500) - mean) @ components,
            "code of the autoencoder": codes,
        }
        meaning = split.dataset.meaning
        names = meaning.classes if isinstance(meaning, Classes) else [str(k) for k in range(trained.num_classes)]
        plots.classes(panels, labels_of(some), folder / "map.png", names)


def principal_axes(x: Float[np.ndarray, "n d"], count: int) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "d k"]]:
    """The mean, and the eigenvectors of the covariance with the largest eigenvalues, largest first, as columns."""
    mean = x.mean(0)
    centred = x - mean
    return mean, np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]


def _flat(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return batch["x"].reshape(len(batch["x"]), -1)


def _code(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return code_of(model, params, stats, batch["x"]).reshape(len(batch["x"]), -1)
