"""How well do recurrent networks and a transformer predict the next character of a text, and what do they write?

    python -m experiments.language_model                              # a transformer on the bundled tiny Shakespeare
    python -m experiments.language_model lstm                         # or gru, elman
    python -m experiments.language_model names                        # a transformer on first names, one at a time
    python -m experiments.language_model sweep --seeds 3              # a table
    python -m experiments.language_model --dataset tokens:FILE.txt    # on your own text

`transformer` has the sizes of nanoGPT's recipe for a CPU: 4 layers, 4 heads, 128 features, 64 characters, batches of
12, 2,000 steps; the rate falls by a cosine. Its windows lie side by side, where nanoGPT's begin anywhere. Recurrent
networks go on from window to window (truncated backpropagation through time); what is measured reads each window alone.

Measured by the first command, seed 0, in ten minutes of a core of an Intel Xeon that other programs shared: 1.953 +-
0.006 nats a character of the last tenth (standard error over windows; nanoGPT's own figure is 1.88, of a training part
that is a tenth larger). It writes lines with speakers and words of the right form, few of which are English. The other
variants were not trained yet.
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
class Config(gm.Tokens, gm.Optimisation):
    """A language model and its training."""

    steps: int = 2000
    batch_size: int = 12
    network: Transformer | Recurrent = field(default_factory=Transformer)
    """Kind of network, with its sizes."""
    written: int = 256
    """Tokens of each text that the model writes."""
    prompt: str = "\n"
    """Beginning of what it writes."""
    temperature: float = 1.0
    """Number by which logits are divided when it writes."""


base = Config(length=64, learning_rate=3e-3, warmup_steps=100, clip_norm=1.0, weight_decay=0.1, optimizer="adamw")
_recurrent = replace(base, network=Recurrent(), learning_rate=3e-3, weight_decay=0.0, optimizer="adam")
variants: Mapping[str, Config] = {
    "transformer": base,
    "lstm": _recurrent,
    "gru": replace(_recurrent, network=Recurrent(cell="gru")),
    "elman": replace(_recurrent, network=Recurrent(cell="elman"), learning_rate=1e-3),
    "names": replace(
        base, dataset="names", length=16, batch_size=64, network=Transformer(features=64), written=16, steps=4000
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
    common: dict[str, Any] = {"start": start, "dropout": network.dropout, "dtype": config.precision}
    if isinstance(network, Transformer):
        return gm.transformer(
            len(vocabulary.symbols),
            context=data.shape[0],
            features=network.features,
            layers=network.layers,
            heads=network.heads,
            positions=network.positions,
            **common,
        )
    return gm.recurrent_language_model(
        len(vocabulary.symbols),
        cell=network.cell,
        features=network.features,
        layers=network.layers,
        residual=network.residual,
        layer_norm=network.layer_norm,
        **common,
    )


def measures(config: Config) -> "Sequence[gm.Measure]":
    """Likelihood of a token, size, and what the model writes."""
    written = gm.measures.Text(length=config.written, prompt=config.prompt, temperature=config.temperature)
    return (gm.measures.TokenLikelihood(), gm.measures.Parameters(), written)


EXPERIMENT = gm.Experiment(
    __file__,
    __doc__,
    variants,
    data,
    model,
    measures,
    swept=("transformer", "lstm", "gru", "elman"),
    tiny={
        "length": 8,
        "batch_size": 4,
        "network.features": 8,
        "network.layers": 1,
        "network.heads": 2,
        "written": 8,
        "warmup_steps": 0,
    },
)

if __name__ == "__main__":
    gm.launch(EXPERIMENT)
