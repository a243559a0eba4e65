"""A quadratic as a model: f(w) = w' H w / 2 of D parameters, on which optimizers can be held against theory.

Its minimum is at w = 0. A run's start, w ~ N(0, I), is kept in the statistics, so that its path can be walked again.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from gen_models.core import Model


def quadratic(hessian: Float[np.ndarray, "d d"]) -> Model:
    """The model; its batches are not looked at.

    Args:
      hessian: H, symmetric and positive definite; kept in float64 and rounded to w's type.

    Raises:
      ValueError: H is no square matrix.
    """
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1]:
        raise ValueError(f"a Hessian is a square matrix, got the shape {hessian.shape}")

    def init(key, batch):
        w = jax.random.normal(key, (len(hessian),))
        return {"w": w}, {"start": jnp.copy(w)}

    def loss(params, stats, batch, key, *, step, train=True):
        """f(w)."""
        w = params["w"]
        return w @ jnp.asarray(hessian, w.dtype) @ w / 2, (stats, {})

    return Model(init, loss)


def descent(
    tx: optax.GradientTransformation,
    hessian: Float[np.ndarray, "d d"],
    start: Float[Array | np.ndarray, "d"],
    steps: int,
) -> Float[np.ndarray, "{steps}+1 d"]:
    """w after 0, 1, ..., `steps` updates by an optimizer, in float64 of float32 arithmetic."""
    start = jnp.asarray(start)
    matrix = jnp.asarray(hessian, start.dtype)

    def step(carry, _):
        w, state = carry
        updates, state = tx.update(matrix @ w, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    _, after = jax.lax.scan(step, (start, tx.init(start)), length=steps)
    return np.asarray(jnp.concatenate([start[None], after]), np.float64)
