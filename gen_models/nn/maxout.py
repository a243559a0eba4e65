"""Maxout units (Goodfellow et al., Maxout Networks, 2013, eq. 1)."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class Maxout(nn.Module, kw_only=True):
    """The largest of `pieces` affine maps for each of `width` units; one product with [d, pieces * width] makes all."""

    width: int
    pieces: int
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None  # of the computation; None: that of x and the parameters

    @nn.compact
    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b {self.width}"]:
        """h_i = max over j of x @ W[:, j, i] + b[j, i]."""
        pieces = nn.Dense(self.pieces * self.width, kernel_init=self.kernel_init, dtype=self.dtype)(x)
        return jnp.max(pieces.reshape(*x.shape[:-1], self.pieces, self.width), axis=-2)
