"""Principal component analysis as a model with a code: the linear map back and forth that loses least.

Pearson (1901), Hotelling (1933); as an autoencoder Baldi & Hornik (1989):

    z = (x - m) W,   x^ = m + z W^T,   W of D columns that minimises the mean of |x - x^|^2

The least is reached where m is the mean of the data and W has orthonormal columns, the eigenvectors of the covariance
with the largest eigenvalues, in their order: the closed form, which `init` computes of the batch that it is given. So

    params, stats = pca((28, 28, 1), latent=30).init(key, {"x": x})   # x [N, 28, 28, 1]: all of the training data

is the whole fit, and a run whose first batch is all of its training part is fitted before its first step, which then
has a gradient of 0 but for rounding and for what is missing in a batch that is smaller. With smaller batches, training
goes on from the components of the first one by stochastic gradients of the same error: with tied weights it is least in
the same place (Baldi & Hornik; the network of Oja, 1989), though the columns need not be the eigenvectors themselves.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import images, latents
from gen_models.models.sizes import check_sizes


def pca(shape: Sequence[int] = (28, 28, 1), *, latent: int = 32, dtype: DTypeLike | None = None) -> Model:
    """Principal component analysis, fitted by `init` to the batch that it gets; see the module's docstring.

    Its functions:
      init(key, batch): the closed form. The sign of a component is that by which its largest number is positive; the
        key is not used. It costs N D^2 + D^3 operations and the memory of two matrices of D x D, D numbers an image,
        in float32. From N images come N - 1 components at most: any orthonormal ones stand for those that are missing.
      loss: the squared error, summed over the numbers of an image; the metric is "reconstruction".
      encode(params, stats, x, key=None): the projections z, [B, latent]; neither scaled nor whitened.
      decode(params, stats, z): x^ of the equation above, [B, *shape].
      apply: the same.

    Args:
      shape: (height, width, channels) of one image.
      latent: components, in the order of their variance.
      dtype: of the projections; parameters, losses and codes stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), or there are more components than numbers in an
        image; a batch, images or codes of another shape.
    """
    check_sizes(shape=shape, latent=latent)
    shape = tuple(shape)
    if latent > math.prod(shape):
        raise ValueError(f"an image of {math.prod(shape)} numbers has no latent={latent} components: lower latent")

    def init(key, batch):
        mean, components = principal_components(images(batch, shape).reshape(-1, math.prod(shape)), latent)
        return {"mean": mean, "components": components}, {}

    def encode(params, stats, x, key=None):
        """The projections [B, latent]."""
        centred = images({"x": x}, shape).reshape(-1, math.prod(shape)) - params["mean"]
        return _product(centred, params["components"], dtype)

    def decode(params, stats, z):
        """Images [B, *shape] of projections."""
        latents(z, latent)
        return (params["mean"] + _product(z, params["components"].T, dtype)).reshape(-1, *shape)

    def loss(params, stats, batch, key, *, step, train=True):
        x = images(batch, shape)
        again = decode(params, stats, encode(params, stats, x))
        reconstruction = ((again - x) ** 2).sum((1, 2, 3)).mean()
        return reconstruction, (stats, {"reconstruction": reconstruction})

    return Model(init, loss, apply=decode, encode=encode, decode=decode)


def principal_components(x: Float[Array, "n d"], count: int) -> tuple[Float[Array, "d"], Float[Array, "d count"]]:
    """The mean of x, and the eigenvectors of its covariance with the largest eigenvalues, largest first, as columns."""
    mean = x.mean(0)
    centred = x - mean
    with jax.default_matmul_precision("highest"):
        covariance = centred.T @ centred / len(x)
    vectors = jnp.linalg.eigh(covariance)[1][:, ::-1][:, :count]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], 0)
    return mean, vectors * jnp.where(largest < 0, -1.0, 1.0)


def _product(a: Float[Array, "b i"], b: Float[Array, "i o"], dtype: DTypeLike | None) -> Float[Array, "b o"]:
    if dtype is not None:
        a, b = a.astype(dtype), b.astype(dtype)
    return (a @ b).astype(jnp.float32)
