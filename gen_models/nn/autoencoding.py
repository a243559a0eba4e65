"""Encoders and decoders of images: the networks that every model with a code shares.

An encoder is a Flax module `encoder(x, label=None) -> {head: [B, width]}`, a decoder one `decoder(z, label=None) ->
[B, *shape]`; `label` is [B, classes], one-hot, of models that are told the class. Any others will do in their place.

Convolutions of stride 2 stand in place of pooling and their transposes in place of unpooling, as in Radford et al.,
DCGAN (2016), section 3, but without batch norm, which would make an image's code depend on its neighbours in the batch.
In place of a transposed convolution, `resized` enlarges by copying pixels and then convolves, which makes no
checkerboards (Odena et al., Deconvolution and Checkerboard Artifacts, 2016).
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.nn.conv import Conv, ConvTranspose

Activation = Callable[[Array], Array]
# (features, (height, width) that it makes, dtype) -> layer that doubles an image's sides
Enlargement = Callable[[int, Sequence[int], DTypeLike | None], nn.Module]
_WINDOW = (4, 4)  # twice the stride, so that a transposed convolution makes each pixel of equally many taps


def maps_of(shape: Sequence[int], channels: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """(height, width, channels) of the image and of what each stride of 2 makes of it; odd sides are rounded up."""
    height, width, colours = shape
    return tuple((-(-height // 2**i), -(-width // 2**i), c) for i, c in enumerate((colours, *channels)))


def check_strides(shape: Sequence[int], channels: Sequence[int], *, name: str = "channels", least: int = 0) -> None:
    """Refuse more convolutions of stride 2 than an image can be halved.

    Args:
      shape: (height, width, ...) of an image.
      channels: of each convolution.
      name: of the argument that gives them.
      least: the fewest convolutions that the model can have.

    Raises:
      ValueError: an image of one pixel would be halved.
    """
    height, width = shape[:2]
    most = (min(height, width) - 1).bit_length()  # halvings, odd sides rounded up, until one is a single pixel
    if len(channels) > most:
        fewer = f"give at most {most} {name}, or " if most else f"leave {name} empty, or "
        raise ValueError(
            f"an image of {height}x{width} is too small for {len(channels)} convolutions of stride 2, "
            f"{name}={tuple(channels)}: {fewer if most >= least else ''}use images with sides of more than "
            f"{2 ** (len(channels) - 1)} pixels"
        )


def with_label(h: Float[Array, "b f"], label: Float[Array, "b classes"] | None) -> Float[Array, "b g"]:
    """Features with the class beside them, where there is one."""
    return h if label is None else jnp.concatenate([h, label.astype(h.dtype)], -1)


class Encoder(nn.Module, kw_only=True):
    """Convolutions of stride 2, then dense layers, then a linear layer for each head.

    Args:
      heads: name -> width of each output.
      hidden: widths of the dense layers, which are told the label.
      channels: of 4x4 convolutions of stride 2 before them; (): x may have any shape.
      gives_features: whether what the heads see is given too, as "features".
      activation: after every layer but the heads.
      dtype: of the computations; what comes out is float32.
    """

    heads: tuple[tuple[str, int], ...]
    hidden: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    gives_features: bool = False
    activation: Activation = nn.relu
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b *shape"], label: Float[Array, "b classes"] | None = None) -> dict[str, Array]:
        """The heads' outputs by their names."""
        h = x
        for features in self.channels:
            h = self.activation(Conv(features, _WINDOW, strides=2, dtype=self.dtype)(h))
        h = with_label(h.reshape(x.shape[0], -1), label)
        for width in self.hidden:
            h = self.activation(nn.Dense(width, dtype=self.dtype)(h))
        found = {name: nn.Dense(width, dtype=self.dtype, name=name)(h) for name, width in self.heads}
        if self.gives_features:
            found["features"] = h
        return {name: value.astype(jnp.float32) for name, value in found.items()}


class Decoder(nn.Module, kw_only=True):
    """Dense layers, then layers that each double an image's sides; the last layer is linear.

    Args:
      shape: of what comes out, (height, width, outputs); without `channels` any shape.
      hidden: widths of the dense layers, the first of which are told the label.
      channels: as an encoder has them, from the image inwards; (): dense layers alone.
      enlarged: the layer that doubles sides, `transposed` or `resized`.
      activation: before every layer but the first.
      dtype: of the computations; what comes out is float32.
    """

    shape: tuple[int, ...]
    hidden: tuple[int, ...] = ()
    channels: tuple[int, ...] = ()
    enlarged: Enlargement | None = None
    activation: Activation = nn.relu
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, z: Float[Array, "b d"], label: Float[Array, "b classes"] | None = None
    ) -> Float[Array, "b *shape"]:
        """The outputs for each number of an image."""
        h = with_label(z, label)
        for width in self.hidden:
            h = self.activation(nn.Dense(width, dtype=self.dtype)(h))
        maps = maps_of(self.shape, self.channels) if self.channels else (self.shape,)
        h = nn.Dense(math.prod(maps[-1]), dtype=self.dtype)(h).reshape(z.shape[0], *maps[-1])
        enlarged = self.enlarged or transposed
        for *sides, features in reversed(maps[:-1]):
            h = enlarged(features, sides, self.dtype)(self.activation(h))
        return h.astype(jnp.float32)


def transposed(features: int, sides: Sequence[int], dtype: DTypeLike | None = None) -> nn.Module:
    """A transposed (fractionally strided) 4x4 convolution of stride 2 (Dumoulin & Visin, 2016, section 4).

    It is the transpose of the encoder's "SAME" convolution, which pads odd sides by one more at their end: so the map
    has exactly the sides that the encoder saw, and each pixel lies where its features were made from it.
    """
    return _transposed(features, sides, dtype, window=_WINDOW[0])


@lru_cache
def transposed_with(window: int) -> Enlargement:
    """`transposed` with another square window.

    The stride does not divide an odd one, so that some pixels are made of more taps than their neighbours: of a 3x3
    window of 1, 2 or 4, by turns. Odena et al. (2016) found checkerboards there, which the equal taps of an even window
    make easier to avoid.

    Raises:
      ValueError: the window is below 2, so that some pixels would be made of nothing.
    """
    if window < 2:
        raise ValueError(f"a window of {window} leaves gaps between strides of 2: give 2 or more")
    return partial(_transposed, window=window)


def _transposed(features: int, sides: Sequence[int], dtype: DTypeLike | None = None, *, window: int) -> nn.Module:
    padding = transposed_padding(window, sides)
    return ConvTranspose(features, (window, window), strides=2, padding=padding, dtype=dtype)


def transposed_padding(window: int, sides: Sequence[int]) -> list[tuple[int, int]]:
    """What pads a transposed convolution of stride 2 to be the transpose of a "SAME" one of maps with `sides`."""
    pads = [max(2 * (-(-side // 2) - 1) + window - side, 0) for side in sides]  # of the "SAME" convolution, both ends
    return [(window - 1 - pad // 2, window - 1 - (pad - pad // 2)) for pad in pads]


def resized(features: int, sides: Sequence[int], dtype: DTypeLike | None = None) -> nn.Module:
    """Each pixel copied to 2x2, then a 3x3 convolution (Odena et al., 2016); odd sides lose their last copy."""
    return _Resized(features=features, sides=tuple(sides), dtype=dtype)


class _Resized(nn.Module, kw_only=True):
    features: int
    sides: tuple[int, ...]
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x):
        height, width = self.sides
        large = x.repeat(2, 1).repeat(2, 2)[:, :height, :width]
        return Conv(self.features, (3, 3), dtype=self.dtype)(large)
