"""Heads of networks: losses against scikit-learn and SciPy, and what fits with what; the perceptron and its theorem."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mean_squared_error

from gen_models.data.splits import Splits
from gen_models.measures.base import Split, Trained
from gen_models.measures.classification import Accuracy
from gen_models.models.sequences.recurrent_network import recurrent_network
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.heads import HEADS
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.models.supervised.mlp import mlp
from gen_models.models.supervised.perceptron import perceptron
from gen_models.training.path import parameter_path

DRAW = np.random.default_rng(0)
N = 30
OUTPUTS = {name: DRAW.normal(size=(N, 6)).astype(np.float32) for name in HEADS}
MARKS = DRAW.integers(2, size=(N, 3)).astype(np.int32)
NUMBERS = DRAW.normal(size=(N, 3)).astype(np.float32)
LABELS = {"classes": MARKS.sum(1), "binary": MARKS[:, 0], "labels": MARKS, "margin": MARKS[:, 0], "numbers": NUMBERS}
LABELS["normal"] = NUMBERS
SIZES = {"classes": 4, "binary": 1, "labels": 3, "margin": 1, "numbers": 3, "normal": 3}


def _sigmoid(z):
    return 1 / (1 + np.exp(-np.float64(z)))


def _references(f):
    """The mean losses of the outputs, by others."""
    p = np.exp(np.float64(f["classes"][:, :4]))
    sides = 2 * MARKS[:, 0] - 1
    return {
        "classes": log_loss(LABELS["classes"], p / p.sum(1, keepdims=True), labels=range(4)),
        "binary": log_loss(MARKS[:, 0], _sigmoid(f["binary"][:, 0])),
        "labels": sum(log_loss(MARKS[:, k], _sigmoid(f["labels"][:, k])) for k in range(3)),
        "margin": np.maximum(0, -sides * f["margin"][:, 0]).mean(),
        "numbers": mean_squared_error(NUMBERS, f["numbers"][:, :3]),
        "normal": -stats.norm.logpdf(NUMBERS, f["normal"][:, :3], np.exp(f["normal"][:, 3:])).sum(1).mean(),
    }


def test_losses_are_those_of_scikit_learn_and_scipy():
    reference = _references(OUTPUTS)
    for name, make in HEADS.items():
        head = make(SIZES[name])
        y = head.checked({"y": LABELS[name]}, (N,), None)
        terms, metrics = head.scored(jnp.asarray(OUTPUTS[name][:, : head.width]), y)
        assert terms.shape == (N,) and all(value.shape == (N,) for value in metrics.values()), name
        np.testing.assert_allclose(terms.mean(), reference[name], rtol=1e-5, err_msg=name)
    logits, right = OUTPUTS["labels"][:, :3], (OUTPUTS["labels"][:, :3] > 0) == (MARKS == 1)
    metrics = HEADS["labels"](3).scored(jnp.asarray(logits), jnp.asarray(MARKS))[1]
    np.testing.assert_allclose(metrics["accuracy"].mean(), right.mean(), rtol=1e-6)
    np.testing.assert_allclose(metrics["all_right"].mean(), right.all(1).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    "name", [one if one in ("binary", "normal") else pytest.param(one, marks=pytest.mark.slow) for one in HEADS]
)
def test_a_perceptron_of_many_layers_learns_with_every_head(name):
    """What is asked is a function of x; a few steps of one program bring the loss down."""
    x = DRAW.normal(size=(N, 3)).astype(np.float32)
    y = {"numbers": x, "normal": x, "labels": (x > 0).astype(np.int32), "classes": (x > 0).sum(1)}
    batch = {"x": x, "y": y.get(name, (x[:, 0] > 0).astype(np.int32))}
    model = mlp((3,), SIZES[name], hidden=(8,), answer=name)
    batches = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (40, *leaf.shape)), batch)
    params, losses = parameter_path(model, optax.adam(0.03), batches, jax.random.key(0))
    assert losses[-1] < losses[0] - 0.1
    last = jax.tree.map(lambda leaf: leaf[-1], params)
    predicted = model.apply(last, {}, x)
    assert predicted.shape == {"binary": (N,), "margin": (N,), "classes": (N, 4)}.get(name, (N, 3))
    value, (_, metrics) = model.loss(last, {}, batch, jax.random.key(0), step=0, train=False)
    assert value < losses[0] and all(jnp.isfinite(metric) for metric in metrics.values())
    if name == "normal":
        mean, deviation = model.apply(last, {}, x, deviations=True)
        np.testing.assert_array_equal(mean, predicted)
        np.testing.assert_allclose(-stats.norm.logpdf(x, mean, deviation).sum(1).mean(), value, rtol=1e-5)
    else:
        with pytest.raises(ValueError, match=f"answer='{name}' has no deviations"):
            model.apply(last, {}, x, deviations=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mlp((3,), 2, answer="binary"), "answer='binary' is one number, got 2: several are answer='labels'"),
        (lambda: mlp((3,), 2, answer="number"), "unknown kind of answer 'number': did you mean 'numbers'"),
        (lambda: cnn((4, 4, 1), 1), "a classifier needs two classes or more, got num_classes=1"),
        (lambda: mlp((3,), 2, answer="numbers", label_smoothing=0.1), "are for classes: leave them out"),
        (lambda: mlp((3,), 2, answer="labels", class_weights=(1.0, 2.0)), "are for classes: leave them out"),
        (lambda: logistic_regression((3,), 2, answer="normal"), "unknown kind of answer of logistic regression"),
        (lambda: recurrent_network((4, 2), 2, answer="binary"), "answer='binary' is one number, got outputs=2"),
    ],
)
def test_impossible_answers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("binary", np.array([0, 2]), "labels must be 0 or 1, got 2"),
        ("binary", np.array([0.0, 1.0]), r"'y' must be \[2\] integers, each 0 or 1, got float64"),
        ("labels", np.array([0, 1]), r"'y' must be \[2, 3\] integers"),
        ("labels", np.array([[0, 1, -1]] * 2), "labels must be 0 or 1, got -1"),
        ("numbers", np.ones((2, 2)), r"'y' must be \[2, 3\], numbers for each answer"),
    ],
)
def test_labels_of_another_head_are_refused(name, y, message):
    model = mlp((3,), SIZES[name], hidden=(), answer=name)
    x = np.ones((2, 3), np.float32)
    params, stats_ = model.init(jax.random.key(0), {"x": x})
    with pytest.raises(ValueError, match=message):
        model.loss(params, stats_, {"x": x, "y": y}, jax.random.key(0), step=0)


def test_a_label_that_is_none_is_nan_inside_of_jit():
    model = logistic_regression((3,), 1, answer="binary")
    x = np.ones((2, 3), np.float32)
    params, _ = model.init(jax.random.key(0), {"x": x})
    loss = jax.jit(lambda y: model.loss(params, {}, {"x": x, "y": y}, jax.random.key(0), step=0)[0])
    assert jnp.isnan(loss(np.array([0, 2]))) and jnp.isfinite(loss(np.array([0, 1])))


def test_binary_logistic_regression_has_scikit_learns_optimum_and_its_accuracy():
    """At its weights the gradient is 0; two classes by softmax with w / 2 and -w / 2 have the same probabilities."""
    x = DRAW.normal(size=(200, 4))
    y = (x @ [1, -2, 0.5, 0] + DRAW.logistic(size=200) > 0.3).astype(np.int32)
    l2 = 0.02
    theirs = LogisticRegression(C=1 / (l2 * 200), tol=1e-10, max_iter=1000).fit(x, y)
    batch = {"x": x.astype(np.float32), "y": y}
    model = logistic_regression((4,), 1, answer="binary", l2=l2)
    optimum = {"logits": {"kernel": jnp.float32(theirs.coef_.T), "bias": jnp.float32(theirs.intercept_)}}

    def loss(params):
        return model.loss(params, {}, batch, jax.random.key(0), step=0)[0]

    value, gradient = jax.value_and_grad(loss)(optimum)
    assert optax.tree.norm(gradient) < 1e-6 < 0.01 < l2 * optax.tree.norm(optimum["logits"]["kernel"])
    found = log_loss(y, theirs.predict_proba(x)) + l2 / 2 * (theirs.coef_**2).sum()
    np.testing.assert_allclose(value, found, rtol=1e-5)
    both = {"logits": jax.tree.map(lambda leaf: jnp.concatenate([-leaf / 2, leaf / 2], -1), optimum["logits"])}
    p = jax.nn.softmax(logistic_regression((4,), 2).apply(both, {}, batch["x"]))
    np.testing.assert_allclose(p[:, 1], theirs.predict_proba(x)[:, 1], rtol=1e-4)
    splits = Splits.of_arrays(batch, batch, name="marks", num_classes=2)
    split = Split(splits, splits.test, "test")
    figures = {f.name: f.value for f in Accuracy().figures(Trained(model, optimum, {}), split, jax.random.key(0))}
    np.testing.assert_allclose(figures["accuracy"], theirs.score(x, y), rtol=1e-6)
    np.testing.assert_allclose(figures["cross-entropy"], log_loss(y, theirs.predict_proba(x)), rtol=1e-4)


def test_a_recurrent_network_takes_the_same_heads():
    """Yes or no at each step, of sequences that end early: the mean loss over steps is scikit-learn's."""
    x, y = DRAW.normal(size=(3, 4, 2)).astype(np.float32), DRAW.integers(2, size=(3, 4)).astype(np.int32)
    y[1, 2:] = 7  # whatever padding holds
    batch = {"x": x, "y": y, "length": np.array([4, 2, 3], np.int32)}
    model = recurrent_network((4, 2), 1, answer="binary", at="each", features=3)
    params, stats_ = model.init(jax.random.key(0), batch)
    value, (_, metrics) = model.loss(params, stats_, batch, jax.random.key(0), step=0, train=False)
    logits = model.apply(params, stats_, x, batch["length"])
    counts = np.arange(4) < batch["length"][:, None]
    assert logits.shape == (3, 4)
    wanted = log_loss(y[counts], _sigmoid(np.asarray(logits)[counts]), labels=[0, 1]) * counts.sum() / counts.size
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    right = ((np.asarray(logits) > 0) == (y == 1))[counts].mean()
    np.testing.assert_allclose(metrics["accuracy"], right, rtol=1e-6)


def test_the_perceptron_makes_no_more_mistakes_than_novikoff_allows():
    """In two orders: each step is the rule, and mistakes end before (R / gamma)^2 of them, where all are right."""
    rng = np.random.default_rng(3)
    u = np.array([2.0, -1.0, 0.3]) / np.linalg.norm([2.0, -1.0, 0.3])
    x = rng.uniform(-1, 1, (400, 2))
    side = np.c_[x, np.ones(400)] @ u
    x, side = x[np.abs(side) > 0.1], side[np.abs(side) > 0.1]
    ones = np.c_[x, np.ones(len(x))]
    bound = (np.linalg.norm(ones, axis=1).max() / np.abs(side).min()) ** 2
    batch = {"x": x.astype(np.float32), "y": (side > 0).astype(np.int32)}
    passes = 12
    for sort in (False, True):
        order = np.argsort(side) if sort else rng.permutation(len(x))
        batches = {name: np.tile(v[order], (passes, *(1,) * (v.ndim - 1)))[:, None] for name, v in batch.items()}
        path, _ = parameter_path(perceptron((2,)), optax.sgd(1.0), batches, jax.random.key(0))
        w = np.concatenate([path["logits"]["kernel"][..., 0], path["logits"]["bias"]], 1).astype(np.float64)
        y, rows = 2.0 * batches["y"][:, 0] - 1, np.c_[batches["x"][:, 0], np.ones(len(w) - 1)]
        wrong = y * (w[:-1] * rows).sum(1) <= 0
        np.testing.assert_allclose(np.diff(w, axis=0), wrong[:, None] * y[:, None] * rows, atol=2e-5)
        assert 0 < wrong.sum() <= bound
        assert not wrong[-len(x) :].any()  # a whole pass without a mistake
