"""What does a discriminator that is too good do to a GAN, and what cures it?

    python -m experiments.gan_imbalance sweep --seeds 3                 # the table
    python -m experiments.gan_imbalance dominated                       # one run: it warns on the way
    python -m tools.diagnose runs/gan_imbalance/sweep --samples 0       # what each run of the table is accused of

`dominated` has everything that helps the discriminator: three updates for one of the generator, a learning rate twenty
times as high, and against the generator the minimax loss, whose gradient is multiplied by D(G(z)) and so vanishes where
D is sure (Goodfellow et al., Generative Adversarial Nets, 2014, section 3). Each other row changes one thing, `wgan_gp`
the loss with its penalty, and `balanced` several.

Measured by the first and third command with --evaluate-every 0: means over three seeds with 95 % bootstrap intervals,
of 150 samples each, after 600 steps. 24 minutes for the 27 runs, one after another at about a tenth of a core of 2 of
an Intel Xeon that other programs shared. Spread: of two samples, over that of two digits; ROC: the area under the curve
of the discriminator's logits, 0.5 where it knows nothing; gradient: the norm of the generator's; accused: of vanishing
gradients / of a dominating discriminator, of 3 runs by tools.diagnose from their logs alone (a Wasserstein critic is
meant to dominate: neither is looked for).

                  spread            classes  collapsed  ROC    gap of logits      gradient               accused
  dominated       0.38 [0.20,0.66]   6.7     2 of 3     1.000  26.2 [24.7,27.2]   0.005 [0.000, 0.012]   3 / 3
  non_saturating  0.91 [0.86,0.95]  10       0          0.999  15.4 [13.5,17.6]  20.6   [20.2,  21.4]    0 / 2
  smoothing       1.07 [0.98,1.16]   9.7     0          0.982  12.0 [11.2,13.0]   1.06  [0.54,  1.69]    0 / 0
  one_update      1.11 [1.09,1.16]  10       0          0.957  11.1 [ 9.0,13.6]   1.80  [1.18,  2.34]    0 / 0
  equal_rates     1.05 [1.02,1.10]  10       0          0.884   2.8 [ 2.2, 3.6]   0.82  [0.76,  0.89]    0 / 0
  r1              0.79 [0.76,0.81]  10       0          0.991   0.3 [ 0.2, 0.3]   0.102 [0.101, 0.105]   0 / 0
  spectral        0.94 [0.93,0.94]  10       0          0.923   1.7 [ 1.6, 2.0]   0.50  [0.48,  0.53]    0 / 0
  wgan_gp         0.88 [0.86,0.89]  10       0          0.996   2.4 [ 2.3, 2.6]   2.16  [2.06,  2.31]    - / -
  balanced        1.06 [1.04,1.08]  10       0          0.493   0.0 [-0.1, 0.0]   0.34  [0.25,  0.48]    0 / 0

Each remedy by itself keeps the generator's gradient from vanishing, and no cured run collapsed. They do it in different
ways: the non-saturating loss leaves the discriminator as sure as it was and is accused of that, as "possible", in two
runs; R1, WGAN-GP's penalty and spectral normalisation bound how fast logits change, so that the discriminator still
tells nearly all (ROC) but by a small gap; equal rates keep it from getting so far. The area alone does not tell good
from bad. On the way, three of the cured rows are warned of at step 100 or 200 as well: `non_saturating` stays so, while
those of `smoothing` and `one_update` come out of it by themselves. With the low rate of the generator 600 steps leave
the digits of the cured rows half-formed; those of `balanced`, which changes rates, updates and loss at once, can be
read. A blur has a nearest digit too: classes tell little of `dominated`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images):
    """A small DCGAN whose players may be trained unequally."""

    steps: int = 600
    batch_size: int = 192
    """Examples of a step, which the discriminator's updates share."""
    dataset: str = "digits"
    discriminator_learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-5, 1e-2, log=True)] = 4e-3
    """Learning rate of the discriminator's Adam."""
    generator_learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-5, 1e-2, log=True)] = 2e-4
    """Learning rate of the generator's Adam."""
    discriminator_updates: int = 3
    """Updates of the discriminator for one of the generator, each on its own part of the batch."""
    objective: Literal["minimax", "non_saturating", "wasserstein"] = "minimax"
    """Losses of both players."""
    smoothing: Annotated[float, gm.TRACED] = 0.0
    """One-sided label smoothing: what is taken from the target of real examples."""
    penalty: Literal["none", "r1", "wgan_gp"] = "none"
    """Penalty on the discriminator's gradient."""
    weights: Literal["plain", "spectral"] = "plain"
    """Normalisation of the discriminator's weights."""
    latent: int = 16
    """Dimensions of the noise."""
    features: int = 32
    """Channels of either network."""
    measured: int = 150
    """Samples that are measured."""


_dominated = Config(log_every=20, evaluate_every=200)
variants: Mapping[str, Config] = {
    "dominated": _dominated,
    "non_saturating": replace(_dominated, objective="non_saturating"),
    "smoothing": replace(_dominated, smoothing=0.1),
    "one_update": replace(_dominated, discriminator_updates=1, batch_size=64),
    "equal_rates": replace(_dominated, discriminator_learning_rate=2e-4),
    "r1": replace(_dominated, penalty="r1"),
    "spectral": replace(_dominated, weights="spectral"),
    "wgan_gp": replace(_dominated, objective="wasserstein", penalty="wgan_gp"),
    "balanced": replace(
        _dominated,
        objective="non_saturating",
        discriminator_updates=1,
        batch_size=64,
        discriminator_learning_rate=1e-3,
        generator_learning_rate=1e-3,
    ),
}


def data(config: Config) -> "gm.Splits":
    """Images from 0 to 1."""
    if config.measured < 2:
        raise ValueError(f"--measured must be 2 or more, got {config.measured}")
    return gm.unit_images(config)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The two players, without batch norm in the discriminator, as penalties need it."""
    losses = gm.nn.adversarial_losses
    penalties = gm.nn.gradient_penalties
    if config.objective == "wasserstein":
        loss = losses.wasserstein()
    else:
        loss = getattr(losses, config.objective)(config.smoothing)
    penalty = {"none": None, "r1": penalties.r1(), "wgan_gp": penalties.wasserstein_penalty()}[config.penalty]
    return gm.dcgan(
        data.shape,
        latent=config.latent,
        features=(config.features,),
        window=3,
        discriminator_norm=False,
        weights=config.weights,
        loss=loss,
        penalty=penalty,
        noise="normal",
        dtype=config.precision,
    )


def optimizer(config: Config) -> "Mapping[str, gm.Optimizer]":
    """Adam with rates of their own, and beta1 0.5."""
    return {
        "discriminator": gm.adam(config.discriminator_learning_rate, b1=0.5),
        "generator": gm.adam(config.generator_learning_rate, b1=0.5),
    }


def repeats(config: Config) -> Mapping[str, int]:
    """Updates of the discriminator in a step."""
    return {"discriminator": config.discriminator_updates}


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Whether samples are alike, how well the discriminator tells them from data, and a picture."""
    return (gm.measures.Collapse(config.measured), gm.measures.Discrimination(config.measured), gm.measures.Samples())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    optimizer,
    repeats,
    tiny={"batch_size": 12, "features": 4, "latent": 2, "measured": 20},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
