"""Metrics of regression, classification, images, ranking and density models, for whole arrays of predictions.

All are pure and may run under `jit` and `vmap`. `weight` is [B], 1 for an example and 0 for the padding of a last batch
(any non-negative numbers will do); without it all examples count alike. Shapes that do not fit, no examples, and
weights that are all 0 raise ValueError.

A label below 0, or beyond the classes, is no class: outside of `jit` it raises ValueError, and inside, where no value
can be looked at, the result is NaN. What labels stand beside a weight of 0 does not matter.

Those of classifiers stand in `classification_metrics.py`; those of ranking, whose curves are computed on the host, in
`ranking_metrics.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gen_models._metric_means import Weight, mean, normalised, per_example, same_shape
from gen_models.classification_metrics import Averages as Averages
from gen_models.classification_metrics import accuracy as accuracy
from gen_models.classification_metrics import averaged_precision_recall_f1 as averaged_precision_recall_f1
from gen_models.classification_metrics import balanced_accuracy as balanced_accuracy
from gen_models.classification_metrics import binary_cross_entropy as binary_cross_entropy
from gen_models.classification_metrics import brier_score as brier_score
from gen_models.classification_metrics import confusion_matrix as confusion_matrix
from gen_models.classification_metrics import expected_calibration_error as expected_calibration_error
from gen_models.classification_metrics import negative_log_likelihood as negative_log_likelihood
from gen_models.classification_metrics import precision_recall_f1 as precision_recall_f1
from gen_models.classification_metrics import top_k_accuracy as top_k_accuracy
from gen_models.ranking_metrics import CalibrationCurve as CalibrationCurve
from gen_models.ranking_metrics import PrecisionRecallCurve as PrecisionRecallCurve
from gen_models.ranking_metrics import RocCurve as RocCurve
from gen_models.ranking_metrics import area_under_curve as area_under_curve
from gen_models.ranking_metrics import auroc as auroc
from gen_models.ranking_metrics import average_precision as average_precision
from gen_models.ranking_metrics import calibration_curve as calibration_curve
from gen_models.ranking_metrics import precision_recall_curve as precision_recall_curve
from gen_models.ranking_metrics import roc_curve as roc_curve


def mean_squared_error(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean of (prediction - target)^2 over examples and their entries, in the square of the target's unit."""
    same_shape(prediction, target)
    return mean(per_example((prediction - target) ** 2), weight)


def mean_absolute_error(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean of |prediction - target| over examples and their entries, in the target's unit."""
    same_shape(prediction, target)
    return mean(per_example(jnp.abs(prediction - target)), weight)


def r2(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Coefficient of determination: 1 - residual / total sum of squares, averaged over the entries of an example.

    An entry that is the same in all targets counts 1 where it is predicted without error and 0 otherwise, and of one
    example the result is NaN, as it has no variance to explain: both as in scikit-learn.
    """
    same_shape(prediction, target)
    several = target.shape[0] > 1 if weight is None else (jnp.asarray(weight) > 0).sum() > 1
    w = normalised(weight, target.shape[0]).reshape(-1, *[1] * (target.ndim - 1))
    residual = (w * (target - prediction) ** 2).sum(0)
    total = (w * (target - (w * target).sum(0)) ** 2).sum(0)
    # The mean of a constant is not exact in floating point, so that its total is not 0: constants are told by their
    # largest and smallest target instead.
    constant = jnp.where(w > 0, target, -jnp.inf).max(0) == jnp.where(w > 0, target, jnp.inf).min(0)
    score = 1 - residual / jnp.where(constant, 1.0, total)
    score = jnp.where(constant, (residual == 0).astype(score.dtype), score).mean()
    return jnp.where(several, score, jnp.nan)


def signal_to_noise(found: Float[Array, "*batch t"], clean: Float[Array, "*batch t"]) -> Float[Array, "*batch"]:
    """The signal-to-noise ratio 10 log10(sum clean^2 / sum (found - clean)^2), decibels; sums are at least 1e-12."""
    signal, rest = (jnp.maximum((part**2).sum(-1), 1e-12) for part in (clean, found - clean))
    return 10 * jnp.log10(signal / rest)


def peak_signal_to_noise(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], peak: float = 1.0, weight: Weight = None
) -> Float[Array, ""]:
    """10 log10(peak^2 / mean squared error), decibels: of the mean over all examples, infinite where all are exact.

    It is not the mean of the examples' own values, in which one exact example would be infinite.

    Args:
      prediction: in the target's unit.
      target: what is predicted.
      peak: largest minus least possible value of a number: 1 for [0, 1], 255 for 8-bit pixels.
      weight: as above.
    """
    return 10 * jnp.log10(peak**2 / mean_squared_error(prediction, target, weight))


def structural_similarity(
    prediction: Float[Array, "b h w c"],
    target: Float[Array, "b h w c"],
    peak: float = 1.0,
    window: int = 11,
    sigma: float = 1.5,
    weight: Weight = None,
) -> Float[Array, ""]:
    """Mean structural similarity of images, at most 1 (SSIM; Wang et al. 2004, eq. 13 with K1 = 0.01 and K2 = 0.03).

    Means, variances and the covariance are those under a Gaussian window, at every place where it lies within the
    image; channels are averaged.

    Args:
      prediction: images.
      target: what they are to be.
      peak: as in `peak_signal_to_noise`.
      window: sides of the window in pixels.
      sigma: standard deviation of its weights in pixels.
      weight: as above.

    Raises:
      ValueError: the window is not odd, or larger than the images.
    """
    same_shape(prediction, target)
    if window % 2 == 0 or not 1 <= window <= min(prediction.shape[1:3]):
        height, width = prediction.shape[1:3]
        raise ValueError(f"window must be odd and fit into images of {height}x{width}, got {window}")
    offsets = np.arange(window) - window // 2
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    moments = [prediction, target, prediction**2, target**2, prediction * target]
    x, y, xx, yy, xy = (_windowed(each, kernel) for each in moments)
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    alike = (2 * x * y + c1) * (2 * (xy - x * y) + c2)
    return mean(per_example(alike / ((x**2 + y**2 + c1) * (xx - x**2 + yy - y**2 + c2))), weight)


def _windowed(images: Float[Array, "b h w c"], kernel: np.ndarray) -> Float[Array, "b rows columns c"]:
    """Sums under the product of the kernel with itself, where it lies within the image."""
    rows, columns = (
        np.stack([np.pad(kernel, (first, size - len(kernel) - first)) for first in range(size - len(kernel) + 1)])
        for size in images.shape[1:3]
    )
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, images, precision="highest")


def edit_distance(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The fewest insertions, deletions and substitutions that make one sequence of the other (Levenshtein, 1966).

    It is computed on the host, in time |first| |second|; entries are compared by ==.
    """
    above = list(range(len(second) + 1))  # of the beginning of `first` so far, to each beginning of `second`
    for row, one in enumerate(first, 1):
        now = [row]
        for column, other in enumerate(second, 1):
            now.append(min(now[-1] + 1, above[column] + 1, above[column - 1] + (one != other)))
        above = now
    return above[-1]


def bits_per_dim(
    nats: Float[Array, "*any"] | float, shape: Sequence[int], levels: int | None = None, width: float = 1.0
) -> Float[Array, "*any"] | float:
    """Bits per dimension from the negative log-likelihood of one example, nats. Lower is better.

    Args:
      nats: minus log p(x), or a bound on it; any shape.
      shape: of one example, such as (32, 32, 3).
      levels: None where p is a probability of discrete values; where it is a density of dequantised values, the number
        of values that fill its range (256 for 8-bit images). Uniform dequantisation makes the result an upper bound on
        the bits of the discrete values (Theis et al. 2016, eq. 3 to 6).
      width: of that range: 1 for [0, 1], 2 for [-1, 1]. A value's bin is `width / levels` wide, which costs
        log2(levels / width) bits a dimension.

    Raises:
      ValueError: a size of `shape`, `levels` or `width` is not positive.
    """
    return nats / (_dimensions(shape) * math.log(2)) + _bin_bits(levels, width)


def nats_per_example(
    bits: Float[Array, "*any"] | float, shape: Sequence[int], levels: int | None = None, width: float = 1.0
) -> Float[Array, "*any"] | float:
    """The inverse of `bits_per_dim`: minus log p(x) of one example, in nats, from bits per dimension."""
    return (bits - _bin_bits(levels, width)) * (_dimensions(shape) * math.log(2))


def _dimensions(shape: Sequence[int]) -> int:
    if min(shape, default=1) < 1:
        raise ValueError(f"the shape of one example must have positive sizes, got {tuple(shape)}")
    return math.prod(shape)


def _bin_bits(levels: int | None, width: float) -> float:
    """Bits a dimension that a discrete value costs beyond its density, log2(levels / width); 0 for a probability."""
    if levels is None:
        return 0.0
    if levels < 1 or not width > 0:
        raise ValueError(f"levels and width must be positive, got {levels=}, {width=}")
    return math.log2(levels / width)
