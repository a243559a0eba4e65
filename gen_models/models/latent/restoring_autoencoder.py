"""A denoising autoencoder of convolutions alone, whose code is a map with more numbers than the image: it restores.

The loss is that of `denoising_autoencoder.py` (Vincent et al., 2010, section 3.1),

    E_{x~ ~ C(x~|x)} |x - g(f(x~))|^2

and what it is after is g(f(x~)) itself, the image restored: the best one is E[x|x~]. A narrow code would blur it, so
that there is none: f halves the image's sides once or twice, and further layers keep the map's, as in the convolutional
encoder-decoders of Mao et al., Image Restoration Using Very Deep Convolutional Encoder-Decoder Networks (2016), here
without their skip connections, so that f and g are functions of their own. Only the damage keeps it from the identity.

What is missing is made of what lies within reach: with S layers of stride 2 and L behind them, a code's number sees
3 * 2^S - 2 + 2 L 2^S pixels along each axis. The more strides, the farther, for the same work.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.latent.autoencoder import Parts, identity
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.autoencoding import check_strides, maps_of, transposed
from gen_models.nn.conv import Conv
from gen_models.nn.corruptions import Corruption, gaussian
from gen_models.nn.reconstructions import Reconstruction, squared


def restoring_autoencoder(
    shape: Sequence[int] = (28, 28, 1),
    *,
    corruption: Corruption | None = None,
    channels: Sequence[int] = (32,),
    layers: int = 2,
    reconstruction: Reconstruction | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A convolutional autoencoder that sees damaged images and is compared with whole ones.

    Its functions are those of `autoencoder`; a code is the map, flattened: [B, height x width x channels] of it.
    `decode(params, stats, encode(params, stats, damaged))` is the restored image. In the loss x is damaged in training;
    with `train=False` it is not, nor is it by `encode`.

    Args:
      shape: (height, width, channels) of one image.
      corruption: (x [B, *shape], key) -> damaged x, of `gen_models/nn/corruptions.py` or
        `gen_models/nn/image_damage.py`; None: `gaussian(0.2)`.
      channels: of the encoder's 4x4 convolutions of stride 2; the last is that of the code. The decoder mirrors them.
      layers: 3x3 convolutions of the encoder behind these, of as many channels; the decoder mirrors them.
      reconstruction: the error, of `gen_models/nn/reconstructions.py`; None: the squared error.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and codes stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), there are no channels, or the image is too small for
      so
        many strides; a batch, images or codes of another shape.
    """
    check_sizes(shape=shape)
    check_each(channels=channels)
    check_strides(shape, channels)
    if not channels or layers < 0:
        raise ValueError(f"a map needs a stride, and layers cannot be negative: got {channels=}, {layers=}")
    shape, maps = tuple(shape), maps_of(shape, channels)
    encoder = _Encoder(channels=tuple(channels), layers=layers, dtype=dtype)
    decoder = _Decoder(maps=maps, layers=layers, dtype=dtype)
    parts = Parts(shape, math.prod(maps[-1]), encoder, decoder, identity, reconstruction or squared())
    corrupted = gaussian(0.2) if corruption is None else corruption

    def loss(params, stats, batch, key, *, step, train=True):
        x = parts.seen(batch)
        z = parts.code(params, corrupted(x, key) if train else x)
        error = parts.error(params, z, x).mean()
        return error, (stats, {"reconstruction": error})

    return parts.model(loss)


class _Encoder(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    layers: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> dict[str, Float[Array, "b d"]]:
        h = x
        for features in self.channels:
            h = nn.relu(Conv(features, (4, 4), strides=2, dtype=self.dtype)(h))
        for _ in range(self.layers):
            h = nn.relu(Conv(h.shape[-1], (3, 3), dtype=self.dtype)(h))
        return {"code": h.reshape(x.shape[0], -1).astype(jnp.float32)}


class _Decoder(nn.Module, kw_only=True):
    maps: tuple[tuple[int, ...], ...]  # (height, width, channels) of the image and of each map behind it
    layers: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        h = z.reshape(z.shape[0], *self.maps[-1])
        for _ in range(self.layers):
            h = nn.relu(Conv(h.shape[-1], (3, 3), dtype=self.dtype)(h))
        for *sides, features in reversed(self.maps[:-1]):
            h = transposed(features, sides, self.dtype)(h)
            h = nn.relu(h) if sides != list(self.maps[0][:2]) else h
        return h.astype(jnp.float32)
