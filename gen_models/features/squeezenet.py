"""Features of SqueezeNet 1.0 that was trained on ImageNet, from the file of compressed weights that its authors gave.

Iandola et al., SqueezeNet: AlexNet-level Accuracy with 50x Fewer Parameters (2016): figure 2 and table 1 are the
network, and section 4.2 its compression as in Han et al., Deep Compression (2016). The file, little-endian, of 0.66 MB:

- for each of the 26 convolutions in order, uint32: how many weights are kept, m;
- then for each its codebook of 256 values, float32; its biases, float32; m codes, uint8, which are positions in the
  codebook; and m gaps of 4 bits, the first of a byte in its lower half: how many weights lie between this one and the
  one that was kept before. A longer way goes over kept weights of code 0, whose value is 0.

Weights are counted in the order [out, in, height, width]. The features are the means over space of the last module's
maps; Caffe's reader gave the network blue, green and red less their means over ImageNet, of pixels from 0 to 255.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gen_models.features._layers import Layer, convolution, file_digest, max_pool
from gen_models.features.extractor import NetworkExtractor

SIZE = 227  # of the images' sides
_MEAN = (104.0, 117.0, 123.0)  # blue, green and red
_POOLED = (4, 8)  # modules that pooling follows


class Convolution(NamedTuple):
    """A convolution's name and sizes."""

    name: str
    outputs: int
    inputs: int
    window: int


def convolutions(
    first: int = 96, squeezed: Sequence[int] = (16, 16, 32, 32, 48, 48, 64, 64), num_classes: int = 1000
) -> tuple[Convolution, ...]:
    """The network's convolutions in the file's order; those of SqueezeNet 1.0, unless other sizes are given.

    Args:
      first: channels of the first convolution.
      squeezed: channels to which the modules fire2, fire3, ... squeeze; each expands to four times as many by windows
        of 1x1, and to as many by windows of 3x3.
      num_classes: channels of the last convolution.
    """
    found, inputs = [Convolution("conv1", first, 3, 7)], first
    for number, width in enumerate(squeezed, 2):
        found += [
            Convolution(f"fire{number}/conv1x1_1", width, inputs, 1),
            Convolution(f"fire{number}/conv1x1_2", 4 * width, width, 1),
            Convolution(f"fire{number}/conv3x3_2", 4 * width, width, 3),
        ]
        inputs = 8 * width
    return (*found, Convolution("conv_final", num_classes, inputs, 1))


def squeezenet_features(path: str | Path, *, at_once: int = 32) -> NetworkExtractor:
    """The extractor of the file `compressed_SqueezeNet.net`, whose figures are called `fd_squeezenet` and the like.

    Images of other sizes are resized by bilinear interpolation, with antialiasing where they become smaller.

    Args:
      path: the file.
      at_once: images that are taken at a time.

    Raises:
      OSError: it cannot be read.
      ValueError: it is no such file.
    """
    params = read_compressed(path)
    weights = file_digest(path)[:12]
    shape = (SIZE, SIZE, 3)
    return NetworkExtractor("squeezenet", forward, params, shape, resizing="bilinear", weights=weights, at_once=at_once)


def read_compressed(path: str | Path, layers: Sequence[Convolution] | None = None) -> dict[str, dict[str, np.ndarray]]:
    """The weights of a compressed file, by the convolutions' names; see the module's docstring.

    Args:
      path: the file.
      layers: which convolutions it holds; None: those of SqueezeNet 1.0.

    Raises:
      OSError: it cannot be read.
      ValueError: it holds less or more than these, or weights that lie outside of their convolution.
    """
    layers = convolutions() if layers is None else layers
    content = Path(path).read_bytes()
    counts = np.frombuffer(content[: min(4 * len(layers), len(content) // 4 * 4)], "<u4").astype(int)
    sizes = [4 * (256 + layer.outputs) + m + -(-m // 2) for layer, m in zip(layers, counts, strict=False)]
    if len(counts) != len(layers) or len(content) != 4 * len(layers) + sum(sizes):
        raise ValueError(f"{path} has {len(content):,} bytes, which are no compressed weights of {len(layers)} layers")
    found, start = {}, 4 * len(layers)
    for layer, m, size in zip(layers, counts, sizes, strict=True):
        found[layer.name] = _decoded(content[start : start + size], layer, int(m), path)
        start += size
    return found


def _decoded(content: bytes, layer: Convolution, kept: int, path: str | Path) -> dict[str, np.ndarray]:
    """A convolution's kernel [height, width, in, out] and bias."""
    values = np.frombuffer(content[: 4 * (256 + layer.outputs)], "<f4")
    codebook, bias = values[:256], values[256:]
    rest = np.frombuffer(content[values.nbytes :], np.uint8)
    codes, packed = rest[:kept], rest[kept:]
    gaps = np.stack([packed % 16, packed // 16], 1).ravel()[:kept].astype(int)
    at = np.cumsum(gaps + 1) - 1
    shape = (layer.outputs, layer.inputs, layer.window, layer.window)
    if kept and at[-1] >= math.prod(shape):
        raise ValueError(f"{path} is damaged: its weights lie beyond the {math.prod(shape):,} of {layer.name}")
    if not np.isfinite(values).all():
        raise ValueError(f"{path} is damaged: values of {layer.name} are NaN or infinite")
    kernel = np.full(math.prod(shape), codebook[0], np.float32)
    kernel[at] = codebook[codes]
    return {
        "kernel": np.ascontiguousarray(kernel.reshape(shape).transpose(2, 3, 1, 0)),
        "bias": bias.astype(np.float32),
    }


def forward(
    params: Mapping[str, Layer], images: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b d"], Float[Array, "b k"]]:
    """Features and class probabilities of images in [0, 1], red, green and blue.

    Args:
      params: as `read_compressed` gives them; their sizes are the network's.
      images: of 227x227 for the trained network.
    """
    x = 255.0 * images[..., ::-1] - jnp.asarray(_MEAN, images.dtype)
    x = max_pool(jax.nn.relu(convolution(x, params["conv1"], 2)), 2)
    for number in range(2, 2 + (len(params) - 2) // 3):
        x = _module(x, number, params)
        if number in _POOLED:
            x = max_pool(x, 2)
    logits = jax.nn.relu(convolution(x, params["conv_final"], padding=((1, 1), (1, 1)))).mean((1, 2))
    return x.mean((1, 2)), jax.nn.softmax(logits)


def _module(x: Any, number: int, params: Mapping[str, Layer]) -> Any:
    """A fire module: squeeze, then expand by two kinds of windows side by side."""
    squeezed, near, wide = (params[f"fire{number}/{name}"] for name in ("conv1x1_1", "conv1x1_2", "conv3x3_2"))
    x = jax.nn.relu(convolution(x, squeezed))
    return jax.nn.relu(jnp.concatenate([convolution(x, near), convolution(x, wide, padding="SAME")], -1))
