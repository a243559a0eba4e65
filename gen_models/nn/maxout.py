"""Maxout units (Goodfellow et al., Maxout Networks, 2013, eq. 1)."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.nn.normalised_weights import Dense, Weights


class Maxout(nn.Module, kw_only=True):
    """The largest of `pieces` affine maps for each of `width` units; one product with [d, pieces * width] makes all."""

    width: int
    pieces: int
    weights: Weights = "plain"  # how they are normalised, each piece's of each unit by itself where by their norm
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None  # of the computation; None: that of x and the parameters

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: bool = False) -> Float[Array, "b {self.width}"]:
        """h_i = max over j of x @ W[:, j, i] + b[j, i]."""
        features, common = self.pieces * self.width, dict[str, Any](kernel_init=self.kernel_init, dtype=self.dtype)
        if self.weights == "plain":  # Linen's layer adds the bias by another operation, and published runs are its bits
            pieces = nn.Dense(features, **common)(x)
        else:
            pieces = Dense(features, self.weights, **common)(x, train)
        return jnp.max(pieces.reshape(*x.shape[:-1], self.pieces, self.width), axis=-2)
