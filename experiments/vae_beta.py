"""What do beta, annealing and free bits trade between rate and distortion, and does beta disentangle?

python -m experiments.vae_beta sweep --seeds 1       # one network, beta from 0.1 to 10, annealing, free bits
python -m tools.rate_distortion runs/vae_beta        # the distortion of all these over their rate, as a picture
python -m experiments.vae_beta shapes_beta4          # drawn shapes whose factors are known: scores, traversals

The first command's nine runs, of one seed each and so without a spread, in nats per image of the 2,000 binary test
images; 70 to 107 s of training each on one core of an AMD EPYC, which other programs shared:

               rate   distortion      ELBO
    beta10      3.0        276.6    -279.6
    beta4       5.2        257.0    -262.2
    beta2       7.7        246.8    -254.5
    base       12.2        238.1    -250.3
    cyclical   14.4        235.0    -249.4
    linear     17.0        233.9    -250.8
    free_bits  18.6        238.9    -257.5
    beta0.5    19.1        231.8    -251.0
    beta0.1    64.7        215.8    -280.5

Beta goes along a convex curve, as in Alemi et al., Fixing a Broken ELBO (2018), figure 1, and the ELBO is best near
beta = 1. Annealing ends further along the same curve after as many steps: its weight is 1 for half of them. Free bits
of 0.5 nats for each of 32 dimensions do not help here: the rate that they ask for buys no distortion.

Shapes (`python -m experiments.vae_beta sweep --seeds 2 --variants shapes_beta1 shapes_beta4 shapes_beta8`), seeds 0 and
1; nats per image of the 5,088 test images, scores of the whole grid; 137 to 456 s of training each on the same core:

                rate          distortion    MIG             beta-VAE score    FactorVAE score
    beta = 1    14.2, 13.9    26.6, 26.5    0.043, 0.077    0.79, 0.82        0.46, 0.57
    beta = 4     6.9,  7.1    44.3, 43.2    0.041, 0.061    0.74, 0.80        0.39, 0.61
    beta = 8     4.7,  4.7    57.6, 57.6    0.051, 0.065    0.74, 0.68        0.44, 0.46

A higher beta reconstructs worse, as Higgins et al., beta-VAE (2017), say. That it disentangles better is not seen: the
gap and FactorVAE's score differ more between seeds than between betas, and beta-VAE's own falls. The traversals of seed
0 at beta = 8 show position, size and rotation mixed in most of the five dimensions that are left. 3,000 steps of 64
images are few, and here a beta weighs more than in that paper, whose images have four times the pixels;
neither longer training nor betas below 1 were tried on shapes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """The images of the data set that is named, whose factors are not known."""


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Drawn shapes in place of a data set: each combination of five factors once."""

    side: int = 32
    """Pixels along each side of an image."""
    scales: int = 6
    """Number of sizes of a shape."""
    rotations: int = 20
    """Number of angles of a shape."""
    positions: int = 12
    """Number of places of a shape along each axis."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages, gm.Optimisation):
    """A VAE, the weight of its KL term, and its training."""

    steps: int = 2000
    images: DataSet | Shapes = field(default_factory=DataSet)
    """Kind of images: those of the data set, or shapes that are drawn."""
    latent: int = 32
    """Dimensions of z."""
    hidden: tuple[int, ...] = (256, 256)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    channels: tuple[int, ...] = ()
    """Channels of the convolutions of stride 2 before the hidden layers; none: dense layers alone."""
    beta: Annotated[float, gm.TRACED, gm.Range(0.1, 10.0, log=True)] = 1.0
    """Weight of the KL term in the loss."""
    kl_warmup_steps: int = 0
    """Steps over which the KL term's weight rises from 0 to beta."""
    kl_cycle_steps: int = 0
    """Steps after which the KL term's weight begins to rise from 0 again; 0: never."""
    free_bits: Annotated[float, gm.TRACED, gm.Range(0.01, 1.0, log=True)] = 0.0
    """Nats of each dimension of z below which its KL costs the same."""


base = Config()
# The rate-distortion curve: betas in the order of their rate, then what changes the weight while it trains.
_curve: Mapping[str, Config] = {
    "base": base,
    **{f"beta{beta:g}": replace(base, beta=beta) for beta in (0.1, 0.5, 2.0, 4.0, 10.0)},
    "linear": replace(base, kl_warmup_steps=1000),
    "cyclical": replace(base, kl_warmup_steps=250, kl_cycle_steps=500),
    "free_bits": replace(base, free_bits=0.5),
}
_shapes = replace(base, images=Shapes(), steps=3000, latent=10, hidden=(128,), channels=(32, 32, 64), batch_size=64)
variants: Mapping[str, Config] = {
    **_curve,
    **{f"shapes_beta{beta:g}": replace(_shapes, beta=beta) for beta in (1.0, 2.0, 4.0, 8.0)},
}


def data(config: Config) -> "gm.Splits":
    """Binary images: of the data set, or of the grid of shapes, whose grey edges are drawn as 0 or 1 too."""
    kind = config.images
    if not isinstance(kind, Shapes):
        return gm.binary_images(config)
    return gm.shape_splits(
        kind.side,
        scales=kind.scales,
        rotations=kind.rotations,
        positions=kind.positions,
        transform=gm.binarise_dynamic if config.binarisation == "dynamic" else gm.binarise_fixed(),
        how=f"binarised ({config.binarisation})",
    )


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The VAE of the config's sizes, for images of the data's shape."""
    return gm.vae(
        data.shape,
        latent=config.latent,
        hidden=config.hidden,
        channels=config.channels,
        beta=config.beta,
        warmup_steps=config.kl_warmup_steps,
        cycle_steps=config.kl_cycle_steps,
        free_bits=config.free_bits,
        dtype=config.precision,
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The ELBO with its rate and distortion, pictures, and of shapes the scores of disentanglement."""
    known = isinstance(config.images, Shapes)
    return (
        gm.measures.Elbo(),
        *((gm.measures.Disentanglement(),) if known else ()),
        gm.measures.Samples(),
        gm.measures.Reconstructions(),
        gm.measures.LatentWalk(),
    )


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=tuple(_curve),
    tiny={
        "dataset": "digits",
        "batch_size": 16,
        "hidden": (16,),
        "latent": 3,
        "images.scales": 2,
        "images.rotations": 2,
        "images.positions": 4,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
