"""Bias and variance of predictions over data sets of a known function.

    E[(f_D(x) - y)^2] = (E[f_D(x)] - f(x))^2 + Var[f_D(x)] + sigma^2        (Geman, Bienenstock & Doursat, 1992)

over data sets D and the noise of y = f(x) + N(0, sigma^2). `decompose` estimates the first two terms from fits to
several data sets; `of_least_squares` has them in closed form where predictions are linear in the data.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class BiasVariance(NamedTuple):
    """Means over the points at which functions are compared."""

    bias_squared: float
    variance: float


def decompose(predictions: Float[np.ndarray, "sets n"], truth: Float[np.ndarray, " n"]) -> BiasVariance:
    """Unbiased estimates of both terms: what variance adds to the squared error of the mean prediction is taken off.

    So the bias of an unbiased fit may come out slightly negative.

    Args:
      predictions: [sets, N], of the fit to each data set at N points.
      truth: f at these points.

    Raises:
      ValueError: there are fewer than two data sets, or the points are not the same.
    """
    if len(predictions) < 2 or predictions.shape[1:] != truth.shape:
        raise ValueError(
            f"predictions must be [2 or more data sets, {len(truth)} points], got {list(predictions.shape)}"
        )
    variance = predictions.var(0, ddof=1).mean()
    bias = ((predictions.mean(0) - truth) ** 2).mean() - variance / len(predictions)
    return BiasVariance(float(bias), float(variance))


def of_least_squares(
    features: Float[np.ndarray, "m p"],
    values: Float[np.ndarray, " m"],
    at: Float[np.ndarray, "n p"],
    truth: Float[np.ndarray, " n"],
    *,
    sigma: float,
    ridge: float = 0.0,
) -> BiasVariance:
    """The terms of least squares with fixed inputs and new noise in each data set, exact.

    The prediction is H y with H = at (F'F + ridge I)^-1 F', so that its mean is H f and its variance sigma^2 H H'.
    Without a ridge it is the least-squares fit, of several the one with the smallest coefficients. Its variance at the
    rows of F itself, a mean over them, is sigma^2 times the rank of F over M.

    Args:
      features: F [M, P], of the inputs that all data sets have.
      values: f at these inputs, without noise.
      at: [N, P], features of the points at which functions are compared.
      truth: f at these.
      sigma: the noise's standard deviation.
      ridge: weight of the squared coefficients.

    Raises:
      ValueError: sizes differ, or `sigma` or `ridge` is negative.
    """
    if len(features) != len(values) or len(at) != len(truth) or features.shape[1] != at.shape[1]:
        raise ValueError(f"sizes differ: {features.shape}, {values.shape}, {at.shape}, {truth.shape}")
    if min(sigma, ridge) < 0:
        raise ValueError(f"sigma and ridge must not be negative, got {sigma=}, {ridge=}")
    left, singular, right = np.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    kept = singular > singular[0] * 1e-12
    factors = np.where(kept, singular, 0) / np.where(kept, singular**2 + ridge, 1)
    hat = at @ (right.T * factors) @ left.T
    bias = ((hat @ values - truth) ** 2).mean()
    return BiasVariance(float(bias), float(sigma**2 * (hat**2).sum(1).mean()))
