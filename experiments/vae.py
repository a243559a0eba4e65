"""How well does a variational autoencoder model images whose pixels are drawn as 0 or 1?

    python -m experiments.vae                        # the bundled part of Fashion-MNIST
    python -m experiments.vae iwae --steps 2000      # a variant, fields overridden
    python -m experiments.vae sweep --seeds 3        # every variant, three seeds each

Writes samples, reconstructions beside their originals, a walk through the latent space, and curves.

Measured on 2 CPU cores, seed 0, nats per test image (spread: standard error over images), each pair on the same binary
images but that of mnist, whose ELBO is of another draw than its bound:
  base          ELBO -240.7, log p(x) >= -238.4 +- 1.7 with 100 samples; 73 s of training (AMD EPYC with AVX2)
  mnist         ELBO -90.41, log p(x) >= -86.45 +- 0.22 with 100 samples; a convolutional VAE's bound: -86.77
  fashion       ELBO -232.5, log p(x) >= -230.21 +- 0.76 with 5,000 samples after 100 passes; Exemplar VAE's table has
                -228.70 +- 0.15 for a VAE of 40 latents and 2x300; 13 min of training (a busy core of an AMD EPYC)
  mnist_static  ELBO -94.73, log p(x) >= -89.36 +- 0.23 with 200 samples; Rezende & Mohamed, on another draw: -89.9
  mnist_conv    ELBO -91.82, log p(x) >= -87.33 +- 0.22 with 100 samples after 43 passes, 19 min of training on a busy
                core; a convolutional VAE's bound, by pytorch-generative: -86.77
  mnist_iwae    ELBO -101.6, log p(x) >= -88.23 +- 0.23 with 5,000 samples after 67 passes, in 36 min of a core's time;
                Burda et al., after 3,280 passes: -84.78. The bound rose as long as the learning rate fell
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import gen_models as gm

Likelihood = Literal["bernoulli", "gaussian_fixed", "gaussian", "gaussian_each", "logistic", "categorical"]


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages, gm.Optimisation):
    """A VAE and its training."""

    steps: int = 5000
    latent: int = 32
    """Dimensions of z."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""
    upper: tuple[int, ...] = ()
    """Dimensions of further layers of latent variables, each above the one before; none: z alone."""
    upper_hidden: tuple[int, ...] = (128,)
    """Widths of the hidden layers between two layers of latent variables."""
    ladder: bool = False
    """Whether these layers make a ladder, whose way down meets what its way up says."""
    channels: tuple[int, ...] = ()
    """Channels of the convolutions of stride 2 before the hidden layers; none: dense layers alone."""
    decoder: Literal["mirror", "dense"] = "mirror"
    """Decoder of an encoder with convolutions: its mirror image, or its dense layers alone."""
    enlarged: Literal["transposed", "resized"] = "transposed"
    """Way in which a decoder doubles an image's sides: a transposed convolution, or copied pixels and a convolution."""
    likelihood: Likelihood = "bernoulli"
    """Distribution of an image given z: of binary pixels; of grey ones with a deviation of 0.1, one that is learned, or
    one for each pixel; of levels, as a discretised logistic or a softmax."""
    levels: int = 256
    """Levels of a pixel, for the last two of these."""
    prior: Literal["normal", "mixture", "vamp"] = "normal"
    """Distribution of z: standard normal, a mixture of normals, or VampPrior's mixture of posteriors."""
    components: int = 500
    """Components of a prior that is a mixture; the VampPrior's pseudo-inputs."""
    conditional: bool = False
    """Whether encoder and decoder are told the class."""
    activation: Literal["relu", "gelu", "tanh", "leaky_relu", "glu"] = "relu"
    """Activation between the layers; glu gates one half of a layer with the other, which halves its width."""
    beta: Annotated[float, gm.TRACED, gm.Range(0.1, 10.0, log=True)] = 1.0
    """Weight of the KL term in the loss."""
    kl_warmup_steps: int = 0
    """First steps, over which the KL term's weight rises from 0 to beta."""
    kl_cycle_steps: int = 0
    """Steps after which the KL term's weight begins to rise from 0 again; 0: never."""
    free_bits: Annotated[float, gm.TRACED, gm.Range(0.01, 1.0, log=True)] = 0.0
    """Nats of each dimension of z below which its KL costs the same."""
    particles: int = 1
    """Importance samples of the training objective, per image; 1 is the ELBO."""
    doubly_reparameterised: bool = False
    """Whether the encoder gets the doubly reparameterised gradient, for more than one particle."""
    importance_samples: int = 100
    """Importance samples of the bound on the test log-likelihood, per image."""
    use: bool = False
    """Whether active units, the mutual information and the KL of each dimension are measured too."""


base = Config()
_mnist = replace(base, dataset="mnist", train_split="train+validation", latent=40, ema_decay=0.999)
# Burda et al.'s network and batches, 50 latents and 2x200 tanh; that of Tomczak & Welling, 40 latents and 2x300 gated.
_burda = replace(
    _mnist, steps=200_000, latent=50, hidden=(200, 200), activation="tanh", batch_size=20, importance_samples=5000
)
_fashion = replace(
    _mnist,
    dataset="fashion_mnist",
    steps=60_000,
    hidden=(600, 600),
    activation="glu",
    prior="vamp",
    batch_size=100,
    kl_warmup_steps=6_000,
    importance_samples=5000,
)
variants: Mapping[str, Config] = {
    "base": base,
    "beta4": replace(base, beta=4.0),
    "warmup": replace(base, kl_warmup_steps=1000),
    "iwae": replace(base, particles=5),
    "dreg": replace(base, particles=5, doubly_reparameterised=True),
    "free_bits": replace(base, free_bits=0.1),
    "vamp": replace(base, prior="vamp"),
    "conditional": replace(base, conditional=True),
    "two_layers": replace(base, upper=(16,)),
    "ladder": replace(base, upper=(16,), ladder=True, kl_warmup_steps=1000),
    "conv": replace(base, channels=(32, 64), hidden=(256,)),
    # The recipes for full MNIST; their figures are in docs/families/latent.md.
    "mnist": replace(_mnist, steps=100_000, kl_warmup_steps=10_000),
    "mnist_static": replace(_mnist, steps=32_000, kl_warmup_steps=3_000, binarisation="fixed", importance_samples=200),
    "mnist_conv": replace(_mnist, steps=20_000, kl_warmup_steps=2_000, channels=(32, 64), hidden=(256,)),
    "mnist_vae": _burda,
    "mnist_iwae": replace(_burda, particles=50),
    "mnist_dreg": replace(_burda, particles=50, doubly_reparameterised=True),
    "fashion": replace(_fashion, prior="normal"),
    "fashion_vamp": _fashion,
}


def data(config: Config) -> "gm.Splits":
    """Images of the kind that the likelihood has probabilities of."""
    splits = gm.images_for(config.likelihood, config, config.levels)
    return splits.with_labels("a conditional model") if config.conditional else splits


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The VAE of the config's sizes, for images of the data's shape."""
    if config.upper or config.ladder:
        return _hierarchical(config, data)
    return gm.vae(
        data.shape,
        latent=config.latent,
        hidden=config.hidden,
        channels=config.channels,
        decoder_channels=() if config.decoder == "dense" else None,
        enlarged=gm.ENLARGEMENTS[config.enlarged],
        likelihood=gm.LIKELIHOODS[config.likelihood](config.levels),
        prior=gm.PRIORS[config.prior](data.shape, config.components),
        classes=data.num_classes if config.conditional else None,
        beta=config.beta,
        warmup_steps=config.kl_warmup_steps,
        cycle_steps=config.kl_cycle_steps,
        free_bits=config.free_bits,
        particles=config.particles,
        doubly_reparameterised=config.doubly_reparameterised,
        activation=gm.ACTIVATIONS[config.activation],
        dtype=config.precision,
    )


def _hierarchical(config: Config, data: "gm.Splits") -> "gm.Model":
    """The VAE with further layers of latent variables."""
    others: Mapping[str, Any] = {"decoder": "mirror", "enlarged": "transposed", "prior": "normal", "free_bits": 0.0}
    others = {**others, "conditional": False, "doubly_reparameterised": False, "use": False}
    wrong = [f"{name}={getattr(config, name)}" for name, usual in others.items() if getattr(config, name) != usual]
    if wrong:
        raise ValueError(f"a VAE with upper={config.upper} does not take {', '.join(wrong)}: leave them as they are")
    return gm.hierarchical_vae(
        data.shape,
        latents=(config.latent, *config.upper),
        hidden=(config.hidden, *[config.upper_hidden] * len(config.upper)),
        ladder=config.ladder,
        beta=config.beta,
        warmup_steps=config.kl_warmup_steps,
        cycle_steps=config.kl_cycle_steps,
        particles=config.particles,
        likelihood=gm.LIKELIHOODS[config.likelihood](config.levels),
        channels=config.channels,
        activation=gm.ACTIVATIONS[config.activation],
        dtype=config.precision,
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The ELBO, the importance-weighted bound, what is used of z where it is asked for, and pictures."""
    return (
        gm.measures.Elbo(),
        gm.measures.LogLikelihood(samples=config.importance_samples, conditional=config.conditional),
        *([gm.measures.LatentUse(conditional=config.conditional)] if config.use else []),
        gm.measures.Samples(conditional=config.conditional),
        gm.measures.Reconstructions(conditional=config.conditional),
        gm.measures.LatentWalk(conditional=config.conditional),
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
