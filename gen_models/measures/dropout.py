"""Monte Carlo dropout: predictive distributions of networks that drop units when they predict too.

Gal and Ghahramani, Dropout as a Bayesian Approximation (2016), section 4. With T passes f_t(x), each with units of its
own dropped, and observations of precision tau about each, here of the standard deviation tau^(-1/2), the prediction is
the mean of the passes and the likelihood that of a mixture of T normal distributions (their eq. 8):

    E[y] = 1/T sum f_t(x)        log p(y) = log sum exp(-tau/2 (y - f_t(x))^2) - log T + 1/2 log tau - 1/2 log 2 pi
"""

from dataclasses import dataclass
from functools import lru_cache

import jax
import numpy as np
from jaxtyping import Float

from gen_models.core import Key
from gen_models.measures.base import Split, Trained

TOGETHER = 50  # passes in one call of the compiled program


@dataclass(frozen=True)
class _Passes:
    """`count` passes of an example."""

    count: int

    def draw(self, model, params, stats, batch, key) -> jax.Array:
        """[1, count, ...]."""
        keys = jax.random.split(key, self.count)
        return jax.vmap(lambda key: model.apply(params, stats, batch["x"], key=key), out_axes=1)(keys)


@lru_cache
def _passes(count: int) -> _Passes:
    """The same object for the same count, as `Split.each` compiles a function of each object anew."""
    return _Passes(count)


def dropout_passes(trained: Trained, split: Split, key: Key, passes: int) -> Float[np.ndarray, "n passes *shape"]:
    """What a model with dropout says of each example in some passes, whose dropped units are independent.

    The model's `apply` takes a `key`, as that of `mlp` and of copies of it does.

    Raises:
      ValueError: `passes` is below 1; a model with batch norm.
    """
    if passes < 1:
        raise ValueError(f"passes must be 1 or more, got {passes}")
    counts = [min(TOGETHER, passes - done) for done in range(0, passes, TOGETHER)]
    parts = [
        split.each(_passes(count).draw, trained, jax.random.fold_in(key, part), size=500)
        for part, count in enumerate(counts)
    ]
    return np.concatenate(parts, 1)


def mixture_log_likelihood(
    passes: Float[np.ndarray, "n passes *shape"], y: Float[np.ndarray, "n *shape"], deviation: float
) -> Float[np.ndarray, "n *shape"]:
    """log p(y) in nats under the mixture of normal distributions about the passes; see the top of this file.

    Args:
      passes: f_t(x).
      y: observations.
      deviation: tau^(-1/2), in y's unit.

    Raises:
      ValueError: `deviation` is not above 0.
    """
    if not deviation > 0:
        raise ValueError(f"deviation must be above 0, got {deviation}")
    exponents = -0.5 * ((np.asarray(y)[:, None] - passes) / deviation) ** 2
    most = exponents.max(1, keepdims=True)
    total = np.log(np.exp(exponents - most).mean(1)) + most[:, 0]
    return total - np.log(deviation) - 0.5 * np.log(2 * np.pi)
