"""What a trained convolutional classifier computes on an image: maps, receptive fields of their units, and saliency."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.core import Model, Params, Stats
from gen_models.nn.conv import Conv


def maps(
    model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b h w c"]
) -> list[Float[Array, "b ..."]]:
    """Outputs of all convolutions, in their order, before norms and activations: [B, H', W', C'] each.

    Raises:
      ValueError: the model has no convolution.
    """
    found: list[Any] = []

    def catch(layer, args, kwargs, context):
        out = layer(*args, **kwargs)
        if context.method_name == "__call__" and isinstance(context.module, Conv | nn.Conv):
            found.append(out)
        return out

    with nn.intercept_methods(catch):
        model.apply(params, stats, x)
    if not found:
        raise ValueError("the model has no convolution, so that there are no maps to look at")
    return found


def receptive_field(
    model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b h w c"], layer: int
) -> np.ndarray:
    """[H, W]: mean size of the gradient of the middle unit of a convolution's map by each pixel, over x and channels.

    Where it is 0 for all images, the unit does not see the pixel (or every path to it is switched off); how fast it
    falls towards the edge is the effective field of Luo et al., Understanding the Effective Receptive Field (2016).
    """

    def middle(x):
        out = maps(model, params, stats, x)[layer]
        return out[:, out.shape[1] // 2, out.shape[2] // 2].sum(0)  # [C']

    slopes = jax.jit(jax.jacrev(middle))(x)  # [C', B, H, W, C]
    return np.asarray(jnp.abs(slopes).mean((0, 1, 4)), np.float64)


def saliency(model: Model, params: Params, stats: Stats, x: Float[Array | np.ndarray, "b h w c"]) -> np.ndarray:
    """[B, H, W]: the largest absolute gradient over channels of the likeliest class's logit by each pixel.

    Simonyan et al., Deep Inside Convolutional Networks (2014), section 3.
    """

    def most(x):
        return model.apply(params, stats, x).max(-1).sum()

    return np.asarray(jnp.abs(jax.jit(jax.grad(most))(x)).max(-1), np.float64)


def shifted(x: Float[np.ndarray, "b h w c"], down: int, right: int) -> Float[np.ndarray, "b h w c"]:
    """Images moved by whole pixels; what comes in from outside is 0.

    Raises:
      ValueError: they are moved out of sight.
    """
    height, width = x.shape[1:3]
    if abs(down) >= height or abs(right) >= width:
        raise ValueError(f"images of {height}x{width} cannot be moved by {down} and {right}: nothing of them is left")
    moved = np.zeros_like(x)
    moved[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = x[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return moved
