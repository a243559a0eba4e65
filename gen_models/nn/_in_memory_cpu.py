"""What keeps loops of a CPU's program apart."""

import jax
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


@jax.jit
def _itself(x):
    return x
