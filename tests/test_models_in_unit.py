"""Numbers in their own unit: the optimum is scikit-learn's ridge regression, and the unit changes predictions alone."""

import jax
import numpy as np
import pytest
import sklearn.linear_model

from gen_models.models.adversarial.gan import gan
from gen_models.models.regularised import penalised
from gen_models.models.supervised.in_unit import in_unit
from gen_models.models.supervised.mlp import mlp

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (50 + 10 * X @ [1.0, -2, 0.5, 0] + RNG.normal(size=60)).astype(np.float32)
CENTRE, SCALE = float(Y.mean()), float(Y.std())
BATCH = {"x": X, "y": Y}
NUMBERS = {"answer": "numbers", "hidden": (5,), "dropout": 0.3}


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_without_hidden_layers_the_optimum_is_ridge_regression(l2):
    linear = penalised(mlp((4,), 1, hidden=(), answer="numbers"), l2=2 * l2)
    model = in_unit(linear, centre=CENTRE, scale=SCALE)
    ridge = sklearn.linear_model.Ridge(alpha=l2 * len(X)).fit(X.astype(float), (Y.astype(float) - CENTRE) / SCALE)
    params = {"logits": {"kernel": np.float32(ridge.coef_)[:, None], "bias": np.float32([ridge.intercept_])}}
    value, gradient = jax.value_and_grad(lambda p: model.loss(p, {}, BATCH, jax.random.key(0), step=0)[0])(params)
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) < 1e-5
    fitted = ridge.predict(X.astype(float))
    expected = ((fitted - (Y - CENTRE) / SCALE) ** 2).mean() + l2 * (ridge.coef_**2).sum()
    assert float(value) == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(model.apply(params, {}, X), CENTRE + SCALE * fitted, rtol=1e-5)


def test_the_unit_of_the_target_changes_nothing_but_the_predictions():
    """Of y in grams or in kilograms, the loss is the same, and predictions are a thousandfold."""
    inner = mlp((4,), 1, **NUMBERS)
    grams, kilograms = (in_unit(inner, centre=f * CENTRE, scale=f * SCALE) for f in (1000, 1))
    params, _ = grams.init(jax.random.key(1), BATCH)
    key = jax.random.key(2)
    losses = [
        model.loss(params, {}, {"x": X, "y": factor * Y}, key, step=0)[0]
        for model, factor in ((grams, np.float32(1000)), (kilograms, np.float32(1)))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    np.testing.assert_allclose(grams.apply(params, {}, X), 1000 * kilograms.apply(params, {}, X), rtol=1e-5)
    measured = kilograms.loss(params, {}, BATCH, key, step=0, train=False)[1][1]["mean_squared_error"]
    expected = (((kilograms.apply(params, {}, X) - Y) / SCALE) ** 2).mean()
    np.testing.assert_allclose(measured, expected, rtol=1e-4)
    assert abs(float(losses[1]) - float(measured)) > 1e-3  # dropout, in training alone


def test_deviations_are_in_the_unit_too():
    inner = mlp((4,), 2, hidden=(), answer="normal")
    model = in_unit(inner, centre=-3.0, scale=2.0)
    params, _ = inner.init(jax.random.key(1), BATCH | {"y": np.zeros((60, 2), np.float32)})
    (mean, deviation), (own_mean, own_deviation) = (m.apply(params, {}, X, deviations=True) for m in (model, inner))
    np.testing.assert_allclose(mean, 2 * own_mean - 3, rtol=1e-5)
    np.testing.assert_allclose(deviation, 2 * own_deviation, rtol=1e-5)
    assert mean.shape == (60, 2)


@pytest.mark.parametrize(
    ("unit", "message"), [((0.0, 0.0), "scale above 0"), ((float("nan"), 1.0), "centre must be finite")]
)
def test_bad_units_are_refused(unit, message):
    with pytest.raises(ValueError, match=message):
        in_unit(mlp((4,), 1, **NUMBERS), centre=unit[0], scale=unit[1])
    with pytest.raises(ValueError, match="several players or no operation 'apply'"):
        in_unit(gan((2,)), centre=0.0, scale=1.0)


def test_bad_batches_are_refused():
    model = in_unit(mlp((4,), 1, **NUMBERS), centre=0.0, scale=1.0)
    params, _ = model.init(jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match=r"'y' must be \[60, 1\], numbers for each answer, got \[60, 2\]"):
        model.loss(params, {}, {"x": X, "y": np.stack([Y, Y], 1)}, jax.random.key(0), step=0)
    with pytest.raises(ValueError, match="the batch has no 'y'"):
        model.loss(params, {}, {"x": X}, jax.random.key(0), step=0)
