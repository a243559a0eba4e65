"""What the networks that came with their weights share: convolutions, pooling, and their files' hashes."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Layer = Mapping[str, Any]  # "kernel" [height, width, in, out] and "bias" [out]
Padding = str | Sequence[tuple[int, int]]
WINDOW = (1, 3, 3, 1)


def convolution(x: jax.Array, layer: Layer, stride: int = 1, padding: Padding = "VALID", groups: int = 1) -> jax.Array:
    """A convolution of [B, H, W, C] with its bias."""
    sizes = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    found = jax.lax.conv_general_dilated(
        x, layer["kernel"], strides, padding, dimension_numbers=sizes, feature_group_count=groups
    )
    return found + layer["bias"]


def max_pool(x: jax.Array, stride: int, padding: Padding = "VALID") -> jax.Array:
    """The largest value of windows of 3x3."""
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, WINDOW, (1, stride, stride, 1), _of_all(padding))


def mean_pool(x: jax.Array) -> jax.Array:
    """The mean of what lies inside of the image in windows of 3x3, one around each pixel."""
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, WINDOW, (1, 1, 1, 1), "SAME")
    high, wide = (np.convolve(np.ones(size), np.ones(3))[1:-1] for size in x.shape[1:3])
    return total / (high[:, None] * wide).astype(np.float32)[..., None]


def _of_all(padding: Padding) -> Padding:
    return padding if isinstance(padding, str) else ((0, 0), *padding, (0, 0))


def with_norm(tensors: Mapping[str, np.ndarray], convolution: str, norm: str, epsilon: float) -> dict[str, np.ndarray]:
    """A convolution of PyTorch's without bias, and the batch norm behind it in evaluation mode, as one convolution.

    Args:
      tensors: by PyTorch's names; kernels are [out, in, height, width].
      convolution: what stands before ".weight".
      norm: what stands before ".weight", ".bias", ".running_mean" and ".running_var".
      epsilon: that the norm adds to the variance.

    Raises:
      KeyError: a tensor is missing.
    """
    scale, bias, mean, variance = (
        tensors[f"{norm}.{name}"].astype(np.float64) for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / np.sqrt(variance + epsilon)
    kernel = tensors[f"{convolution}.weight"].transpose(2, 3, 1, 0) * scale
    return {"kernel": kernel.astype(np.float32), "bias": (bias - mean * scale).astype(np.float32)}


def file_digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits.

    Raises:
      OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
