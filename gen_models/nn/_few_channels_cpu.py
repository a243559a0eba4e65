"""Convolutions of few channels on the CPU; see `gen_models/nn/_conv_cpu.py`."""

import math
from itertools import product
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gen_models.nn._conv_setting import Setting
from gen_models.nn._in_memory_cpu import in_memory
from gen_models.nn.devices import largest_divisor

_FEW = 8  # inputs up to which a kernel's gradient is faster by `sums_of_few_inputs`
_PATCH_PLACES = 8192  # of the output in one product: about 1 MB of patches of such channels, a core's second cache


def few_outputs(x: Array, kernel: Array, setting: Setting) -> Array:
    """Where all taps have no more outputs than there are inputs: x times each tap, then a sum of shifted products."""
    space, window, outputs = len(setting.stride), kernel.shape[:-2], kernel.shape[-1]
    # [B, *space, C] @ [C, taps C'] -> [B, *space, *window, C']
    products = x @ jnp.moveaxis(kernel, -2, 0).reshape(x.shape[-1], -1)
    products = products.reshape(*x.shape[:-1], *window, outputs)
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in setting.pads), *((0, 0, 0),) * (space + 1)]
    products = lax.pad(products, jnp.zeros([], products.dtype), config)
    total: Any = 0
    for tap in product(*map(range, window)):
        part = products[(slice(None), *(slice(None),) * space, *tap)]
        for i, u in enumerate(tap):  # tap u is r u elements behind the first one
            last = part.shape[i + 1] - setting.dilation[i] * (window[i] - 1 - u)
            part = lax.slice_in_dim(part, setting.dilation[i] * u, last, 1, i + 1)
        total += part
    return total


def suits_few_inputs(inputs: int, setting: Setting) -> bool:
    """Whether `sums_of_few_inputs` is the faster one of the kernel's gradients."""
    return inputs <= _FEW and max(*setting.spread, setting.groups) == 1


def sums_of_few_inputs(x: Array, gy: Array, window: tuple[int, ...], setting: Setting) -> Array:
    """sum_p x[s p + r u - lo] gy[p] for each tap u, [*window, C, C'], where C is small.

    Patches have their channels first and the places of an image last, side by side in memory: so a tap of them is
    a copy of what it sees, and gy is read as it is. The other way round gy, which is larger, has to be transposed.
    """
    out, taps = gy.shape[1:-1], list(product(*map(range, window)))
    images = largest_divisor(x.shape[0], max(1, _PATCH_PLACES // math.prod(out)))
    places = list(zip(out, setting.stride, setting.dilation, window, strict=True))
    config = []  # of just what is read: a stride may leave a rest, padding may be negative
    for (n, s, r, k), (lo, _), size in zip(places, setting.pads, x.shape[1:-1], strict=True):
        config.append((lo, (n - 1) * s + 1 + r * (k - 1) - lo - size, 0))
    x = in_memory(jnp.moveaxis(x, -1, 0))
    x = in_memory(lax.pad(x, jnp.zeros([], x.dtype), [(0, 0, 0)] * 2 + config))  # [C, B, *space]

    def add(i, total):
        some, own = (in_memory(lax.dynamic_slice_in_dim(a, i * images, images, b)) for a, b in ((x, 1), (gy, 0)))
        seen = []
        for tap in taps:
            ends = [r * u + (n - 1) * s + 1 for u, (n, s, r, _) in zip(tap, places, strict=True)]
            starts = [r * u for u, (_, _, r, _) in zip(tap, places, strict=True)]
            seen.append(lax.slice(some, (0, 0, *starts), (*some.shape[:2], *ends), (1, 1, *setting.stride)))
        patches = in_memory(jnp.concatenate(seen)).reshape(len(total), -1)  # [taps C, n, *out_space] -> [taps C, p]
        return total + in_memory(patches @ own.reshape(-1, gy.shape[-1]))

    total = jnp.zeros((len(taps) * x.shape[0], gy.shape[-1]), gy.dtype)
    count = gy.shape[0] // images
    total = add(0, total) if count == 1 else lax.fori_loop(0, count, add, total)
    return total.reshape(*window, x.shape[0], gy.shape[-1])
