"""What do deep convolutional GANs make of small images, and what has their discriminator learnt on the way?

    python -m experiments.dcgan                                 # a DCGAN on the bundled part of Fashion-MNIST
    python -m experiments.dcgan wgan_gp                         # or conditional, projection, auxiliary, residual
    python -m experiments.dcgan full_dcgan --data-dir DIR       # all of it; also full_wgan_gp, full_conditional
    python -m tools.compare RUN RUN --features classifier       # how far the samples of such runs are from data

Networks: Radford et al., DCGAN (2016), with half of its channels (WGAN-GP: a quarter), by its rule for images of 28
pixels. `wgan_gp` has Gulrajani et al.'s loss and penalty with five times their learning rate, half their batch and
beta1 0.5: with their own numbers one run's samples were shapeless after 2,000 steps, with these one's were clothes
after 2,500. Full variants are measured with averaged parameters (decay 0.999). The paper's own sizes are in
`experiments/recipes/published_gan.py`; other losses in `experiments/gan_losses.py`; the guidelines one by one in
`experiments/ablations/dcgan.py`.

Measured on one core of an Intel Xeon that other programs shared, seed 0, all of Fashion-MNIST: full_dcgan trains for 30
minutes of that core, full_wgan_gp for about 20 (72 and 55 by the clock). By tools.compare, 10,000 samples in 64
features of a classifier: Frechet distances 3.31 and 3.22 (held-out images 0.013, a VAE 6.91, noise 37.7), recall 0.77
and 0.74, all ten classes covered, authentic 0.79 and 0.79 (held-out images 0.62, a memoriser 0). PixelCNN++ of 256
levels, 54 minutes: 6.59 and 0.75; full_conditional --steps 3000, 14 minutes: 2.10 and 0.65. Samples were looked at:
clothes, DCGAN's smoother, WGAN-GP's with more holes, of each class what it should be. The walks and the arithmetic
(pullover - T-shirt + dress: a narrow garment with long sleeves) are in docs/families/adversarial.md.

A linear support vector machine on the discriminator's features is right in 87.66 +- 0.33 % of the test images (10,000
training images; standard error over images), on those of the same network after one step of training (--steps 1
--measure probe) in 86.68 +- 0.34 %: nearly all of it comes from the network with random weights.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm

COMPARED = 16  # numbers that a kernel of minibatch discrimination compares
SMOOTHED = ("non_saturating", "minimax")  # losses with probabilities as targets


@dataclass(frozen=True, kw_only=True)
class Dcgan:
    """Strided and transposed convolutions with batch norm."""

    width: int = 128
    """Channels of the map next to the image; each further one has twice as many, down to sides of 4 to 7."""
    window: int = 5
    """Sides of all kernels."""
    generator_norm: bool = True
    """Whether the generator has batch norm."""
    discriminator_norm: bool = True
    """Whether the discriminator has batch norm, which a penalty on its gradient forbids."""
    pooling: bool = False
    """Whether maxima and copied pixels change the sides of maps in place of strides."""
    discriminator_activation: Literal["leaky_relu", "relu"] = "leaky_relu"
    """Function after each of the discriminator's convolutions; leaky_relu: with slope 0.2."""
    weights: Literal["plain", "spectral", "weight"] = "plain"
    """Normalisation of the discriminator's weights."""
    discrimination: int = 0
    """Kernels of minibatch discrimination, each comparing 16 numbers; 0: none."""
    deviation: bool = False
    """Whether the discriminator sees the batch's standard deviation as one more map."""
    weight_scale: float = 0.02
    """Standard deviation of the initial weights."""


@dataclass(frozen=True, kw_only=True)
class ResidualGan:
    """Residual blocks; the defaults are a small WGAN-GP."""

    generator_features: int = 64
    """Channels of the generator's blocks."""
    discriminator_features: int = 64
    """Channels of the discriminator's blocks."""
    weights: Literal["plain", "spectral", "weight"] = "plain"
    """Normalisation of the discriminator's weights."""
    sums: bool = False
    """Whether features are summed over positions; else they are means."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images):
    """A GAN of images and its training."""

    steps: int = 3000
    """Updates of the generator."""
    batch_size: int = 64
    """Real examples in a step, which updates of the discriminator share out: 5 of 64 take 320."""
    network: Dcgan | ResidualGan = field(default_factory=Dcgan)
    """Kind of networks, with their sizes."""
    latent: int = 100
    """Dimensions of the noise."""
    noise: Literal["uniform", "normal"] = "uniform"
    """Distribution of the noise; uniform: each number from -1 to 1."""
    loss: Literal["non_saturating", "minimax", "wasserstein", "hinge", "least_squares"] = "non_saturating"
    """Loss of both players."""
    smoothing: Annotated[float, gm.TRACED] = 0.0
    """One-sided label smoothing of the losses non_saturating and minimax: real examples' target is 1 - this."""
    penalty: Literal["none", "wasserstein", "r1", "dragan"] = "none"
    """Penalty on the discriminator's gradient."""
    penalty_weight: Annotated[float, gm.TRACED, gm.Range(0.1, 100.0, log=True)] = 10.0
    """Weight of the penalty."""
    clip: float = 0.0
    """Bound within which each of the discriminator's parameters is kept; 0: none."""
    discriminator_updates: int = 1
    """Updates of the discriminator for one of the generator."""
    classes: Literal["ignored", "concatenate", "projection", "auxiliary"] = "ignored"
    """Way in which the discriminator is told the class, or asked for it; the generator is told it too."""
    packing: int = 1
    """Examples that the discriminator judges at once."""
    matching: bool = False
    """Whether the generator matches the means of the discriminator's features in place of raising its logits."""
    unrolled: int = 0
    """Steps by which the discriminator is unrolled in the generator's loss."""
    unrolled_rate: Annotated[float, gm.TRACED] = 1e-3
    """Learning rate of the unrolled steps."""
    learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-5, 1e-2, log=True)] = 2e-4
    """Learning rate of both players."""
    discriminator_rate: Annotated[float, gm.TRACED, gm.Range(0.1, 10.0, log=True)] = 1.0
    """Learning rate of the discriminator as a multiple of the generator's."""
    optimizer: Literal["adam", "rmsprop"] = "adam"
    """Update rule of both players."""
    beta1: Annotated[float, gm.TRACED] = 0.5
    """Decay of Adam's first moment."""
    beta2: Annotated[float, gm.TRACED] = 0.999
    """Decay of Adam's second moment."""
    features: str | None = None
    """Network in whose features samples are compared with training images at the end, such as classifier:RUN; none:
    they are not compared."""
    samples: int = 2000
    """Samples that are compared."""
    alike: bool = False
    """Whether the end says if samples are too much alike, beside test images."""
    measure: tuple[Literal["probe", "walk", "arithmetic"], ...] = ()
    """Further figures and pictures at the end: accuracy of a linear support vector machine on the discriminator's
    features; walks between draws of the noise; arithmetic with the noise of classes, which a probe tells."""
    probed: int = 10_000
    """First training examples that the support vector machine is fitted to; 0: all."""
    terms: tuple[int, int, int] = (2, 0, 3)
    """Classes a, b and c of the arithmetic a - b + c; of Fashion-MNIST: pullover, T-shirt and dress."""


base = Config(log_every=100, evaluate_every=0)
# Gulrajani et al., Improved Training of Wasserstein GANs (2017), algorithm 1.
WGAN_GP: Mapping[str, Any] = {
    "loss": "wasserstein",
    "penalty": "wasserstein",
    "discriminator_updates": 5,
    "batch_size": 5 * 64,
    "learning_rate": 1e-4,
    "beta1": 0.0,
    "beta2": 0.9,
    "noise": "normal",
}
# The same for a short training: five times the rate, half the batch, and some momentum.
QUICK_WGAN_GP: Mapping[str, Any] = {**WGAN_GP, "batch_size": 5 * 32, "learning_rate": 5e-4, "beta1": 0.5}
_full: Mapping[str, Any] = {
    "dataset": "fashion_mnist",
    "train_split": "train+validation",
    "ema_decay": 0.999,
    "checkpoint_every": 500,
    "draw_every": 1000,
}
_small = replace(base, network=Dcgan(width=64))
_critic = replace(base, network=Dcgan(width=32, discriminator_norm=False), **QUICK_WGAN_GP)
variants: Mapping[str, Config] = {
    "dcgan": replace(_small, measure=("probe", "walk", "arithmetic")),
    "wgan_gp": replace(_critic, measure=("walk",)),
    "conditional": replace(_small, classes="concatenate", measure=("walk",)),
    "projection": replace(_small, classes="projection", measure=("walk",)),
    "auxiliary": replace(_small, classes="auxiliary", measure=("walk",)),
    "residual": replace(base, network=ResidualGan(), latent=128, **WGAN_GP),
    "full_dcgan": replace(_small, steps=6000, measure=("probe", "walk", "arithmetic"), **_full),
    "full_wgan_gp": replace(_critic, steps=6000, measure=("walk",), **_full),
    "full_conditional": replace(_small, steps=5000, classes="projection", measure=("walk",), **_full),
}


def data(config: Config) -> "gm.Splits":
    """Images in [0, 1], with labels where the model is told classes."""
    for name in ("penalty_weight", "clip"):
        if getattr(config, name) < 0:
            raise ValueError(f"--{name.replace('_', '-')} must be 0 or more, got {getattr(config, name)}")
    if config.smoothing and config.loss not in SMOOTHED:
        raise ValueError(
            f"--smoothing is of the losses {' and '.join(SMOOTHED)}, and {config.loss} has none: leave it at 0, got "
            f"{config.smoothing}"
        )
    if config.classes != "ignored" and "arithmetic" in config.measure:
        raise ValueError(
            f"arithmetic is for a GAN that is told no classes, got --classes {config.classes}: leave it out of "
            "--measure, or give --classes ignored"
        )
    splits = gm.unit_images(config)
    # Data with fewer classes than Fashion-MNIST have no picture; classes that were asked for have to be there.
    if (
        "arithmetic" in config.measure
        and config.terms != Config.terms
        and max(config.terms) >= (splits.num_classes or 0)
    ):
        raise ValueError(
            f"--terms are classes of the data, which have {splits.num_classes or 'none'}, got {config.terms}"
        )
    return splits if config.classes == "ignored" else splits.with_labels("a conditional GAN")


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The two players of the config's networks and loss."""
    sizes, played = dict(vars(config.network)), _game(config)
    if config.classes != "ignored":
        played |= {"classes": data.num_classes, "condition": config.classes}
    if isinstance(config.network, ResidualGan):
        return gm.resnet_gan(data.shape, dtype=config.precision, **sizes, **played)
    if sizes.pop("discriminator_activation") == "relu":
        sizes["discriminator_activation"] = gm.ACTIVATIONS["relu"]
    kernels = sizes.pop("discrimination")
    sizes["discrimination"] = (kernels, COMPARED) if kernels else None
    return gm.dcgan(data.shape, dtype=config.precision, **sizes, **played)


def _game(config: Config) -> dict[str, Any]:
    """What both kinds of networks take: the noise, the losses and their penalty."""
    losses, penalties = gm.nn.adversarial_losses, gm.nn.gradient_penalties
    made = getattr(losses, config.loss)
    penalty = None
    if config.penalty != "none":
        kind = "wasserstein_penalty" if config.penalty == "wasserstein" else config.penalty
        penalty = getattr(penalties, kind)(config.penalty_weight)
    return {
        "latent": config.latent,
        "noise": config.noise,
        "loss": made(config.smoothing) if config.loss in SMOOTHED else made(),
        "penalty": penalty,
        "packing": config.packing,
        "matching": config.matching,
        "unrolled": config.unrolled,
        "unrolled_rate": config.unrolled_rate,
    }


def optimizer(config: Config) -> "Mapping[str, gm.Optimizer]":
    """One update rule for both players; the discriminator's weights may be clipped."""
    own, rate = config.learning_rate, config.learning_rate * config.discriminator_rate
    adam = functools.partial(gm.adam, b1=config.beta1, b2=config.beta2)
    rule = gm.rmsprop if config.optimizer == "rmsprop" else adam
    players = {"discriminator": rule(rate), "generator": rule(own)}
    if config.clip:
        players["discriminator"] = gm.clipped_weights(players["discriminator"], config.clip)
    return players


def repeats(config: Config) -> Mapping[str, int]:
    """Updates of the discriminator, each on its own part of the batch, for one of the generator."""
    return {"discriminator": config.discriminator_updates}


def measures(config: Config) -> "Sequence[gm.Measure]":
    """What the config asks for, which a table judges by first; then size and samples."""
    told = config.classes != "ignored"
    more: list[gm.Measure] = []
    if config.features is not None:
        extractor = gm.extractor_of(config.features)
        more.append(gm.measures.Distances(extractor, config.samples, conditional=told, beside=False))
    if config.alike:
        more.append(gm.measures.Collapse(conditional=told))
    if "probe" in config.measure:
        more.append(gm.measures.LinearProbe(config.probed, machine=True))
    if "walk" in config.measure:
        more.append(gm.measures.NoiseWalk(config.latent, config.noise, conditional=told))
    if "arithmetic" in config.measure:
        more.append(gm.measures.NoiseArithmetic(config.terms, config.latent, config.noise))
    return (*more, gm.measures.Parameters(), gm.measures.Samples(conditional=told))


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    optimizer,
    repeats,
    tiny={"dataset": "digits", "batch_size": 20, "network.width": 4, "latent": 4},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
