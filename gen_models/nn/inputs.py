"""What a model reads from a batch, checked against what it was built for."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def images(batch: Mapping[str, Array], shape: Sequence[int]) -> Float[Array, "b *shape"]:
    """`batch["image"]` as float32: images, or any other arrays of one shape, such as points of the plane.

    Raises:
      ValueError: the batch has no images, or theirs is not the shape that the model was built for.
    """
    if "image" not in batch:
        raise ValueError(f"the batch has no 'image', only {sorted(batch)}: name the model's input 'image'")
    x = batch["image"]
    if x.shape[1:] != tuple(shape):
        raise ValueError(f"the model was built for images of shape {tuple(shape)}, but the batch is {x.shape}")
    return x.astype(jnp.float32)
