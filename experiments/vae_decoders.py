"""Which decoder makes which artefacts: dense layers, transposed convolutions, or copied pixels and convolutions?

python -m experiments.vae_decoders sweep --seeds 1       # all of them: a table, samples, spectra, enlarged pieces
python -m experiments.vae_decoders transposed_3x3        # one of them
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages, gm.Optimisation):
    """A VAE of grey images, its decoder, and its training."""

    steps: int = 2000
    batch_size: int = 64
    decoder: Literal["dense", "transposed", "transposed_3x3", "resized"] = "transposed"
    """Decoder: dense layers alone; or layers that double an image's sides, transposed convolutions with windows of 4x4
    or 3x3, or copied pixels and a convolution."""
    latent: int = 32
    """Dimensions of z."""
    channels: tuple[int, ...] = (16, 32)
    """Channels of the encoder's convolutions of stride 2, which the decoder mirrors unless it is dense."""
    hidden: tuple[int, ...] = (256,)
    """Widths of the dense layers behind them, and of the decoder's before its own."""
    likelihood: Literal["gaussian", "logistic"] = "gaussian"
    """Distribution of an image given z: a density with one learned deviation, or probabilities of 256 levels."""
    importance_samples: int = 20
    """Importance samples of the bound on the test log-likelihood, per image."""
    compared: int = 1000
    """Images of the data, and of the model, whose spectra are compared."""


base = Config(learning_rate=2e-3)  # at half of it, 2,000 steps are too few for the deviation that is learned
variants: Mapping[str, Config] = {
    "transposed": base,
    "transposed_3x3": replace(base, decoder="transposed_3x3"),
    "resized": replace(base, decoder="resized"),
    "dense": replace(base, decoder="dense"),
}


def data(config: Config) -> "gm.Splits":
    """Grey images, of the kind that the likelihood has probabilities of."""
    return gm.images_for(config.likelihood, config)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The VAE of the config's sizes, for images of the data's shape; the encoder is the same for all decoders."""
    dense = config.decoder == "dense"
    return gm.vae(
        data.shape,
        latent=config.latent,
        hidden=config.hidden,
        channels=config.channels,
        decoder_channels=() if dense else None,
        enlarged=gm.ENLARGEMENTS["transposed" if dense else config.decoder],
        likelihood=gm.LIKELIHOODS[config.likelihood](256),
        dtype=config.precision,
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The bounds, the spectrum of what is decoded of draws from the prior, and pictures."""
    periods = tuple(2 ** (layer + 1) for layer in range(len(config.channels)))
    return (
        gm.measures.Elbo(),
        gm.measures.LogLikelihood(samples=config.importance_samples),
        gm.measures.Checkerboard(periods, count=config.compared),
        gm.measures.Parameters(),
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
    tiny={
        "dataset": "digits",
        "batch_size": 16,
        "channels": (4, 4),
        "hidden": (16,),
        "latent": 3,
        "importance_samples": 2,
        "compared": 20,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
