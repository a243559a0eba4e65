"""PixelSNAIL: causal convolutions and attention to all earlier pixels, in turn.

Chen, Mishra, Rohaninejad and Abbeel, PixelSNAIL: An Improved Autoregressive Generative Model (2018), figures 3 to 5.
One stream of features; each block is a few gated residual blocks of convolutions, then an attention block. A gated
residual block of x, with y from elsewhere if there is any, is

    c = conv(elu(x)) + W elu(y);   a, b = conv(dropout(elu(c)));   out = x + a . sigmoid(b)

Attention of a pixel goes to strictly earlier ones: keys (narrow, 16 in the paper's later code) and values come from the
image's pixel, the features and the position there, queries from features and position, each through a gated residual
block of 1x1 convolutions; what it gives enters the stream as y of another such block. The paper's model for CIFAR-10:
256 features, 12 blocks of 4 or 5 residual blocks, a mixture of 10 logistics.

Differs from the paper: windows are (2, 3), so a convolution also sees the pixel above and to the right, which the
2x2 window does not; no weight normalisation with an initialisation from data, no channel of ones beside the image, and
ELU where its code has concatenated ELU. Labels are added before each gate of the stream's blocks, as in the code of
PixelCNN++. With `mixtures=None` pixels are categorical, and for several channels a layer with masks for the colours
adds the pixel's own earlier ones to the outputs.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.nn.causal import CausalConv
from gen_models.nn.causal_attention import CausalAttention, Previous, WithinPixel, at_position
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.heads import categorical, discretised_logistic_mixture


def pixel_snail(
    shape: Sequence[int] = (28, 28, 1),
    levels: int = 2,
    *,
    features: int = 64,
    blocks: int = 4,
    residual_blocks: int = 2,
    attention: bool = True,
    heads: int = 1,
    key_features: int = 16,
    value_features: int | None = None,
    head_features: int | None = None,
    mixtures: int | None = None,
    dropout: float | Array = 0.0,
    classes: int | None = None,
    chunk: int | None = 256,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of images of integers 0 to levels - 1; its functions are those of `pixel_model`.

    Args:
      shape: (height, width, channels).
      levels: values of a channel.
      features: of the stream.
      blocks: each of `residual_blocks` and one attention.
      residual_blocks: gated, of two convolutions each.
      attention: whether blocks have it; without, they are their residual blocks alone: gated convolutions.
      heads: of each attention; they divide `key_features` and `value_features`. One in the paper.
      key_features: of queries and keys.
      value_features: None: half of `features`, as in the paper's code, made a multiple of `heads`.
      head_features: for several channels and `mixtures=None`, hidden units of the layer that adds the pixel's own; a
        multiple of the channels. None: `features`, or a little more.
      mixtures: of discretised logistic distributions for a pixel (PixelCNN++); None: a softmax over the levels.
      dropout: probability with which a unit between two convolutions of a block is dropped in training; may be traced.
      classes: of labels to condition on; None: unconditional.
      chunk: queries that attention computes at a time for whole images: less memory, not another result. None: all.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, softmax, losses and statistics stay
        float32.

    Raises:
      ValueError: a size is not positive, `heads` does not divide the features of keys and values, the channels do
        not divide `head_features`, or `dropout` is not in [0, 1).
    """
    check_sizes(
        shape=shape,
        features=features,
        blocks=blocks,
        residual_blocks=residual_blocks,
        heads=heads,
        key_features=key_features,
        value_features=value_features,
        head_features=head_features,
        mixtures=mixtures,
        chunk=chunk,
    )
    if value_features is None:
        value_features = max(1, features // 2 // heads) * heads
    if head_features is None:
        head_features = -(-features // shape[-1]) * shape[-1]
    check_divides("heads", heads, key_features=key_features, value_features=value_features)
    check_divides("channels", shape[-1], head_features=head_features)
    check_dropout(dropout)
    if mixtures is None:
        head = categorical(shape[-1], levels)
    else:
        head = discretised_logistic_mixture(shape[-1], levels, mixtures)
    network = _PixelSNAIL(
        features=features,
        blocks=blocks,
        residual_blocks=residual_blocks,
        attention=attention,
        heads=heads,
        key_features=key_features,
        value_features=value_features,
        head_features=head_features,
        outputs=head.outputs,
        by_channel=head.by_channel,
        levels=levels,
        dropout=dropout,
        classes=classes,
        chunk=chunk,
        dtype=dtype,
    )
    return pixel_model(network, head, shape, levels, classes=classes)


class _PixelSNAIL(nn.Module, kw_only=True):
    features: int
    blocks: int
    residual_blocks: int
    attention: bool
    heads: int
    key_features: int
    value_features: int
    head_features: int
    outputs: int
    by_channel: bool
    levels: int
    dropout: float | Array
    classes: int | None
    chunk: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label, at, train):  # [B, H, W, C] -> [B, H, W, outputs]
        gated = partial(_GatedResidual, dropout=self.dropout, dtype=self.dtype)
        of_stream = partial(gated, classes=self.classes)
        h = CausalConv(self.features, (2, 3), kind="A", of_image=True, dtype=self.dtype, name="image")(x, at)
        previous_pixel = Previous(of_image=True, name="previous_pixel")(x, at)
        background = at_position(_background(x.shape[1:3]), at).astype(h.dtype)
        background = jnp.broadcast_to(background, (*h.shape[:-1], 2))
        for block in range(self.blocks):
            for i in range(self.residual_blocks):
                h = of_stream(window=(2, 3), name=f"residual_{block}_{i}")(h, at, train, label)
            if not self.attention:
                continue
            placed = jnp.concatenate([h, background], -1)
            # What stands at a position is of the pixel before it: while an image is generated its own is not known yet.
            memory = Previous(name=f"previous_{block}")(placed, at)
            memory = jnp.concatenate([previous_pixel.astype(h.dtype), memory], -1)
            attend = CausalAttention(
                heads=self.heads,
                key_features=self.key_features,
                value_features=self.value_features,
                kind="A",
                late=True,
                chunk=self.chunk,
                dtype=self.dtype,
                name=f"attention_{block}",
            )
            mixed = attend(
                gated(window=(1, 1), name=f"query_{block}")(placed, at, train),
                at,
                gated(window=(1, 1), name=f"memory_{block}")(memory, at, train),
            )
            h = of_stream(window=(1, 1), name=f"mixed_{block}")(h, at, train, label, mixed)
        head = WithinPixel(
            outputs=self.outputs,
            hidden=self.head_features,
            levels=self.levels,
            by_channel=self.by_channel,
            dtype=self.dtype,
            name="head",
        )
        return head(nn.elu(h), x, at)


class _GatedResidual(nn.Module, kw_only=True):
    window: tuple[int, int]
    dropout: float | Array
    dtype: DTypeLike | None
    classes: int | None = None

    @nn.compact
    def __call__(self, x, at, train, label=None, other=None):  # [B, H, W, C] -> [B, H, W, C]
        features = x.shape[-1]
        conv = partial(CausalConv, window=self.window, dtype=self.dtype)
        y = conv(features, name="in")(nn.elu(x), at)
        if other is not None:
            y += nn.Dense(features, use_bias=False, dtype=self.dtype, name="other")(nn.elu(other))
        y = Dropout()(nn.elu(y), self.dropout, train)
        small = nn.initializers.variance_scaling(
            0.01, "fan_in", "truncated_normal"
        )  # of a tenth, as in the paper's code
        y = conv(2 * features, kernel_init=small, name="out")(y, at)
        if self.classes is not None:
            y += nn.Embed(self.classes, 2 * features, dtype=self.dtype, name="label")(label)[:, None, None]
        a, b = jnp.split(y, 2, -1)
        return x + a * jax.nn.sigmoid(b)


def _background(size: tuple[int, int]) -> np.ndarray:
    """Row and column of each position, from -1/2 to 1/2: [H, W, 2]."""
    height, width = size
    rows, columns = (np.arange(n) / n - 0.5 for n in (height, width))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).astype(np.float32)
