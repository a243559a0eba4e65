"""Embedded words, of which token 0 is padding: it has no features, and nothing learns from it."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int


class WordFeatures(nn.Module, kw_only=True):
    """Features of each word of a sentence, zeros of padding, and which are words."""

    vocabulary: int
    features: int
    embedding_init: Any = nn.initializers.normal(1.0)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, tokens: Float[Array, "b t"] | Int[Array, "b t"]
    ) -> tuple[Float[Array, "b t {self.features}"], Bool[Array, "b t"]]:
        """[B, T, features] and [B, T]."""
        tokens = tokens.astype(jnp.int32)
        words = tokens > 0
        embed = nn.Embed(
            self.vocabulary, self.features, embedding_init=self.embedding_init, dtype=self.dtype, name="embedding"
        )
        return jnp.where(words[..., None], embed(tokens), 0), words


def mean_of_words(h: Float[Array, "b t c"], words: Bool[Array, "b t"]) -> Float[Array, "b c"]:
    """The mean over the words of each sentence; zeros of one without words."""
    count = jnp.maximum(words.sum(1, keepdims=True), 1)
    return jnp.where(words[..., None], h, 0).sum(1) / count.astype(h.dtype)
