"""A classifier of sequences, images or volumes of any size: convolutions, global pooling, and nothing that knows sizes.

All-convolutional as in Springenberg et al., Striving for Simplicity (2015), with every choice that such networks make.
A layer is a convolution, its norm and relu, and in front of all but the first there may be pooling. The logits are an
affine function of the pooled features, which with the mean is the mean of the same function at each place: a map of
logits for larger images (Long et al., Fully Convolutional Networks, 2015, section 3.1), `apply(..., maps=True)`.

- `kind` of a convolution: "full"; "grouped" (Xie et al., ResNeXt, 2017, figure 3c); "separable", a depthwise one and
  one with windows of 1 behind it (Howard et al., MobileNets, 2017, section 3.1), each with norm and relu.
- `strides` shrink by the convolutions themselves where `shrink="stride"`, and by pooling in front of them ("max",
  "average") elsewhere. The map moves with an image by whole products of the strides, and with VALID padding exactly.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import images_of_any_size
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.blocks import NORMS, POOLINGS, Norm, pool, pooled
from gen_models.nn.conv import Conv
from gen_models.nn.dropout import Dropout

KINDS = ("full", "grouped", "separable")
SHRINKS = ("stride", *POOLINGS)


def fully_convolutional(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    channels: Sequence[int] = (16, 32, 64),
    strides: Sequence[int] = (1, 2, 2),
    dilations: Sequence[int] | None = None,
    window: int = 3,
    kind: Literal["full", "grouped", "separable"] = "full",
    groups: int = 4,
    norm: Literal["none", "batch", "layer", "instance", "group"] = "batch",
    shrink: Literal["stride", "max", "average"] = "stride",
    pooling: Literal["average", "max"] = "average",
    padding: Literal["SAME", "VALID"] = "SAME",
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier of x [B, *space, C] with one to three dimensions of space; C alone is fixed.

    Its functions are those of `classifier`, for x of any size that the layers leave something of; one size is one
    program. `apply(params, stats, x, maps=True)` gives logits at each place of the last map, [B, *out, K]; with the
    mean as pooling, their mean over places are the logits.

    Args:
      shape: (*space, channels) of one example; of its space the number of dimensions counts alone.
      num_classes: K; labels are integers in [0, K).
      channels: of each layer.
      strides: of each layer.
      dilations: of each layer's kernel; None: 1.
      window: of the kernels, in each dimension.
      kind: of the convolutions behind the first, which is a full one; see the top of this file.
      groups: of grouped convolutions, and of group norm.
      norm: see `gen_models.nn.blocks`.
      shrink: see the top of this file.
      pooling: over the last map.
      padding: of the convolutions.
      dropout: probability with which a unit of the pooled features is dropped in training; may be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      class_weights: of the K classes in the training loss, such as `balanced_weights` gives; None: all weigh alike.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, lengths differ, an unknown name, channels that the groups do not divide, or a
        rate outside of [0, 1); x with other channels or dimensions, or too small for the layers.
    """
    check_each(shape=shape, channels=channels, strides=strides)
    dilations = (1,) * len(channels) if dilations is None else dilations
    check_each(dilations=dilations)
    check_sizes(window=window, groups=groups)
    if not 2 <= len(shape) <= 4:
        raise ValueError(f"shape must be (*space, channels) with one to three dimensions of space, got {tuple(shape)}")
    if not channels or not len(channels) == len(strides) == len(dilations):
        raise ValueError(
            "channels, strides and dilations must be of one length, 1 or more, got "
            f"{channels=}, {strides=}, {dilations=}"
        )
    for name, value, known in (
        ("kind", kind, KINDS),
        ("norm", norm, NORMS),
        ("shrink", shrink, SHRINKS),
        ("pooling", pooling, POOLINGS),
        ("padding", padding, ("SAME", "VALID")),
    ):
        if value not in known:
            raise unknown(name, value, known)
    if (kind == "grouped" or norm == "group") and any(width % groups for width in channels):
        raise ValueError(f"groups={groups} must divide the channels of every layer: {tuple(channels)}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    network = _Network(
        channels=tuple(channels),
        strides=tuple(strides),
        dilations=tuple(dilations),
        window=window,
        kind=kind,
        groups=groups,
        norm=norm,
        shrink=shrink,
        pooling=pooling,
        padding=padding,
        num_classes=num_classes,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    rates: dict[str, Any] = {"dropout": dropout, "label_smoothing": label_smoothing, "class_weights": class_weights}
    return _of_any_size(network, tuple(shape), num_classes, rates)


def _of_any_size(network: nn.Module, shape: tuple[int, ...], num_classes: int, rates: Mapping[str, Any]) -> Model:
    """A classifier whose functions read the size of their x, as the parameters do not depend on it."""
    given = classifier(network, shape, num_classes, **rates)

    @cache
    def of(size: tuple[int, ...]) -> Model:
        return classifier(network, size, num_classes, **rates)

    def sized(batch: Any) -> Model:
        x = images_of_any_size(batch, len(shape) - 1, shape[-1])
        return of(tuple(int(size) for size in x.shape[1:]))

    def apply(params, stats, x, *, features=False, maps=False) -> Any:
        if not maps:
            return sized({"x": x}).apply(params, stats, x, features=features)
        x = images_of_any_size({"x": x}, len(shape) - 1, shape[-1])
        variables = {"params": params, "batch_stats": stats}
        return network.apply(variables, x, 0.0, train=False, maps=True)

    def loss(params, stats, batch, key, *, step, train=True):
        return sized(batch).loss(params, stats, batch, key, step=step, train=train)  # type: ignore[operator]

    def batch_stats(params, stats, batch, key):
        return sized(batch).batch_stats(params, stats, batch, key)

    def init(key, batch):
        return sized(batch).init(key, batch)

    return dataclasses.replace(given, init=init, loss=loss, apply=apply, batch_stats=batch_stats)


class _Network(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    window: int
    kind: str
    groups: int
    norm: str
    shrink: str
    pooling: str
    padding: str
    num_classes: int
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train, maps=False) -> Float[Array, "..."]:  # [B, *space, C] -> [B, K]
        space, h = x.ndim - 2, x
        for index, (width, stride, dilation) in enumerate(
            zip(self.channels, self.strides, self.dilations, strict=True)
        ):
            if stride > 1 and self.shrink != "stride":
                h, stride = pool(h, self.shrink, stride), 1
            groups = {"full": 1, "grouped": self.groups, "separable": h.shape[-1]}[self.kind] if index else 1
            separable = groups > 1 and self.kind == "separable"
            inner = h.shape[-1] if separable else width
            h = self._layer(h, inner, (self.window,) * space, stride, dilation, groups, train, f"{index}")
            if separable:
                h = self._layer(h, width, (1,) * space, 1, 1, 1, train, f"{index}_1x1")
        logits = nn.Dense(self.num_classes, dtype=self.dtype, name="logits")
        if maps:
            return logits(h).astype(jnp.float32)
        return logits(Dropout()(pooled(h, self.pooling), dropout, train)).astype(jnp.float32)

    def _layer(self, h, width, window, stride, dilation, groups, train, name):
        """A convolution, its norm and relu."""
        conv = Conv(
            width,
            window,
            strides=stride,
            padding=self.padding,
            dilation=dilation,
            groups=groups,
            use_bias=self.norm == "none",
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name=f"conv_{name}",
        )
        norm = Norm(self.norm, self.groups, self.momentum, self.axis_name, dtype=self.dtype, name=f"norm_{name}")
        return nn.relu(norm(conv(h), train))
