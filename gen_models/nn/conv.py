"""Convolutions in one to three dimensions, with gradients that are fast on a CPU inside and outside of loops.

On a CPU the gradients are written out (`gen_models/nn/_conv_cpu.py`). Where `over_devices` names a mesh, images are cut
over it there, each device makes its part, and the kernel's gradients are summed. On other platforms, and inside
`plain()`, all this is one `jax.lax.conv_general_dilated`, which XLA differentiates: such programs can be differentiated
forward too, which a custom gradient cannot.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from gen_models.errors import unknown
from gen_models.nn._conv_cpu import Setting, convolve_on_cpu, convolve_with_xla
from gen_models.nn.devices import is_plain

Padding = str | int | Sequence[int | tuple[int, int]]


def conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*window c_in c_out"],
    *,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    masked: bool = False,
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
      masked: whether zeros in the kernel must hide what they are multiplied with to the last bit, as masks of causal
        convolutions do. Without it, forms that leave a rounding error there may be used: they are faster.

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
    setting = Setting(strides, (1,) * space, dilation, pads, groups, masked)
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
    setting = Setting((1,) * space, strides, (1,) * space, pads, 1)
    _not_empty(setting, x.shape, kernel.shape)
    return _apply(x, kernel, setting)


class Conv(nn.Module):
    """Linen's `nn.Conv` with `conv` inside: parameters "kernel" [*window, C / groups, features] and "bias" [features].

    `mask`, of the kernel's shape or one that broadcasts to it, multiplies the kernel: masked convolutions, no bit of
    whose outputs depends on what is masked.
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
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out {self.features}"]:
        """The convolution of x, plus the bias."""
        shape = (*self.window, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if self.mask is not None:
            kernel = kernel * jnp.asarray(self.mask, kernel.dtype)
        y = conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            masked=self.mask is not None,
        )
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
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *out {self.features}"]:
        """The transposed convolution of x, plus the bias."""
        kernel = self.param("kernel", self.kernel_init, (*self.window, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, strides=self.strides, padding=self.padding)
        return y if bias is None else y + bias


def _apply(x: Array, kernel: Array, setting: Setting) -> Array:
    return convolve_with_xla(x, kernel, setting) if is_plain() else convolve_on_cpu(x, kernel, setting)


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


def _not_empty(setting: Setting, shape, kernel_shape) -> None:
    for i, (lo, hi) in enumerate(setting.pads):
        size = (shape[i + 1] - 1) * setting.spread[i] + 1 + lo + hi
        reach = setting.dilation[i] * (kernel_shape[i] - 1) + 1
        if size < reach:
            raise ValueError(f"a window that reaches over {reach} does not fit x {shape}, {size} with its padding")
