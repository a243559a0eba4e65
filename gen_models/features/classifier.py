"""Features of a classifier that was trained on the data themselves: what its last layer reads.

For images that are unlike ImageNet's, as digits are, a network that was trained on such images tells more of them apart
than one of photographs; but its features hold what its classes need, and a difference that no class depends on may be
lost. A distance is no FID: it may be compared with another one of the very same classifier alone, as `weights` tells.
"""

import inspect
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Model, Params, Stats
from gen_models.features.extractor import NetworkExtractor


def classifier_features(
    model: Model,
    params: Params,
    stats: Stats,
    shape: tuple[int, ...],
    *,
    weights: str | None = None,
    at_once: int = 250,
) -> NetworkExtractor:
    """An extractor of the penultimate features and the class probabilities of a classifier, such as `gm.cnn`.

    Args:
      model: its `apply` takes `features=True`, as those of `gen_models.models.supervised` do.
      params: what it was trained to, or their average.
      stats: that it is evaluated with.
      shape: (height, width, channels) of its images, which are in [0, 1]; images of other shapes are refused.
      weights: which these are, for notes; None: the first digits of their hash.
      at_once: images that are taken at a time.

    Raises:
      ValueError: the model gives no features, or the shape is not that of images.
    """
    if not model.has("apply") or "features" not in inspect.signature(model.apply).parameters:
        raise ValueError("the model gives no features, as its `apply` takes no features=True: train a classifier")

    def forward(variables: Any, images: Float[Array, "b h w c"]) -> tuple[Float[Array, "b d"], Float[Array, "b k"]]:
        logits, features = model.apply(*variables, images, features=True)
        return features, jax.nn.softmax(logits.astype(jnp.float32))

    return NetworkExtractor("classifier", forward, (params, stats), shape, weights=weights, at_once=at_once)
