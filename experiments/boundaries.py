"""Does a U-Net find the boundaries of objects that people mark, where a gradient takes textures for them?

python -m experiments.boundaries                               # photographs drawn here, whose boundaries are known
python -m experiments.boundaries bsds500 --data-dir BSR        # BSDS500; a recipe for an accelerator
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class BoundaryUNet:
    """A U-Net of some levels."""

    channels: tuple[int, ...] = (8, 16, 32)
    """Channels of each level; the image is halved between two."""
    norm: Literal["none", "batch", "layer", "instance", "group"] = "batch"
    """Normalisation behind each 3x3 convolution."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A finder of boundaries and its training."""

    steps: int = 2000
    batch_size: int = 16
    dataset: Literal["drawn", "bsds500"] = "drawn"
    """Photographs that are drawn here, or BSDS500."""
    data_dir: Annotated[str | None, gm.INCIDENTAL] = None
    """Folder of BSDS500, BSR or one below it."""
    examples: int = 400
    """Number of drawn photographs that are trained on."""
    side: int = 96
    """Number of pixels of a drawn photograph's sides."""
    crop: int = 64
    """Number of pixels of the sides of the squares that are trained on."""
    train_split: Literal["train", "train+validation"] = "train"
    """Split of BSDS500 that is trained on; train+validation for figures to compare with published ones."""
    thresholds: int = 99
    """Number of thresholds of the benchmark."""
    network: BoundaryUNet = field(default_factory=BoundaryUNet)
    """Network, with its sizes."""


variants: Mapping[str, Config] = {
    "drawn": Config(learning_rate=5e-3, schedule="cosine", warmup_steps=100, evaluate_every=0, thresholds=19),
    "bsds500": Config(
        dataset="bsds500",
        train_split="train+validation",
        crop=256,
        steps=40_000,
        learning_rate=1e-3,
        schedule="cosine",
        warmup_steps=500,
        evaluate_every=0,
        network=BoundaryUNet(channels=(32, 64, 128, 256)),
    ),
}


def data(config: Config) -> "gm.Splits":
    """Photographs with the boundaries that annotators marked."""
    if config.dataset == "drawn":
        return gm.drawn_boundary_splits(config.examples, side=config.side, crop=config.crop)
    if config.data_dir is None:
        raise ValueError("bsds500 is no part of this package: give --data-dir, the folder BSR of its archive")
    return gm.boundary_splits(config.data_dir, crop=config.crop, train_split=config.train_split)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The U-Net, with one output."""
    return gm.boundary_unet(data.shape, **vars(config.network), dtype=config.precision)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The benchmark, that of a gradient and of annotators, and size."""
    return (
        gm.measures.Boundaries(config.thresholds),
        gm.measures.BoundaryBaselines(thresholds=config.thresholds),
        gm.measures.Parameters(),
    )


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("drawn",),
    tiny={
        "batch_size": 4,
        "dataset": "drawn",
        "examples": 8,
        "side": 24,
        "crop": 16,
        "thresholds": 3,
        "network.channels": (4, 4),
        "warmup_steps": 0,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
