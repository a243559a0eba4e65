"""Regression of a table: ridge regression's optimum is scikit-learn's, and predictions are in the target's unit."""

import jax
import numpy as np
import pytest
import sklearn.linear_model

from gen_models.core import Model
from gen_models.models.supervised.table_regression import table_regression

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
Y = (50 + 10 * X @ [1.0, -2, 0.5, 0] + RNG.normal(size=60)).astype(np.float32)
CENTRE, SCALE = float(Y.mean()), float(Y.std())
BATCH = {"x": X, "y": Y}


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_without_hidden_layers_the_optimum_is_ridge_regression(l2):
    model: Model = table_regression((4,), centre=CENTRE, scale=SCALE, hidden=(), l2=l2)
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
    grams = table_regression((4,), centre=1000 * CENTRE, scale=1000 * SCALE, hidden=(5,), dropout=0.3)
    kilograms = table_regression((4,), centre=CENTRE, scale=SCALE, hidden=(5,), dropout=0.3)
    params, _ = grams.init(jax.random.key(1), BATCH)
    key = jax.random.key(2)
    losses = [
        model.loss(params, {}, {"x": X, "y": factor * Y}, key, step=0)[0]
        for model, factor in ((grams, np.float32(1000)), (kilograms, np.float32(1)))
    ]
    np.testing.assert_allclose(*losses, rtol=1e-4)
    np.testing.assert_allclose(grams.apply(params, {}, X), 1000 * kilograms.apply(params, {}, X), rtol=1e-5)
    measured = kilograms.loss(params, {}, BATCH, key, step=0, train=False)[1][1]["squared_error"]
    expected = (((kilograms.apply(params, {}, X) - Y) / SCALE) ** 2).mean()
    np.testing.assert_allclose(measured, expected, rtol=1e-4)
    assert abs(float(losses[1]) - float(measured)) > 1e-3  # dropout, in training alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale above 0"),
        ({"centre": float("nan")}, "centre must be finite"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"l2": -1.0}, "l2 must be 0 or more"),
        ({"hidden": (0,)}, "hidden"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        table_regression((4,), **options)


def test_bad_batches_are_refused():
    model = table_regression((4,))
    with pytest.raises(ValueError, match=r"'y' must be \[60\], one number a row, got \[60, 1\]"):
        model.loss(model.init(jax.random.key(0), BATCH)[0], {}, {"x": X, "y": Y[:, None]}, jax.random.key(0), step=0)
    with pytest.raises(ValueError, match="was built for images of shape"):
        model.init(jax.random.key(0), {"x": X[:, :3]})
