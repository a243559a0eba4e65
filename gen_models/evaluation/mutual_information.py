"""Mutual information of continuous variables, estimated from pairs of samples; in nats.

`binned` and `nearest_neighbours` need no training; the bound of a trained critic is `InfoNCE` of
`models/info_nce.py`. Exact values to hold them against: `of_gaussians`.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree
from scipy.special import digamma
from scipy.stats import rankdata

from gen_models.models.sizes import check_sizes


def of_gaussians(covariance: Float[np.ndarray, "d d"], first: int) -> float:
    """I(x; y) of jointly normal variables: (log |S_x| + log |S_y| - log |S|) / 2, exact.

    Args:
      covariance: S of all variables, those of x before those of y.
      first: how many of them are x.

    Raises:
      ValueError: x or y has none, or S is not positive definite.
    """
    if not 0 < first < len(covariance):
        raise ValueError(f"x must have 1 to {len(covariance) - 1} of the variables, got {first=}")
    signs, logs = zip(
        *(np.linalg.slogdet(part) for part in (covariance[:first, :first], covariance[first:, first:], covariance)),
        strict=True,
    )
    if np.linalg.eigvalsh(covariance)[0] <= 0 or min(signs) <= 0:
        raise ValueError("the covariance is not positive definite: some variables would determine others")
    return float(logs[0] + logs[1] - logs[2]) / 2


def binned(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], bins: int = 16) -> float:
    """The plug-in estimate of I(x; y) after cutting each variable into bins that hold equally many samples.

    Equal samples share the bin of the first of them, so that bins of rounded numbers may hold more and fewer. The
    estimate is at most log(bins), misses what varies inside a bin, and is biased upwards by about (bins - 1)^2 / 2n.

    Raises:
      ValueError: `bins` is below 1 or above the number of samples, or the samples are not pairs of finite numbers.
    """
    check_sizes(bins=bins)
    if x.shape != y.shape or x.ndim != 1 or len(x) < bins:
        raise ValueError(f"x and y must be pairs, {bins} or more for {bins=}, got {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y hold NaN or infinity")
    # The rank counts the smaller samples, from 0: cutting ties by their position would tie x to y where there is none.
    place = [(rankdata(each, method="min").astype(int) - 1) * bins // len(x) for each in (x, y)]
    joint = np.bincount(place[0] * bins + place[1], minlength=bins**2).reshape(bins, bins) / len(x)
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def nearest_neighbours(x: Float[np.ndarray, "n *dx"], y: Float[np.ndarray, "n *dy"], k: int = 3) -> float:
    """Kraskov, Stögbauer & Grassberger, Estimating mutual information (2004), eq. 8: their first estimator.

        psi(k) + psi(n) - mean(psi(n_x + 1) + psi(n_y + 1))

    where e is the distance of a pair to its k-th neighbour, the larger of that in x and that in y, and n_x counts the
    other samples whose x is nearer than e. Distances within x and within y are maxima over coordinates. It is
    scikit-learn's estimator, but may be negative, as an unbiased one of 0 must be.

    Args:
      x: [n] or [n, D]; of a scale like that of y. No two pairs may be equal, as with rounded numbers they are.
      y: [n] or [n, E].
      k: neighbours; more have less variance and more bias.

    Raises:
      ValueError: the samples are not pairs of finite numbers, there are not more than k, or pairs repeat.
    """
    check_sizes(k=k)
    if len(x) != len(y) or len(x) <= k:
        raise ValueError(f"x and y must be pairs, more than {k=} of them, got {len(x)} and {len(y)}")
    first, second = (np.asarray(each, np.float64).reshape(len(each), -1) for each in (x, y))
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("x and y hold NaN or infinity")
    both = np.concatenate([first, second], 1)
    distance = cKDTree(both).query(both, k + 1, p=np.inf)[0][:, -1]
    if not distance.min() > 0:
        raise ValueError("pairs repeat, so that neighbours are at a distance of 0: add a little noise to them")
    inside = np.nextafter(distance, 0)  # nearer than, not as near as
    terms = 0.0
    for each in (first, second):
        near = cKDTree(each).query_ball_point(each, inside, p=np.inf, return_length=True)  # the sample itself included
        terms += float(digamma(near).mean())
    return float(digamma(k) + digamma(len(x)) - terms)
