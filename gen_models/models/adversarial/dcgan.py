"""Deep convolutional GAN: Radford et al., Unsupervised Representation Learning with DCGANs (2016), section 3, figure 1.

Of images 64x64x3: the generator projects z, uniform in [-1, 1]^100, to a map 4x4x1024, which transposed convolutions of
stride 2 enlarge to 512, 256 and 128 channels and to the image; the discriminator is its mirror with strided
convolutions, and a single logit. The windows are 5x5, which the paper does not say and the authors' code has; padding
is "SAME". Batch norm stands in all layers but the generator's output and the discriminator's input; ReLU in the
generator, tanh at its end, LeakyReLU with slope 0.2 in the discriminator. Weights start N(0, 0.02^2), batch norm's
scales, as in the code, N(1, 0.02^2). As in the code, no layer has a bias, and the projection's batch norm
is of each unit by itself; where batch norm is switched off, all layers have biases.

Images of other sizes by the same rule, `features_of`: halved while the map stays 4 pixels wide or more, with 128, 256,
... channels; 32 pixels end in 4x4x512, 28 in 7x7x256. Batches and samples are from 0 to 1; the networks see -1 to 1.

The paper trains with batches of 128 and Adam with rate 2e-4 and beta1 0.5, the rest as in `adversarial_model`. How we
differ: batch norm's epsilon is 1e-5 (1e-8 in the code); samples are made with running averages, as the code makes them
with those of a batch; "SAME" pads one more row and column at the end, the code at the beginning.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.adversarial.adversarial import Game, adversarial_model, check_discrimination, check_own_logits
from gen_models.models.sizes import check_each, check_sizes
from gen_models.nn.adversarial_losses import non_saturating
from gen_models.nn.autoencoding import Activation, check_strides, maps_of, transposed_padding, with_label
from gen_models.nn.conv import Conv, ConvTranspose
from gen_models.nn.judgements import Condition, Judgement, beside, check_condition, judged, side_by_side
from gen_models.nn.minibatch import MinibatchDiscrimination, minibatch_deviation
from gen_models.nn.normalised_weights import Conv as NormalisedConv
from gen_models.nn.normalised_weights import Weights, check_weights

leaky_relu: Activation = partial(jax.nn.leaky_relu, negative_slope=0.2)
_GRID = 4  # sides of the map to which `encode` pools every layer


def features_of(shape: Sequence[int], width: int = 128) -> tuple[int, ...]:
    """The paper's rule: `width` channels for the first map, twice as many whenever sides are halved, down to 4.

    The smaller side is halved while, rounded down, 4 or more are left of it; maps round up. So it ends as 4 to 7
    pixels, or as 8 (of 15 or 29, for example); and images with a side below 8 are halved once all the same.
    """
    halvings, side = 0, min(shape[:2])
    while side // 2 >= _GRID:
        halvings, side = halvings + 1, side // 2
    return tuple(width * 2**i for i in range(max(halvings, 1)))


def dcgan(
    shape: Sequence[int] = (64, 64, 3),
    *,
    latent: int = 100,
    features: Sequence[int] | None = None,
    width: int = 128,
    window: int = 5,
    generator_norm: bool = True,
    discriminator_norm: bool = True,
    pooling: bool = False,
    generator_activation: Activation = nn.relu,
    discriminator_activation: Activation = leaky_relu,
    weights: Weights = "plain",
    discrimination: tuple[int, int] | None = None,
    deviation: bool = False,
    classes: int | None = None,
    condition: Condition = "concatenate",
    weight_scale: float = 0.02,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
    **game: Unpack[Game],
) -> Model:
    """A DCGAN for images from 0 to 1; its players are "discriminator", then "generator".

    Its operations and metrics are those of `adversarial_model`; `encode(params, stats, x)` gives the features that the
    paper's section 5.1 classifies by: each of the discriminator's maps, pooled to 4x4 by maxima, flat, side by side.

    Args:
      shape: (height, width, channels) of one image.
      latent: dimensions of the noise.
      features: channels of each map, from the image inwards; None: those of `features_of`.
      width: channels of the first of these, where `features` is None.
      window: sides of all kernels; 2 or more, but with `pooling`.
      generator_norm: whether the generator has batch norm.
      discriminator_norm: whether the discriminator has; without it, it judges real and generated images in one batch,
        unless its features look at the batch. A `penalty` is on the gradient of each logit by its own example, and
        needs it to be off.
      pooling: maxima over 2x2 in place of the discriminator's strides, and pixels copied to 2x2 before ordinary
        convolutions in place of the generator's transposed ones.
      generator_activation: after each of its layers but the last.
      discriminator_activation: after each of its convolutions.
      weights: how the discriminator's are normalised: see `nn/normalised_weights.py`.
      discrimination: (kernels, size) of minibatch discrimination before the last layer: see `nn/minibatch.py`.
      deviation: the batch's standard deviation as one more map of the last convolution.
      classes: of labels, which batches have as "y"; the generator is given the class beside z. None: none are read.
      condition: how the discriminator is told the class, or asked for it: see `nn/judgements.py`.
      weight_scale: standard deviation of the initial weights.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the networks' computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.
      **game: `loss` (non-saturating), `noise` ("uniform") and other options of `adversarial_model`.

    Raises:
      ValueError: a size is not positive, there are more maps than an image can be halved, a name is unknown,
        `weight_scale` is not positive or not finite, `momentum` is outside [0, 1), a penalty comes together with batch
        norm or minibatch features in the discriminator, or as `adversarial_model`.
    """
    check_sizes(shape=shape, window=window, width=width)
    features = features_of(shape, width) if features is None else features
    check_each(features=features)
    if not features:
        raise ValueError("features must be one or more channels, got features=()")
    check_strides(shape, features, name="features", least=1)
    check_weights(weights)
    check_condition(condition)
    check_discrimination(discrimination)
    if game.get("penalty") is not None:
        check_own_logits(discriminator_norm=discriminator_norm, deviation=deviation, discrimination=discrimination)
    if window < 2 and not pooling:
        raise ValueError(f"a window of {window} leaves gaps between strides of 2: give 2 or more, or pooling=True")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    if isinstance(weight_scale, int | float) and not 0 < weight_scale < math.inf:
        raise ValueError(f"weight_scale must be positive and finite, got {weight_scale}")
    common: dict[str, Any] = {
        "features": tuple(features),
        "window": window,
        "pooling": pooling,
        "weight_scale": weight_scale,
        "momentum": momentum,
        "axis_name": axis_name,
        "dtype": dtype,
    }
    generator = _Generator(shape=tuple(shape), norm=generator_norm, activation=generator_activation, **common)
    discriminator = _Discriminator(
        norm=discriminator_norm,
        activation=discriminator_activation,
        weights=weights,
        discrimination=discrimination,
        deviation=deviation,
        classes=classes,
        condition=condition,
        **common,
    )
    played: dict[str, Any] = {"loss": non_saturating(), "noise": "uniform", **game}
    return adversarial_model(
        generator,
        discriminator,
        shape=shape,
        latent=latent,
        symmetric=True,
        apart=discriminator_norm or discrimination is not None or deviation,
        classes=classes,
        code=pooled,
        **played,
    )


def pooled(judgement: Judgement) -> Float[Array, "b f"]:
    """Each layer's map pooled to 4x4 by maxima, flat, side by side: Radford et al. (2016), section 5.1.

    Sides that 4 does not divide are cut into windows that overlap by one pixel at most.
    """
    return jnp.concatenate([_grid(h).reshape(h.shape[0], -1) for h in judgement.maps], -1)


def _grid(h: Array) -> Array:
    """Maxima over 4x4 windows that cover h [B, height, width, C]."""

    def rows(h, axis):
        side = h.shape[axis]
        edges = [(i * side // _GRID, -(-(i + 1) * side // _GRID)) for i in range(_GRID)]
        return jnp.stack([jax.lax.slice_in_dim(h, a, b, axis=axis).max(axis) for a, b in edges], axis)

    return rows(rows(h, 1), 2).astype(jnp.float32)


def _norm(layer: Any, train: bool) -> Callable[[Array], Array]:
    """Batch norm as the networks here have it, or nothing."""
    if not layer.norm:
        return lambda h: h
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=layer.momentum,
        epsilon=1e-5,
        scale_init=lambda key, shape, dtype=jnp.float32: 1 + 0.02 * jax.random.normal(key, shape, dtype),
        axis_name=layer.axis_name,
        dtype=layer.dtype,
    )


class _Generator(nn.Module, kw_only=True):
    shape: tuple[int, ...]
    features: tuple[int, ...]
    window: int
    norm: bool
    pooling: bool
    activation: Activation
    weight_scale: float
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z, label=None, train=False):  # [B, latent] -> [B, *shape], from -1 to 1
        common: dict[str, Any] = {
            "use_bias": not self.norm,
            "kernel_init": nn.initializers.normal(self.weight_scale),
            "dtype": self.dtype,
        }
        maps = maps_of(self.shape, self.features)
        height, width, channels = maps[-1]
        h = nn.Dense(height * width * channels, **common)(with_label(z, label))
        h = self.activation(_norm(self, train)(h))  # of each unit by itself, before they make a map
        h = h.reshape(z.shape[0], height, width, channels)
        for i, (*sides, channels) in enumerate(reversed(maps[:-1])):
            if i > 0:
                h = self.activation(_norm(self, train)(h))
            window = (self.window, self.window)
            if self.pooling:
                h = h.repeat(2, 1).repeat(2, 2)[:, : sides[0], : sides[1]]
                h = Conv(channels, window, **common)(h)
            else:
                padding = transposed_padding(self.window, sides)
                h = ConvTranspose(channels, window, strides=2, padding=padding, **common)(h)
        return jnp.tanh(h.astype(jnp.float32))


class _Discriminator(nn.Module, kw_only=True):
    features: tuple[int, ...]
    window: int
    norm: bool
    pooling: bool
    activation: Activation
    weights: Weights
    discrimination: tuple[int, int] | None
    deviation: bool
    classes: int | None
    condition: Condition
    weight_scale: float
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label=None, train=False):  # images, or packs of them, from -1 to 1 -> Judgement
        common: dict[str, Any] = {
            "weights": self.weights,
            "use_bias": not self.norm,
            "kernel_init": nn.initializers.normal(self.weight_scale),
            "dtype": self.dtype,
        }
        h = side_by_side(x)
        if label is not None and self.condition == "concatenate":
            h = beside(h, label)
        maps = []
        for i, channels in enumerate(self.features):
            h = NormalisedConv(channels, (self.window, self.window), 1 if self.pooling else 2, **common)(h, train)
            if i > 0:
                h = _norm(self, train)(h)
            h = self.activation(h)
            if self.pooling:
                h = nn.max_pool(h, (2, 2), (2, 2), "SAME")
            maps.append(h)
        if self.deviation:
            h = minibatch_deviation(h)
        h = h.reshape(h.shape[0], -1)
        if self.discrimination is not None:
            make = partial(MinibatchDiscrimination, *self.discrimination, weights=self.weights)
            h = make(kernel_init=common["kernel_init"], dtype=self.dtype)(h, train)
        return judged(h, label, train, condition=self.condition, classes=self.classes, maps=tuple(maps), **common)
