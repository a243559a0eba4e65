"""Data whose distribution is known, drawn from a seed."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def grid_centres(side: int = 5, spacing: float = 2.0) -> Float[Array, "modes 2"]:
    """Centres of a square grid of `side` x `side` modes around the origin; by default {-4, -2, 0, 2, 4}^2.

    Raises:
      ValueError: `side` or `spacing` is not positive.
    """
    if side < 1 or not spacing > 0:
        raise ValueError(f"side and spacing must be positive, got {side=}, {spacing=}")
    line = (jnp.arange(side) - (side - 1) / 2) * spacing
    return jnp.stack(jnp.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def gaussian_grid(
    count: int = 100_000, seed: int = 0, *, side: int = 5, spacing: float = 2.0, sigma: float = 0.05
) -> dict[str, Float[np.ndarray, "n 2"]]:
    """Points of an equal mixture of `side` x `side` Gaussians on a grid around the origin: {"x": float32 [n, 2]}.

    The defaults are the grid of 25 of Lin et al., PacGAN (2018), section 4.1.

    Raises:
      ValueError: `count` or `sigma` is not positive, or as `grid_centres`.
    """
    if count < 1 or not sigma > 0:
        raise ValueError(f"count and sigma must be positive, got {count=}, {sigma=}")
    centres = np.asarray(grid_centres(side, spacing))
    draw = np.random.default_rng(seed)
    points = centres[draw.integers(len(centres), size=count)] + sigma * draw.standard_normal((count, 2))
    return {"x": points.astype(np.float32)}


def associative_recall(
    count: int = 50_000, seed: int = 0, *, pairs: int = 8, keys: int = 16, values: int = 8
) -> dict[str, Int[np.ndarray, "n ..."]]:
    """Sequences of pairs and a question: key, value, key, value, ..., and one of the keys; the label is its value.

    They are {"x": int32 [n, 2 pairs + 1], "y": int32 [n]}. Keys are the tokens 0 to keys - 1, all different in a
    sequence. Values are drawn evenly and independently: value v is the token keys + v, and as a label v. The task is
    that of Ba et al., Using Fast Weights to Attend to the Recent Past (2016), section 4.1.

    Raises:
      ValueError: a size is not positive, there are fewer than two values, or fewer keys than pairs.
    """
    if min(count, pairs) < 1 or values < 2 or keys < pairs:
        raise ValueError(
            f"one sequence and pair, two values and {pairs} keys are needed, got {count=}, {pairs=}, {keys=}, {values=}"
        )
    draw = np.random.default_rng(seed)
    key = draw.random((count, keys)).argsort(1)[:, :pairs]
    value = draw.integers(values, size=(count, pairs))
    asked = draw.integers(pairs, size=count)
    every = np.arange(count)
    # Stacked on a last axis and flattened, keys and values alternate; the key that is asked for comes last.
    tokens = np.concatenate([np.stack([key, keys + value], -1).reshape(count, -1), key[every, asked][:, None]], 1)
    return {"x": tokens.astype(np.int32), "y": value[every, asked].astype(np.int32)}


def recall_chance(pairs: int, values: int) -> float:
    """Best accuracy at `associative_recall` without knowing which key a value came with: to name the commonest value.

    It is the mean count of the commonest value, divided by the number of pairs. The probability that no value comes
    more than m times in n draws is n! / values^n times the coefficient of x^n in (sum_{j <= m} x^j / j!)^values; the
    mean of the largest count is the sum over m from 0 to n - 1 of the probability that it is above m.
    """
    at_most = []  # probability that the largest count is at most 0, 1, ..., pairs
    for most in range(pairs + 1):
        series = np.polynomial.Polynomial([1 / math.factorial(j) for j in range(most + 1)]) ** values
        coefficient = series.coef[pairs] if len(series.coef) > pairs else 0.0
        at_most.append(float(coefficient) * math.factorial(pairs) / values**pairs)
    return sum(1 - p for p in at_most[:-1]) / pairs
