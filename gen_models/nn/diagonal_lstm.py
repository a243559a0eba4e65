"""The Diagonal BiLSTM: two LSTMs that go through an image along its diagonals and together see every earlier pixel.

van den Oord et al., Pixel Recurrent Neural Networks (2016), section 3.2 and figure 3, with the equations of
`gen_models/nn/row_lstm.py`: at pixel (i, j) the left-hand direction reads its input there, h at (i - 1, j) and
(i, j - 1), and c at (i, j - 1). The right-hand one is the same in the mirrored image; its outputs are moved down one
row, so that no pixel sees later ones, and added. With each row moved right by one more pixel than the row above it,
columns hold diagonals (`skew`): a column's states need those of the column before it alone.

Differs from the paper: in the skewed image nearly half of each column is empty. So several images stand side by side
before they are skewed, and each row of the next image follows that row of the last one; states begin anew between them.
"""

from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.nn._cells import lstm_cell
from gen_models.nn.causal import At, empty_row
from gen_models.nn.devices import DATA_AXIS, is_plain, mesh_for
from gen_models.nn.row_lstm import RowWeights, Taps, forget_bias, input_mask, lstm_over_rows

_POSITIONS = 32  # in one step at least, where the batch has them: below it the loop costs more than its products


def skew(x: Float[Array, "b h w c"]) -> Float[Array, "b h w+h-1 c"]:
    """Row i moved right by i columns; zeros where nothing is."""
    b, h, w, c = x.shape
    x = jnp.pad(x, ((0, 0), (0, 0), (0, h), (0, 0))).reshape(b, h * (w + h), c)
    return x[:, : h * (w + h - 1)].reshape(b, h, w + h - 1, c)


def unskew(x: Float[Array, "b h columns c"]) -> Float[Array, "b h columns+1-h c"]:
    """The inverse of `skew`."""
    b, h, columns, c = x.shape
    x = jnp.pad(x.reshape(b, h * columns, c), ((0, 0), (0, h), (0, 0)))
    return x.reshape(b, h, columns + 1, c)[:, :, : columns + 1 - h]


class DiagonalBiLSTM(nn.Module):
    """Both directions of h features each, added.

    Several channels: mask B is that of the inputs; h of pixels before is seen whole, as they are known.
    """

    features: int  # h
    _: KW_ONLY
    colours: int = 1
    kernel_init: Any = nn.initializers.lecun_normal(batch_axis=0)
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ {self.features}"]:
        """h for each pixel, in one of the three ways of `gen_models/nn/causal.py`."""
        inputs, h = x.shape[-1], self.features
        kernel = self.param("kernel", self.kernel_init, (2, inputs, 4 * h), jnp.float32)
        kernel = kernel * input_mask(1, inputs, h, self.colours)
        # Rows of a direction's: h of the pixel above, then of the one beside it.
        recurrent = self.param("recurrent_kernel", self.kernel_init, (2, 2 * h, 4 * h), jnp.float32)
        bias = self.param("bias", forget_bias, (2, 4 * h), jnp.float32)
        x, *each = nn.dtypes.promote_dtype(x, kernel, recurrent, bias, dtype=self.dtype)
        left, right = (RowWeights(*(w[direction] for w in each)) for direction in range(2))
        if at is None:
            y = _along_diagonals(x, left)
            if x.shape[1] == 1:
                return y
            before = _along_diagonals(x[:, :-1, ::-1], right)[:, :, ::-1]
            return y + jnp.pad(before, ((0, 0), (1, 0), (0, 0), (0, 0)))
        wide = jnp.promote_types(x.dtype, jnp.float32)
        return self._at(x.astype(wide), left.cast(wide), right.cast(wide), at).astype(x.dtype)

    def _at(self, x, left, right, at):
        n, width, h = x.shape[0], at.size[1], self.features
        seen = self.variable("cache", "inputs", jnp.zeros, (n, width, x.shape[-1]), x.dtype)
        above = self.variable("cache", "above", jnp.zeros, (n, width, h), x.dtype)
        # h and c side by side, behind a column of zeros.
        row = self.variable("cache", "row", jnp.zeros, (n, width + 1, 2 * h), x.dtype)
        from_right = self.variable("cache", "from_right", jnp.zeros, (n, width, h), x.dtype)
        if at.column is None:
            above.value = row.value[:, 1:, :h]
            through = _right_to_left(seen.value, from_right.value, right)
            from_right.value = jnp.where(at.row > 0, through, 0)
            return empty_row(x, at, h)
        j = at.column
        seen.value = lax.dynamic_update_slice_in_dim(seen.value, x[:, 0], j, 1)
        beside = lax.dynamic_slice_in_dim(row.value, j, 1, 1)[:, 0]
        read = jnp.concatenate([x[:, 0, 0], lax.dynamic_slice_in_dim(above.value, j, 1, 1)[:, 0], beside[:, :h]], -1)
        z = read @ jnp.concatenate([left.kernel, left.recurrent_kernel]) + left.bias
        new, c, _ = lstm_cell(z, beside[:, h:])
        row.value = lax.dynamic_update_slice_in_dim(row.value, jnp.concatenate([new, c], -1)[:, None], j + 1, 1)
        return (new[:, None] + lax.dynamic_slice_in_dim(from_right.value, j, 1, 1))[:, None]


def _along_diagonals(x, weights: RowWeights):
    """h of the left-hand direction, [B, H, W, h]."""
    batch, height, width, _ = x.shape
    streams = _streams(batch, height)
    images = batch // streams  # that follow each other
    x = x.reshape(streams, images, height, width, -1).swapaxes(1, 2).reshape(streams, height, images * width, -1)
    x = skew(x).transpose(2, 0, 1, 3)  # [T, streams, H, C]
    column = np.arange(x.shape[0])[:, None] - np.arange(height)
    h = lstm_over_rows(x, weights, Taps((0,), (-1, 0)), column % width == 0)
    h = unskew(h.transpose(1, 2, 0, 3)).reshape(streams, height, images, width, -1)
    return h.swapaxes(1, 2).reshape(batch, height, width, -1)


def _streams(batch: int, height: int) -> int:
    """Into how many the images are cut: few on a CPU, all of them where steps are wide for free."""
    if is_plain():
        return batch
    mesh = mesh_for(batch)
    devices = 1 if mesh is None else mesh.shape[DATA_AXIS]
    fit = [n for n in range(devices, batch, devices) if batch % n == 0 and n // devices * height >= _POSITIONS]
    return min(fit, default=batch)


def _right_to_left(x, above, weights: RowWeights):
    """h of the right-hand direction over one row [B, W, C], given that of the row above."""
    h = above.shape[-1]
    of_above, of_beside = weights.recurrent_kernel[:h], weights.recurrent_kernel[h:]
    z = jnp.concatenate([x, above], -1) @ jnp.concatenate([weights.kernel, of_above]) + weights.bias

    def step(carry, z):
        h, c, _ = lstm_cell(z + carry[0] @ of_beside, carry[1])
        return (h, c), h

    zeros = jnp.zeros_like(above[:, 0])
    return lax.scan(step, (zeros, zeros), z.swapaxes(0, 1), reverse=True)[1].swapaxes(0, 1)
