"""Convolutions with 3x3 windows in fewer multiplications: Winograd's minimal filtering, for CPUs.

    The algorithm F(2x2, 3x3) of Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, 2016, section 4.1:
    the outputs are cut into tiles of 2x2, each of which reads a tile d of 4x4 inputs,

        y = A^T [(G g G^T) * (B^T d B)] A    (elementwise product, summed over the input channels),

    which takes 16 multiplications for a tile and a pair of channels where the definition takes 36.

The elementwise products of all tiles are 16 products of matrices, one for each place in a tile. B and A have entries 0
and +-1 only, so the rounding is that of a few more additions. Each output is made of the inputs that its window sees and
no others, so that a shifted convolution stays causal; but a zero in the kernel does not hide what it is multiplied with:
masked kernels need another form.

What is stacked is made in two steps, rows and then columns, with a barrier between: XLA would else make one loop of both,
which takes longer to compile and to run.
"""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from gen_models.nn.devices import largest_divisor

Pads = tuple[tuple[int, int], ...]

_TILES = 512  # of 2x2 outputs at a time: what they are transformed to stays in a core's second cache


def winograd(x: Array, kernel: Array, pads: Pads) -> Array:
    """The convolution of x [B, H, W, C] with a kernel [3, 3, C, C'] at stride 1: [B, *out, C']."""
    out = _out(x, pads)
    tiles = _tiles(out)
    # [3, 3, C, C'] -> [16, C, C']
    kernel = lax.optimization_barrier(_transformed_kernel(kernel).reshape(16, *kernel.shape[2:]))

    def some(x):
        products = lax.optimization_barrier(_batched(_transformed_images(x, pads, tiles), kernel, contract=(2, 1)))
        return _outputs(products.reshape(4, 4, x.shape[0], *tiles, -1))[:, : out[0], : out[1]]

    images = _images(x.shape[0], tiles)
    if images == x.shape[0]:
        return some(x)
    return lax.map(some, x.reshape(-1, images, *x.shape[1:])).reshape(x.shape[0], *out, -1)


def winograd_kernel_gradient(x: Array, gy: Array, pads: Pads) -> Array:
    """The gradient with respect to `winograd`'s kernel [3, 3, C, C'], with gy [B, *out, C'] that of its outputs."""
    tiles, images = _tiles(gy.shape[1:3]), _images(x.shape[0], _tiles(gy.shape[1:3]))
    parts, outputs = x.shape[0] // images, gy.shape[-1]
    # Outputs beyond the image get no gradient. gy is transposed in memory once, behind a barrier, as a product with a
    # transposition inside is slower: [B, H, W, C'] -> [parts, images, h, 2, w, 2, C'] -> [parts, 2, 2, C', positions].
    gy = jnp.pad(gy, [(0, 0), *((0, 2 * t - n) for t, n in zip(tiles, gy.shape[1:3], strict=True)), (0, 0)])
    gy = gy.reshape(parts, images, tiles[0], 2, tiles[1], 2, outputs).transpose(0, 3, 5, 6, 1, 2, 4)
    gy = lax.optimization_barrier(gy.reshape(parts, 2, 2, outputs, -1))
    part = partial(_part_of_kernel_gradient, pads=pads, tiles=tiles)
    if parts == 1:
        total = part(x, gy[0])
    else:

        def add(i, total):
            return total + part(lax.dynamic_slice_in_dim(x, i * images, images), gy[i])

        total = lax.fori_loop(0, parts, add, jnp.zeros((16, outputs, x.shape[-1]), gy.dtype))
    # The transpose of `_transformed_kernel`: [16, C', C] -> [3, 3, C, C'].
    rows = lax.optimization_barrier(jnp.stack(_three(*total.reshape(4, 4, outputs, -1))))  # [3, 4, C', C]
    return jnp.stack(_three(*(rows[:, j] for j in range(4))), 1).swapaxes(-1, -2)


def _part_of_kernel_gradient(x: Array, gy: Array, pads: Pads, tiles: tuple[int, int]) -> Array:
    """The same over a few images, before it is transformed back, with gy [2, 2, C', positions]: [16, C', C]."""
    gy = _transposed_output(lax.optimization_barrier(_transposed_output(gy, 0)), 1)  # [4, 4, C', positions]
    gy = lax.optimization_barrier(gy.reshape(16, *gy.shape[2:]))
    return _batched(gy, _transformed_images(x, pads, tiles), contract=(2, 1))


def _batched(a: Array, b: Array, contract: tuple[int, int]) -> Array:
    """The 16 products of two stacks of matrices."""
    return lax.dot_general(a, b, (((contract[0],), (contract[1],)), ((0,), (0,))))


def _transformed_kernel(kernel: Array) -> Array:
    """G g G^T of each pair of channels: [3, 3, C, C'] -> [4, 4, C, C']."""
    rows = lax.optimization_barrier(jnp.stack(_four(*kernel)))  # [4, 3, C, C']
    return jnp.stack(_four(*(rows[:, j] for j in range(3))), 1)


def _four(a: Array, b: Array, c: Array) -> list[Array]:
    """G g of three elements."""
    return [a, (a + c + b) / 2, (a + c - b) / 2, c]


def _three(a: Array, b: Array, c: Array, d: Array) -> list[Array]:
    """The transpose of `_four`: G^T of four elements."""
    return [a + (b + c) / 2, (b - c) / 2, d + (b + c) / 2]


def _transformed_images(x: Array, pads: Pads, tiles: tuple[int, int]) -> Array:
    """B^T d B of each tile and channel: [n, H, W, C] -> [16, n * h * w, C], behind a barrier."""
    # So many elements that the tiles, of 4 elements every 2, fill them: 2 tiles + 2.
    config = [(low, 2 * t + 2 - low - size, 0) for (low, _), t, size in zip(pads, tiles, x.shape[1:3], strict=True)]
    channels, x = x.shape[-1], lax.pad(x, jnp.zeros([], x.dtype), [(0, 0, 0), *config, (0, 0, 0)])
    rows = lax.optimization_barrier(jnp.stack(_transposed_input(x, 1, tiles[0])))  # [4, n, h, W, C]
    both = jnp.stack(_transposed_input(rows, 3, tiles[1]), 1)  # [4, 4, n, h, w, C]
    return lax.optimization_barrier(both.reshape(16, -1, channels))


def _transposed_input(x: Array, axis: int, tiles: int) -> list[Array]:
    """B^T d along an axis of 2 tiles + 2 elements: four arrays with as many elements there as there are tiles."""
    a, b, c, d = (lax.slice_in_dim(x, i, i + 2 * tiles - 1, 2, axis) for i in range(4))
    return [a - c, b + c, c - b, b - d]


def _outputs(products: Array) -> Array:
    """A^T m A of each tile and output: [4, 4, n, h, w, C'] -> [n, 2 h, 2 w, C']."""
    columns = [_two(*products[i]) for i in range(4)]  # of each row of the tiles, the two columns
    first, second = zip(*(_two(*(row[j] for row in columns)) for j in range(2)), strict=True)
    y = jnp.stack([jnp.stack(first, 3), jnp.stack(second, 3)], 2)  # [n, h, 2, w, 2, C']
    n, h, _, w, _, outputs = y.shape
    return y.reshape(n, 2 * h, 2 * w, outputs)


def _two(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    """A^T m of four elements."""
    return a + b + c, b - c - d


def _transposed_output(gy: Array, axis: int) -> Array:
    """The transpose of `_two` along an axis, whose two elements become four."""
    a, b = (lax.index_in_dim(gy, i, axis, keepdims=False) for i in range(2))
    return jnp.stack([a, a + b, a - b, -b], axis)


def _out(x: Array, pads: Pads) -> tuple[int, int]:
    height, width = (size + low + high - 2 for size, (low, high) in zip(x.shape[1:3], pads, strict=True))
    return height, width


def _tiles(out: tuple[int, ...]) -> tuple[int, int]:
    """How many tiles of two elements cover the outputs."""
    return -(-out[0] // 2), -(-out[1] // 2)


def _images(batch: int, tiles: tuple[int, int]) -> int:
    """How many images are transformed at a time."""
    return largest_divisor(batch, max(1, _TILES // (tiles[0] * tiles[1])))
