"""Which cure keeps a GAN from losing modes of a grid of 25 Gaussians?

    python -m experiments.gan_mode_collapse --seeds 3     # every variant, three seeds each: a table
    python -m experiments.gan_mode_collapse wgan_gp --steps 100000 --schedule cosine
    python -m experiments.gan_mode_collapse maxout_wgan_gp --steps 400000    # PacGAN's networks and steps

The grid is that of `experiments/gan_grid.py`, which has PacGAN's networks, with and without packing; here are the other
cures, on the networks of Srivastava et al., VEEGAN (2017): a standard Gaussian of 254 numbers, two layers of 128 ReLU,
one layer of 128 ReLU in the discriminator, Adam with rate 1e-3 and beta1 0.5. So they stand in copies of the authors'
notebook; the paper's own text was not at hand. They train on 100,000 batches of 500, here on 4,000 of 100 points.

Measured by the first command, mean +- standard error over three seeds, 7 minutes of one core of an Intel Xeon that
other programs shared (27 minutes by the clock):

                 modes of 25    high quality     reverse KL    published, after 100,000 steps (VEEGAN)
  gan             7.3 +- 5.3    1.8 +- 0.4 %    2.00 +- 0.77    3.3 modes, 0.5 %
  minimax        18.0 +- 0.6    1.7 +- 0.1 %    0.56 +- 0.03
  packing2       21.7 +- 1.5    1.8 +- 0.1 %    0.28 +- 0.10
  packing3       18.7 +- 2.9    1.7 +- 0.2 %    0.43 +- 0.16
  packing4       16.7 +- 0.9    1.5 +- 0.1 %    0.57 +- 0.08
  discrimination 10.3 +- 1.5    3.5 +- 2.3 %    1.40 +- 0.29
  deviation      19.7 +- 1.2    1.6 +- 0.2 %    0.47 +- 0.07
  wgan_gp        21.3 +- 0.7    3.1 +- 0.1 %    0.43 +- 0.04
  r1              2.3 +- 0.3    1.8 +- 0.5 %    2.85 +- 0.15
  unrolled        9.0 +- 0.6    1.5 +- 0.2 %    1.36 +- 0.07    23.6 modes, 16 %
  ema             6.3 +- 5.3   47.1 +- 27.2 %   2.35 +- 0.87
  even spread    20.8           1.8 %           0.32

The last row is no model: 2,500 points drawn evenly from the square of 10 by 10, whose figures say how to read the
others. What spreads over the square covers most modes by chance, and WGAN-GP's cure alone puts more samples on
them than that in every run. In the pictures of seed 1 the plain GAN is one blob, as R1's is; minimax and unrolling make
rings; packs of two and the minibatch's deviation spread evenly; WGAN-GP finds the edges of the grid first. The average
of the plain GAN's parameters makes one small blob at the centre in two of three runs, on one mode, with 96 % of high
quality in one of them: a share of good samples alone says nothing, and a number of modes alone neither.

WGAN-GP trained for longer with a falling rate (the second command): after 20,000 steps, a minute of the core, 23.3 +-
0.3 modes, 21.8 +- 2.9 % and 0.55 +- 0.05 nats over three seeds; after 50,000, 2.6 minutes, 24 modes, 56.3 % and 0.24
nats with seed 0; after 100,000, as many as published but of a fifth of the points (6.5 to 10 minutes by the clock), all
25 modes with each of seeds 0, 1 and 2, 76.4, 87.3 and 92.2 %, and 0.042, 0.006 and 0.005 nats. VEEGAN's own figures are
24.6 and 40 %. Tried without gain, in one run each of 4,000 to 8,000 steps: weights of 0.1 and 10 for its penalty, a
second layer in the discriminator, unrolling by five steps with a rate of 0.3 and by ten with 0.5.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import gen_models as gm

from . import gan_grid


@dataclass(frozen=True, kw_only=True)
class Config(gan_grid.Config):
    """A GAN on the grid with one cure, or none, for a loss of modes."""

    steps: int = 4000
    """Updates of the generator."""
    batch_size: int = 100
    """Packs per update, each of as many points as --packing says."""
    learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-5, 1e-2, log=True)] = 1e-3
    """Learning rate of Adam, for both players."""
    beta1: Annotated[float, gm.TRACED] = 0.5
    """Decay of Adam's first moment."""
    beta2: Annotated[float, gm.TRACED] = 0.999
    """Decay of Adam's second moment."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Course of the learning rate."""
    networks: Literal["veegan", "pacgan"] = "veegan"
    """Kind of networks: ReLU alone, or batch norm in the generator and maxout in the discriminator."""
    latent: int = 254
    """Dimensions of the noise."""
    generator_hidden: tuple[int, ...] = (128, 128)
    """Widths of the generator's layers."""
    discriminator_hidden: tuple[int, ...] = (128,)
    """Widths of the discriminator's layers."""
    objective: Literal["non_saturating", "minimax", "wasserstein"] = "non_saturating"  # type: ignore[assignment]
    """Objective of both players."""
    penalty: Literal["none", "wasserstein", "r1"] = "none"
    """Penalty on the discriminator's gradient: its norm's distance from 1 between data and samples, or its square."""
    penalty_weight: Annotated[float, gm.TRACED, gm.Range(0.01, 100.0, log=True)] = 1.0
    """Weight of the penalty."""
    discriminator_updates: int = 1
    """Updates of the discriminator for each of the generator."""
    kernels: int = 0
    """Features of minibatch discrimination; 0: none."""
    kernel_size: int = 3
    """Numbers that each of these features compares."""
    deviation: bool = False
    """Whether the discriminator is told the minibatch's standard deviation."""
    unrolled: int = 0
    """Steps by which the discriminator is unrolled for the generator."""
    unrolled_rate: Annotated[float, gm.TRACED, gm.Range(1e-3, 1.0, log=True)] = 0.1
    """Learning rate of these steps."""


base = Config(log_every=500, evaluate_every=0, checkpoint_every=0)
maxout = replace(
    base,
    networks="pacgan",
    latent=2,
    generator_hidden=(400, 400, 400, 400),
    discriminator_hidden=(200, 200, 200),
    learning_rate=1e-4,
    beta1=0.8,
)
CURES: Mapping[str, Mapping[str, Any]] = {
    "gan": {},
    "minimax": {"objective": "minimax"},
    **{f"packing{m}": {"packing": m} for m in (2, 3, 4)},
    "discrimination": {"kernels": 8},
    "deviation": {"deviation": True},
    "wgan_gp": {"objective": "wasserstein", "penalty": "wasserstein", "discriminator_updates": 5, "beta2": 0.9},
    "r1": {"penalty": "r1", "penalty_weight": 0.1},
    "unrolled": {"unrolled": 5},
    "ema": {"ema_decay": 0.999},
}
_ELSEWHERE = ("gan", "packing2", "packing3", "packing4")  # with PacGAN's networks, in gan_grid
variants: Mapping[str, Config] = {
    **{name: replace(base, **cure) for name, cure in CURES.items()},
    **{f"maxout_{name}": replace(maxout, **cure) for name, cure in CURES.items() if name not in _ELSEWHERE},
}


def data(config: Config) -> "gm.Splits":
    """Points of 25 Gaussians, for as many packs as all updates of a step take."""
    if config.discriminator_updates < 1:
        raise ValueError(f"--discriminator-updates must be 1 or more, got {config.discriminator_updates}")
    return gan_grid.data(replace(config, packing=config.packing * config.discriminator_updates))


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """Two players, discriminator and generator."""
    losses = gm.nn.adversarial_losses
    penalties = gm.nn.gradient_penalties
    made: Mapping[str, Any] = {
        "none": None,
        "wasserstein": penalties.wasserstein_penalty(config.penalty_weight),
        "r1": penalties.r1(config.penalty_weight),
    }
    plain: Mapping[str, Any] = {}
    if config.networks == "veegan":
        plain = {"generator_norm": False, "discriminator_activation": gm.ACTIVATIONS["relu"], "weight_scale": None}
    return gm.gan(
        data.shape,
        latent=config.latent,
        generator_hidden=config.generator_hidden,
        discriminator_hidden=config.discriminator_hidden,
        packing=config.packing,
        loss=getattr(losses, config.objective)(),
        penalty=made[config.penalty],
        discrimination=(config.kernels, config.kernel_size) if config.kernels else None,
        deviation=config.deviation,
        unrolled=config.unrolled,
        unrolled_rate=config.unrolled_rate,
        dtype=config.precision,
        **plain,
    )


def optimizer(config: Config) -> "Mapping[str, gm.Optimizer]":
    """Adam for both players, each with the schedule over its own updates."""
    updates = {"discriminator": config.steps * config.discriminator_updates, "generator": config.steps}
    rates = {player: gm.schedule(config.schedule, config.learning_rate, count) for player, count in updates.items()}
    return {player: gm.adam(rate, b1=config.beta1, b2=config.beta2) for player, rate in rates.items()}


def repeats(config: Config) -> Mapping[str, int]:
    """Updates of the discriminator for each of the generator."""
    return {"discriminator": config.discriminator_updates}


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    gan_grid.measures,
    optimizer,
    repeats,
    swept=tuple(CURES),
    table=True,
    tiny={"batch_size": 4, "points": 400, "samples": 40, "generator_hidden": (8,), "discriminator_hidden": (8,)},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
