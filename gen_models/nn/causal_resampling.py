"""Causal layers between two resolutions, called as those of `gen_models/nn/causal.py`: whole images, rows, or pixels.

A position (I, J) of half the resolution stands for the block of pixels (2I, 2J) to (2I + 1, 2J + 1). All four may read
it, so it may depend on no more than the first of them may:

- down: its window's last row and column are those of pixel (2I, 2J). Features of that pixel depend on earlier pixels
  alone, so the position does too. Features of whole rows are taken from row 2I and above.
- up: each of the four pixels takes its own product with position (I, J), in the streams of rows also with (I, J + 1).

While an image is generated, a layer of half the resolution has its turn once for each position, when the first of its
four pixels comes: `once_a_block`. The other three read what was kept.

Strided and transposed convolutions shifted in this way: Salimans et al., PixelCNN++ (2017), section 2.3 and 2.4.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.nn.causal import At, empty_row, kept_rows, kept_window
from gen_models.nn.conv import conv, conv_transpose


class CornerConv(nn.Module):
    """Convolution whose window ends, below and to the right, with the pixel itself: nothing of it needs a mask.

    With `strides=2`, the output [B, H / 2, W / 2, features] is that at every other row and column, from the first on.
    For one pixel it has a meaning only where the row and the column are even.
    """

    features: int
    window: tuple[int, int] = (2, 2)
    _: KW_ONLY
    strides: int = 1
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """The convolution of x, plus the bias."""
        rows, columns = self.window
        kernel = self.param("kernel", self.kernel_init, (rows, columns, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if at is None:
            _divisible(x.shape[1:3], self.strides)
            y = conv(x, kernel, strides=self.strides, padding=((rows - 1, 0), (columns - 1, 0)))
            return y if bias is None else y + bias
        window = kept_window(self, x, at, rows, 2 * columns - 1)
        if window is None:
            return empty_row(x, at if self.strides == 1 else halved(at), self.features)
        seen = window[:, :, :columns].reshape(x.shape[0], -1)  # without what stands right of the pixel
        y = seen @ kernel.reshape(-1, self.features)
        return (y if bias is None else y + bias)[:, None, None]


class RowDown(nn.Module):
    """Convolution over whole rows with stride 2: row I of the output depends on row 2I and `window[0] - 1` rows above.

    At the beginning of an odd row, and at its pixels, what it returns has no meaning.
    """

    features: int
    window: tuple[int, int] = (2, 3)
    _: KW_ONLY
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """The convolution of x, plus the bias."""
        rows, columns = self.window
        if columns % 2 == 0 or rows < 1:
            raise ValueError(f"a window of rows has a row or more and an odd number of columns, got {self.window}")
        kernel, bias, x = _weights(self, x, self.window, nn.initializers.lecun_normal())
        middle = columns // 2
        if at is None:
            _divisible(x.shape[1:3], 2)
            return conv(x, kernel, strides=2, padding=((rows - 1, 0), (middle, middle))) + bias
        row = self.variable("cache", "row", jnp.zeros, (x.shape[0], 1, at.size[1] // 2, self.features), x.dtype)
        if at.column is not None:
            return lax.dynamic_slice_in_dim(row.value, at.column // 2, 1, 2)
        seen = kept_rows(self, x, at, rows)
        row.value = conv(seen, kernel, strides=2, padding=((0, 0), (middle, middle))) + bias
        return row.value


class RowUp(nn.Module):
    """Transposed convolution over whole rows with stride 2: rows 2I and 2I + 1 of the output depend on row I.

    Even columns 2J of it read (I, J), odd ones 2J + 1 read (I, J) and (I, J + 1). While an image is generated, x is row
    I, [B, 1, W / 2, C], at the beginning of both rows, and `at` is that of the output; at a pixel, x is not read.
    """

    features: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """The transposed convolution of x, plus the bias."""
        # An output sees one of the two rows, and one or two of the three columns.
        init = nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal", batch_axis=0)
        kernel, bias, x = _weights(self, x, (2, 3), init)
        if at is None:
            return conv_transpose(x, kernel, strides=2, padding=((1, 1), (1, 2))) + bias
        row = self.variable("cache", "row", jnp.zeros, (x.shape[0], 1, at.size[1], self.features), x.dtype)
        if at.column is not None:
            return lax.dynamic_slice_in_dim(row.value, at.column, 1, 2)
        tap = lax.dynamic_slice_in_dim(kernel, 1 - at.row % 2, 1)  # the window is mirrored: its last row comes first
        row.value = conv_transpose(x, tap, strides=(1, 2), padding=((0, 0), (1, 2))) + bias
        return row.value


class PixelUp(nn.Module):
    """Each of a block's four pixels gets its own product with the block's position.

    While an image is generated, x is that position, [B, 1, 1, C], and `at` the pixel of the output.
    """

    features: int
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """The products, plus the bias."""
        init = nn.initializers.lecun_normal(batch_axis=(0, 1))  # an output sees one of the four
        kernel, bias, x = _weights(self, x, (2, 2), init)
        if at is None:
            b, h, w, _ = x.shape
            y = jnp.einsum("bhwc,rscd->bhrwsd", x, kernel)
            return y.reshape(b, 2 * h, 2 * w, self.features) + bias
        if at.column is None:
            return empty_row(x, at, self.features)
        return x @ kernel[at.row % 2, at.column % 2] + bias


def halved(at: At) -> At:
    """The position of half the resolution that stands for the block of pixels around `at`, or its row."""
    height, width = at.size
    return At(at.row // 2, None if at.column is None else at.column // 2, (height // 2, width // 2))


def once_a_block(
    module: nn.Module,
    inner: Callable[[Array, Array, At | None], tuple[Array, Array]],
    rows: Float[Array, "b h w c"],
    pixels: Float[Array, "b h w c"],
    at: At | None,
) -> tuple[Float[Array, "b h w d"], Float[Array, "b h w d"]]:
    """What the layers of half the resolution return, run when a block's first pixel or row comes, and kept after it.

    Args:
      module: from whose compact method this is called; it holds what is kept.
      inner: `(rows, pixels, at) -> (rows, pixels)`, of which `rows` depends on whole rows. It may call submodules of
        `module`.
      rows: what goes in, of half the resolution, from layers that act on whole rows.
      pixels: the same from layers that act on pixels.
      at: the pixel, or the row that begins, of the full resolution.

    Returns:
      Both, of half the resolution: at a row's beginning rows are [B, 1, W / 2, D] and pixels have no meaning; at a
      pixel, pixels are [B, 1, 1, D] and rows have no meaning.
    """
    if at is None:
        return inner(rows, pixels, None)
    low = halved(at)

    def run(module, rows, pixels):
        of_rows, of_pixels = inner(rows, pixels, low)
        if low.column is None:
            module.put_variable("cache", "half_rows", of_rows)
        else:
            kept = module.get_variable("cache", "half_pixels")
            kept = lax.dynamic_update_slice_in_dim(kept, of_pixels, low.column, 2)
            module.put_variable("cache", "half_pixels", kept)

    if not module.has_variable("cache", "half_rows"):  # the first call of all makes what layers keep
        of_rows, of_pixels = inner(rows, pixels, low)
        module.put_variable("cache", "half_rows", jnp.zeros_like(of_rows))
        module.put_variable("cache", "half_pixels", jnp.zeros_like(of_pixels))
        return of_rows, of_pixels
    begins = at.row % 2 == 0
    if at.column is not None:
        begins &= at.column % 2 == 0
    nn.cond(begins, run, lambda module, rows, pixels: None, module, rows, pixels)
    of_rows, of_pixels = (module.get_variable("cache", name) for name in ("half_rows", "half_pixels"))
    if low.column is None:
        return of_rows, of_pixels
    return of_rows[:, :, :1], lax.dynamic_slice_in_dim(of_pixels, low.column, 1, 2)


def _weights(module, x, window, init):
    kernel = module.param("kernel", init, (*window, x.shape[-1], module.features), jnp.float32)
    bias = module.param("bias", nn.initializers.zeros, (module.features,), jnp.float32)
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=module.dtype)
    return kernel, bias, x


def _divisible(size, strides):
    if any(n % strides for n in size):
        raise ValueError(f"a layer with stride {strides} needs a height and a width that it divides, got {size}")
