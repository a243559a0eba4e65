"""GANs of residual blocks for small images: those of SN-GAN, and of WGAN-GP by other options.

Miyato et al., Spectral Normalization for Generative Adversarial Networks (2018), table 4, for CIFAR-10: the generator
projects z to a map 4x4x256, three residual blocks double its sides (batch norm, ReLU, pixels copied to 2x2, 3x3
convolution, batch norm, ReLU, 3x3 convolution; the shortcut copies and convolves 1x1), then batch norm, ReLU, a 3x3
convolution, tanh. The discriminator has 128 features: two blocks that halve sides by means over 2x2, two that leave
them (ReLU, 3x3 convolution, ReLU, 3x3 convolution; the first begins with a convolution), ReLU, the sum over positions,
a linear layer. Its weights are spectrally normalised, its loss is the hinge.

Gulrajani et al., Improved Training of Wasserstein GANs (2017), appendix C, is the same with 128 features in the
generator, means over positions and no normalisation in the critic:

    resnet_gan(generator_features=128, sums=False, weights="plain", loss=wasserstein(), penalty=wasserstein_penalty())

and for their conditional one, whose critic guesses classes (Odena et al., 2017), also

    classes=10, condition="auxiliary", auxiliary=(1, 0.1)

With classes, the generator's blocks have conditional batch norm (Dumoulin et al., 2017, as both papers' code): a scale
and a bias for each class. Kernels start uniform as in both codes: variance 4 / (fan-in + fan-out) in residual branches,
half of it elsewhere (Glorot & Bengio, 2010). Both papers train with Adam (rate 2e-4, beta1 0, beta2 0.9), batches of 64
and five updates of the discriminator for each of the generator: `repeats={"discriminator": 5}`.

How we differ: the last layer has no bias, as in SN-GAN's code; WGAN-GP's has one, which its loss gives no gradient. The
papers update the generator on twice as many fakes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.adversarial.adversarial import Game, adversarial_model
from gen_models.models.adversarial.dcgan import features_of
from gen_models.models.sizes import check_sizes
from gen_models.nn.adversarial_losses import hinge
from gen_models.nn.conv import Conv
from gen_models.nn.judgements import Condition, beside, check_condition, judged, side_by_side
from gen_models.nn.normalised_weights import Conv as NormalisedConv
from gen_models.nn.normalised_weights import Weights, check_weights

_RESIDUAL = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
_OTHER = nn.initializers.glorot_uniform()


def resnet_gan(
    shape: Sequence[int] = (32, 32, 3),
    *,
    latent: int = 128,
    generator_features: int = 256,
    discriminator_features: int = 128,
    doublings: int | None = None,
    halvings: int = 2,
    blocks: int = 2,
    sums: bool = True,
    weights: Weights = "spectral",
    classes: int | None = None,
    condition: Condition = "projection",
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
    **game: Unpack[Game],
) -> Model:
    """A GAN of residual blocks for images from 0 to 1; its players are "discriminator", then "generator".

    Its operations and metrics are those of `adversarial_model`; `encode` gives the discriminator's features, summed
    over positions.

    Args:
      shape: (height, width, channels) of one image.
      latent: dimensions of the noise.
      generator_features: channels of all of the generator's blocks.
      discriminator_features: channels of all of the discriminator's.
      doublings: blocks of the generator; None: as many as lead to a first map with sides of 4 to 7 (3 for 32 pixels,
        from 4x4; 2 for 28, from 7x7).
      halvings: blocks of the discriminator that halve sides.
      blocks: of the discriminator after these, which leave sides as they are.
      sums: features are summed over positions; else they are means.
      weights: how the discriminator's are normalised: see `nn/normalised_weights.py`.
      classes: of labels, which batches have as "y" and the generator is given; None: none are read.
      condition: how the discriminator is told the class, or asked for it: see `nn/judgements.py`.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the networks' computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.
      **game: `loss` (the hinge), `noise` ("normal") and other options of `adversarial_model`.

    Raises:
      ValueError: a size is not positive, sides cannot be halved as often, a name is unknown, `momentum` is outside
        [0, 1), or as `adversarial_model`.
    """
    check_sizes(
        shape=shape,
        generator_features=generator_features,
        discriminator_features=discriminator_features,
        doublings=doublings,
        halvings=halvings,
    )
    if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 0:
        raise ValueError(f"blocks must be a whole number, 0 or more, got {blocks!r}")
    doublings = len(features_of(shape)) if doublings is None else doublings
    for name, times in (("doublings", doublings), ("halvings", halvings)):
        if any(side % 2**times for side in shape[:2]):
            raise ValueError(
                f"an image of {shape[0]}x{shape[1]} cannot be halved {times} times without a rest: give fewer {name}"
            )
    check_weights(weights)
    check_condition(condition)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    generator = _Generator(
        shape=tuple(shape),
        features=generator_features,
        doublings=doublings,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    discriminator = _Discriminator(
        features=discriminator_features,
        halvings=halvings,
        blocks=blocks,
        sums=sums,
        weights=weights,
        classes=classes,
        condition=condition,
        dtype=dtype,
    )
    played: dict[str, Any] = {"loss": hinge(), **game}
    return adversarial_model(
        generator,
        discriminator,
        shape=shape,
        latent=latent,
        symmetric=True,
        apart=False,
        classes=classes,
        **played,
    )


class ConditionalBatchNorm(nn.Module, kw_only=True):
    """Batch norm with a scale and a bias for each class, from 1 and 0 on; without a label, one of each."""

    momentum: float
    axis_name: str | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, h: Float[Array, "b *space c"], label: Float[Array, "b k"] | None, train: bool
    ) -> Float[Array, "b *space c"]:
        """h with mean 0 and variance 1 over the batch and all positions, scaled and moved."""
        norm = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-5,
            use_scale=label is None,
            use_bias=label is None,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        h = norm(h)
        if label is None:
            return h
        make = partial(nn.Dense, h.shape[-1], use_bias=False, dtype=self.dtype)
        scale, bias = make(kernel_init=nn.initializers.ones)(label), make(kernel_init=nn.initializers.zeros)(label)
        space = [1] * (h.ndim - 2)
        return h * scale.reshape(len(h), *space, -1) + bias.reshape(len(h), *space, -1)


class _Generator(nn.Module, kw_only=True):
    shape: tuple[int, ...]
    features: int
    doublings: int
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, z, label=None, train=False):  # [B, latent] -> [B, *shape], from -1 to 1
        height, width = (side // 2**self.doublings for side in self.shape[:2])
        norm = partial(ConditionalBatchNorm, momentum=self.momentum, axis_name=self.axis_name, dtype=self.dtype)
        conv = partial(Conv, self.features, (3, 3), kernel_init=_RESIDUAL, dtype=self.dtype)
        h = nn.Dense(height * width * self.features, kernel_init=_OTHER, dtype=self.dtype)(z)
        h = h.reshape(z.shape[0], height, width, self.features)
        for _ in range(self.doublings):
            shortcut = Conv(self.features, (1, 1), kernel_init=_OTHER, dtype=self.dtype)(_doubled(h))
            h = conv()(_doubled(nn.relu(norm()(h, label, train))))
            h = shortcut + conv()(nn.relu(norm()(h, label, train)))
        h = nn.relu(norm()(h, None, train))
        x = Conv(self.shape[-1], (3, 3), kernel_init=_OTHER, dtype=self.dtype)(h)
        return jnp.tanh(x.astype(jnp.float32))


class _Discriminator(nn.Module, kw_only=True):
    features: int
    halvings: int
    blocks: int
    sums: bool
    weights: Weights
    classes: int | None
    condition: Condition
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label=None, train=False):  # images, or packs of them, from -1 to 1 -> Judgement
        conv = partial(NormalisedConv, self.features, weights=self.weights, dtype=self.dtype)
        wide, narrow = partial(conv, (3, 3), kernel_init=_RESIDUAL), partial(conv, (1, 1), kernel_init=_OTHER)
        h = side_by_side(x)
        if label is not None and self.condition == "concatenate":
            h = beside(h, label)
        # The image is no map to be rectified, and has few channels: means first, then the shortcut's convolution.
        inner = nn.relu(wide()(h, train))
        inner = _halved(wide()(inner, train))
        h = inner + narrow()(_halved(h), train)
        for i in range(1, self.halvings + self.blocks):
            inner = nn.relu(wide()(nn.relu(h), train))
            inner = wide()(inner, train)
            if i < self.halvings:
                inner, h = _halved(inner), _halved(narrow()(h, train))
            h = inner + h
        h = nn.relu(h).astype(jnp.float32)
        h = h.sum((1, 2)) if self.sums else h.mean((1, 2))
        return judged(
            h,
            label,
            train,
            condition=self.condition,
            classes=self.classes,
            weights=self.weights,
            use_bias=False,
            kernel_init=_OTHER,
            dtype=self.dtype,
        )


def _doubled(h: Array) -> Array:
    """Each pixel copied to 2x2."""
    return h.repeat(2, 1).repeat(2, 2)


def _halved(h: Array) -> Array:
    """Means over 2x2 pixels."""
    batch, height, width, channels = h.shape
    return h.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))
