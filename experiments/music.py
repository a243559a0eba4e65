"""How well do recurrent networks predict polyphonic music, and does it help to judge a chord as a whole?

    python -m experiments.music                                    # a GRU on generated chords, whose entropy is known
    python -m experiments.music sweep --seeds 3                    # a table of all
    python -m experiments.music gru --dataset rolls:MuseData.mat   # the rolls of Boulanger-Lewandowski et al. (2012)
    python -m experiments.music gru_nade --dataset rolls:FOLDER    # your own MIDI files

Chung et al., Empirical Evaluation of Gated Recurrent Neural Networks on Sequence Modeling (2014), table 2: networks of
about 20,000 parameters whose keys are independent given the past, trained by RMSProp with noise on the weights;
Boulanger-Lewandowski et al. (2012) put a NADE above the network, so that a chord is judged as a whole.

Measured, seed 0, on a core of an AMD EPYC that other programs shared: nats a row, with the standard error over pieces.

    gru                             chords      1.441 +- 0.006   0.5 CPU minutes; entropy 0.5205
    gru_nade                        chords      0.561 +- 0.002   1.4
    lstm --steps 12000 (1e-2)       MuseData    7.45 +- 0.37     2.1; Chung et al. 6.23
    gru --steps 12000 (1e-2)        MuseData    7.77 +- 0.39     2.8; Chung et al. 5.99
    gru_nade --steps 1000 (2e-2)    MuseData    6.05 +- 0.23     1.3
    lstm --steps 3000               Piano-midi  7.96 +- 0.27     0.8; Chung et al. 9.03
    gru --steps 1000 (2e-2, noise)  Piano-midi  8.04 +- 0.29     0.6; Chung et al. 8.82

with --length 128 of the rolls, a rate in brackets being --optimizer adam --learning-rate RATE, and noise
--weight-noise 0.075. Where keys depend on each other by construction, only NADE comes near the entropy. On Piano-midi
both networks are better than the published ones; on MuseData the published figures were not reached, as the training
part itself stands at about 7 a row and falls slowly. Where each piece weighs the same, however long, the LSTM has 6.77
+- 0.17 and the GRU 7.11 +- 0.18 there: long pieces are the harder ones, and the paper does not say which mean it takes.
Nor is it the size: an LSTM of 375,896 parameters (--features 256 --dropout 0.3 --steps 1500, rate 3e-3) has 7.45 +-
0.34, and 6.94 +- 0.17 of pieces alike, in 1.7 CPU minutes.
With RMSProp at its default rate of 2e-3 a GRU stays at 9.2 (Piano-midi) and 10.6 (MuseData). What NADE writes was
looked at: runs and held chords in two hands, without a form.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A recurrent network of piano rolls and its training."""

    steps: int = 2000
    batch_size: int = 16
    dataset: str = "chords"
    """Generated chords, or rolls:PATH of a .mat file or a folder of MIDI files, without options."""
    length: int = 64
    """Rows of a window."""
    train_split: str = "train"
    """Split that is trained on, never test."""
    cell: Literal["gru", "lstm", "elman"] = "gru"
    """Kind of the layers."""
    features: int = 46
    """Width of each layer."""
    layers: int = 1
    """Number of layers."""
    output: Literal["independent", "nade"] = "independent"
    """Distribution of a row's keys given the past."""
    nade_features: int = 64
    """Hidden units of the NADE, where there is one."""
    dropout: Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)] = 0.0
    """Probability with which a unit is dropped in training."""
    weight_noise: Annotated[float, gm.TRACED, gm.Range(0.0, 0.2)] = 0.0
    """Standard deviation of the noise on the weights in training."""
    written: int = 128
    """Rows of each piece that the model writes."""


CHORDS = 16  # of a generated piece
PIECES = {"train": (4000, 0), "validation": (500, 1), "test": (500, 2)}  # number of generated pieces, and their seed
# Chung et al.'s rule is RMSProp, and gradients are scaled to a norm of 1.
base = Config(optimizer="rmsprop", learning_rate=2e-3, clip_norm=1.0)
variants: Mapping[str, Config] = {
    "gru": base,
    "lstm": replace(base, cell="lstm", features=36),
    "elman": replace(base, cell="elman", features=100, learning_rate=1e-3),
    "gru_nade": replace(base, output="nade"),
}


def data(config: Config) -> "gm.Splits":
    """Windows of pieces, which go on from batch to batch."""
    if config.dataset != "chords":
        name = f"{config.dataset}{'&' if '?' in config.dataset else '?'}length={config.length}"
        return gm.load_splits(name, config.train_split, examples="windows", contiguous=True, kinds=("rolls",))
    windows = {
        split: gm.roll_windows(gm.chord_progressions(count, seed, chords=CHORDS), config.length)
        for split, (count, seed) in PIECES.items()
    }
    splits = gm.Splits.of_arrays(
        windows["train"], windows["test"], windows["validation"], name="chords", examples="windows"
    )
    return replace(splits, contiguous=True)


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The network that the config names, for the data's keys."""
    return gm.polyphonic(
        data.shape[1],
        cell=config.cell,
        features=config.features,
        layers=config.layers,
        output=config.output,
        nade_features=config.nade_features,
        dropout=config.dropout,
        weight_noise=config.weight_noise,
        dtype=config.precision,
    )


@dataclass(frozen=True)
class ChordEntropy:
    """The entropy of the generated chords, which no model's figure can be below but by chance."""

    reads_parameters: ClassVar[bool] = False

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "list[gm.Figure]":
        """Nats a row."""
        return [gm.Figure("entropy", gm.chord_entropy(CHORDS), "nats", "the generated chords", None, "a row; exact")]


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Likelihood of a row, the best possible one where it is known, size, and what the model writes."""
    known = (ChordEntropy(),) if config.dataset == "chords" else ()
    return (
        gm.measures.StepLikelihood(),
        *known,
        gm.measures.Parameters(),
        gm.measures.Rolls(length=config.written),
    )


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    tiny={"length": 8, "batch_size": 4, "features": 4, "nade_features": 3, "written": 8},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
