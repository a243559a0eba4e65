"""NADE, the neural autoregressive distribution estimator, for binary images.

Larochelle & Murray, The Neural Autoregressive Distribution Estimator (2011), eq. 6 and 7. Each hidden layer's sums are
those of the variable before and one term more, so that a likelihood costs what a pass through an autoencoder costs:

    a_1 = c,  a_{d+1} = a_d + x_d W_d,  h_d = sigmoid(a_d),  p(x_d = 1 | x_<d) = sigmoid(b_d + h_d V_d)

The gradient is their algorithm 1's: it goes back through the variables and takes each term off the sums again, so that
nothing is kept but the last ones. On a CPU this is twice as fast as blocks of variables at once, or more.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.autoregressive.binary_model import binary_model
from gen_models.models.autoregressive.in_order import OneByOne, image_size, raster_order

Activation = Callable[[Array], Array]


def nade(
    shape: Sequence[int] = (28, 28, 1),
    hidden: int = 500,
    *,
    order_seed: int | None = None,
    activation: Activation = jax.nn.sigmoid,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of binary images [B, *shape]; its functions are those of `binary_model`.

    Args:
      shape: (height, width, channels).
      hidden: units of the hidden layer, H.
      order_seed: of a random order of the variables, which belongs to the model; None: raster order.
      activation: of the hidden layer, elementwise.
      dtype: of the products with V, such as `jnp.bfloat16`; sums, parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive.
    """
    size = image_size(shape, hidden=hidden)
    orders = raster_order(size)
    if order_seed is not None:
        orders = np.random.Generator(np.random.Philox(order_seed)).permutation(size)[None]
    order, place = orders[0], np.argsort(orders[0])

    def init(key):
        w_key, v_key = jax.random.split(key)
        return {  # rows, and entries of b, by a variable's place in the order
            "W": jax.random.normal(w_key, (size, hidden), jnp.float32) / math.sqrt(size),
            "V": jax.random.normal(v_key, (size, hidden), jnp.float32) / math.sqrt(hidden),
            "b": jnp.zeros(size, jnp.float32),
            "c": jnp.zeros(hidden, jnp.float32),
        }

    def logits(params, x, index, key):
        y = nade_products(x[:, order], params["W"], params["V"], params["c"], activation, dtype) + params["b"]
        return y[:, place]

    def one_by_one(params, index, n):
        where = jnp.asarray(place)

        def logit(a, d):
            return _output(a, params["V"][where[d]], activation, dtype) + params["b"][where[d]]

        return OneByOne(
            carry=jnp.broadcast_to(params["c"], (n, hidden)),
            logit=logit,
            update=lambda a, d, x: a + x[:, None] * params["W"][where[d]],
        )

    return binary_model(shape, orders, init, logits, one_by_one)


def _output(a, v, activation, dtype):
    """h_d . V_d, [B], from the sums a [B, H]."""
    h = activation(a)
    return (h.astype(dtype or h.dtype) * v.astype(dtype or v.dtype)).sum(-1, dtype=a.dtype)


def nade_products(
    x: Float[Array, "b d"],
    w: Float[Array, "d h"],
    v: Float[Array, "d h"],
    c: Float[Array, "h"] | Float[Array, "b h"],
    activation: Activation = jax.nn.sigmoid,
    dtype: DTypeLike | None = None,
) -> Float[Array, "b d"]:
    """h_d . V_d for every variable d; it has no forward mode, as its gradient is written out.

    `c` may be each example's own.
    """
    return _products(x, w, v, jnp.broadcast_to(c, (x.shape[0], c.shape[-1])), activation, dtype)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _products(x, w, v, c, activation, dtype):
    return _forward(x, w, v, c, activation, dtype)[0]


def _forward(x, w, v, c, activation, dtype):
    def one(a, variable):
        x, w, v = variable
        return a + x[:, None] * w, _output(a, v, activation, dtype)

    a, y = lax.scan(one, c, (x.T, w, v))
    return y.T, (x, w, v, a)


def _backward(activation, dtype, kept, dy):
    """Algorithm 1, back through the variables: `da` is the gradient by the sums that all later variables share."""
    x, w, v, a = kept

    def one(carry, variable):
        a, da = carry
        x, w, v, dy = variable
        dw, dx = x @ da, (da * w).sum(-1)
        a = a - x[:, None] * w
        h, slope = jax.jvp(activation, (a,), (jnp.ones_like(a),))
        rounded = (dy.astype(dtype or dy.dtype), h.astype(dtype or h.dtype))
        dv = jnp.matmul(*rounded, preferred_element_type=a.dtype)
        return (a, da + dy[:, None] * v * slope), (dx, dw, dv)

    (_, da), (dx, dw, dv) = lax.scan(one, (a, jnp.zeros_like(a)), (x.T, w, v, dy.T), reverse=True)
    return dx.T, dw, dv, da


_products.defvjp(_forward, _backward)
