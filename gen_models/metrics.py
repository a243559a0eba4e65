"""Metrics of regression, classification, images, ranking and density models, for whole arrays of predictions.

All are pure and may run under `jit` and `vmap`. `weight` is [B], 1 for an example and 0 for the padding of a last batch
(any non-negative numbers will do); without it all examples count alike. Shapes that do not fit, no examples, and
weights that are all 0 raise ValueError.

A label below 0, or beyond the classes, is no class: outside of `jit` it raises ValueError, and inside, where no value
can be looked at, the result is NaN. What labels stand beside a weight of 0 does not matter.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Weight = Float[Array, "b"] | None


def mean_squared_error(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean of (prediction - target)^2 over examples and their entries, in the square of the target's unit."""
    _same_shape(prediction, target)
    return _mean(_per_example((prediction - target) ** 2), weight)


def mean_absolute_error(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean of |prediction - target| over examples and their entries, in the target's unit."""
    _same_shape(prediction, target)
    return _mean(_per_example(jnp.abs(prediction - target)), weight)


def r2(
    prediction: Float[Array, "b *event"], target: Float[Array, "b *event"], weight: Weight = None
) -> Float[Array, ""]:
    """Coefficient of determination: 1 - residual / total sum of squares, averaged over the entries of an example.

    An entry that is the same in all targets counts 1 where it is predicted without error and 0 otherwise, and of one
    example the result is NaN, as it has no variance to explain: both as in scikit-learn.
    """
    _same_shape(prediction, target)
    several = target.shape[0] > 1 if weight is None else (jnp.asarray(weight) > 0).sum() > 1
    w = _normalised(weight, target.shape[0]).reshape(-1, *[1] * (target.ndim - 1))
    residual = (w * (target - prediction) ** 2).sum(0)
    total = (w * (target - (w * target).sum(0)) ** 2).sum(0)
    # The mean of a constant is not exact in floating point, so that its total is not 0: constants are told by their
    # largest and smallest target instead.
    constant = jnp.where(w > 0, target, -jnp.inf).max(0) == jnp.where(w > 0, target, jnp.inf).min(0)
    score = 1 - residual / jnp.where(constant, 1.0, total)
    score = jnp.where(constant, (residual == 0).astype(score.dtype), score).mean()
    return jnp.where(several, score, jnp.nan)


def accuracy(logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Fraction of examples whose largest logit is the label's; of equal logits the first one counts."""
    return top_k_accuracy(logits, labels, 1, weight)


def top_k_accuracy(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], k: int, weight: Weight = None
) -> Float[Array, ""]:
    """Fraction of examples whose label is among the `k` largest logits; of equal logits the first ones count.

    Raises:
      ValueError: `k` is not within 1 and the number of classes.
    """
    fits = _check_labels(logits, labels, weight)
    if not 1 <= k <= logits.shape[-1]:
        raise ValueError(f"k must be within 1 and the {logits.shape[-1]} classes, got {k}")
    best = jax.lax.top_k(logits, k)[1]  # [B, k]
    return _mean(jnp.where(fits, (best == labels[:, None]).any(-1), jnp.nan), weight)


def confusion_matrix(
    predicted: Int[Array, "b"], labels: Int[Array, "b"], classes: int, weight: Weight = None
) -> Float[Array, "k k"]:
    """Counts, or sums of weights, by [true class, predicted class]."""
    _same_shape(predicted, labels)
    fits = _are_classes(labels, classes, weight) & _are_classes(predicted, classes, weight)
    counts = jnp.ones(labels.shape) if weight is None else jnp.asarray(weight, jnp.result_type(float))
    true, guess = jax.nn.one_hot(labels, classes), jax.nn.one_hot(predicted, classes)
    found = jnp.einsum("b,bi,bj->ij", counts, true, guess, precision="highest")
    return jnp.where(fits.all(), found, jnp.nan)


def precision_recall_f1(
    confusion: Float[Array, "k k"],
) -> tuple[Float[Array, "k"], Float[Array, "k"], Float[Array, "k"]]:
    """Precision, recall and F1 of each class, from a `confusion_matrix`; 0 where nothing was predicted or present.

    Their means over classes are the macro averages.
    """
    hits = jnp.diagonal(confusion)
    predicted, present = confusion.sum(0), confusion.sum(1)
    return _ratio(hits, predicted), _ratio(hits, present), _ratio(2 * hits, predicted + present)


def balanced_accuracy(logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Mean over the classes that are present of the share of their examples whose largest logit is theirs."""
    _check_labels(logits, labels, weight)
    shares = _normalised(weight, labels.shape[0])
    confusion = confusion_matrix(logits.argmax(-1), labels, logits.shape[-1], shares)
    recall, present = precision_recall_f1(confusion)[1], confusion.sum(1) != 0  # NaN counts, and stays
    return jnp.where(present, recall + 0 * confusion.sum(), 0).sum() / present.sum()


def negative_log_likelihood(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None
) -> Float[Array, ""]:
    """Mean cross-entropy, nats per example."""
    fits = _check_labels(logits, labels, weight)
    own = jnp.where(fits, labels, 0)[:, None]
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits), own, axis=-1)[:, 0]
    return _mean(jnp.where(fits, nats, jnp.nan), weight)


def brier_score(logits: Float[Array, "b k"], labels: Int[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Mean over examples of sum_k (p_k - [k is the label])^2, from 0 to 2 (Brier 1950)."""
    fits = _check_labels(logits, labels, weight)
    error = jax.nn.softmax(logits) - jax.nn.one_hot(labels, logits.shape[-1])
    return _mean(jnp.where(fits, (error**2).sum(-1), jnp.nan), weight)


def expected_calibration_error(
    logits: Float[Array, "b k"], labels: Int[Array, "b"], bins: int = 15, weight: Weight = None
) -> Float[Array, ""]:
    """Mean gap between confidence and accuracy (Guo et al. 2017, eq. 3): sum over bins of n_m / n |acc_m - conf_m|.

    The bins ((m - 1) / M, m / M] cut the largest probability of each example into `bins` equal widths.

    Raises:
      ValueError: `bins` is below 1.
    """
    fits = _check_labels(logits, labels, weight)
    if bins < 1:
        raise ValueError(f"bins must be 1 or more, got {bins}")
    confidence = jax.nn.softmax(logits).max(-1)
    correct = (logits.argmax(-1) == labels).astype(confidence.dtype)
    index = jnp.clip(jnp.ceil(confidence * bins).astype(jnp.int32) - 1, 0, bins - 1)
    # Of n_m examples in bin m, n_m / n |acc_m - conf_m| = |sum over bin m of (correct - confidence)| / n: n_m cancels.
    gap = _normalised(weight, labels.shape[0]) * jnp.where(fits, correct - confidence, jnp.nan)
    return jnp.abs(jax.ops.segment_sum(gap, index, bins)).sum()


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
    _same_shape(prediction, target)
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
    return _mean(_per_example(alike / ((x**2 + y**2 + c1) * (xx - x**2 + yy - y**2 + c2))), weight)


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


def auroc(scores: Float[Array, "b"], positive: Bool[Array, "b"], weight: Weight = None) -> Float[Array, ""]:
    """Area under the ROC curve: how often a positive example scores above a negative one, a tie being half of it.

    That is the statistic of Mann & Whitney (1947) over the number of pairs (Hanley & McNeil, 1982). A score that is NaN
    makes the area NaN.

    Raises:
      ValueError: outside of `jit`, there is no positive or no negative example; inside, the area is then NaN.
    """
    _same_shape(scores, positive)
    shares = _normalised(weight, scores.shape[0])
    wanted, other = jnp.where(positive, shares, 0), jnp.where(positive, 0, shares)
    if not isinstance(shares.sum() + positive.sum(), jax.core.Tracer) and not (wanted.sum() > 0 and other.sum() > 0):
        raise ValueError("an area under the ROC curve needs positive and negative examples: one kind is absent")
    order = scores.argsort()
    ranked = scores[order]
    below = jnp.concatenate([jnp.zeros(1), jnp.cumsum(other[order])])  # weight of the negatives before each position
    beaten = (below[jnp.searchsorted(ranked, scores)] + below[jnp.searchsorted(ranked, scores, side="right")]) / 2
    area = (wanted / wanted.sum() * (beaten / other.sum())).sum()
    return jnp.where((jnp.isnan(scores) & (shares > 0)).any(), jnp.nan, area)


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


def _per_example(values: Array) -> Array:
    """Mean over all axes but the first, [B]."""
    return values.mean(axis=tuple(range(1, values.ndim)))


def _normalised(weight: Weight, size: int) -> Array:
    """Weights with the sum 1, [B]."""
    _some_examples(size)
    if weight is None:
        return jnp.full(size, 1 / size)
    if jnp.shape(weight) != (size,):
        raise ValueError(f"weight must have the shape ({size},), one number an example, got {jnp.shape(weight)}")
    weight = jnp.asarray(weight, jnp.result_type(float))
    total = weight.sum()
    if not isinstance(total, jax.core.Tracer) and not total > 0:
        raise ValueError(f"the weights of the {size} examples are all 0: a mean needs an example that counts")
    return weight / total


def _mean(values: Array, weight: Weight) -> Array:
    """Weighted mean over examples [B]."""
    _some_examples(values.shape[0])
    if weight is None:
        return jnp.asarray(values).mean()
    # Where the weight is 0 the value is left out, and not multiplied by 0: padding may hold NaN or infinity.
    w = _normalised(weight, values.shape[0])
    return jnp.where(w > 0, w * values, 0.0).sum()


def _ratio(part: Array, whole: Array) -> Array:
    """part / whole, and 0 where the whole is 0; the inner `where` keeps the gradient there from being NaN."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), 0.0)


def _some_examples(size: int) -> None:
    if size == 0:
        raise ValueError("there are no examples to take a mean of: give one at least")


def _same_shape(a: Array, b: Array) -> None:
    if a.shape != b.shape:
        raise ValueError(f"predictions have the shape {a.shape}, but targets {b.shape}: they must be equal")


def _check_labels(logits: Array, labels: Array, weight: Weight) -> Array:
    """Whether each label is a class, bool [B], true too for what weighs nothing.

    Raises:
      ValueError: the shapes do not fit, or, outside of `jit`, a label is no class.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be [B, K] and labels [B], got the shapes {logits.shape} and {labels.shape}")
    return _are_classes(labels, logits.shape[-1], weight)


def _are_classes(labels: Array, classes: int, weight: Weight) -> Array:
    """`_check_labels` for labels alone."""
    fits = jnp.asarray((labels >= 0) & (labels < classes))
    if weight is not None:
        if jnp.shape(weight) != labels.shape:
            raise ValueError(
                f"weight must have the shape {labels.shape}, one number an example, got {jnp.shape(weight)}"
            )
        fits = fits | (jnp.asarray(weight) == 0)
    if not isinstance(fits, jax.core.Tracer) and not bool(fits.all()):
        wrong = int(jnp.asarray(labels)[~fits][0])
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, got {wrong}: leave such examples out, or weigh them 0"
        )
    return fits
