"""A recurrent network as a language model: Elman, LSTM or GRU layers over embedded tokens.

Mikolov et al., Recurrent neural network based language model (2010); deep LSTMs with dropout on what goes from layer to
layer, never on what goes from step to step: Zaremba et al., Recurrent Neural Network Regularization (2014). Layers read

    h^0_t = embedding(x_t);   h^l_t, state^l_t = layer(h^(l-1)_t, state^l_(t-1));   logits_t = W h^L_t + b

With `truncated`, training goes through long sequences window by window: the state that a window ends with, without its
gradient, is where the next begins (truncated backpropagation through time: Williams & Peng, 1990).

Options: a layer's input is added to its output (residual: Prakash et al., 2016); a layer norm stands before each layer
and before the logits (Ba et al., Layer Normalization, 2016; theirs is inside of the cell); a dropped unit may be the
same one at all steps of a window (variational: Gal & Ghahramani, A Theoretically Grounded Application of Dropout in
Recurrent Neural Networks, 2016; ours does not drop what goes from step to step).
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sequences.recurrent_layers import CELLS, empty_states, regularised, through_layers
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sizes import check_sizes
from gen_models.nn.dropout import check_dropout


def recurrent_language_model(
    vocabulary: int,
    *,
    cell: Literal["lstm", "gru", "elman"] = "lstm",
    features: int = 128,
    layers: int = 1,
    embedding: int | None = None,
    residual: bool = False,
    layer_norm: bool = False,
    dropout: float | Array = 0.0,
    variational: bool = False,
    truncated: bool = True,
    start: int = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1; its functions are those of `token_model`.

    Args:
      vocabulary: different tokens.
      cell: kind of the layers.
      features: of each layer.
      layers: how many, one above another.
      embedding: features of an embedded token; None: `features`.
      residual: whether a layer's input is added to its output, where they have as many features.
      layer_norm: whether a layer norm stands before each layer and before the logits.
      dropout: probability with which a unit is dropped in training, before each layer and before the logits; may be
        traced.
      variational: whether the dropped units are the same at all steps of a window.
      truncated: whether a window goes on from the state in which the one before ended; batches are then those of
        `batches(..., contiguous=True)`.
      start: the token that a sequence begins after.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, states and losses stay float32.

    Raises:
      ValueError: a size is not positive, an unknown cell, or `dropout` is not in [0, 1).
    """
    embedding = features if embedding is None else embedding
    check_sizes(vocabulary=vocabulary, features=features, layers=layers, embedding=embedding)
    check_dropout(dropout)
    if cell not in CELLS:
        raise unknown("cell", cell, tuple(CELLS))
    network = _Network(
        vocabulary=vocabulary,
        cell=cell,
        features=features,
        layers=layers,
        embedding=embedding,
        residual=residual,
        layer_norm=layer_norm,
        dropout=dropout,
        variational=variational,
        dtype=dtype,
    )
    return token_model(network, vocabulary, start=start, truncated=truncated)


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    cell: str
    features: int
    layers: int
    embedding: int
    residual: bool
    layer_norm: bool
    dropout: float | Array
    variational: bool
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, tokens, cache, lengths, train, one=False):  # [B, T] -> [B, T, V]; with `one`, [B] -> [B, V]
        h = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="tokens")(tokens)
        how: dict[str, Any] = {"layer_norm": self.layer_norm, "dropout": self.dropout, "variational": self.variational}

        def between(h, name):
            return regularised(h, name, train, dtype=self.dtype, **how)

        layers = [
            CELLS[self.cell](self.features, dtype=self.dtype, name=f"{self.cell}_{index}")
            for index in range(self.layers)
        ]
        h, cache = through_layers(
            layers, h, cache, lengths, lambda h, i: between(h, f"norm_{i}"), residual=self.residual, one=one
        )
        h = between(h, "last_norm")
        return nn.Dense(self.vocabulary, dtype=self.dtype, name="logits")(h).astype(jnp.float32), cache

    def step(self, token, cache, t):
        return self(token, cache, None, False, one=True)

    def empty(self, batch, length):
        return empty_states(self.cell, self.features, self.layers, batch)
