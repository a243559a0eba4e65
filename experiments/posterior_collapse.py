"""When does a VAE stop using its code, how is that seen, and what brings the code back?

    python -m experiments.posterior_collapse                      # one run: a strong decoder, the usual objective
    python -m experiments.posterior_collapse sweep --seeds 3      # the table
    python -m experiments.posterior_collapse annealed --steps 500 # a variant, fields overridden

A decoder that is a PixelCNN can model images without a code, and then the posterior falls onto the prior: a KL of 0, no
active unit, no mutual information. So does a decoder of independent pixels where beta is high. The cures are those that
He et al., Lagging Inference Networks and Posterior Collapse (2019), table 1, compare, and a decoder that sees fewer
pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages, gm.Optimisation):
    """A VAE with a decoder of chosen strength."""

    steps: int = 4000
    batch_size: int = 32
    """Examples in a step's batch."""
    size: int | None = 14
    """Height and width to which images are cropped at the centre and resized; none: they stay as they are."""
    latent: int = 16
    """Dimensions of z."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the encoder's hidden layers."""
    layers: int = 4
    """Gated layers of the PixelCNN in the decoder; 0: a decoder of dense layers, whose pixels are independent."""
    features: int = 16
    """Width of these layers."""
    first_window: int = 7
    """Size of the first layer's kernels; with the layers, how far the decoder sees."""
    beta: Annotated[float, gm.TRACED, gm.Range(0.1, 10.0, log=True)] = 1.0
    """Weight of the KL term in the loss."""
    kl_warmup_steps: int = 0
    """First steps, over which the KL term's weight rises from 0 to beta."""
    kl_cycle_steps: int = 0
    """Steps after which the KL term's weight begins to rise from 0 again; 0: never."""
    free_bits: Annotated[float, gm.TRACED, gm.Range(0.01, 1.0, log=True)] = 0.0
    """Nats of each dimension of z below which its KL costs the same."""
    importance_samples: int = 100
    """Importance samples of the bound on the test log-likelihood, per image."""


_strong = Config()
_weak = replace(_strong, layers=0, hidden=(256, 256))
variants: Mapping[str, Config] = {
    "strong": _strong,
    "annealed": replace(_strong, kl_warmup_steps=2000),
    "cyclical": replace(_strong, kl_warmup_steps=500, kl_cycle_steps=1000),
    "free_bits": replace(_strong, free_bits=0.25),
    "beta_0.8": replace(_strong, beta=0.8),
    "beta_0.6": replace(_strong, beta=0.6),
    "beta_0.4": replace(_strong, beta=0.4),
    "beta_0.2": replace(_strong, beta=0.2),
    "short_sight": replace(_strong, layers=1, first_window=3),
    "dense": _weak,
    "dense_beta_10": replace(_weak, beta=10.0),
}


def data(config: Config) -> "gm.Splits":
    """Images of zeros and ones."""
    return gm.binary_images(config)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The VAE, with a PixelCNN or dense layers for a decoder."""
    common: dict[str, Any] = {
        "latent": config.latent,
        "hidden": config.hidden,
        "beta": config.beta,
        "warmup_steps": config.kl_warmup_steps,
        "cycle_steps": config.kl_cycle_steps,
        "free_bits": config.free_bits,
        "dtype": config.precision,
    }
    if config.layers == 0:
        return gm.vae(data.shape, **common)
    return gm.pixel_vae(
        data.shape, layers=config.layers, features=config.features, first_window=config.first_window, **common
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The bound's terms, how much of z is used, and pictures."""
    return (
        gm.measures.Elbo(),
        gm.measures.LogLikelihood(samples=config.importance_samples),
        gm.measures.LatentUse(),
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
    tiny={
        "dataset": "digits",
        "size": None,
        "batch_size": 16,
        "hidden": (8,),
        "latent": 2,
        "layers": 0,
        "importance_samples": 2,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
