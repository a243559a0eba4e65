"""Convolutions with small windows in fewer multiplications: Winograd's minimal filtering, for CPUs.

    The algorithms F(2, r) of Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2016, section 4, in both
    dimensions: the outputs are cut into tiles of 2x2, each of which reads a tile d of (r + 1)x(r + 1) inputs,

        y = A^T [(G g G^T) * (B^T d B)] A    (elementwise product, summed over the input channels),

    which takes (r + 1)^2 multiplications for a tile and a pair of channels where the definition takes 4 r^2: 9 for 16,
    and 16 for 36.

A convolution with stride s is one with stride 1 of blocks of s x s pixels, as channels (Shi et al., Is the
deconvolution layer the same as a convolutional layer?, 2016), whose window has window / s blocks; s must divide it.

The elementwise products of all tiles are (r + 1)^2 products of matrices, one for each place in a tile. B and A have
entries 0 and +-1, G also +-1/2, so the rounding is that of a few more additions. Each output is made of the inputs that
its window sees and no others, so that a shifted convolution stays causal; but a zero in the kernel does not hide what
it is multiplied with: masked kernels need another form.

What is stacked is made in two steps, rows and then columns, with a barrier between: XLA would else make one loop of
both, which takes longer to compile and to run.
"""

import math
from itertools import product

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gen_models.nn._in_memory_cpu import some_at_a_time
from gen_models.nn.devices import largest_divisor

Pair = tuple[int, ...]  # one number for the rows, one for the columns
Pads = tuple[tuple[int, int], ...]
Matrix = tuple[tuple[float, ...], ...]

# So many tiles at a time that tiles * channels is about this, and its (r + 1)^2-fold stays in a core's second cache;
# but no fewer than the least, below which a product of matrices is too small to be fast.
_ELEMENTS, _LEAST_TILES = 32_768, 128

# By r, the window's size in blocks: B^T [r + 1, r + 1], G [r + 1, r], A^T [2, r + 1].
_BT = {2: ((1, -1, 0), (0, 1, 0), (0, 1, -1)), 3: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))}
_G = {2: ((1, 0), (1, 1), (0, 1)), 3: ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))}
_AT = {2: ((1, 1, 0), (0, 1, -1)), 3: ((1, 1, 1, 0), (0, 1, -1, -1))}


def multiplications(window: Pair, stride: Pair, out: Pair) -> float:
    """The ratio of the multiplications taken to those of the definition; infinity where there is no algorithm."""
    blocks = _blocks(window, stride)
    if not set(blocks) <= set(_BT) or any(k % s for k, s in zip(window, stride, strict=True)):
        return math.inf
    # A tile has r + 1 products of s-fold channels for two outputs; of an odd size, the last one has an output too many.
    each = [s * (r + 1) * tiles / n for s, r, tiles, n in zip(stride, blocks, _tiles(out), out, strict=True)]
    return math.prod(each) / math.prod(window)


def winograd(x: Array, kernel: Array, stride: Pair, pads: Pads) -> Array:
    """The convolution of x [B, H, W, C] with kernel [*window, C, C'], whose window `stride` divides: [B, *out, C']."""
    sizes = zip(x.shape[1:3], pads, kernel.shape[:2], stride, strict=True)
    out = tuple((size + sum(pad) - k) // s + 1 for size, pad, k, s in sizes)
    tiles, blocks = _tiles(out), _blocks(kernel.shape[:2], stride)
    channels, features = x.shape[-1] * math.prod(stride), kernel.shape[-1]
    transformed = _both([_G[r] for r in blocks], _blocks_of_kernel(kernel, blocks, stride))
    transformed = transformed.reshape(-1, channels, features)  # [places, s s C, C']

    def some(x):
        seen = _transformed_images(x, blocks, stride, pads, out)
        products = lax.optimization_barrier(_products(seen, transformed))  # [places, tiles, C']
        products = products.reshape(*(r + 1 for r in blocks), x.shape[0], *tiles, features)
        return _of_tiles(products, blocks)[:, : out[0], : out[1]]

    return some_at_a_time(some, x, _images_at_once(x.shape[0], tiles, channels))


def winograd_kernel_gradient(x: Array, gy: Array, window: Pair, stride: Pair, pads: Pads) -> Array:
    """The gradient with respect to `winograd`'s kernel [*window, C, C'], with gy [B, *out, C'] that of its outputs."""
    tiles, blocks = _tiles(gy.shape[1:3]), _blocks(window, stride)
    channels, features = x.shape[-1] * math.prod(stride), gy.shape[-1]
    images, out = _images_at_once(x.shape[0], tiles, channels), gy.shape[1:3]
    parts, places = x.shape[0] // images, math.prod(r + 1 for r in blocks)
    # Outputs beyond the image get no gradient. gy is transposed in memory once, behind a barrier, as a product with a
    # transposition inside is slower: [B, *out, C'] -> [parts, images, h, 2, w, 2, C'] -> [parts, 2, 2, C', tiles].
    gy = jnp.pad(gy, [(0, 0), *((0, 2 * t - n) for t, n in zip(tiles, out, strict=True)), (0, 0)])
    gy = gy.reshape(parts, images, tiles[0], 2, tiles[1], 2, features).transpose(0, 3, 5, 6, 1, 2, 4)
    gy = lax.optimization_barrier(gy.reshape(parts, 2, 2, features, -1))

    def part(x, gy):
        """Over some images, with gy [2, 2, C', tiles]: [places, C', s s C]."""
        gy = _both([_transposed(_AT[r]) for r in blocks], gy).reshape(places, features, -1)
        return _products(gy, _transformed_images(x, blocks, stride, pads, out))

    if parts == 1:
        total = part(x, gy[0])
    else:

        def add(i, total):
            return total + part(lax.dynamic_slice_in_dim(x, i * images, images), gy[i])

        total = lax.fori_loop(0, parts, add, jnp.zeros((places, features, channels), gy.dtype))
    total = total.reshape(*(r + 1 for r in blocks), *total.shape[1:])
    total = _both([_transposed(_G[r]) for r in blocks], total).swapaxes(-1, -2)  # [*blocks, s s C, C']
    return _kernel_of_blocks(total, window, stride)


def _products(a: Array, b: Array) -> Array:
    """The product of matrices of each place."""
    return lax.dot_general(a, b, (((2,), (1,)), ((0,), (0,))))


def _transformed_images(x: Array, window: Pair, stride: Pair, pads: Pads, out: Pair) -> Array:
    """B^T d B of each tile and channel: [n, H, W, C] -> [places, n * h * w, s s C]. `window` is counted in blocks."""
    tiles, config = _tiles(out), [(0, 0, 0)]
    sizes = [
        2 * t + r - 1 for t, r in zip(tiles, window, strict=True)
    ]  # of the image in blocks: a tile begins every two
    for axis, (size, r, s, (low, _), n) in enumerate(zip(sizes, window, stride, pads, out, strict=True), 1):
        # What no window sees is cut off, and zeros stand for it: an infinite element there would be multiplied by 0.
        seen = min(x.shape[axis], (n - 1 + r) * s - low)
        x = lax.slice_in_dim(x, 0, seen, axis=axis)
        config.append((low, size * s - low - seen, 0))
    x = lax.pad(x, jnp.zeros([], x.dtype), [*config, (0, 0, 0)])
    if max(stride) > 1:
        pixels = product(*map(range, stride))  # of a block
        phases = [lax.slice(x, (0, i, j, 0), x.shape, (1, *stride, 1)) for i, j in pixels]
        x = lax.optimization_barrier(jnp.concatenate(phases, -1))  # [n, *sizes, s s C]
    # [n, *sizes, s s C] -> [r + 1, n, h, size, s s C] -> [r + 1, r + 1, n, h, w, s s C]
    for axis, at, r, count in ((1, 0, window[0], tiles[0]), (3, 1, window[1], tiles[1])):
        elements = [lax.slice_in_dim(x, i, i + 2 * count - 1, 2, axis) for i in range(r + 1)]
        x = lax.optimization_barrier(jnp.stack(_times(_BT[r], elements), at))
    return x.reshape(math.prod(x.shape[:2]), -1, x.shape[-1])


def _of_tiles(products: Array, window: Pair) -> Array:
    """A^T m A of each tile and output, the tiles side by side: [r + 1, r + 1, n, h, w, C'] -> [n, 2 h, 2 w, C']."""
    rows = _times(_AT[window[0]], list(products))  # each [r + 1, n, h, w, C']
    y = jnp.stack([jnp.stack(_times(_AT[window[1]], list(row)), 3) for row in rows], 2)  # [n, h, 2, w, 2, C']
    n, h, _, w, _, features = y.shape
    return y.reshape(n, 2 * h, 2 * w, features)


def _both(matrices: list[Matrix], x: Array) -> Array:
    """A matrix times the first axis and another times the second: M_ai N_bj x_ij.., behind a barrier."""
    for axis, matrix in enumerate(matrices):
        elements = [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])]
        x = lax.optimization_barrier(jnp.stack(_times(matrix, elements), axis))
    return x


def _times(matrix: Matrix, elements: list[Array]) -> list[Array]:
    """A matrix times a vector of arrays, without multiplications by 0 and 1."""
    return [_combined([(weight, e) for weight, e in zip(row, elements, strict=True) if weight]) for row in matrix]


def _combined(terms: list[tuple[float, Array]]) -> Array:
    terms = sorted(terms, key=lambda term: -term[0])  # a positive one first, which saves a negation
    total = None
    for weight, element in terms:
        part = element if abs(weight) == 1 else abs(weight) * element
        if total is None:
            total = part if weight > 0 else -part
        else:
            total = total + part if weight > 0 else total - part
    assert total is not None, "a row of zeros"
    return total


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _blocks(window: Pair, stride: Pair) -> Pair:
    """The window's size in blocks."""
    return tuple(k // s for k, s in zip(window, stride, strict=True))


def _blocks_of_kernel(kernel: Array, blocks: Pair, stride: Pair) -> Array:
    """[*window, C, C'] -> [*blocks, s s C, C']."""
    kernel = kernel.reshape(blocks[0], stride[0], blocks[1], stride[1], *kernel.shape[2:]).swapaxes(1, 2)
    return kernel.reshape(*blocks, -1, kernel.shape[-1])


def _kernel_of_blocks(kernel: Array, window: Pair, stride: Pair) -> Array:
    """[*blocks, s s C, C'] -> [*window, C, C']: the inverse, and the transpose, of `_blocks_of_kernel`."""
    blocks = kernel.shape[:2]
    kernel = kernel.reshape(*blocks, *stride, -1, kernel.shape[-1]).swapaxes(1, 2)
    return kernel.reshape(*window, *kernel.shape[4:])


def _tiles(out: Pair) -> Pair:
    """How many tiles of two elements cover the outputs."""
    return tuple(-(-n // 2) for n in out)


def _images_at_once(batch: int, tiles: Pair, channels: int) -> int:
    return largest_divisor(batch, max(1, max(_LEAST_TILES, _ELEMENTS // channels) // math.prod(tiles)))
