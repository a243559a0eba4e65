"""How well do counts and neural networks predict the next character of a text, and what do they write?

    python -m experiments.language_model                              # a transformer on the bundled tiny Shakespeare
    python -m experiments.language_model lstm                         # or gru, elman, tcn
    python -m experiments.language_model fivegram                     # or unigram to fourgram: counts; mlp
    python -m experiments.language_model names                        # a transformer on first names, one at a time
    python -m experiments.language_model names_bigram                 # or names_mlp
    python -m experiments.language_model sweep --seeds 3              # a table
    python -m experiments.language_model --dataset tokens:FILE.txt    # on your own text

`transformer` has the sizes of nanoGPT's recipe for a CPU: 4 layers, 4 heads, 128 features, 64 characters, batches of
12, 2,000 steps; the rate falls by a cosine. Its windows lie side by side, where nanoGPT's begin anywhere. Recurrent
networks go on from window to window (truncated backpropagation through time); what is measured reads each window alone.

The n-gram models are fitted by counting before their one step, whose rate is 0. As a window is read from its beginning,
theirs are long: 1,024 characters. `mlp` sees 8 of them; `names_mlp` sees 3 and has the sizes of makemore's.

Measured with `--train-split train+validation`, as nanoGPT trains on nine tenths, seed 0, on a core of an AMD EPYC that
other programs shared: nats a character of the test part, with the standard error over windows.

    transformer    1.791 +- 0.006    804,096 parameters   4.8 CPU minutes
    transformer    1.908 +- 0.005    the same with --learning-rate 1e-3, which is nanoGPT's; its own figure is 1.88
    gru            1.682 +- 0.006    427,585              2.0
    tcn            1.787 +- 0.006    411,969
    lstm           1.803 +- 0.006    558,657              2.5
    mlp            1.932 +- 0.006    50,769
    elman          1.955 +- 0.006    164,673              0.9
    fivegram       1.563 +- 0.016    counts               0.5
    fourgram       1.721 +- 0.014    (trigram 2.039, bigram 2.483, unigram 3.347)
    names_mlp      2.129 +- 0.008    11,897               1
    names_bigram   2.460 +- 0.006    counts               0.2

In 2,000 steps a network reads the text one and a half times, which is little: a GRU and counts come further than the
transformer. What is written has speakers and lines, and words of the right form, many of them English. Top-1 and top-5
accuracies, and more orders, stand in docs/families/sequences.md.

`names` has 199,936 parameters, as makemore's transformer, whose figure is about 1.92. With `--train-split
train+validation` it comes to 2.017 +- 0.008 after its 4,000 steps, five CPU minutes; to 1.968 +- 0.010 after 12,000,
when it knows its training part too well; with `--network.dropout 0.1` to 1.961 +- 0.009 after 12,000, and to 1.923 +-
0.009 after 24,000 (`--steps 24000`, about 18 CPU minutes).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import gen_models as gm

Dropout = Annotated[float, gm.TRACED, gm.Range(0.0, 0.6)]


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A decoder with attention to what came before."""

    features: int = 128
    """Width of the stream."""
    layers: int = 4
    """Number of layers, each of attention and an MLP."""
    heads: int = 4
    """Heads of each attention."""
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned"
    """Way in which the order is told."""
    dropout: Dropout = 0.0
    """Probability with which a unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class Recurrent:
    """Recurrent layers, one above another."""

    cell: Literal["lstm", "gru", "elman"] = "lstm"
    """Kind of the layers."""
    features: int = 256
    """Width of each layer."""
    layers: int = 1
    """Number of layers."""
    residual: bool = False
    """Whether a layer's input is added to its output."""
    layer_norm: bool = False
    """Whether a layer norm stands before each layer."""
    dropout: Dropout = 0.0
    """Probability with which a unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class TemporalConvolutions:
    """Residual blocks of dilated causal convolutions (TCN)."""

    features: int = 128
    """Width of each block."""
    layers: int = 4
    """Number of blocks, each of two convolutions."""
    window: int = 3
    """Taps of each convolution."""
    dropout: Dropout = 0.0
    """Probability with which a unit is dropped in training."""


@dataclass(frozen=True, kw_only=True)
class NGram:
    """Counts of the training text, which is all of its training: steps change nothing at a learning rate of 0."""

    order: int = 3
    """Tokens of what is counted: the one that is predicted, and those before it."""
    smoothing: Literal["kneser_ney", "add_k", "none"] = "kneser_ney"
    """Way in which probability goes to tokens that were not seen behind a context."""
    discounts: Literal[1, 3] = 3
    """Number of discounts of Kneser-Ney smoothing for each length of context."""
    k: float = 1.0
    """Number that add-k smoothing adds to each count."""


@dataclass(frozen=True, kw_only=True)
class WindowedMlp:
    """A multilayer perceptron that sees a window of tokens."""

    context: int = 8
    """Tokens that it sees."""
    embedding: int = 16
    """Features of an embedded token."""
    features: int = 256
    """Width of the hidden layer."""
    direct: bool = False
    """Whether logits are linear in the embeddings too."""


@dataclass(frozen=True, kw_only=True)
class Config(gm.Tokens, gm.Optimisation):
    """A language model and its training."""

    steps: int = 2000
    batch_size: int = 12
    network: Transformer | Recurrent | TemporalConvolutions | WindowedMlp | NGram = field(default_factory=Transformer)
    """Kind of network, with its sizes."""
    written: int = 256
    """Tokens of each text that the model writes."""
    prompt: str = "\n"
    """Beginning of what it writes."""
    temperature: float = 1.0
    """Number by which logits are divided when it writes."""


base = Config(length=64, learning_rate=3e-3, warmup_steps=100, clip_norm=1.0, weight_decay=0.1, optimizer="adamw")
_recurrent = replace(base, network=Recurrent(), learning_rate=3e-3, weight_decay=0.0, optimizer="adam")
# Long windows, as each is read alone, from the token that begins a text.
_counted = replace(base, network=NGram(), length=1024, steps=1, warmup_steps=0, learning_rate=0.0, weight_decay=0.0)
_names = replace(base, dataset="names", length=16, batch_size=64, written=16)
variants: Mapping[str, Config] = {
    "transformer": base,
    "lstm": _recurrent,
    "gru": replace(_recurrent, network=Recurrent(cell="gru")),
    "elman": replace(_recurrent, network=Recurrent(cell="elman"), learning_rate=1e-3),
    "tcn": replace(base, network=TemporalConvolutions(), learning_rate=2e-3, weight_decay=0.0, optimizer="adam"),
    "mlp": replace(base, network=WindowedMlp(), batch_size=32, learning_rate=3e-3, weight_decay=0.0, optimizer="adam"),
    "unigram": replace(_counted, network=NGram(order=1)),
    "bigram": replace(_counted, network=NGram(order=2)),
    "trigram": _counted,
    "fourgram": replace(_counted, network=NGram(order=4)),
    "fivegram": replace(_counted, network=NGram(order=5)),
    "names": replace(_names, network=Transformer(features=64), steps=4000),
    "names_mlp": replace(
        _names,
        network=WindowedMlp(context=3, embedding=10, features=200),
        learning_rate=3e-3,
        weight_decay=0.0,
        optimizer="adam",
        steps=10_000,
    ),
    "names_bigram": replace(
        _counted, dataset="names", length=16, written=16, network=NGram(order=2, smoothing="add_k")
    ),
}


def data(config: Config) -> "gm.Splits":
    """Windows of the text; those of a recurrent network go on from batch to batch."""
    return gm.token_windows(config, contiguous=isinstance(config.network, Recurrent))


def model(config: Config, data: "gm.Splits") -> "gm.Model":
    """The network that the config names, for the data's vocabulary; a text begins after a newline, if there is one."""
    vocabulary, network = data.vocabulary, config.network
    assert vocabulary is not None, "windows of a text have a vocabulary"
    start = vocabulary.symbols.index("\n") if "\n" in vocabulary.symbols else 0
    common: dict[str, Any] = {"start": start, "dtype": config.precision, **vars(network)}
    if isinstance(network, NGram):
        return gm.ngram(len(vocabulary.symbols), gm.training_windows(data), **common)
    if isinstance(network, Transformer):
        return gm.transformer(len(vocabulary.symbols), context=data.shape[0], **common)
    if isinstance(network, TemporalConvolutions):
        return gm.temporal_convolutions(len(vocabulary.symbols), **common)
    if isinstance(network, WindowedMlp):
        return gm.windowed_mlp(len(vocabulary.symbols), **common)
    return gm.recurrent_language_model(len(vocabulary.symbols), **common)


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Likelihood of a token, how often it is among the most probable ones, size, and what the model writes."""
    written = gm.measures.Text(length=config.written, prompt=config.prompt, temperature=config.temperature)
    return (gm.measures.TokenLikelihood(), gm.measures.NextToken(), gm.measures.Parameters(), written)


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=(
        *("transformer", "lstm", "gru", "elman", "tcn"),
        *("mlp", "unigram", "bigram", "trigram", "fourgram", "fivegram"),
    ),
    tiny={
        "length": 8,
        "batch_size": 4,
        "network.features": 8,
        "network.layers": 1,
        "network.heads": 2,
        "network.context": 3,
        "network.embedding": 4,
        "network.window": 2,
        "written": 8,
        "warmup_steps": 0,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
