"""Does a detector without anchors find items in a cluttered scene, where thresholds cannot?

    python -m experiments.detection                     # a heatmap of middles, boxes by generalised overlap
    python -m experiments.detection sweep --seeds 3     # a table

After Zhou et al., Objects as Points (2019), and Tian et al., FCOS (2019), on the scenes of `experiments.segmentation`:
one to three clothes, scaled, one over another, on noise. Beside it stand the boxes of bright regions with the class of
the training crops most like each, which take clothes that touch for one.

Measured by `python -m experiments.detection --steps 600 --seed 0`, and with seeds 1 and 2, on a core of an AMD EPYC
that a dozen other programs shared (6 to 9 min a run, of which 75 s of computation for seed 0): AP50 0.649, 0.626 and
0.654 on 500 test scenes, mean 0.643 +- 0.009 (standard error over seeds; over images 0.013 each); AP, the mean over
ten overlaps, 0.393, 0.386 and 0.403, mean 0.394 +- 0.005. Bright regions with their neighbours have 0.257 +- 0.018 and
0.200 +- 0.015 (over images). 600 steps are not its training's end: the loss still fell. Of the eight scenes in the
picture of seed 0 items that lie alone are found, two of those that touch others are missed and one box stands on two
items; pullovers, coats and shirts are taken for each other, and a sandal for a sneaker.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import gen_models as gm

from .segmentation import TINY, Scenes, data


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Convolutions, with a heatmap and boxes at their end."""

    channels: tuple[int, ...] = (16, 32, 64, 64)
    """Channels of each convolution."""
    strides: tuple[int, ...] = (1, 2, 2, 1)
    """Stride of each convolution."""
    head: int = 32
    """Channels in either head."""
    box_weight: Annotated[float, gm.TRACED, gm.Range(0.1, 4.0)] = 1.0
    """Weight of the boxes' loss beside the heatmap's."""


@dataclass(frozen=True, kw_only=True)
class Config(Scenes):
    """A detector of items and its training."""

    network: Detector = field(default_factory=Detector)
    """Network, with its sizes."""


variants: Mapping[str, Config] = {
    "detector": Config(learning_rate=5e-3, schedule="cosine", warmup_steps=100, evaluate_every=200),
}


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The detector, for the items' classes."""
    return gm.detector(data.shape, len(data.train.meaning.classes), **vars(config.network), dtype=config.precision)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Average precision, that of what learns nothing, and size."""
    return (
        gm.measures.AveragePrecision(),
        gm.measures.DetectionBaseline(),
        gm.measures.Parameters(),
    )


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={**TINY, "network.channels": (4, 4), "network.strides": (2, 2), "network.head": 4},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
