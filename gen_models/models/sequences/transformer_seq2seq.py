"""The transformer: an encoder of a source and a decoder of a target that attends to it.

Vaswani et al., Attention Is All You Need (2017). With layer norms n first (Xiong et al., On Layer Normalization in the
Transformer Architecture, 2020), an encoder's layer of the stream h and a decoder's of the stream g, of which h is the
encoder's last one, are

    a = h + attention(n(h));              h' = a + mlp(n(a))
    b = g + causal_attention(n(g));       c = b + attention(n(b), h);       g' = c + mlp(n(c))

with a last norm of each stream. As published the norms stand behind the sums, `norm_first=False`: a = n(h +
attention(h)) and so on, and there are no last ones. Both streams begin as sqrt(features) times the token's embedding,
and sinusoids of its position; rotary positions (Su et al., 2021) are in the attention of each stream to itself alone.
The logits are a product with the target's embeddings (section 3.4), or with weights of their own.

Where we differ: dropout is on the sums' branches and the embeddings as published, not on attention weights; maps have
no biases unless asked for, as in `transformer`; weights begin as Glorot & Bengio's (2010), embeddings with the standard
deviation 1 / sqrt(features).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sequences.seq2seq_model import Memory, seq2seq_model
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.nn.attention import Attention, KeysValues, sinusoids
from gen_models.nn.dropout import Dropout, check_dropout

POSITIONS = ("sinusoidal", "rotary", "none")
GLOROT = nn.initializers.glorot_uniform()


def transformer_seq2seq(
    vocabulary: int,
    *,
    source_vocabulary: int | None,
    features: int = 128,
    encoder_layers: int = 3,
    decoder_layers: int = 3,
    heads: int = 4,
    mlp_features: int | None = None,
    positions: Literal["sinusoidal", "rotary", "none"] = "sinusoidal",
    norm_first: bool = True,
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    tied: bool = True,
    shared: bool = False,
    use_bias: bool = False,
    encoder: Callable[..., Memory] | None = None,
    start: int = 0,
    stop: int | None = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1 given a source; its functions are those of `seq2seq_model`.

    Args:
      vocabulary: different tokens of the target.
      source_vocabulary: of the source; None: sources are vectors [B, S, C], which a linear map takes to the stream, or
        what `encoder` reads.
      features: of the streams, a multiple of `heads`.
      encoder_layers: of attention and MLP.
      decoder_layers: of attention to the target so far, attention to the source, and MLP.
      heads: of each attention.
      mlp_features: hidden units of the MLPs, with ReLU; None: 4 `features`.
      positions: how the order is told; "none": by what a token of the target sees alone, and a source is a set.
      norm_first: whether layer norms stand before each branch, or behind each sum as published.
      dropout: probability with which a unit is dropped in training, of the embeddings and of what each branch adds;
        may be traced.
      label_smoothing: see `seq2seq_model`; published with 0.1.
      tied: whether the target's embeddings are the last layer's weights too.
      shared: whether source and target have one vocabulary and its embeddings.
      use_bias: whether linear maps and layer norms have biases.
      encoder: a module in place of the transformer's encoder: (source, source_lengths, train) -> `Memory`.
      start: the token that a target begins after.
      stop: the token that ends a target; None: none does.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, softmax and losses stay float32.

    Raises:
      ValueError: a size is not positive, `heads` does not divide `features`, rotary positions of heads of an odd width,
        an unknown kind of positions, embeddings shared by vocabularies of different sizes or with an encoder of one's
        own, a rate outside of [0, 1), or as `seq2seq_model`.
    """
    mlp_features = 4 * features if mlp_features is None else mlp_features
    sizes: dict[str, Any] = {"features": features, "heads": heads, "mlp_features": mlp_features}
    check_sizes(vocabulary=vocabulary, encoder_layers=encoder_layers, decoder_layers=decoder_layers, **sizes)
    check_divides("heads", heads, features=features)
    check_dropout(dropout)
    if positions not in POSITIONS:
        raise unknown("kind of positions", positions, POSITIONS)
    if positions == "rotary" and features // heads % 2:
        raise ValueError(f"rotary positions turn pairs of features: {features} over {heads} heads is odd")
    if shared and (encoder is not None or source_vocabulary != vocabulary):
        raise ValueError(
            f"embeddings are shared by a source and a target of one vocabulary, got source_vocabulary="
            f"{source_vocabulary} and vocabulary={vocabulary}: set shared=False"
        )
    layer: dict[str, Any] = {**sizes, "rotary": positions == "rotary"}
    layer |= {"norm_first": norm_first, "dropout": dropout, "use_bias": use_bias, "dtype": dtype}
    network = _Seq2Seq(
        vocabulary=vocabulary,
        source_vocabulary=source_vocabulary,
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        sinusoidal=positions == "sinusoidal",
        tied=tied,
        shared=shared,
        own_encoder=encoder,
        layer=layer,
    )
    return seq2seq_model(
        network,
        vocabulary,
        source_vocabulary=source_vocabulary,
        start=start,
        stop=stop,
        label_smoothing=label_smoothing,
    )


class _Seq2Seq(nn.Module, kw_only=True):
    vocabulary: int
    source_vocabulary: int | None
    encoder_layers: int
    decoder_layers: int
    sinusoidal: bool
    tied: bool
    shared: bool
    own_encoder: Any
    layer: Any  # what all layers take

    def setup(self):
        features, dtype = self.layer["features"], self.layer["dtype"]
        embed: Any = partial(nn.Embed, embedding_init=nn.initializers.normal(features**-0.5), dtype=dtype)
        embed = partial(embed, features=features)
        self.tokens = embed(self.vocabulary)
        if self.own_encoder is None:
            if self.source_vocabulary is None:
                self.source_map = nn.Dense(features, kernel_init=GLOROT, dtype=dtype)
            elif not self.shared:
                self.source_tokens = embed(self.source_vocabulary)
            self.encoder = [_EncoderLayer(**self.layer) for _ in range(self.encoder_layers)]
        self.decoder = [_DecoderLayer(**self.layer) for _ in range(self.decoder_layers)]
        if self.layer["norm_first"]:
            norm = partial(nn.LayerNorm, use_bias=self.layer["use_bias"], epsilon=1e-5, dtype=dtype)
            self.last = norm()
            if self.own_encoder is None:
                self.encoder_last = norm()
        if not self.tied:
            self.logits = nn.Dense(self.vocabulary, use_bias=False, kernel_init=GLOROT, dtype=dtype)
        self.drop = Dropout()

    def __call__(self, source, source_lengths, x, lengths, train):
        memory = self.encode(source, source_lengths, train)
        h = self._embedded(self.tokens(x), 0, x.shape[1], train)
        for layer in self.decoder:
            # Padding stands behind what counts, where causal attention does not look: no mask of it is needed.
            h, _ = layer(h, layer.keys_values(memory.values), memory.lengths, train)
        return self._logits(h)

    def encode(self, source, source_lengths, train=False):
        if self.own_encoder is not None:
            return self.own_encoder(source, source_lengths, train)
        if self.source_vocabulary is None:
            h = self.source_map(source)
        else:
            embed = self.tokens if self.shared else self.source_tokens
            h = embed(source) * self._scale(embed)
        h = self._positioned(h, 0, source.shape[1], train)
        for layer in self.encoder:
            h = layer(h, source_lengths, train)
        return Memory(self.encoder_last(h) if self.layer["norm_first"] else h, source_lengths)

    def begin(self, memory, length):
        batch, heads, features = len(memory.values), self.layer["heads"], self.layer["features"]
        shape = (batch, heads, length, features // heads)
        dtype = jnp.float32 if self.layer["dtype"] is None else self.layer["dtype"]
        empty = tuple(KeysValues(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in self.decoder)
        return (tuple(layer.keys_values(memory.values) for layer in self.decoder), memory.lengths), empty

    def step(self, fixed, token, cache, t):
        keys_values, lengths = fixed
        h = self._embedded(self.tokens(token[:, None]), t, cache[0].keys.shape[2], False)
        kept = []
        for layer, of_memory, before in zip(self.decoder, keys_values, cache, strict=True):
            h, after = layer(h, of_memory, lengths, False, before, t)
            kept.append(after)
        return self._logits(h)[:, 0], tuple(kept)

    def _logits(self, h):
        h = self.last(h) if self.layer["norm_first"] else h
        return (self.tokens.attend(h) if self.tied else self.logits(h)).astype(jnp.float32)

    def _scale(self, embed):
        return jnp.asarray(embed.features**0.5, embed.dtype or jnp.float32)

    def _embedded(self, h, t, room, train):
        return self._positioned(h * self._scale(self.tokens), t, room, train)

    def _positioned(self, h, t, room, train):
        """The stream's beginning: position t's sinusoids and those behind it are added, of as many as there is room."""
        if self.sinusoidal:
            table = jnp.asarray(sinusoids(room, h.shape[-1]))
            h += lax.dynamic_slice_in_dim(table, t, h.shape[1]).astype(h.dtype)
        return self.drop(h, self.layer["dropout"], train)


class _Layer(nn.Module, kw_only=True):
    """What an encoder's layer and a decoder's have in common."""

    heads: int
    features: int
    mlp_features: int
    rotary: bool
    norm_first: bool
    dropout: float | Array
    use_bias: bool
    dtype: DTypeLike | None
    causal: bool = False

    def setup(self):
        self.attention = self._attention(causal=self.causal, rotary=self.rotary)
        dense: Any = partial(nn.Dense, use_bias=self.use_bias, kernel_init=GLOROT, dtype=self.dtype)
        self.mlp_in, self.mlp_out = dense(self.mlp_features), dense(self.features)
        self.attention_norm, self.mlp_norm = self._norm(), self._norm()
        self.drop = Dropout()

    def _added(self, norm, branch, h, train):
        """The stream with a branch's output, dropped in training, and the norm in its place."""
        if self.norm_first:
            return h + self.drop(branch(norm(h)), self.dropout, train)
        return norm(h + self.drop(branch(h), self.dropout, train))

    def _mlp(self, x):
        return self.mlp_out(nn.relu(self.mlp_in(x)))

    def _attention(self, **how):
        init: dict[str, Any] = {"kernel_init": GLOROT, "out_init": GLOROT}
        init |= {"heads": self.heads, "features": self.features, "use_bias": self.use_bias, "dtype": self.dtype}
        return Attention(**init, **how)

    def _norm(self):
        return nn.LayerNorm(use_bias=self.use_bias, epsilon=1e-5, dtype=self.dtype)


class _EncoderLayer(_Layer):
    def __call__(self, h, lengths, train):
        h = self._added(self.attention_norm, lambda x: self.attention(x, lengths=lengths)[0], h, train)
        return self._added(self.mlp_norm, self._mlp, h, train)


class _DecoderLayer(_Layer):
    causal: bool = True

    def setup(self):
        super().setup()
        self.cross_attention = self._attention()
        self.cross_norm = self._norm()

    def keys_values(self, memory):
        return self.cross_attention.keys_values(memory)

    def __call__(self, h, of_memory, lengths, train, cache=None, t=0):
        after = cache

        def attend(x):
            nonlocal after
            y, after = self.attention(x, cache=cache, t=t)
            return y

        h = self._added(self.attention_norm, attend, h, train)
        cross = lambda x: self.cross_attention(x, kept=of_memory, lengths=lengths)[0]  # noqa: E731
        h = self._added(self.cross_norm, cross, h, train)
        return self._added(self.mlp_norm, self._mlp, h, train), after
