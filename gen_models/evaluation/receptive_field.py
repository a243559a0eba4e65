"""Which pixels an autoregressive image model's outputs for one pixel depend on: measured, and from its architecture.

`measure` asks the network, by gradients. The other functions know no network: each follows its family's rules of
windows and stacks backwards from the pixel, layer by layer, over sets of pixels. Equal answers say that the network has
the connections that its paper gives it, no more and no fewer.

A further family is one function that begins with `only(shape, pixel)` and goes back through its layers with `behind`;
a recurrent layer repeats `behind` until nothing is added.
"""

from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool

from gen_models.core import Key, Model

Pixels = Bool[np.ndarray, "h w"]
Offsets = Iterable[tuple[int, int]]  # (rows, columns) from a pixel to one that it sees


def measure(
    model: Model,
    shape: Sequence[int],
    pixel: tuple[int, int],
    key: Key,
    *,
    draws: int = 16,
    images: int = 4,
    scale: float = 0.3,
    label: int | None = None,
) -> Pixels:
    """[H, W]: whether any of a pixel's outputs has a gradient with respect to any channel of each pixel.

    What is found is really seen. What is seen may be missed while a unit on every path to it is switched off, so the
    answer is the union over many parameters and images; what masks hide has gradients of exactly 0, and needs no
    threshold on a CPU (elsewhere, convolutions by transforms may leave rounding).

    Args:
      model: its `apply` takes images [B, H, W, C] and gives outputs [B, H, W, outputs].
      shape: (height, width, channels) that it was built for.
      pixel: (row, column).
      key: of parameters and images.
      draws: of parameters, all of them normal: biases and layers that start at 0 would hide connections.
      images: for each of them, uniform between 0 and 1.
      scale: the parameters' standard deviation.
      label: of all images, where the model takes one.

    Raises:
      ValueError: the pixel is outside, there is nothing to draw, or gradients are not finite.
    """
    shape = tuple(shape)
    _check(shape, pixel)
    if min(draws, images) < 1 or model.apply is None:
        raise ValueError(f"draws and images must be 1 or more, and the model have `apply`, got {draws=}, {images=}")
    apply = model.apply
    extra = {} if label is None else {"label": jnp.full(images, label)}
    like, _ = jax.eval_shape(model.init, key, {"image": jnp.zeros((images, *shape)), **extra})
    flat, unflatten = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like))

    def gradients(key) -> Array:
        params_key, image_key, weight_key = jax.random.split(key, 3)
        params = unflatten(scale * jax.random.normal(params_key, flat.shape))
        x = jax.random.uniform(image_key, (images, *shape))

        def outputs(x):
            y = apply(params, {}, x, **extra)[:, *pixel]
            return (y * jax.random.normal(weight_key, y.shape)).sum()  # random weights: contributions do not cancel

        return jnp.abs(jax.grad(outputs)(x)).sum((0, -1))

    total = np.asarray(jax.jit(lambda keys: jax.lax.map(gradients, keys).sum(0))(jax.random.split(key, draws)))
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
    """[H, W]: what `gen_models.models.pixel_cnn` sees; the pixel itself, where it has earlier channels."""
    seen = only(shape, pixel)
    for _ in range(blocks):
        seen = seen | behind(seen, _before(window))  # the residual connection, and the block
    return behind(seen, _before(first_window)) | _own_channels(shape, seen)


def gated_pixel_cnn_field(
    shape: Sequence[int], pixel: tuple[int, int], layers: int, first_window: int = 7, window: int = 3
) -> Pixels:
    """[H, W]: what `gen_models.models.gated_pixel_cnn` sees; the pixel itself, where it has earlier channels."""
    horizontal = only(shape, pixel)
    vertical = np.zeros_like(horizontal)
    for _ in range(layers - 1):
        vertical = vertical | horizontal  # each layer's horizontal stack reads its vertical one
        vertical = behind(vertical, _rows(window // 2, window, own_row=True))
        horizontal = horizontal | behind(horizontal, _left(window))
    rows_above = behind(vertical | horizontal, _rows(max(1, first_window // 2), first_window))
    return rows_above | behind(horizontal, _left(first_window)) | _own_channels(shape, horizontal)


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
