"""Estimates of mutual information and their bound, against closed forms, sums over tables and scikit-learn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_models.distributions import mutual_information
from gen_models.evaluation.mutual_information import binned, nearest_neighbours, of_gaussians
from gen_models.models.gaussian_fit import divergence, gaussian_fit, mixture_log_density
from gen_models.models.info_nce import info_nce, info_nce_bound

RNG = np.random.default_rng(0)


def _pairs(count, rho):
    x, noise = RNG.standard_normal((2, count))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


def test_neighbours_give_scikit_learns_estimate():
    """Which standardises both variables first, adds noise of 1e-10, and takes the positive part."""
    regression = pytest.importorskip("sklearn.feature_selection").mutual_info_regression
    for rho in (0.3, 0.9):
        x, y = (each / each.std() for each in _pairs(500, rho))
        for k in (1, 4):
            theirs = regression(x[:, None], y, n_neighbors=k, random_state=0)[0]
            assert nearest_neighbours(x, y, k) == pytest.approx(max(theirs, 0), abs=2e-6)


def test_neighbours_are_kraskovs_by_brute_force():
    x, y = RNG.standard_normal((40, 2)), RNG.standard_normal((40, 3))
    dx, dy = (np.abs(each[:, None] - each).max(-1) for each in (x, y))
    terms = []
    for i in range(40):
        distances = np.sort(np.delete(np.maximum(dx[i], dy[i]), i))
        inside = [(np.delete(d[i], i) < distances[2]).sum() for d in (dx, dy)]
        terms.append(sum(scipy.special.digamma(n + 1) for n in inside))
    expected = scipy.special.digamma(3) + scipy.special.digamma(40) - np.mean(terms)
    assert nearest_neighbours(x, y, 3) == pytest.approx(expected, abs=1e-12)


def test_estimates_are_near_the_closed_form():
    exact = of_gaussians(np.array([[1, 0.8], [0.8, 1]]), 1)
    assert exact == pytest.approx(-0.5 * np.log(1 - 0.64))
    x, y = _pairs(4000, 0.8)
    assert nearest_neighbours(x, y) == pytest.approx(exact, abs=0.05)
    assert binned(x, y, 16) == pytest.approx(exact, abs=0.05)
    covariance = np.cov(RNG.standard_normal((5, 50)))
    turned = np.linalg.qr(RNG.standard_normal((3, 3)))[0]  # information does not change where x is turned
    both = np.block([[turned, np.zeros((3, 2))], [np.zeros((2, 3)), np.eye(2)]])
    assert of_gaussians(both @ covariance @ both.T, 3) == pytest.approx(of_gaussians(covariance, 3))


def test_bins_are_the_table_of_ranks():
    x, y = _pairs(60, 0.5)
    table = np.zeros((4, 4))
    np.add.at(table, tuple((scipy.stats.rankdata(each).astype(int) - 1) * 4 // 60 for each in (x, y)), 1)
    assert binned(x, y, 4) == pytest.approx(float(mutual_information(table)), rel=1e-5)
    assert binned(x, x, 4) == pytest.approx(np.log(4))


def test_equal_samples_share_a_bin():
    """Coins that know nothing of each other: scikit-learn's information of their table, and not that of the order."""
    x, y = RNG.integers(0, 2, (2, 1000)).astype(float)
    score = pytest.importorskip("sklearn.metrics").mutual_info_score
    assert binned(x, y, 16) == pytest.approx(score(x, y), abs=1e-12)
    assert binned(np.ones(20), np.ones(20), 4) == 0


def test_the_bound_is_at_most_log_n_and_reached():
    assert float(info_nce_bound(jnp.eye(8) * 1e4)) == pytest.approx(np.log(8), rel=1e-6)
    assert float(info_nce_bound(jnp.zeros((8, 8)))) == pytest.approx(0, abs=1e-6)
    scores = RNG.normal(size=(5, 5)).astype(np.float32)
    rows = np.exp(scores)
    by_hand = np.mean(np.log(np.diag(rows) / rows.mean(1)))
    assert float(info_nce_bound(scores)) == pytest.approx(by_hand, abs=1e-5)


def test_the_exact_critic_has_a_bound_near_the_information():
    """log p(y | x) is the best critic; with 512 pairs the bound is within its bias of the information, and below."""
    x, y = _pairs(512, 0.9)
    scores = scipy.stats.norm(0.9 * x[:, None], np.sqrt(1 - 0.81)).logpdf(y)
    exact = -0.5 * np.log(1 - 0.81)
    assert exact - 0.15 < float(info_nce_bound(scores.astype(np.float32))) < exact + 0.1


def test_the_critic_scores_every_pair():
    model = info_nce((2,), (3,), hidden=(4,), features=2)
    batch = {"x": RNG.normal(size=(5, 2)).astype(np.float32), "y": RNG.normal(size=(5, 3)).astype(np.float32)}
    params, _ = jax.jit(model.init)(jax.random.key(0), batch)
    scores = np.asarray(model.apply(params, {}, batch["x"], batch["y"]))
    swapped = model.apply(params, {}, batch["x"][[1, 0]], batch["y"][[4, 2]])
    np.testing.assert_allclose(swapped, scores[np.ix_([1, 0], [4, 2])], rtol=1e-4, atol=1e-5)
    value, _ = model.loss(params, {}, batch, jax.random.key(0), step=0)
    assert float(value) == pytest.approx(-float(info_nce_bound(scores)), abs=1e-5)
    with pytest.raises(ValueError, match="each x needs its y, got 5 and 4"):
        model.apply(params, {}, batch["x"], batch["y"][:4])


def test_fits_by_either_divergence():
    """Forward: p's moments, where the gradient is 0; reverse: of one mode alone, the mode itself. Both by SciPy."""
    grid = np.linspace(-12, 12, 2401)
    mixture = ((-2.0, 2.0), (0.6, 0.8), (0.4, 0.6))
    log_p = mixture_log_density(grid, *mixture)
    parts = [w * scipy.stats.norm(m, s).pdf(grid) for m, s, w in zip(*mixture, strict=True)]
    np.testing.assert_allclose(log_p, np.log(sum(parts)), rtol=1e-9)
    mean = 0.2 * 2
    sigma = np.sqrt(0.4 * (0.36 + 4) + 0.6 * (0.64 + 4) - mean**2)
    model = gaussian_fit(grid, log_p, direction="forward", mu=mean, sigma=sigma)
    params, _ = model.init(jax.random.key(0), {})
    slope = jax.grad(lambda params: model.loss(params, {}, {}, None, step=0)[0])(params)
    assert max(abs(float(leaf)) for leaf in jax.tree.leaves(slope)) < 1e-4
    # KL of two normals has a closed form, in both directions.
    one = scipy.stats.norm(1.0, 0.7).logpdf(grid)
    exact = {"forward": np.log(1.5 / 0.7) + (0.49 + 1) / (2 * 2.25) - 0.5}
    exact["reverse"] = np.log(0.7 / 1.5) + (2.25 + 1) / (2 * 0.49) - 0.5
    for direction, value in exact.items():
        model = gaussian_fit(grid, one, direction=direction, mu=2.0, sigma=1.5)
        found = model.loss(model.init(None, {})[0], {}, {}, None, step=0)[0]
        assert float(found) == pytest.approx(value, abs=1e-4)
    assert float(divergence(log_p, log_p, 0.01)) == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binned(np.ones(4), np.ones(5)), "x and y must be pairs"),
        (lambda: binned(np.arange(20.0), np.full(20, np.nan)), "NaN or infinity"),
        (lambda: nearest_neighbours(np.ones(3), np.ones(3), 3), "more than k=3 of them, got 3 and 3"),
        (lambda: nearest_neighbours(np.ones(9), np.ones(9)), "pairs repeat"),
        (lambda: nearest_neighbours(np.arange(9.0), np.full(9, np.nan)), "NaN or infinity"),
        (lambda: of_gaussians(np.ones((2, 2)), 1), "not positive definite"),
        (lambda: of_gaussians(np.eye(2), 2), "x must have 1 to 1"),
        (lambda: gaussian_fit(np.arange(3.0), np.zeros(3), direction="forwards"), "did you mean 'forward'"),
        (lambda: gaussian_fit(np.array([0, 1, 5.0]), np.zeros(3), direction="forward"), "even, rising grid"),
        (lambda: gaussian_fit(np.arange(3.0), np.zeros(3), direction="forward", sigma=0.0), "sigma must be positive"),
        (lambda: mixture_log_density(np.zeros(2), [0.0], [1.0], [0.5]), "weights sum to 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
