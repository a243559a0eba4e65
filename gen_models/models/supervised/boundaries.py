"""A U-Net that says of each pixel whether an object's boundary runs through it.

The loss is the class-balanced cross-entropy of Xie and Tu, Holistically-Nested Edge Detection (2015), equation 2, with
s the share of annotators who marked a pixel in place of 0 or 1, f its logit and beta the mean of 1 - s over an image:

    -(beta s log sigma(f) + (1 - beta) (1 - s) log sigma(-f))

Few pixels are boundaries, and without the weights a network that finds none does well. With whole labels the loss is
theirs, a mean over pixels in place of their sum. Differs from the paper: the network is a U-Net from random weights,
where HED is VGG-16, trained on ImageNet, with an output at each of five depths that are averaged.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import field, images_of_any_size, known
from gen_models.models.supervised.unet import unet_layers
from gen_models.nn.batch_norm import of_one_batch


def boundary_cross_entropy(
    logits: Float[Array, "b h w"], share: Float[Array, "b h w"], *, balanced: bool = True
) -> Float[Array, "b"]:
    """Mean over an image's pixels of the class-balanced cross-entropy; see the top of this file.

    Args:
      logits: f.
      share: s, from 0 to 1.
      balanced: False: both weights are 1, and the mean is in nats.
    """
    beta = (1 - share).mean((1, 2), keepdims=True)
    weights = (beta, 1 - beta) if balanced else (1.0, 1.0)
    each = weights[0] * share * jax.nn.softplus(-logits) + weights[1] * (1 - share) * jax.nn.softplus(logits)
    return each.mean((1, 2))


def boundary_unet(
    shape: Sequence[int],
    *,
    channels: Sequence[int] = (16, 32, 64),
    norm: Literal["none", "batch", "layer", "instance", "group"] = "batch",
    groups: int = 4,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of boundaries in images [B, H, W, C] of any size.

    Its loss reads `batch["x"]` and `batch["share"]`, float [B, H, W] in [0, 1]: the class-balanced cross-entropy. The
    metric "cross_entropy" is without weights, in nats. `apply(params, stats, x)` gives logits [B, H, W] in evaluation
    mode. Images whose sides the halvings do not divide are continued by the pixels at their edges, and cut again.

    Args:
      shape: (height, width, channels) of one image; the model takes other sizes too.
      channels: of each level; the image is halved between two.
      norm: behind each 3x3 convolution; see `gen_models.nn.blocks`.
      groups: of group norm.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, an unknown norm, or channels that its groups do not divide; in use, x or the
        shares have another shape, or, outside of `jit`, a share is not from 0 to 1.
    """
    network, halvings = unet_layers(
        shape, 1, channels=channels, norm=norm, groups=groups, momentum=momentum, axis_name=axis_name, dtype=dtype
    )

    def padded(x):
        sides = [(0, -side % halvings) for side in x.shape[1:3]]
        return jnp.pad(x, ((0, 0), *sides, (0, 0)), "edge") if any(more for _, more in sides) else x

    def share_of(batch, x):
        share = field(batch, "share", "the model needs the share of annotators at each pixel, [B, H, W], as 'share'")
        if share.shape != x.shape[:-1] or not jnp.issubdtype(share.dtype, jnp.floating):
            raise ValueError(f"'share' must be float {list(x.shape[:-1])}, got {share.dtype} {list(share.shape)}")
        if known(share) and not bool(((share >= 0) & (share <= 1)).all()):
            raise ValueError(f"'share' must be from 0 to 1, got {share.min()} to {share.max()}")
        return share

    def init(key, batch):
        variables = network.init(key, padded(images_of_any_size(batch, 2, shape[-1]))[:1] * 0, train=False)
        return variables["params"], variables.get("batch_stats", {})

    def logits_of(params, stats, x, train):
        variables = {"params": params, "batch_stats": stats}
        found: Any = network.apply(variables, padded(x), train=train, mutable=["batch_stats"] if train else [])
        logits, updated = found
        return logits[:, : x.shape[1], : x.shape[2], 0], updated.get("batch_stats", stats)

    def apply(params, stats, x: Float[Array, "b h w c"]) -> Float[Array, "b h w"]:
        """Logits in evaluation mode."""
        return logits_of(params, stats, images_of_any_size({"x": x}, 2, shape[-1]), False)[0]

    def loss(params, stats, batch, key, *, step, train=True):
        """The class-balanced cross-entropy."""
        x = images_of_any_size(batch, 2, shape[-1])
        share = share_of(batch, x)
        logits, stats = logits_of(params, stats, x, train)
        nats = boundary_cross_entropy(logits, share, balanced=False).mean()
        return boundary_cross_entropy(logits, share).mean(), (stats, {"cross_entropy": nats})

    def batch_stats(params, stats, batch, key):
        """Batch norm's means and variances of this batch."""
        x = images_of_any_size(batch, 2, shape[-1])
        return of_one_batch(lambda stats: logits_of(params, stats, x, True)[1], stats)

    return Model(init, loss, apply=apply, batch_stats=batch_stats)
