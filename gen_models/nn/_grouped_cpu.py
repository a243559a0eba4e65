"""Convolutions of groups of channels on the CPU, for which XLA:CPU has no fast form; see `gen_models/nn/_conv_cpu.py`.

- Depthwise ones, whose groups are single channels, are sums of shifted and weighted images, which XLA makes one loop
  of. Where x is spread out by s, as in the gradient of a strided one, each of the s^d places of the output among the
  elements of x is such a sum by itself, with the taps that do not meet zeros.
- Their kernels' gradients are sums of products of gy with shifted images: of some of them in the loop that makes the
  products, of what is left by a product with a vector of ones.
- Others of stride 1 are a product of matrices for each group and image. Of the window, its columns are rows of the one
  factor, x as each column sees it, and its rows are rows of the result, which are then shifted and added:

      y[h, w] = sum_i z_i[h + i, w],    z_i[h, w] = sum_j x[h, w + j] w[i, j].

  So x is copied for each column only, not for each tap. The channels come first here and the places of an image last,
  side by side in memory, where a shift by i rows and j columns is one by i W + j places: all loops read and write
  without gaps. What comes over the edge from the row before is set to 0.
- The rest is cut into convolutions of a few groups each, whose kernels are 0 between groups: products with fewer
  columns than a register holds would leave most of it empty.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from gen_models.nn._conv_setting import Setting
from gen_models.nn._in_memory_cpu import in_memory, some_at_a_time
from gen_models.nn.devices import largest_divisor

_FEW_TAPS = 32  # up to which a convolution of one channel is faster as a depthwise one
_ADDED = 8  # products in a term of the sum that a depthwise kernel's gradient is
_PLACES = 350_000  # elements of x as all columns see it, of the images in one product: what a core's second cache holds
_NARROWEST = 16  # channels of the wider side of a group up to which those products are faster than merged groups
_WIDTH = 16  # channels of the narrower side that merged groups have, about: a register of 512 bits, or two of 256


def suits_depthwise(kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether a convolution is depthwise, and of a form that `depthwise` takes: also one of a single channel."""
    if setting.groups == 1:  # of one input, products have one column for each tap, too few if there are few taps
        return kernel_shape[-2] == 1 and math.prod(kernel_shape[:-2]) <= _FEW_TAPS and max(setting.spread) == 1
    whole = max(setting.spread) == 1 or max(*setting.stride, *setting.dilation) == 1
    return kernel_shape[-2] == 1 and whole


def depthwise(x: Array, kernel: Array, setting: Setting) -> Array:
    """Each channel with its own kernels: x [B, *space, C] with [*window, 1, C'], C' a multiple of C."""
    if max(setting.spread) == 1:
        return _shifted_sum(x, kernel, setting.stride, setting.dilation, setting.pads)
    return _spread_out(x, kernel, setting)


def _shifted_sum(x, kernel, stride, dilation, pads):
    window, channels = kernel.shape[:-2], x.shape[-1]
    multiplier = kernel.shape[-1] // channels
    x = in_memory(_padded(x, pads))
    if multiplier == 1:
        kernel = kernel[..., 0, :]  # [*window, C]
    else:
        x, kernel = x[..., None], kernel.reshape(*window, channels, multiplier)  # [B, *space, C, 1], [*window, C, m]
    total: Any = 0
    for tap in product(*map(range, window)):
        total += _seen_by(x, tap, window, stride, dilation) * kernel[tap]
    return total.reshape(*total.shape[:-2], -1) if multiplier > 1 else total


def _padded(x, pads):
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)]
    return lax.pad(x, jnp.zeros([], x.dtype), config)


def _seen_by(x, tap, window, stride, dilation):
    """x as a tap sees it: from r u on, every s-th element, which leaves r (k - 1 - u) for the taps behind it."""
    for i, u in enumerate(tap):
        start, stop = dilation[i] * u, x.shape[i + 1] - dilation[i] * (window[i] - 1 - u)
        x = lax.slice_in_dim(x, start, stop, stride[i], i + 1)
    return x


def blocks_of_outputs(
    x_shape: tuple[int, ...], window: tuple[int, ...], setting: Setting
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Where outputs lie among the elements of an x that is spread out by s: see `_subpixel` of `_conv_cpu.py`.

    Block m holds the outputs from s m + lo - (s - 1), where j = s - 1, to s m + lo, where j = 0.

    Returns:
      In each dimension the padding of x before the small kernels, and the first and last place + 1 of the outputs
      among the places of all blocks.
    """
    pads, starts, ends = [], [], []
    for i, ((lo, hi), s, k) in enumerate(zip(setting.pads, setting.spread, window, strict=True)):
        size = (x_shape[i + 1] - 1) * s + 1 + lo + hi - (k - 1)  # of the output
        # The first block is that which ends at output 0 or after it, the last that which begins at output size - 1 or
        # before it. Block m reads x[m] to x[m + taps - 1].
        first, last = -(lo // s), (size - 1 - lo + s - 1) // s
        pads.append((-first, last + -(-k // s) - x_shape[i + 1]))
        start = -(s * first + lo - (s - 1))  # output 0 is so far behind the beginning of the first block
        starts.append(start)
        ends.append(start + size)
    return pads, starts, ends


def _spread_out(x, kernel, setting):
    """Of outputs y[s m - j + lo] = sum_t x[m + t] w[s t + j], those of each j, put side by side."""
    window, spread = kernel.shape[:-2], setting.spread
    pads, starts, ends = blocks_of_outputs(x.shape, window, setting)
    taps = [-(-k // s) for k, s in zip(window, spread, strict=True)]
    filled = [(0, t * s - k) for t, s, k in zip(taps, spread, window, strict=True)]
    kernel = jnp.pad(kernel, [*filled, (0, 0), (0, 0)])
    ones, space = (1,) * len(window), len(window)
    places = []
    for js in product(*(range(s - 1, -1, -1) for s in spread)):  # places of a block grow as j falls
        own = kernel[tuple(slice(j, None, s) for j, s in zip(js, spread, strict=True))]
        # The barrier keeps XLA from asking of each element of the result which of the places it is.
        places.append(lax.optimization_barrier(_shifted_sum(x, own, ones, ones, pads)))
    y = jnp.stack(places, 1 + space)
    blocks, channels = y.shape[1 : 1 + space], y.shape[-1]
    # [B, m, m, ..., j j ..., C'] -> [B, m, j, m, j, ..., C']: place s m + j
    y = y.reshape(y.shape[0], *blocks, *spread, channels)
    y = y.transpose(0, *(n for i in range(space) for n in (1 + i, 1 + space + i)), 1 + 2 * space)
    y = y.reshape(y.shape[0], *(b * s for b, s in zip(blocks, spread, strict=True)), channels)
    return lax.slice(y, (0, *starts, 0), (y.shape[0], *ends, channels))


def depthwise_sums(x: Array, gy: Array, window: tuple[int, ...], setting: Setting) -> Array:
    """The kernel's gradient where each channel has one kernel: sum_p x[s p + r u - lo] gy[p], [*window, 1, C]."""
    channels, taps = gy.shape[-1], product(*map(range, window))
    padded = in_memory(_padded(x, setting.pads))  # as the convolution has it already: XLA makes it once
    # What is read and no more, as a stride may leave a rest.
    sizes = zip(gy.shape[1:-1], setting.stride, setting.dilation, window, strict=True)
    reads = [(out - 1) * s + 1 + r * (k - 1) for out, s, r, k in sizes]
    x = lax.slice(padded, (0,) * x.ndim, (x.shape[0], *reads, channels))
    gy, parts = in_memory(gy), _equal_parts(gy.shape)

    def total(tap):
        seen = _seen_by(x, tap, window, setting.stride, setting.dilation)
        # One loop that adds the parts: it writes a part's share of what all products would take.
        added = sum(seen[part] * gy[part] for part in parts).reshape(-1, channels)
        return jnp.ones(len(added), gy.dtype) @ added

    return jnp.stack([total(tap) for tap in taps]).reshape(*window, 1, channels)


def _equal_parts(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Cuts [B, n, ...] into up to `_ADDED` parts of equal shape: blocks of images, and in each every so manieth row."""
    images = largest_divisor(shape[0], _ADDED)
    rows, size = largest_divisor(shape[1], max(1, _ADDED // images)), shape[0] // images
    return [(slice(i * size, (i + 1) * size), slice(j, None, rows)) for i in range(images) for j in range(rows)]


def suits_products(kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether `by_products` takes a convolution in groups, and is faster: one whose rows stay as long as they are."""
    window, outputs = kernel_shape[:-2], kernel_shape[-1] // setting.groups
    if (
        setting.groups == 1
        or len(window) != 2
        or max(*setting.stride, *setting.spread) > 1
        or min(min(setting.pads)) < 0
    ):
        return False
    return (
        sum(setting.pads[1]) == setting.dilation[1] * (window[1] - 1) and max(kernel_shape[-2], outputs) <= _NARROWEST
    )


def by_products(x: Array, kernel: Array, setting: Setting) -> Array:
    """The convolution of x [B, H, W, C] with [*window, C / g, C'] as the top of this file has it: [B, H', W, C']."""
    (height, width, inputs, _), groups, length = kernel.shape, setting.groups, x.shape[2]
    outputs, down = kernel.shape[-1] // groups, setting.dilation[0] * length
    places = (x.shape[1] + sum(setting.pads[0]) - setting.dilation[0] * (height - 1)) * length  # H' W
    images = _images_at_once(x.shape, width)
    # [i, j, c, g, o] -> [g, (i, o), (j, c)], once for each of the images
    weights = kernel.reshape(height, width, inputs, groups, outputs).transpose(3, 0, 4, 1, 2)
    weights = weights.reshape(groups, height * outputs, width * inputs)
    weights = in_memory(jnp.broadcast_to(weights, (images, *weights.shape)))

    def some(x):
        z = in_memory(jnp.einsum("ngok,ngkp->ngop", weights, _columns(x, width, setting)))
        rows = [z[:, :, i * outputs : (i + 1) * outputs, i * down : i * down + places] for i in range(height)]
        y = in_memory(sum(rows[1:], rows[0])).reshape(images, -1, places)
        return in_memory(y.swapaxes(1, 2)).reshape(images, -1, length, groups * outputs)

    return some_at_a_time(some, x, images)


def sums_by_products(x: Array, gy: Array, window: tuple[int, ...], setting: Setting) -> Array:
    """The gradient with respect to `by_products`' kernel: [*window, C / g, C'].

    Here gy is shifted by each row i, and multiplied with x as each column sees it: sum_hw x[h, w + j] gy[h - i, w].
    """
    (height, width), groups, length = window, setting.groups, x.shape[2]
    inputs, outputs, down = x.shape[-1] // groups, gy.shape[-1] // groups, setting.dilation[0] * length
    images, zero = _images_at_once(x.shape, width), jnp.zeros([], gy.dtype)

    def add(i, total):
        seen, own = (in_memory(lax.dynamic_slice_in_dim(a, i * images, images)) for a in (x, gy))
        own = in_memory(own.reshape(images, -1, gy.shape[-1]).swapaxes(1, 2)).reshape(images, groups, outputs, -1)
        config = [(0, 0, 0)] * 3
        rows = [lax.pad(own, zero, [*config, (i * down, (height - 1 - i) * down, 0)]) for i in range(height)]
        shifted = in_memory(jnp.concatenate(rows, 2))  # [n, g, (i, o), p]
        products = jnp.einsum("ngop,ngkp->ngok", shifted, _columns(seen, width, setting))
        return total + in_memory(products).sum(0)

    total = jnp.zeros((groups, height * outputs, width * inputs), gy.dtype)
    count = x.shape[0] // images
    total = add(0, total) if count == 1 else lax.fori_loop(0, count, add, total)
    total = total.reshape(groups, height, outputs, width, inputs).transpose(1, 3, 4, 0, 2)  # [i, j, c, g, o]
    return total.reshape(height, width, inputs, -1)


def _columns(x: Array, width: int, setting: Setting) -> Array:
    """x [n, H, W, C], with its padding above and below, as each column of the window sees it: [n, g, (j, c), p]."""
    (above, below), (before, after) = setting.pads
    (n, _, length, channels), dilation = x.shape, setting.dilation[1]
    ends = (above * length + before, below * length + after, 0)
    x = in_memory(lax.pad(x.reshape(n, -1, channels), jnp.zeros([], x.dtype), ((0, 0, 0), ends, (0, 0, 0))))
    x = in_memory(x.swapaxes(1, 2)).reshape(n, setting.groups, channels // setting.groups, -1)
    places = x.shape[-1] - before - after
    found, column = [], np.arange(places) % length
    for j in range(width):
        inside = (column + dilation * j >= before) & (column + dilation * j < length + before)
        seen = x[..., dilation * j : dilation * j + places]
        found.append(seen if inside.all() else jnp.where(jnp.asarray(inside), seen, 0))
    return in_memory(jnp.concatenate(found, 2))


def _images_at_once(x_shape: tuple[int, ...], width: int) -> int:
    return largest_divisor(x_shape[0], max(1, _PLACES // (width * math.prod(x_shape[1:]))))


def by_merged_groups(
    x: Array,
    kernel: Array,
    setting: Setting,
    dense: Callable[[Array, Array, Setting], Array],
    merged: int | None = None,
) -> Array:
    """Any convolution in groups, as a few by `dense`, which takes those without groups, each of `merged` groups."""
    groups, (*window, inputs, outputs) = setting.groups, kernel.shape
    outputs //= groups
    # A zero between groups lets NaN through; masks must hide even that.
    if merged is None:
        merged = 1 if setting.masked else largest_divisor(groups, max(1, _WIDTH // min(inputs, outputs)))
    parts, alone = groups // merged, setting._replace(groups=1)
    kernel = kernel.reshape(*window, inputs, parts, merged, outputs)
    found = []
    for part in range(parts):
        own = kernel[..., part, :, :]  # [*window, C / g, merged, C' / g]
        # n: group of the input, m: of the output; 0 where they differ.
        own = jnp.einsum("...cmo,mn->...ncmo", own, jnp.eye(merged, dtype=own.dtype))
        own = own.reshape(*window, merged * inputs, merged * outputs)
        width = merged * inputs
        found.append(dense(x[..., part * width : (part + 1) * width], own, alone))
    return found[0] if parts == 1 else jnp.concatenate(found, -1)
