"""Dropout (Srivastava et al., 2014), in the inverted form: survivors are scaled up, so that evaluation does nothing.

Linen's own compares its rate with zero in Python; this one takes a traced rate, so that a sweep can vmap over it.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


def check_dropout(rate: float | Array) -> None:
    """Refuse what is no probability of being dropped; a traced rate is taken as it is.

    Raises:
      ValueError: it is not in [0, 1).
    """
    if isinstance(rate, int | float) and not 0 <= rate < 1:
        raise ValueError(f"dropout must be in [0, 1), got {rate}")


class Dropout(nn.Module):
    """Zeroes each unit with probability `rate` where `train`; draws from the "dropout" stream of keys."""

    @nn.compact
    def __call__(self, x: Float[Array, "*shape"], rate: float | Array, train: bool) -> Float[Array, "*shape"]:
        """The units kept, divided by `1 - rate`."""
        if not train or (isinstance(rate, int | float) and rate == 0):
            return x
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, x.shape)
        return jnp.where(keep, x / (1 - rate), 0).astype(x.dtype)  # a rate that is traced may be wider than x
