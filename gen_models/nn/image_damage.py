"""Damage of whole images, for models that restore them: pure functions `(x, key) -> x` of batches [B, H, W, C].

They stand beside the damage of single numbers (`gen_models/nn/corruptions.py`) and are of the same type.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gen_models.core import Key
from gen_models.nn.corruptions import Corruption


def missing_square(side: int, value: float = 0.5) -> Corruption:
    """One value in place of a square of each image, at a place that is drawn evenly (Pathak et al. 2016, section 3.3).

    Args:
      side: of the square, in pixels.
      value: what stands there.

    Raises:
      ValueError: the side is below 1; when called, it is larger than the image.
    """
    if side < 1:
        raise ValueError(f"the side of a missing square must be 1 or more, got {side}")

    def corrupt(x: Float[Array, "b h w c"], key: Key) -> Float[Array, "b h w c"]:
        count, height, width, _ = x.shape
        if side > min(height, width):
            raise ValueError(f"a square of {side} pixels does not fit into images of {height}x{width}: make it smaller")
        rows, columns = jax.random.split(key)
        down = _within(jax.random.randint(rows, (count, 1), 0, height - side + 1), height)
        across = _within(jax.random.randint(columns, (count, 1), 0, width - side + 1), width)
        return jnp.where((down[:, :, None] & across[:, None, :])[..., None], jnp.asarray(value, x.dtype), x)

    def _within(first: Array, size: int) -> Bool[Array, "b size"]:
        position = jnp.arange(size)
        return (position >= first) & (position < first + side)

    return corrupt


def coarse(factor: int = 2) -> Corruption:
    """The mean of each block of `factor` by `factor` pixels in place of all of them: what fewer pixels would show.

    Raises:
      ValueError: the factor is below 2; when called, it does not divide the image's sides.
    """
    if factor < 2:
        raise ValueError(f"factor must be 2 or more, got {factor}")

    def corrupt(x: Float[Array, "b h w c"], key: Key) -> Float[Array, "b h w c"]:
        count, height, width, channels = x.shape
        if height % factor or width % factor:
            raise ValueError(f"factor={factor} does not divide the sides of images of {height}x{width}: give another")
        blocks = x.reshape(count, height // factor, factor, width // factor, factor, channels)
        return blocks.mean((2, 4)).repeat(factor, 1).repeat(factor, 2)

    return corrupt
