"""A single-stage detector without anchors: a heatmap of middles for each class, and at each cell a box.

After Zhou et al., Objects as Points (2019), CenterNet, whose heatmap and loss are in `gen_models/nn/heatmaps.py`.
Boxes are those of Tian et al., FCOS (2019): of a cell whose middle is (a, b), distances l, t, r, d > 0 give the box (a
- l, b - t, a + r, b + d). They are s softplus(f), s the stride, and are trained at the cells that hold the middle of
an object, by 1 minus the generalised intersection over union with its box, a mean over an image's objects.

The network is convolutions with norm and relu, each halving where its stride is 2, and two heads of one 3x3
convolution and a 1x1 one. Of the cells that no neighbour exceeds the surest few are what is found; of those of one
class that overlap by more than a threshold only the surest stays, which CenterNet leaves out.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.core import Model
from gen_models.models.inputs import field, images, known
from gen_models.models.sizes import check_each, check_numbers, check_sizes
from gen_models.nn.batch_norm import of_one_batch
from gen_models.nn.blocks import Norm
from gen_models.nn.boxes import generalised_iou, surest_boxes
from gen_models.nn.conv import Conv
from gen_models.nn.heatmaps import centre_cells, focal_loss, found_peaks, peaks_of_boxes

START = 0.05  # what the heatmap begins as: nearly all of it must be 0 (Lin et al. 2017, section 3.3)


class Detections(NamedTuple):
    """What is found in each of B images, the surest first but for those of score 0, which are nothing."""

    boxes: Float[Array, "b n 4"]  # left, top, right, bottom in pixels
    scores: Float[Array, "b n"]  # from 0 to 1
    classes: Int[Array, "b n"]


def detector(
    shape: Sequence[int],
    num_classes: int,
    *,
    channels: Sequence[int] = (16, 32, 64, 64),
    strides: Sequence[int] = (1, 2, 2, 1),
    head: int = 32,
    found: int = 20,
    overlap: float = 0.5,
    box_weight: float | Array = 1.0,
    momentum: float = 0.9,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A detector of objects in images [B, H, W, C].

    Its functions:
      loss: the focal loss plus `box_weight` times the boxes' loss, means over images. Reads `batch["x"]`, `"boxes"` [B,
        M, 4], `"classes"` [B, M] and `"count"` [B], of the objects' number; what is behind it is not read. Metrics:
        "focal_loss" and "box_loss".
      apply(params, stats, x): `Detections`; with `maps=True` the logits of the heatmap, [B, h, w, K], and the box of
        each cell, [B, h, w, 4].

    Args:
      shape: (height, width, channels) of one image; the product of the strides must divide its sides.
      num_classes: K; classes are integers in [0, K).
      channels: of each convolution.
      strides: of each convolution; the heatmap's is their product.
      head: channels of each head's 3x3 convolution.
      found: detections of an image, at most.
      overlap: intersection over union above which the less sure of two boxes of one class is left out.
      box_weight: of the boxes' loss; may be traced.
      momentum: weight of the past in batch norm's running averages.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, lengths differ, the strides do not divide the image, more is to be found than
        there are cells, or a number is out of range; a batch whose fields have other shapes or,
        outside of `jit`, a class that is none of `num_classes`.
    """
    check_sizes(shape=shape, num_classes=num_classes, head=head, found=found)
    check_each(channels=channels, strides=strides)
    check_numbers(box_weight=box_weight)
    if not channels or len(channels) != len(strides):
        raise ValueError(f"channels and strides must be one or more sizes, of one length, got {channels=}, {strides=}")
    if not 0 <= momentum < 1 or not 0 <= overlap <= 1:
        raise ValueError(f"momentum must be in [0, 1) and overlap in [0, 1], got {momentum} and {overlap}")
    stride = math.prod(strides)
    if shape[0] % stride or shape[1] % stride:
        raise ValueError(f"the strides' product {stride} must divide the image's sides, got {tuple(shape[:2])}")
    size = shape[0] // stride, shape[1] // stride
    if found > size[0] * size[1] * num_classes:
        raise ValueError(f"found={found} is more than the {size[0] * size[1] * num_classes} cells of the heatmap")
    network = _Network(
        channels=tuple(channels),
        strides=tuple(strides),
        head=head,
        num_classes=num_classes,
        momentum=momentum,
        axis_name=axis_name,
        dtype=dtype,
    )
    return _model(network, tuple(shape), num_classes, stride, size, found, overlap, box_weight)


def _model(network, shape, num_classes, stride, size, found, overlap, box_weight) -> Model:
    def init(key, batch):
        images(batch, shape)
        variables = network.init(key, jnp.zeros((1, *shape), jnp.float32), train=False)
        return variables["params"], variables.get("batch_stats", {})

    def maps_of(params, stats, x, train):
        """Heatmap, boxes of all cells, and running averages."""
        variables = {"params": params, "batch_stats": stats}
        if train:
            (heat, raw), updated = network.apply(variables, x, train=True, mutable=["batch_stats"])
            stats = updated.get("batch_stats", stats)
        else:
            heat, raw = network.apply(variables, x, train=False)
        return heat, cell_boxes(stride * jax.nn.softplus(raw), stride), stats

    def apply(params, stats, x: Float[Array, "b h w c"], *, maps: bool = False) -> Any:
        """What is found, in evaluation mode."""
        heat, boxes, _ = maps_of(params, stats, images({"x": x}, shape), False)
        if maps:
            return heat, boxes
        scores, lines, columns, classes = found_peaks(jax.nn.sigmoid(heat), found)
        chosen = jax.vmap(lambda own, line, column: own[line, column])(boxes, lines, columns)
        kept = jax.vmap(partial(surest_boxes, threshold=overlap))(chosen, scores, classes)
        return Detections(chosen, jnp.where(kept, scores, 0), classes)

    def loss(params, stats, batch, key, *, step, train=True):
        """The focal loss of the heatmap plus the boxes' loss."""
        x = images(batch, shape)
        boxes, classes, present = _objects(batch, len(x), num_classes)
        heat, all_boxes, stats = maps_of(params, stats, x, train)
        focal = focal_loss(heat, peaks_of_boxes(boxes, classes, present, size, stride, num_classes))
        cells = centre_cells(boxes, size, stride)
        own = jax.vmap(lambda each, at: each[at[:, 0], at[:, 1]])(all_boxes, cells)  # [B, M, 4]
        apart = jnp.where(present, 1 - generalised_iou(own, boxes), 0)
        of_boxes = apart.sum(1) / jnp.maximum(present.sum(1), 1)
        metrics = {"focal_loss": focal.mean(), "box_loss": of_boxes.mean()}
        return metrics["focal_loss"] + box_weight * metrics["box_loss"], (stats, metrics)

    def batch_stats(params, stats, batch, key):
        """Batch norm's means and variances of this batch."""
        return of_one_batch(lambda stats: maps_of(params, stats, images(batch, shape), True)[2], stats)

    return Model(init, loss, apply=apply, batch_stats=batch_stats)


def _objects(batch: Any, n: int, num_classes: int) -> tuple[Array, Array, Array]:
    """Boxes float32 [B, M, 4], classes [B, M], and whether each is an object."""
    remedy = "data of `item_scene_splits`, or of `boxes:PATH`, have boxes, classes and count"
    boxes, classes, count = (field(batch, name, remedy) for name in ("boxes", "classes", "count"))
    if boxes.ndim != 3 or boxes.shape[0] != n or boxes.shape[2] != 4:
        raise ValueError(f"'boxes' must be [{n}, M, 4], got {list(boxes.shape)}")
    if classes.shape != boxes.shape[:2] or count.shape != (n,):
        shapes = f"{list(classes.shape)} and {list(count.shape)}"
        raise ValueError(f"'classes' and 'count' must be {list(boxes.shape[:2])} and [{n}], got {shapes}")
    present = jnp.arange(boxes.shape[1]) < jnp.asarray(count)[:, None]
    if known(classes) and known(present):
        told = jnp.where(present, jnp.asarray(classes), 0)
        if told.size and not bool(((told >= 0) & (told < num_classes)).all()):
            raise ValueError(f"'classes' must be 0 to {num_classes - 1}, got {told.min()} to {told.max()}")
    return jnp.asarray(boxes, jnp.float32), jnp.asarray(classes, jnp.int32), present


def cell_boxes(distances: Float[Array, "b h w 4"], stride: int) -> Float[Array, "b h w 4"]:
    """The boxes with these distances (left, top, right, bottom) from the middles of the cells."""
    lines, columns = (stride * (jnp.arange(size) + 0.5) for size in distances.shape[1:3])
    left, top, right, bottom = jnp.moveaxis(distances, -1, 0)
    across, down = columns[None, None], lines[None, :, None]
    return jnp.stack([across - left, down - top, across + right, down + bottom], -1)


class _Network(nn.Module, kw_only=True):
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    head: int
    num_classes: int
    momentum: float
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, train):  # [B, H, W, C] -> [B, h, w, K], [B, h, w, 4]
        h = x
        for index, (width, stride) in enumerate(zip(self.channels, self.strides, strict=True)):
            h = self._layer(h, width, stride, train, f"{index}")
        start = nn.initializers.constant(math.log(START / (1 - START)))
        found = []
        for name, outputs, bias in (("heat", self.num_classes, start), ("box", 4, nn.initializers.constant(2.0))):
            y = self._layer(h, self.head, 1, train, name)
            last = Conv(outputs, (1, 1), bias_init=bias, dtype=self.dtype, name=f"{name}_out")
            found.append(last(y).astype(jnp.float32))
        return tuple(found)

    def _layer(self, h, width, stride, train, name):
        """A convolution, its norm and relu."""
        start = nn.initializers.he_normal()
        conv = Conv(
            width, (3, 3), strides=stride, use_bias=False, kernel_init=start, dtype=self.dtype, name=f"conv_{name}"
        )
        norm = Norm("batch", 1, self.momentum, self.axis_name, dtype=self.dtype, name=f"norm_{name}")
        return nn.relu(norm(conv(h), train))
