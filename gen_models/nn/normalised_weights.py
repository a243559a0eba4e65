"""Dense layers and convolutions whose weights are spectrally normalised, weight-normalised, or as they are.

- "spectral" (Miyato et al., Spectral Normalization for GANs, 2018, eq. 8 and algorithm 1): W / sigma(W), where sigma is
  the largest singular value of W as a matrix [outputs, all else]; a convolution's is reshaped so (appendix A, and the
  authors' code). One step of power iteration for each call estimates it: v <- W^T u / |.|, u <- W v / |.|, and sigma =
  u^T W v; gradients do not pass through u and v. The u are kept in Linen's collection "singular_vectors" and move where
  the layer trains; in evaluation the step is taken from them, and forgotten.
- "weight" (Salimans & Kingma, Weight Normalization, 2016, eq. 2): scale * v / |v| for each output. `init` sees the
  first batch, and sets scale and bias so that the outputs over it have mean 0 and variance 1 (section 3); without a
  bias the variance alone.

Linen's own wrappers are not used: its spectral norm keeps sigma, which belongs to one set of parameters, and asks for
a key of initialisation in each call, its weight norm knows no initialisation by data, and both name variables after the
wrapped layer's place.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.errors import unknown
from gen_models.nn.conv import Padding, conv

Weights = Literal["plain", "spectral", "weight"]
WEIGHTS = ("plain", "spectral", "weight")
COLLECTION = "singular_vectors"
_EPSILON = 1e-12


def check_weights(weights: str) -> None:
    """Refuse what is no way to normalise weights.

    Raises:
      ValueError: it is none of `WEIGHTS`.
    """
    if weights not in WEIGHTS:
        raise unknown("normalisation of weights", weights, WEIGHTS)


def power_iteration(matrix: Float[Array, "m n"], u: Float[Array, "n"]) -> tuple[Float[Array, ""], Float[Array, "n"]]:
    """An estimate of the largest singular value after one step from u, and the step's u.

    The estimate never exceeds the true one. Its gradient is v u^T, which at the true vectors is that of sigma. Where
    the step would lead to zeros, as that of a matrix of zeros does, u stays: from zeros no later step would come back.
    """
    v = _unit(matrix @ u)
    turned = matrix.T @ v
    u = jnp.where(_norm(turned) > _EPSILON, _unit(turned), u)
    u, v = lax.stop_gradient((u, v))
    return v @ matrix @ u, u


class Dense(nn.Module):
    """`nn.Dense` with normalised weights; the same in its bits where they are plain."""

    features: int
    weights: Weights = "plain"
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: bool = False) -> Float[Array, "b {self.features}"]:
        """x @ kernel + bias."""

        def product(x, kernel):
            return lax.dot_general(x, kernel, (((1,), (0,)), ((), ())))

        return _layer(self, x, (x.shape[-1], self.features), product, train)


class Conv(nn.Module):
    """`gen_models.nn.conv.Conv` with normalised weights."""

    features: int
    window: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    weights: Weights = "plain"
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], train: bool = False) -> Float[Array, "b *out {self.features}"]:
        """The convolution of x, plus the bias."""

        def product(x, kernel):
            return conv(x, kernel, strides=self.strides, padding=self.padding)

        return _layer(self, x, (*self.window, x.shape[-1], self.features), product, train)


def _layer(layer: Dense | Conv, x: Array, shape: Sequence[int], product: Callable[..., Array], train: bool) -> Array:
    """What both layers do, inside of their `__call__`: parameters, normalisation, product, bias."""
    kernel = layer.param("kernel", layer.kernel_init, shape, jnp.float32)
    mean, deviation = jnp.zeros(layer.features, jnp.float32), jnp.ones(layer.features, jnp.float32)
    if layer.weights == "spectral":
        kernel = kernel / _spectral_norm(layer, kernel, train)
    if layer.weights == "weight":
        kernel = kernel / jnp.sqrt(jnp.square(kernel).sum(tuple(range(kernel.ndim - 1))) + _EPSILON)
        if layer.is_initializing():
            outputs = product(x.astype(jnp.float32), kernel).reshape(-1, layer.features)
            # Where the batch shows no variance, as one of zeros does, the scale is finite all the same.
            mean, deviation = outputs.mean(0), jnp.sqrt(outputs.var(0) + 1e-8)
        kernel = kernel * layer.param("scale", lambda key: 1 / deviation)
    bias = layer.param("bias", lambda key: -mean / deviation) if layer.use_bias else None
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=layer.dtype)
    y = product(x, kernel)
    return y if bias is None else y + bias


def _spectral_norm(layer: nn.Module, kernel: Array, train: bool) -> Array:
    matrix = kernel.reshape(-1, kernel.shape[-1])
    first = lambda: jax.random.normal(layer.make_rng("params"), matrix.shape[-1:], jnp.float32)  # noqa: E731
    u = layer.variable(COLLECTION, "u", first)
    sigma, moved = power_iteration(matrix, u.value)
    if train and not layer.is_initializing():
        u.value = moved
    return jnp.where(sigma > _EPSILON, sigma, 1)  # a kernel of zeros stays one, with the gradient of a plain one


def _unit(vector: Array) -> Array:
    return vector / (_norm(vector) + _EPSILON)


def _norm(vector: Array) -> Array:
    return jnp.sqrt(jnp.square(vector).sum())
