"""What segmenters share: cross-entropy of pixels, Dice's loss, and a Linen network as a `Model`.

With p_k a pixel's probability of class k and g_k whether that is its class, the soft Dice coefficient of an image is

    D_k = (2 sum p_k g_k + 1) / (sum p_k + sum g_k + 1)

with sums over its pixels (Milletari et al., V-Net, 2016, section 3, with sums in place of sums of squares as Sudre et
al., 2017; the 1 makes a class that is absent and not predicted count as found). Its loss is 1 - mean over k of D_k.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from gen_models.core import Model
from gen_models.models.inputs import field, images_of_any_size, known
from gen_models.nn.batch_norm import of_one_batch


def pixel_cross_entropy(logits: Float[Array, "b *space k"], mask: Int[Array, "b *space"]) -> Float[Array, "b"]:
    """Mean over an image's pixels of -log softmax(logits) at the class that the mask names, in nats.

    A class that there is not gives NaN.
    """
    fits = (mask >= 0) & (mask < logits.shape[-1])
    log_p = jax.nn.log_softmax(logits)
    of_class = jnp.take_along_axis(log_p, jnp.where(fits, mask, 0)[..., None], -1)[..., 0]
    return -jnp.where(fits, of_class, jnp.nan).mean(tuple(range(1, mask.ndim)))


def dice_loss(logits: Float[Array, "b *space k"], mask: Int[Array, "b *space"]) -> Float[Array, "b"]:
    """1 minus the mean over classes of the soft Dice coefficient of each image, from 0 to 1."""
    space = tuple(range(1, mask.ndim))
    p, g = jax.nn.softmax(logits), jax.nn.one_hot(mask, logits.shape[-1], dtype=logits.dtype)
    coefficient = (2 * (p * g).sum(space) + 1) / (p.sum(space) + g.sum(space) + 1)
    return 1 - coefficient.mean(-1)


def segmenter(
    network: nn.Module, channels: int, num_classes: int, check: Callable[[Any], None], *, dice: float | Array = 1.0
) -> Model:
    """A model of each pixel's class, whose logits are `network(x, train)`, [B, H, W, K] of x float32 [B, H, W, C].

    Its loss reads `batch["x"]` and `batch["mask"]`, integers [B, H, W] in [0, K), where 0 is the background: the mean
    cross-entropy of pixels, plus `dice` times Dice's loss. Metrics: "cross_entropy", "dice_loss" and "accuracy", the
    share of pixels. `apply(params, stats, x)` gives logits in evaluation mode.

    Args:
      network: without sizes of images in it.
      channels: C.
      num_classes: K, with the background.
      check: raises for a shape (H, W, C) that the network does not take.
      dice: weight of Dice's loss; may be traced.

    Raises:
      ValueError: x or a mask has another shape, or, outside of `jit`, a mask has a class that there is not.
    """

    def pictures(batch):
        x = images_of_any_size(batch, 2, channels)
        check(x.shape[1:])
        return x

    def mask_of(batch, x):
        mask = field(batch, "mask", "the model needs a class for each pixel, integers [B, H, W], as 'mask'")
        if mask.shape != x.shape[:-1] or not jnp.issubdtype(mask.dtype, jnp.integer):
            raise ValueError(f"'mask' must be integers {list(x.shape[:-1])}, got {mask.dtype} {list(mask.shape)}")
        mask = jnp.asarray(mask, jnp.int32)
        if known(mask) and not bool(((mask >= 0) & (mask < num_classes)).all()):
            raise ValueError(f"classes of 'mask' must be from 0 to {num_classes - 1}, got {mask.min()} to {mask.max()}")
        return mask

    def init(key, batch):
        variables = network.init(key, pictures(batch)[:1] * 0, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def apply(params, stats, x: Float[Array, "b h w c"]) -> Float[Array, "b h w k"]:
        """Logits in evaluation mode."""
        found: Any = network.apply({"params": params, "batch_stats": stats}, pictures({"x": x}), train=False)
        return found

    def trained(params, stats, x):
        variables = {"params": params, "batch_stats": stats}
        logits, updated = network.apply(variables, x, train=True, mutable=["batch_stats"])
        return logits, updated.get("batch_stats", stats)

    def loss(params, stats, batch, key, *, step, train=True):
        """Cross-entropy plus `dice` times Dice's loss."""
        x = pictures(batch)
        mask = mask_of(batch, x)
        if train:
            logits, stats = trained(params, stats, x)
        else:
            logits = apply(params, stats, x)
        nats, overlap = pixel_cross_entropy(logits, mask).mean(), dice_loss(logits, mask).mean()
        right = jnp.where(jnp.isnan(logits).any(-1), jnp.nan, logits.argmax(-1) == mask)
        accuracy = right.mean(dtype=jnp.float32)
        return nats + dice * overlap, (stats, {"cross_entropy": nats, "dice_loss": overlap, "accuracy": accuracy})

    def batch_stats(params, stats, batch, key):
        """Batch norm's means and variances of this batch."""
        return of_one_batch(lambda stats: trained(params, stats, pictures(batch))[1], stats)

    return Model(init, loss, apply=apply, batch_stats=batch_stats)
