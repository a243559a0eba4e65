"""What keeps loops of a CPU's program apart, and how it takes some images at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata
from jaxtyping import Array


def in_memory(x: Array) -> Array:
    """x itself, made before and apart from what reads it.

    XLA:CPU makes what is cheap a part of the loops that read it, and `lax.optimization_barrier` does not hold it back:
    it is gone before loops are made (JAX 0.10.2). What such a loop reads at more than one place becomes a function that
    is called for one element after the other, without vectors: three to fourteen times slower. A call that XLA may not
    inline holds it back, and copies nothing. Where XLA does not know the attribute, only time is lost.
    """
    with set_xla_metadata(inlineable="false"):
        return _itself(x)


def some_at_a_time(function: Callable[[Array], Array], x: Array, images: int) -> Array:
    """function(x) [B, ...] of x [B, ...], for `images` of them at once, of which B is a multiple.

    As `lax.map`, but for what the result holds before it is written over: `lax.map` has zeros there, which XLA makes
    once for all loops of one size and then copies, at more than the time of writing them. Here it is a number of x,
    which no other loop has.
    """
    if images == x.shape[0]:
        return function(x)
    made = jax.eval_shape(function, x[:images])
    start = jnp.broadcast_to(x[(0,) * x.ndim].astype(made.dtype), (x.shape[0], *made.shape[1:]))

    def add(i, y):
        some = lax.dynamic_slice_in_dim(x, i * images, images)
        return lax.dynamic_update_slice_in_dim(y, function(some), i * images, 0)

    return lax.fori_loop(0, x.shape[0] // images, add, start)


@jax.jit
def _itself(x):
    return x
