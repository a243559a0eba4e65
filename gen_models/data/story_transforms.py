"""What is done to stories with questions before a network reads them: empty sentences among them, or one text of all.

Stories are those of `gen_models/data/babi.py`: x int32 [B, 1 + M, W], the question, then the sentences from the newest
back; 0 is padding.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


def with_empty_sentences(batch: Mapping[str, Any], key: Any, *, share: float) -> dict[str, Any]:
    """Stories with empty sentences put in at random; what is shifted beyond the last row is left out.

    So that a network does not learn the number of each sentence by heart (Sukhbaatar et al., 2015: random noise).

    Args:
      batch: with "x" as above.
      key: the randomness.
      share: probability with which an empty sentence stands before each.
    """
    x = batch["x"]
    shift = jnp.cumsum(jax.random.uniform(key, (len(x), x.shape[1] - 1)) < share, 1)
    to = jnp.arange(1, x.shape[1]) + shift
    empty = jnp.zeros_like(x).at[:, 0].set(x[:, 0])
    put = jax.vmap(lambda rows, to, told: rows.at[to].set(told, mode="drop"))
    return {**batch, "x": put(empty, to, x[:, 1:])}


def stories_as_text(batch: Mapping[str, Any], key: Any = None) -> dict[str, Any]:
    """Stories as texts [B, (1 + M) W]: the sentences from the oldest on, the question, then padding."""
    x = batch["x"][:, ::-1].reshape(len(batch["x"]), -1)
    words_first = jnp.argsort(x == 0, axis=1, stable=True)
    return {**batch, "x": jnp.take_along_axis(x, words_first, 1)}
