"""PixelCNN++: gated residual blocks at several resolutions, and a mixture of discretised logistics for each pixel.

Salimans, Karpathy, Chen and Kingma, PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and
Other Modifications (2017):

- section 2.1, eq. 2, and 2.2, eq. 3: the mixture; the network runs once for a pixel, whatever its channels.
- section 2.3, figure 2: the way down through the resolutions and up again, each with its own blocks.
- section 2.4: short-cuts from each layer of the way down to the layer of the way up that mirrors it.
- section 2.5: dropout in every block.

There are two streams. That of rows (downward, in the paper) sees the rows above a pixel, over all their width; that of
pixels (downward and rightward) also those to the left, and the rows' stream at each block. A block, with a short-cut a,
a label's embedding h, and c(x) = [elu(x), elu(-x)], the concatenated ELU of Shang et al. (2016):

    u, v = W_2 * dropout(c(W_1 * c(x) + U c(a))) + V h
    y = x + u . sigmoid(v)

Differs from the paper: no weight normalisation and no initialisation by data (section 2.5 does not name them, their
code has them), instead kernels of variance 1 / fan-in, and a hundredth of it for W_2, so that blocks begin near the
identity. The first layer of the pixels' stream is one masked convolution, where their code adds two that see the same
pixels. A softmax over the levels may stand for the mixture. Adam, its decay and the averaged parameters with which the
paper evaluates are the training's: `make_train_step(ema_decay=...)` and `state.ema`.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.models.sizes import check_sizes
from gen_models.nn.causal import CausalConv, RowConv
from gen_models.nn.causal_resampling import CornerConv, PixelUp, RowDown, RowUp, once_a_block
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.heads import categorical, discretised_logistic_mixture


def pixel_cnn_pp(
    shape: Sequence[int] = (32, 32, 3),
    levels: int = 256,
    *,
    features: int = 160,
    blocks: int = 5,
    resolutions: int = 3,
    mixtures: int | None = 10,
    dropout: float | Array = 0.5,
    classes: int | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of images of integers 0 to levels - 1; its functions are those of `pixel_model`.

    The defaults are the paper's for CIFAR-10: 53.6 million parameters.

    Args:
      shape: (height, width, channels).
      levels: values of a channel.
      features: of each stream, at each resolution.
      blocks: of each stream at each resolution on the way down; on the way up one more at all but the lowest.
      resolutions: the image's own, half of it, and so on; 1 for no down-sampling.
      mixtures: logistic distributions in a pixel's mixture; None: a softmax over the levels, for one channel.
      dropout: probability with which a unit inside a block is dropped in training; may be traced.
      classes: of labels to condition on; None: unconditional.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, outputs and losses stay float32.

    Raises:
      ValueError: a size is not positive, 2 ** (resolutions - 1) does not divide the height and the width, `dropout` is
        not in [0, 1), or there is no mixture for several channels.
    """
    check_sizes(shape=shape, features=features, blocks=blocks, resolutions=resolutions, mixtures=mixtures)
    height, width, channels = shape
    divisor = 2 ** (resolutions - 1)
    if height % divisor or width % divisor:
        raise ValueError(
            f"{resolutions=} halve an image {resolutions - 1} times, so {divisor} must divide its height and width, "
            f"got {height}x{width}: pad or crop the images, or take fewer resolutions"
        )
    check_dropout(dropout)
    if mixtures is None and channels > 1:
        raise ValueError(
            f"mixtures=None is a softmax for one channel, got {channels} channels: their pixels need a mixture"
        )
    head = categorical(1, levels) if mixtures is None else discretised_logistic_mixture(channels, levels, mixtures)
    network = _PixelCNNPP(
        features=features,
        blocks=blocks,
        resolutions=resolutions,
        outputs=head.outputs,
        dropout=dropout,
        classes=classes,
        dtype=dtype,
    )
    return pixel_model(network, head, shape, levels, classes=classes)


class _PixelCNNPP(nn.Module, kw_only=True):
    features: int
    blocks: int
    resolutions: int
    outputs: int
    dropout: float | Array
    classes: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label, at, train):  # [B, H, W, C] -> [B, H, W, outputs]
        ones = jnp.ones((1, *x.shape[1:3], 1), jnp.float32)  # tells the image from what is beyond its edges
        row_conv = partial(RowConv, self.features, (2, 3), of_image=True, dtype=self.dtype)
        pixel_conv = partial(CausalConv, self.features, (2, 3), kind="A", of_image=True, dtype=self.dtype)
        rows = row_conv(name="rows")(x, at) + row_conv(use_bias=False, name="rows_edge")(ones, at)
        pixels = pixel_conv(name="pixels")(x, at) + pixel_conv(use_bias=False, name="pixels_edge")(ones, at)
        block = partial(_Block, dropout=self.dropout, train=train, classes=self.classes, dtype=self.dtype)
        body = _Resolution(blocks=self.blocks, resolutions=self.resolutions, block=block, dtype=self.dtype, name="body")
        pixels = body(rows, pixels, label, at)[1]
        # Never in half precision, where the levels near 255 are half a level apart.
        return nn.Dense(self.outputs, dtype=jnp.float32, name="outputs")(nn.elu(pixels))


class _Resolution(nn.Module, kw_only=True):
    """The blocks of one resolution, and between its way down and its way up the next lower one."""

    blocks: int
    resolutions: int  # this one and those below
    block: partial
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, rows, pixels, label, at):
        row_block = partial(self.block, layer=partial(RowConv, window=(2, 3)))
        pixel_block = partial(self.block, layer=CornerConv)
        features, kept = pixels.shape[-1], [(rows, pixels)]
        for i in range(self.blocks):
            rows = row_block(name=f"rows_down_{i}")(rows, None, label, at)
            pixels = pixel_block(name=f"pixels_down_{i}")(pixels, rows, label, at)
            kept.append((rows, pixels))
        if self.resolutions == 1:
            kept.pop()  # the way up begins with it
        else:

            def lower(rows, pixels, at):
                half = _Resolution(
                    blocks=self.blocks,
                    resolutions=self.resolutions - 1,
                    block=self.block,
                    dtype=self.dtype,
                    name="half",
                )
                return half(rows, pixels, label, at)

            rows = RowDown(features, dtype=self.dtype, name="rows_half")(rows, at)
            pixels = CornerConv(features, strides=2, dtype=self.dtype, name="pixels_half")(pixels, at)
            rows, pixels = once_a_block(self, lower, rows, pixels, at)
            rows = RowUp(features, dtype=self.dtype, name="rows_whole")(rows, at)
            pixels = PixelUp(features, dtype=self.dtype, name="pixels_whole")(pixels, at)
        for i, (of_rows, of_pixels) in enumerate(reversed(kept)):
            rows = row_block(name=f"rows_up_{i}")(rows, of_rows, label, at)
            short_cut = jnp.concatenate([rows, of_pixels], -1)
            pixels = pixel_block(name=f"pixels_up_{i}")(pixels, short_cut, label, at)
        return rows, pixels


class _Block(nn.Module, kw_only=True):
    """A gated residual block; `layer` makes its two convolutions, of one stream or the other."""

    layer: partial | type[nn.Module]
    dropout: float | Array
    train: bool
    classes: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, short_cut, label, at):
        features = x.shape[-1]
        h = self.layer(features, dtype=self.dtype, name="first")(_concatenated_elu(x), at)
        if short_cut is not None:
            # Its bias would be a second one for the layer above.
            into = nn.Dense(features, use_bias=False, dtype=self.dtype, name="short_cut")
            h += into(_concatenated_elu(short_cut))
        h = Dropout()(_concatenated_elu(h), self.dropout, self.train)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        h = self.layer(2 * features, kernel_init=small, dtype=self.dtype, name="second")(h, at)
        if self.classes is not None:
            init = nn.initializers.normal(0.05)
            embed = nn.Embed(self.classes, 2 * features, embedding_init=init, dtype=self.dtype, name="label")
            h += embed(label)[:, None, None]
        u, v = jnp.split(h, 2, -1)
        return x + u * jax.nn.sigmoid(v)


def _concatenated_elu(x):
    return nn.elu(jnp.concatenate([x, -x], -1))
