"""Which tokens may be drawn, and how probable each is: temperature, the k most probable, and the nucleus.

Top-k: Fan et al., Hierarchical Neural Story Generation (2018), section 5.1. Nucleus: Holtzman et al., The Curious Case
of Neural Text Degeneration (2020), section 3.1: the fewest most probable tokens whose probabilities sum to p or more.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.nn.heads import cooled


def kept_logits(
    logits: Float[Array, "*n v"],
    temperature: float | Array = 1.0,
    top_k: int | None = None,
    top_p: float | Array | None = None,
) -> Float[Array, "*n v"]:
    """Logits over the temperature; minus infinity for tokens that are not to be drawn.

    Args:
      logits: of V tokens.
      temperature: by which logits are divided; at 0 only the most probable token is left, several alike by lot.
      top_k: how many of the most probable are left, 1 to V; those that are as probable as the last of them are left
        too. None: all.
      top_p: of those, the fewest most probable that have this probability together, at this temperature: in (0, 1]; may
        be traced. Those that are as probable as the last of them are left too. None: all.

    Raises:
      ValueError: `top_k` is no whole number from 1 to V, or `top_p`, where it is known, is not in (0, 1].
    """
    size = logits.shape[-1]
    if top_k is not None and not (isinstance(top_k, int) and 1 <= top_k <= size):
        raise ValueError(f"top_k must be a whole number from 1 to the vocabulary's {size}, or None, got {top_k}")
    if isinstance(top_p, int | float) and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be a probability above 0 and at most 1, or None, got {top_p}")
    logits = cooled(logits.astype(jnp.float32), temperature)
    if top_k is not None and top_k < size:
        last = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < last, -jnp.inf, logits)
    if top_p is not None:
        falling = jnp.flip(jnp.sort(logits, -1), -1)
        probability = jax.nn.softmax(falling)
        before = jnp.cumsum(probability, -1) - probability  # of the tokens that are more probable than each
        last = jnp.min(jnp.where(before < top_p, falling, jnp.inf), -1, keepdims=True)
        logits = jnp.where(logits < last, -jnp.inf, logits)
    return logits
