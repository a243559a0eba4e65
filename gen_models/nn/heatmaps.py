"""Heatmaps with a peak at the middle of each object: targets, the focal loss, and peaks found again.

Zhou et al., Objects as Points (2019), section 3. A map of stride s has a cell for each s by s pixels and a channel for
each class. The cell that holds the middle of an object's box is 1 in the channel of its class, and its neighbours fall
off as a Gaussian, of objects of one class the larger value. The loss is their equation 1, a focal loss (Lin et al.,
Focal Loss, 2017) that asks little of cells near a peak: with p = sigmoid(logits) and Y the target,

    -1 / N sum of  (1 - p)^2 log p                  where Y = 1
                   (1 - Y)^4 p^2 log(1 - p)         elsewhere

where N is the number of peaks, which is that of the objects unless two of one class have their middles in one cell.
Differs from the paper: the Gaussian's deviation is the eighth of a box's sides, each along its own axis, in place of
one radius from an overlap; and N is that of each image, so that images weigh alike.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

WIDTH = 1 / 8  # of a box's sides: the deviation of its peak


def centre_cells(boxes: Float[Array, "b m 4"], size: tuple[int, int], stride: int) -> Int[Array, "b m 2"]:
    """Line and column of the cell that holds the middle of each box."""
    across, down = (boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2
    cells = jnp.floor(jnp.stack([down, across], -1) / stride).astype(jnp.int32)
    return jnp.clip(cells, 0, jnp.array(size) - 1)


def peaks_of_boxes(
    boxes: Float[Array, "b m 4"],
    classes: Int[Array, "b m"],
    present: Bool[Array, "b m"],
    size: tuple[int, int],
    stride: int,
    num_classes: int,
) -> Float[Array, "b h w k"]:
    """The target of a heatmap of that size (lines, columns)."""
    cells = centre_cells(boxes, size, stride)
    lines, columns = jnp.arange(size[0]), jnp.arange(size[1])
    sides = jnp.maximum(jnp.stack([boxes[..., 3] - boxes[..., 1], boxes[..., 2] - boxes[..., 0]], -1), 1e-3) / stride
    deviation = jnp.maximum(WIDTH * sides, 1e-3)
    fall = [
        jnp.exp(-0.5 * ((axis - cells[..., i, None]) / deviation[..., i, None]) ** 2)
        for i, axis in enumerate((lines, columns))
    ]
    each = fall[0][..., :, None] * fall[1][..., None, :] * present[..., None, None]  # [B, M, H, W]
    own = jax.nn.one_hot(classes, num_classes, dtype=each.dtype)  # zeros for -1
    return (each[..., None] * own[:, :, None, None]).max(1, initial=0)  # 0 too where M is 0


def focal_loss(logits: Float[Array, "b h w k"], target: Float[Array, "b h w k"]) -> Float[Array, "b"]:
    """Equation 1 of Zhou et al. for each image; without peaks N is 1."""
    p, log_p, log_not = jax.nn.sigmoid(logits), jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    peak = target == 1
    terms = jnp.where(peak, (1 - p) ** 2 * log_p, (1 - target) ** 4 * p**2 * log_not)
    space = (1, 2, 3)
    return -terms.sum(space) / jnp.maximum(peak.sum(space, dtype=terms.dtype), 1)


def found_peaks(
    heat: Float[Array, "b h w k"], count: int
) -> tuple[Float[Array, "b n"], Int[Array, "b n"], Int[Array, "b n"], Int[Array, "b n"]]:
    """The `count` highest cells that no neighbour in their channel exceeds: values, lines, columns, classes.

    Raises:
      ValueError: the map has fewer cells.
    """
    _, lines, columns, classes = heat.shape
    if not 1 <= count <= lines * columns * classes:
        raise ValueError(f"count must be 1 to {lines * columns * classes}, the cells of a map, got {count}")
    highest = nn.max_pool(heat, (3, 3), padding="SAME")
    values, at = jax.lax.top_k(jnp.where(heat == highest, heat, 0).reshape(len(heat), -1), count)
    line, rest = at // (columns * classes), at % (columns * classes)
    return values, line, rest // classes, rest % classes
