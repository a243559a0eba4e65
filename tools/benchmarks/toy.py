"""A toy in two dimensions for `tools.sweep_check`: which of 25 Gaussians on a grid is a point from?

    python -m tools.benchmarks.toy sweep --seeds 4 --grid learning_rate=3e-4,1e-3,3e-3,1e-2

A step of it is so short that what surrounds it is most of its time; runs are then fastest stacked in one program.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gen_models.run import cli
from gen_models.run.config import Experiment, RunConfig
from gen_models.run.directory import Figure

if TYPE_CHECKING:
    from gen_models.run.job import Job


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A small classifier of points."""

    dataset: str = "gaussian_grid"
    """Only gaussian_grid."""
    steps: int = 300
    batch_size: int = 32
    evaluate_every: int = 0
    checkpoint_every: int = 0
    hidden: tuple[int, ...] = (32, 32)
    """Widths of its layers."""


variants: Mapping[str, Config] = {"base": Config()}


def build(config: Config) -> "Job":
    """Model, data, training step and figures."""
    import jax
    import jax.numpy as jnp

    from gen_models.core import init_state, make_train_step
    from gen_models.data import in_memory
    from gen_models.data.synthetic import gaussian_grid, grid_centres
    from gen_models.models.supervised.mlp import mlp
    from gen_models.optimizers import adam
    from gen_models.run.job import Job

    centres = np.asarray(grid_centres())

    def points(seed):
        x = np.asarray(gaussian_grid(10_000, seed)["x"])
        return {"x": x, "y": np.square(x[:, None] - centres).sum(-1).argmin(-1).astype(np.int32)}

    train, test = points(0), points(1)
    model = mlp((2,), 25, hidden=config.hidden)
    example = {"x": jnp.zeros((1, 2)), "y": jnp.zeros(1, jnp.int32)}

    def step_of(config):
        return make_train_step(model.loss, adam(config.learning_rate))

    accuracy = jax.jit(lambda params, stats: (model.apply(params, stats, test["x"]).argmax(-1) == test["y"]).mean())

    return Job(
        model=model,
        init=lambda key: init_state(model, adam(config.learning_rate), key, example),
        step=step_of(config),
        step_of=step_of,
        batches=in_memory(train, config.batch_size, seed=config.seed),
        batches_of=lambda seed: in_memory(train, config.batch_size, seed=seed),
        figures=lambda state, key: [
            Figure("accuracy", float(accuracy(state.params, state.stats)), "fraction", "10,000 other points")
        ],
    )


EXPERIMENT = Experiment("tools.benchmarks.toy", __doc__, variants, build, directions={"accuracy": "maximize"})

if __name__ == "__main__":
    cli.launch(EXPERIMENT)
