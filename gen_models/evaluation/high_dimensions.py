"""What happens to volumes, distances and density estimates in many dimensions, in closed form; float64."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from gen_models.models.sizes import check_sizes


def ball_in_cube(dimensions: int) -> float:
    """Share of the cube [-1, 1]^D that the unit ball fills: pi^(D/2) / Gamma(D/2 + 1) / 2^D."""
    check_sizes(dimensions=dimensions)
    half = dimensions / 2
    return float(np.exp(half * np.log(np.pi) - gammaln(half + 1) - dimensions * np.log(2)))


def shell_of_ball(dimensions: int, thickness: float) -> float:
    """Share of the unit ball that is nearer to its surface than `thickness`: 1 - (1 - thickness)^D.

    Raises:
      ValueError: the thickness is not in [0, 1].
    """
    check_sizes(dimensions=dimensions)
    if not 0 <= thickness <= 1:
        raise ValueError(f"thickness must be in [0, 1], got {thickness}")
    return float(1 - (1 - thickness) ** dimensions)


def norm_of_normal(dimensions: int) -> tuple[float, float]:
    """Mean and standard deviation of |x| for a standard normal x: of the chi distribution, about sqrt(D) and 0.71."""
    check_sizes(dimensions=dimensions)
    mean = np.sqrt(2) * np.exp(gammaln((dimensions + 1) / 2) - gammaln(dimensions / 2))
    return float(mean), float(np.sqrt(dimensions - mean**2))


def nearest_distance(dimensions: int, count: int) -> float:
    """Mean distance of the nearest of `count` points that are evenly drawn in the unit ball, from its centre.

    Its distribution is P(R > r) = (1 - r^D)^n, so that the mean is n B(n, 1 + 1/D), with the beta function B.
    """
    check_sizes(dimensions=dimensions, count=count)
    one = 1 + 1 / dimensions
    return float(np.exp(np.log(count) + gammaln(count) + gammaln(one) - gammaln(count + one)))


def density_error(dimensions: int, count: float, bandwidth: float) -> float:
    """Relative mean squared error E[(q(0) - p(0))^2] / p(0)^2 of a kernel estimate q of a standard normal p, exact.

    The kernel is normal with standard deviation h: E[q] = N(0; (1 + h^2) I) and the second moment of one kernel is
    (4 pi h^2)^(-D/2) N(0; (1 + h^2 / 2) I).

    Raises:
      ValueError: the bandwidth is not positive.
    """
    if not bandwidth > 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    half, square = dimensions / 2, bandwidth**2
    mean = -half * np.log1p(square)  # of log E[q] / p(0)
    second = -half * (np.log(2 * square) + np.log1p(square / 2))  # of log E[kernel^2] / p(0)^2
    return float(np.expm1(mean) ** 2 + (np.exp(second) - np.exp(2 * mean)) / count)


def examples_needed(dimensions: int, error: float = 0.1) -> int:
    """The least number of examples with which the best bandwidth has a relative error at 0 below `error`.

    Silverman, Density Estimation for Statistics and Data Analysis (1986), table 4.2, has them for an error of 0.1.

    Raises:
      ValueError: the error is not positive.
    """
    check_sizes(dimensions=dimensions)
    if not error > 0:
        raise ValueError(f"error must be positive, got {error}")

    def needed(log_bandwidth):  # the n that solves density_error = error, which is linear in 1 / n
        bandwidth = np.exp(log_bandwidth)
        bias = density_error(dimensions, np.inf, bandwidth)
        if bias >= error:
            return np.inf
        return np.log((density_error(dimensions, 1, bandwidth) - bias) / (error - bias))

    grid = np.linspace(np.log(0.01), np.log(3), 400)
    best = grid[int(np.argmin([needed(each) for each in grid]))]
    found = minimize_scalar(needed, bounds=(best - 0.02, best + 0.02), method="bounded", options={"xatol": 1e-10})
    return int(np.ceil(np.exp(min(found.fun, needed(best)))))
