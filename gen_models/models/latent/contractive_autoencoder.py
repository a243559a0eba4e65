"""The contractive autoencoder: codes that change little where x changes a little.

Rifai et al., Contractive Auto-Encoders: Explicit Invariance During Feature Extraction (2011):

    J_CAE = sum_x L(x, g(f(x))) + lambda |J_f(x)|_F^2,   |J_f(x)|_F^2 = sum_ij (d f_j(x) / d x_i)^2

For one layer f = s(W x + b) the norm is sum_j s'(a_j)^2 sum_i W_ji^2, with s' = f (1 - f) for the sigmoid, and that is
what the paper trains. Here the encoder may have any layers: then the norm is exact by one pass back for each unit of
the code, all at once; or it is estimated by a few. With v of independent signs, E |v^T J|^2 = |J|_F^2, as
E v v^T is the identity (Hutchinson, 1990), so that each probe costs one pass back and the estimate is unbiased.

Differs from the paper: weights are not tied, which would keep the decoder from undoing what the encoder shrinks. The
squared error with a decoder that grows could do so; give the optimizer a penalty on weights where that is seen. The
penalty on the Hessian of the later paper (CAE+H) is not here.
"""

from collections.abc import Callable, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.core import Key, Model
from gen_models.models.latent.autoencoder import Network, Parts, parts_of
from gen_models.models.sizes import check_numbers, check_sizes


def contractive_autoencoder(
    shape: Sequence[int] = (28, 28, 1),
    *,
    weight: float | Array = 0.1,
    probes: int | None = None,
    **network: Unpack[Network],
) -> Model:
    """An autoencoder with the squared norm of its encoder's Jacobian in the loss.

    Its functions are those of `autoencoder`; the loss adds the penalty, and its metrics are "reconstruction" and
    "contraction", the mean squared norm before it is weighed.

    Args:
      shape: (height, width, channels) of one image.
      weight: lambda, in the unit of the error over that of (code / x)^2; may be traced.
      probes: passes back by which the norm is estimated; None: it is exact, in closed form where the encoder is one
        layer, and else by as many passes as the code has dimensions.
      **network: as for `autoencoder`; `code_activation` is the sigmoid, where no other is given, and must act on each
        unit alone where the encoder is one layer.

    Raises:
      ValueError: as `autoencoder`; the weight is negative, infinite or NaN; or `probes` is below 1.
    """
    check_numbers(weight=weight)
    check_sizes(probes=probes)
    own: Network = {"code_activation": nn.sigmoid}
    parts = parts_of(shape, **(own | network))
    one_layer = not network.get("hidden", (0,)) and not network.get("channels")

    def contraction(params, x, key):
        if probes is not None:
            return estimated_norm(lambda x: parts.code(params, x), x, key, probes)
        return _of_one_layer(parts, params, x) if one_layer else exact_norm(lambda x: parts.code(params, x), x)

    def loss(params, stats, batch, key, *, step, train=True):
        x = parts.seen(batch)
        reconstruction = parts.error(params, parts.code(params, x), x).mean()
        norm = contraction(params, x, key).mean()
        return reconstruction + weight * norm, (stats, {"reconstruction": reconstruction, "contraction": norm})

    return parts.model(loss)


def exact_norm(encode: Callable[[Array], Array], x: Float[Array, "b *shape"]) -> Float[Array, "b"]:
    """The squared Frobenius norm of the Jacobian of each example's code, by a pass back for each unit of the code.

    Args:
      encode: x [B, *shape] -> codes [B, D], each of its own x alone.
      x: the examples.
    """
    code, pull = jax.vjp(encode, x)
    of_unit = jax.vmap(lambda unit: _squared_pull(pull, jnp.broadcast_to(unit, code.shape)))
    return of_unit(jnp.eye(code.shape[1], dtype=code.dtype)).sum(0)


def estimated_norm(
    encode: Callable[[Array], Array], x: Float[Array, "b *shape"], key: Key, probes: int
) -> Float[Array, "b"]:
    """An unbiased estimate of `exact_norm`: the mean of |v^T J|^2 over `probes` draws of v, of independent signs.

    Args:
      encode: x [B, *shape] -> codes [B, D], each of its own x alone.
      x: the examples.
      key: a typed key.
      probes: draws of v for each example.
    """
    code, pull = jax.vjp(encode, x)
    signs = jax.random.rademacher(key, (probes, *code.shape), code.dtype)
    return jax.vmap(lambda v: _squared_pull(pull, v))(signs).mean(0)


def _squared_pull(pull: Callable[[Array], Any], v: Float[Array, "b d"]) -> Float[Array, "b"]:
    (gradient,) = pull(v)
    return (gradient.reshape(len(v), -1) ** 2).sum(1)


def _of_one_layer(parts: Parts, params: Any, x: Float[Array, "b *shape"]) -> Float[Array, "b"]:
    """sum_j s'(a_j)^2 sum_i W_ji^2 of an encoder s(W x + b), whose activation acts on each unit alone."""
    heads: Any = parts.encoder.apply({"params": params["encoder"]}, x)
    slope = jax.grad(lambda a: parts.code_activation(a).sum())(heads["code"])
    return (slope**2) @ (params["encoder"]["code"]["kernel"] ** 2).sum(0)
