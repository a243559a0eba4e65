"""Linear regression against scikit-learn, SciPy, textbook formulas, exact arithmetic and theory."""

import os
from fractions import Fraction
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import PolynomialFeatures

from gen_models.data.nist import LINEAR, certified_digits, nist_linear, nist_names, nist_nonlinear, printed_as
from gen_models.data.transforms import polynomial_features
from gen_models.models.supervised.least_squares import least_squares, polynomial_least_squares, powers
from gen_models.models.supervised.linear_regression import fit_linear, linear_regression
from gen_models.models.supervised.rational import rational_least_squares
from gen_models.training.path import parameter_path

FILIP = Path(__file__).parent / "fixtures" / "nist_filip.csv"  # NIST StRD, public domain: x and y as printed
NIST = Path(os.environ.get("GEN_MODELS_DATA_DIR", "/nowhere")) / "nist"


@pytest.fixture(scope="module")
def table():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 3)) * [1, 100, 0.01] + [5, -3, 0]
    return x, x @ [[1.0, 2.0], [0.1, 0.0], [-30.0, 5.0]] + [2.0, -1.0] + draw.normal(size=(40, 2))


def test_closed_form_is_scikit_learns(table):
    x, y = table
    for intercept in (True, False):
        ours, theirs = least_squares(x, y, intercept=intercept), LinearRegression(fit_intercept=intercept).fit(x, y)
        np.testing.assert_allclose(ours.kernel, theirs.coef_.T, rtol=1e-8)
        np.testing.assert_allclose(ours.bias, theirs.intercept_, rtol=1e-8)
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-8)
    ours = least_squares(x, y)
    np.testing.assert_allclose(ours.r2[0], LinearRegression().fit(x, y[:, 0]).score(x, y[:, 0]), rtol=1e-10)
    ridge, theirs = least_squares(x, y, ridge=3.0), Ridge(alpha=3.0, solver="svd").fit(x, y)
    np.testing.assert_allclose(ridge.kernel, theirs.coef_.T, rtol=1e-8)
    np.testing.assert_allclose(ridge.bias, theirs.intercept_, rtol=1e-8)
    assert np.isnan(ridge.deviation).all() and np.isnan(ridge.kernel_errors).all()
    assert np.isnan(least_squares(x[:7], np.full(7, 0.1)).r2).all()  # whose mean is rounded


def test_errors_and_intervals_are_those_of_textbooks(table):
    """One variable: SciPy's `linregress`, and the formulas with the sum of squares about the mean."""
    x, y = table[0][:, 0], table[1][:, 0]
    ours, theirs = least_squares(x[:, None], y), stats.linregress(x, y)
    np.testing.assert_allclose([ours.kernel[0, 0], ours.bias[0]], [theirs.slope, theirs.intercept], rtol=1e-10)
    errors = [ours.kernel_errors[0, 0], ours.bias_errors[0]]
    np.testing.assert_allclose(errors, [theirs.stderr, theirs.intercept_stderr], rtol=1e-10)
    new = np.array([[-1.0], [6.0]])
    residual = y - theirs.slope * x - theirs.intercept
    s, t = np.sqrt((residual**2).sum() / 38), stats.t.ppf(0.95, 38)
    spread = 1 / 40 + (new[:, 0] - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    for found, own in ((ours.confidence_interval(new, 0.9), 0), (ours.prediction_interval(new, 0.9), 1)):
        half = t * s * np.sqrt(own + spread)
        np.testing.assert_allclose(found[1] - found[0], 2 * half[:, None], rtol=1e-10)
        np.testing.assert_allclose((found[1] + found[0]) / 2, ours.predict(new), rtol=1e-10)


def test_several_variables_are_those_of_exact_arithmetic():
    draw = np.random.default_rng(1)
    x, y = draw.integers(-9, 9, (12, 3)), draw.integers(-9, 9, 12)
    exact = rational_least_squares([[*map(Fraction, (1, *map(int, row)))] for row in x], [Fraction(int(v)) for v in y])
    ours = least_squares(x, y)
    np.testing.assert_allclose(np.append(ours.bias, ours.kernel), np.float64(exact.coefficients), rtol=1e-14)
    found = np.append(ours.bias_errors, ours.kernel_errors)
    np.testing.assert_allclose(found, np.sqrt(np.float64(exact.variances)), rtol=1e-13)
    np.testing.assert_allclose(ours.deviation**2, float(exact.variance), rtol=1e-14)
    np.testing.assert_allclose(np.linalg.lstsq(np.c_[np.ones(12), x], y)[0], np.float64(exact.coefficients), rtol=1e-9)


def test_a_polynomial_of_degree_ten_keeps_its_digits():
    """NIST's Filip, on which the powers as columns lose half of them, and R's `lm` the last coefficient."""
    rows = [list(map(Fraction, line.split(","))) for line in FILIP.read_text().splitlines()[1:]]
    exact = rational_least_squares([[x**k for k in range(11)] for _, x in rows], [y for y, _ in rows])
    assert all(map(printed_as, map(float, exact.coefficients[:3]), ("-1467.489614", "-2772.179592", "-2316.371082")))
    x, y = (np.array([float(row[i]) for row in rows]) for i in (1, 0))
    true = np.float64(exact.coefficients)

    def digits(fit):
        return min(map(certified_digits, np.append(fit.bias, fit.kernel), true))

    good = polynomial_least_squares(x, y, 10)
    assert digits(good) > 13 and digits(least_squares(powers(x, 10), y)) < 9
    errors = map(
        certified_digits, np.append(good.bias_errors, good.kernel_errors), np.sqrt(np.float64(exact.variances))
    )
    assert min(errors) > 13


def test_large_residuals_do_not_hide_small_coefficients():
    """As NIST's Wampler5: 1 + x + ... + x^5 under alternating errors of 10^7, which QR alone keeps to 6 digits."""
    x = np.arange(21.0)
    noise = 10**7 * np.array([1, -2, 0, 1, 0, 0, -3, 1] * 3)[:21]
    y = sum(x**k for k in range(6)) + noise
    exact = rational_least_squares(
        [[Fraction(int(v)) ** k for k in range(6)] for v in x], [Fraction(int(v)) for v in y]
    )
    ours = polynomial_least_squares(x, y, 5)
    np.testing.assert_allclose(np.append(ours.bias, ours.kernel), np.float64(exact.coefficients), rtol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: least_squares(np.ones((5, 2)), np.ones(5)), "depend on each other: leave some out, or give a ridge"),
        (lambda: least_squares(np.ones((2, 3)), np.ones(2)), "2 examples do not determine 4 coefficients"),
        (lambda: least_squares(np.ones((3, 1)), np.ones(4)), r"x must be \[N, D\] and y \[N\] or \[N, K\]"),
        (lambda: least_squares(np.full((3, 1), np.nan), np.ones(3)), "x has 3 values that are not finite"),
        (lambda: least_squares(np.ones((3, 1)), np.ones(3), ridge=-1), "a ridge is 0 or more and finite, got -1"),
        (lambda: polynomial_least_squares(np.ones(5), np.ones(5), 1), "1 different values, too few for degree 1"),
        (lambda: polynomial_least_squares(np.ones(5), np.ones(5), 0), "degree is 1 or more, got 0"),
        (lambda: rational_least_squares([[Fraction(1)] * 2] * 3, [Fraction(1)] * 3), "depend on each other"),
        (lambda: rational_least_squares([[Fraction(1)] * 2, [Fraction(1)]] * 2, [Fraction(1)] * 4), "must have 2 numb"),
        (lambda: linear_regression((2,), l2=-1.0), "must not be negative, infinite or NaN"),
        (lambda: linear_regression((2,), fitted=least_squares(np.arange(4.0)[:, None], np.ones(4))), r"takes \(2, 1\)"),
        (lambda: polynomial_features(0), "a degree is 1 or more, got 0"),
        (lambda: nist_linear("/nowhere", "norris"), "is not there: give the folder"),
        (lambda: nist_nonlinear("/nowhere", "Misra1a"), "is not there: give the folder"),
        (lambda: nist_names("/nowhere"), "has no sets of NIST"),
    ],
)
def test_impossible_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_intervals_need_an_unbiased_fit_and_a_probability(table):
    x, y = table
    with pytest.raises(ValueError, match="has no intervals"):
        least_squares(x, y, ridge=1.0).prediction_interval(x)
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        least_squares(x, y).confidence_interval(x, 95)


def test_gradient_descent_takes_the_way_of_theory_to_the_closed_form():
    """theta_t - theta = sum_i (1 - rate h_i)^t a_i v_i along the Hessian's axes, through the ordinary training step."""
    draw = np.random.default_rng(2)
    x = draw.normal(size=(64, 3)).astype(np.float32)
    arrays = {"x": x, "y": (x @ [1, -2, 3] + 4 + draw.normal(size=64)).astype(np.float32)}
    l2, rate, steps = 0.1, 0.3, 60
    batches = {name: np.broadcast_to(value, (steps, *value.shape)) for name, value in arrays.items()}
    path, losses = parameter_path(linear_regression((3,), l2=l2), optax.sgd(rate), batches, jax.random.key(0))
    found = np.concatenate([path["logits"]["bias"], path["logits"]["kernel"][..., 0]], 1).astype(np.float64)
    fit = fit_linear(arrays, l2=l2)
    best = np.append(fit.bias, fit.kernel)
    design = np.c_[np.ones(64), x].astype(np.float64)
    h, axes = np.linalg.eigh(2 * design.T @ design / 64 + l2 * np.diag([0, 1, 1, 1]))
    theory = best + ((1 - rate * h) ** np.arange(steps + 1)[:, None] * (-best @ axes)) @ axes.T
    np.testing.assert_allclose(found, theory, atol=1e-5)
    assert np.linalg.norm(found[-1] - best) < 1e-5 < 1 < np.linalg.norm(best)
    mean = ((design @ found[5] - arrays["y"]) ** 2).mean() + l2 / 2 * (found[5, 1:] ** 2).sum()
    np.testing.assert_allclose(losses[5], mean, rtol=1e-5)


def test_a_fitted_model_has_the_coefficients_of_several_outputs(table):
    arrays = {"x": table[0].astype(np.float32), "y": table[1].astype(np.float32)}
    fit = fit_linear(arrays)
    model = linear_regression((3,), 2, fitted=fit)
    params, stats_ = model.init(jax.random.key(0), arrays)
    np.testing.assert_allclose(model.apply(params, stats_, arrays["x"]), fit.predict(arrays["x"]), rtol=1e-4, atol=1e-3)
    value, (_, metrics) = model.loss(params, stats_, arrays, jax.random.key(0), step=0)
    residual = arrays["y"] - fit.predict(arrays["x"])
    np.testing.assert_allclose(value, (residual**2).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["mean_squared_error"], value, rtol=1e-6)


def test_polynomial_features_are_scikit_learns():
    x = np.random.default_rng(0).normal(size=(5, 3))
    theirs = PolynomialFeatures(3, include_bias=False).fit_transform(x)
    ours = polynomial_features(3)({"x": jnp.asarray(x, jnp.float32), "y": 1}, None)
    np.testing.assert_allclose(ours["x"], theirs, rtol=1e-5)
    assert ours["y"] == 1
    with pytest.raises(ValueError, match=r"needs rows of numbers \[B, D\]"):
        polynomial_features(2)({"x": jnp.ones((2, 2, 2))}, None)


def test_digits_of_numbers():
    assert certified_digits(1.0, 1.0) == 15 and certified_digits(2.0, 1.0) == 0
    np.testing.assert_allclose(certified_digits(100.01, 100.0), 4, rtol=1e-6)
    np.testing.assert_allclose(certified_digits(1e-7, 0.0), 7)
    assert np.isnan(certified_digits(float("nan"), 1.0))
    assert printed_as(0.0421234, "4.21E-02") and not printed_as(0.0434, "4.21E-02") and printed_as(152.3456, "152.346")


@pytest.mark.skipif(not NIST.is_dir(), reason="set GEN_MODELS_DATA_DIR to a folder with nist/linear")
@pytest.mark.parametrize("name", LINEAR)
def test_nists_linear_sets_to_twelve_digits(name):
    found = nist_linear(NIST / "linear", name)
    exact = rational_least_squares(found.columns(), found.y)
    wrong = [
        one for one in zip(map(float, exact.coefficients), found.coefficients, strict=True) if not printed_as(*one)
    ]
    assert not wrong, "the solution is not what NIST certifies"
    x, y = np.array(found.x, np.float64), np.array(found.y, np.float64)
    fit = (
        polynomial_least_squares(x[:, 0], y, found.degree)
        if found.degree
        else least_squares(x, y, intercept=found.intercept)
    )
    first = int(found.intercept)
    for part, true in (
        (np.append(fit.bias[:first], fit.kernel), np.float64(exact.coefficients)),
        (np.append(fit.bias_errors[:first], fit.kernel_errors), np.sqrt(np.float64(exact.variances))),
        (fit.deviation, np.sqrt([float(exact.variance)])),
    ):
        assert min(map(certified_digits, part, true)) > 12
