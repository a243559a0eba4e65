"""Attention over the pixels before one, and what models of it share; called as the layers of `gen_models/nn/causal.py`.

Masked multi-head attention: Vaswani et al., Attention Is All You Need (2017), section 3.2; over an image's pixels in
raster order: Chen et al., Generative Pretraining from Pixels (2020). For queries q, keys k and values v of width d,

    y_i = sum over positions j that i sees of softmax_j(q_i . k_j / sqrt(d)) v_j

For whole images, queries can come in parts, one after another, so that never all H W by H W weights are there at once;
the backward pass computes them again. While an image is generated, keys and values stay in the cache as [B, heads, H W,
width], and each pixel brings one query.
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from gen_models.nn.causal import At, CausalConv, empty_row, image_window

_MASKED = -1e30  # a score that no weight is left of; finite, so that a row of these has no NaN in its gradient


def causal_attention(
    queries: Float[Array, "b heads n d"],
    keys: Float[Array, "b heads n d"],
    values: Float[Array, "b heads n v"],
    *,
    kind: Literal["A", "B"] = "B",
    late: bool = False,
    chunk: int | None = None,
) -> Float[Array, "b heads n v"]:
    """Attention of each position to those before it, with kind "B" to itself too; scores and softmax in float32.

    With kind "A" the first position sees none: its output is zero.

    Args:
      queries: of n positions in order.
      keys: of the same positions; with `late` those of position j - 1 stand at j, and what stands at 0 is not seen.
      values: as the keys, of any width.
      kind: "A", strictly earlier positions, or "B", the position itself too. `late` needs "A".
      late: whether keys and values come one position late.
      chunk: queries at a time, or fewer, so that parts are of one size; None: all.

    Raises:
      ValueError: another kind, `late` with kind "B", or `chunk` not positive.
    """
    _check(kind, late, chunk)
    n = queries.shape[2]
    part = partial(_part, keys=keys, values=values, kind=kind, late=late)
    parts = 1 if chunk is None else -(-n // chunk)
    if parts == 1:
        return part(jnp.arange(n), queries)
    size = -(-n // parts)
    queries = jnp.pad(queries, ((0, 0), (0, 0), (0, parts * size - n), (0, 0)))
    queries = jnp.moveaxis(queries.reshape(*queries.shape[:2], parts, size, -1), 2, 0)
    positions = jnp.arange(parts * size).reshape(parts, size)
    attend = jax.checkpoint(lambda args: part(*args), prevent_cse=False)  # inside a loop there is none to prevent
    y = jnp.moveaxis(lax.map(attend, (positions, queries)), 0, 2)
    return y.reshape(*y.shape[:2], parts * size, -1)[:, :, :n]


def _part(i, queries, keys, values, kind, late):
    """Attention of queries [B, heads, m, d] that stand at positions i [m] to all that they see."""
    scores = jnp.einsum("bhid,bhjd->bhij", queries, keys, preferred_element_type=jnp.float32)
    seen = _seen(i[:, None], jnp.arange(keys.shape[2]), kind, late)
    weights = jax.nn.softmax(jnp.where(seen, scores * queries.shape[-1] ** -0.5, _MASKED))
    y = jnp.einsum("bhij,bhjv->bhiv", weights.astype(values.dtype), values)
    return y if kind == "B" else jnp.where(i[:, None] > 0, y, 0)  # the first sees none: its weights were all alike


def _seen(i: Array, j: Array, kind: str, late: bool) -> Array:
    if late:
        return (j <= i) & (j > 0)
    return j < i if kind == "A" else j <= i


def _check(kind: str, late: bool, chunk: int | None) -> None:
    if kind not in ("A", "B"):
        raise ValueError(f"the kind of a mask is 'A' or 'B', got {kind!r}")
    if late and kind == "B":
        raise ValueError("keys that come late are those of earlier positions: late=True needs kind='A'")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be positive, or None for all queries at once, got {chunk=}")


class CausalAttention(nn.Module, kw_only=True):
    """Multi-head attention over positions in raster order, with learned projections to queries, keys and values.

    `memory`, by default x, is what keys and values are made from. What reads a position's own pixel can be computed
    only once that pixel is known: a `memory` that does must come one position late (`Previous`), and `late` says so.
    """

    heads: int
    key_features: int  # of queries and of keys, all heads together
    value_features: int  # all heads together
    out_features: int | None = None  # of a last projection; None: without it
    kind: Literal["A", "B"] = "B"
    late: bool = False
    chunk: int | None = 256  # queries at a time, for whole images
    kernel_init: Any = nn.initializers.lecun_normal()
    out_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], at: At | None = None, memory: Float[Array, "b h w m"] | None = None
    ) -> Float[Array, "b h w out"]:
        """What each position gathers from those before it, [B, H, W, out_features or value_features]."""
        widths = (self.key_features, self.value_features)
        if min(self.heads, *widths) < 1 or any(width % self.heads for width in widths):
            raise ValueError(
                f"heads must divide the features of keys and of values, got heads={self.heads}, "
                f"key_features={self.key_features}, value_features={self.value_features}"
            )
        _check(self.kind, self.late, self.chunk)
        memory = x if memory is None else memory
        dense = partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        queries = self._by_head(dense(self.key_features, name="query")(x))
        # Without a bias, which would move all of a query's scores alike.
        keys = self._by_head(dense(self.key_features, use_bias=False, name="key")(memory))
        values = self._by_head(dense(self.value_features, name="value")(memory))
        if at is None:
            y = causal_attention(queries, keys, values, kind=self.kind, late=self.late, chunk=self.chunk)
        else:
            y = self._at(queries, keys, values, at)
        y = y.swapaxes(1, 2).reshape(*x.shape[:-1], self.value_features)  # [B, heads, n, v] -> [B, H, W, heads v]
        if self.out_features is None:
            return y
        return nn.Dense(self.out_features, kernel_init=self.out_init, dtype=self.dtype, name="out")(y)

    def _by_head(self, x):
        """[B, H, W, heads d] -> [B, heads, H W, d]."""
        return x.reshape(x.shape[0], -1, self.heads, x.shape[-1] // self.heads).swapaxes(1, 2)

    def _at(self, queries, keys, values, at: At):
        positions = at.size[0] * at.size[1]

        def kept(name, new):
            return self.variable("cache", name, jnp.zeros, (*new.shape[:2], positions, new.shape[-1]), new.dtype)

        all_keys, all_values = kept("keys", keys), kept("values", values)
        if at.column is None:
            return jnp.zeros_like(values)
        i = at.row * at.size[1] + at.column
        all_keys.value = lax.dynamic_update_slice_in_dim(all_keys.value, keys, i, 2)
        all_values.value = lax.dynamic_update_slice_in_dim(all_values.value, values, i, 2)
        return _part(i[None], queries, all_keys.value, all_values.value, self.kind, self.late)


class Previous(nn.Module):
    """x one position earlier in raster order: the pixel to the left, or the row above's last; zeros for the first."""

    of_image: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], at: At | None = None) -> Float[Array, "b _ _ c"]:
        """x, shifted."""
        if at is None:
            flat = x.reshape(x.shape[0], -1, x.shape[-1])
            return jnp.pad(flat[:, :-1], ((0, 0), (1, 0), (0, 0))).reshape(x.shape)
        if self.of_image:
            if at.column is None:
                return empty_row(x, at, x.shape[-1])
            before = jnp.maximum(at.row * at.size[1] + at.column - 1, 0)
            start = (0, before // at.size[1], before % at.size[1], 0)
            return jnp.where(at.row + at.column > 0, lax.dynamic_slice(x, start, (x.shape[0], 1, 1, x.shape[-1])), 0)
        # Two places, for odd and even positions: a pixel may come several times, once for each of its channels.
        kept = self.variable("cache", "pixels", jnp.zeros, (x.shape[0], 1, 2, x.shape[-1]), x.dtype)
        if at.column is None:
            return x
        i = at.row * at.size[1] + at.column
        kept.value = lax.dynamic_update_slice_in_dim(kept.value, x, i % 2, 2)
        return lax.dynamic_slice_in_dim(kept.value, (i + 1) % 2, 1, 2)


class WithinPixel(nn.Module, kw_only=True):
    """The outputs for a pixel from x, which depends on earlier pixels alone, and the pixel's own earlier channels.

    One hidden layer, whose features belong to the colours in equal parts; each sees all of x, and the levels of the
    colours before its own as one-hot vectors. Without `by_channel`, or with one colour, a linear map of x.
    """

    outputs: int
    hidden: int
    levels: int
    by_channel: bool
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], image: Float[Array, "b height width colours"], at: At | None = None
    ) -> Float[Array, "b h w {self.outputs}"]:
        """The outputs, float32."""
        colours = image.shape[-1]
        if not self.by_channel or colours == 1:
            # Never in half precision, where the levels near 255 are half a level apart.
            return nn.Dense(self.outputs, kernel_init=self.kernel_init, dtype=jnp.float32, name="outputs")(x)
        if self.hidden % colours:
            raise ValueError(f"{colours} channels must divide the hidden features, got {self.hidden}")
        by_colour = partial(CausalConv, window=(1, 1), colours=colours, dtype=self.dtype)
        if at is None:
            pixel = image
        elif at.column is None:
            pixel = empty_row(image, at, colours)
        else:
            pixel = image_window(image, at, 1, 1)
        h = by_colour(self.hidden, kind="A", use_bias=False, name="channels")(level_weights(pixel, self.levels), at)
        h = nn.gelu(h + nn.Dense(self.hidden, dtype=self.dtype, name="hidden")(x))
        outputs = by_colour(self.outputs, kernel_init=self.kernel_init, name="outputs")(h, at)
        return outputs.astype(jnp.float32)


def level_weights(x: Float[Array, "*n c"], levels: int) -> Float[Array, "*n c_levels"]:
    """One-hot vectors of the levels of each channel of x, scaled to [-1, 1], flat; a product with them is an embedding.

    Linear in between two levels, so that derivatives with respect to x say what an embedding depends on.
    """
    level = jnp.clip((x + 1) * ((levels - 1) / 2), 0, levels - 1)
    weights = jnp.maximum(1 - jnp.abs(level[..., None] - jnp.arange(levels)), 0)
    return weights.reshape(*x.shape[:-1], -1)


def at_position(table: ArrayLike, at: At | None) -> Array:
    """The part of a table [H, W, C] of positions that a layer computes: [1, H, W, C], [1, 1, W, C] or [1, 1, 1, C]."""
    table = jnp.asarray(table)
    if at is None:
        return table[None]
    if at.column is None:
        return lax.dynamic_slice_in_dim(table, at.row, 1, 0)[None]
    return lax.dynamic_slice(table, (at.row, at.column, 0), (1, 1, table.shape[-1]))[None]
