"""Plain and residual convolutional classifiers, whose parts can be exchanged one by one: what ablations compare.

A 3x3 convolution, then stages of blocks, the mean over the last map, and logits. With F a block's convolutions, each
with its normalisation, and activations in between, a block is

    f(F(x))           plain
    f(F(x) + x)       residual: He et al., Deep Residual Learning for Image Recognition (2016), eq. 1 and figure 2

Where a stage begins with a stride or more channels, x is every second (third, ...) pixel of itself, with zeros for the
new channels: option A of their section 3.3, so that a plain network and a residual one have the same parameters.

- `windows`: sizes of F's square kernels. (3, 3) is the paper's block; (5,) against (3, 3) and (7,) against (3, 3, 3)
  are the equal receptive fields of Simonyan & Zisserman, Very Deep Convolutional Networks (2015), section 2.3.
- `bottleneck`: F is a 1x1 convolution to that part of the channels, the windows there, and a 1x1 convolution back:
  figure 5 of He et al.; their part is a quarter.
- `norm`, always between a convolution and its activation, with a scale and a bias for each channel. For a map
  [B, H, W, C], mean and variance are taken over (B, H, W) by "batch" (Ioffe & Szegedy, 2015), over (H, W, C) of each
  image by "layer" (Ba et al., 2016, as Wu & He draw it in figure 2), over (H, W) by "instance" (Ulyanov et al., 2016),
  over (H, W) and the channels of a group by "group" (Wu & He, 2018, eq. 1). All but the first do the same in training
  and evaluation, and do not see the batch. With "none" convolutions have a bias.
- `activation`: "relu"; "leaky_relu" with slope 0.01 (Maas et al., 2013); "prelu", a learned slope for each channel that
  starts at 0.25 (He et al., Delving Deep into Rectifiers, 2015, eq. 1); "gelu", exact (Hendrycks & Gimpel, 2016);
  "tanh"; "sigmoid".

Kernels start truncated normal with variance 2 / ((1 + a^2) fan-in) for rectifiers with slope a (He et al., 2015, eq. 10
and 15), 2 / fan-in for GELU, which that derivation does not cover, and 2 / (fan-in + fan-out) for tanh and sigmoid
(Glorot & Bengio, 2010, eq. 12, which assumes a slope of 1 at 0: that of tanh, while the sigmoid's is a quarter).

Differs from He et al. (2016): the first convolution is 3x3 for all sizes of images, without pooling behind it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import images
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.conv import Conv
from gen_models.nn.dropout import Dropout

NORMS = ("none", "batch", "layer", "instance", "group")
LEAKY_SLOPE, PRELU_START = 0.01, 0.25


class Activations(NamedTuple):
    """What a layer's units do with some images: y = f(z), and f's slope at z."""

    outputs: Float[Array, "b h w c"]
    slopes: Float[Array, "b h w c"]


def residual_cnn(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    channels: Sequence[int] = (16, 32, 64),
    strides: Sequence[int] = (1, 2, 2),
    blocks: int = 1,
    windows: Sequence[int] = (3, 3),
    bottleneck: int = 1,
    residual: bool = True,
    norm: Literal["none", "batch", "layer", "instance", "group"] = "batch",
    groups: int = 4,
    activation: str = "relu",
    dropout: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier for images [B, H, W, C].

    It has 1 + len(channels) * blocks * len(windows) convolutions, and with a bottleneck two more for each block. Its
    `encode(params, stats, x)` gives the `Activations` of each layer by its name, in order, in evaluation mode.

    Args:
      shape: (height, width, channels) of one image.
      num_classes: K; labels are integers in [0, K).
      channels: of each stage.
      strides: of each stage's first window.
      blocks: in each stage.
      windows: odd sizes of a block's kernels.
      bottleneck: number by which a block divides its channels while it applies the windows; 1: no bottleneck.
      residual: whether a block adds its input. The stages' channels must then not fall.
      norm: see the module's docstring.
      groups: of channels, for norm="group" alone.
      activation: a name of `ACTIVATIONS`.
      dropout: probability with which a unit of the pooled features is dropped in training; may be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      class_weights: of the K classes in the training loss, such as `balanced_weights` gives; None: all weigh alike.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive or a window even, lengths differ, a name is unknown, channels fall or cannot be
        divided as asked, or a rate is outside [0, 1).
    """
    check_sizes(shape=shape, blocks=blocks, bottleneck=bottleneck)
    check_each(channels=channels, strides=strides, windows=windows)
    channels, strides, windows = tuple(channels), tuple(strides), tuple(windows)
    if not channels or len(channels) != len(strides):
        raise ValueError(f"channels and strides must be one or more sizes, of one length, got {channels=}, {strides=}")
    if not windows or any(window % 2 == 0 for window in windows):
        raise ValueError(f"windows must be odd sizes, one or more, got {windows=}")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    widths = {width for channel in channels for width in (channel, channel // bottleneck)}
    if any(channel % bottleneck for channel in channels):
        raise ValueError(f"bottleneck={bottleneck} must divide the stages' {channels=}")
    if norm == "group" and (groups < 1 or any(width % groups for width in widths)):
        raise ValueError(f"groups={groups} must divide the channels of every layer: {sorted(widths)}")
    if residual and list(channels) != sorted(channels):
        raise ValueError(f"a residual network's channels must not fall from stage to stage, got {channels=}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be in [0, 1), got {momentum}")
    network = _Network(
        channels=channels,
        strides=strides,
        blocks=blocks,
        windows=windows,
        bottleneck=bottleneck,
        residual=residual,
        norm=norm,
        groups=groups,
        activation=activation,
        num_classes=num_classes,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    model = classifier(
        network, shape, num_classes, dropout=dropout, label_smoothing=label_smoothing, class_weights=class_weights
    )

    def encode(params, stats, x, key=None):
        """`Activations` of each layer by its name, in order, for x [B, H, W, C]."""
        variables = {"params": params, "batch_stats": stats}
        x = images({"x": x}, shape)
        _, found = network.apply(variables, x, 0.0, train=False, mutable=["intermediates"])
        return {name: units for name, (units,) in sorted(found["intermediates"].items())}

    return dataclasses.replace(model, encode=encode)


class _Network(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    blocks: int
    windows: tuple[int, ...]
    bottleneck: int
    residual: bool
    norm: str
    groups: int
    activation: str
    num_classes: int
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, H, W, C] -> [B, K]
        layers = 0

        def conv(h, width, window=3, stride=1):
            """The next convolution and its norm; layers are named in the order of the computation."""
            nonlocal layers
            name, layers = f"{layers:03d}", layers + 1
            kernel_init = ACTIVATIONS[self.activation].kernel_init()
            use_bias = self.norm == "none"
            make = partial(Conv, kernel_init=kernel_init, use_bias=use_bias, dtype=self.dtype, name=f"conv_{name}")
            return self._normalised(make(width, (window, window), strides=stride)(h), train, f"norm_{name}")

        def activate(h):
            return self._activated(h, f"layer_{layers - 1:03d}")

        h = activate(conv(x, self.channels[0]))
        for width, first in zip(self.channels, self.strides, strict=True):
            for stride in (first,) + (1,) * (self.blocks - 1):
                y, inner = h, width // self.bottleneck
                if self.bottleneck > 1:
                    y = activate(conv(y, inner, 1))
                last = len(self.windows) - 1
                for i, window in enumerate(self.windows):
                    y = conv(y, inner, window, stride if i == 0 else 1)
                    if i < last:
                        y = activate(y)
                if self.bottleneck > 1:
                    y = conv(activate(y), width, 1)
                h = activate(y + _shortcut(h, width, stride) if self.residual else y)
        h = Dropout()(h.mean((1, 2), dtype=jnp.float32), dropout, train)  # [B, C of the last]
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h).astype(jnp.float32)

    def _normalised(self, h, train, name):
        if self.norm == "none":
            return h
        if self.norm == "batch":
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=name,
            )
            return norm(h)
        groups = {"layer": 1, "instance": h.shape[-1], "group": self.groups}[self.norm]
        return nn.GroupNorm(groups, epsilon=1e-5, dtype=self.dtype, name=name)(h)

    def _activated(self, z, name):
        function = ACTIVATIONS[self.activation].function
        if self.activation == "prelu":
            start = nn.initializers.constant(PRELU_START)
            slope = self.param(f"slope_{name.removeprefix('layer_')}", start, (z.shape[-1],), jnp.float32)
            function = partial(_prelu, slope.astype(z.dtype))
        if not self.is_initializing() and self.is_mutable_collection("intermediates"):
            outputs, slopes = jax.jvp(function, (z,), (jnp.ones_like(z),))
            self.sow("intermediates", name, Activations(outputs, slopes))
            return outputs
        return function(z)


def _shortcut(x, width, stride):
    """Every stride-th pixel of x, with zeros for the channels that it lacks."""
    return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])))


def _prelu(slope, z):
    return jnp.where(z > 0, z, slope * z)


class _Activation(NamedTuple):
    function: Callable[[Array], Array]
    kernel_init: Callable[[], jax.nn.initializers.Initializer]


def _rectifier(slope: float) -> Callable[[], jax.nn.initializers.Initializer]:
    return partial(nn.initializers.variance_scaling, 2 / (1 + slope**2), "fan_in", "truncated_normal")


ACTIVATIONS: dict[str, _Activation] = {
    "relu": _Activation(jax.nn.relu, _rectifier(0.0)),
    "leaky_relu": _Activation(partial(jax.nn.leaky_relu, negative_slope=LEAKY_SLOPE), _rectifier(LEAKY_SLOPE)),
    "prelu": _Activation(partial(_prelu, PRELU_START), _rectifier(PRELU_START)),
    "gelu": _Activation(partial(jax.nn.gelu, approximate=False), _rectifier(0.0)),
    "tanh": _Activation(jnp.tanh, nn.initializers.glorot_normal),
    "sigmoid": _Activation(jax.nn.sigmoid, nn.initializers.glorot_normal),
}
