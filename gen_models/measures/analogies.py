"""A measure of models of a class and of what it leaves open: one style in all classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Split, Trained, compiled_for


@dataclass(frozen=True)
class Analogies:
    """Images, and each class in their style: z, which is found with the class that the model takes them for."""

    count: int = 10  # images, a row of the picture each

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `analogies.png`: in each row an image, and with its z every class in turn (Kingma et al., 2014, fig. 1).

        The classes are those of the data; the model's `encode` is not told them, and its `decode` takes `label`.
        """
        x = split.some(self.count)["x"]
        classes = trained.num_classes or 1
        label = np.arange(classes, dtype=np.int32)
        made = np.asarray(compiled_for(_in_each, trained.model)(trained.params, trained.stats, x, label))
        rows = np.concatenate([np.asarray(x)[:, None], made], 1)
        plots.image_grid(rows.reshape(-1, *x.shape[1:]), folder / "analogies.png", columns=classes + 1)


def _in_each(model: Model, params: Params, stats: Stats, x: jax.Array, label: jax.Array) -> jax.Array:
    """Every image's style in every class, [N, K, ...]."""
    code: Any = model.encode(params, stats, x)
    z = code[0] if isinstance(code, tuple) else code
    return jax.vmap(lambda each: model.decode(params, stats, z, label=each.repeat(len(z))), out_axes=1)(label[:, None])
