"""Convolutions in one to three dimensions, with gradients that are fast on a CPU inside and outside of loops.

XLA:CPU has one fast form of convolution, images [B, ..., C] with kernels [..., C, C']. Differentiation gives the
gradients other orders of dimensions, which it rewrites to that form in a program's outermost computation alone, and not
well; a loop around a training step made them 12 to 36 times slower. Here the gradients are written out, for

    y[p] = sum_u x[s p + r u - lo] w[u]          (stride s, dilation r, padding lo before and hi after)

- with respect to x: a convolution of gy with the mirrored kernel, in the fast form; where s > 1 by sub-pixels (Shi et
  al., Real-Time Single Image and Video Super-Resolution, 2016): s^d small kernels at once, then an interleaving,
  instead of a multiplication by zeros. The same makes the transposed convolution itself.
- with respect to w: sum_p x[s p + r u - lo] gy[p], products of matrices over a few images at a time, so that what they
  read stays in the cache.
- 1x1 kernels are products of matrices; depthwise ones sums of shifted and weighted images.

Where `over_devices` names a mesh, images are cut over it, each device makes its part, and the kernel's gradients are
summed. Elsewhere than on a CPU, and inside `plain()`, all this is one `jax.lax.conv_general_dilated`, which XLA
differentiates: such programs can be differentiated forward too, which a custom gradient cannot.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from gen_models.errors import unknown
from gen_models.nn.devices import DATA_AXIS, is_plain, mesh_for

_PATCH_ROWS = 512  # positions of the output in one product: about 1 MB of patches, a core's second cache
_MANY_CHANNELS = 16  # from here on a strided convolution is faster as products with patches
_NARROW = 64  # columns of patches below which all taps make one product instead of one for each row of the kernel

Padding = str | int | Sequence[int | tuple[int, int]]


def conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*window c_in c_out"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Float[Array, "b *out c_out"]:
    """Cross-correlation of x [B, *space, C] with a kernel [*window, C / groups, C'], as networks call convolution.

    Args:
      x: images with one to three dimensions of space.
      kernel: its last axis is cut into `groups` equal parts, each of which sees its own part of C. With groups = C it
        is depthwise.
      strides: of the window, one for all dimensions or one each.
      padding: "SAME" (output size = ceil(size / stride)), "VALID" (none), "CAUSAL" (all of it before the first
        element), a number for all sides, or a number or (before, after) for each dimension. Zeros; may be negative.
      dilation: distance between the kernel's taps.
      groups: divides C and C'.

    Raises:
      ValueError: the shapes do not fit each other, or a stride, dilation or number of groups is not positive.
    """
    space = x.ndim - 2
    strides, dilation = _each("strides", strides, space), _each("dilation", dilation, space)
    if kernel.ndim != x.ndim:
        raise ValueError(f"x {x.shape} has {space} dimensions of space, but the kernel is {kernel.shape}")
    if groups < 1 or kernel.shape[-1] % groups or kernel.shape[-2] * groups != x.shape[-1]:
        raise ValueError(
            f"a kernel {kernel.shape} in {groups} groups does not fit x {x.shape}: "
            f"it needs [..., {x.shape[-1]} / groups, a multiple of groups]"
        )
    pads = _pads(padding, x.shape[1:-1], kernel.shape[:-2], strides, dilation)
    setting = _Setting(strides, (1,) * space, dilation, pads, groups)
    _not_empty(setting, x.shape, kernel.shape)
    return _apply(x, kernel, setting)


def conv_transpose(
    x: Float[Array, "b *space c_in"],
    kernel: Float[Array, "*window c_in c_out"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
) -> Float[Array, "b *out c_out"]:
    """Transposed convolution (Zeiler et al., Deconvolutional Networks, 2010), as `jax.lax.conv_transpose` defines it.

    Args:
      x: [B, *space, C].
      kernel: [*window, C, C'].
      strides: by which space grows.
      padding: "SAME" (output size = size * stride), "VALID" (size * stride + max(window - stride, 0)), or, as for
        `conv`, the padding of the convolution of x spread out by `strides`.

    Raises:
      ValueError: as `conv`.
    """
    space = x.ndim - 2
    strides = _each("strides", strides, space)
    if kernel.ndim != x.ndim or kernel.shape[-2] != x.shape[-1]:
        raise ValueError(f"a kernel {kernel.shape} does not fit x {x.shape}: it needs [*window, {x.shape[-1]}, C']")
    window = kernel.shape[:-2]
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(
                f"padding must be 'SAME', 'VALID' or numbers for a transposed convolution, got {padding!r}"
            )
        pads = tuple(_transposed_pads(k, s, padding) for k, s in zip(window, strides, strict=True))
    else:
        pads = _pads(padding, x.shape[1:-1], window, strides, (1,) * space)
    setting = _Setting((1,) * space, strides, (1,) * space, pads, 1)
    _not_empty(setting, x.shape, kernel.shape)
    return _apply(x, kernel, setting)


class Conv(nn.Module):
    """Linen's `nn.Conv` with `conv` inside: parameters "kernel" [*window, C / groups, features] and "bias" [features].

    `mask`, of the kernel's shape or one that broadcasts to it, multiplies the kernel: masked convolutions.
    """

    features: int
    window: Sequence[int]
    _: KW_ONLY
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    dilation: int | Sequence[int] = 1
    groups: int = 1
    use_bias: bool = True
    mask: Any = None
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros
    dtype: Any = None  # of the computation; None: that of x and the parameters

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out features"]:
        """The convolution of x, plus the bias."""
        shape = (*self.window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.mask is not None:
            kernel = kernel * jnp.asarray(self.mask, kernel.dtype)
        y = conv(x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation, groups=self.groups)
        return y if bias is None else y + bias


class ConvTranspose(nn.Module):
    """Linen's `nn.ConvTranspose` with `conv_transpose` inside; "kernel" is [*window, C, features]."""

    features: int
    window: Sequence[int]
    _: KW_ONLY
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out features"]:
        """The transposed convolution of x, plus the bias."""
        kernel = self.param("kernel", self.kernel_init, (*self.window, x.shape[-1], self.features))
        bias = self.param("bias", self.bias_init, (self.features,)) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, strides=self.strides, padding=self.padding)
        return y if bias is None else y + bias


class _Setting(NamedTuple):
    """Of a convolution in general: y[p] = sum_u x'[stride p + dilation u - before] w[u], where x'[spread q] = x[q]."""

    stride: tuple[int, ...]
    spread: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int


def _apply(x, kernel, setting: _Setting):
    if is_plain():
        return _xla(x, kernel, setting)
    if x.dtype in (jnp.bfloat16, jnp.float16):  # this CPU multiplies in float32: rounding once is exact and faster
        return _apply(x.astype(jnp.float32), kernel.astype(jnp.float32), setting).astype(x.dtype)
    if _is_matmul(kernel, setting):
        return jnp.tensordot(x, kernel[(0,) * (x.ndim - 2)], 1)
    if setting.groups > 1 and kernel.shape[-2] == 1:
        return _depthwise(x, kernel, setting)
    return _canonical(x, kernel, setting, mesh_for(x.shape[0]))


def _xla(x, kernel, setting: _Setting):
    return lax.conv_general_dilated(
        x,
        kernel,
        setting.stride,
        setting.pads,
        lhs_dilation=setting.spread,
        rhs_dilation=setting.dilation,
        dimension_numbers=_order(x.ndim),
        feature_group_count=setting.groups,
    )


def _order(rank):
    """Images [B, *space, C], kernels [*window, C, C']."""
    last, space = rank - 1, tuple(range(1, rank - 1))
    images = (0, last, *space)
    return lax.ConvDimensionNumbers(images, (last, last - 1, *range(rank - 2)), images)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _canonical(x, kernel, setting: _Setting, mesh):
    forward = partial(_forward, setting=setting)
    if mesh is None:
        return forward(x, kernel)
    cut, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    return jax.shard_map(forward, mesh=mesh, in_specs=(cut, whole), out_specs=cut, check_vma=False)(x, kernel)


def _canonical_forward(x, kernel, setting, mesh):
    return _canonical(x, kernel, setting, mesh), (x, kernel)


def _canonical_backward(setting, mesh, saved, gy):
    x, kernel = saved
    backward = partial(_gradients, setting=setting)
    if mesh is None:
        return backward(x, kernel, gy)
    cut, whole = PartitionSpec(DATA_AXIS), PartitionSpec()

    def mine(x, kernel, gy):
        gx, gkernel = backward(x, kernel, gy)
        return gx, lax.psum(gkernel, DATA_AXIS)

    return jax.shard_map(mine, mesh=mesh, in_specs=(cut, whole, cut), out_specs=(cut, whole), check_vma=False)(
        x, kernel, gy
    )


_canonical.defvjp(_canonical_forward, _canonical_backward)


def _forward(x, kernel, setting: _Setting):
    if max(setting.spread) > 1 and max(*setting.stride, *setting.dilation, setting.groups) == 1:
        return _subpixel(x, kernel, setting)
    if max(setting.stride) > 1 and max(*setting.spread, setting.groups) == 1 and kernel.shape[-2] >= _MANY_CHANNELS:
        return _by_patches(x, kernel, setting)
    return _xla(x, kernel, setting)


def _gradients(x, kernel, gy, setting: _Setting):
    """Gradients with respect to x and the kernel."""
    window, flat = kernel.shape[:-2], tuple(range(kernel.ndim - 2))
    groups = setting.groups
    # [*window, C / g, g, C' / g] -> mirrored [*window, C' / g, g * C / g]
    split = kernel.reshape(*kernel.shape[:-1], groups, kernel.shape[-1] // groups)
    mirrored = jnp.flip(split.swapaxes(-3, -1), flat).reshape(*window, kernel.shape[-1] // groups, x.shape[-1])
    pads = []
    for i, (lo, _) in enumerate(setting.pads):
        before = setting.dilation[i] * (window[i] - 1) - lo
        reach = (x.shape[i + 1] - 1) * setting.spread[i] + setting.dilation[i] * (window[i] - 1) + 1
        pads.append((before, reach - ((gy.shape[i + 1] - 1) * setting.stride[i] + 1) - before))
    back = _Setting(setting.spread, setting.stride, setting.dilation, tuple(pads), groups)
    gx = _forward(gy, mirrored, back)
    if max(setting.spread) == 1:
        return gx, _kernel_gradient(x, gy, window, setting)
    # A transposed convolution is the adjoint of the strided one that `back` is: gy takes the part of its images.
    gmirrored = _kernel_gradient(gy, x, window, back)
    return gx, jnp.flip(gmirrored, flat).swapaxes(-1, -2)


def _kernel_gradient(x, gy, window, setting: _Setting):
    """sum_p x[s p + r u - lo] gy[p] for each tap u: [*window, C / groups, C']."""
    images = _divisor(x.shape[0], max(1, _PATCH_ROWS // math.prod(gy.shape[1:-1])))
    parts, groups = x.shape[0] // images, setting.groups
    out_space, outputs = gy.shape[1:-1], gy.shape[-1] // groups
    # gy comes first in each product, so that the wide matrix of patches is read along its rows; and transposed in
    # memory, behind a barrier: XLA:CPU's product with a transposition inside takes half as long again.
    gy = gy.reshape(parts, -1, groups, outputs).transpose(0, 2, 3, 1)  # [parts, g, C' / g, positions]
    gy = lax.optimization_barrier(gy)
    part = partial(_part_of_kernel_gradient, window=window, out_space=out_space, setting=setting)
    if parts == 1:
        total = part(x, gy[0])
    else:

        def add(i, total):
            return total + part(lax.dynamic_slice_in_dim(x, i * images, images), gy[i])

        shape = jax.eval_shape(part, x[:images], gy[0])
        total = lax.fori_loop(0, parts, add, jnp.zeros(shape.shape, shape.dtype))
    # [g, C' / g, *window, C / g] -> [*window, C / g, C']
    total = jnp.moveaxis(total, (0, 1), (-2, -1))
    return total.reshape(*total.shape[:-2], -1)


def _part_of_kernel_gradient(x, gy, window, out_space, setting: _Setting):
    """The same over a few images, with gy [g, C' / g, positions]: [g, C' / g, *window, C / g]."""
    groups, channels = setting.groups, x.shape[-1] // setting.groups
    rows = _patches(x, window, out_space, setting)
    if math.prod(window) * channels * groups <= _NARROW:
        rows = [jnp.concatenate(rows, -2)]
    products = [jnp.einsum("gop,ptgc->gotc", gy, row.reshape(gy.shape[-1], -1, groups, channels)) for row in rows]
    return jnp.concatenate(products, 2).reshape(groups, -1, *window, channels)


def _patches(x, window, out_space, setting: _Setting):
    """What the window sees: for each of its taps but in the last dimension [n, *out_space, taps of the last, C]."""
    spans = [(size - 1) * stride + 1 for size, stride in zip(out_space, setting.stride, strict=True)]
    config = [(0, 0, 0)]
    for i, (lo, _) in enumerate(setting.pads):  # just what is read: a stride may leave a rest, padding may be negative
        reads = spans[i] + setting.dilation[i] * (window[i] - 1)
        config.append((lo, reads - lo - x.shape[i + 1], 0))
    x = lax.pad(x, jnp.zeros([], x.dtype), [*config, (0, 0, 0)])

    def taps(x, i):
        starts = [setting.dilation[i] * u for u in range(window[i])]
        return [lax.slice_in_dim(x, start, start + spans[i], setting.stride[i], i + 1) for start in starts]

    last = len(window) - 1
    rows = [jnp.stack(taps(x, last), -2)]
    for i in range(last):
        rows = [tap for row in rows for tap in taps(row, i)]
    return rows


def _by_patches(x, kernel, setting: _Setting):
    """A strided convolution as one product for a few images at a time: a quarter faster than XLA's own where s = 2."""
    window = kernel.shape[:-2]
    out = jax.eval_shape(partial(_xla, setting=setting), x, kernel).shape
    images = _divisor(x.shape[0], max(1, _PATCH_ROWS // math.prod(out[1:-1])))
    kernel = kernel.reshape(-1, kernel.shape[-1])

    def some(x):
        patches = jnp.concatenate(_patches(x, window, out[1:-1], setting), -2)
        return patches.reshape(-1, kernel.shape[0]) @ kernel

    if images == x.shape[0]:
        return some(x).reshape(out)
    return lax.map(some, x.reshape(-1, images, *x.shape[1:])).reshape(out)


def _subpixel(x, kernel, setting: _Setting):
    """Convolution of x spread out by s, without multiplying by the zeros between its elements.

    With u = s t + j, output s m - j + lo is sum_t x[m + t] w[s t + j]: for each of the s values of j a small kernel
    over x itself. All of them are channels of one convolution, whose outputs are then put side by side.
    """
    space, window, spread = len(setting.spread), kernel.shape[:-2], setting.spread
    small = [-(-k // s) for k, s in zip(window, spread, strict=True)]
    kernel = jnp.pad(kernel, [(0, t * s - k) for t, s, k in zip(small, spread, window, strict=True)] + [(0, 0)] * 2)
    kernel = kernel.reshape(*(n for pair in zip(small, spread, strict=True) for n in pair), *kernel.shape[-2:])
    kernel = jnp.flip(kernel, range(1, 2 * space, 2))  # positions grow as j falls
    # [t, j, t, j, ..., C, C'] -> [t, t, ..., C, j, j, ..., C']
    kernel = kernel.transpose(*range(0, 2 * space, 2), 2 * space, *range(1, 2 * space, 2), 2 * space + 1)
    outputs = kernel.shape[-1]
    kernel = kernel.reshape(*small, kernel.shape[space], -1)
    pads, starts, sizes = [], [], []
    for i, ((lo, hi), s, k) in enumerate(zip(setting.pads, spread, window, strict=True)):
        size = (x.shape[i + 1] - 1) * s + 1 + lo + hi - (k - 1)
        first, last = -(lo // s), (size - 1 - lo + s - 1) // s  # values of m
        pads.append((-first, last + small[i] - x.shape[i + 1]))
        starts.append(-(s * first + lo - (s - 1)))
        sizes.append(size)
    one = (1,) * space
    y = _xla(x, kernel, _Setting(one, one, one, tuple(pads), 1))
    blocks = y.shape[1:-1]
    y = y.reshape(y.shape[0], *blocks, *spread, outputs)
    y = y.transpose(0, *(n for i in range(space) for n in (1 + i, 1 + space + i)), 1 + 2 * space)
    y = y.reshape(y.shape[0], *(b * s for b, s in zip(blocks, spread, strict=True)), outputs)
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    return lax.slice(y, (0, *starts, 0), (y.shape[0], *ends, outputs))


def _depthwise(x, kernel, setting: _Setting):
    """Each channel with its own kernels: shifted images times weights, which XLA makes one loop of."""
    window, channels = kernel.shape[:-2], x.shape[-1]
    kernel = kernel.reshape(*window, channels, -1)
    config = [(0, 0, 0), *((lo, hi, 0) for lo, hi in setting.pads), (0, 0, 0)]
    x = lax.pad(x, jnp.zeros([], x.dtype), config)[..., None]
    total: Any = 0
    for tap in product(*map(range, window)):
        part = x
        for i, u in enumerate(tap):
            start, stop = setting.dilation[i] * u, x.shape[i + 1] - setting.dilation[i] * (window[i] - 1 - u)
            part = lax.slice_in_dim(part, start, stop, setting.stride[i], i + 1)
        total += part * kernel[tap]
    return total.reshape(*total.shape[:-2], -1)


def _is_matmul(kernel, setting: _Setting) -> bool:
    ones = (*kernel.shape[:-2], *setting.stride, *setting.spread, setting.groups)
    return max(ones) == 1 and not any(map(any, setting.pads))


def _divisor(number: int, at_most: int) -> int:
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)


def _each(name: str, value: int | Sequence[int], space: int) -> tuple[int, ...]:
    values = (value,) * space if isinstance(value, int) else tuple(value)
    if len(values) != space or min(values, default=0) < 1:
        raise ValueError(f"{name} must be positive, one number or {space}, got {value}")
    return values


def _pads(padding: Padding, sizes, window, strides, dilation) -> tuple[tuple[int, int], ...]:
    reach = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    if isinstance(padding, str):
        if padding == "CAUSAL":
            return tuple((r - 1, 0) for r in reach)
        if padding not in ("SAME", "VALID"):
            raise unknown("padding", padding, ("SAME", "VALID", "CAUSAL"))
        return tuple(lax.padtype_to_pads(sizes, reach, strides, padding))
    each = [padding] * len(window) if isinstance(padding, int) else list(padding)
    if len(each) != len(window):
        raise ValueError(
            f"padding must be a name, a number, or one entry for each of {len(window)} dimensions, got {padding}"
        )
    return tuple((p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in each)


def _transposed_pads(window: int, stride: int, padding: str) -> tuple[int, int]:
    total = window + stride - 2
    if padding == "VALID":
        return window - 1, total + max(window - stride, 0) - (window - 1)
    before = window - 1 if stride > window - 1 else -(-total // 2)
    return before, total - before


def _not_empty(setting: _Setting, shape, kernel_shape) -> None:
    for i, (lo, hi) in enumerate(setting.pads):
        size = (shape[i + 1] - 1) * setting.spread[i] + 1 + lo + hi
        reach = setting.dilation[i] * (kernel_shape[i] - 1) + 1
        if size < reach:
            raise ValueError(f"a window that reaches over {reach} does not fit x {shape}, {size} with its padding")
