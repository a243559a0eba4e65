"""The Frechet distance against SciPy's matrix root and closed forms; moments against NumPy's."""

from functools import reduce

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from gen_models.evaluation.frechet import (
    Moments,
    frechet_distance,
    frechet_distance_infinity,
    merged,
    moments,
)

RNG = np.random.default_rng(0)


def covariance(d, draw, least=0.1):
    """A random rotation of eigenvalues between `least` and 10."""
    return (axes := scipy.stats.ortho_group.rvs(d, random_state=draw)) @ np.diag(np.geomspace(least, 10, d)) @ axes.T


def by_sqrtm(first, second):
    """The formula as it stands."""
    root = scipy.linalg.sqrtm(first.covariance @ second.covariance)
    apart = ((first.mean - second.mean) ** 2).sum()
    return apart + np.trace(first.covariance + second.covariance - 2 * root.real)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(10_000,), (5000, 1, 4999), (1,) * 100, (3, 4000, 2)])
def test_moments_are_numpys_however_they_are_batched(sizes, dtype):
    """Of means a thousand times as large as the deviations, too."""
    x = (RNG.normal(size=(sum(sizes), 6)) @ RNG.normal(size=(6, 6)) + 1000 * RNG.normal(size=6)).astype(dtype)
    found = reduce(merged, map(moments, np.split(x, np.cumsum(sizes)[:-1])))
    wide = x.astype(np.float64)
    assert found.examples == len(x)
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-13)
    expected = np.cov(wide, rowvar=False)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-12, atol=1e-12 * np.trace(expected))
    assert found.covariance.dtype == np.float64 and (found.covariance == found.covariance.T).all()


def test_digits_are_kept_where_means_are_large():
    """Around a million times the deviations, of which sums of squares would leave four digits."""
    x = RNG.integers(-8, 8, size=(640, 3)).astype(np.float64)
    far = x + 2.0**23
    expected = np.cov(x, rowvar=False)
    found = reduce(merged, map(moments, np.split(far, 8))).covariance
    np.testing.assert_allclose(found, expected, atol=1e-9 * expected.max())
    by_squares = (far.T @ far - np.outer(far.sum(0), far.mean(0))) / (len(x) - 1)
    assert abs(by_squares - expected).max() > 1e-5 * expected.max()


@pytest.mark.parametrize("d", [1, 2, 5, 64])
def test_agrees_with_scipys_root(d):
    for seed in range(3):
        draw = np.random.default_rng(seed)
        first, second = (Moments(1000, draw.normal(size=d), covariance(d, draw)) for _ in range(2))
        found = frechet_distance(first, second)
        assert found == pytest.approx(by_sqrtm(first, second), rel=1e-8)
        assert frechet_distance(second, first) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize(("small", "within"), [(0, 1e-12), (1e-9, 1e-10)])
def test_covariances_that_commute_have_a_closed_form(small, within):
    """|m_1 - m_2|^2 + sum_i (sqrt(a_i) - sqrt(b_i))^2 in the common axes; some variances are 0 or small, or both.

    Rounding the matrices changes a variance of 1e-9 in the seventh digit, and its root by 1e-11.
    """
    d = 12
    a, b = RNG.uniform(0.1, 5, d), RNG.uniform(0.1, 5, d)
    a[:3], b[2:5], a[6], b[7] = 0, 0, small, small / 10
    expected = 2.25 * d + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    for axes in (np.eye(d), scipy.stats.ortho_group.rvs(d, random_state=1)):
        first = Moments(50, np.zeros(d), axes @ np.diag(a) @ axes.T)
        second = Moments(70, np.full(d, 1.5), axes @ np.diag(b) @ axes.T)
        assert frechet_distance(first, second) == pytest.approx(expected, rel=within)


def test_equal_moments_are_at_distance_0():
    for n, d in ((500, 20), (10, 200), (2, 3)):
        x = RNG.normal(size=(n, d))
        found = moments(x)
        assert 0 <= frechet_distance(found, found) < 1e-12 * np.trace(found.covariance)
        shuffled = moments(RNG.permutation(x))
        assert 0 <= frechet_distance(found, shuffled) < 1e-12 * np.trace(found.covariance)
        moved = moments(x + 3.0)
        assert frechet_distance(found, moved) == pytest.approx(9 * d, rel=1e-10)


@pytest.mark.slow
def test_fewer_examples_than_dimensions():
    """The trace of the root is the nuclear norm of X' Y / sqrt((n - 1) (m - 1)) for centred data X and Y, [D, n]."""
    for n, m, d in ((30, 40, 300), (30, 1000, 300), (5, 5, 100)):
        x, y = RNG.normal(size=(n, d)) * np.linspace(0.1, 3, d), RNG.normal(size=(m, d))
        a, b = ((each - each.mean(0)) / np.sqrt(len(each) - 1) for each in (x, y))
        root = scipy.linalg.svdvals(a @ b.T).sum()
        expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * root
        assert frechet_distance(moments(x), moments(y)) == pytest.approx(expected, rel=1e-11)


def test_dimensions_that_do_not_vary():
    """As features after a rectifier that are 0 throughout; all of them, too."""
    x, y = RNG.normal(size=(100, 4)), 2 * RNG.normal(size=(100, 4))
    expected = frechet_distance(moments(x), moments(y))
    padded = [np.hstack([each, np.zeros((100, 5))]) for each in (x, y)]
    assert frechet_distance(*map(moments, padded)) == pytest.approx(expected, rel=1e-11)
    still, other = moments(np.ones((3, 4))), moments(x)
    assert frechet_distance(still, still) == 0
    assert frechet_distance(still, other) == pytest.approx(
        np.trace(other.covariance) + ((1 - other.mean) ** 2).sum(), rel=1e-12
    )


def test_rotating_and_moving_both_sets_changes_nothing():
    x, y = RNG.normal(size=(80, 7)), RNG.gamma(2.0, size=(90, 7))
    axes = scipy.stats.ortho_group.rvs(7, random_state=3)
    expected = frechet_distance(moments(x), moments(y))
    assert frechet_distance(moments(x @ axes - 4), moments(y @ axes - 4)) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_the_extrapolation_finds_the_distance_of_the_distributions(shift):
    """Samples of a normal distribution whose distance from the reference is known: the bias is nearly all removed.

    The bias of n samples is D / n by the mean and about D (D + 1) / 4n by the covariance, in both cases here, as
    covariances are equal: 0.27 of 4,000 samples in 64 dimensions. The mean of six extrapolations is within four of its
    standard errors and a term of the next order, (D / n)^2.
    """
    d, n = 64, 4000
    reference = Moments(10**9, np.zeros(d), np.eye(d))
    truth, bias = d * shift**2, (d + d * (d + 1) / 4) / n
    plain, found, slopes = [], [], []
    for seed in range(6):
        x = np.random.default_rng(seed).normal(shift, size=(n, d))
        plain.append(frechet_distance(reference, moments(x)) - truth)
        extrapolated = frechet_distance_infinity(reference, x, points=6, least=1000, seed=seed)
        assert extrapolated.sizes.tolist() == [1000, 1600, 2200, 2800, 3400, 4000]
        assert extrapolated.distances[-1] == pytest.approx(frechet_distance(reference, moments(x)), rel=1e-10)
        found.append(extrapolated.distance - truth)
        slopes.append(extrapolated.slope)
    error = np.std(found, ddof=1) / np.sqrt(6)
    assert np.mean(plain) == pytest.approx(bias, abs=4 * np.std(plain, ddof=1) / np.sqrt(6) + 0.05 * bias)
    assert np.mean(found) == pytest.approx(0, abs=4 * error + (d / 1000) ** 2)
    assert abs(np.mean(found)) < 0.15 * np.mean(plain)
    assert np.mean(slopes) == pytest.approx(bias * n, rel=0.25)


def test_the_extrapolation_is_of_the_seed_alone():
    x = RNG.normal(size=(200, 3))
    reference = moments(RNG.normal(size=(300, 3)))
    one, two = (frechet_distance_infinity(reference, x, points=4, least=50, seed=seed).distance for seed in (1, 2))
    assert one == frechet_distance_infinity(reference, x, points=4, least=50, seed=1).distance != two
    values = frechet_distance_infinity(reference, x, points=4, least=50, seed=1)
    slope, intercept = np.polyfit(1 / values.sizes, values.distances, 1)
    assert (values.slope, values.distance) == pytest.approx((slope, intercept))


@pytest.mark.usefixtures("unchecked")
def test_published_moments_in_float32_are_taken_to_float64():
    """Of many more examples than dimensions, whose distance float32 would leave few digits of."""
    x, y = 100 + RNG.normal(size=(400, 20)), 100.01 + RNG.normal(size=(400, 20))

    def taken_to(dtype, each):
        return Moments(each.examples, each.mean.astype(dtype), each.covariance.astype(dtype))

    first, second = (taken_to(np.float32, moments(each)) for each in (x, y))
    exact = [taken_to(np.float64, each) for each in (first, second)]
    assert frechet_distance(first, second) == frechet_distance(*exact)
    both = merged(first, second)
    assert both.mean.dtype == both.covariance.dtype == np.float64
    np.testing.assert_array_equal(both.covariance, merged(*exact).covariance)


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_covariance_is_refused():
    good = moments(RNG.normal(size=(50, 3)))
    lopsided = good.covariance.copy()
    lopsided[0, 2] += 0.5
    negative = good._replace(covariance=good.covariance - 2 * np.trace(good.covariance) * np.eye(3))
    rounded = good._replace(covariance=good.covariance + 1e-6 * np.triu(np.ones((3, 3))))
    assert frechet_distance(rounded, good) < 1e-4
    for name, order in (("first", slice(None)), ("second", slice(None, None, -1))):
        with pytest.raises(ValueError, match=f"the {name} covariance is not symmetric: .* differ by up to 0.5"):
            frechet_distance(*[good._replace(covariance=lopsided), good][order])
        with pytest.raises(ValueError, match=f"the {name} covariance has the eigenvalue -"):
            frechet_distance(*[negative, good][order])


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    x = RNG.normal(size=(10, 3))
    broken = x.copy()
    broken[4, 1], broken[7, 0] = np.nan, np.inf
    with pytest.raises(
        ValueError, match="2 of 10 rows of features hold NaN or infinite values, the first of them row 4"
    ):
        moments(broken)
    with pytest.raises(ValueError, match=r"features must be features \[N, D\] of float32 or float64, got \[10\]"):
        moments(x[:, 0])
    with pytest.raises(ValueError, match=r"features must be an array of features .* got a list: make it one"):
        moments(x.tolist())
    with pytest.raises(ValueError, match="of int64: flatten and cast"):
        moments(np.ones((3, 3), np.int64))
    with pytest.raises(ValueError, match="must hold 1 or more examples"):
        moments(x[:0])
    with pytest.raises(ValueError, match="no moments to merge"):
        merged()
    for function in (merged, frechet_distance):
        with pytest.raises(ValueError, match=r"of the same D, got \(3,\) and \(3, 3\), \(2,\) and \(2, 2\)"):
            function(moments(x), moments(x[:, :2]))
    with pytest.raises(ValueError, match="needs 2 or more examples, got 1 in the second moments"):
        frechet_distance(moments(x), moments(x[:1]))
    with pytest.raises(ValueError, match="1 of 4 rows of the first moments"):
        frechet_distance(moments(x)._replace(mean=broken[4]), moments(x))
    for wrong in ({"points": 1}, {"least": 1}, {"least": 10, "points": 2}, {"least": 8, "points": 4}, {}):
        with pytest.raises(ValueError, match="a line needs 2 or more numbers of samples"):
            frechet_distance_infinity(moments(x), x, **wrong)
