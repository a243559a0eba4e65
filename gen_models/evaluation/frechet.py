"""The Frechet distance between two sets of features, as of normal distributions with their means and covariances.

    d^2 = |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1^1/2 S_2 S_1^1/2)^1/2)

Dowson & Landau, The Frechet Distance between Multivariate Normal Distributions (1982), derive it; Heusel et al., GANs
Trained by a Two Time-Scale Update Rule (2017), take it of features of the Inception network, where it is the FID. As
there, the value is the square d^2, and covariances are divided by n - 1.

It is biased: of n samples it is larger in expectation than of the distribution, by about a constant over n, which
depends on the model (Chong & Forsyth, Effectively Unbiased FID and Inception Score, 2020). Compare values of equal n
alone, or extrapolate with `frechet_distance_infinity`.
"""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gen_models.evaluation._features import check_features, check_finite, slices, wide
from gen_models.models.sizes import check_sizes

_AT_ONCE = 4096  # examples that are taken to float64 together
_ROUNDING = 1e-4  # of a covariance's largest number, by which published ones in float32 may be wrong


class Moments(NamedTuple):
    """Mean and covariance of features, in float64; published ones will do as well, and are taken to it."""

    examples: int
    mean: Float[np.ndarray, "d"]
    covariance: Float[np.ndarray, "d d"]  # divided by examples - 1; zeros of a single example


def moments(features: Float[np.ndarray, "n d"]) -> Moments:
    """Mean and covariance of a batch, or of all features; those of batches are put together by `merged`.

    Args:
      features: [N, D], float32 or float64.

    Raises:
      ValueError: there are no features, or some are not finite.
    """
    check_features(features=features)
    return _in_blocks(features[rows] for rows in slices(len(features), _AT_ONCE))


def merged(*parts: Moments) -> Moments:
    """The moments of all examples of several sets (Chan et al., Updating Formulae for Sample Variances, 1979).

    `reduce(merged, map(moments, batches))` holds one batch at a time. Each part is centred at its own mean, so that no
    digits are lost where means are large beside deviations.

    Raises:
      ValueError: there is no set, or their dimensions differ.
    """
    if not parts:
        raise ValueError("there are no moments to merge: give those of one set or more")
    _check_dimensions(*parts)
    return reduce(_merged, map(_wide, parts))


def frechet_distance(first: Moments, second: Moments) -> float:
    """The squared Frechet distance d^2 of the normal distributions with these moments; 0 or more.

    The trace of the root is the sum of the singular values of A_1' A_2 for any A_i with A_i A_i' = S_i, which two
    `eigh` give: (A_1' A_2)(A_1' A_2)' has the eigenvalues of S_1^1/2 S_2 S_1^1/2 that are not 0. Roots of eigenvalues
    of that product would instead make 1e-8 of a rounding error of 1e-16 wherever a covariance is singular, as it is of
    fewer examples than dimensions. For 2,048 dimensions it took 3.8 s of one core's time, of 2 cores of an AMD EPYC,
    shared.

    Args:
      first: of 2 or more examples.
      second: likewise; the order does not matter.

    Raises:
      ValueError: there are fewer than 2 examples, dimensions differ, or moments are not finite; or a covariance is not
        symmetric, or has negative eigenvalues, beyond rounding.
    """
    _check_dimensions(first, second)
    first, second = _wide(first), _wide(second)
    for name, each in (("first", first), ("second", second)):
        if each.examples < 2:
            raise ValueError(f"a covariance needs 2 or more examples, got {each.examples} in the {name} moments")
        check_finite(f"the {name} moments", np.vstack([each.mean, each.covariance]))
        _check_symmetric(name, each.covariance)
    product = _factor("first", first.covariance).T @ _factor("second", second.covariance)
    root = np.linalg.svd(product, compute_uv=False).sum() if product.size else 0.0
    apart = np.square(first.mean - second.mean).sum()
    return max(0.0, float(apart + np.trace(first.covariance) + np.trace(second.covariance) - 2 * root))


class Extrapolation(NamedTuple):
    """What `frechet_distance_infinity` gives."""

    distance: float  # of infinitely many samples; may be below 0, by the noise of what it is made from
    slope: float  # the bias of n samples is about slope / n
    sizes: Int[np.ndarray, "points"]  # numbers of samples
    distances: Float[np.ndarray, "points"]  # of so many of them


def frechet_distance_infinity(
    reference: Moments,
    samples: Float[np.ndarray, "n d"],
    *,
    points: int = 15,
    least: int = 5000,
    seed: int = 0,
) -> Extrapolation:
    """The Frechet distance that infinitely many samples would have, by a line through those of fewer over 1 / n.

    Chong & Forsyth (2020): distances of random subsets, whose sizes are equally spaced from `least` to all samples, are
    fitted by least squares, and the line is read at 1 / n = 0. The subsets overlap, so that residuals do not tell how
    sure the value is: repeat it with other samples. The bias by the reference's own number of examples stays.

    Args:
      reference: moments of the data.
      samples: [N, D].
      points: numbers of samples on the line.
      least: the smallest of them. The bias is a line in 1 / n only where n is large beside D.
      seed: of the random subsets.

    Raises:
      ValueError: there are fewer than 2 points, or not so many numbers from `least` to N; `least` is below 2; features
        are not finite, or of other dimensions than the reference.
    """
    check_features(least=2, samples=samples)
    check_sizes(points=points, least=least)
    if points < 2 or least < 2 or len(samples) - least < points - 1:
        raise ValueError(
            f"a line needs 2 or more numbers of samples, each of 2 or more, got points={points} from least={least} to "
            f"the {len(samples)} samples: give more samples, or take fewer points or a smaller least"
        )
    draw = np.random.default_rng(seed)
    sizes = np.linspace(least, len(samples), points).astype(np.int64)
    distances = np.array([frechet_distance(reference, _subset(samples, int(size), draw)) for size in sizes])
    x = 1 / sizes
    slope = float(((x - x.mean()) * distances).sum() / np.square(x - x.mean()).sum())
    return Extrapolation(float(distances.mean() - slope * x.mean()), slope, sizes, distances)


def _moments(x: np.ndarray) -> Moments:
    """Of a batch in float64."""
    mean = x.mean(0)
    centred = x - mean
    return Moments(len(x), mean, centred.T @ centred / max(len(x) - 1, 1))


def _merged(first: Moments, second: Moments) -> Moments:
    n, m = first.examples, second.examples
    apart = second.mean - first.mean
    scatter = (n - 1) * first.covariance + (m - 1) * second.covariance + n * m / (n + m) * np.outer(apart, apart)
    return Moments(n + m, first.mean + m / (n + m) * apart, scatter / (n + m - 1))


def _subset(samples: np.ndarray, size: int, draw: np.random.Generator) -> Moments:
    """Of so many samples without replacement; no more than a block of them is copied."""
    chosen = np.sort(draw.permutation(len(samples))[:size])
    return _in_blocks(samples[chosen[part]] for part in slices(size, _AT_ONCE))


def _in_blocks(blocks: Iterable[np.ndarray]) -> Moments:
    return reduce(_merged, (_moments(wide(block)) for block in blocks))


def _wide(each: Moments) -> Moments:
    return Moments(each.examples, wide(each.mean), wide(each.covariance))


def _check_symmetric(name: str, covariance: np.ndarray) -> None:
    apart = np.abs(covariance - covariance.T).max()
    if apart > _ROUNDING * np.abs(covariance).max():
        raise ValueError(
            f"the {name} covariance is not symmetric: entries that mirror each other differ by up to {apart:g}. Look "
            "for rows or columns in another order"
        )


def _factor(name: str, covariance: np.ndarray) -> np.ndarray:
    """A matrix A [D, rank] with A A' = covariance.

    Eigenvalues that are rounding errors, as `numpy.linalg.matrix_rank` tells them, are left out, as their roots would
    be far larger: what they add to the distance is no property of the features.
    """
    values, vectors = np.linalg.eigh(covariance)
    if -values[0] > _ROUNDING * np.abs(values).max():
        raise ValueError(
            f"the {name} covariance has the eigenvalue {values[0]:g}, and no covariance has negative ones: look for a "
            "matrix that is no covariance, such as one whose means were taken off twice"
        )
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0)
    return vectors[:, kept] * np.sqrt(values[kept])


def _check_dimensions(*each: Moments) -> None:
    shapes = {(np.shape(one.mean), np.shape(one.covariance)) for one in each}
    if len(shapes) > 1 or any(len(mean) != 1 or covariance != mean * 2 for mean, covariance in shapes):
        raise ValueError(
            "means must be [D] and covariances [D, D] of the same D, got "
            + ", ".join(f"{np.shape(one.mean)} and {np.shape(one.covariance)}" for one in each)
        )
