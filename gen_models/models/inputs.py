"""What a model reads from a batch or from a call of its sampler, checked against what it was built for."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def images(batch: Mapping[str, Array], shape: Sequence[int]) -> Float[Array, "b *shape"]:
    """`batch["x"]` as float32: images, or any other arrays of one shape, such as points of the plane.

    Raises:
      ValueError: the batch has no images, or theirs is not the shape that the model was built for.
    """
    if "x" not in batch:
        raise ValueError(f"the batch has no 'x', only {sorted(batch)}: name the model's input 'x'")
    x = batch["x"]
    if x.shape[1:] != tuple(shape):
        raise ValueError(f"the model was built for images of shape {tuple(shape)}, but the batch is {x.shape}")
    return x.astype(jnp.float32)


def within_levels(x: Float[Array, "b h w c"], levels: int) -> Bool[Array, " b"]:
    """Whether each image holds integers from 0 to levels - 1 and nothing else: other images have no probability.

    Raises:
      ValueError: one does not, where the values are known, which is outside of `jit`.
    """
    fits = ((x == jnp.round(x)) & (x >= 0) & (x < levels)).all((1, 2, 3))
    if not isinstance(fits, jax.core.Tracer) and not bool(fits.all()):
        wrong = np.asarray(x)[~np.asarray(fits)]
        raise ValueError(
            f"pixels must be integers from 0 to {levels - 1}, got values from {wrong.min():g} to {wrong.max():g}: "
            "binarise_dynamic, binarise_fixed or quantise(levels) of gen_models.data.transforms make such images"
        )
    return fits


def completion(
    given: Array | None, mask: Array | None, n: int, shape: Sequence[int], levels: int
) -> tuple[Array, Bool[Array, "n h w"]]:
    """What a sampler is given of n images: pixels [n, H, W, C], and which of them count.

    Args:
      given: [n, *shape], or [1, *shape] for all alike; None: nothing.
      mask: [H, W] or [n, H, W], true where a pixel is given.
      n: images.
      shape: (height, width, channels).
      levels: values that a channel takes.

    Raises:
      ValueError: n is below 1, one of `given` and `mask` without the other or of a shape that does not fit, or, outside
        of `jit`, `given` holds where `mask` is true what is no integer from 0 to levels - 1.
    """
    shape = tuple(shape)
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}")
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
    known = jnp.broadcast_to(jnp.asarray(mask, bool), (n, *shape[:2]))
    within_levels(jnp.where(known[..., None], pixels, 0), levels)
    return pixels, known


def seen_of(mask: Array | None, n: int, shape: Sequence[int]) -> Bool[Array, "n h w"] | None:
    """A mask [H, W] or [n, H, W] of pixels, for each of n images; None stays None.

    Raises:
      ValueError: it has another shape.
    """
    if mask is None:
        return None
    if jnp.shape(mask) not in (tuple(shape[:2]), (n, *shape[:2])):
        raise ValueError(f"mask must be {tuple(shape[:2])} or {(n, *shape[:2])}, got {jnp.shape(mask)}")
    return jnp.broadcast_to(jnp.asarray(mask, bool), (n, *shape[:2]))


def check_temperature(temperature: float | Array) -> None:
    """Refuse what no softmax can be divided by.

    Raises:
      ValueError: it is no scalar, or, where its value is known, negative, infinite or NaN.
    """
    if jnp.ndim(temperature) != 0:
        raise ValueError(f"temperature must be one number for all images, got the shape {jnp.shape(temperature)}")
    if not isinstance(temperature, jax.core.Tracer) and not 0 <= float(temperature) < float("inf"):
        raise ValueError(f"temperature must be 0 or more, and finite, got {temperature}")
