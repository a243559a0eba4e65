"""The importance-weighted bound on log p(x), for models with latent variables.

Burda et al., Importance Weighted Autoencoders (2016), eq. 8:

    log p(x) >= E[log 1/K sum_k w_k],   w_k = p(x, z_k) / q(z_k | x),   z_k ~ q(z | x)

The bound rises with K (their theorem 1) to log p(x), so values for different K are not to be compared.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key


def importance_weighted(
    log_weight: Callable[[Key], Float[Array, "b"]], key: Key, samples: int, chunk: int = 10
) -> Float[Array, "b"]:
    """The bound on log p(x) from `samples` importance samples, [B] nats, in the memory of `chunk` of them.

    Sample k uses the key `fold_in(key, k)`, so that the result does not depend on `chunk`, rounding apart.

    Args:
      log_weight: key -> log p(x, z) - log q(z | x), [B] nats, for one z an example, drawn from q with that key.
      key: a typed key.
      samples: K of the equation above.
      chunk: samples taken at once. The last chunk is computed whole even where it is not needed whole.

    Raises:
      ValueError: `samples` or `chunk` is below 1.
    """
    if samples < 1 or chunk < 1:
        raise ValueError(f"samples and chunk must be 1 or more, got {samples=}, {chunk=}")
    chunk = min(chunk, samples)

    def log_weights(indices):
        log_w = jax.vmap(lambda k: log_weight(jax.random.fold_in(key, k)))(indices)  # [chunk, B]
        return jnp.where((indices < samples)[:, None], log_w, -jnp.inf)

    def body(total, start):
        chunk_total = jax.nn.logsumexp(log_weights(start + jnp.arange(chunk)), axis=0)
        return jnp.logaddexp(total, chunk_total), None

    out = jax.eval_shape(log_weight, key)
    total, _ = jax.lax.scan(body, jnp.full(out.shape, -jnp.inf, out.dtype), jnp.arange(0, samples, chunk))
    return total - jnp.log(samples)
