"""How far back do recurrent networks and dilated convolutions remember, and what do clipping and truncation change?

    python -m experiments.memory                    # a GRU adds two numbers among 600
    python -m experiments.memory lstm               # or elman, irnn, gru_unclipped, gru_window, tcn: the adding task
    python -m experiments.memory copy_lstm          # or copy_gru, copy_elman, copy_tcn: ten symbols over a delay
    python -m experiments.memory copy_gru --length 100 --steps 4000
    python -m experiments.memory sweep --seeds 3    # a table of the adding task

Adding (Hochreiter & Schmidhuber, 1997): two of `length` numbers are marked, and their sum is asked for at the end; who
always answers 1 has an error of 1/6. Copying (Arjovsky et al., 2016): ten of eight symbols, `length` steps, then the
symbols again; who remembers none of them has 10 ln 8 / (length + 20) nats a step. Both in the form of Bai et al., An
Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling (2018), whose figures are, of
adding among 600, 5.3e-5 (GRU), 0.164 (LSTM) and 0.177 (Elman), and of copying over 1,000 steps 0.0197, 0.0204 and
0.0202, where 10 ln 8 / 1,020 is 0.0204. The picture state_gradients.png has the gradient of the loss by each state.

Measured, seed 0, on one core of an AMD EPYC that other programs shared (standard error over 1,000 test sequences):

    gru --length 100 --steps 1000    0.0017 +- 0.0001, 0.010 of the baseline; 8 minutes by the clock

At the start the gradient by the first state is 2e-11 of that by the last one, though all singular values of the
recurrent matrices are 1: the gates halve it in about three steps. After the training it is 0.49, and the spectral
radius of the candidate's matrix 1.8.

The first command: 0.0023 +- 0.0003, 0.014 of the baseline, after 2,000 steps and five CPU minutes; with --steps 4000,
in six CPU minutes, 0.00044 +- 0.00003, after 0.158, 0.027, 0.0030, 0.0012 and 0.00093 on 1,000 validation sequences
after 500 to 2,500. The published figure is 5.3e-5.

    tcn --length 200 --network.layers 5 --steps 1500    0.0042 +- 0.0007, 0.025 of the baseline; half a CPU minute
    tcn --steps 1000                                    0.172 +- 0.006, 1.03 of the baseline: not learned yet
    tcn --steps 4000                                    0.00061 +- 0.00011, 0.0037 of the baseline

Bai et al. have 5.8e-5 of the temporal convolutional network among 600: not reached in so few steps. Copying over 1,000
steps, nats a step beside the baseline of 0.0204:

    copy_tcn                0.001071 +- 0.000009, 0.053 of it, 99.93 +- 0.03 % of the symbols right; 1.5 CPU minutes
    copy_tcn --steps 2000   0.0000032 +- 0.0000001, all symbols right; 5.8 CPU minutes (published: 3.5e-5)
    copy_lstm               0.0229, 1.12 of it, 10.9 +- 0.3 % right, where guessing has 12.5; 1.2 CPU minutes

so the LSTM fails, as published, within 500 steps. Of clipping, truncation and other cells see `ablations.gates`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import gen_models as gm

Dropout = Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)]
MEMORY = 10  # symbols that are to be copied
SYMBOLS = 8  # different ones


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Recurrent layers, one above another."""

    cell: Literal["lstm", "gru", "elman", "irnn"] = "gru"
    """Kind of the layers."""
    features: int = 64
    """Width of each layer."""
    layers: int = 1
    """Number of layers."""
    radius: float = 1.0
    """Spectral radius of the recurrent matrices at the start."""
    residual: bool = False
    """Whether a layer behind the first adds its input to its output."""
    layer_norm: bool = False
    """Whether a layer norm stands before each layer behind the first, and before the answers."""
    dropout: Dropout = 0.0
    """Probability with which a unit is dropped in training."""
    window: int | None = None
    """Steps behind which gradients stop, a divisor of a sequence's; none: they never do."""


@dataclass(frozen=True, kw_only=True)
class Temporal:
    """Residual blocks of dilated causal convolutions: a temporal convolutional network."""

    features: int = 24
    """Width of each block."""
    layers: int = 8
    """Number of blocks, each of two convolutions of dilation 1, growth, growth^2, ..."""
    window: int = 8
    """Taps of each convolution."""
    growth: int = 2
    """Factor of the dilation from a block to the next; 1: no block is dilated."""
    weight_norm: bool = True
    """Whether kernels are weight-normalised."""
    dropout: Dropout = 0.0
    """Probability with which a unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A network that has to remember, and its training."""

    steps: int = 2000
    batch_size: int = 32
    task: Literal["adding", "copy"] = "adding"
    """Numbers to be added, or symbols to be copied."""
    length: int = 600
    """Numbers of a sequence, or steps over which symbols are to be remembered."""
    examples: int = 30_000
    """Number of training sequences; 1,000 others validate, and 1,000 test."""
    network: Recurrent | Temporal = field(default_factory=Recurrent)
    """Kind of network, with its sizes."""


base = Config(learning_rate=3e-3, clip_norm=1.0, evaluate_every=500)
_copy = replace(base, task="copy", length=1000, examples=10_000, steps=500, evaluate_every=250)
variants: Mapping[str, Config] = {
    "gru": base,
    "lstm": replace(base, network=Recurrent(cell="lstm")),
    "elman": replace(base, network=Recurrent(cell="elman")),
    "irnn": replace(base, network=Recurrent(cell="irnn")),
    "gru_unclipped": replace(base, clip_norm=0.0),
    "gru_window": replace(base, network=Recurrent(window=50)),
    "tcn": replace(base, network=Temporal()),
    "copy_gru": _copy,
    "copy_lstm": replace(_copy, network=Recurrent(cell="lstm")),
    "copy_elman": replace(_copy, network=Recurrent(cell="elman")),
    "copy_tcn": replace(_copy, network=Temporal(features=10)),
}


def data(config: Config) -> "gm.Splits":
    """Sequences of the task: one draw for all seeds of a run, between which initialisation and order differ."""
    counts = (config.examples, min(1000, config.examples), min(1000, config.examples))
    if config.task == "adding":
        train, held_out, test = (gm.adding_task(n, seed, length=config.length) for seed, n in enumerate(counts))
        how, transform = f"{config.length} numbers", None
    else:
        sizes = {"delay": config.length, "memory": MEMORY, "symbols": SYMBOLS}
        train, held_out, test = (gm.copy_task(n, seed, **sizes) for seed, n in enumerate(counts))
        how, transform = f"over {config.length} steps", gm.one_hot(SYMBOLS + 2)
    return gm.Splits.of_arrays(
        train, test, held_out, name=config.task, transform=transform, examples="sequences", how=how
    )


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The network of the config: a sum at the end, or a symbol at each step."""
    steps = data.shape[0]
    task: dict[str, Any] = {"shape": (steps, 2), "outputs": 1, "answer": "numbers", "at": "end"}
    if config.task == "copy":
        task = {"shape": (steps, SYMBOLS + 2), "outputs": SYMBOLS + 2, "answer": "classes", "at": "each"}
    make = gm.recurrent_network if isinstance(config.network, Recurrent) else gm.temporal_convolutional_network
    return make(**task, **vars(config.network), dtype=config.precision)


def _loss(model: "gm.Model", params: Any, stats: Any, batch: Any, key: Any) -> Any:
    loss: Any = model.loss
    return loss(params, stats, batch, key, step=0, train=False)[0][None]


def _recalled(model: "gm.Model", params: Any, stats: Any, batch: Any, key: Any) -> Any:
    right = model.apply(params, stats, batch["x"])[:, -MEMORY:].argmax(-1) == batch["y"][:, -MEMORY:]
    return right.mean(1)


@dataclass(frozen=True)
class Error:
    """The loss of an example beside that of who remembers nothing."""

    baseline: float
    what: str  # the loss and its unit
    headline: ClassVar[tuple[str, Literal["minimize"]]] = ("error", "minimize")

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The error with its standard error over sequences, and its share of the baseline, a closed form."""
        mean = split.mean(_loss, trained, key, size=50)
        value, spread = float(mean.value), float(mean.standard_error)
        yield gm.Figure("error", value, self.what, split.where, spread, better="minimize")
        note = f"of {self.baseline:.4f}, of who remembers nothing: a closed form"
        yield gm.Figure("error / baseline", value / self.baseline, "ratio", split.where, spread / self.baseline, note)


@dataclass(frozen=True)
class Recalled:
    """Share of the symbols that are copied."""

    def figures(self, trained: "gm.Trained", split: "gm.Split", key: Any) -> "Iterator[gm.Figure]":
        """The accuracy at the steps that ask for a symbol, with its standard error over sequences."""
        mean = split.mean(_recalled, trained, key, size=50)
        note = f"chance: {1 / SYMBOLS:.3f}"
        value, spread = float(mean.value), float(mean.standard_error)
        yield gm.Figure("symbols recalled", value, "fraction", split.where, spread, note, "maximize")


def measures(config: Config) -> "Sequence[gm.Measure]":
    """The error against its baseline, what is recalled, size, and of states how far gradients reach."""
    if config.task == "adding":
        own: tuple[Any, ...] = (Error(gm.adding_baseline(), "squared error"),)
    else:
        own = (Error(gm.copy_baseline(config.length, MEMORY, SYMBOLS), "nats/step"), Recalled())
    reach = (gm.measures.StateGradients(),) if isinstance(config.network, Recurrent) else ()
    return (*own, gm.measures.Parameters(), *reach)


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("gru", "lstm", "elman", "irnn", "gru_unclipped", "gru_window", "tcn"),
    tiny={
        "batch_size": 4,
        "length": 6,
        "network.features": 4,
        "network.window": 3,
        "network.layers": 1,
        "examples": 20,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
