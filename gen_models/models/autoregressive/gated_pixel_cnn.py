"""Gated PixelCNN: two stacks of convolutions that together see every earlier pixel.

van den Oord et al., Conditional Image Generation with PixelCNN Decoders (2016): the gated unit is eq. 2, with a
condition h eq. 4; figure 2 is a layer. The vertical stack sees the rows above a pixel, over all their width; the
horizontal one the pixels to its left, and the vertical stack at each layer. So there is no blind spot.

    y = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h)

Here h is a label, one-hot. The network itself also takes a vector of real numbers, or a map of them, whose V is a 1x1
convolution (section 2.3): `gen_models/models/latent/pixel_vae.py` conditions it on a code.

Differs from the paper: the vertical stack's window is (k // 2 + 1, k), where the paper's is k x k cut to what it may
see. Several channels: features belong to the colours in equal parts, and masks within a pixel are those of PixelRNN
(2016), figure 2.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.models.sizes import check_divides, check_first_window, check_sizes, check_windows
from gen_models.nn.causal import CausalConv, RowConv
from gen_models.nn.heads import categorical


def gated_pixel_cnn(
    shape: Sequence[int] = (28, 28, 1),
    levels: int = 2,
    *,
    features: int = 64,
    layers: int = 8,
    window: int = 3,
    first_window: int = 7,
    head_features: int = 64,
    embedded: int | None = None,
    classes: int | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of images of integers 0 to levels - 1; its functions are those of `pixel_model`.

    Args:
      shape: (height, width, channels); for several channels, these divide `features` and `head_features`.
      levels: values of a channel.
      features: of each stack, p in the paper.
      layers: gated layers, the first included.
      window: k, odd, of all layers but the first.
      first_window: k of the first, odd, 3 or more; it does not see its own pixel.
      head_features: of the 1x1 convolution before the outputs.
      embedded: features in which each level of a channel is embedded before the first layer, where levels are names
        and no quantities, as the codes of a VQ-VAE are; None: the network sees the levels as numbers from -1 to 1.
      classes: of labels to condition on; None: unconditional.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, a window is even, the first sees nothing of its own row, or the channels do
        not divide the features.
    """
    check_sizes(embedded=embedded)
    head = categorical(shape[-1], levels)
    network = gated_network(
        shape,
        head.outputs,
        features=features,
        layers=layers,
        window=window,
        first_window=first_window,
        head_features=head_features,
        embedded=None if embedded is None else (levels, embedded),
        classes=classes,
        dtype=dtype,
    )
    return pixel_model(network, head, shape, levels, classes=classes)


def gated_network(
    shape: Sequence[int],
    outputs: int,
    *,
    features: int,
    layers: int,
    window: int,
    first_window: int,
    head_features: int,
    embedded: tuple[int, int] | None = None,
    classes: int | None = None,
    dtype: DTypeLike | None = None,
) -> nn.Module:
    """The network alone, called as `network(x, condition, at, train)`; see `gen_models/nn/causal.py`.

    The condition is None, labels int [B] below `classes`, a vector [B, F] or a map [B, H, W, F] of floats.

    Args:
      shape: (height, width, channels).
      outputs: numbers for a pixel.
      features: as those of `gated_pixel_cnn`, with the next four and the last two.
      layers: gated layers.
      window: of all layers but the first.
      first_window: of the first.
      head_features: of the 1x1 convolution before the outputs.
      embedded: (levels, features of each); None: none.
      classes: of labels.
      dtype: of the computations.

    Raises:
      ValueError: as `gated_pixel_cnn`.
    """
    check_sizes(shape=shape, features=features, layers=layers, head_features=head_features)
    check_windows(window=window)
    check_first_window(first_window)
    check_divides("channels", shape[-1], features=features, head_features=head_features)
    return _GatedPixelCNN(
        features=features,
        layers=layers,
        window=window,
        first_window=first_window,
        head_features=head_features,
        outputs=outputs,
        colours=shape[-1],
        embedded=embedded,
        classes=classes,
        dtype=dtype,
    )


class _GatedPixelCNN(nn.Module, kw_only=True):
    features: int
    layers: int
    window: int
    first_window: int
    head_features: int
    outputs: int
    colours: int
    embedded: tuple[int, int] | None
    classes: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, condition, at, train):  # [B, H, W, C] -> [B, H, W, outputs]
        h = v = x if self.embedded is None else self._embedding(x, *self.embedded)
        for layer in range(self.layers):
            first = layer == 0
            k = self.first_window if first else self.window
            rows = max(1, k // 2) if first else k // 2 + 1
            row_conv = partial(RowConv, of_image=first, dtype=self.dtype)
            vertical = row_conv(2 * self.features, (rows, k), name=f"vertical_{layer}")(v, at)
            causal_conv = partial(CausalConv, kind="A" if first else "B", colours=self.colours, dtype=self.dtype)
            horizontal = causal_conv(2 * self.features, (1, k), of_image=first, name=f"horizontal_{layer}")(h, at)
            horizontal += self._pointwise(2 * self.features, f"vertical_to_horizontal_{layer}")(vertical)
            if condition is not None:
                of_vertical, of_horizontal = jnp.split(self._of_condition(condition, at, f"label_{layer}"), 2, -1)
                vertical, horizontal = vertical + of_vertical, horizontal + of_horizontal
            v, gated = _gate(vertical), self._by_colour(horizontal)
            out = CausalConv(self.features, (1, 1), colours=self.colours, dtype=self.dtype, name=f"out_{layer}")(
                gated, at
            )
            h = out if first else h + out
        for name, width in (("head", self.head_features), ("outputs", self.outputs)):
            h = CausalConv(width, (1, 1), colours=self.colours, dtype=self.dtype, name=name)(nn.relu(h), at)
        return h.astype(jnp.float32)

    def _embedding(self, x, levels, width):
        """[B, H, W, C * width], the colours one after another, of x scaled to [-1, 1]."""
        names = jnp.round((x + 1) * ((levels - 1) / 2)).astype(jnp.int32)
        return nn.Embed(levels, width, dtype=self.dtype, name="levels")(names).reshape(*x.shape[:-1], -1)

    def _of_condition(self, condition, at, name):
        """V h of both stacks and both halves of the gate, [B, H, W, 4 features]; 1 where it is the same everywhere."""
        width = 4 * self.features
        if not jnp.issubdtype(condition.dtype, jnp.floating):
            assert self.classes is not None, "a network of no classes is given labels"
            return nn.Embed(self.classes, width, dtype=self.dtype, name=name)(condition)[:, None, None]
        here = condition[:, None, None] if condition.ndim == 2 else _here(condition, at)
        return nn.Dense(width, use_bias=False, dtype=self.dtype, name=name)(here)

    def _pointwise(self, features, name):
        return nn.Dense(features, use_bias=False, dtype=self.dtype, name=name)

    def _by_colour(self, x):
        """The gate within each colour's part of the features."""
        parts = jnp.split(x, self.colours, -1)
        return jnp.concatenate([_gate(part) for part in parts], -1)


def _gate(x):
    a, b = jnp.split(x, 2, -1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)


def _here(condition, at):
    """What of a map [B, H, W, F] is needed: all of it, a row, or a pixel."""
    if at is None:
        return condition
    row = lax.dynamic_slice_in_dim(condition, at.row, 1, 1)
    return row if at.column is None else lax.dynamic_slice_in_dim(row, at.column, 1, 2)
