"""Which pixels an autoregressive image model's outputs for one pixel depend on: measured, and from its architecture.

`measure` asks the network, by gradients. The other functions know no network: each follows its family's rules of
windows and stacks backwards from the pixel, layer by layer, over sets of pixels. Equal answers say that the network has
the connections that its paper gives it, no more and no fewer.

A further family is one function that begins with `only(shape, pixel)` and goes back through its layers with `behind`,
through recurrent ones with `all_behind`.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool

from gen_models.core import Key, Model
from gen_models.errors import unknown

Pixels = Bool[np.ndarray, "h w"]
Offsets = Iterable[tuple[int, int]]  # (rows, columns) from a pixel to one that it sees


def measure(model: Model, shape: Sequence[int], pixel: tuple[int, int], key: Key, **options) -> Pixels:
    """[H, W]: what `measure_each` finds for one pixel; its options, and what it raises."""
    return measure_each(model, shape, [pixel], key, **options)[0]


def measure_each(
    model: Model,
    shape: Sequence[int],
    pixels: Sequence[tuple[int, int]],
    key: Key,
    *,
    draws: int = 16,
    images: int = 4,
    scale: float = 0.3,
    label: int | None = None,
) -> Bool[np.ndarray, "n h w"]:
    """[N, H, W]: whether any of a pixel's outputs has a gradient with respect to any channel of each pixel.

    What is found is really seen. What is seen may be missed while a unit on every path to it is switched off, so the
    answer is the union over many parameters and images; what masks hide has gradients of exactly 0, and needs no
    threshold on a CPU (elsewhere, convolutions by transforms may leave rounding).

    Args:
      model: its `apply` takes images [B, H, W, C] and gives outputs [B, H, W, outputs].
      shape: (height, width, channels) that it was built for.
      pixels: N times (row, column); the program is compiled once for all of them.
      key: of parameters and images.
      draws: of parameters, all of them normal: biases and layers that start at 0 would hide connections.
      images: for each of them, uniform between 0 and 1.
      scale: the parameters' standard deviation.
      label: of all images, where the model takes one.

    Raises:
      ValueError: a pixel is outside, there is nothing to draw, or gradients are not finite.
    """
    shape = tuple(shape)
    for pixel in pixels:
        _check(shape, pixel)
    if min(draws, images, len(pixels)) < 1 or not model.has("apply"):
        raise ValueError(
            f"draws and images must be 1 or more, the model have `apply`, and pixels be named, got {draws=}, "
            f"{images=}, {pixels=}"
        )
    apply = model.apply
    condition = {} if label is None else {"label": jnp.full(images, label)}
    labels = {} if label is None else {"y": condition["label"]}
    like, _ = jax.eval_shape(model.init, key, {"x": jnp.zeros((images, *shape)), **labels})
    flat, unflatten = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))

    def gradients(key) -> Array:
        params_key, image_key, weight_key = jax.random.split(key, 3)
        params = unflatten(scale * jax.random.normal(params_key, flat.shape))
        x = jax.random.uniform(image_key, (images, *shape))
        y, pull = jax.vjp(lambda x: apply(params, {}, x, **condition), x)
        # Random weights: the contributions of a pixel's outputs do not cancel.
        weights = jax.random.normal(weight_key, (images, y.shape[-1]))

        def of_pixel(at) -> Array:
            return jnp.abs(pull(jnp.zeros_like(y).at[:, at[0], at[1]].set(weights))[0]).sum((0, -1))

        return lax.map(of_pixel, jnp.asarray(pixels))

    total = np.asarray(jax.jit(lambda keys: lax.map(gradients, keys).sum(0))(jax.random.split(key, draws)))
    if not np.isfinite(total).all():
        raise ValueError(f"the gradients are not finite: try a scale below {scale}")
    return total > 0


def earlier(shape: Sequence[int], pixel: tuple[int, int]) -> Pixels:
    """[H, W]: the pixels before this one in raster order: all that a model could see."""
    _check(shape, pixel)
    height, width = shape[:2]
    row, column = pixel
    return np.arange(height * width).reshape(height, width) < row * width + column


def pixel_cnn_field(
    shape: Sequence[int], pixel: tuple[int, int], blocks: int, first_window: int = 7, window: int = 3
) -> Pixels:
    """[H, W]: what PixelCNN sees; the pixel itself, where it has earlier channels."""
    seen = only(shape, pixel)
    for _ in range(blocks):
        seen = seen | behind(seen, _before(window))  # the residual connection, and the block
    return behind(seen, _before(first_window)) | _own_channels(shape, seen)


def gated_pixel_cnn_field(
    shape: Sequence[int], pixel: tuple[int, int], layers: int, first_window: int = 7, window: int = 3
) -> Pixels:
    """[H, W]: what Gated PixelCNN sees; the pixel itself, where it has earlier channels."""
    horizontal = only(shape, pixel)
    vertical = np.zeros_like(horizontal)
    for _ in range(layers - 1):
        vertical = vertical | horizontal  # each layer's horizontal stack reads its vertical one
        vertical = behind(vertical, _rows(window // 2, window, own_row=True))
        horizontal = horizontal | behind(horizontal, _left(window))
    rows_above = behind(vertical | horizontal, _rows(max(1, first_window // 2), first_window))
    return rows_above | behind(horizontal, _left(first_window)) | _own_channels(shape, horizontal)


def pixel_rnn_field(
    shape: Sequence[int],
    pixel: tuple[int, int],
    layers: int,
    kind: Literal["row", "diagonal"],
    window: int = 3,
    first_window: int = 7,
) -> Pixels:
    """[H, W]: what `gen_models.models.autoregressive.pixel_rnn` sees; the pixel itself, where it has earlier channels.

    Raises:
      ValueError: the pixel is outside, or the kind is unknown.
    """
    if kind not in ("row", "diagonal"):
        raise unknown("kind of PixelRNN", kind, ("row", "diagonal"))
    seen = only(shape, pixel)
    for _ in range(layers):
        seen = _row_lstm(seen, window) if kind == "row" else _diagonal_bilstm(seen)
    return behind(seen, _before(first_window)) | _own_channels(shape, seen)


def _row_lstm(seen: Pixels, window: int) -> Pixels:
    """Back through van den Oord et al., PixelRNN (2016), section 3.1: states of rows above, and inputs in each row."""
    states = all_behind(seen, _rows(1, window))
    return states | behind(states, _left(window))


def _diagonal_bilstm(seen: Pixels) -> Pixels:
    """Section 3.2 and figure 3: states above and to the left; those to the right begin one row above."""
    from_right = behind(seen, [(-1, 0)])
    return all_behind(seen, [(-1, 0), (0, -1)]) | all_behind(from_right, [(-1, 0), (0, 1)])


def pixel_cnn_pp_field(shape: Sequence[int], pixel: tuple[int, int], blocks: int, resolutions: int) -> Pixels:
    """[H, W]: what PixelCNN++ sees; never the pixel itself, whose channels its mixture relates.

    Raises:
      ValueError: the pixel is outside, or a resolution cannot be halved.
    """
    pixels = only(shape, pixel)
    rows, pixels = _one_resolution(np.zeros_like(pixels), pixels, blocks, resolutions)
    return behind(rows, _rows(2, 3)) | behind(pixels, _rows(1, 3) + _left(3))


_ROWS = [(down, right) for down in (-1, 0) for right in (-1, 0, 1)]
_CORNER = [(down, right) for down in (-1, 0) for right in (-1, 0)]


def _one_resolution(rows: Pixels, pixels: Pixels, blocks: int, resolutions: int) -> tuple[Pixels, Pixels]:
    """What is read of both streams' inputs to a resolution, from what is read of their outputs.

    Salimans et al., PixelCNN++ (2017), figure 2: blocks up, from the last to the first, the next lower resolution, and
    blocks down. Short-cuts of the last block up come from the first input down, and so on inwards.
    """
    short_cuts = []
    for _ in range(blocks + (resolutions > 1)):
        rows, pixels, short_cut = _two_blocks(rows, pixels)
        short_cuts.append(short_cut)
    if resolutions > 1:
        odd = np.indices(rows.shape)[1] % 2 == 1  # columns that read the next position of half the resolution, too
        half_rows = _halved(rows) | behind(_halved(rows & odd), [(0, 1)])
        half_rows, half_pixels = _one_resolution(half_rows, _halved(pixels), blocks, resolutions - 1)
        of_rows, of_pixels = short_cuts.pop()
        rows = behind(_first_of_each(half_rows), _ROWS) | of_rows
        pixels = behind(_first_of_each(half_pixels), _CORNER) | of_pixels
    for of_rows, of_pixels in reversed(short_cuts):
        rows, pixels, _ = _two_blocks(rows, pixels)
        rows, pixels = rows | of_rows, pixels | of_pixels
    return rows, pixels


def _two_blocks(rows: Pixels, pixels: Pixels) -> tuple[Pixels, Pixels, tuple[Pixels, Pixels]]:
    """Back through a block of the pixels' stream, and one of the rows', which it reads: inputs, short-cuts of both.

    Short-cuts enter between a block's two convolutions.
    """
    of_pixels = behind(pixels, _CORNER)
    of_rows = behind(rows | of_pixels, _ROWS)
    return behind(of_rows, _ROWS), behind(of_pixels, _CORNER), (of_rows, of_pixels)


def _halved(seen: Pixels) -> Bool[np.ndarray, "h//2 w//2"]:
    """[H / 2, W / 2]: the blocks of 2 x 2 pixels any of which is seen."""
    height, width = seen.shape
    if height % 2 or width % 2:
        raise ValueError(f"each resolution but the lowest must have an even height and width, got {height}x{width}")
    return seen[::2, ::2] | seen[::2, 1::2] | seen[1::2, ::2] | seen[1::2, 1::2]


def _first_of_each(seen: Pixels) -> Bool[np.ndarray, "2*h 2*w"]:
    """[2 H, 2 W]: the first pixel of each block: windows of strided convolutions end there."""
    return np.kron(seen, np.array([[True, False], [False, False]]))


def attention_field(shape: Sequence[int], pixel: tuple[int, int], by_channel: bool = True) -> Pixels:
    """[H, W]: what `image_gpt` and `pixel_snail` of `gen_models.models` see: every earlier pixel, from one layer on.

    ImageGPT's positions hold the pixel before them. PixelSNAIL's keys and values are made from pixels as well as from
    features: from features alone, the last pixel of the row above could be missed, as no feature holds its own pixel.

    Args:
      shape: (height, width, channels).
      pixel: (row, column).
      by_channel: whether outputs see the pixel's earlier channels, where there are some: not for PixelSNAIL's mixtures.
    """
    seen = earlier(shape, pixel)
    return seen | _own_channels(shape, only(shape, pixel)) if by_channel else seen


def only(shape: Sequence[int], pixel: tuple[int, int]) -> Pixels:
    """[H, W]: the pixel alone, where the way back through the layers begins."""
    _check(shape, pixel)
    seen = np.zeros(tuple(shape[:2]), bool)
    seen[pixel] = True
    return seen


def behind(seen: Pixels, offsets: Offsets) -> Pixels:
    """[H, W]: the pixels of a layer's input that outputs at any of `seen` are made from.

    There is nothing beyond the edges: paths that leave the image and return see nothing.
    """
    height, width = seen.shape
    found = np.zeros_like(seen)
    rows, columns = np.nonzero(seen)
    for down, right in offsets:
        i, j = rows + down, columns + right
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        found[i[inside], j[inside]] = True
    return found


def all_behind(seen: Pixels, offsets: Offsets) -> Pixels:
    """[H, W]: `seen`, and all that a recurrence brings there: `behind`, again until nothing is added."""
    offsets = list(offsets)
    while (more := behind(seen, offsets) & ~seen).any():
        seen = seen | more
    return seen


def _left(window: int) -> list[tuple[int, int]]:
    return [(0, -right) for right in range(1, window // 2 + 1)]


def _rows(above: int, window: int, *, own_row: bool = False) -> list[tuple[int, int]]:
    middle = window // 2
    return [(down, right) for down in range(-above, int(own_row)) for right in range(-middle, middle + 1)]


def _before(window: int) -> list[tuple[int, int]]:
    """A square window's pixels before its middle: mask A, and B but for the pixel itself."""
    return _rows(window // 2, window) + _left(window)


def _own_channels(shape: Sequence[int], seen: Pixels) -> Pixels:
    """Mask A lets a channel see those before it in its own pixel, wherever the first layer is read."""
    return seen & (shape[2] > 1)


def _check(shape: Sequence[int], pixel: tuple[int, int]) -> None:
    if len(shape) != 3 or min(shape) < 1 or not all(0 <= at < size for at, size in zip(pixel, shape[:2], strict=True)):
        raise ValueError(f"the pixel (row, column) must be inside of (height, width, channels), got {pixel=}, {shape=}")
