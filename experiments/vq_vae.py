"""Does an autoencoder whose code is a grid of names from a codebook draw clothes, once a prior has learned the names?

    python -m experiments.vq_vae                          # the bundled part of Fashion-MNIST
    python -m experiments.vq_vae full --data-dir DIR      # all of Fashion-MNIST
    python -m experiments.vq_vae gradient                 # a codebook that is trained by gradients

van den Oord et al., Neural Discrete Representation Learning (2017), at a size for a CPU: 7 x 7 names of 128. Images
have all of their 256 grey levels, and pixels a discretised logistic distribution, so that the bound is one on the
likelihood of the data themselves, in bits a pixel, and can be held against those of other models. Autoencoder and prior
are trained together; while the codebook comes into use there is more for the prior to say, and its loss rises.

Measured on one core of an AMD EPYC that up to ten other programs shared, seed 0, on the test split (spread: standard
error over images):
  full      3.415 +- 0.010 bits/dim, a bound; 1742 nats of pixels and 114 of names an image; all 128 names are used, as
            92 equally frequent ones; 52 min. Most samples are clothes that one can name; some shoes have holes.
  base      3.723 +- 0.022 bits/dim, 1911 and 112 nats; 99 names are used, as 50; 23 min. Samples have clothes' shapes.
  restarts  3.713 +- 0.022 bits/dim, 1888 and 130 nats; all 128 names are used, as 98; 12 min. So names that start again
            are used sooner, but for no difference in the bound that one seed could show, nor better samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages):
    """A VQ-VAE, its prior, and their training."""

    steps: int = 1000
    batch_size: int = 32
    levels: int = 256
    """Grey levels of a pixel; 2: zeros and ones."""
    channels: tuple[int, ...] = (32, 64)
    """Channels of the convolutions of stride 2, each of which halves the grid of codes."""
    residual_blocks: int = 2
    """Residual blocks of the encoder, and of the decoder."""
    residual_features: int = 32
    """Channels of the residual blocks' 3x3 convolutions."""
    code_size: int = 128
    """Entries of the codebook."""
    code_features: int = 32
    """Numbers of an entry of the codebook."""
    commitment: Annotated[float, gm.TRACED, gm.Range(0.05, 2.0, log=True)] = 0.25
    """Weight of the commitment term."""
    codebook_decay: float = 0.99
    """Decay of the codebook's running counts and sums; 0 stands for a codebook that is trained by gradients."""
    restart_below: float = 0.0
    """Use of an entry, in parts of the average one, below which it starts again from an encoder's output; 0: never."""
    prior_features: int = 48
    """Features of the prior's two stacks."""
    prior_layers: int = 5
    """Gated layers of the prior."""
    learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-4, 1e-2, log=True)] = 1e-3
    """Peak of the autoencoder's learning rate, which falls along a cosine."""
    prior_learning_rate: Annotated[float, gm.TRACED, gm.Range(1e-4, 1e-2, log=True)] = 1e-3
    """Peak of the prior's learning rate, which falls along a cosine."""


base = Config()
variants: Mapping[str, Config] = {
    "base": base,
    "gradient": replace(base, codebook_decay=0.0),
    "restarts": replace(base, restart_below=0.02),
    "full": replace(base, dataset="fashion_mnist", steps=5000),
    "cifar10": replace(
        base, dataset="cifar10", steps=100_000, channels=(128, 128), code_size=512, code_features=64, prior_features=128
    ),
}


def data(config: Config) -> "gm.Splits":
    """Images of grey levels."""
    return gm.level_images(config, config.levels)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The autoencoder and the prior, for images of the data's shape."""
    likelihoods = gm.nn.likelihoods
    return gm.vq_vae(
        data.shape,
        likelihood=likelihoods.bernoulli() if config.levels == 2 else likelihoods.discretised_logistic(config.levels),
        channels=config.channels,
        residual_blocks=config.residual_blocks,
        residual_features=config.residual_features,
        code_size=config.code_size,
        code_features=config.code_features,
        commitment=config.commitment,
        decay=config.codebook_decay or None,
        restart_below=config.restart_below,
        prior_features=config.prior_features,
        prior_layers=config.prior_layers,
        dtype=config.precision,
    )


def optimizer(config: Config) -> "Mapping[str, gm.Optimizer]":
    """Adam for the autoencoder and for the prior, each with its own rate."""
    rates = {"autoencoder": config.learning_rate, "prior": config.prior_learning_rate}
    return {
        player: gm.optimizer("adam", gm.schedule("cosine", rate, config.steps, warmup_steps=0))
        for player, rate in rates.items()
    }


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The bound and its terms, the use of the codebook, and pictures."""
    return (
        gm.measures.Elbo(),
        gm.measures.NegativeLogLikelihood(one_code=True),
        gm.measures.CodeUsage(config.code_size),
        gm.measures.Samples(),
        gm.measures.Reconstructions(),
    )


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    optimizer,
    swept=("base", "gradient", "restarts"),
    tiny={
        "dataset": "digits",
        "levels": 16,
        "batch_size": 16,
        "channels": (8,),
        "residual_blocks": 1,
        "residual_features": 8,
        "code_size": 8,
        "code_features": 4,
        "prior_features": 8,
        "prior_layers": 1,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
