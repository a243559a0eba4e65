"""Convolutions of images spread out by a stride that does not divide the window; see `gen_models/nn/_conv_cpu.py`."""

import math
from itertools import product

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gen_models.nn._conv_setting import Setting
from gen_models.nn._in_memory_cpu import in_memory, some_at_a_time
from gen_models.nn.devices import largest_divisor

# The small kernels of a `_subpixel` convolution are filled up with zeros. Products with each tap are faster where less
# than this share of them is none, and there are so many outputs, which a loop adds at once, times that share.
_SHARE, _OUTPUTS = 0.7, 36
_PRODUCTS = 300_000  # of the images that are taken at once: what a core's second cache holds


def suits_spread_products(kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether `by_spread_products` takes a convolution, and is faster than `_subpixel`."""
    if max(*setting.stride, *setting.dilation, setting.groups) > 1:
        return False
    share = math.prod(k / (-(-k // s) * s) for k, s in zip(kernel_shape[:-2], setting.spread, strict=True))
    return share < _SHARE and kernel_shape[-1] >= _OUTPUTS * share


def by_spread_products(x: Array, kernel: Array, setting: Setting) -> Array:
    """Convolution of x spread out by s as the products of x with all taps, which are then shifted and added.

    Output p of y[p] = sum_u x'[p + u - lo] w[u] reads x[q] by the tap with p + u - lo = s q. Of the outputs p = s m + f
    those are the taps with lo - u = s t + f, and q = m - t: for each f, which is the place in a block of s, an own sum.
    """
    spread, pads, window, outputs = setting.spread, setting.pads, kernel.shape[:-2], kernel.shape[-1]
    space, taps = len(spread), list(product(*map(range, window)))
    # By dimension: the outputs, their blocks m, and by tap (t, f).
    sizes = [
        (n - 1) * s + 1 + sum(pad) - (k - 1) for n, s, pad, k in zip(x.shape[1:-1], spread, pads, window, strict=True)
    ]
    blocks = [-(-n // s) for n, s in zip(sizes, spread, strict=True)]
    places = [[divmod(lo - u, s) for u in range(k)] for k, s, (lo, _) in zip(window, spread, pads, strict=True)]
    # m - t reaches so far before the first element of x and behind the last one, where products are 0.
    before = [max(0, *(t for t, _ in each)) for each in places]
    behind = [max(0, m - n - min(t for t, _ in each)) for each, m, n in zip(places, blocks, x.shape[1:-1], strict=True)]
    images = largest_divisor(x.shape[0], max(1, _PRODUCTS // (math.prod(x.shape[1:-1]) * len(taps) * outputs)))
    kernel = jnp.moveaxis(kernel, -2, 0).reshape(x.shape[-1], -1)  # [C, taps C']

    def added(products, place):
        parts = []
        for n, tap in enumerate(taps):
            if tuple(places[i][u][1] for i, u in enumerate(tap)) == place:
                starts = [before[i] - places[i][u][0] for i, u in enumerate(tap)]
                ends = [start + m for start, m in zip(starts, blocks, strict=True)]
                parts.append(lax.slice(products, (0, *starts, n * outputs), (images, *ends, (n + 1) * outputs)))
        return in_memory(sum(parts[1:], parts[0])) if parts else jnp.zeros((images, *blocks, outputs), products.dtype)

    def some(x):
        products = in_memory(x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)
        config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in zip(before, behind, strict=True)), (0, 0, 0)]
        products = in_memory(lax.pad(products, jnp.zeros([], x.dtype), config))
        y = jnp.stack([added(products, place) for place in product(*map(range, spread))], 1)
        y = in_memory(y).reshape(images, *spread, *blocks, outputs)
        # [n, f, f, ..., m, m, ..., C'] -> [n, m, f, m, f, ..., C'] -> place s m + f
        y = in_memory(y.transpose(0, *(n for i in range(space) for n in (1 + space + i, 1 + i)), 1 + 2 * space))
        y = y.reshape(images, *(m * s for m, s in zip(blocks, spread, strict=True)), outputs)
        return lax.slice(y, (0,) * y.ndim, (images, *sizes, outputs))

    return some_at_a_time(some, x, images)
