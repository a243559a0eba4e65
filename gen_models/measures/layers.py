"""What single layers do: the size of their gradients, and units that are dead or flat."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.evaluation import layers
from gen_models.measures.base import Split, Trained, compiled_for
from gen_models.measures.figure import AVERAGED, Figure

Norms = dict[str, jax.Array]


@dataclass(frozen=True)
class Gradients:
    """Norm of the loss's gradient by layer, of a fresh network and of the trained one, for training examples."""

    examples: int = 250
    reads_traced: ClassVar[bool] = True  # the loss has the config's dropout and label smoothing
    reads_parameters: ClassVar[bool] = False  # not those at the start; the figures at the end say it themselves

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The first layer's norm and its ratio to the last one's, of the fresh network and of the trained one."""
        where = f"{split.dataset.name}, {self.examples} training {split.data.examples}"
        note = "of the first convolution's kernel, L2"
        for when, norms in self._norms(trained, split, key).items():
            of_average = f"; {AVERAGED}" if when == "end" and trained.averaged else ""
            of_layers = [float(norm) for norm in norms.values()]
            first, last = of_layers[0], of_layers[-1]  # which may be the same one
            yield Figure(f"gradient at the {when}", first, "norm", where, note=note + of_average)
            ratio = first / last if last else float("nan")  # a network whose units have all died
            yield Figure(f"first / last gradient at the {when}", ratio, "ratio", where, note=note + of_average)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `gradients.png`: the norm of every layer, in order."""
        lines = {f"at the {when}": list(norms.values()) for when, norms in self._norms(trained, split, key).items()}
        plots.lines(lines, folder / "gradients.png", x="convolution", y="norm of its kernel's gradient", log=True)

    def _norms(self, trained: Trained, split: Split, key: Key) -> dict[str, Norms]:
        batch = next(iter(split.train().batches(self.examples)))
        init_key, key = jax.random.split(key)
        norms = compiled_for(_gradient_norms, trained.model)
        fresh = trained.model.init(init_key, batch)
        return {"start": norms(*fresh, batch, key), "end": norms(trained.params, trained.stats, batch, key)}


def _gradient_norms(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> Norms:
    if not callable(model.loss):
        raise ValueError(f"gradients are measured of one loss, not of players {sorted(model.loss)}")
    return layers.gradient_norms(model.loss, params, stats, batch, key)


@dataclass(frozen=True)
class Units:
    """Shares of units that no example moves, and of activations through which no gradient passes."""

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The share of dead units and that of flat activations, over all layers."""
        found = self._counts(trained, split).values()
        dead = sum(int((counts.alive == 0).sum()) for counts in found) / sum(counts.alive.size for counts in found)
        flat = float(sum(counts.flat for counts in found) / sum(counts.total for counts in found))
        note = "of all channels: output and slope 0 at every position of every image"
        yield Figure("dead units", dead, "fraction", split.where, note=note)
        yield Figure("flat activations", flat, "fraction", split.where, note="slope below 1e-3: no gradient passes")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `units.png`: both shares for every layer, in order."""
        found = [layers.activity(counts) for counts in self._counts(trained, split).values()]
        lines = {"dead units": [each.dead for each in found], "flat activations": [each.flat for each in found]}
        plots.lines(lines, folder / "units.png", x="layer", y=f"share, {split.word} split")

    def _counts(self, trained: Trained, split: Split) -> dict[str, layers.Counts]:
        counted = compiled_for(_counts, trained.model)
        of_batches = [counted(trained.params, trained.stats, batch) for batch in split.batches(250)]
        return jax.tree.map(lambda *counts: sum(counts), *of_batches)


def _counts(model: Model, params: Params, stats: Stats, batch: Any) -> dict[str, layers.Counts]:
    found = model.encode(params, stats, batch["x"])
    weight = jnp.asarray(batch["weight"])
    return {name: layers.count(y, slope, weight) for name, (y, slope) in found.items()}
