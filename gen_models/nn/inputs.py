"""What a model reads from a batch or from a call of its sampler, checked against what it was built for."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


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


def completion(
    given: Array | None, mask: Array | None, n: int, shape: Sequence[int]
) -> tuple[Array, Bool[Array, "n h w"]]:
    """What a sampler is given of n images: pixels [n, H, W, C], and which of them count.

    Args:
      given: [n, *shape], or [1, *shape] for all alike; None: nothing.
      mask: [H, W] or [n, H, W], true where a pixel is given.
      n: images.
      shape: (height, width, channels).

    Raises:
      ValueError: one of `given` and `mask` without the other, or of a shape that does not fit.
    """
    shape = tuple(shape)
    if (given is None) != (mask is None):
        raise ValueError("given needs mask, and mask needs given: which pixels are known")
    if given is None or mask is None:
        return jnp.zeros((n, *shape)), jnp.zeros((n, *shape[:2]), bool)
    if jnp.shape(given) not in ((n, *shape), (1, *shape)) or jnp.shape(mask) not in (shape[:2], (n, *shape[:2])):
        raise ValueError(
            f"given must be {(n, *shape)} and mask {shape[:2]} or {(n, *shape[:2])}, got {jnp.shape(given)} and "
            f"{jnp.shape(mask)}"
        )
    pixels = jnp.broadcast_to(jnp.asarray(given, jnp.float32), (n, *shape))
    return pixels, jnp.broadcast_to(jnp.asarray(mask, bool), (n, *shape[:2]))


def check_temperature(temperature: float | Array) -> None:
    """Refuse what no softmax can be divided by, where it is a number.

    Raises:
      ValueError: it is negative, infinite or NaN.
    """
    if isinstance(temperature, (int, float)) and not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be 0 or more, and finite, got {temperature}")
