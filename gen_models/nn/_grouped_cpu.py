"""Convolutions of groups of channels on the CPU, for which XLA:CPU has no fast form; see `gen_models/nn/_conv_cpu.py`.

- Depthwise ones, whose groups are single channels, are sums of shifted and weighted images, which XLA makes one loop
  of. Where x is spread out by s, as in the gradient of a strided one, each of the s^d places of the output among the
  elements of x is such a sum by itself, with the taps that do not meet zeros.
- Their kernels' gradients are products of gy with shifted images, summed by a product of matrices over a few images at
  a time, so that what it reads stays in the cache.
- Others are cut into convolutions of a few groups each, whose kernels are 0 between groups: products with fewer columns
  than a register holds would leave most of it empty.
"""

import math
from collections.abc import Callable
from itertools import product
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gen_models.nn._conv_setting import Setting
from gen_models.nn.devices import largest_divisor

_POSITIONS = 512  # of the output in one sum of a depthwise kernel's gradient
_WIDTH = 16  # channels of the narrower side that merged groups have, about: a register of 512 bits, or two of 256


def suits_depthwise(kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether a convolution is depthwise, and of a form that `depthwise` takes."""
    whole = max(setting.spread) == 1 or max(*setting.stride, *setting.dilation) == 1
    return setting.groups > 1 and kernel_shape[-2] == 1 and whole


def depthwise(x: Array, kernel: Array, setting: Setting) -> Array:
    """Each channel with its own kernels: x [B, *space, C] with [*window, 1, C'], C' a multiple of C."""
    if max(setting.spread) == 1:
        return _shifted_sum(x, kernel, setting.stride, setting.dilation, setting.pads)
    return _spread_out(x, kernel, setting)


def _shifted_sum(x, kernel, stride, dilation, pads):
    window, channels = kernel.shape[:-2], x.shape[-1]
    multiplier = kernel.shape[-1] // channels
    x = _padded(x, pads)
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
    positions, channels = math.prod(gy.shape[1:-1]), gy.shape[-1]
    images = largest_divisor(x.shape[0], max(1, _POSITIONS // positions))
    ones, taps = jnp.ones(images * positions, gy.dtype), list(product(*map(range, window)))
    # What is read and no more: a stride may leave a rest, padding may be negative.
    sizes = zip(gy.shape[1:-1], setting.stride, setting.dilation, window, strict=True)
    reads = [(out - 1) * s + 1 + r * (k - 1) for out, s, r, k in sizes]
    pads = [(lo, read - lo - size) for (lo, _), read, size in zip(setting.pads, reads, x.shape[1:], strict=False)]
    x = _padded(x, pads)

    def add(i, totals):
        seen, own = (lax.dynamic_slice_in_dim(a, i * images, images) for a in (x, gy))
        parts = [_seen_by(seen, tap, window, setting.stride, setting.dilation) * own for tap in taps]
        return [total + ones @ part.reshape(-1, channels) for total, part in zip(totals, parts, strict=True)]

    start = [jnp.zeros(channels, gy.dtype)] * len(taps)
    count = x.shape[0] // images
    totals = add(0, start) if count == 1 else lax.fori_loop(0, count, add, start)
    return jnp.stack(totals).reshape(*window, 1, channels)


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
