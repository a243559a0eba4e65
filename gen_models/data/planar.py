"""Labelled points of the plane whose classes are known regions: what a classifier has to separate."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int

from gen_models.errors import unknown

Planar = Literal["halves", "xor", "circles", "ring", "spirals", "two_spirals"]
Points = tuple[np.ndarray, np.ndarray]  # x [N, 2], y [N]


def planar_points(
    kind: Planar, count: int = 1000, seed: int = 0, *, noise: float = 0.05
) -> dict[str, Float[np.ndarray, "n 2"] | Int[np.ndarray, "n"]]:
    """Points of two classes: {"x": float32 [n, 2], about within [-1, 1]^2, "y": int32 [n], 0 or 1}.

    - "halves": drawn evenly from the square; 1 where x_1 + x_2 / 2 > 0. A line separates them.
    - "xor": drawn evenly from the square; 1 where x_1 x_2 > 0.
    - "circles": of radii 0.4 (1) and 0.8 (0).
    - "ring": drawn evenly from the square; 1 where the distance from the centre is between 0.4 and 0.8: a disc with a
      hole.
    - "spirals": two arms of one and a half turns, evenly drawn along their angle.
    - "two_spirals": those of Lang & Witbrock, Learning to Tell Two Spirals Apart (1988): 97 points an arm, three turns,
      r (sin t, cos t) with r = (104 - i) / 104 and t = pi i / 16 for i = 0, ..., 96; the other arm is its negative.
      They are repeated in order until there are `count`; with an odd seed they are the points half-way between, i + 1/2
      for i = 0, ..., 95.

    Args:
      kind: of the data.
      count: points.
      seed: of what is drawn.
      noise: standard deviation of normal noise that is added to points after their class is known; "two_spirals" have
        none.

    Raises:
      ValueError: the kind is unknown, `count` below 1, or `noise` negative.
    """
    if kind not in get_args(Planar):
        raise unknown("kind of points", kind, get_args(Planar))
    if count < 1 or not 0 <= noise < math.inf:
        raise ValueError(f"count must be positive and noise 0 or more, got {count=}, {noise=}")
    if kind == "two_spirals":
        x, y = _two_spirals(count, between=seed % 2 == 1)
    else:
        draw = np.random.default_rng(seed)
        x, y = _KINDS[kind](draw, count)
        x = x + noise * draw.standard_normal(x.shape)
    return {"x": x.astype(np.float32), "y": y.astype(np.int32)}


def _square(draw: np.random.Generator, count: int) -> np.ndarray:
    return draw.uniform(-1, 1, (count, 2))


def _halves(draw: np.random.Generator, count: int) -> Points:
    x = _square(draw, count)
    return x, x[:, 0] + x[:, 1] / 2 > 0


def _xor(draw: np.random.Generator, count: int) -> Points:
    x = _square(draw, count)
    return x, x[:, 0] * x[:, 1] > 0


def _circles(draw: np.random.Generator, count: int) -> Points:
    y, angle = draw.integers(2, size=count), draw.uniform(0, 2 * np.pi, count)
    return _polar(np.where(y, 0.4, 0.8), angle), y


def _ring(draw: np.random.Generator, count: int) -> Points:
    x = _square(draw, count)
    radius = np.linalg.norm(x, axis=1)
    return x, (radius > 0.4) & (radius < 0.8)


def _spirals(draw: np.random.Generator, count: int) -> Points:
    y, along = draw.integers(2, size=count), draw.uniform(0.1, 1, count)
    return _polar(0.95 * along, 3 * np.pi * along + np.pi * y), y


def _two_spirals(count: int, between: bool) -> Points:
    i = np.arange(96) + 0.5 if between else np.arange(97.0)
    arm = _polar((104 - i) / 104, np.pi / 2 - np.pi * i / 16)
    x, y = np.concatenate([arm, -arm]), np.repeat([1, 0], len(arm))
    at = np.arange(count) % len(x)
    return x[at], y[at]


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


_KINDS: Mapping[str, Callable[[np.random.Generator, int], Points]] = {
    "halves": _halves,
    "xor": _xor,
    "circles": _circles,
    "ring": _ring,
    "spirals": _spirals,
}
