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
others. The picture by_position.png has the accuracy by the place of the pair that was asked for. Convolutions were
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

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np

from gen_models.run import cli
from gen_models.run.config import TRACED, Experiment, Range, RunConfig
from gen_models.run.directory import Figure

if TYPE_CHECKING:
    from gen_models.run.job import Job


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A network that reads pairs and answers."""

    dataset: str = "associative_recall"
    """Only associative_recall, which needs no --data-dir."""
    learning_rate: Annotated[float, TRACED, Range(1e-4, 1e-1, log=True)] = 3e-3
    """Peak step size of Adam, which falls to 0 on a cosine."""
    evaluate_every: int = 1000
    steps: int = 4000
    pairs: int = 8
    """Of a key and a value in a sequence."""
    keys: int = 16
    """That there are."""
    values: int = 8
    """That there are."""
    examples: int = 50_000
    """Training sequences; there are a tenth of them for validation and as many for the test."""
    features: int = 32
    """Width of the network."""
    mixer: Literal["none", "lstm", "conv"] = "conv"
    """What reads the sequence before attention does."""
    layers: int = 2
    """Of the mixer."""
    window: int = 3
    """Tokens that a convolution sees."""
    attention: bool = True
    """Whether attention follows."""


base = Config()
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


def build(config: Config) -> "Job":
    """Model, data, training step and figures.

    Raises:
      ValueError: another data set, or sizes that do not fit.
    """
    import jax
    import jax.numpy as jnp

    from gen_models import metrics, plots
    from gen_models.core import init_state, make_train_step
    from gen_models.data import in_memory
    from gen_models.data.synthetic import associative_recall, recall_chance
    from gen_models.errors import unknown
    from gen_models.models.sequences.sequence_classifier import sequence_classifier
    from gen_models.optimizers import adam, schedule
    from gen_models.run.job import Job

    if config.dataset != "associative_recall":
        raise unknown("data set for this experiment", config.dataset, ["associative_recall"])
    sizes = {"pairs": config.pairs, "keys": config.keys, "values": config.values}
    # One draw for all seeds of a run: what differs between them is initialisation and order.
    train = associative_recall(config.examples, 0, **sizes)
    validation, test = (associative_recall(max(1, config.examples // 10), seed, **sizes) for seed in (1, 2))
    model = sequence_classifier(
        2 * config.pairs + 1,
        config.keys + config.values,
        config.values,
        features=config.features,
        mixer=config.mixer,
        layers=config.layers,
        window=config.window,
        attention=config.attention,
        dtype=config.precision,
    )

    def optimizer_of(config):
        return adam(schedule("cosine", config.learning_rate, config.steps), clip_norm=1.0)

    def step_of(config):
        return make_train_step(model.loss, optimizer_of(config))

    apply = jax.jit(model.apply)

    def predict(state, split):
        return apply(state.params, state.stats, jnp.asarray(split["x"])), jnp.asarray(split["y"])

    def evaluate(state, key):
        logits, labels = predict(state, validation)
        return {
            "validation/accuracy": metrics.accuracy(logits, labels),
            "validation/cross_entropy": metrics.negative_log_likelihood(logits, labels),
        }

    where = f"{len(test['y']):,} test sequences of {config.pairs} pairs"

    def figures(state, key):
        logits, labels = predict(state, test)
        accuracy = float(metrics.accuracy(logits, labels))
        error = float(np.sqrt(accuracy * (1 - accuracy) / len(labels)))
        chance = recall_chance(config.pairs, config.values)
        count = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        return [
            Figure("accuracy", accuracy, "fraction", where, error, f"chance: {1 / config.values:.3f}"),
            Figure("cross-entropy", float(metrics.negative_log_likelihood(logits, labels)), "nats", where),
            Figure("accuracy without pairing", chance, "fraction", where, note="closed form: values known, not keys"),
            Figure("parameters", count, "", where),
        ]

    def pictures(state, key, folder: Path):
        """Accuracy by the place of the pair that is asked for."""
        logits, labels = predict(state, test)
        right = np.asarray(logits.argmax(-1) == labels)
        tokens = test["x"]
        place = (tokens[:, 0:-1:2] == tokens[:, -1:]).argmax(1)
        by_place = [right[place == i].mean() if (place == i).any() else np.nan for i in range(config.pairs)]
        chance = [recall_chance(config.pairs, config.values)] * config.pairs
        plots.lines(
            {"accuracy": by_place, "without pairing": chance},
            folder / "by_position.png",
            x="pair that is asked for, from the first",
            y="accuracy, test sequences",
        )

    return Job(
        model=model,
        init=lambda key: init_state(model, optimizer_of(config), key, {"x": jnp.asarray(test["x"][:1])}),
        step=step_of(config),
        step_of=step_of,
        batches=in_memory(train, config.batch_size, seed=config.seed),
        batches_of=lambda seed: in_memory(train, config.batch_size, seed=seed),
        figures=figures,
        evaluate=evaluate,
        pictures=pictures,
    )


EXPERIMENT = Experiment("experiments.ablations.attention", __doc__, variants, build, table=True)

if __name__ == "__main__":
    cli.launch(EXPERIMENT)
