"""Recurrent networks that read a source and write a target, with attention to the source and without.

Without: Sutskever et al., Sequence to Sequence Learning with Neural Networks (2014). The states in which the encoder's
layers end are those in which the decoder's begin, and all that it knows of the source. They read the source from its
end (section 3.3), so that its beginning is near to the target's: `reverse_source`.

With: Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate (2015). The encoder reads
both ways; its outputs h_j stay, and before each token the decoder gathers of them by its state:

    c_i = sum_j a_ij h_j,  a_i = softmax_j(v . tanh(s_(i-1) W + h_j U))          (A.1.2)
    s_i = cell([y_(i-1), c_i], s_(i-1));   logits_i = maxout([s_i, y_(i-1), c_i]) W_o     (A.2.2)
    s_0 = tanh(W_s h'), h' the state of the encoder that reads backward, at the source's first token

Where we differ: cells are LSTMs, GRUs or Elman's in both, and there may be several layers in both: then c_i is the
first one's input, and s the last one's output. Theirs has s_(i-1) in the maxout layer; ours has s_i, as the language
models of `recurrent_language_model` do. Weights begin as those of `gen_models.nn.recurrent`.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sequences.recurrent_layers import CELLS
from gen_models.models.sequences.seq2seq_model import Memory, seq2seq_model
from gen_models.models.sequences.tokens import counted
from gen_models.models.sizes import check_sizes
from gen_models.nn.additive_attention import AdditiveAttention, additive_attention
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.maxout import Maxout
from gen_models.nn.recurrent import Bidirectional, Weights, elman_step, gru_step, lstm_step

STEPS: dict[str, Any] = {"lstm": lstm_step, "gru": gru_step, "elman": elman_step}


def recurrent_seq2seq(
    vocabulary: int,
    *,
    source_vocabulary: int | None,
    cell: Literal["lstm", "gru", "elman"] = "lstm",
    features: int = 128,
    layers: int = 1,
    embedding: int | None = None,
    attention: bool = True,
    attention_features: int | None = None,
    reverse_source: bool = False,
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    encoder: Callable[..., Memory] | None = None,
    start: int = 0,
    stop: int | None = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1 given a source; its functions are those of `seq2seq_model`.

    Args:
      vocabulary: different tokens of the target.
      source_vocabulary: of the source; None: sources are vectors [B, S, C], or what `encoder` reads.
      cell: kind of the layers.
      features: of each layer, and of each direction of the encoder's that read both ways.
      layers: how many, one above another, of encoder and decoder.
      embedding: features of an embedded token; None: `features`.
      attention: whether the decoder attends to the source, which is then read both ways.
      attention_features: of the hidden layer of the attention; None: `features`.
      reverse_source: without attention, whether the source is read from its end.
      dropout: probability with which a unit is dropped in training, before each layer and before the logits; of a
        decoder with attention before the first layer and the logits alone; may be traced.
      label_smoothing: see `seq2seq_model`.
      encoder: a module in place of the recurrent one: (source, source_lengths, train) -> `Memory`. The decoder begins
        from the memory's state [B, C], or from the mean of its values where it has none (Xu et al., Show, Attend and
        Tell, 2015, section 3.1.2), by a linear map and tanh; or from a tuple of its layers' states as they are.
      start: the token that a target begins after.
      stop: the token that ends a target; None: none does.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, states and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown cell, a reversed source where there is attention or an encoder of
        one's own, a rate outside of [0, 1), or as `seq2seq_model`.
    """
    embedding = features if embedding is None else embedding
    attention_features = features if attention_features is None else attention_features
    sizes: dict[str, Any] = {"embedding": embedding, "attention_features": attention_features}
    check_sizes(vocabulary=vocabulary, features=features, layers=layers, **sizes)
    check_dropout(dropout)
    if cell not in CELLS:
        raise unknown("cell", cell, tuple(CELLS))
    if reverse_source and (attention or encoder is not None):
        raise ValueError("reverse_source is for an encoder that reads one way: with attention it reads both ways")
    network = _Seq2Seq(
        vocabulary=vocabulary,
        source_vocabulary=source_vocabulary,
        cell=cell,
        features=features,
        layers=layers,
        embedding=embedding,
        attention_features=attention_features if attention else None,
        reverse_source=reverse_source,
        dropout=dropout,
        own_encoder=encoder,
        dtype=dtype,
    )
    return seq2seq_model(
        network,
        vocabulary,
        source_vocabulary=source_vocabulary,
        start=start,
        stop=stop,
        label_smoothing=label_smoothing,
    )


class _Encoder(nn.Module, kw_only=True):
    """Layers that read the source both ways, whose state is the backward one's; or one way, whose states are theirs."""

    vocabulary: int | None
    cell: str
    features: int
    layers: int
    embedding: int
    both_ways: bool
    reverse: bool
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, source, lengths, train):
        h = source
        if self.vocabulary is not None:
            h = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="tokens")(source)
        states = []
        for index in range(self.layers):
            h = Dropout()(h, self.dropout, train)
            if self.both_ways:
                layer = Bidirectional(self._layer(), self._layer(reverse=True), name=f"{self.cell}_{index}")
            else:
                layer = self._layer(reverse=self.reverse, name=f"{self.cell}_{index}")
            h, state = layer(h, None, lengths)
            states.append(state)
        if not self.both_ways:
            return Memory(h, lengths, tuple(states))
        backward = states[-1][1]
        return Memory(h, lengths, backward[0] if self.cell == "lstm" else backward)

    def _layer(self, **how):
        return CELLS[self.cell](self.features, dtype=self.dtype, **how)


class _Seq2Seq(nn.Module, kw_only=True):
    vocabulary: int
    source_vocabulary: int | None
    cell: str
    features: int
    layers: int
    embedding: int
    attention_features: int | None
    reverse_source: bool
    dropout: float | Array
    own_encoder: Any
    dtype: DTypeLike | None

    def setup(self):
        if self.own_encoder is None:
            self.encoder = _Encoder(
                vocabulary=self.source_vocabulary,
                cell=self.cell,
                features=self.features,
                layers=self.layers,
                embedding=self.embedding,
                both_ways=self.attention_features is not None,
                reverse=self.reverse_source,
                dropout=self.dropout,
                dtype=self.dtype,
            )
        self.tokens = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype)
        self.decoder = [CELLS[self.cell](self.features, dtype=self.dtype) for _ in range(self.layers)]
        states = 2 if self.cell == "lstm" else 1
        self.first = [nn.Dense(self.features, dtype=self.dtype) for _ in range(self.layers * states)]
        if self.attention_features is not None:
            self.attend = AdditiveAttention(
                features=self.attention_features, state_features=self.features, dtype=self.dtype
            )
            self.before_logits = Maxout(width=self.features, pieces=2, dtype=self.dtype)
        self.logits = nn.Dense(self.vocabulary, dtype=self.dtype)
        self.drop = Dropout()

    def __call__(self, source, source_lengths, x, lengths, train):
        memory = self.encode(source, source_lengths, train)
        fixed, states = self.begin(memory, x.shape[1])
        embedded = self.drop(self.tokens(x), self.dropout, train)
        if self.attention_features is None:
            h = self._read(embedded, states, lengths, train)
            return self._logits(self.drop(h, self.dropout, train))
        step = self._attending(fixed, embedded.shape[-1])
        _, (h, gathered, weights) = lax.scan(step, states, embedded.swapaxes(0, 1))
        h, gathered, weights = (values.swapaxes(0, 1) for values in (h, gathered, weights))
        self.sow("intermediates", "cross_attention", weights[:, None])  # [B, 1, T, S]
        return self._logits(self._deep(h, embedded, gathered, train))

    def encode(self, source, source_lengths, train=False):
        return (self.encoder if self.own_encoder is None else self.own_encoder)(source, source_lengths, train)

    def begin(self, memory, length):
        values, lengths = memory.values, memory.lengths
        seen = jnp.ones(values.shape[:2], bool) if lengths is None else counted(values, lengths)
        if isinstance(memory.state, tuple):
            states = memory.state
        else:
            states = self._first_states(values, seen) if memory.state is None else self._states_of(memory.state)
        if self.attention_features is None:
            return (), states
        return (values, self.attend.keys(values), seen), states

    def step(self, fixed, token, cache, t):
        embedded = self.tokens(token)
        if self.attention_features is None:
            h, states = embedded, []
            for layer, state in zip(self.decoder, cache, strict=True):
                h, state = layer.step(h, state)
                states.append(state)
            return self._logits(h), tuple(states)
        cache, (h, gathered, _) = self._attending(fixed, embedded.shape[-1])(cache, embedded)
        return self._logits(self._deep(h, embedded, gathered, False)), cache

    def _read(self, h, states, lengths, train):
        """The last layer's outputs, without attention."""
        for index, (layer, state) in enumerate(zip(self.decoder, states, strict=True)):
            h = self.drop(h, self.dropout, train) if index else h
            h, _ = layer(h, state, lengths)
        return h

    def _attending(self, fixed, width):
        """(states, embedded token [B, E]) -> (states, (h, c, weights)): a step of all layers, for a loop of them."""
        values, keys, seen = fixed
        widths = [width + values.shape[-1], *[self.features] * (self.layers - 1)]
        dtype = keys.dtype
        weights = [Weights(*layer.weights(n)).cast(dtype) for layer, n in zip(self.decoder, widths, strict=True)]
        of_attention, one_layer = self.attend.weights(), STEPS[self.cell]

        def step(states, embedded):
            above = states[-1][0] if self.cell == "lstm" else states[-1]
            gathered, attended = additive_attention(above, keys, values, seen, *of_attention)
            h, after = jnp.concatenate([embedded, gathered], -1).astype(dtype), []
            for state, own in zip(states, weights, strict=True):
                h, state = one_layer(h, state, own)
                after.append(state)
            return tuple(after), (h, gathered, attended)

        return step

    def _deep(self, h, embedded, gathered, train):
        """The maxout layer before the logits, for [B, ...] or [B, T, ...]."""
        x = jnp.concatenate([h, embedded, gathered.astype(h.dtype)], -1)
        deep = self.before_logits(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], self.features)
        return self.drop(deep, self.dropout, train)

    def _logits(self, h):
        return self.logits(h).astype(jnp.float32)

    def _first_states(self, values, seen):
        """From the mean of a memory that has no state."""
        counts = jnp.maximum(seen.sum(1, keepdims=True), 1).astype(values.dtype)
        return self._states_of(jnp.where(seen[..., None], values, 0).sum(1) / counts)

    def _states_of(self, summary):
        """The decoder's first states from one vector [B, C] of each example."""
        made = [jnp.tanh(dense(summary).astype(jnp.float32)) for dense in self.first]
        if self.cell != "lstm":
            return tuple(made)
        return tuple(zip(made[::2], made[1::2], strict=True))
