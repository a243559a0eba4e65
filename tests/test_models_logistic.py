"""Logistic regression against scikit-learn's, on its handwritten digits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from gen_models.models.supervised.logistic import fit_logistic, logistic_regression

L2 = 0.01
N = 600


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    images = (images[: N + 300] / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    return images, labels[: N + 300].astype(np.int32)


@pytest.fixture(scope="module")
def reference(digits):
    """scikit-learn's optimum of sum of cross-entropies + |W|^2 / (2 C): ours times N."""
    images, labels = digits
    return LogisticRegression(C=1 / (L2 * N), tol=1e-9, max_iter=5000).fit(
        images[:N].reshape(N, -1).astype(np.float64),
        labels[:N],  # it would compute in float32 otherwise
    )


def _loss(model, batch):
    return lambda params: model.loss(params, {}, batch, jax.random.key(0), step=0)[0]


def test_scikit_learns_optimum_has_no_gradient(digits, reference):
    images, labels = digits
    loss = _loss(logistic_regression((8, 8, 1), 10, l2=L2), {"x": images[:N], "y": labels[:N]})
    optimum = {"logits": {"kernel": jnp.float32(reference.coef_.T), "bias": jnp.float32(reference.intercept_)}}
    at_optimum = optax.tree.norm(jax.grad(loss)(optimum))
    at_zero = optax.tree.norm(jax.grad(loss)(jax.tree.map(jnp.zeros_like, optimum)))
    assert at_optimum < 1e-5 < at_zero  # float32's noise; other penalties leave L2 * |W|, which is 0.05
    assert L2 * optax.tree.norm(optimum["logits"]["kernel"]) > 0.01


@pytest.mark.slow
def test_training_reaches_scikit_learns_optimum(digits, reference):
    """Weights within 0.002 (the largest is above 1), the same classes for examples that neither has seen."""
    images, labels = digits
    batch = {"x": images[:N], "y": labels[:N]}
    model = logistic_regression((8, 8, 1), 10, l2=L2)
    loss = _loss(model, batch)
    params, stats = model.init(jax.random.key(0), batch)
    assert stats == {}
    tx = optax.lbfgs()

    def update(carry, _):
        params, state = carry
        value, grads = optax.value_and_grad_from_state(loss)(params, state=state)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.jit(lambda p: jax.lax.scan(update, (p, tx.init(p)), None, 150))(params)
    assert np.abs(reference.coef_).max() > 1
    np.testing.assert_allclose(params["logits"]["kernel"], reference.coef_.T, atol=2e-3)
    np.testing.assert_allclose(params["logits"]["bias"], reference.intercept_, atol=2e-3)
    predicted = model.apply(params, {}, images[N:]).argmax(-1)
    np.testing.assert_array_equal(predicted, reference.predict(images[N:].reshape(300, -1)))
    _, (_, metrics) = model.loss(params, {}, {"x": images[N:], "y": labels[N:]}, jax.random.key(0), step=0, train=False)
    score = reference.score(images[N:].reshape(300, -1), labels[N:])
    np.testing.assert_allclose(metrics["accuracy"], score, rtol=1e-6)
    assert score > 0.85


def test_the_host_finds_scikit_learns_optimum(digits, reference):
    images, labels = digits
    arrays = {"x": images[:N], "y": labels[:N]}
    fit = fit_logistic(arrays, 10, l2=L2)
    np.testing.assert_allclose(fit["logits"]["kernel"], reference.coef_.T, atol=1e-5)
    np.testing.assert_allclose(fit["logits"]["bias"], reference.intercept_, atol=1e-4)
    model = logistic_regression((8, 8, 1), 10, fitted=fit)
    params, _ = model.init(jax.random.key(0), arrays)
    found = model.apply(params, {}, images[:N]).argmax(-1)
    np.testing.assert_array_equal(found, reference.predict(images[:N].reshape(N, -1)))
    for wrong, message in (({"x": images[:N] * np.nan}, "not finite"), ({"y": labels[:N] * 0}, "two classes or more")):
        with pytest.raises(ValueError, match=message):
            fit_logistic({**arrays, **wrong}, 10 if "x" in wrong else 1)
    with pytest.raises(ValueError, match="fit its data"):
        logistic_regression((8, 8, 1), 9, fitted=fit).init(jax.random.key(0), arrays)


def test_a_fresh_model_knows_nothing(digits):
    images, labels = digits
    batch = {"x": images[:50], "y": labels[:50]}
    model = logistic_regression((8, 8, 1), 10, l2=3.0)
    params, _ = model.init(jax.random.key(0), batch)
    np.testing.assert_allclose(_loss(model, batch)(params), np.log(10), rtol=1e-6)


def test_a_network_that_diverged_is_right_nowhere(digits):
    images, labels = digits
    model = logistic_regression((8, 8, 1), 10)
    params, _ = model.init(jax.random.key(0), {"x": images[:1], "y": labels[:1]})
    params = jax.tree.map(lambda leaf: leaf * np.nan, params)
    batch = {"x": images[:4], "y": 0 * labels[:4]}  # of NaN, `argmax` makes class 0
    _, (_, metrics) = model.loss(params, {}, batch, jax.random.key(0), step=0, train=False)
    assert np.isnan(metrics["accuracy"])


def test_a_penalty_may_be_traced(digits):
    images, labels = digits
    batch = {"x": images[:50], "y": labels[:50]}
    params = {"logits": {"kernel": jnp.full((64, 10), 0.5), "bias": jnp.ones(10)}}
    values = jax.vmap(lambda l2: _loss(logistic_regression((8, 8, 1), 10, l2=l2), batch)(params))(jnp.array([0.0, 2.0]))
    np.testing.assert_allclose(values[1] - values[0], 0.5 * 2.0 * 640 * 0.25, rtol=1e-5)  # biases are free


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"l2": -1.0}, "l2 must be 0 or more, got -1.0"),
        ({"num_classes": 1}, "two classes or more, got num_classes=1"),
        ({"shape": (0, 3)}, r"positive, got shape=\(0, 3\)"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\), got 1.0"),
    ],
)
def test_impossible_arguments_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        logistic_regression(**keywords)


def test_another_shape_is_refused():
    model = logistic_regression((8, 8, 1))
    with pytest.raises(ValueError, match=r"built for images of shape \(8, 8, 1\), but the batch is \(2, 28, 28, 1\)"):
        model.init(jax.random.key(0), {"x": np.zeros((2, 28, 28, 1)), "y": np.zeros(2, int)})
    with pytest.raises(ValueError, match=r"no 'x', only \['image'\]"):
        model.init(jax.random.key(0), {"image": np.zeros((2, 8, 8, 1))})
