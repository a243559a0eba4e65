"""How well does a variational autoencoder model images whose pixels are drawn as 0 or 1?

    python -m experiments.vae                        # the bundled part of Fashion-MNIST
    python -m experiments.vae iwae --steps 2000      # a variant, fields overridden
    python -m experiments.vae sweep --seeds 3        # every variant, three seeds each

Writes samples, reconstructions beside their originals, a walk through the latent space, and curves.

Measured on 2 CPU cores, seed 0, nats per test image (spread: standard error over images), each pair on the same binary
images but that of mnist, whose ELBO is of another draw than its bound:
  base          ELBO -240.7, log p(x) >= -238.4 +- 1.7 with 100 samples; 73 s of training (AMD EPYC with AVX2)
  mnist         ELBO -90.41, log p(x) >= -86.45 +- 0.22 with 100 samples; a convolutional VAE's bound: -86.77
  mnist_static  ELBO -94.73, log p(x) >= -89.36 +- 0.23 with 200 samples; Rezende & Mohamed, on another draw: -89.9
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages, gm.Optimisation):
    """A VAE and its training."""

    steps: int = 5000
    latent: int = 32
    """Dimensions of z."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    channels: tuple[int, ...] = ()
    """Channels of the convolutions of stride 2 before the hidden layers; none: dense layers alone."""
    activation: Literal["relu", "gelu", "tanh", "leaky_relu"] = "relu"
    """Activation between the layers."""
    beta: Annotated[float, gm.TRACED, gm.Range(0.1, 10.0, log=True)] = 1.0
    """Weight of the KL term in the loss."""
    kl_warmup_steps: int = 0
    """First steps, over which the KL term's weight rises from 0 to beta."""
    particles: int = 1
    """Importance samples of the training objective, per image; 1 is the ELBO."""
    importance_samples: int = 100
    """Importance samples of the bound on the test log-likelihood, per image."""


base = Config()
_mnist = replace(base, dataset="mnist", train_split="train+validation", latent=40, ema_decay=0.999)
variants: Mapping[str, Config] = {
    "base": base,
    "beta4": replace(base, beta=4.0),
    "warmup": replace(base, kl_warmup_steps=1000),
    "iwae": replace(base, particles=5),
    "conv": replace(base, channels=(32, 64), hidden=(256,)),
    # The recipes for full MNIST; their figures are in docs/families/latent.md.
    "mnist": replace(_mnist, steps=100_000, kl_warmup_steps=10_000),
    "mnist_static": replace(_mnist, steps=32_000, kl_warmup_steps=3_000, binarisation="fixed", importance_samples=200),
}


def data(config: Config) -> "gm.Splits":
    """Images of zeros and ones."""
    return gm.binary_images(config)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The VAE of the config's sizes, for images of the data's shape."""
    return gm.vae(
        data.shape,
        latent=config.latent,
        hidden=config.hidden,
        channels=config.channels,
        beta=config.beta,
        warmup_steps=config.kl_warmup_steps,
        particles=config.particles,
        activation=gm.ACTIVATIONS[config.activation],
        dtype=config.precision,
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The ELBO, the importance-weighted bound, and pictures."""
    return (
        gm.measures.Elbo(),
        gm.measures.LogLikelihood(samples=config.importance_samples),
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
    swept=("base", "beta4", "warmup", "iwae", "conv"),
    tiny={"dataset": "digits", "batch_size": 16, "hidden": (16,), "latent": 2, "importance_samples": 2},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
