"""Naive Bayes and Gaussian discriminants against scikit-learn, SciPy's densities, and sums over all that there is."""

import itertools
import math

import jax
import numpy as np
import pytest
from scipy import stats
from sklearn import naive_bayes as theirs
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis

from gen_models.models.supervised.gaussian_discriminant import fit_discriminant, gaussian_discriminant
from gen_models.models.supervised.linear_regression import fit_linear
from gen_models.models.supervised.logistic import fit_logistic
from gen_models.models.supervised.naive_bayes import fit_naive_bayes, naive_bayes
from gen_models.models.supervised.nist_curves import NIST_CURVES
from gen_models.models.supervised.nonlinear_regression import nonlinear_least_squares

N, D, K = 120, 3, 3
DRAW = np.random.default_rng(0)
Y = np.concatenate([np.arange(K), DRAW.choice(K, N - K, p=[0.5, 0.3, 0.2])]).astype(np.int32)
TURN = np.eye(D) + 0.4 * DRAW.normal(size=(K, D, D))
POINTS = np.stack([TURN[y] @ DRAW.normal(size=D) + 2 * y for y in Y]).astype(np.float32)
TOKENS = DRAW.binomial(3, 0.2 + 0.2 * Y[:, None], (N, D)).astype(np.float32)
X = {"gaussian": POINTS, "bernoulli": (TOKENS > 1).astype(np.float32), "categorical": TOKENS, "multinomial": TOKENS}
MADE = {
    "gaussian": theirs.GaussianNB(),
    "bernoulli": theirs.BernoulliNB(alpha=0.5),
    "categorical": theirs.CategoricalNB(alpha=0.5, min_categories=4),
    "multinomial": theirs.MultinomialNB(alpha=0.5),
}


def _fitted(kind):
    arrays = {"x": X[kind], "y": Y}
    fit = fit_naive_bayes(arrays, K, kind=kind, values=4, alpha=0.5)
    model = naive_bayes((D,), K, kind=kind, values=4, fitted=fit)
    return model, model.init(jax.random.key(0), arrays)[0], arrays


@pytest.mark.parametrize("kind", MADE)
def test_naive_bayes_is_scikit_learns(kind):
    """p(y | x) by Bayes' rule, on what it was fitted to; and the loss and log p(x) follow from the joint."""
    model, params, arrays = _fitted(kind)
    joint = model.apply(params, {}, arrays["x"])
    reference = MADE[kind].fit(arrays["x"].astype(np.float64), Y)
    np.testing.assert_allclose(jax.nn.softmax(joint), reference.predict_proba(arrays["x"]), rtol=2e-3, atol=1e-5)
    whole = model.log_prob(params, {}, arrays["x"])
    np.testing.assert_allclose(np.exp(np.float64(joint)).sum(1), np.exp(np.float64(whole)), rtol=1e-4)
    value, (_, metrics) = model.loss(params, {}, arrays, jax.random.key(0), step=0)
    np.testing.assert_allclose(value, -np.asarray(joint)[np.arange(N), Y].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], reference.score(arrays["x"], Y), rtol=1e-6)
    np.testing.assert_allclose(
        metrics["cross_entropy"], -np.log(reference.predict_proba(arrays["x"])[np.arange(N), Y]).mean(), rtol=1e-4
    )


@pytest.mark.parametrize(
    ("kind", "all_x"),
    [
        ("bernoulli", list(itertools.product(range(2), repeat=D))),
        ("categorical", list(itertools.product(range(4), repeat=D))),
        ("multinomial", [x for x in itertools.product(range(6), repeat=D) if sum(x) == 5]),
    ],
)
@pytest.mark.slow_cases("multinomial-all_x2", "categorical-all_x1")
def test_probabilities_of_all_examples_sum_to_one(kind, all_x):
    """In all and given a class; and samples come as often as that says."""
    model, params, _ = _fitted(kind)
    every = np.array(all_x, np.float32)
    np.testing.assert_allclose(np.exp(model.log_prob(params, {}, every)).sum(), 1, rtol=1e-5)
    of_class = np.exp(model.log_prob(params, {}, every, label=np.full(len(every), 1)))
    np.testing.assert_allclose(of_class.sum(), 1, rtol=1e-5)
    more = {"total": 5} if kind == "multinomial" else {}
    drawn = np.asarray(model.sample(params, {}, jax.random.key(1), 4000, label=1, **more))
    counts = np.array([(drawn == x).all(1).sum() for x in every])
    assert counts.sum() == 4000
    often = of_class * 4000 > 5
    assert (np.abs(counts - of_class * 4000)[often] < 4.5 * np.sqrt(of_class * 4000)[often]).all()


def test_shared_deviations_make_an_affine_classifier():
    """log p(x, y) is SciPy's, and the differences between classes at a midpoint are the mean of those at the ends."""
    arrays = {"x": POINTS, "y": Y}
    model = naive_bayes((D,), K, kind="linear", fitted=fit_naive_bayes(arrays, K, kind="linear"))
    params, _ = model.init(jax.random.key(0), arrays)
    means = np.stack([POINTS[k == Y].mean(0) for k in range(K)])
    deviation = np.sqrt(((POINTS - means[Y]) ** 2).mean(0))
    joint = model.apply(params, {}, POINTS)
    for k in range(K):
        wanted = stats.norm.logpdf(POINTS, means[k], deviation).sum(1) + np.log((k == Y).mean())
        np.testing.assert_allclose(joint[:, k], wanted, rtol=1e-4, atol=1e-4)
    middle = model.apply(params, {}, (POINTS[:60] + POINTS[60:]) / 2)
    ends = (joint[:60] + joint[60:]) / 2
    np.testing.assert_allclose(middle[:, 1:] - middle[:, :1], ends[:, 1:] - ends[:, :1], rtol=1e-3, atol=1e-3)
    drawn = np.asarray(model.sample(params, {}, jax.random.key(0), 4000, label=1))
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.06)


def test_the_multinomial_density_is_scipys():
    model, params, _ = _fitted("multinomial")
    p = np.exp(np.float64(params["logits"]))
    x = np.array([[1, 0, 2], [4, 3, 0]], np.float32)
    found = model.log_prob(params, {}, x, label=np.array([0, 2]))
    wanted = [
        stats.multinomial.logpmf(row, int(row.sum()), p[k] / p[k].sum()) for row, k in zip(x, (0, 2), strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    ("covariance", "unbiased", "reference"),
    [
        ("shared", False, LinearDiscriminantAnalysis(solver="lsqr")),
        ("shared", True, None),
        ("own", True, None),
        ("own", False, None),
    ],
)
def test_discriminants_are_scikit_learns_and_scipys_densities(covariance, unbiased, reference):
    arrays = {"x": POINTS, "y": Y}
    fit = fit_discriminant(arrays, K, covariance=covariance, unbiased=unbiased)
    model = gaussian_discriminant((D,), K, covariance=covariance, fitted=fit)
    params, _ = model.init(jax.random.key(0), arrays)
    joint = np.asarray(model.apply(params, {}, POINTS), np.float64)
    if reference is not None:
        reference.fit(POINTS.astype(np.float64), Y)
        np.testing.assert_allclose(jax.nn.softmax(joint), reference.predict_proba(POINTS), rtol=2e-3, atol=1e-5)
    away = POINTS - np.stack([POINTS[k == Y].mean(0) for k in range(K)])[Y]
    for k in range(K):
        own = away[k == Y] if covariance == "own" else away
        divisor = len(own) - unbiased * (1 if covariance == "own" else K)
        wanted = stats.multivariate_normal.logpdf(POINTS, POINTS[k == Y].mean(0), own.T @ own / divisor)
        np.testing.assert_allclose(joint[:, k], wanted + np.log((k == Y).mean()), rtol=1e-3, atol=1e-3)


def test_samples_have_the_classes_means_and_covariances():
    arrays = {"x": POINTS, "y": Y}
    model = gaussian_discriminant((D,), K, covariance="own", fitted=fit_discriminant(arrays, K, covariance="own"))
    params, _ = model.init(jax.random.key(0), arrays)
    drawn = np.asarray(model.sample(params, {}, jax.random.key(2), 20_000, label=2))
    own = POINTS[Y == 2]
    spread = np.cov(own.T, bias=True)
    assert np.abs(drawn.mean(0) - own.mean(0)).max() < 5 * np.sqrt(np.diag(spread).max() / 20_000)
    np.testing.assert_allclose(np.cov(drawn.T), spread, atol=0.05 * np.diag(spread).max())
    anything = np.asarray(model.sample(params, {}, jax.random.key(3), 20_000))
    np.testing.assert_allclose(anything.mean(0), POINTS.mean(0), atol=6 * POINTS.std(0).max() / math.sqrt(20_000))


def test_quadratic_discriminants_are_scikit_learns():
    """Its newer versions divide by n, its older ones by n - 1: one of both is ours, and nearly nothing else."""
    reference = QuadraticDiscriminantAnalysis().fit(POINTS.astype(np.float64), Y).predict_proba(POINTS)
    away = []
    for unbiased in (False, True):
        fit = fit_discriminant(ARRAYS, K, covariance="own", unbiased=unbiased)
        model = gaussian_discriminant((D,), K, covariance="own", fitted=fit)
        params, _ = model.init(jax.random.key(0), ARRAYS)
        away.append(np.abs(jax.nn.softmax(model.apply(params, {}, POINTS)) - reference).max())
    assert min(away) < 1e-4 < 1e-3 < max(away)


ARRAYS = {"x": POINTS, "y": Y}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: naive_bayes((D,), K, kind="normal"), "unknown kind of naive Bayes 'normal'"),
        (lambda: naive_bayes((D,), 1), "two classes or more, got num_classes=1"),
        (lambda: naive_bayes((D,), K, kind="bernoulli", fitted=fit_naive_bayes(ARRAYS, K)), "fit with the same sizes"),
        (lambda: fit_naive_bayes(ARRAYS, K, kind="bernoulli"), "takes whole numbers from 0 to 1"),
        (lambda: fit_naive_bayes({"x": np.full((6, 1), 0.5), "y": np.arange(6) % 2}, 2, kind="bernoulli"), "got 0.5"),
        (lambda: fit_naive_bayes({"x": np.where(POINTS > 0, np.nan, 0), "y": Y}, K), "values that are not finite"),
        (lambda: fit_naive_bayes({"x": POINTS[:0], "y": Y[:0]}, K), "no numbers to fit to"),
        (lambda: fit_naive_bayes(ARRAYS, K + 1), "class 3 has no examples"),
        (lambda: fit_naive_bayes(ARRAYS, K, alpha=0.0), "must be positive"),
        (lambda: fit_naive_bayes({"x": POINTS}, K), "needs labels"),
        (lambda: gaussian_discriminant((D,), K, covariance="full"), "unknown covariance 'full'"),
        (
            lambda: fit_discriminant({"x": np.ones((6, 2)), "y": np.arange(6) % 2}, 2),
            "no covariance that can be inverted",
        ),
        (lambda: fit_discriminant({"x": POINTS[:, [0, 0]], "y": Y}, K), "depend on each other: give more examples or"),
        (lambda: fit_discriminant(ARRAYS, K, ridge=-1), "a ridge is 0 or more and finite, got -1"),
    ],
)
def test_impossible_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_fits_on_the_host_work_while_a_step_is_traced():
    """As an experiment calls its model again inside of the step."""
    x = np.linspace(0, 3, 20, dtype=np.float32)[:, None]
    y = 2 * (1 - np.exp(-1.5 * x[:, 0])) + 0.01 * np.sin(50 * x[:, 0])

    def fits(scale):
        found = [
            fit_naive_bayes(ARRAYS, K)["mean"].sum(),
            fit_discriminant(ARRAYS, K)["mean"].sum(),
            fit_logistic(ARRAYS, K, l2=0.1)["logits"]["kernel"][0, 0],
            fit_linear({"x": x, "y": y}).bias[0],
            nonlinear_least_squares(NIST_CURVES["Misra1a"], x, y, (1.0, 0.5)).parameters[1],
        ]
        return scale * np.array(found, np.float32)

    np.testing.assert_allclose(jax.jit(fits)(1.0), fits(1.0), rtol=1e-6)


def test_what_can_be_none_has_no_probability():
    model, params, _ = _fitted("bernoulli")
    with pytest.raises(ValueError, match="entries must be integers from 0 to 1"):
        model.apply(params, {}, np.full((1, D), 0.5, np.float32))
    inside = jax.jit(lambda x: model.apply(params, {}, x))(np.array([[0, 1, 0.5], [0, 1, 1]], np.float32))
    assert np.isnan(inside[0]).all() and np.isfinite(inside[1]).all()
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 7"):
        model.sample(params, {}, jax.random.key(0), 2, label=7)
