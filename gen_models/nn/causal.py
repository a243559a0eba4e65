"""Causal layers over images, each written once for whole images and for one pixel at a time.

Pixels come in raster order, and the colours of a pixel in theirs. A network of these layers is called in three ways,
and its own code is the same for all of them, as everything between the layers acts on each pixel alone:

- `at=None`: whole images, for training and likelihoods; x is [B, H, W, C].
- `at.column is None`: a row begins. Layers whose output at a row depends on earlier rows alone (`RowConv`) compute that
  whole row, [B, 1, W, C], from the rows that they keep; others make room for it, and what they return has no meaning.
- else one pixel, [B, 1, 1, C], from what layers keep in Linen's collection "cache".

While an image is generated, layers that read it (`of_image`) get all of it, [B, H, W, C], and take what they need,
whatever stands at pixels to come.

Masks A and B: van den Oord et al., Pixel Recurrent Neural Networks (2016), section 3.4 and figure 2. Keeping what later
pixels need: Ramachandran et al., Fast Generation for Convolutional Autoregressive Models (2017).
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.nn.conv import conv


class At(NamedTuple):
    """What is being generated: a pixel of images of `size`, or, without a column, the beginning of a row."""

    row: Int[Array, ""]
    column: Int[Array, ""] | None
    size: tuple[int, int]  # height, width


def causal_mask(
    window: Sequence[int], inputs: int, outputs: int, kind: Literal["A", "B"], colours: int = 1
) -> np.ndarray:
    """Mask [rows, columns, inputs, outputs] of a window whose last row is that of the pixel itself, at its middle.

    All rows above are seen, and to the left. Of the pixel itself, outputs of one colour see inputs of earlier colours,
    with kind "B" of their own colour too; channels belong to the colours in equal contiguous parts.
    """
    rows, columns = window
    mask = np.ones((rows, columns, inputs, outputs), np.float32)
    mask[-1, columns // 2 + 1 :] = 0
    mask[-1, columns // 2] = _of_pixel(inputs, outputs, kind, colours)
    return mask


def _of_pixel(inputs: int, outputs: int, kind: str, colours: int) -> np.ndarray:
    before, after = (np.arange(n) * colours // n for n in (inputs, outputs))
    return (before[:, None] < after if kind == "A" else before[:, None] <= after).astype(np.float32)


class CausalConv(nn.Module):
    """Masked convolution: a pixel's output depends on pixels before it and, within it, on what the mask's kind allows.

    The window is that of a k x k kernel without the rows below its middle, (k // 2 + 1, k); (1, k) stays in the row,
    and (1, 1) acts on each pixel alone.
    """

    features: int
    window: tuple[int, int]
    _: KW_ONLY
    kind: Literal["A", "B"] = "B"
    colours: int = 1
    of_image: bool = False
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """The convolution of x, plus the bias."""
        rows, columns = self.window
        if columns % 2 == 0 or rows < 1:
            raise ValueError(f"a causal window has a row or more and an odd number of columns, got {self.window}")
        middle, inputs = columns // 2, x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (rows, columns, inputs, self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        if self.of_image and at is not None and at.column is not None:
            x = image_window(x, at, rows, columns)  # first, so that no more than this is converted to the dtype
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if at is None:
            mask = causal_mask(self.window, inputs, self.features, self.kind, self.colours)
            y = conv(x, kernel * mask.astype(kernel.dtype), padding=((rows - 1, 0), (middle, middle)), masked=True)
            return y if bias is None else y + bias
        if self.of_image:
            window = None if at.column is None else x
        else:
            window = kept_window(self, x, at, rows, columns)
        if window is None:
            return empty_row(x, at, self.features)
        # One product with what is seen: the rows above, the pixels to the left, and the pixel itself.
        seen = [window[:, :-1].reshape(x.shape[0], -1), window[:, -1, :middle].reshape(x.shape[0], -1)]
        kernels = [kernel[:-1].reshape(-1, self.features), kernel[-1, :middle].reshape(-1, self.features)]
        of_pixel = _of_pixel(inputs, self.features, self.kind, self.colours)
        if of_pixel.any():
            seen.append(window[:, -1, middle])
            kernels.append(kernel[-1, middle] if of_pixel.all() else kernel[-1, middle] * of_pixel.astype(kernel.dtype))
        y = jnp.concatenate(seen, -1) @ jnp.concatenate(kernels)
        return (y if bias is None else y + bias)[:, None, None]


class RowConv(nn.Module):
    """Convolution over whole rows: an output at a row depends on that row and `window[0] - 1` rows above.

    With `of_image`, the row itself is not seen, but one more above. So a chain of these that begins with one of the
    image sees, at each pixel, rows above it alone, over all their width: the vertical stack of Gated PixelCNN.
    """

    features: int
    window: tuple[int, int]
    _: KW_ONLY
    of_image: bool = False
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """The convolution of x, plus the bias."""
        rows, columns = self.window
        if columns % 2 == 0 or rows < 1:
            raise ValueError(f"a window of rows has a row or more and an odd number of columns, got {self.window}")
        middle = columns // 2
        kernel = self.param("kernel", self.kernel_init, (rows, columns, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if at is None:
            shift = int(self.of_image)  # the last row is seen by no row, the first sees none
            y = conv(x, kernel, padding=((rows - 1 + shift, -shift), (middle, middle)))
            return y if bias is None else y + bias
        row = self.variable("cache", "row", jnp.zeros, (x.shape[0], 1, at.size[1], self.features), x.dtype)
        if at.column is not None:
            return lax.dynamic_slice_in_dim(row.value, at.column, 1, 2)
        seen = image_rows(x, at, rows) if self.of_image else kept_rows(self, x, at, rows)
        y = conv(seen, kernel, padding=((0, 0), (middle, middle)))
        row.value = y if bias is None else y + bias
        return row.value


def empty_row(x: Array, at: At, features: int) -> Array:
    """What a layer of single pixels returns at a row's beginning: the right shape."""
    return jnp.zeros((x.shape[0], 1, at.size[1], features), x.dtype)


def image_window(x: Array, at: At, rows: int, columns: int) -> Array:
    """[B, rows, columns, C] of the image so far, `at` in the middle of the last row; zeros beyond the edges."""
    assert at.column is not None
    i, j = at.row + jnp.arange(1 - rows, 1), at.column + jnp.arange(columns) - columns // 2
    inside = ((i >= 0)[:, None] & ((j >= 0) & (j < at.size[1])))[..., None]
    window = x[:, jnp.maximum(i, 0)[:, None], jnp.clip(j, 0, at.size[1] - 1)]
    return jnp.where(inside, window, 0)


def image_rows(x: Array, at: At, rows: int) -> Array:
    """[B, rows, W, C]: the `rows` above the one that begins; zeros beyond the edge."""
    i = at.row + jnp.arange(-rows, 0)
    return jnp.where((i >= 0)[:, None, None], x[:, jnp.maximum(i, 0)], 0)


def kept_rows(module: nn.Module, x: Array, at: At, rows: int) -> Array:
    """[B, rows, W, C]: the row x that begins, [B, 1, W, C], and those above it that the module has kept."""
    kept = module.variable("cache", "above", jnp.zeros, (x.shape[0], rows - 1, at.size[1], x.shape[-1]), x.dtype)
    seen = jnp.concatenate([kept.value, x], 1)
    kept.value = seen[:, 1:]
    return seen


def kept_window(module: nn.Module, x: Array, at: At, rows: int, columns: int) -> Array | None:
    """[B, rows, columns, C] around the pixel x, [B, 1, 1, C], from what the module has kept; None where a row begins.

    Right of the pixel, its row holds what has no meaning.
    """
    if rows == columns == 1:
        return None if at.column is None else x
    middle = columns // 2
    kept = module.variable(
        "cache", "pixels", jnp.zeros, (x.shape[0], rows, at.size[1] + 2 * middle, x.shape[-1]), x.dtype
    )
    if at.column is None:
        if rows > 1:
            kept.value = jnp.concatenate([kept.value[:, 1:], jnp.zeros_like(kept.value[:, :1])], 1)
        return None
    kept.value = lax.dynamic_update_slice(kept.value, x, (0, rows - 1, at.column + middle, 0))
    return lax.dynamic_slice_in_dim(kept.value, at.column, columns, 2)
