"""What does attention add to an LSTM and to convolutions, where an answer lies at one place of a sequence?

    python -m experiments.ablations.attention sweep --seeds 3       # every variant, three seeds each: a table

Associative recall: eight pairs of a key and a value, then one of the keys, in tokens; the answer is the key's value. A
guess has one chance in eight. Who knows all the values that came but not which belongs to which key is right in 0.325
of all sequences (`gen_models.data.synthetic.recall_chance`). Bahdanau et al. (2015); Vaswani et al. (2017); with fixed
state, Ba et al., Using Fast Weights to Attend to the Recent Past (2016). For images: `ablations.attention_pixels`.

Hypothesis, before the runs: with attention, an LSTM or two convolutions that bind a value to the key before it answer
nearly all; without, the LSTM stays below 0.6 in the same steps and also when wide enough to have more parameters than
the one with attention, with the last pairs better known than the first; convolutions whose windows together see five
tokens know the last two pairs at most; and attention alone, in one layer, cannot bind and stays at the 0.325.

A sequence is 17 tokens; 4,000 steps of 128 are 10 passes through the training sequences. The test sequences are
others. The picture by_position.png has the accuracy by the position of the pair that was asked for. Convolutions were
made the base, and the steps 4,000 in place of 1,000, after trials, in which the LSTM with attention had not begun to
learn by then.

Measured by the command above on 2 CPU cores, accuracy on 5,000 test sequences, mean over three seeds [least, greatest],
after 4,000 steps, and after 1,000 (--steps 1000):

    conv_attention   11,976 parameters  1.000 in each         1.000 in each
    conv              7,784             0.332 [0.327, 0.337]  0.243 [0.240, 0.247]
    conv_sees_all    20,072             0.306 [0.303, 0.310]  0.317 [0.314, 0.321]
    lstm_attention   14,088             1.000 in each         0.318 [0.315, 0.320]
    lstm              9,896             0.315 [0.312, 0.320]  0.318 [0.312, 0.322]
    lstm_wide        20,984             0.311 [0.309, 0.314]  0.312 [0.310, 0.315]
    attention_alone   5,768             0.318 [0.315, 0.322]  0.316 [0.313, 0.320]

As expected, what binds and attends answers all, and nothing else does; convolutions that see five tokens come to what
the last two pairs are worth (2 / 8 + 6 / 8 / 8 = 0.344). More than expected, an LSTM without attention, wide or not,
and convolutions that see every token do no better than to guess among the values that came (0.325): they have not
learned to bind in 10 passes. That they cannot is not shown. And attention is no help until something before it binds:
the LSTM took more than 1,000 steps for that, the convolutions fewer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A network that reads pairs and answers."""

    steps: int = 4000
    pairs: int = 8
    """Number of pairs of a key and a value in a sequence."""
    keys: int = 16
    """Number of different keys."""
    values: int = 8
    """Number of different values."""
    examples: int = 50_000
    """Number of training sequences; a tenth as many validate, and a tenth as many test."""
    features: int = 32
    """Width of the network."""
    mixer: Literal["none", "lstm", "conv"] = "conv"
    """Layers before the attention: none, an LSTM or convolutions."""
    layers: int = 2
    """Number of layers before the attention."""
    window: int = 3
    """Number of tokens that a convolution sees."""
    attention: bool = True
    """Whether attention follows these layers."""


base = Config(learning_rate=3e-3, clip_norm=1.0)
_lstm = replace(base, mixer="lstm", layers=1)
variants: Mapping[str, Config] = {
    "conv_attention": base,
    "conv": replace(base, attention=False),
    "conv_sees_all": replace(base, attention=False, window=9),
    "lstm_attention": _lstm,
    "lstm": replace(_lstm, attention=False),
    "lstm_wide": replace(_lstm, attention=False, features=48),
    "attention_alone": replace(base, mixer="none"),
}


def data(config: Config) -> "gm.Splits":
    """Sequences and answers: one draw for all seeds of a run, between which initialisation and order differ."""
    sizes = {"pairs": config.pairs, "keys": config.keys, "values": config.values}
    fewer = max(1, config.examples // 10)
    train, held_out, test = (
        gm.associative_recall(count, seed, **sizes) for seed, count in enumerate((config.examples, fewer, fewer))
    )
    name, how = "associative recall", f"{config.pairs} pairs"
    return gm.Splits.of_arrays(
        train, test, held_out, name=name, num_classes=config.values, examples="sequences", how=how
    )


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """A classifier of sequences of tokens."""
    return gm.sequence_classifier(
        length=2 * config.pairs + 1,
        vocabulary=config.keys + config.values,
        num_classes=config.values,
        features=config.features,
        mixer=config.mixer,
        layers=config.layers,
        window=config.window,
        attention=config.attention,
        dtype=config.precision,
    )


@dataclass(frozen=True)
class ByPosition:
    """Accuracy by the position of the pair that is asked for, beside what knowing values without keys would reach."""

    pairs: int
    values: int

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The accuracy that knowing the values, and not their keys, would reach."""
        chance = gm.recall_chance(self.pairs, self.values)
        note = "closed form: values known, not keys"
        yield gm.Figure("accuracy without pairing", chance, "fraction", split.where, note=note)

    def draw(self, trained: "gm.Trained", split: "gm.Split", key: Any, folder: Path) -> None:
        """Draw `by_position.png`: accuracy against the position of the pair, from the first."""
        logits, labels = gm.measures.predicted(trained, split)
        right = np.asarray(logits.argmax(-1) == labels)
        assert split.dataset.arrays is not None  # the sequences are few
        tokens = split.dataset.arrays["x"]
        # Keys are the tokens at even positions; the last token is the key that is asked for.
        position = (tokens[:, 0:-1:2] == tokens[:, -1:]).argmax(1)
        accuracy = [right[position == i].mean() if (position == i).any() else np.nan for i in range(self.pairs)]
        series = {"accuracy": accuracy, "without pairing": [gm.recall_chance(self.pairs, self.values)] * self.pairs}
        x, y = "pair that is asked for, from the first", "accuracy, test sequences"
        gm.plots.lines(series, folder / "by_position.png", x=x, y=y)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Accuracy, over all and by position, and size."""
    chance = f"chance: {1 / config.values:.3f}"
    return (gm.measures.Accuracy(chance), ByPosition(config.pairs, config.values), gm.measures.Parameters())


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    table=True,
    tiny={"batch_size": 8, "pairs": 2, "keys": 3, "values": 2, "features": 4, "examples": 200},
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
