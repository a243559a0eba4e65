"""An experiment whose training is a walk along a line that passes a best place: seconds for many runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A walk."""

    steps: int = 8
    batch_size: int = 4
    optimizer: str = "momentum"
    schedule: str = "constant"
    learning_rate: float = 0.05
    log_every: int = 2
    evaluate_every: int = 0
    size: int = 3
    """Numbers that walk."""
    head: str = "head"
    """Name of the parameters that stay."""
    best_at: float = 1.0
    """Where the walk is best."""


@dataclass(frozen=True)
class Distance:
    """How far the walk is from its best place."""

    best_at: float
    headline: ClassVar = ("distance", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: jax.Array) -> Iterator["gm.Figure"]:
        """The mean square of the distance."""
        value = float(jnp.mean((trained.params["walk"]["w"] - self.best_at) ** 2))
        yield gm.Figure("distance", value, "", split.where, note="of a walk", better="minimize")

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: jax.Array, folder: Path) -> None:
        """A file that says where the walk is."""
        (folder / "walk.png").write_text(str(trained.params["walk"]["w"]))


def data(config: Config) -> "gm.Splits":
    """Noise."""
    draw = np.random.default_rng(0)
    train, test, held_out = ({"x": draw.normal(size=(16, 2)).astype(np.float32)} for _ in range(3))
    return gm.Splits.of_arrays(train, test, held_out, name="noise")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """Every step walks on by about the learning rate, times what momentum makes of it."""

    def init(key, batch):
        stay = jax.random.normal(key, (2, 2))
        return {"walk": {"w": jnp.zeros(config.size)}, config.head: {"kernel": stay}}, {"seen": jnp.zeros([])}

    def loss(params, stats, batch, key, *, step, train=True):
        noise = batch["x"].mean() + 0.1 * jax.random.normal(key, (config.size,))
        value = jnp.sum(params["walk"]["w"] * (noise - 1)) / config.size + 0.01 * jnp.sum(
            params[config.head]["kernel"] ** 2
        )
        return value, ({"seen": stats["seen"] + 1}, {"noise": noise.mean()})

    return gm.Model(init, loss)


def measures(config: Config) -> "list[gm.Measure]":
    """The distance alone."""
    return [Distance(config.best_at)]


EXPERIMENT = gm.Experiment(__file__, "How far does a walk get?", {"base": Config()}, data, model, measures)
if __name__ == "__main__":
    gm.launch(EXPERIMENT)
