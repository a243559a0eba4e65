"""A U-Net, which says of each pixel what it belongs to. Ronneberger et al., U-Net (2015), figure 1.

Going down, each level is two 3x3 convolutions with relu and then the maximum of 2x2 pixels; going up, a 2x2 transposed
convolution of stride 2 that halves the channels, beside which the map of the same level is put, and two 3x3
convolutions. A 1x1 convolution gives the logits. It takes images of any size that all halvings divide.

Differs from the paper: convolutions are padded, so that the output has the size of the image and nothing is mirrored
or cropped; there is a norm behind each 3x3 convolution; Dice's loss stands beside the cross-entropy, whose pixels all
weigh alike.
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sizes import check_each, check_numbers, check_sizes
from gen_models.models.supervised.segmentation import segmenter
from gen_models.nn.blocks import NORMS, Norm, pool
from gen_models.nn.conv import Conv, ConvTranspose


def unet(
    shape: Sequence[int],
    num_classes: int,
    *,
    channels: Sequence[int] = (16, 32, 64),
    norm: Literal["none", "batch", "layer", "instance", "group"] = "batch",
    groups: int = 4,
    dice: float | Array = 1.0,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A segmenter of images [B, H, W, C]; its functions are those of `segmenter`.

    Args:
      shape: (height, width, channels) of one image; the model takes other sizes too, if all halvings divide them.
      num_classes: K, with the background, which is class 0.
      channels: of each level; the image is halved between two.
      norm: behind each 3x3 convolution; see `gen_models.nn.blocks`.
      groups: of group norm.
      dice: weight of Dice's loss beside the cross-entropy; may be traced.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, there are fewer than two classes, the halvings do not divide the image, an
        unknown norm, channels that its groups do not divide, or a negative weight.
    """
    check_sizes(num_classes=num_classes)
    check_numbers(dice=dice)
    if num_classes < 2:
        raise ValueError(f"a segmenter needs two classes or more, the background is one, got num_classes={num_classes}")
    network, halvings = unet_layers(
        shape,
        num_classes,
        channels=channels,
        norm=norm,
        groups=groups,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )

    def check(size: Sequence[int]) -> None:
        if size[0] % halvings or size[1] % halvings:
            raise ValueError(
                f"{len(channels)} levels need images whose sides {halvings} divides, got {size[0]}x{size[1]}: pad them"
            )

    check(shape)
    return segmenter(network, shape[-1], num_classes, check, dice=dice)


def unet_layers(
    shape: Sequence[int],
    outputs: int,
    *,
    channels: Sequence[int],
    norm: str,
    groups: int,
    momentum: float,
    axis_name: str | None,
    dtype: DTypeLike | None,
) -> tuple[nn.Module, int]:
    """The layers, whose `(x, train)` gives float32 [B, H, W, outputs], and what must divide an image's sides.

    Raises:
      ValueError: as `unet`, but for what is of classes and of the image's sides.
    """
    check_sizes(shape=shape, groups=groups)
    check_each(channels=channels)
    if not channels:
        raise ValueError("channels must be one or more sizes, got none")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if norm == "group" and any(width % groups for width in channels):
        raise ValueError(f"groups={groups} must divide the channels of every level: {tuple(channels)}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    layers = _UNet(
        channels=tuple(channels),
        outputs=outputs,
        norm=norm,
        groups=groups,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    return layers, 2 ** (len(channels) - 1)


class _UNet(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    outputs: int
    norm: str
    groups: int
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, train):  # [B, H, W, C] -> [B, H, W, K]
        beside, h = [], x
        for level, width in enumerate(self.channels):
            if level:
                beside.append(h)
                h = pool(h, "max")
            h = self._pair(h, width, train, f"down_{level}")
        for level in reversed(range(len(beside))):
            width = self.channels[level]
            up = ConvTranspose(width, (2, 2), strides=2, dtype=self.dtype, name=f"up_{level}_larger")
            h = self._pair(jnp.concatenate([beside[level], up(h)], -1), width, train, f"up_{level}")
        return Conv(self.outputs, (1, 1), dtype=self.dtype, name="logits")(h).astype(jnp.float32)

    def _pair(self, h, width, train, name):
        """Two convolutions, each with its norm and relu."""
        for index in range(2):
            conv = Conv(
                width,
                (3, 3),
                use_bias=self.norm == "none",
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"{name}_conv_{index}",
            )
            norm = Norm(
                self.norm, self.groups, self.momentum, self.axis_name, dtype=self.dtype, name=f"{name}_norm_{index}"
            )
            h = nn.relu(norm(conv(h), train))
        return h
