"""Fully visible sigmoid belief network: each pixel is a logistic regression on those before it.

Neal, Connectionist Learning of Belief Networks (1992), without hidden units; Frey, Graphical Models for Machine
Learning and Digital Communication (1998), the "logistic autoregressive Bayesian network":

    p(x_d = 1 | x_<d) = sigmoid(b_d + sum_{e < d} x_e W_ed)

Variables are pixels in raster order. The loss is convex.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.autoregressive.binary_model import binary_model
from gen_models.models.autoregressive.in_order import OneByOne, image_size, raster_order


def fvsbn(shape: Sequence[int] = (28, 28, 1), *, dtype: DTypeLike | None = None) -> Model:
    """A model of binary images [B, *shape]; its functions are those of `binary_model`. All parameters are 0 at first.

    Args:
      shape: (height, width, channels).
      dtype: of the product, such as `jnp.bfloat16`; sums, parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive.
    """
    size = image_size(shape)

    def init(key):
        return {"W": jnp.zeros((size, size), jnp.float32), "b": jnp.zeros(size, jnp.float32)}

    def weights(params):
        return jnp.triu(params["W"], 1).astype(jnp.float32 if dtype is None else dtype)  # row e, column d: e < d

    def logits(params, x, index, key):
        w = weights(params)
        return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=jnp.float32) + params["b"]

    def one_by_one(params, index, n):
        w = weights(params)
        return OneByOne(
            carry=jnp.broadcast_to(params["b"], (n, size)),
            logit=lambda sums, d: sums[:, d],
            update=lambda sums, d, x: sums + x[:, None] * w[d],
        )

    return binary_model(shape, raster_order(size), init, logits, one_by_one)
