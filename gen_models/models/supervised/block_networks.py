"""Residual classifiers of three kinds of blocks: as MobileNetV2, as ResNeXt, as ResNet-18.

All are a 3x3 convolution, stages of blocks, perhaps a 1x1 convolution, the mean over the last map, and logits; every
convolution has batch norm behind it. With F a block's convolutions and P nothing, or a 1x1 convolution where a stage
changes the size or the channels (option B of He et al.), a block computes

    relu(F(x) + P(x))    "basic": F is two 3x3 convolutions. He et al., Deep Residual Learning (2016), figure 5 left
    relu(F(x) + P(x))    "grouped": F is 1x1, 3x3 in groups, 1x1. Xie et al., Aggregated Residual Transformations for
                         Deep Neural Networks (2017), figure 3c
    F(x), or F(x) + x    "inverted": F is 1x1 to `expansion` times the channels, 3x3 depthwise, both with relu6, and 1x1
    where sizes are      without. Sandler et al., MobileNetV2 (2018), table 1 and figure 4d
    the same

Kernels start as in He et al. (2015), with the fan-out. Differs from the papers: the first convolution is 3x3 of stride
1 without pooling, as for small images in section 4.2 of He et al.; there is no other change for images of other sizes.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.models.sizes import check_divides, check_each, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.blocks import Norm, pooled
from gen_models.nn.conv import Conv
from gen_models.nn.dropout import Dropout

_START = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def mobile_net(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    channels: Sequence[int] = (16, 24, 32, 48),
    blocks: Sequence[int] = (1, 2, 2, 1),
    strides: Sequence[int] = (1, 2, 2, 1),
    expansion: int = 4,
    last: int | None = 128,
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A small classifier as MobileNetV2: inverted residual blocks, of depthwise convolutions.

    Args:
      shape: (height, width, channels) of one image.
      num_classes: K; labels are integers in [0, K).
      channels: of each stage; the first convolution has as many as the first.
      blocks: of each stage.
      strides: of each stage's first block.
      expansion: number by which a block multiplies its channels in between.
      last: channels of a 1x1 convolution behind the blocks; None: there is none.
      dropout: probability with which a unit of the pooled features is dropped in training; may be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      class_weights: of the K classes in the training loss, such as `balanced_weights` gives; None: all weigh alike.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, lengths differ, or a rate is outside [0, 1).
    """
    check_sizes(expansion=expansion, last=last)
    stages = _stages(channels, blocks, strides)
    how: dict[str, Any] = {"momentum": momentum, "axis_name": axis_name, "dtype": dtype}
    network = _network(shape, num_classes, "inverted", stages, expansion=expansion, last=last, **how)
    return classifier(
        network, shape, num_classes, dropout=dropout, label_smoothing=label_smoothing, class_weights=class_weights
    )


def resnext(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    channels: Sequence[int] = (64, 128, 128),
    blocks: Sequence[int] = (1, 1, 1),
    strides: Sequence[int] = (1, 2, 2),
    groups: int = 8,
    reduction: int = 2,
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A small classifier as ResNeXt: bottleneck blocks whose 3x3 convolutions are grouped.

    Args:
      shape: (height, width, channels) of one image.
      num_classes: K; labels are integers in [0, K).
      channels: of each stage; the first convolution has as many as the first.
      blocks: of each stage.
      strides: of each stage's first block.
      groups: of the 3x3 convolutions, the paper's cardinality.
      reduction: number by which a block divides its channels in between; 2 is that of the paper's 32x4d.
      dropout: as of `mobile_net`.
      label_smoothing: as of `mobile_net`.
      class_weights: as of `mobile_net`.
      momentum: as of `mobile_net`.
      axis_name: as of `mobile_net`.
      dtype: as of `mobile_net`.

    Raises:
      ValueError: as `mobile_net`, or `groups` times `reduction` does not divide a stage's channels.
    """
    check_sizes(groups=groups, reduction=reduction)
    check_each(channels=channels)
    for width in channels:
        check_divides("groups times reduction", groups * reduction, channels=width)
    stages = _stages(channels, blocks, strides)
    how: dict[str, Any] = {"momentum": momentum, "axis_name": axis_name, "dtype": dtype}
    network = _network(shape, num_classes, "grouped", stages, groups=groups, reduction=reduction, **how)
    return classifier(
        network, shape, num_classes, dropout=dropout, label_smoothing=label_smoothing, class_weights=class_weights
    )


def resnet18(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    width: int = 64,
    blocks: Sequence[int] = (2, 2, 2, 2),
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """ResNet-18 for small images: 11,172,810 parameters for 28x28x1 and ten classes.

    Args:
      shape: (height, width, channels) of one image.
      num_classes: K; labels are integers in [0, K).
      width: channels of the first stage; each further stage has twice as many, and begins with a stride of 2.
      blocks: of each stage; (2, 2, 2, 2) are 18 layers, (3, 4, 6, 3) are 34.
      dropout: as of `mobile_net`.
      label_smoothing: as of `mobile_net`.
      class_weights: as of `mobile_net`.
      momentum: as of `mobile_net`.
      axis_name: as of `mobile_net`.
      dtype: as of `mobile_net`.

    Raises:
      ValueError: as `mobile_net`.
    """
    check_sizes(width=width)
    check_each(blocks=blocks)
    stages = tuple((width * 2**stage, count, 2 if stage else 1) for stage, count in enumerate(blocks))
    how: dict[str, Any] = {"momentum": momentum, "axis_name": axis_name, "dtype": dtype}
    network = _network(shape, num_classes, "basic", stages, **how)
    return classifier(
        network, shape, num_classes, dropout=dropout, label_smoothing=label_smoothing, class_weights=class_weights
    )


def _stages(channels, blocks, strides) -> tuple[tuple[int, int, int], ...]:
    """Channels, blocks and the first one's stride of each stage."""
    check_each(channels=channels, blocks=blocks, strides=strides)
    if not len(channels) == len(blocks) == len(strides):
        raise ValueError(f"channels, blocks and strides must be of one length, got {channels=}, {blocks=}, {strides=}")
    return tuple(zip(channels, blocks, strides, strict=True))


def _network(shape, num_classes, block, stages, *, momentum, **how) -> nn.Module:
    check_sizes(shape=shape)
    if not stages:
        raise ValueError("channels, blocks and strides must be of one length, 1 or more, got none")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    return _Blocks(block=block, stages=stages, num_classes=num_classes, momentum=momentum, **how)


class _Blocks(nn.Module, kw_only=True):
    block: Literal["basic", "grouped", "inverted"]
    stages: tuple[tuple[int, int, int], ...]  # channels, blocks and the first one's stride
    num_classes: int
    momentum: float
    expansion: int = 1
    groups: int = 1
    reduction: int = 1
    last: int | None = None
    axis_name: str | None = None
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, H, W, C] -> [B, K]
        layers = 0

        def conv(h, width, window=3, stride=1, groups=1):
            """The next convolution and its norm; layers are named in the order of the computation."""
            nonlocal layers
            name, layers = f"{layers:03d}", layers + 1
            make = Conv(
                width,
                (window, window),
                strides=stride,
                padding=window // 2,
                groups=groups,
                use_bias=False,
                kernel_init=_START,
                dtype=self.dtype,
                name=f"conv_{name}",
            )
            norm = Norm("batch", 1, self.momentum, self.axis_name, dtype=self.dtype, name=f"norm_{name}")
            return norm(make(h), train)

        activate = nn.relu6 if self.block == "inverted" else nn.relu
        branch = {"basic": self._basic, "grouped": self._grouped, "inverted": self._inverted}[self.block]
        h = activate(conv(x, self.stages[0][0]))
        for width, count, first in self.stages:
            for stride in (first,) + (1,) * (count - 1):
                y, same = branch(conv, h, width, stride), stride == 1 and h.shape[-1] == width
                if self.block == "inverted":
                    h = y + h if same else y
                else:
                    h = nn.relu(y + (h if same else conv(h, width, 1, stride)))
        if self.last is not None:
            h = activate(conv(h, self.last, 1))
        h = Dropout()(pooled(h), dropout, train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h).astype("float32")

    def _basic(self, conv, h, width, stride) -> jax.Array:
        return conv(nn.relu(conv(h, width, 3, stride)), width)

    def _grouped(self, conv, h, width, stride) -> jax.Array:
        inner = width // self.reduction
        y = nn.relu(conv(h, inner, 1))
        return conv(nn.relu(conv(y, inner, 3, stride, self.groups)), width, 1)

    def _inverted(self, conv, h, width, stride) -> jax.Array:
        inner = h.shape[-1] * self.expansion
        y = nn.relu6(conv(h, inner, 1)) if self.expansion > 1 else h
        return conv(nn.relu6(conv(y, inner, 3, stride, inner)), width, 1)
