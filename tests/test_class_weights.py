"""Class weights against scikit-learn, and against a set in which rare classes are repeated."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import sklearn.utils.class_weight

from gen_models.data.report import absent, report_of
from gen_models.data.splits import Splits
from gen_models.models.supervised.classification import balanced_weights
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.run.choices import class_weights

Y = np.repeat(np.arange(3), [12, 6, 2]).astype(np.int32)
X = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
PARAMS = {
    "logits": {
        "kernel": np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32),
        "bias": np.array([0.3, -0.2, 0.1], np.float32),
    }
}


def _loss(weights, x=X, y=Y, train=True, **options):
    model = logistic_regression((4,), 3, class_weights=weights, **options)
    of = lambda params: model.loss(params, {}, {"x": x, "y": y}, jax.random.key(0), step=0, train=train)  # noqa: E731
    (value, (_, metrics)), gradient = jax.jit(jax.value_and_grad(of, has_aux=True))(PARAMS)
    return value, metrics, gradient


def test_balanced_weights_are_scikit_learns():
    counts = np.bincount(Y)
    expected = sklearn.utils.class_weight.compute_class_weight("balanced", classes=np.arange(3), y=Y)
    np.testing.assert_allclose(balanced_weights(counts), expected)
    assert (balanced_weights(counts) * counts).sum() / 20 == pytest.approx(1), "their mean over the examples is 1"
    assert balanced_weights([5, 5]) == (1, 1)
    assert balanced_weights([5, 0, 10]) == (1.5, 0, 0.75), "what is absent is not a class"
    for counts in ([0, 0], [3, -1], []):
        with pytest.raises(ValueError, match="classes must have 0 examples or more, and one of them some"):
            balanced_weights(counts)


def test_the_training_loss_is_the_weighted_log_loss():
    weights = balanced_weights(np.bincount(Y))
    value, metrics, _ = _loss(weights)
    p = scipy.special.softmax(X @ PARAMS["logits"]["kernel"] + PARAMS["logits"]["bias"], 1)
    expected = sklearn.metrics.log_loss(Y, p, sample_weight=np.array(weights)[Y])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    plain, _, _ = _loss(None)
    np.testing.assert_allclose(plain, sklearn.metrics.log_loss(Y, p), rtol=1e-5)
    np.testing.assert_allclose(metrics["cross_entropy"], plain, rtol=1e-6, err_msg="what is shown is unweighted")
    np.testing.assert_allclose(_loss(weights, train=False)[0], plain, rtol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_weights_do_what_repeating_the_rare_classes_does(label_smoothing):
    weights = balanced_weights(np.bincount(Y))
    repeated = np.repeat(np.arange(20), np.array([1, 2, 6])[Y])
    value, _, gradient = _loss(weights, label_smoothing=label_smoothing)
    expected, _, wanted = _loss(None, X[repeated], Y[repeated], label_smoothing=label_smoothing)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), gradient, wanted)


@pytest.mark.parametrize("weights", [(1, 2), (1, 2, -1), (1, 2, np.inf), (1, 2, np.nan)])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(ValueError, match="class_weights must be 3 finite numbers of 0 or more"):
        logistic_regression((4,), 3, class_weights=weights)


def test_what_the_command_lines_word_stands_for():
    data = Splits.of_arrays({"x": X, "y": Y}, {"x": X[:3], "y": Y[:3]}, name="toy", num_classes=3)
    assert class_weights("none", data) is None
    assert class_weights("balanced", data) == balanced_weights([12, 6, 2]), "of the training part"
    gone = absent(report_of(data), OSError("gone"))
    assert class_weights("balanced", gone) is None, "a run without its data is not trained"
    unlabelled = replace(data.train, num_classes=None)
    with pytest.raises(ValueError, match="the classes of 'toy' cannot be counted"):
        class_weights("balanced", replace(data, train=unlabelled, held_out=None, test=None))
