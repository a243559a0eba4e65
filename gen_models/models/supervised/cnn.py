"""A small convolutional classifier: 3x3 convolutions with batch norm, the mean over the last map, and logits.

All-convolutional as in Springenberg et al., Striving for Simplicity (2015): strides in place of pooling, a mean over
space in place of wide dense layers, which keeps the default under 100,000 parameters. Batch norm as in Ioffe & Szegedy
(2015); weights start truncated normal with the variance of He et al. (2015), eq. 10.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.models.supervised.heads import Answer, head_of
from gen_models.nn.conv import Conv
from gen_models.nn.dropout import Dropout


def cnn(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    channels: Sequence[int] = (32, 32, 48, 64, 64),
    strides: Sequence[int] = (1, 2, 1, 2, 1),
    dropout: float | Array = 0.2,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    answer: Answer = "classes",
    momentum: float = 0.99,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier for images [B, H, W, C]; the default has 88,970 parameters for 28x28x1 and ten classes.

    Args:
      shape: (height, width, channels) of one image.
      num_classes: K; labels are integers in [0, K). With another answer, how many numbers or labels: 1 of "binary".
      channels: of each convolution.
      strides: of each convolution.
      dropout: probability with which a unit of the pooled features is dropped in training; may be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      class_weights: of the K classes in the training loss, such as `balanced_weights` gives; None: all weigh alike.
      answer: what is predicted, which the loss, the labels and the metrics follow: see `heads.py`.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, `shape` is not (H, W, C), `channels` and `strides` differ in length,
        `num_classes` is below 2, `answer` is unknown, or a rate is outside [0, 1).
    """
    check_sizes(shape=shape)
    check_each(channels=channels, strides=strides)
    channels, strides = tuple(channels), tuple(strides)
    if not channels or len(channels) != len(strides):
        raise ValueError(f"channels and strides must be one or more sizes, of one length, got {channels=}, {strides=}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    network = _CNN(
        channels=channels,
        strides=strides,
        num_classes=head_of(answer, num_classes).width,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    return classifier(
        network,
        shape,
        num_classes,
        dropout=dropout,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        answer=answer,
    )


class _CNN(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    num_classes: int
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, H, W, C] -> [B, K]
        h = x
        for width, stride in zip(self.channels, self.strides, strict=True):
            kernel_init = nn.initializers.he_normal()
            conv = Conv(width, (3, 3), strides=stride, use_bias=False, kernel_init=kernel_init, dtype=self.dtype)
            h = conv(h)
            h = nn.BatchNorm(
                use_running_average=not train, momentum=self.momentum, axis_name=self.axis_name, dtype=self.dtype
            )(h)
            h = nn.relu(h)
        h = Dropout()(h.mean((1, 2), dtype=jnp.float32), dropout, train)  # [B, C of the last]
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h).astype(jnp.float32)
