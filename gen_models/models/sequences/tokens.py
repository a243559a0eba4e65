"""Tokens that models of sequences take: checked, without what stands behind their lengths, and their log-probabilities.

Tokens outside of the vocabulary have no probability: NaN inside of `jit`, an error outside.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


def checked_tokens(tokens: Any, what: str, context: int | None = None) -> Int[Array, "b t"]:
    """Tokens as int32 [B, T].

    Raises:
      ValueError: they are no integers [B, T], there are none, or they are more than `context`.
    """
    shape = jnp.shape(tokens)
    if len(shape) != 2 or 0 in shape or not jnp.issubdtype(jnp.result_type(tokens), jnp.integer):
        raise ValueError(f"{what} must be tokens, integers [B, T], got {jnp.result_type(tokens)} {list(shape)}")
    if context is not None and shape[1] > context:
        raise ValueError(f"the model reads {context} tokens at once, got {shape[1]}: cut them, or give it more context")
    return jnp.asarray(tokens, jnp.int32)


def within(tokens: Array, vocabulary: int) -> Bool[Array, "*n"]:
    """Whether each token is in the vocabulary.

    Raises:
      ValueError: one is not, where the values are known, which is outside of `jit`.
    """
    fits = (tokens >= 0) & (tokens < vocabulary)
    if not isinstance(fits, jax.core.Tracer) and not fits.all():
        wrong = np.asarray(tokens)[~np.asarray(fits)][0]
        raise ValueError(f"tokens are 0 to {vocabulary - 1}, got {wrong}")
    return fits


def readable(tokens: Array, lengths: Array | None, vocabulary: int) -> Int[Array, "b t"]:
    """Tokens as an embedding reads them: zeros behind the length; `vocabulary` for none of it, whose embedding is NaN.

    An embedding of -1 would be the last token's.

    Raises:
      ValueError: as `within`.
    """
    tokens = without_padding(tokens, lengths)
    return jnp.where(within(tokens, vocabulary), tokens, vocabulary)


def inputs_for(x: Int[Array, "b t"], inputs: Any, start: int) -> Array:
    """What each token of x follows: `inputs`, or by default the token `start` and all of x but its last.

    Raises:
      ValueError: the inputs are not as many as x.
    """
    if inputs is None:
        return jnp.pad(x[:, :-1], ((0, 0), (1, 0)), constant_values=start)
    if jnp.shape(inputs) != x.shape:
        raise ValueError(f"inputs must be as x, {list(x.shape)}, got {list(jnp.shape(inputs))}")
    return inputs


def without_padding(tokens: Array, lengths: Array | None) -> Array:
    """The tokens, with zeros for what stands behind a sequence's length, whatever it was."""
    return tokens if lengths is None else jnp.where(counted(tokens, lengths), tokens, 0)


def counted(tokens: Array, lengths: Array) -> Bool[Array, "b t"]:
    """Whether each position counts, of tokens (or vectors) [B, T, ...] of which the first `lengths` [B] do."""
    return jnp.arange(tokens.shape[1]) < lengths[:, None]


def token_log_probs(logits: Float[Array, "b t v"], y: Int[Array, "b t"], lengths: Array | None) -> Float[Array, "b t"]:
    """log p of each token of y, 0 behind a sequence's length.

    Raises:
      ValueError: as `within`.
    """
    vocabulary = logits.shape[-1]
    y = without_padding(y, lengths)
    fits = within(y, vocabulary)
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.clip(y, 0, vocabulary - 1)[..., None], -1)[..., 0]
    log_p = jnp.where(fits, log_p, jnp.nan)
    return log_p if lengths is None else jnp.where(counted(y, lengths), log_p, 0)
