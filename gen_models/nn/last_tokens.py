"""What a model of finite memory reads: the last tokens up to each position."""

import jax.numpy as jnp
from jaxtyping import Array, Int


def last_tokens(tokens: Int[Array, "b t"], count: int, start: int) -> Int[Array, "b t count"]:
    """At each position the last `count` tokens up to it and with it, the oldest first.

    Args:
      tokens: of which each row begins a sequence.
      count: how many.
      start: the token that stands where there is none yet.
    """
    length = tokens.shape[1]
    padded = jnp.pad(tokens, ((0, 0), (count - 1, 0)), constant_values=start)
    return jnp.stack([padded[:, i : i + length] for i in range(count)], -1)


def with_token(last: Int[Array, "b count"], token: Int[Array, " b"]) -> Int[Array, "b count"]:
    """The last tokens after one more."""
    return jnp.concatenate([last[:, 1:], token[:, None]], 1)
