"""A temporal convolutional network as a language model: residual blocks of dilated causal convolutions.

Bai, Kolter & Koltun, An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling
(2018). Embedded tokens go through the blocks of `gen_models.nn.temporal.TemporalConvolutions`, and a linear map makes
the logits:

    h = blocks(dropout(embedding(x)));   logits_t = W h_t + b

As published, kernels are weight-normalised and a block's width is that of the embedding; in theirs the embedding has a
dropout of its own and is the last layer's weights too. While tokens are drawn, ring buffers keep what each layer needs.
For regression or classification the blocks stand alone: `gm.nn.temporal.TemporalConvolutions`.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sizes import check_sizes
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.temporal import TemporalConvolutions


def temporal_convolutions(
    vocabulary: int,
    *,
    features: int = 128,
    layers: int = 4,
    window: int = 3,
    embedding: int | None = None,
    weight_norm: bool = True,
    dropout: float | Array = 0.0,
    start: int = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1; its functions are those of `token_model`.

    It reads sequences of any length, each window from its beginning. An output sees `temporal_receptive_field` tokens.

    Args:
      vocabulary: different tokens.
      features: of each block.
      layers: blocks, each of two convolutions; their dilations are 1, 2, 4, ...
      window: taps of each convolution.
      embedding: features of an embedded token; None: `features`.
      weight_norm: whether kernels are weight-normalised.
      dropout: probability with which a unit is dropped in training, of the embeddings and behind each convolution; may
        be traced.
      start: the token that a sequence begins after.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, softmax and losses stay float32.

    Raises:
      ValueError: a size is not positive, `start` is no token, or `dropout` is not in [0, 1).
    """
    embedding = features if embedding is None else embedding
    check_sizes(vocabulary=vocabulary, features=features, layers=layers, window=window, embedding=embedding)
    check_dropout(dropout)
    network = _Network(
        vocabulary=vocabulary,
        features=features,
        layers=layers,
        window=window,
        embedding=embedding,
        weight_norm=weight_norm,
        dropout=dropout,
        dtype=dtype,
    )
    return token_model(network, vocabulary, start=start)


def temporal_receptive_field(layers: int, window: int = 3, growth: int = 2) -> int:
    """Steps that an output of as many blocks depends on: 1 + 2 (window - 1) (1 + growth + ... + growth^(layers - 1)).

    Raises:
      ValueError: a size is not positive.
    """
    check_sizes(layers=layers, window=window, growth=growth)
    return 1 + 2 * (window - 1) * sum(growth**layer for layer in range(layers))


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    features: int
    layers: int
    window: int
    embedding: int
    weight_norm: bool
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, tokens, cache, lengths, train, t=None):
        """[B, T] -> [B, T, V]; of step t [B] -> [B, V]. Padding stands where nothing that counts sees it."""
        h = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="tokens")(tokens)
        h = Dropout()(h, self.dropout, train)
        blocks = self._blocks(name="blocks")
        h, cache = (blocks(h, train), None) if t is None else blocks.step(h, cache, t)
        return nn.Dense(self.vocabulary, dtype=self.dtype, name="logits")(h).astype(jnp.float32), cache

    def step(self, token, cache, t):
        return self(token, cache, None, False, t)

    def empty(self, batch, length):
        return self._blocks(parent=None).empty(batch, self.embedding)

    def _blocks(self, **place: Any) -> TemporalConvolutions:
        return TemporalConvolutions(
            (self.features,) * self.layers,
            self.window,
            weight_norm=self.weight_norm,
            dropout=self.dropout,
            dtype=self.dtype,
            **place,
        )
