"""Which decoder makes which artefacts: dense layers, transposed convolutions, or copied pixels and convolutions?

python -m experiments.vae_decoders sweep --seeds 1       # all of them: a table, samples, spectra, enlarged pieces
python -m experiments.vae_decoders transposed_3x3        # one of them
python -m experiments.vae_decoders sweep --seeds 2 --steps 1 --run-dir runs/untrained    # before they learn

The first command's four runs, of one seed each, on the bundled part of Fashion-MNIST; bounds in nats per test image of
a density, with the standard error over images; the figures of the spectrum in decibels against the data's
(`gen_models/measures/spectrum.py`), of 1,000 images; 118 to 199 s of training each on one core of an AMD EPYC, which
other programs shared:

                                               power at         checkerboard at
                        ELBO   log p(x) >=     period 2, 4      period 2, 4      parameters
    transposed (4x4)   401.0   410.2 +- 2.8    -11.5    -9.2    +1.4    -0.3        846,498
    transposed_3x3     406.4   414.8 +- 2.7    -15.2    -8.9    +0.8    +1.1        842,802
    resized            402.9   411.8 +- 2.6    -20.9    -9.8    -3.5    -2.4        842,802
    dense              401.7   407.2 +- 2.8     -7.0    -3.5    -0.2    +0.4        636,545

Images of all four have less fine detail than the data, those of copied pixels the least, with less of a pattern than
the data's own. Of the dense decoder's samples many are speckled, as no pixel knows its neighbours. After one step (the
third command, seeds 0 and 1) transposed convolutions have checkerboards of 14.1 and 17.3 dB at period 2, those of 3x3
of 20.0 and 13.5 dB, copied pixels of -5.1 and -0.6 dB. Training takes them away: that windows which the stride does
not divide make more of them (Odena et al., 2016) is not seen, as either kind stands out by 1.4 dB at most. What another
seed changes of the trained four was not measured; a few nats between single runs order no decoders.
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
