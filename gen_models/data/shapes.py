"""Drawn images whose factors of variation are known: shape, size, rotation and position.

The factors are those of dSprites (Matthey et al., dSprites: Disentanglement testing Sprites dataset, 2017). The
pictures are others, drawn here: grey at the edges instead of binary, of fewer values by default, and all shapes of one
size cover the same area about their centroids, so that neither area nor position tells the shape.

    factor      values                       by default
    shape       square, ellipse, heart       3
    scale       from half of the largest     6
    rotation    of the full turn             20
    x           from left to right           12
    y           from top to bottom           12

All values of a factor are evenly spaced. An image is a pure function of its five indices. The whole grid of them is in
the order of `numpy.ravel_multi_index`, the last factor running fastest, so that `grid_index` finds an image inside of a
compiled program.

Symmetries. A square is itself again after a quarter of a turn and an ellipse after half of one. As dSprites does, this
ignores it: all shapes take the same rotations of the full turn, factors stay independent and uniform, and four squares
or two ellipses are one and the same image, to the last bit. So no code of images knows the rotation fully: with R
rotations, R divisible by 4, an image holds log R - log 2 nats of the log R, as log 4 are lost for a third of the
images and log 2 for another third. `shape_splits` holds out an image together with its equals, or most squares that
are held out would be trained on as well.

Anti-aliasing. A shape is drawn around its centroid in cells of 1/8 of a pixel, each covered as far as its distance from
the edge says, and the cells are averaged over the pixels at any position: a shift by whole pixels shifts the image and
changes nothing else.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from gen_models.data.splits import Splits
from gen_models.data.transforms import Transform, to_unit

SHAPES = ("square", "ellipse", "heart")
FACTORS = ("shape", "scale", "rotation", "x", "y")

_TURN_OF = np.array([4, 2, 1])  # into how many equal turns each shape's symmetry cuts the full one
_CELLS = 8  # along each side of a pixel
_LARGEST = 0.3  # root of the largest shape's area, as a share of the image's side; the smallest is half of it
_FROM, _TO = 0.25, 0.75  # positions of centroids, as shares of the side
_REACH = math.sqrt(2 / math.pi)  # of an ellipse from its centre, the farthest of all shapes, where its area is 1
_HEART = 1 / math.sqrt(1 + math.pi / 4)  # side of the heart's square, where its area is 1


def shapes(
    side: int = 32, *, scales: int = 6, rotations: int = 20, positions: int = 12
) -> dict[str, UInt8[np.ndarray, "n side side 1"] | Int[np.ndarray, "n 5"]]:
    """All images of the grid: {"x": uint8 [N, side, side, 1], "factors": int32 [N, 5]}.

    N is 3 scales rotations positions^2. The defaults are 51,840 images, 53 MB;
    at a side of 64 they are 212 MB, and fewer positions bring them down.

    Args:
      side: pixels along each side of an image.
      scales: sizes of a shape, evenly from 0.15 to 0.3 of the side, which is the root of its area.
      rotations: angles of the full turn, counter-clockwise.
      positions: places of the centroid along each axis, evenly from 1/4 to 3/4 of the side.

    Raises:
      ValueError: `side` is below 8, or there is no scale, rotation or position.
    """
    sizes = shape_sizes(scales=scales, rotations=rotations, positions=positions)
    _check_side(side)
    images = np.empty((*sizes, side, side), np.uint8)
    for shape in range(sizes[0]):
        for scale in range(scales):  # one at a time: in double precision the whole grid takes eight times its memory
            which = np.stack([np.full(rotations, shape), np.full(rotations, scale), np.arange(rotations)], 1)
            masks = _masks(which, side, sizes)
            over = _overlaps(side, positions, masks.shape[-1])  # [positions, side, cells]
            rows = over.reshape(-1, masks.shape[-1])
            cover = (rows @ masks @ rows.T).reshape(rotations, positions, side, positions, side)
            images[shape, scale] = _grey(cover.transpose(0, 3, 1, 2, 4))
    count = math.prod(sizes)
    return {"x": images.reshape(count, side, side, 1), "factors": np.asarray(grid_factors(np.arange(count), sizes))}


def draw_shapes(
    factors: Int[np.ndarray, "b 5"], side: int = 32, *, scales: int = 6, rotations: int = 20, positions: int = 12
) -> UInt8[np.ndarray, "b side side 1"]:
    """The images of these factors' indices, without the rest of the grid, of which they are the same to the last bit.

    Args:
      factors: the index of each factor's value, in the order of `FACTORS`.
      side: as in `shapes`.
      scales: as in `shapes`.
      rotations: as in `shapes`.
      positions: as in `shapes`.

    Raises:
      ValueError: an index lies outside of its factor's values, or as `shapes`.
    """
    sizes = shape_sizes(scales=scales, rotations=rotations, positions=positions)
    _check_side(side)
    factors = np.asarray(factors)
    if factors.ndim != 2 or factors.shape[1] != len(FACTORS) or (factors < 0).any() or (factors >= sizes).any():
        raise ValueError(f"factors must be [B, 5] indices of {', '.join(FACTORS)}, below {sizes} in this order")
    which, of = np.unique(factors[:, :3], axis=0, return_inverse=True)
    images = np.empty((len(factors), side, side), np.uint8)
    for index, one in enumerate(which):
        here = of.reshape(-1) == index
        mask = _masks(one[None], side, sizes)[0]
        over = _overlaps(side, positions, len(mask))
        x, y = factors[here, 3], factors[here, 4]
        images[here] = _grey(over[y] @ mask @ over[x].transpose(0, 2, 1))
    return images[..., None]


def shape_splits(
    side: int = 32,
    *,
    scales: int = 6,
    rotations: int = 20,
    positions: int = 12,
    held_out: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    transform: Transform = to_unit,
    how: str = "",
) -> Splits:
    """The grid of `shapes` as training, held-out and test parts, drawn at random from `seed`, equal images together.

    Each part has "x" and "factors", in a random order; all parts together are the whole grid, from which measures of
    disentanglement draw.

    Args:
      side: as in `shapes`.
      scales: as in `shapes`.
      rotations: as in `shapes`.
      positions: as in `shapes`.
      held_out: the share of the different images that validate.
      test: the share of the different images that are measured at the end.
      seed: of the choice of these images.
      transform: of batches and of what is measured; the edges are grey, and `binarise_dynamic` makes them 0 or 1.
      how: what it makes of the images, in words.

    Raises:
      ValueError: a share is not positive, they leave nothing to train on, or as `shapes`.
    """
    if not (held_out > 0 and test > 0 and held_out + test < 1):
        raise ValueError(f"held_out and test must be above 0 and less than 1 together, got {held_out=}, {test=}")
    sizes = shape_sizes(scales=scales, rotations=rotations, positions=positions)
    arrays = shapes(side, scales=scales, rotations=rotations, positions=positions)
    first = arrays["factors"].copy()  # of all equal images
    first[:, 2] = _turned(first[:, 0], first[:, 2], rotations)
    groups, of = np.unique(grid_index(first, sizes), return_inverse=True)
    draw = np.random.default_rng(seed)
    ends = np.ceil(np.array([test, test + held_out]) * len(groups)).astype(int)
    part = np.searchsorted(ends, draw.permutation(len(groups)), side="right")[of.reshape(-1)]
    rows = [draw.permutation(np.flatnonzero(part == index)) for index in (2, 0, 1)]  # training, test, held out
    chosen = [{name: values[each] for name, values in arrays.items()} for each in rows]
    if not all(len(arrays["x"]) for arrays in chosen):
        raise ValueError(f"{len(groups)} different images are too few for {held_out=} and {test=}: give more factors")
    options: dict[str, Any] = {"levels": 256, "transform": transform, "how": how}
    return Splits.of_arrays(*chosen, name=f"shapes{side}", examples="images", **options)


def shape_sizes(*, scales: int = 6, rotations: int = 20, positions: int = 12) -> tuple[int, int, int, int, int]:
    """The number of values of each factor, in the order of `FACTORS`.

    Raises:
      ValueError: there is no scale, rotation or position.
    """
    if min(scales, rotations, positions) < 1:
        raise ValueError(f"each must be 1 or more, got {scales=}, {rotations=}, {positions=}")
    return len(SHAPES), scales, rotations, positions, positions


def grid_index(
    factors: Int[Array, "*b k"] | Int[np.ndarray, "*b k"], sizes: Sequence[int]
) -> Int[Array, "*b"] | Int[np.ndarray, "*b"]:
    """Where the combination of factors stands in the grid: sum_k factors_k prod_{l > k} sizes_l; no index is checked.

    Args:
      factors: the index of each factor's value: NumPy's or JAX's, traced or not.
      sizes: the number of values of each factor.
    """
    strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
    return (factors * np.array(strides, np.int32)).sum(-1)


def grid_factors(
    index: Int[Array, "*b"] | Int[np.ndarray, "*b"], sizes: Sequence[int]
) -> Int[Array, "*b k"] | Int[np.ndarray, "*b k"]:
    """The factors of images of the grid, int32: the inverse of `grid_index`."""
    strides = [math.prod(sizes[k + 1 :]) for k in range(len(sizes))]
    each = index[..., None] // np.array(strides, np.int32) % np.array(sizes, np.int32)
    return each.astype(np.int32)


def _check_side(side: int) -> None:
    if side < 8:
        raise ValueError(f"shapes are too small to be told apart in images of {side} pixels a side: give 8 or more")


def _turned(shape: np.ndarray, rotation: np.ndarray, rotations: int) -> np.ndarray:
    """A number that is the same for rotations of a shape that are equal by its symmetry.

    Divided by the rotations it is the angle, as a share of the turn that its symmetry leaves.
    """
    return rotation * _TURN_OF[shape] % rotations


def _even(low: float, high: float, count: int) -> np.ndarray:
    """Evenly spaced values, both ends included; the middle where there is one."""
    return np.linspace(low, high, count) if count > 1 else np.array([(low + high) / 2])


def _masks(which: Int[np.ndarray, "m 3"], side: int, sizes: Sequence[int]) -> Float[np.ndarray, "m cells cells"]:
    """How far each (shape, scale, rotation) covers the cells around its centroid, 0 to 1; all scales must be equal."""
    shape, scale, rotation = which.T
    root = _even(_LARGEST / 2, _LARGEST, sizes[1])[scale[0]] * side * _CELLS  # of the area, in cells
    half = math.ceil(_REACH * root + 1)
    line = (np.arange(-half, half) + 0.5) / root
    right, up = line[None, None, :], -line[None, :, None]
    angle = 2 * np.pi * _turned(shape, rotation, sizes[2]) / (_TURN_OF[shape] * sizes[2])
    cos, sin = (f(angle)[:, None, None] for f in (np.cos, np.sin))
    u, v = right * cos + up * sin, up * cos - right * sin  # the cells where the shape stands upright
    masks = np.empty(u.shape)
    for index, distance in enumerate(_DISTANCE):
        here = shape == index
        masks[here] = np.clip(0.5 - distance(u[here], v[here]) * root, 0, 1)
    return masks


def _overlaps(side: int, positions: int, cells: int) -> Float[np.ndarray, "positions side cells"]:
    """How much of a pixel's side each cell takes along one axis, at each position of the centroid: the shares of 1."""
    centre = _even(_FROM * side, _TO * side, positions)[:, None, None]
    start = centre + (np.arange(cells) - cells / 2) / _CELLS
    pixel = np.arange(side)[:, None]
    return np.clip(np.minimum(start + 1 / _CELLS, pixel + 1) - np.maximum(start, pixel), 0, None)


def _grey(cover: np.ndarray) -> np.ndarray:
    """Pixels of these covered shares; what lies between two is rounded up, whatever the last digits of a sum are."""
    return np.floor(255 * cover + (0.5 + 1e-9)).astype(np.uint8)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.5


def _ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Twice as wide as it is high; its distance is of first order, |(u, 2v)| - reach over the length of its slope."""
    along = np.hypot(u, 2 * v)
    return (along - _REACH) * along / np.hypot(u, 4 * v)


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A square on its corner, and a disc over each of its upper sides, about their common centroid."""
    half = _HEART / 2
    # A half disc's centroid lies 4 r / 3 pi from its diameter; both half discs have pi / 4 of the square's area.
    lift = (half + 4 * half / (3 * math.pi)) / math.sqrt(2) * (math.pi / 4) / (1 + math.pi / 4)
    p, q = (u + v + lift) / math.sqrt(2), (v + lift - u) / math.sqrt(2)
    discs = np.minimum(np.hypot(p - half, q), np.hypot(p, q - half)) - half
    return np.minimum(discs, np.maximum(np.abs(p), np.abs(q)) - half)


# Signed distances from the edges of shapes of area 1, which are negative inside and right where they are small.
_DISTANCE: tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], ...] = (_square, _ellipse, _heart)
