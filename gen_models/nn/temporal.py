"""Causal dilated convolutions over time, whole or one step at a time, and the residual blocks that are made of them.

With a kernel of k taps and dilation d, of sequences x [B, T, C] that are 0 before their beginning,

    y_t = b + sum over u = 0 ... k - 1 of x_(t - (k - 1 - u) d) W_u

so that y_t depends on x_t and on what was before it alone (van den Oord et al., WaveNet, 2016, section 2.1). Whole
sequences go through `gen_models.nn.conv`, whose gradients are written out for a CPU.

A step reads x_t alone: it and the (k - 1) d before it stand in a ring buffer [B, S, C] of S = (k - 1) d + 1 places, x_s
in place s mod S, so that nothing is moved. A buffer of zeros is a sequence's beginning.

`TemporalConvolutions` are the residual blocks of Bai et al. (An Empirical Evaluation of Generic Convolutional and
Recurrent Networks for Sequence Modeling, 2018, section 3): block i has dilation g^i, where the growth g is 2 in theirs,
and computes, with two such layers,

    y = relu(x' + branch(x)),   branch(x) = dropout(relu(conv(dropout(relu(conv(x))))))

where x' is x, or a 1x1 convolution of it where the widths differ. Kernels may be weight-normalised (Salimans & Kingma,
2016): W = scale v / |v| for each output; the scale begins as |v|, as in the code of Bai et al., so that W begins as v.

The output at the last step depends, through block i and those behind it, on the steps alone whose distance from the end
is a multiple of g^i. `TemporalConvolutions.last` computes no others: each block reads every g-th step of what the one
before it gave, where its dilation is 1, so that with g = 2 all blocks together cost as much as two of whole sequences.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.nn.conv import conv
from gen_models.nn.devices import is_plain
from gen_models.nn.dropout import Dropout

Time = int | Int[Array, ""]  # steps that were read before


def causal_conv(
    x: Float[Array, "b t c"], kernel: Float[Array, "k c c_out"], *, dilation: int = 1
) -> Float[Array, "b t c_out"]:
    """The convolution of x with the kernel, whose last tap is that of the step itself; no bias.

    Raises:
      ValueError: `dilation` is below 1, or the shapes do not fit each other.
    """
    _check(x, kernel, dilation)
    return conv(x, kernel, padding="CAUSAL", dilation=dilation)


def causal_conv_step(
    x: Float[Array, "b c"],
    kernel: Float[Array, "k c c_out"],
    buffer: Float[Array, "b s c"],
    t: Time,
    *,
    dilation: int = 1,
) -> tuple[Float[Array, "b c_out"], Float[Array, "b s c"]]:
    """Step t of `causal_conv`, t from 0, and the buffer after it.

    Args:
      x: what is read at the step.
      kernel: as in `causal_conv`.
      buffer: as the step before left it, [B, (k - 1) dilation + 1, C]; zeros before step 0.
      t: steps that were read before; may be traced.
      dilation: as in `causal_conv`.

    Raises:
      ValueError: as `causal_conv`, or the buffer has another length.
    """
    _check(x, kernel, dilation)
    seen, buffer = remembered(x, buffer, t, window=len(kernel), dilation=dilation)
    if x.dtype in (jnp.bfloat16, jnp.float16) and not is_plain():  # as `conv` does on a CPU: rounding once
        seen, kernel = seen.astype(jnp.float32), kernel.astype(jnp.float32)
    y = seen.reshape(len(x), -1) @ kernel.reshape(-1, kernel.shape[-1])
    return y.astype(x.dtype), buffer


def remembered(
    x: Float[Array, "b c"], buffer: Float[Array, "b s c"], t: Time, *, window: int, dilation: int = 1
) -> tuple[Float[Array, "b k c"], Float[Array, "b s c"]]:
    """What the taps of a window see at step t, the earliest first, and the ring buffer after it.

    Raises:
      ValueError: the buffer's length is not (window - 1) dilation + 1.
    """
    reach = (window - 1) * dilation
    if buffer.shape[1] != reach + 1:
        raise ValueError(
            f"{window} taps of dilation {dilation} need a buffer of {reach + 1} steps, got {list(buffer.shape)}: "
            "make it with the same sizes"
        )
    # Written first, then read: the other order makes XLA:CPU copy all buffers in each step of a loop.
    buffer = lax.dynamic_update_index_in_dim(buffer, x.astype(buffer.dtype), t % (reach + 1), 1)
    places = [(t - back) % (reach + 1) for back in range(reach, -1, -dilation)]
    seen = [lax.dynamic_index_in_dim(buffer, place, 1, keepdims=False) for place in places]
    return jnp.stack(seen, 1).astype(x.dtype), buffer


class CausalConv(nn.Module):
    """`causal_conv` with its weights: "kernel" [window, C, features] and "bias"; with `weight_norm` "scale"
    [features]."""

    features: int
    window: int
    _: KW_ONLY
    dilation: int = 1
    weight_norm: bool = False
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None  # of the computation; None: that of x and the parameters

    @nn.compact
    def weights(self, inputs: int) -> tuple[Array, Array | None]:
        """The kernel that x is multiplied with, and the bias, for inputs of that width; float32."""
        kernel = self.param("kernel", self.kernel_init, (self.window, inputs, self.features), jnp.float32)
        if self.weight_norm:
            norm = jnp.sqrt(jnp.square(kernel).sum((0, 1)) + 1e-12)
            kernel = kernel * (self.param("scale", lambda key: norm) / norm)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else None
        return kernel, bias

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t {self.features}"]:
        """The convolution of x, plus the bias."""
        x, kernel, bias = nn.dtypes.promote_dtype(x, *self.weights(x.shape[-1]), dtype=self.dtype)
        y = causal_conv(x, kernel, dilation=self.dilation)
        return y if bias is None else y + bias

    def step(
        self, x: Float[Array, "b c"], buffer: Float[Array, "b s c"], t: Time
    ) -> tuple[Float[Array, "b {self.features}"], Float[Array, "b s c"]]:
        """Step t, and the buffer after it; see `causal_conv_step`."""
        x, kernel, bias = nn.dtypes.promote_dtype(x, *self.weights(x.shape[-1]), dtype=self.dtype)
        y, buffer = causal_conv_step(x, kernel, buffer, t, dilation=self.dilation)
        return (y if bias is None else y + bias), buffer


class CausalEmbed(nn.Module):
    """A causal convolution of one-hot tokens: each tap looks its token up in its own part of "embedding" [V, k C]."""

    vocabulary: int
    features: int
    window: int
    dtype: DTypeLike | None = None

    @nn.compact
    def _parts(self, tokens):
        """What each tap makes of each token, [..., k C]; outputs begin with variance 1."""
        init, shape = nn.initializers.normal(self.window**-0.5), (self.vocabulary, self.window * self.features)
        (table,) = nn.dtypes.promote_dtype(self.param("embedding", init, shape, jnp.float32), dtype=self.dtype)
        return jnp.take(table, tokens, axis=0)  # NaN of what is no token

    def __call__(self, tokens: Int[Array, "b t"]) -> Float[Array, "b t {self.features}"]:
        """The sum over the taps, of tokens [B, T]; nothing is before the first one."""
        *earlier, own = jnp.split(self._parts(tokens), self.window, -1)
        for u, part in enumerate(earlier):
            own += _later(part, self.window - 1 - u, tokens.shape[1])
        return own

    def step(
        self, token: Int[Array, "b"], buffer: Float[Array, "b s c"], t: Time
    ) -> tuple[Float[Array, "b {self.features}"], Float[Array, "b s c"]]:
        """Step t, and the buffer [B, k, k C] after it."""
        seen, buffer = remembered(self._parts(token), buffer, t, window=self.window)
        seen = seen.reshape(len(token), self.window, self.window, self.features)
        return jnp.einsum("buuc->bc", seen), buffer  # of what stands in place u the part of tap u


class TemporalConvolutions(nn.Module):
    """The residual blocks of a temporal convolutional network, without a head: see the top of this file.

    A readable one for regression is `nn.Dense(1)(TemporalConvolutions(features=(24,) * 8, window=7)(x, train))`; an
    answer about a whole sequence is read at its last step, which `last` computes alone. Step t sees
    `temporal_receptive_field(len(features), window, growth)` steps.
    """

    features: Sequence[int]  # width of each block
    window: int = 3
    _: KW_ONLY
    growth: int = 2  # of the dilation, from a block to the next; 1: no block is dilated
    weight_norm: bool = True
    dropout: float | Array = 0.0  # may be traced
    dtype: DTypeLike | None = None

    def __call__(self, x: Float[Array, "b t c"], train: bool = False) -> Float[Array, "b t {self.features[-1]}"]:
        """The last block's outputs; draws from the "dropout" stream of keys where `train`."""
        return self._read(x, None, None, train)[0]

    def last(self, x: Float[Array, "b t c"], train: bool = False) -> Float[Array, "b {self.features[-1]}"]:
        """The last block's output at the last step, without those that it does not depend on.

        Up to rounding `self(x)[:, -1]`; where `train` and there is dropout, by other draws.
        """
        return self._read(x, None, None, train, ended=True)[0][:, -1]

    def step(self, x: Float[Array, "b c"], buffers: Any, t: Time) -> tuple[Float[Array, "b {self.features[-1]}"], Any]:
        """Step t, and the buffers after it; those before step 0 are `empty`."""
        return self._read(x, buffers, t, False)

    def empty(self, batch: int, inputs: int) -> tuple[tuple[Array, Array], ...]:
        """The ring buffers of no step, for inputs of that width: of both layers of each block."""
        dtype = jnp.float32 if self.dtype is None else self.dtype
        buffers = []
        for i, (before, width) in enumerate(zip((inputs, *self.features), self.features, strict=False)):
            size = (self.window - 1) * self.growth**i + 1
            buffers.append((jnp.zeros((batch, size, before), dtype), jnp.zeros((batch, size, width), dtype)))
        return tuple(buffers)

    @nn.compact
    def _read(self, x, buffers, t, train, ended=False):
        kept: list[Any] = []
        for i, width in enumerate(self.features):
            if ended and i:
                x = x[:, (x.shape[1] - 1) % self.growth :: self.growth]  # the last step, and every g-th before it
            h, pair = x, []
            for j in range(2):
                layer = CausalConv(
                    width,
                    self.window,
                    dilation=1 if ended else self.growth**i,
                    weight_norm=self.weight_norm,
                    dtype=self.dtype,
                    name=f"conv_{i}_{j}",
                )
                h, buffer = (layer(h), None) if buffers is None else layer.step(h, buffers[i][j], t)
                h = Dropout()(nn.relu(h), self.dropout, train)
                pair.append(buffer)
            kept.append(tuple(pair))
            if x.shape[-1] != width:
                x = nn.Dense(width, dtype=self.dtype, name=f"widened_{i}")(x)
            x = nn.relu(x + h)
        return x, tuple(kept)


def _check(x: Array, kernel: Array, dilation: int) -> None:
    if dilation < 1:
        raise ValueError(f"dilation must be 1 or more, got {dilation}")
    if kernel.ndim != 3 or kernel.shape[1] != x.shape[-1] or not len(kernel):
        raise ValueError(f"a kernel {kernel.shape} does not fit x {x.shape}: it needs [k, {x.shape[-1]}, C']")


def _later(x: Array, steps: int, length: int) -> Array:
    """x [B, T, C] that many steps later, with zeros before, cut to the length."""
    return jnp.pad(x, ((0, 0), (steps, 0), (0, 0)))[:, :length]
