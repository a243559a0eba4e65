"""How far do a linear model, a multi-layer perceptron and a small convolutional network get on images of clothes?

    python -m experiments.classifier                 # the CNN on the bundled part of Fashion-MNIST
    python -m experiments.classifier logistic        # or mlp; see below for their fields
    python -m experiments.classifier sweep --seeds 3

Full Fashion-MNIST: add --data-dir DIR to the variants full_logistic, full_mlp and full_cnn. Test accuracy measured on 2
CPU cores, seed 0 (spread: standard error over images): 0.8486 +- 0.0036, 0.9056 +- 0.0029, and 0.9296 +- 0.0026 with
98,042 parameters; published: about 0.842, 0.900 (256-128-64), and 0.925 with under 100,000. By full_residual, 297,450
parameters, nine epochs, 37 CPU minutes of one core of an AMD EPYC that other programs shared: 0.9306 +- 0.0025. By
full_resnet18, 43 epochs in bfloat16, on one NVIDIA H200 in 56 s (JAX 0.11.2, compilation included): 0.9558 +- 0.0021
(published: 0.949). Of the bundled part, by mobile, 48,730 parameters: 0.9040 +- 0.0066. Not trained: resnext,
full_mobile, full_resnext.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm

Dropout = Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)]


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """Logistic regression: one linear layer."""


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """A multi-layer perceptron of dense layers."""

    hidden: tuple[int, ...] = (256, 128, 64)
    """Widths of the hidden layers."""
    norm: Literal["none", "batch"] = "none"
    """Normalisation before the activations."""
    dropout: Dropout = 0.0
    """Probability of dropping a hidden unit."""


@dataclass(frozen=True, kw_only=True)
class Cnn:
    """Convolutions with batch norm."""

    channels: tuple[int, ...] = (16, 32, 64, 64, 64)
    """Channels of each convolution."""
    strides: tuple[int, ...] = (1, 2, 2, 1, 1)
    """Stride of each convolution."""
    dropout: Dropout = 0.0
    """Probability of dropping a pooled feature."""


@dataclass(frozen=True, kw_only=True)
class ResidualCnn:
    """Blocks of convolutions in stages."""

    channels: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage."""
    strides: tuple[int, ...] = (1, 2, 2)
    """Stride of each stage."""
    blocks: int = 1
    """Blocks in each stage."""
    windows: tuple[int, ...] = (3, 3)
    """Size of each kernel in a block."""
    bottleneck: int = 1
    """Number by which 1x1 convolutions divide a block's channels; 1: blocks without 1x1 convolutions."""
    residual: bool = True
    """Whether a block adds its input to its output."""
    norm: Literal["none", "batch", "layer", "instance", "group"] = "batch"
    """Normalisation before the activations."""
    groups: int = 4
    """Groups into which group norm divides the channels."""
    momentum: float = 0.9
    """Weight of the past in batch norm's running averages."""
    activation: Literal["relu", "leaky_relu", "prelu", "gelu", "tanh", "sigmoid"] = "relu"
    """Function that follows each norm."""
    dropout: Dropout = 0.0
    """Probability of dropping a pooled feature."""


@dataclass(frozen=True, kw_only=True)
class MobileNet:
    """Inverted residual blocks of depthwise convolutions."""

    channels: tuple[int, ...] = (16, 24, 32, 48)
    """Channels of each stage."""
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    """Blocks of each stage."""
    strides: tuple[int, ...] = (1, 2, 2, 1)
    """Stride of each stage."""
    expansion: int = 4
    """Number by which a block multiplies its channels in between."""
    last: int = 128
    """Channels of the 1x1 convolution behind the blocks."""
    dropout: Dropout = 0.0
    """Probability of dropping a pooled feature."""


@dataclass(frozen=True, kw_only=True)
class ResNext:
    """Bottleneck blocks of grouped convolutions."""

    channels: tuple[int, ...] = (32, 64, 128)
    """Channels of each stage."""
    blocks: tuple[int, ...] = (1, 1, 1)
    """Blocks of each stage."""
    strides: tuple[int, ...] = (1, 2, 2)
    """Stride of each stage."""
    groups: int = 4
    """Groups of each 3x3 convolution."""
    reduction: int = 2
    """Number by which a block divides its channels in between."""
    dropout: Dropout = 0.0
    """Probability of dropping a pooled feature."""


@dataclass(frozen=True, kw_only=True)
class ResNet18:
    """Residual blocks of two convolutions in four stages."""

    width: int = 64
    """Channels of the first stage; each further one has twice as many."""
    dropout: Dropout = 0.0
    """Probability of dropping a pooled feature."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Images, gm.Optimisation):
    """A classifier and its training."""

    steps: int = 1500
    network: Logistic | Mlp | Cnn | ResidualCnn | MobileNet | ResNext | ResNet18 = field(default_factory=Cnn)
    """Kind of classifier, with its sizes."""
    label_smoothing: Annotated[float, gm.TRACED, gm.Range(0.0, 0.2)] = 0.0
    """Share of the target that is spread evenly over the classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """Weights of the classes in the loss; balanced: rare classes weigh as much as frequent ones."""
    augmentation: tuple[Literal["flip", "shift", "cutout"], ...] = ()
    """Random changes of training images: mirror left-right, move by up to 2 pixels, blank an 8x8 square."""
    measure: tuple[Literal["validation", "report", "flops", "gradients", "units"], ...] = ()
    """Further figures at the end: validation accuracy, to choose by; precision, recall, F1 and areas under curves;
    operations for an image; and of a ResidualCnn gradient norms by layer and dead units."""


base = Config(
    network=Cnn(dropout=0.2),
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=0.02,
    augmentation=("flip",),
    evaluate_every=250,
    checkpoint_every=500,
)
_logistic = replace(base, network=Logistic(), learning_rate=1e-3, weight_decay=0.0, augmentation=())
_mlp = replace(base, network=Mlp(dropout=0.2), learning_rate=1e-3, weight_decay=0.05)
_mobile = replace(base, network=MobileNet(dropout=0.1))
_resnext = replace(base, network=ResNext(dropout=0.1))
_full: Mapping[str, Any] = {
    "dataset": "fashion_mnist",
    "train_split": "train+validation",
    "evaluate_every": 1000,
    "checkpoint_every": 1000,
}
variants: Mapping[str, Config] = {
    "cnn": base,
    "mlp": _mlp,
    "logistic": _logistic,
    "mobile": _mobile,
    "resnext": _resnext,
    "full_cnn": replace(base, steps=6_000, learning_rate=5e-3, warmup_steps=600, **_full),
    "full_residual": replace(
        base,
        steps=4_200,
        network=ResidualCnn(channels=(32, 64, 128), dropout=0.1),
        learning_rate=5e-3,
        warmup_steps=400,
        augmentation=("flip", "shift"),
        **_full,
    ),
    "full_mlp": replace(_mlp, steps=25_000, network=Mlp(dropout=0.2, hidden=(512, 256, 128)), **_full),
    "full_logistic": replace(_logistic, steps=20_000, **_full),
    "full_mobile": replace(_mobile, steps=6_000, learning_rate=5e-3, warmup_steps=600, **_full),
    "full_resnext": replace(_resnext, steps=6_000, learning_rate=5e-3, warmup_steps=600, **_full),
    # For an accelerator: 11 million parameters, 43 epochs.
    "full_resnet18": replace(
        base,
        network=ResNet18(),
        steps=10_000,
        batch_size=256,
        optimizer="nesterov",
        learning_rate=0.1,
        warmup_steps=1_000,
        weight_decay=0.0,
        l2=5e-4,
        label_smoothing=0.1,
        augmentation=("flip", "shift", "cutout"),
        precision="bfloat16",
        **_full,
    ),
}


def data(config: Config) -> "gm.Splits":
    """Images in [0, 1] with labels."""
    splits = gm.unit_images(config, config.augmentation).with_labels("a classifier")
    if splits.num_classes == 1:
        raise ValueError(f"{splits.name!r} has one class, and a classifier needs two: choose another --dataset")
    return splits


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The classifier that the config's network names, for images and classes of the data."""
    made: Mapping[type, Any] = {
        Logistic: gm.logistic_regression,
        Mlp: gm.mlp,
        Cnn: gm.cnn,
        ResidualCnn: gm.residual_cnn,
        MobileNet: gm.mobile_net,
        ResNext: gm.resnext,
        ResNet18: gm.resnet18,
    }
    return made[type(config.network)](
        data.shape,
        data.num_classes,
        **vars(config.network),
        label_smoothing=config.label_smoothing,
        class_weights=gm.class_weights(config.class_weights, data),
        dtype=config.precision,
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Accuracy and pictures of mistakes, and what the config asks for."""
    of_layers = sorted({"gradients", "units"} & set(config.measure))
    if of_layers and not isinstance(config.network, ResidualCnn):
        name = type(config.network).__name__
        raise ValueError(f"--measure {' '.join(of_layers)} needs a network ResidualCnn, got {name}")
    more: Mapping[str, Any] = {
        "validation": gm.measures.ValidationAccuracy,
        "report": gm.measures.ClassificationReport,
        "flops": gm.measures.Flops,
        "gradients": gm.measures.Gradients,
        "units": gm.measures.Units,
    }
    asked = [make() for name, make in more.items() if name in config.measure]
    return (gm.measures.Accuracy(), gm.measures.Parameters(), *asked, gm.measures.Confusion())


# What tests change, of this and of the ablations that have ResidualCnn alone.
TINY: Mapping[str, Any] = {
    "dataset": "digits",
    "batch_size": 16,
    "network.channels": (4, 8),
    "network.strides": (2, 2),
}
EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("cnn", "mlp", "logistic"),
    tiny={
        **TINY,
        "network.blocks": (1, 1),
        "network.groups": 2,
        "network.width": 4,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
