"""A recurrent network that reads spectrograms and says what labels it heard, by connectionist temporal classification.

Graves et al., Connectionist Temporal Classification (2006), and Towards End-to-End Speech Recognition with Recurrent
Neural Networks (Graves & Jaitly, 2014): bidirectional layers, whose outputs at each step are a softmax over the labels
and the blank. The equations stand in `gen_models/nn/ctc.py`. Some frames that stand side by side are read as one step,
which shortens the recurrence (Chan et al., Listen, Attend and Spell, 2016, join outputs in such a way). Where labels
are told at the end alone, as classes, `recurrent_network` reads the same inputs.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.core import Key, Model
from gen_models.errors import unknown
from gen_models.models.inputs import field, images, known
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.ctc import Prefixes, ctc_beam_search, ctc_greedy, ctc_log_prob
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.recurrent import GRU, LSTM, Bidirectional

CELLS = {"gru": GRU, "lstm": LSTM}


def speech_recogniser(
    shape: Sequence[int],
    classes: int,
    *,
    cell: Literal["gru", "lstm"] = "gru",
    features: int = 64,
    layers: int = 2,
    joined: int = 2,
    bidirectional: bool = True,
    dropout: float | Array = 0.0,
    longest: int = 16,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of labels that are said one after another in x [B, T, F]: p(y | x), exactly.

    Its functions:
      loss: the mean over a batch of -log p(y | x), in nats an utterance. Reads `batch["x"]`, float [B, T, F], and
        `batch["y"]`, integers [B, N] from 0 to classes - 1; with `batch["length"]`, integers [B] from 1 on, only so
        many steps of x count, and with `batch["count"]`, integers [B], so many labels of y. It is infinite where an
        utterance has more labels than steps. Metric: "nats_per_label", a mean over utterances as well.
      apply(params, stats, x, lengths=None): logits [B, ceil(T / joined), classes + 1], of the labels and the blank.
      log_prob(params, stats, y, key, inputs=x, lengths=None, counts=None): [B] nats, exact.
      decode(params, stats, x, lengths=None, beams=None): the pair of labels [B, N], filled up with -1, and their
        counts [B]: of the most probable path, N = ceil(T / joined), or with `beams` of the best of a prefix beam
        search, N = longest. `all_beams=True` gives all of its prefixes, a `Prefixes`.

    Args:
      shape: (T, F).
      classes: different labels.
      cell: kind of the layers.
      features: of each layer, and of each direction.
      layers: how many, one above another.
      joined: frames that are read as one step.
      bidirectional: whether each layer also reads backward.
      dropout: probability with which a unit is dropped in training, behind each layer; may be traced.
      longest: labels of the longest utterance that beam search finds.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, states and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown cell, or `dropout` outside of [0, 1); a batch of another shape or
        without labels, and outside of `jit` a label of no class.
    """
    check_each(shape=shape)
    shape = tuple(shape)
    if len(shape) != 2:
        raise ValueError(f"a sequence's shape is (steps, features), got shape={shape}")
    check_sizes(classes=classes, features=features, layers=layers, joined=joined, longest=longest)
    check_dropout(dropout)
    if cell not in CELLS:
        raise unknown("cell", cell, tuple(CELLS))
    sizes: dict[str, Any] = {"cell": cell, "features": features, "layers": layers, "joined": joined}
    network = _Network(outputs=classes + 1, **sizes, bidirectional=bidirectional, dropout=dropout, dtype=dtype)
    return _model(network, shape, classes, longest)


def _model(network, shape, classes, longest) -> Model:
    """The functions of a network of logits at each step."""

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        return network.init(key, jnp.zeros((1, *shape), jnp.float32), jnp.ones(1, jnp.int32))["params"], {}

    def heard(params, x, lengths, **how):
        """Logits, and how many of their steps count."""
        x = images({"x": x}, shape)
        lengths = jnp.full(len(x), shape[0]) if lengths is None else jnp.asarray(lengths)
        if lengths.shape != (len(x),) or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise ValueError(f"lengths must be [{len(x)}] integers, one for each sequence, got {lengths.shape}")
        steps = -(-lengths // network.joined)
        return network.apply({"params": params}, x, lengths, **how), steps

    def apply(params, stats, x: Float[Array, "b t f"], lengths: Int[Array, " b"] | None = None) -> Array:
        """Logits of the labels and the blank at each step."""
        return heard(params, x, lengths)[0]

    def log_prob(params, stats, y, key: Key | None = None, *, inputs, lengths=None, counts=None) -> Array:
        """log p(y | inputs), [B] nats, exact."""
        given = {"y": y} if counts is None else {"y": y, "count": counts}
        labels, counts, fits = _labels(given, len(inputs), classes)
        logits, steps = heard(params, inputs, lengths)
        return jnp.where(fits, ctc_log_prob(logits, steps, labels, counts), jnp.nan)

    def decode(params, stats, x, lengths=None, *, beams: int | None = None, all_beams: bool = False) -> Any:
        """Labels and their counts: of the best path, or of a beam search."""
        logits, steps = heard(params, x, lengths)
        if beams is None:
            return ctc_greedy(logits, steps)
        found: Prefixes = ctc_beam_search(logits, steps, beams=beams, longest=longest)
        return found if all_beams else (found.labels[:, 0], found.counts[:, 0])

    def loss(params, stats, batch, key, *, step, train=True):
        """The mean of -log p over utterances; dropout where `train`."""
        x = images(batch, shape)
        labels, counts, fits = _labels(batch, len(x), classes)
        logits, steps = heard(params, x, batch.get("length"), train=train, rngs={"dropout": key} if train else None)
        nats = jnp.where(fits, -ctc_log_prob(logits, steps, labels, counts), jnp.nan)
        metrics = {"nats_per_label": (nats / jnp.maximum(counts, 1)).mean(dtype=jnp.float32)}
        return nats.mean(), (stats, metrics)

    return Model(init=init, loss=loss, apply=apply, log_prob=log_prob, decode=decode)


def _labels(batch, n, classes):
    """Labels [B, N], how many of each row count, and whether these are all of a class."""
    y = field(batch, "y", "the model needs labels, integers [B, N], as 'y'")
    if y.ndim != 2 or len(y) != n or not y.shape[1] or not jnp.issubdtype(y.dtype, jnp.integer):
        raise ValueError(f"'y' must be labels, integers [{n}, N], got {y.dtype} {list(y.shape)}")
    y = jnp.asarray(y)
    counts = jnp.asarray(batch.get("count", jnp.full(n, y.shape[1])))
    if counts.shape != (n,) or not jnp.issubdtype(counts.dtype, jnp.integer):
        raise ValueError(f"'count' must be [{n}] integers, labels of each utterance, got {list(counts.shape)}")
    wrong = (jnp.arange(y.shape[1]) < counts[:, None]) & ((y < 0) | (y >= classes))
    if known(wrong) and bool(wrong.any()):
        raise ValueError(f"labels must be from 0 to {classes - 1}, got {int(y[wrong][0])}")
    return y, counts, ~wrong.any(1)


class _Network(nn.Module, kw_only=True):
    outputs: int
    cell: str
    features: int
    layers: int
    joined: int
    bidirectional: bool
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, lengths, train=False):  # [B, T, F] -> [B, ceil(T / joined), K + 1]
        x = jnp.where(jnp.arange(x.shape[1])[:, None] < lengths[:, None, None], x, 0)  # frames that are joined
        batch, frames, width = x.shape
        steps = -(-frames // self.joined)
        h = jnp.pad(x, ((0, 0), (0, steps * self.joined - frames), (0, 0))).reshape(batch, steps, self.joined * width)
        lengths = -(-lengths // self.joined)
        for index in range(self.layers):
            h, _ = self._layer(index)(h, lengths=lengths)
            h = Dropout()(h, self.dropout, train)
        return nn.Dense(self.outputs, dtype=self.dtype, name="outputs")(h).astype(jnp.float32)

    def _layer(self, index):
        kind, name = CELLS[self.cell], f"{self.cell}_{index}"
        if not self.bidirectional:
            return kind(self.features, dtype=self.dtype, name=name)
        there, back = (kind(self.features, reverse=way, dtype=self.dtype, parent=None) for way in (False, True))
        return Bidirectional(there, back, name=name)
