"""A multilayer perceptron that sees a window of tokens: the first neural language model that learned its embeddings.

Bengio, Ducharme, Vincent & Jauvin, A neural probabilistic language model (2003), section 2. The last m tokens, the
oldest first, are embedded by one table C and joined; behind a hidden layer stand the logits, with direct connections
from the embeddings or without:

    v_t = (C(x_(t-m+1)), ..., C(x_t)),   logits_t = b + W v_t + U tanh(d + H v_t)

Their model of order n sees m = n - 1 tokens. Where we differ: before the first of a sequence stands the token `start`,
and no words share an output, as their rare ones do.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sizes import check_sizes
from gen_models.nn.last_tokens import last_tokens, with_token


def windowed_mlp(
    vocabulary: int,
    *,
    context: int = 8,
    embedding: int = 16,
    features: int = 128,
    direct: bool = False,
    start: int = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1; its functions are those of `token_model`.

    Args:
      vocabulary: different tokens.
      context: tokens that it sees at each position, m; a sequence may have any number.
      embedding: features of an embedded token.
      features: of the hidden layer.
      direct: whether logits are linear in the embeddings too, W above; else W is 0.
      start: the token that a sequence begins after, as often as the context has room.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, or `start` is no token.
    """
    check_sizes(vocabulary=vocabulary, context=context, embedding=embedding, features=features)
    network = _Network(
        vocabulary=vocabulary,
        context=context,
        embedding=embedding,
        features=features,
        direct=direct,
        start=start,
        dtype=dtype,
    )
    return token_model(network, vocabulary, start=start)


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    context: int
    embedding: int
    features: int
    direct: bool
    start: int
    dtype: DTypeLike | None

    def setup(self):
        self.tokens = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype)
        self.hidden = nn.Dense(self.features, dtype=self.dtype)
        self.logits = nn.Dense(self.vocabulary, dtype=self.dtype)
        if self.direct:
            self.linear = nn.Dense(self.vocabulary, use_bias=False, dtype=self.dtype)

    def __call__(self, tokens, cache, lengths, train):  # [B, T] -> [B, T, V]
        return self._of(last_tokens(tokens, self.context, self.start)), None

    def step(self, token, last, t):
        last = with_token(last, token)
        return self._of(last), last

    def empty(self, batch, length):
        return jnp.full((batch, self.context), self.start, jnp.int32)

    def _of(self, last):  # [..., m] -> [..., V]
        joined = self.tokens(last).reshape(*last.shape[:-1], -1)
        logits = self.logits(nn.tanh(self.hidden(joined)))
        if self.direct:
            logits += self.linear(joined)
        return logits.astype(jnp.float32)
