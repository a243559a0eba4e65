"""What convolutional networks in one, two or three dimensions put between convolutions: norms and pooling.

With a scale and a bias for each channel, of a map [B, *space, C] mean and variance are taken over (B, *space) by
"batch" (Ioffe & Szegedy, 2015), over (*space, C) of each example by "layer" (Ba et al., 2016, as Wu & He draw it in
figure 2), over *space by "instance" (Ulyanov et al., 2016), over *space and the channels of a group by "group" (Wu &
He, Group Normalization, 2018, eq. 1). All but "batch" do the same in training and in evaluation.
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.errors import unknown

NORMS = ("none", "batch", "layer", "instance", "group")
POOLINGS = ("max", "average")


class Norm(nn.Module):
    """A norm of that kind, of `NORMS`; "none" gives its input."""

    kind: str = "batch"
    groups: int = 4  # for "group" alone
    momentum: float = 0.9  # weight of the past in batch norm's running averages
    axis_name: str | None = None  # mapped axis over which batch norm's statistics are averaged as well
    zero: bool = False  # whether its scale starts at 0, so that a residual branch begins as nothing
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], train: bool) -> Float[Array, "b *space c"]:
        """The normalised x; statistics of the batch where `train`."""
        if self.kind not in NORMS:
            raise unknown("norm", self.kind, NORMS)
        if self.kind == "none":
            return x
        start = nn.initializers.zeros if self.zero else nn.initializers.ones
        if self.kind == "batch":
            norm = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.momentum,
                axis_name=self.axis_name,
                scale_init=start,
                dtype=self.dtype,
                name="norm",
            )
            return norm(x)
        groups = {"layer": 1, "instance": x.shape[-1], "group": self.groups}[self.kind]
        return nn.GroupNorm(groups, epsilon=1e-5, scale_init=start, dtype=self.dtype, name="norm")(x)


def pool(x: Float[Array, "b *space c"], kind: str, window: int = 2) -> Float[Array, "b *out c"]:
    """The largest or the mean of each block of `window` elements in each dimension; a rest at the end is left out.

    Raises:
      ValueError: an unknown kind, or a window that is not positive or larger than the image.
    """
    if kind not in POOLINGS:
        raise unknown("pooling", kind, POOLINGS)
    if window < 1:
        raise ValueError(f"window must be 1 or more, got {window}")
    if min(x.shape[1:-1]) < window:
        raise ValueError(f"a window of {window} does not fit x {x.shape}: pool fewer times, or take larger images")
    # As blocks, whose gradient XLA:CPU makes a loop of; it has no fast form for that of a window's maximum.
    space = x.ndim - 2
    kept = [size // window for size in x.shape[1:-1]]
    x = x[(slice(None), *(slice(0, size * window) for size in kept))]
    x = x.reshape(x.shape[0], *(n for size in kept for n in (size, window)), x.shape[-1])
    within = tuple(2 + 2 * i for i in range(space))
    return x.max(within) if kind == "max" else x.mean(within)


def pooled(x: Float[Array, "b *space c"], kind: str = "average") -> Float[Array, "b c"]:
    """The largest or the mean over all of space, float32.

    Raises:
      ValueError: an unknown kind.
    """
    if kind not in POOLINGS:
        raise unknown("pooling", kind, POOLINGS)
    space = tuple(range(1, x.ndim - 1))
    return x.max(space).astype(jnp.float32) if kind == "max" else x.mean(space, dtype=jnp.float32)
