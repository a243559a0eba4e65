"""The small convolutional GAN by which a loss of modes is studied: stacked MNIST, three digits as an image's colours.

Metz et al., Unrolled Generative Adversarial Networks (2017), made both networks so small that an ordinary GAN loses
most of the 1,000 modes; Lin et al., PacGAN (2018), table 3, packed them. The layers are those of PacGAN's published
code for "D = G/4" (Metz et al.'s appendix was not at hand): the generator projects z, a standard Gaussian of 256
numbers, to a map 4x4x64, from which transposed convolutions of stride 2 make maps of 7x7x32, 14x14x16 and 28x28x8, and
a convolution the image; the discriminator has three convolutions of stride 2 with 2, 4 and 8 channels and a linear
layer. All windows are 3x3. Batch norm is of channels, in every layer but the last, the discriminator's first one among
them; ReLU in the generator, tanh at its end, LeakyReLU with slope 0.3 in the discriminator, to which the images of a
pack are channels side by side. All layers have biases; weights start N(0, 0.02^2).

Batches and samples are from 0 to 1; the networks see -1 to 1. PacGAN's code trains with batches of 128 packs and Adam
with beta1 0.5 and beta2 0.99, rate 2e-4 for the discriminator and 1e-4 for the generator, 500,000 steps.

How we differ: the generator is updated on fresh fakes, and sees the discriminator updated; its batch norm sees all
images of a step, not those of one place in the packs; samples are made with running averages, the code's with the
statistics of the samples; convolutions start N(0, 0.02^2), some of the code's cut at two deviations.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.adversarial.adversarial import Game, adversarial_model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.adversarial_losses import non_saturating
from gen_models.nn.autoencoding import check_strides, maps_of, transposed_padding
from gen_models.nn.conv import Conv, ConvTranspose
from gen_models.nn.judgements import judged, side_by_side

_WINDOW = 3
_KERNEL_INIT = nn.initializers.normal(0.02)


def tiny_dcgan(
    shape: Sequence[int] = (28, 28, 3),
    *,
    latent: int = 256,
    generator_features: Sequence[int] = (8, 16, 32, 64),
    discriminator_features: Sequence[int] = (2, 4, 8),
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
    **game: Unpack[Game],
) -> Model:
    """A GAN of few channels for images from 0 to 1; its players are "discriminator", then "generator".

    Its operations and metrics are those of `adversarial_model`.

    Args:
      shape: (height, width, channels) of one image.
      latent: dimensions of the noise.
      generator_features: channels of each map, from that of the image's own size inwards; each has half the sides.
      discriminator_features: channels of each convolution of stride 2; Metz et al. double them for "D = G/2".
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the networks' computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.
      **game: `loss` (non-saturating), `noise` ("normal"), `packing` (1) and other options of `adversarial_model`.

    Raises:
      ValueError: a size is not positive, there are more maps than an image can be halved, `momentum` is outside [0, 1),
        a penalty is given, which batch norm in the discriminator does not suit, or as `adversarial_model`.
    """
    check_sizes(shape=shape)
    each = {"generator_features": generator_features, "discriminator_features": discriminator_features}
    check_each(**each)
    for name, features in each.items():
        if not features:
            raise ValueError(f"{name} must be one or more channels, got {name}=()")
    check_strides(shape, generator_features[1:], name="generator_features")
    check_strides(shape, discriminator_features, name="discriminator_features", least=1)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if game.get("penalty") is not None:
        raise ValueError(
            "a penalty is on the gradient of each logit by its own example, and batch norm in this discriminator makes "
            "logits depend on the whole batch: take dcgan with discriminator_norm=False"
        )
    norm = partial(nn.BatchNorm, momentum=momentum, epsilon=1e-5, axis_name=axis_name, dtype=dtype)
    generator = _Generator(shape=tuple(shape), features=tuple(generator_features), norm=norm, dtype=dtype)
    discriminator = _Discriminator(features=tuple(discriminator_features), norm=norm, dtype=dtype)
    played: dict[str, Any] = {"loss": non_saturating(), **game}
    return adversarial_model(generator, discriminator, shape=shape, latent=latent, symmetric=True, **played)


class _Generator(nn.Module, kw_only=True):
    shape: tuple[int, ...]
    features: tuple[int, ...]
    norm: Any
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z, label=None, train=False):  # [B, latent] -> [B, *shape], from -1 to 1
        common: dict[str, Any] = {"kernel_init": _KERNEL_INIT, "dtype": self.dtype}
        window = (_WINDOW, _WINDOW)
        # Of the maps from the image inwards, the first is as large as the image itself.
        sides = [each[:2] for each in maps_of(self.shape, self.features[1:])]
        (height, width), channels = sides[-1], self.features[-1]
        h = nn.Dense(height * width * channels, **common)(z).reshape(z.shape[0], height, width, channels)
        h = nn.relu(self.norm(use_running_average=not train)(h))
        for size, channels in zip(sides[-2::-1], self.features[-2::-1], strict=True):
            padding = transposed_padding(_WINDOW, size)
            h = ConvTranspose(channels, window, strides=2, padding=padding, **common)(h)
            h = nn.relu(self.norm(use_running_average=not train)(h))
        x = Conv(self.shape[-1], window, **common)(h)
        return jnp.tanh(x.astype(jnp.float32))


class _Discriminator(nn.Module, kw_only=True):
    features: tuple[int, ...]
    norm: Any
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label=None, train=False):  # images, or packs of them, from -1 to 1 -> Judgement
        common: dict[str, Any] = {"kernel_init": _KERNEL_INIT, "dtype": self.dtype}
        h = side_by_side(x)
        for channels in self.features:
            h = Conv(channels, (_WINDOW, _WINDOW), strides=2, **common)(h)
            h = jax.nn.leaky_relu(self.norm(use_running_average=not train)(h), 0.3)
        return judged(h.reshape(h.shape[0], -1), None, train, **common)
