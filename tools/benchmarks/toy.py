"""A toy in two dimensions for `tools.sweep_check`: which of 25 Gaussians on a grid is a point from?

    python -m tools.benchmarks.toy sweep --seeds 4 --grid learning_rate=3e-4,1e-3,3e-3,1e-2

A step of it is so short that what surrounds it is most of its time; runs are then fastest stacked in one program.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

import gen_models as gm

CLASSES = 25


@dataclass(frozen=True, kw_only=True)
class Config(gm.RunConfig):
    """A small classifier of points."""

    steps: int = 300
    batch_size: int = 32
    learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-4, 1e-1, log=True)] = 1e-3
    """Learning rate of Adam."""
    hidden: tuple[int, ...] = (32, 32)
    """Widths of its layers."""


variants: Mapping[str, Config] = {"base": Config(evaluate_every=0, checkpoint_every=0)}


def data(config: Config) -> "gm.Splits":
    """Points, each with the number of the nearest Gaussian's centre; 10,000 to train on and 10,000 others."""
    centres = np.asarray(gm.grid_centres())

    def points(seed: int) -> dict[str, np.ndarray]:
        x = np.asarray(gm.gaussian_grid(10_000, seed)["x"])
        return {"x": x, "y": np.square(x[:, None] - centres).sum(-1).argmin(-1).astype(np.int32)}

    name = "gaussian_grid"
    return gm.Splits.of_arrays(points(0), points(1), name=name, num_classes=CLASSES, examples="points")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """A multi-layer perceptron."""
    return gm.mlp(data.shape, CLASSES, hidden=config.hidden)


def optimizer(config: Config) -> "gm.Optimizer":
    """Adam at a constant learning rate."""
    return gm.adam(config.learning_rate)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Accuracy on the other points."""
    return (gm.measures.Accuracy(),)


EXPERIMENT = gm.Experiment(__file__, __doc__, variants, data, model, measures, optimizer)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
