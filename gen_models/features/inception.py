"""Features of the Inception network of the FID, of the file of its weights for PyTorch, by which the hash is checked.

Szegedy et al., Rethinking the Inception Architecture for Computer Vision (2016), table 1 and figures 5 to 7, is the
network. Heusel et al., GANs Trained by a Two Time-Scale Update Rule (2017), take the 2,048 means over space of its last
module, of weights that came with TensorFlow in 2015, which pt_inception-2015-12-05-6726825d.pth of the project
pytorch-fid holds. These differ from the paper's network as that code does: the mean in a module's pooling is over what
lies inside of the image, and the last module pools by the largest value.

Images become 299x299 by bilinear interpolation without antialiasing, as in pytorch-fid; with another way to resize
there would be other figures. Probabilities are those of 1,008 outputs without their biases: the code of the Inception
score (Salimans et al., 2016) takes the product with the weights alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gen_models.features._layers import Padding, convolution, file_digest, max_pool, mean_pool, with_norm
from gen_models.features.extractor import NetworkExtractor
from gen_models.features.torch_files import read_tensors

SIZE = 299  # of the images' sides
DIGEST = "6726825d"  # with which the SHA-256 of the original file begins, as its name says
_EPSILON = 1e-3  # of batch norm
_SAME = ((1, 1), (1, 1))


def inception_features(path: str | Path, *, at_once: int = 32) -> NetworkExtractor:
    """The extractor whose figures are called FID, KID and Inception score.

    Args:
      path: of pt_inception-2015-12-05-6726825d.pth.
      at_once: images that are taken at a time.

    Raises:
      OSError: the file cannot be read.
      ValueError: it is another one: then no figure may have these names.
    """
    found = file_digest(path)
    if not found.startswith(DIGEST):
        raise ValueError(
            f"{path} has the SHA-256 {found[:12]}..., and the original weights' begins with {DIGEST}: what is measured "
            "with others is no FID; fetch pt_inception-2015-12-05-6726825d.pth of pytorch-fid"
        )
    shape, params = (SIZE, SIZE, 3), weights_of(read_tensors(path))
    way = "bilinear without antialiasing"
    return NetworkExtractor("inception", forward, params, shape, resizing=way, weights=found[:12], at_once=at_once)


def weights_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The network's weights of a file's tensors, by its names, each batch norm with its convolution.

    Raises:
      ValueError: one is missing.
    """
    layers = [name.removesuffix(".conv.weight") for name in tensors if name.endswith(".conv.weight")]
    try:
        found: dict[str, Any] = {name: with_norm(tensors, f"{name}.conv", f"{name}.bn", _EPSILON) for name in layers}
        found["logits"] = tensors["fc.weight"].T
        jax.eval_shape(forward, found, jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32))  # looks for all names
    except KeyError as error:
        raise ValueError(f"these are no weights of the Inception network: they have no {error.args[0]!r}") from error
    return found


def forward(
    params: Mapping[str, Any], images: Float[Array, "b h w 3"]
) -> tuple[Float[Array, "b d"], Float[Array, "b k"]]:
    """Features and class probabilities of images in [0, 1], red, green and blue.

    Args:
      params: as `weights_of` gives them; their sizes are the network's.
      images: of 299x299 for the trained network.
    """
    x = _layer(2.0 * images - 1.0, params, "Conv2d_1a_3x3", 2)
    x = _layer(_layer(x, params, "Conv2d_2a_3x3"), params, "Conv2d_2b_3x3", padding="SAME")
    x = _layer(_layer(max_pool(x, 2), params, "Conv2d_3b_1x1"), params, "Conv2d_4a_3x3")
    x = max_pool(x, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        x = _of_35(x, params, name)
    x = _to_17(x, params, "Mixed_6a")
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        x = _of_17(x, params, name)
    x = _to_8(x, params, "Mixed_7a")
    x = _of_8(x, mean_pool(x), params, "Mixed_7b")
    features = _of_8(x, max_pool(x, 1, _SAME), params, "Mixed_7c").mean((1, 2))
    return features, jax.nn.softmax(features @ params["logits"])


def _layer(
    x: jax.Array, params: Mapping[str, Any], name: str, stride: int = 1, padding: Padding = "VALID"
) -> jax.Array:
    return jax.nn.relu(convolution(x, params[name], stride, padding))


def _chain(x: jax.Array, params: Mapping[str, Any], *names: str) -> jax.Array:
    """Layers behind one another that leave a map's size as it is."""
    for name in names:
        x = _layer(x, params, name, padding="SAME")
    return x


def _of_35(x: jax.Array, params: Mapping[str, Any], m: str) -> jax.Array:
    """A module of maps of 35x35 (figure 5), with a window of 5x5 for one of its two of 3x3."""
    branches = [
        _chain(x, params, f"{m}.branch1x1"),
        _chain(x, params, f"{m}.branch5x5_1", f"{m}.branch5x5_2"),
        _chain(x, params, *(f"{m}.branch3x3dbl_{i}" for i in (1, 2, 3))),
        _chain(mean_pool(x), params, f"{m}.branch_pool"),
    ]
    return jnp.concatenate(branches, -1)


def _to_17(x: jax.Array, params: Mapping[str, Any], m: str) -> jax.Array:
    """From maps of 35x35 to those of 17x17 (figure 10)."""
    double = _chain(x, params, f"{m}.branch3x3dbl_1", f"{m}.branch3x3dbl_2")
    branches = [
        _layer(x, params, f"{m}.branch3x3", 2),
        _layer(double, params, f"{m}.branch3x3dbl_3", 2),
        max_pool(x, 2),
    ]
    return jnp.concatenate(branches, -1)


def _of_17(x: jax.Array, params: Mapping[str, Any], m: str) -> jax.Array:
    """A module of maps of 17x17, whose windows are 1x7 and 7x1 (figure 6)."""
    branches = [
        _chain(x, params, f"{m}.branch1x1"),
        _chain(x, params, *(f"{m}.branch7x7_{i}" for i in (1, 2, 3))),
        _chain(x, params, *(f"{m}.branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
        _chain(mean_pool(x), params, f"{m}.branch_pool"),
    ]
    return jnp.concatenate(branches, -1)


def _to_8(x: jax.Array, params: Mapping[str, Any], m: str) -> jax.Array:
    """From maps of 17x17 to those of 8x8."""
    seven = _chain(x, params, *(f"{m}.branch7x7x3_{i}" for i in (1, 2, 3)))
    branches = [
        _layer(_chain(x, params, f"{m}.branch3x3_1"), params, f"{m}.branch3x3_2", 2),
        _layer(seven, params, f"{m}.branch7x7x3_4", 2),
        max_pool(x, 2),
    ]
    return jnp.concatenate(branches, -1)


def _of_8(x: jax.Array, pooled: jax.Array, params: Mapping[str, Any], m: str) -> jax.Array:
    """A module of maps of 8x8, whose windows of 1x3 and 3x1 lie side by side (figure 7)."""
    three = _chain(x, params, f"{m}.branch3x3_1")
    double = _chain(x, params, f"{m}.branch3x3dbl_1", f"{m}.branch3x3dbl_2")
    branches = [
        _chain(x, params, f"{m}.branch1x1"),
        *(_chain(three, params, f"{m}.branch3x3_2{each}") for each in "ab"),
        *(_chain(double, params, f"{m}.branch3x3dbl_3{each}") for each in "ab"),
        _chain(pooled, params, f"{m}.branch_pool"),
    ]
    return jnp.concatenate(branches, -1)
