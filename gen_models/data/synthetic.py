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


def adding_task(
    count: int = 50_000, seed: int = 0, *, length: int = 600
) -> dict[str, Float[np.ndarray, "n t 2"] | Float[np.ndarray, " n"]]:
    """Sequences of numbers, two of which are marked, and their sum: {"x": float32 [n, length, 2], "y": float32 [n]}.

    Hochreiter & Schmidhuber, Long Short-Term Memory (1997), section 5.4, in the form of Bai et al., An Empirical
    Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling (2018), section 4.1: the numbers
    are even on [0, 1], the second channel is 1 at two places, which are evenly drawn among all pairs, and else 0.

    Raises:
      ValueError: there is no sequence, or it has fewer than two steps.
    """
    if count < 1 or length < 2:
        raise ValueError(f"one sequence of two steps or more is needed, got {count=}, {length=}")
    draw = np.random.default_rng(seed)
    x = np.zeros((count, length, 2), np.float32)
    x[..., 0] = draw.random((count, length), np.float32)
    first = draw.integers(length, size=count)
    second = (first + draw.integers(1, length, size=count)) % length  # another place, all equally likely
    every = np.arange(count)
    x[every, first, 1] = x[every, second, 1] = 1
    return {"x": x, "y": x[every, first, 0] + x[every, second, 0]}


def adding_baseline() -> float:
    """The mean squared error at `adding_task` of who always answers 1: 1/6, the variance of a sum of two numbers.

    Papers have 0.1767 for it, which is a slip: 1/12 for each number.
    """
    return 1 / 6


def copy_task(
    count: int = 10_000, seed: int = 0, *, delay: int = 1000, memory: int = 10, symbols: int = 8
) -> dict[str, Int[np.ndarray, "n t"]]:
    """Tokens to be remembered over a delay, and what is to be answered at each step: {"x", "y"}, int32 [n, T].

    Arjovsky et al., Unitary Evolution Recurrent Neural Networks (2016), section 4.1, in the form of Bai et al. (2018):
    T = delay + 2 memory. First come `memory` tokens from 1 to `symbols`, evenly drawn; then delay - 1 blanks, the token
    0; then the token symbols + 1, memory + 1 times (Arjovsky et al. have it once, and blanks behind it), which asks for
    them. The answers are blanks until the last `memory` steps, where they are the first tokens again.

    Raises:
      ValueError: a size is not positive.
    """
    if min(count, delay, memory, symbols) < 1:
        raise ValueError(f"sizes must be positive, got {count=}, {delay=}, {memory=}, {symbols=}")
    kept = np.random.default_rng(seed).integers(1, symbols + 1, size=(count, memory))
    blanks, asks = np.zeros((count, delay - 1)), np.full((count, memory + 1), symbols + 1)
    x = np.concatenate([kept, blanks, asks], 1)
    y = np.concatenate([np.zeros((count, delay + memory)), kept], 1)
    return {"x": x.astype(np.int32), "y": y.astype(np.int32)}


def copy_baseline(delay: int, memory: int = 10, symbols: int = 8) -> float:
    """Nats a step at `copy_task` of who remembers nothing but where the answers begin: memory ln(symbols) / T."""
    return memory * math.log(symbols) / (delay + 2 * memory)
