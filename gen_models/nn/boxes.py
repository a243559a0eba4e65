"""Boxes around objects: overlaps, and of overlapping ones the surest, in programs whose shapes are fixed.

A box is left, top, right, bottom, [..., 4], as in `gen_models/data/boxes.py`. With I what two share and U what either
covers, their intersection over union is I / U; with C the smallest box around both, the generalised one is I / U - (C -
U) / C, which has a slope where they are apart (Rezatofighi et al., Generalized Intersection over Union, 2019, algorithm
1). A box whose right is left of its left, or bottom above its top, is empty.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

_SMALL = 1e-9  # instead of areas of 0, over which is divided


def box_area(box: Float[Array, "*n 4"]) -> Float[Array, "*n"]:
    """The area of each box, 0 where it is empty."""
    left, top, right, bottom = jnp.moveaxis(box, -1, 0)
    return jnp.maximum(right - left, 0) * jnp.maximum(bottom - top, 0)


def box_iou(a: Float[Array, "*n 4"], b: Float[Array, "*m 4"]) -> Float[Array, "*broadcast"]:
    """Intersection over union of boxes, whose leading axes broadcast: of all pairs `box_iou(a[:, None], b[None])`.

    It is 0 for two empty ones.
    """
    shared, union = _shared_and_union(a, b)
    return shared / jnp.maximum(union, _SMALL)


def generalised_iou(a: Float[Array, "*n 4"], b: Float[Array, "*m 4"]) -> Float[Array, "*broadcast"]:
    """Generalised intersection over union, from -1 to 1; see the top of this file."""
    shared, union = _shared_and_union(a, b)
    around = box_area(jnp.concatenate([jnp.minimum(a, b)[..., :2], jnp.maximum(a, b)[..., 2:]], -1))
    around = jnp.maximum(around, _SMALL)
    return shared / jnp.maximum(union, _SMALL) - (around - union) / around


def _shared_and_union(a: Array, b: Array) -> tuple[Array, Array]:
    shared = box_area(jnp.concatenate([jnp.maximum(a, b)[..., :2], jnp.minimum(a, b)[..., 2:]], -1))
    return shared, box_area(a) + box_area(b) - shared


def surest_boxes(
    boxes: Float[Array, "n 4"], scores: Float[Array, "n"], classes: Int[Array, "n"], threshold: float = 0.5
) -> Bool[Array, "n"]:
    """Which boxes are kept by greedy suppression (non-maximum suppression) within each class.

    From the highest score down, a box is kept unless one of its class that was kept overlaps it by more than
    `threshold`. Of equal scores the earlier box comes first.
    """
    if not len(scores):
        return jnp.zeros(0, bool)
    order = jnp.argsort(-scores, stable=True)
    ordered, own = boxes[order], classes[order]
    rivals = (box_iou(ordered[:, None], ordered[None]) > threshold) & (own[:, None] == own[None])

    def next_one(index, kept):
        beaten = rivals[index] & (jnp.arange(len(kept)) > index) & kept[index]
        return kept & ~beaten

    kept = lax.fori_loop(0, len(scores), next_one, jnp.ones(len(scores), bool))
    return jnp.zeros(len(scores), bool).at[order].set(kept)
