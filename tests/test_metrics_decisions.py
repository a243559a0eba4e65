"""Precision, recall, F1, curves and calibration against scikit-learn, on random and on degenerate input."""

import warnings

import jax
import numpy as np
import pytest
import scipy.special
import sklearn.calibration
import sklearn.metrics
from PIL import Image

from gen_models import metrics
from gen_models.measures import ClassificationReport
from tests.measured import KEY, figures_of, split_of, trained_of

RNG = np.random.default_rng(3)
B, K = 60, 4
WEIGHT = RNG.uniform(0.1, 2, B).astype(np.float32)
LABELS = RNG.integers(0, K, B)
# labels and guesses: as they come; a class absent; one never predicted; one guessed throughout; one example
DECISIONS = {
    "random": (LABELS, RNG.integers(0, K, B)),
    "absent": (np.where(LABELS == 2, 0, LABELS), RNG.integers(0, K, B)),
    "never predicted": (LABELS, np.minimum(LABELS, K - 2)),
    "neither": (np.minimum(LABELS, K - 2), np.minimum(RNG.integers(0, K, B), K - 2)),
    "constant": (LABELS, np.zeros(B, int)),
    "all wrong": (np.zeros(B, int), np.ones(B, int)),
    "one example": (LABELS[:1], LABELS[:1]),
}
SCORES = {
    "random": (RNG.normal(size=B), LABELS < 2),
    "ties": (np.round(RNG.normal(size=B)), LABELS < 2),
    "all equal": (np.full(B, 0.3), LABELS < 2),
    "no positive": (RNG.normal(size=B), np.zeros(B, bool)),
    "no negative": (RNG.normal(size=B), np.ones(B, bool)),
    "one example": (np.zeros(1), np.ones(1, bool)),
    "perfect": (np.arange(B) - B / 2, np.arange(B) >= B / 2),
}


@pytest.fixture(autouse=True)
def _undefined_is_allowed():
    """scikit-learn warns where a class is absent; we say so in the docstrings, and compare the values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.slow_cases("never predicted", "constant", "neither")
@pytest.mark.parametrize("name", DECISIONS)
def test_precision_recall_and_f1_are_scikit_learns(name):
    labels, guess = DECISIONS[name]
    for weight in (None, WEIGHT[: len(labels)]):
        confusion = metrics.confusion_matrix(guess.astype(np.int32), labels.astype(np.int32), K, weight)
        for zero in (0.0, 1.0, np.nan):
            options = {"labels": range(K), "sample_weight": weight, "zero_division": zero}
            expected = sklearn.metrics.precision_recall_fscore_support(labels, guess, **options)
            for ours, theirs in zip(metrics.precision_recall_f1(confusion, zero), expected[:3], strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-5)
            for average in ("macro", "micro", "weighted"):
                expected = sklearn.metrics.precision_recall_fscore_support(labels, guess, average=average, **options)
                ours = metrics.averaged_precision_recall_f1(confusion, average, zero)
                np.testing.assert_allclose(ours, expected[:3], rtol=1e-5, err_msg=f"{average}, {zero}")


@pytest.mark.parametrize("name", SCORES)
def test_curves_and_their_areas_are_scikit_learns(name):
    scores, positive = SCORES[name]
    for weight in (None, WEIGHT[: len(scores)], np.r_[0.0, np.ones(len(scores) - 1)]):
        if weight is not None and not weight.any():
            continue
        ours = metrics.roc_curve(scores, positive, weight)
        theirs = sklearn.metrics.roc_curve(positive, scores, sample_weight=weight, drop_intermediate=False)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        found = metrics.precision_recall_curve(scores, positive, weight)
        theirs = sklearn.metrics.precision_recall_curve(positive, scores, sample_weight=weight)
        for one, other in zip(found, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        expected = sklearn.metrics.average_precision_score(positive, scores, sample_weight=weight)
        assert metrics.average_precision(scores, positive, weight) == pytest.approx(expected, abs=1e-12)
        if positive.any() and not positive.all():
            area = metrics.area_under_curve(*ours[:2])
            assert area == pytest.approx(sklearn.metrics.roc_auc_score(positive, scores, sample_weight=weight))
            assert area == pytest.approx(float(metrics.auroc(scores, positive, weight)), rel=1e-5)
    fall = np.array([3.0, 2, 2, 0]), np.array([1.0, 2, 5, 4])
    assert metrics.area_under_curve(*fall) == sklearn.metrics.auc(*fall) == 10.5


def test_calibration_curves_are_scikit_learns():
    p = scipy.special.expit(RNG.normal(size=400))
    true = RNG.uniform(size=400) < p**2
    for each in (p, np.round(p, 1), np.full(400, 0.25), np.r_[0.0, 1.0, p[2:]]):
        for strategy in ("uniform", "quantile"):
            ours = metrics.calibration_curve(each, true, 7, strategy)
            observed, predicted = sklearn.calibration.calibration_curve(true, each, n_bins=7, strategy=strategy)
            np.testing.assert_allclose(ours.observed, observed, rtol=1e-12)
            np.testing.assert_allclose(ours.predicted, predicted, rtol=1e-12)
            assert ours.weight.sum() == pytest.approx(1)


def test_binary_cross_entropy_is_scikit_learns_and_exact_for_large_logits():
    logits, true = RNG.normal(size=B).astype(np.float32), (LABELS < 2).astype(np.float32)
    for weight in (None, WEIGHT):
        expected = sklearn.metrics.log_loss(true, scipy.special.expit(logits.astype(float)), sample_weight=weight)
        np.testing.assert_allclose(metrics.binary_cross_entropy(logits, true, weight), expected, rtol=1e-5)
    several = RNG.normal(size=(B, 3)).astype(np.float32), RNG.uniform(size=(B, 3)).astype(np.float32)
    expected = -(several[1] * np.log(scipy.special.expit(several[0])) + (1 - several[1]) * np.log(
        scipy.special.expit(-several[0])
    )).mean()  # fmt: skip
    np.testing.assert_allclose(jax.jit(metrics.binary_cross_entropy)(*several), expected, rtol=1e-5)
    assert metrics.binary_cross_entropy(np.float32([-300.0]), np.float32([1.0])) == 300
    assert np.isnan(metrics.binary_cross_entropy(np.float32([0.0]), np.float32([2.0])))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.precision_recall_f1(np.eye(2), 0.5), "zero_division must be 0, 1 or NaN, got 0.5"),
        (lambda: metrics.averaged_precision_recall_f1(np.eye(2), "makro"), "unknown average 'makro': did you mean"),
        (lambda: metrics.roc_curve(np.zeros(3), np.zeros(2, bool)), r"must be \[B\], got the shapes \(3,\) and \(2,\)"),
        (lambda: metrics.roc_curve(np.array([0, np.nan]), np.zeros(2, bool)), "1 scores are not finite"),
        (lambda: metrics.roc_curve(np.zeros(0), np.zeros(0, bool)), "no examples"),
        (lambda: metrics.roc_curve(np.zeros(2), np.zeros(2, bool), -np.ones(2)), "0 or more and not all 0"),
        (lambda: metrics.roc_curve(np.zeros(2), np.array([1, 2])), "or 1 or 0, got 2: compare labels with a class"),
        (lambda: metrics.calibration_curve(np.zeros(1), np.array([2])), "or 1 or 0, got 2: compare labels with"),
        (lambda: metrics.area_under_curve([0, 2, 1], [0, 0, 0]), "must rise or fall throughout"),
        (lambda: metrics.area_under_curve([0], [0]), "needs two points"),
        (lambda: metrics.calibration_curve(np.array([1.5]), np.ones(1, bool)), "from 0 to 1, got 1.5"),
        (lambda: metrics.calibration_curve(np.zeros(1), np.ones(1, bool), 0), "bins must be 1 or more"),
        (lambda: metrics.calibration_curve(np.zeros(1), np.ones(1, bool), 3, "even"), "unknown strategy"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow_cases("2")
@pytest.mark.parametrize("classes", [4, 2])
def test_the_report_is_scikit_learns(classes, tmp_path):
    """Of four classes, one of which the split lacks, each stands against the others; of two the second alone."""
    trained = trained_of(apply=lambda params, stats, x: x.reshape(len(x), -1)[:, :classes])
    y = RNG.integers(0, min(classes, 3), 300).astype(np.int32)
    x = RNG.normal(size=(300, 2, 2, 1)).astype(np.float32)
    x.reshape(300, 4)[np.arange(300), y] += 1
    split = split_of({"x": x, "y": y}, num_classes=classes)
    found = {name: figure.value for name, figure in figures_of(ClassificationReport(), trained, split).items()}
    p = scipy.special.softmax(x.reshape(300, 4)[:, :classes].astype(float), 1)
    guess, own = p.argmax(1), range(3) if classes == 4 else [1]
    options = {"labels": range(classes), "zero_division": 0.0}
    macro = sklearn.metrics.precision_recall_fscore_support(y, guess, average="macro", **options)
    np.testing.assert_allclose([found["precision"], found["recall"], found["F1"]], macro[:3], rtol=1e-5)
    weighted = sklearn.metrics.f1_score(y, guess, average="weighted", **options)
    assert found["weighted F1"] == pytest.approx(weighted, rel=1e-5)
    area = np.mean([sklearn.metrics.roc_auc_score(y == k, p[:, k]) for k in own])
    assert found["AUROC"] == pytest.approx(area, rel=1e-4)
    precision = np.mean([sklearn.metrics.average_precision_score(y == k, p[:, k]) for k in own])
    assert found["average precision"] == pytest.approx(precision, rel=1e-4)
    ClassificationReport().draw(trained, split, KEY, tmp_path)
    with Image.open(tmp_path / "decisions.png") as picture:
        assert picture.size[0] > 1000
