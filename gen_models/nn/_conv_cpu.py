"""The CPU's convolution, with both gradients written out: see `gen_models/nn/conv.py` for what calls it.

XLA:CPU has one fast form of convolution, images [B, ..., C] with kernels [..., C, C']. Differentiation gives the
gradients other orders of dimensions, which it rewrites to that form in a program's outermost computation alone, and not
well; a loop around a training step made them 12 to 36 times slower. Here the gradients are written out, for

    y[p] = sum_u x[s p + r u - lo] w[u]          (stride s, dilation r, padding lo before and hi after)

- with respect to x: a convolution of gy with the mirrored kernel, in the fast form; where s > 1 by sub-pixels (Shi et
  al., Real-Time Single Image and Video Super-Resolution, 2016): s^d small kernels at once, then an interleaving,
  instead of a multiplication by zeros, or by `gen_models/nn/_spread_cpu.py`. So is the transposed convolution itself.
- with respect to w: sum_p x[s p + r u - lo] gy[p], products of matrices over a few images at a time, so that what they
  read stays in the cache.
- of these two, which are linear in both of their arguments: each is a convolution or such a sum again. So second
  derivatives, and all others, keep these forms.
- 2x2 and 3x3 kernels between many channels, what becomes such by sub-pixels or strides, and their gradients, by
  Winograd's filtering (`gen_models/nn/_winograd_cpu.py`), but for large images and, as it does not hide what a zero of
  the kernel is multiplied with, for masked kernels.
- kernels with few inputs or outputs: `gen_models/nn/_few_channels_cpu.py`; of a single input, as depthwise ones.
- in three dimensions, which XLA:CPU has no fast form for, two-dimensional convolutions of planes whose channels are
  those of the planes that a window sees, or, of few channels, products with patches.
- 1x1 kernels are products of matrices; depthwise and other grouped ones: `gen_models/nn/_grouped_cpu.py`.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from gen_models.nn._conv_setting import Setting
from gen_models.nn._few_channels_cpu import few_outputs, suits_few_inputs, sums_of_few_inputs
from gen_models.nn._grouped_cpu import (
    blocks_of_outputs,
    by_merged_groups,
    by_products,
    depthwise,
    depthwise_sums,
    suits_depthwise,
    suits_products,
    sums_by_products,
)
from gen_models.nn._in_memory_cpu import in_memory, some_at_a_time
from gen_models.nn._spread_cpu import by_spread_products, suits_spread_products
from gen_models.nn._winograd_cpu import multiplications, winograd, winograd_kernel_gradient
from gen_models.nn.devices import DATA_AXIS, largest_divisor, mesh_for

_PATCH_ROWS = 512  # positions of the output in one product: about 1 MB of patches, a core's second cache
_MANY_CHANNELS = 16  # from here on planes are faster than patches in three dimensions
# Winograd's filtering is faster from so many outputs of a batch, input or output channels and products of the two on,
# where it takes less than this share of the multiplications, as its transformations take time too; and up to so many
# outputs of one image: what larger ones are transformed to takes memory, and leaves the cache.
_WINOGRAD_OUTPUTS, _WINOGRAD_CHANNELS, _WINOGRAD_PAIRS, _WINOGRAD_SHARE = 256, 32, 2048, 0.75
_WINOGRAD_LARGEST = 4096
_WINOGRAD_GROUPS = 4096  # inputs times outputs up to which that is faster for all groups as one than for some
_NARROW = 64  # columns of patches below which all taps make one product instead of one for each row of the kernel


def convolve_on_cpu(x: Array, kernel: Array, setting: Setting) -> Array:
    """The convolution by the fastest of this file's forms, its batch cut over the mesh of `over_devices`, if any."""
    if x.dtype in (jnp.bfloat16, jnp.float16):  # this CPU multiplies in float32: rounding once is exact and faster
        return convolve_on_cpu(x.astype(jnp.float32), kernel.astype(jnp.float32), setting).astype(x.dtype)
    return _canonical(x, kernel, setting, mesh_for(x.shape[0]))


def convolve_with_xla(x: Array, kernel: Array, setting: Setting) -> Array:
    """The convolution as one operation of XLA's, on every platform, which XLA differentiates itself."""
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
def _canonical(x, kernel, setting: Setting, mesh):
    forward = partial(_forward, setting=setting)
    if mesh is None:
        return forward(x, kernel)
    cut, whole = PartitionSpec(DATA_AXIS), PartitionSpec()
    return jax.shard_map(forward, mesh=mesh, in_specs=(cut, whole), out_specs=cut, check_vma=False)(x, kernel)


def _canonical_forward(x, kernel, setting, mesh):
    x = in_memory(x)
    return _canonical(x, kernel, setting, mesh), (x, kernel)


def _canonical_backward(setting, mesh, saved, gy):
    x, kernel = saved
    gy = in_memory(gy)
    return _input_gradient(x.shape, kernel, gy, setting, mesh), _kernel_gradient(
        x, gy, kernel.shape[:-2], setting, mesh
    )


_canonical.defvjp(_canonical_forward, _canonical_backward)


def _forward(x: Array, kernel: Array, setting: Setting) -> Array:
    if _is_matmul(kernel.shape, setting):
        return jnp.tensordot(x, kernel[(0,) * (x.ndim - 2)], 1)
    if not setting.masked and _suits_winograd(x.shape, kernel.shape, setting):
        return winograd(x, kernel, setting.stride, setting.pads)
    if suits_depthwise(kernel.shape, setting):
        return depthwise(x, kernel, setting)
    if suits_products(kernel.shape, setting):
        return by_products(x, kernel, setting)
    if setting.groups > 1:
        whole = (*kernel.shape[:-2], x.shape[-1], kernel.shape[-1])  # all groups as one, with zeros in between
        few = not setting.masked and math.prod(whole[-2:]) <= _WINOGRAD_GROUPS
        merged = setting.groups if few and _suits_winograd(x.shape, whole, setting._replace(groups=1)) else None
        return by_merged_groups(x, kernel, setting, _forward, merged)
    if max(setting.spread) > 1 and max(*setting.stride, *setting.dilation, setting.groups) == 1:
        by_blocks = by_spread_products if suits_spread_products(kernel.shape, setting) else _subpixel
        return by_blocks(x, kernel, setting)
    taps, (inputs, outputs) = math.prod(kernel.shape[:-2]), kernel.shape[-2:]
    if max(*setting.stride, *setting.spread, setting.groups) == 1 and taps * outputs <= inputs:
        return few_outputs(x, kernel, setting)
    if len(setting.stride) == 3 and max(setting.spread) == 1:
        return (_by_planes if inputs >= _MANY_CHANNELS else _by_patches)(x, kernel, setting)
    return convolve_with_xla(x, kernel, setting)


def _input_gradient(x_shape: tuple[int, ...], kernel: Array, gy: Array, setting: Setting, mesh: Mesh | None) -> Array:
    """The gradient with respect to x, which is a convolution itself, with gradients in these forms again."""
    window, groups = kernel.shape[:-2], setting.groups
    # Output p reads x'[s p + r u - lo], so x' at i is read by the outputs with s p = i - r u + lo. That is a
    # convolution of gy, spread out by s, whose taps come in the other order and whose channels C and C' are exchanged.
    # [*window, C / g, C'] -> [*window, C / g, g, C' / g] -> [*window, C' / g, g, C / g] -> [*window, C' / g, C].
    split = kernel.reshape(*kernel.shape[:-1], groups, kernel.shape[-1] // groups)
    mirrored = jnp.flip(split.swapaxes(-3, -1), tuple(range(len(window))))
    mirrored = mirrored.reshape(*window, kernel.shape[-1] // groups, x_shape[-1])
    return _canonical(gy, mirrored, _back(x_shape, gy.shape, window, setting), mesh)


def _back(x_shape: tuple[int, ...], gy_shape: tuple[int, ...], window: tuple[int, ...], setting: Setting) -> Setting:
    """The convolution of gy that is the gradient with respect to x."""
    pads = []
    for i, (lo, _) in enumerate(setting.pads):
        # The mirrored tap k - 1 - u reads what tap u wrote, so r (k - 1) - lo zeros come before gy. The padding behind
        # makes the result as long as x' is, which for s > 1 may end in elements that no output reads.
        before = setting.dilation[i] * (window[i] - 1) - lo
        reach = (x_shape[i + 1] - 1) * setting.spread[i] + setting.dilation[i] * (window[i] - 1) + 1
        pads.append((before, reach - ((gy_shape[i + 1] - 1) * setting.stride[i] + 1) - before))
    return Setting(setting.spread, setting.stride, setting.dilation, tuple(pads), setting.groups, setting.masked)


def _kernel_gradient(x: Array, gy: Array, window: tuple[int, ...], setting: Setting, mesh: Mesh | None) -> Array:
    """The gradient with respect to the kernel."""
    if max(setting.spread) == 1:
        return _sums(x, gy, window, setting, mesh)
    # A transposed convolution is the adjoint of the strided one that `back` is: gy takes the part of its images, x that
    # of the gradient of its outputs, and the mirrored kernel's gradient is mirrored back.
    gmirrored = _sums(gy, x, window, _back(x.shape, gy.shape, window, setting), mesh)
    # [*window, C' / g, C] -> [*window, C' / g, g, C / g] -> [*window, C / g, g, C' / g] -> [*window, C / g, C'].
    split = gmirrored.reshape(*gmirrored.shape[:-1], setting.groups, -1)
    gkernel = jnp.flip(split.swapaxes(-3, -1), tuple(range(len(window))))
    return gkernel.reshape(*window, x.shape[-1] // setting.groups, gy.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _sums(x, gy, window: tuple[int, ...], setting: Setting, mesh):
    """sum_p x[s p + r u - lo] gy[p] over all images, each device its own.

    It is linear in x and in gy, so that second derivatives, as penalties on gradients have them, are a convolution and
    the gradient of one again: both stay in the fast forms.
    """
    if mesh is None:
        return _sums_over_positions(x, gy, window, setting)
    cut, whole = PartitionSpec(DATA_AXIS), PartitionSpec()

    def mine(x, gy):
        return lax.psum(_sums_over_positions(x, gy, window, setting), DATA_AXIS)

    return jax.shard_map(mine, mesh=mesh, in_specs=(cut, cut), out_specs=whole, check_vma=False)(x, gy)


def _sums_forward(x, gy, window, setting, mesh):
    return _sums(x, gy, window, setting, mesh), (x, gy)


def _sums_backward(window, setting, mesh, saved, g):
    x, gy = saved
    return _input_gradient(x.shape, g, gy, setting, mesh), _canonical(x, g, setting, mesh)


_sums.defvjp(_sums_forward, _sums_backward)


def _sums_over_positions(x: Array, gy: Array, window: tuple[int, ...], setting: Setting) -> Array:
    """sum_p x[s p + r u - lo] gy[p] for each tap u: [*window, C / groups, C']."""
    if _is_matmul((*window, x.shape[-1], gy.shape[-1]), setting):
        sums = jnp.einsum("pc,po->co", x.reshape(-1, x.shape[-1]), gy.reshape(-1, gy.shape[-1]))
        return sums.reshape(*window, *sums.shape)
    if _suits_winograd(x.shape, (*window, x.shape[-1], gy.shape[-1]), setting):
        return winograd_kernel_gradient(x, gy, window, setting.stride, setting.pads)
    if suits_depthwise((*window, x.shape[-1] // setting.groups, gy.shape[-1]), setting) and gy.shape == (
        *gy.shape[:-1],
        setting.groups,
    ):
        return depthwise_sums(x, gy, window, setting)
    if suits_few_inputs(x.shape[-1], setting):
        return sums_of_few_inputs(x, gy, window, setting)
    if suits_products((*window, x.shape[-1] // setting.groups, gy.shape[-1]), setting):
        return sums_by_products(x, gy, window, setting)
    if _planes_suit_winograd(x, (*window, x.shape[-1], gy.shape[-1]), setting):
        planes, own = _planes(x, window, gy.shape[1], setting)
        found = winograd_kernel_gradient(planes, gy.reshape(-1, *gy.shape[2:]), window[1:], own.stride, own.pads)
        # [k, k, k of depth * C, C'] -> [k of depth, k, k, C, C']
        return jnp.moveaxis(found.reshape(*window[1:], window[0], x.shape[-1], -1), 2, 0)
    # So many images at a time that their positions, [images * out_space], fill one product, and the images can be cut
    # into equal parts.
    images = largest_divisor(x.shape[0], max(1, _PATCH_ROWS // math.prod(gy.shape[1:-1])))
    parts, groups = x.shape[0] // images, setting.groups
    out_space, outputs = gy.shape[1:-1], gy.shape[-1] // groups
    # gy comes first in each product, so that the wide matrix of patches is read along its rows; and transposed in
    # memory, behind a barrier: XLA:CPU's product with a transposition inside takes half as long again.
    # [B, *out_space, C'] -> [parts, positions, g, C' / g] -> [parts, g, C' / g, positions].
    gy = gy.reshape(parts, -1, groups, outputs).transpose(0, 2, 3, 1)
    gy = lax.optimization_barrier(gy)
    part = partial(_part_of_kernel_gradient, window=window, out_space=out_space, setting=setting)
    if parts == 1:
        total = part(x, gy[0])
    else:

        def add(i, total):
            return total + part(lax.dynamic_slice_in_dim(x, i * images, images), gy[i])

        shape = jax.eval_shape(part, x[:images], gy[0])
        total = lax.fori_loop(0, parts, add, jnp.zeros(shape.shape, shape.dtype))
    # [g, C' / g, *window, C / g] -> [*window, C / g, g, C' / g] -> [*window, C / g, C']
    total = jnp.moveaxis(total, (0, 1), (-2, -1))
    return total.reshape(*total.shape[:-2], -1)


def _part_of_kernel_gradient(
    x: Array, gy: Array, window: tuple[int, ...], out_space: tuple[int, ...], setting: Setting
) -> Array:
    """The same over a few images, with gy [g, C' / g, positions]: [g, C' / g, *window, C / g]."""
    groups, channels = setting.groups, x.shape[-1] // setting.groups
    rows = _patches(x, window, out_space, setting)  # each [n, *out_space, taps, C]
    if math.prod(window) * channels * groups <= _NARROW:
        rows = [jnp.concatenate(rows, -2)]  # all taps side by side: [n, *out_space, all taps, C]
    # o: outputs C' / g, p: positions n * out_space, t: taps of the row, c: inputs C / g. The sum runs over p.
    products = [jnp.einsum("gop,ptgc->gotc", gy, row.reshape(gy.shape[-1], -1, groups, channels)) for row in rows]
    # The rows' taps follow each other in the order of the window, its last dimension fastest.
    return jnp.concatenate(products, 2).reshape(groups, -1, *window, channels)


def _patches(x: Array, window: tuple[int, ...], out_space: tuple[int, ...], setting: Setting) -> list[Array]:
    """What the window sees: for each of its taps but in the last dimension [n, *out_space, taps of the last, C]."""
    # From the first to the last position that one tap reads, there are (out - 1) * s + 1 elements.
    spans = [(size - 1) * stride + 1 for size, stride in zip(out_space, setting.stride, strict=True)]
    config = [(0, 0, 0)]
    for i, (lo, _) in enumerate(setting.pads):  # just what is read: a stride may leave a rest, padding may be negative
        reads = spans[i] + setting.dilation[i] * (window[i] - 1)  # from the first tap's first to the last tap's last
        config.append((lo, reads - lo - x.shape[i + 1], 0))
    x = lax.pad(x, jnp.zeros([], x.dtype), [*config, (0, 0, 0)])

    def taps(x, i):
        """x as each tap u of dimension i sees it: from r u on, every s-th element; axis i + 1 becomes out_space[i]."""
        starts = [setting.dilation[i] * u for u in range(window[i])]
        return [lax.slice_in_dim(x, start, start + spans[i], setting.stride[i], i + 1) for start in starts]

    last = len(window) - 1
    rows = [jnp.stack(taps(x, last), -2)]  # the last dimension's taps are an axis: [n, *space, out, taps, C]
    for i in range(last):
        rows = [tap for row in rows for tap in taps(row, i)]  # those of other dimensions are entries of the list
    return rows


def _by_patches(x: Array, kernel: Array, setting: Setting) -> Array:
    """A convolution as one product for a few images at a time."""
    window = kernel.shape[:-2]
    out = jax.eval_shape(partial(convolve_with_xla, setting=setting), x, kernel).shape
    images = largest_divisor(x.shape[0], max(1, _PATCH_ROWS // math.prod(out[1:-1])))
    kernel = kernel.reshape(-1, kernel.shape[-1])  # [taps * C, C']

    def some(x):
        patches = jnp.concatenate(_patches(x, window, out[1:-1], setting), -2)  # [n, *out_space, taps, C]
        y = patches.reshape(-1, kernel.shape[0]) @ kernel  # [n * positions, taps * C] @ [taps * C, C']
        return y.reshape(-1, *out[1:])

    return some_at_a_time(some, x, images)


def _by_planes(x: Array, kernel: Array, setting: Setting) -> Array:
    """A convolution in three dimensions as one in two, of all planes that a window sees as channels."""
    (lo, hi), reach = setting.pads[0], setting.dilation[0] * (kernel.shape[0] - 1) + 1
    out = (x.shape[1] + lo + hi - reach) // setting.stride[0] + 1
    planes, own = _planes(x, kernel.shape[:-2], out, setting)
    # [k of depth, k, k, C, C'] -> [k, k, k of depth * C, C']
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    y = _forward(planes, kernel, own)
    return y.reshape(x.shape[0], out, *y.shape[1:])


def _planes(x: Array, window: tuple[int, ...], out: int, setting: Setting) -> tuple[Array, Setting]:
    """What each of `out` planes of the output sees, [B * out, H, W, k of depth * C], and the planes' own setting."""
    (lo, _), stride, dilation = setting.pads[0], setting.stride[0], setting.dilation[0]
    span = (out - 1) * stride + 1
    reads = span + dilation * (window[0] - 1)
    x = lax.pad(x, jnp.zeros([], x.dtype), [(0, 0, 0), (lo, reads - lo - x.shape[1], 0), *[(0, 0, 0)] * 3])
    seen = [lax.slice_in_dim(x, dilation * u, dilation * u + span, stride, 1) for u in range(window[0])]
    planes = jnp.concatenate(seen, -1).reshape(-1, *x.shape[2:4], window[0] * x.shape[-1])
    return planes, _of_planes(setting)


def _of_planes(setting: Setting) -> Setting:
    """The setting without its first dimension."""
    stride, spread, dilation, pads, groups, masked = setting
    return Setting(stride[1:], spread[1:], dilation[1:], pads[1:], groups, masked)


def _planes_suit_winograd(x: Array, kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether Winograd's filtering is faster for what `_by_planes` makes of a convolution."""
    if len(kernel_shape) != 5 or max(setting.spread) > 1 or setting.groups > 1:
        return False
    (lo, hi), reach = setting.pads[0], setting.dilation[0] * (kernel_shape[0] - 1) + 1
    out = (x.shape[1] + lo + hi - reach) // setting.stride[0] + 1
    planes = jax.eval_shape(lambda x: _planes(x, kernel_shape[:-2], out, setting)[0], x)
    own = _of_planes(setting)
    return _suits_winograd(planes.shape, (*kernel_shape[1:3], kernel_shape[0] * kernel_shape[3], kernel_shape[4]), own)


def _subpixel(x: Array, kernel: Array, setting: Setting) -> Array:
    """Convolution of x spread out by s, without multiplying by the zeros between its elements.

    Output p reads x'[p + u - lo], which is x[q] where p + u - lo = s q, and else one of the zeros. With u = s t + j
    and 0 <= j < s these are, for output p = s m - j + lo, the elements q = m + t: its value is

        y[s m - j + lo] = sum_t x[m + t] w[s t + j].

    So for each of the s values of j there is a small kernel over x itself. All of them are channels of one convolution
    over m, whose outputs are then put side by side.
    """
    space, spread, outputs = len(setting.spread), setting.spread, kernel.shape[-1]
    small = _small_kernels(kernel, spread)
    pads, starts, ends = blocks_of_outputs(x.shape, kernel.shape[:-2], setting)
    one = (1,) * space
    # Where the stride does not divide the window, the small kernels have zeros, which must hide what they are given.
    masked = setting.masked or any(k % s for k, s in zip(kernel.shape[:-2], spread, strict=True))
    y = _forward(x, small, Setting(one, one, one, tuple(pads), 1, masked))  # [B, m, m, ..., j j ... C']
    blocks = y.shape[1:-1]
    y = y.reshape(y.shape[0], *blocks, *spread, outputs)
    # [B, m, m, ..., j, j, ..., C'] -> [B, m, j, m, j, ..., C'] -> [B, m j, m j, ..., C']: place s m + j
    y = y.transpose(0, *(n for i in range(space) for n in (1 + i, 1 + space + i)), 1 + 2 * space)
    y = y.reshape(y.shape[0], *(b * s for b, s in zip(blocks, spread, strict=True)), outputs)
    return lax.slice(y, (0, *starts, 0), (y.shape[0], *ends, outputs))


def _small_kernels(kernel: Array, spread: tuple[int, ...]) -> Array:
    """The kernels w[s t + j] of `_subpixel` as one: [*taps, C, s * s * ... * C'], j falling in each dimension."""
    space, window = len(spread), kernel.shape[:-2]
    # In each dimension as many taps t as are needed for k elements, the kernel filled up with zeros: [t s, t s, C, C'].
    taps = [-(-k // s) for k, s in zip(window, spread, strict=True)]
    kernel = jnp.pad(kernel, [(0, t * s - k) for t, s, k in zip(taps, spread, window, strict=True)] + [(0, 0)] * 2)
    # Element u = s t + j of a dimension becomes [t, j]: [t, j, t, j, ..., C, C'].
    kernel = kernel.reshape(*(n for pair in zip(taps, spread, strict=True) for n in pair), *kernel.shape[-2:])
    kernel = jnp.flip(kernel, range(1, 2 * space, 2))  # within a block, positions grow as j falls
    # [t, j, t, j, ..., C, C'] -> [t, t, ..., C, j, j, ..., C'], whose last axes are the channels of the outputs
    kernel = kernel.transpose(*range(0, 2 * space, 2), 2 * space, *range(1, 2 * space, 2), 2 * space + 1)
    return kernel.reshape(*taps, kernel.shape[space], -1)


def _is_matmul(kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    ones = (*kernel_shape[:-2], *setting.stride, *setting.spread, setting.groups)
    return max(ones) == 1 and not any(map(any, setting.pads))


def _suits_winograd(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether Winograd's filtering is faster. Of masked kernels it may make the gradient, but not the outputs."""
    window, channels, stride = kernel_shape[:-2], kernel_shape[-2:], setting.stride
    if len(window) != 2 or max(*setting.spread, *setting.dilation, setting.groups) > 1:
        return False
    sizes = zip(x_shape[1:3], setting.pads, window, stride, strict=True)
    out = tuple((size + sum(pads) - k) // s + 1 for size, pads, k, s in sizes)
    if min(out) < 4 or math.prod(out) > _WINOGRAD_LARGEST or x_shape[0] * math.prod(out) < _WINOGRAD_OUTPUTS:
        return False
    least = _WINOGRAD_CHANNELS * (1 if max(stride) == 1 else 2)  # of strided ones, patches are fast too
    if min(channels) < least or math.prod(channels) < _WINOGRAD_PAIRS:
        return False
    return multiplications(window, stride, out) < _WINOGRAD_SHARE
