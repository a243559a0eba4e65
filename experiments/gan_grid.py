"""Does a discriminator that judges several samples at once keep a GAN from losing modes?

    python -m experiments.gan_grid                   # the GAN of 2014 on a grid of 25 Gaussians, ten trials at once
    python -m experiments.gan_grid packing2          # packing3, packing4
    python -m experiments.gan_grid packing2 --steps 400000   # the published schedule: 400 epochs

Lin et al., PacGAN (2018), section 4.1 and table 1. All trials of a run train in one compiled program, each with its own
initialisation, noise and order of the data. The 3,000 steps of the default are 3 of the paper's 400 epochs. Measured
after them, on 2 CPU cores (ten trials, +- standard error): gan 10.1 +- 1.2 modes and 2.2 +- 0.4 % of high quality,
packing2 9.9 +- 0.9 and 1.4 +- 0.2 %: no difference yet. Published, after 400: 17.3 and 94.8 %, 23.8 and 91.3 %.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from gen_models.run import cli
from gen_models.run.config import Experiment, RunConfig
from gen_models.run.directory import Figure

if TYPE_CHECKING:
    from gen_models.run.job import Job


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A packed GAN on the grid."""

    dataset: str = "gaussian_grid"
    """Only gaussian_grid, which needs no --data-dir."""
    steps: int = 3000
    """Updates of both players; the published schedule is 400,000."""
    batch_size: int = 100
    """Packs per update and trial, each of as many points as --packing says."""
    learning_rate: float = 1e-4
    """Adam's step size, for both players."""
    log_every: int = 250
    points: int = 100_000
    """Training points."""
    packing: int = 1
    """Samples that the discriminator judges at once; 1 is a plain GAN."""
    trials: int = 10
    """Independent trainings in one program."""
    objective: Literal["non_saturating", "minimax"] = "non_saturating"
    """The generator's."""
    beta1: float = 0.8
    """Adam's decay of the first moment."""
    generator_hidden: tuple[int, ...] = (400, 400, 400, 400)
    """Widths of the generator's layers."""
    discriminator_hidden: tuple[int, ...] = (200, 200, 200)
    """Widths of the discriminator's maxout layers."""
    samples: int = 2500
    """Samples per trial in each figure."""


base = Config()
variants: Mapping[str, Config] = {"gan": base} | {f"packing{m}": replace(base, packing=m) for m in (2, 3, 4)}


def build(config: Config) -> "Job":
    """Model, data, training step and figures."""
    import jax

    from gen_models import plots
    from gen_models.core import init_state, make_train_step
    from gen_models.data import in_memory
    from gen_models.data.synthetic import gaussian_grid, grid_centres
    from gen_models.errors import unknown
    from gen_models.evaluation.modes import mode_statistics
    from gen_models.models.adversarial.gan import gan
    from gen_models.optimizers import adam
    from gen_models.run.job import Job
    from gen_models.training import parallel

    if config.dataset != "gaussian_grid":
        raise unknown("data set for this experiment", config.dataset, ["gaussian_grid"])
    for name in ("trials", "packing", "points", "samples"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name} must be 1 or more, got {getattr(config, name)}")
    trials, each = config.trials, config.batch_size * config.packing
    # One draw serves all trials, each taking its own part of it.
    joint = in_memory(gaussian_grid(config.points, config.seed), trials * each, seed=config.seed)

    def make(data, row, key):
        return jax.tree.map(lambda x: x.reshape(trials, each, *x.shape[1:]), joint.make(data, row, key))

    model = gan(
        (2,),
        latent=2,
        generator_hidden=config.generator_hidden,
        discriminator_hidden=config.discriminator_hidden,
        packing=config.packing,
        objective=config.objective,
        dtype=config.precision,
    )
    tx = {player: adam(config.learning_rate, b1=config.beta1) for player in model.loss}
    example = {"x": np.zeros((config.packing, 2), np.float32)}

    def init(key):
        return jax.vmap(lambda key: init_state(model, tx, key, example))(jax.random.split(key, trials))

    step, place = parallel.train_many(make_train_step(model.loss, tx), trials)
    centres = grid_centres()

    @jax.jit
    def draw(params, stats, key):
        keys = jax.random.split(key, trials)
        return jax.vmap(lambda p, s, k: model.sample(p, s, k, config.samples))(params, stats, keys)

    statistics = jax.jit(jax.vmap(lambda x: mode_statistics(x, centres)))

    def evaluate(state, key):
        found = statistics(draw(state.params, state.stats, key))
        return {f"samples/{name}": value.mean() for name, value in found._asdict().items()}

    def figures(state, key):
        found = statistics(draw(state.params, state.stats, key))
        where = f"{trials} trials of {config.samples:,} samples"
        epochs = config.steps * config.batch_size / config.points
        note = f"after {epochs:g} epochs; the spread is the standard error over trials"
        named = {
            "modes covered": (found.modes, f"of {len(centres)}"),
            "high-quality samples": (100 * found.high_quality, "%"),
            "reverse KL": (found.reverse_kl, "nats"),
        }
        return [_figure(name, np.asarray(values), unit, where, note) for name, (values, unit) in named.items()]

    def show(samples: np.ndarray, path: Path):
        found = statistics(samples)
        titles = [f"trial {i}: {int(m)} modes" for i, m in enumerate(found.modes)]
        plots.scatter(dict(zip(titles, samples, strict=True)), path, marks=np.asarray(centres), limit=5.5)

    return Job(
        model=model,
        init=init,
        step=step,
        batches=joint._replace(make=make),
        figures=figures,
        evaluate=evaluate,
        sample=lambda state, key, n: np.asarray(draw(state.params, state.stats, key)[:, :n]),
        show=show,
        shown=config.samples,
        place=place,
    )


def _figure(name, values, unit, where, note) -> Figure:
    """Mean and standard error over the trials that can be measured; the others are counted."""
    good = values[np.isfinite(values)]
    if len(good) < len(values):
        note += f"; {len(values) - len(good)} of {len(values)} trials have no such value and are left out"
    error = float(good.std(ddof=1) / np.sqrt(len(good))) if len(good) > 1 else None
    return Figure(name, float(good.mean()) if len(good) else float("nan"), unit, where, error, note)


EXPERIMENT = Experiment("experiments.gan_grid", __doc__, variants, build)

if __name__ == "__main__":
    cli.launch(EXPERIMENT)
