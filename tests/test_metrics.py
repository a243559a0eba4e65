"""Metrics against scikit-learn and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.exceptions
import sklearn.metrics
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gen_models import metrics

RNG = np.random.default_rng(0)
B, K = 200, 5
LABELS = RNG.integers(0, K, B)
LOGITS = (RNG.normal(size=(B, K)) + 1.5 * np.eye(K)[LABELS]).astype(np.float32)
P = scipy.special.softmax(LOGITS.astype(np.float64), axis=-1)
WEIGHT = RNG.integers(0, 2, B).astype(np.float32)
X, Y = RNG.normal(size=(2, B, 3)).astype(np.float32)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["all", "weighted"])
class TestAgainstScikitLearn:
    def test_regression(self, weight):
        args = {"sample_weight": weight}
        for ours, theirs in (
            (metrics.mean_squared_error, sklearn.metrics.mean_squared_error),
            (metrics.mean_absolute_error, sklearn.metrics.mean_absolute_error),
            (metrics.r2, sklearn.metrics.r2_score),
        ):
            np.testing.assert_allclose(ours(X, Y, weight), theirs(Y, X, **args), rtol=1e-5)
            np.testing.assert_allclose(ours(X[:, 0], Y[:, 0], weight), theirs(Y[:, 0], X[:, 0], **args), rtol=1e-5)

    def test_accuracy(self, weight):
        expected = sklearn.metrics.accuracy_score(LABELS, LOGITS.argmax(-1), sample_weight=weight)
        np.testing.assert_allclose(metrics.accuracy(LOGITS, LABELS, weight), expected, rtol=1e-6)

    @pytest.mark.parametrize("k", [1, 2, 4])
    def test_top_k_accuracy(self, k, weight):
        expected = sklearn.metrics.top_k_accuracy_score(LABELS, LOGITS, k=k, sample_weight=weight)
        np.testing.assert_allclose(metrics.top_k_accuracy(LOGITS, LABELS, k, weight), expected, rtol=1e-6)

    def test_confusion_precision_recall_f1(self, weight):
        guess = np.minimum(LOGITS.argmax(-1), K - 2)  # the last class is never predicted
        confusion = metrics.confusion_matrix(guess, LABELS, K, weight)
        np.testing.assert_array_equal(confusion, sklearn.metrics.confusion_matrix(LABELS, guess, sample_weight=weight))
        expected = sklearn.metrics.precision_recall_fscore_support(
            LABELS, guess, sample_weight=weight, zero_division=0.0
        )
        for ours, theirs in zip(metrics.precision_recall_f1(confusion), expected[:3], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
        assert metrics.precision_recall_f1(confusion)[0][-1] == 0

    def test_negative_log_likelihood(self, weight):
        expected = sklearn.metrics.log_loss(LABELS, P, sample_weight=weight)
        np.testing.assert_allclose(metrics.negative_log_likelihood(LOGITS, LABELS, weight), expected, rtol=1e-5)

    def test_brier_score(self, weight):
        squares = ((P - np.eye(K)[LABELS]) ** 2).sum(
            -1
        )  # its definition; scikit-learn's multi-class one is from 1.7 on
        expected = np.average(squares, weights=weight)
        np.testing.assert_allclose(metrics.brier_score(LOGITS, LABELS, weight), expected, rtol=1e-5)

    @pytest.mark.parametrize("bins", [1, 7, 15])
    def test_expected_calibration_error(self, bins, weight):
        w = np.ones(B) if weight is None else weight
        confidence, correct, expected = P.max(-1), LOGITS.argmax(-1) == LABELS, 0.0
        for m in range(bins):  # Guo et al. (2017), eq. 2 and 3, as they are written
            inside = (confidence > m / bins) & (confidence <= (m + 1) / bins) & (w > 0)
            if inside.any():
                expected += inside.sum() / w.sum() * abs(correct[inside].mean() - confidence[inside].mean())
        ours = metrics.expected_calibration_error(LOGITS, LABELS, bins, weight)
        np.testing.assert_allclose(ours, expected, rtol=1e-4)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["all", "weighted"])
def test_balanced_accuracy_is_scikit_learns(weight):
    rare = np.where((LABELS == 2) & (np.arange(B) > 20), 0, LABELS)  # classes of unlike sizes
    expected = sklearn.metrics.balanced_accuracy_score(rare, LOGITS.argmax(-1), sample_weight=weight)
    np.testing.assert_allclose(metrics.balanced_accuracy(LOGITS, rare, weight), expected, rtol=1e-6)
    present = rare != 3  # a class without examples does not count
    score = sklearn.metrics.recall_score(
        rare[present], LOGITS[present].argmax(-1), labels=[0, 1, 2, 4], average="macro"
    )
    np.testing.assert_allclose(metrics.balanced_accuracy(LOGITS[present], rare[present]), score, rtol=1e-6)


OF_LABELS = {
    "accuracy": metrics.accuracy,
    "top_k_accuracy": lambda logits, labels, weight=None: metrics.top_k_accuracy(logits, labels, 2, weight),
    "balanced_accuracy": metrics.balanced_accuracy,
    "negative_log_likelihood": metrics.negative_log_likelihood,
    "brier_score": metrics.brier_score,
    "expected_calibration_error": lambda logits, labels, weight=None: metrics.expected_calibration_error(
        logits, labels, weight=weight
    ),
    "confusion_matrix": lambda logits, labels, weight=None: metrics.confusion_matrix(
        logits.argmax(-1), labels, K, weight
    ),
}


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_label_that_is_no_class(name):
    """An error outside of `jit`, NaN inside, and nothing at all where it weighs nothing."""
    metric, few = OF_LABELS[name], LOGITS[:8]
    for wrong in (-1, K, K + 200):
        labels = LABELS[:8].copy()
        labels[3] = wrong
        with pytest.raises(ValueError, match=f"labels must be from 0 to {K - 1}, got {wrong}:"):
            metric(few, labels)
        assert np.isnan(jax.jit(metric)(few, labels)).all()
        weight = (np.arange(8) != 3).astype(np.float32)
        rest = np.arange(8) != 3
        for found in (metric(few, labels, weight), jax.jit(metric)(few, labels, weight)):
            np.testing.assert_allclose(found, metric(few[rest], labels[rest]), rtol=1e-6)


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.balanced_accuracy, metrics.negative_log_likelihood])
def test_logits_that_are_nan_are_no_class(metric):
    logits, labels = np.where(np.arange(3)[:, None] == 1, np.nan, np.eye(3, dtype=np.float32)), np.array([0, 0, 2])
    assert np.isnan(metric(logits, labels))
    assert np.isfinite(metric(logits, labels, np.float32([1, 0, 1])))


def test_a_prediction_that_is_no_class():
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 3"):
        metrics.confusion_matrix(np.array([0, 3]), np.array([0, 1]), 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [*OF_LABELS, "mean_squared_error", "mean_absolute_error", "r2"])
def test_a_mean_over_no_examples_is_an_error(name):
    labels = np.zeros(0, np.int32)
    call = OF_LABELS[name] if name in OF_LABELS else getattr(metrics, name)
    none = (LOGITS[:0], labels) if name in OF_LABELS else (X[:0], Y[:0])
    some = (LOGITS[:3], LABELS[:3]) if name in OF_LABELS else (X[:3], Y[:3])
    if name != "confusion_matrix":  # whose counts of nothing are 0
        for how in (call, jax.jit(call)):
            with pytest.raises(ValueError, match="no examples"):
                how(*none)
        with pytest.raises(ValueError, match="weights of the 3 examples are all 0"):
            call(*some, weight=np.zeros(3, np.float32))


def test_r2_of_one_example_is_not_defined():
    with pytest.warns(sklearn.exceptions.UndefinedMetricWarning):
        assert np.isnan(sklearn.metrics.r2_score(Y[:1, 0], X[:1, 0]))
    assert np.isnan(metrics.r2(X[:1], Y[:1]))
    weight = np.array([0, 1, 0], np.float32)
    assert np.isnan(metrics.r2(X[:3], Y[:3], weight))
    assert np.isnan(jax.jit(metrics.r2)(X[:3], Y[:3], weight))
    assert np.isfinite(metrics.r2(X[:3], Y[:3], np.array([0, 1, 1], np.float32)))


def test_constant_logits_are_no_better_than_chance():
    """A tie must not count as a hit: a collapsed classifier's accuracy is that of its first classes."""
    labels = jnp.arange(K)
    assert metrics.accuracy(jnp.zeros((K, K)), labels) == pytest.approx(1 / K)
    assert metrics.top_k_accuracy(jnp.zeros((K, K)), labels, 3) == pytest.approx(3 / K)


def test_a_calibrated_classifier_has_no_calibration_error():
    logits = jnp.log(jnp.array([[0.75, 0.25]] * 4))
    assert metrics.expected_calibration_error(logits, jnp.array([0, 0, 0, 1])) == pytest.approx(0, abs=1e-6)
    assert metrics.expected_calibration_error(logits, jnp.array([1, 1, 1, 0])) == pytest.approx(0.5, rel=1e-5)


def test_r2_of_constant_targets_is_scikit_learns():
    constant = np.full(10, 0.1, np.float32)
    assert metrics.r2(constant, constant) == sklearn.metrics.r2_score(constant, constant) == 1
    assert metrics.r2(constant + 1, constant) == sklearn.metrics.r2_score(constant, constant + 1) == 0


def test_padding_does_not_matter_even_where_it_is_not_finite():
    logits = np.concatenate([LOGITS[:4], np.full((2, K), np.nan, np.float32)])
    weight = jnp.array([1.0] * 4 + [0.0] * 2)
    ours = metrics.negative_log_likelihood(logits, LABELS[:6], weight)
    np.testing.assert_allclose(ours, metrics.negative_log_likelihood(LOGITS[:4], LABELS[:4]), rtol=1e-6)


def test_metrics_run_under_jit_and_vmap():
    stacked = jnp.stack([LOGITS, -LOGITS])
    for metric in (metrics.accuracy, metrics.brier_score, metrics.expected_calibration_error):
        both = jax.jit(jax.vmap(lambda logits, metric=metric: metric(logits, LABELS)))(stacked)
        np.testing.assert_allclose(both, [metric(LOGITS, LABELS), metric(-LOGITS, LABELS)], rtol=1e-5)


def test_bits_per_dim_of_discrete_values():
    uniform = 3072 * np.log(256)  # nats of a uniform 8-bit image
    assert metrics.bits_per_dim(uniform, (32, 32, 3)) == pytest.approx(8)
    assert metrics.nats_per_example(8, (32, 32, 3)) == pytest.approx(uniform)
    assert metrics.bits_per_dim(2.99 * 3072 * np.log(2), (32, 32, 3)) == pytest.approx(2.99)


def test_bits_per_dim_of_a_density():
    """A density that is constant on each value's bin is a discrete distribution: both must cost the same bits."""
    p = RNG.dirichlet(np.ones(16))
    values = RNG.integers(0, 16, (6, 2))
    nats = -np.log(p[values]).sum(1)
    for width in (1.0, 2.0):  # pixels on [0, 1] and on [-1, 1]
        density_nats = -np.log(p[values] * 16 / width).sum(1)
        bits = metrics.bits_per_dim(density_nats, (2,), levels=16, width=width)
        np.testing.assert_allclose(bits, metrics.bits_per_dim(nats, (2,)), rtol=1e-12)
        np.testing.assert_allclose(metrics.nats_per_example(bits, (2,), levels=16, width=width), density_nats)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy(LOGITS, LABELS[:3]), r"logits must be \[B, K\] and labels \[B\]"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, 6), "k must be within 1 and the 5 classes, got 6"),
        (lambda: metrics.mean_squared_error(X, Y[:, 0]), "they must be equal"),
        (lambda: metrics.accuracy(LOGITS, LABELS, np.ones(3)), r"weight must have the shape \(200,\)"),
        (lambda: metrics.expected_calibration_error(LOGITS, LABELS, 0), "bins must be 1 or more"),
        (lambda: metrics.bits_per_dim(1.0, (0, 3)), "positive sizes"),
        (lambda: metrics.bits_per_dim(1.0, (3,), levels=0), "levels and width must be positive"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_auroc_is_scikit_learns_with_ties_and_weights():
    positive = LABELS < 2
    scores = np.round(RNG.normal(size=B) + positive, 1).astype(np.float32)  # rounded: many are equal
    assert len(np.unique(scores)) < B / 2
    for weight in (None, WEIGHT, RNG.uniform(size=B).astype(np.float32)):
        expected = sklearn.metrics.roc_auc_score(positive, scores, sample_weight=weight)
        np.testing.assert_allclose(metrics.auroc(scores, positive, weight), expected, rtol=1e-5)
        np.testing.assert_allclose(metrics.auroc(-scores, positive, weight), 1 - expected, rtol=1e-4)
    assert metrics.auroc(np.zeros(B, np.float32), positive) == pytest.approx(0.5)
    assert metrics.auroc(positive.astype(np.float32), positive) == pytest.approx(1)


def test_auroc_needs_both_kinds_and_numbers():
    scores, all_alike = np.arange(4, dtype=np.float32), np.ones(4, bool)
    for kind in (all_alike, ~all_alike):
        with pytest.raises(ValueError, match="one kind is absent"):
            metrics.auroc(scores, kind)
        assert np.isnan(jax.jit(metrics.auroc)(scores, kind))
    positive, unknown = np.array([True, False, True, False]), np.array([1, 0, np.nan, 2], np.float32)
    assert np.isnan(metrics.auroc(unknown, positive))
    np.testing.assert_allclose(metrics.auroc(unknown, positive, np.array([1.0, 1, 0, 1], np.float32)), 0.5)


IMAGES = RNG.uniform(size=(2, 3, 15, 12, 2)).astype(np.float32)  # two stacks of three images


@pytest.mark.parametrize("peak", [1.0, 255.0])
def test_metrics_of_images_are_scikit_images(peak):
    a, b = peak * IMAGES
    b = (0.6 * a + 0.4 * b).astype(np.float32)
    np.testing.assert_allclose(
        metrics.peak_signal_to_noise(a, b, peak), peak_signal_noise_ratio(b, a, data_range=peak), rtol=1e-5
    )
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    each = [structural_similarity(x, y, data_range=peak, **options) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(metrics.structural_similarity(a, b, peak), np.mean(each), rtol=1e-4)
    weight = np.array([0.0, 1, 3], np.float32)
    np.testing.assert_allclose(
        metrics.structural_similarity(a, b, peak, weight=weight), np.average(each, weights=weight), rtol=1e-4
    )
    np.testing.assert_allclose(metrics.structural_similarity(a, a, peak), 1, rtol=1e-5)
    assert np.isposinf(metrics.peak_signal_to_noise(a, a, peak))
    for window in (4, 13):
        with pytest.raises(ValueError, match=f"images of 15x12, got {window}"):
            metrics.structural_similarity(a, b, window=window)
