"""Additive attention (Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate, 2015).

A.1.2: for a state s and positions h_j of a memory, e_j = v . tanh(s W + h_j U), a = softmax(e), c = sum_j a_j h_j. What
depends on the memory alone, h_j U, is made once (`keys`).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

_MASKED = -1e30  # a score that no weight is left of; finite, so that a row of these has no NaN in its gradient


def additive_attention(
    state: Float[Array, "b h"],
    keys: Float[Array, "b m a"],
    values: Float[Array, "b m c"],
    seen: Bool[Array, "b m"],
    query_kernel: Float[Array, "h a"],
    score: Float[Array, " a"],
) -> tuple[Float[Array, "b c"], Float[Array, "b m"]]:
    """What the state gathers, and its weights; scores and softmax in float32. One that sees nothing gathers zeros."""
    hidden = jnp.tanh((state.astype(keys.dtype) @ query_kernel)[:, None] + keys)
    scores = jnp.einsum("bma,a->bm", hidden, score, preferred_element_type=jnp.float32)
    weights = jnp.where(seen, jax.nn.softmax(jnp.where(seen, scores, _MASKED)), 0)
    return jnp.einsum("bm,bmc->bc", weights.astype(values.dtype), values), weights


class AdditiveAttention(nn.Module, kw_only=True):
    """`additive_attention` with its parameters."""

    features: int  # of the hidden layer
    state_features: int
    dtype: DTypeLike | None = None

    def setup(self) -> None:
        """The kernels of states and of positions, and the vector that scores."""
        self.key = nn.Dense(self.features, dtype=self.dtype)
        shape = (self.state_features, self.features)
        self.query = self.param("query", nn.initializers.lecun_normal(), shape, jnp.float32)
        self.score = self.param("score", nn.initializers.normal(self.features**-0.5), (self.features,), jnp.float32)

    def keys(self, values: Float[Array, "b m c"]) -> Float[Array, "b m a"]:
        """What depends on the memory alone."""
        return self.key(values)

    def weights(self) -> tuple[Float[Array, "h a"], Float[Array, " a"]]:
        """The last two arguments of `additive_attention`, for a loop over states."""
        dtype = jnp.float32 if self.dtype is None else self.dtype
        return self.query.astype(dtype), self.score.astype(dtype)

    def __call__(
        self, state: Float[Array, "b h"], values: Float[Array, "b m c"], seen: Bool[Array, "b m"]
    ) -> tuple[Float[Array, "b c"], Float[Array, "b m"]]:
        """What one state of each example gathers, and its weights."""
        return additive_attention(state, self.keys(values), values, seen, *self.weights())
