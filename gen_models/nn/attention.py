"""Attention of a sequence to itself or to another, with a cache for one token at a time, and rotary positions.

Multi-head attention: Vaswani et al., Attention Is All You Need (2017), section 3.2.2. For a query q_i and keys k_j that
it sees, of width d, y_i = sum_j softmax_j(q_i . k_j / sqrt(d)) v_j. Rotary positions: Su et al., RoFormer (2021),
section 3.2.2: pairs of a query's or key's features are turned by an angle that grows with its position, so that their
product depends on the distance alone. Sinusoidal positions: Vaswani et al., section 3.5.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

_MASKED = -1e30  # a score that no weight is left of; finite, so that a row of these has no NaN in its gradient
BASE = 10_000.0  # of the wavelengths of positions, Vaswani et al., section 3.5


class KeysValues(NamedTuple):
    """What is kept of the tokens so far, with room for more: [B, heads, room, width]."""

    keys: Array
    values: Array


def attention(
    queries: Float[Array, "b heads n d"],
    keys: Float[Array, "b heads m d"],
    values: Float[Array, "b heads m v"],
    seen: Bool[Array, "#b #heads #n m"] | None = None,
) -> tuple[Float[Array, "b heads n v"], Float[Array, "b heads n m"]]:
    """What each query gathers, and its weights; scores and softmax in float32. One that sees no key gathers zeros."""
    scores = jnp.einsum("bhnd,bhmd->bhnm", queries, keys, preferred_element_type=jnp.float32) * keys.shape[-1] ** -0.5
    weights = jax.nn.softmax(scores if seen is None else jnp.where(seen, scores, _MASKED))
    if seen is not None:
        weights = jnp.where(seen, weights, 0)  # where nothing is seen, all weights were alike
    return jnp.einsum("bhnm,bhmv->bhnv", weights.astype(values.dtype), values), weights


def rotated(x: Float[Array, "b heads n d"], positions: Int[Array, " n"]) -> Float[Array, "b heads n d"]:
    """Features i and i + d/2 of each position, turned by position / 10000^(2i/d); d must be even."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * BASE ** (-jnp.arange(half) / half)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = x[..., :half].astype(jnp.float32), x[..., half:].astype(jnp.float32)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], -1).astype(x.dtype)


def sinusoids(length: int, features: int) -> Float[np.ndarray, "length features"]:
    """sin(p / 10000^(2i/features)) in feature 2i and the cosine in 2i + 1, of each position p."""
    angle = np.arange(length)[:, None] * BASE ** (-np.arange(0, features, 2) / features)
    table = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, -1)
    return table[:, :features].astype(np.float32)


class Attention(nn.Module, kw_only=True):
    """Multi-head attention with learned projections.

    With `causal`, position i sees those up to itself. `rotary` turns queries and keys by their positions. The weights
    are sown as intermediates, "weights" [B, heads, n, m].
    """

    heads: int
    features: int  # of queries, keys, values and the output, all heads together
    causal: bool = False
    rotary: bool = False
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    out_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """The projections."""
        dense: Any = partial(nn.Dense, self.features, use_bias=self.use_bias, dtype=self.dtype)
        self.query, self.key, self.value = (dense(kernel_init=self.kernel_init) for _ in range(3))
        self.out = dense(kernel_init=self.out_init)

    def __call__(
        self,
        x: Float[Array, "b n c"],
        memory: Float[Array, "b m e"] | None = None,
        lengths: Int[Array, " b"] | None = None,
        cache: KeysValues | None = None,
        t: Int[Array, ""] | int = 0,
        kept: KeysValues | None = None,
    ) -> tuple[Float[Array, "b n {self.features}"], KeysValues | None]:
        """What each position gathers of `memory`, or of x itself, and the cache after it.

        Args:
          x: [B, n, C].
          memory: what keys and values are made of; None: x.
          lengths: [B], positions of memory that count; None: all.
          cache: keys and values of the t positions before x, which are those of x afterwards; only without `memory`.
          t: the position of x's first.
          kept: keys and values of a memory, as `keys_values` made them, in place of the memory.
        """
        queries = self._by_head(self.query(x))
        keys, values = self.keys_values(x if memory is None else memory) if kept is None else kept
        position = t + jnp.arange(x.shape[1])
        if self.rotary:
            queries, keys = rotated(queries, position), rotated(keys, position)
        if cache is not None:
            cache = KeysValues(
                *(
                    lax.dynamic_update_slice_in_dim(room, new.astype(room.dtype), t, 2)
                    for room, new in zip(cache, (keys, values), strict=True)
                )
            )
            keys, values = cache
        at = jnp.arange(keys.shape[2])
        seen = None
        if self.causal:
            seen = (at <= position[:, None])[None, None]
        if lengths is not None:
            counted = (at < lengths[:, None])[:, None, None]
            seen = counted if seen is None else seen & counted
        y, weights = attention(queries, keys, values, seen)
        self.sow("intermediates", "weights", weights)
        y = y.swapaxes(1, 2).reshape(*x.shape[:2], self.features)
        return self.out(y), cache

    def keys_values(self, memory: Float[Array, "b m e"]) -> KeysValues:
        """A memory's keys and values, to be made once where many queries come one after another."""
        return KeysValues(self._by_head(self.key(memory)), self._by_head(self.value(memory)))

    def _by_head(self, x):
        """[B, n, heads d] -> [B, heads, n, d]."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)
