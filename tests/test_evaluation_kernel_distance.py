"""The kernel distance against double loops; its expectation, and its standard error against repeated draws."""

import itertools
import math

import numpy as np
import pytest
from sklearn.metrics.pairwise import polynomial_kernel

from gen_models.evaluation.kernel_distance import kernel_distance, subset_kernel_distance

RNG = np.random.default_rng(0)


def loops(x, y):
    """The estimate pair by pair, by Python's exact sums."""
    x, y = x.astype(np.float64), y.astype(np.float64)

    def kernel(a, b):
        return (math.fsum(a * b) / len(a) + 1) ** 3

    def own(points):
        return math.fsum(kernel(a, b) for a, b in itertools.permutations(points, 2)) / (len(points) * (len(points) - 1))

    across = math.fsum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return own(x) + own(y) - 2 * across


def drawn(n, m, d=5, shift=0.0, draw=RNG):
    return draw.normal(size=(n, d)), draw.normal(shift, 1.5 if shift else 1.0, size=(m, d))


@pytest.mark.parametrize("block", [1, 7, 16, 1024])
def test_all_pairs_are_the_double_loops_however_they_are_blocked(block):
    for n, m, d in ((16, 16, 4), (20, 13, 1), (3, 40, 9)):
        x, y = drawn(n, m, d, shift=0.5)
        assert kernel_distance(x, y, block=block).distance == pytest.approx(loops(x, y), rel=1e-11)
        both = kernel_distance(y, x, block=block)
        assert both == pytest.approx(kernel_distance(x, y), rel=1e-11)


def test_float32_features_are_computed_in_float64():
    x, y = (each.astype(np.float32) for each in drawn(30, 20, shift=0.2))
    assert kernel_distance(x, y).distance == pytest.approx(loops(x, y), rel=1e-11)
    found = subset_kernel_distance(x, y, subsets=3, subset_size=10)
    wide = subset_kernel_distance(x.astype(np.float64), y.astype(np.float64), subsets=3, subset_size=10)
    np.testing.assert_array_equal(found.each, wide.each)


def test_a_subset_of_all_points_is_all_pairs():
    x, y = drawn(24, 24, shift=0.5)
    found = subset_kernel_distance(x, y, subsets=4, subset_size=24)
    np.testing.assert_allclose(found.each, loops(x, y), rtol=1e-11)
    assert found.distance == pytest.approx(loops(x, y), rel=1e-11) and found.spread < 1e-12
    alone = subset_kernel_distance(x, y, subsets=1, subset_size=24)
    assert math.isnan(alone.spread) and math.isnan(alone.standard_error)


def test_subsets_are_of_the_seed_alone_and_their_mean_is_that_of_all_pairs():
    """Averaged over all subsets it is the estimate from all pairs: within four standard errors of 400 subsets."""
    x, y = drawn(60, 50, shift=0.4)
    found = subset_kernel_distance(x, y, subsets=400, subset_size=20, seed=3)
    again = subset_kernel_distance(x, y, subsets=400, subset_size=20, seed=3)
    other = subset_kernel_distance(x, y, subsets=400, subset_size=20, seed=4)
    np.testing.assert_array_equal(found.each, again.each)
    assert found.distance != other.distance
    assert found.spread == pytest.approx(found.each.std(ddof=1))
    assert found.standard_error == pytest.approx(found.spread / 20)
    assert found.distance == pytest.approx(kernel_distance(x, y).distance, abs=4 * found.standard_error)


def test_each_subset_is_the_formula_of_its_points():
    """By scikit-learn's kernel, of the draws that the seed gives."""
    x, y = drawn(30, 40, shift=0.3)
    found = subset_kernel_distance(x, y, subsets=5, subset_size=12, seed=9).each
    draw = np.random.default_rng(9)
    for value in found:
        a, b = x[draw.choice(30, 12, replace=False)], y[draw.choice(40, 12, replace=False)]
        aa, bb, ab = (
            polynomial_kernel(one, two, degree=3, gamma=1 / 5, coef0=1) for one, two in ((a, a), (b, b), (a, b))
        )
        off = ~np.eye(12, dtype=bool)
        assert value == pytest.approx(aa[off].mean() + bb[off].mean() - 2 * ab.mean(), rel=1e-11)


def test_it_is_unbiased():
    """Of normal variables x ~ N(0, 1), y ~ N(a, b^2) in one dimension the discrepancy is that of the moments.

    (x y + 1)^3 is the product of the features (1, sqrt(3) x, sqrt(3) x^2, x^3), so that the squared discrepancy is
    3 a^2 + 3 (a^2 + b^2 - 1)^2 + (a^3 + 3 a b^2)^2. Estimates from 5 points each are as right in expectation as others.
    """
    draw = np.random.default_rng(1)
    for a, b in ((0.0, 1.0), (0.5, 0.8)):
        truth = 3 * a**2 + 3 * (a**2 + b**2 - 1) ** 2 + (a**3 + 3 * a * b**2) ** 2
        for n, m in ((5, 5), (40, 8)):
            values = np.array([
                kernel_distance(draw.normal(size=(n, 1)), draw.normal(a, b, size=(m, 1))).distance for _ in range(2000)
            ])  # fmt: skip
            assert values.mean() == pytest.approx(truth, abs=4 * values.std() / math.sqrt(2000))


def test_the_standard_error_is_the_jackknifes():
    """Every point is left out in turn, and all is computed anew."""
    x, y = drawn(9, 7, 3, shift=0.5)
    variance = 0.0
    for points, estimate in (
        (x, lambda i: loops(np.delete(x, i, 0), y)),
        (y, lambda i: loops(x, np.delete(y, i, 0))),
    ):
        n = len(points)
        without = np.array([estimate(i) for i in range(n)])
        variance += (n - 1) / n * ((without - without.mean()) ** 2).sum()
    assert kernel_distance(x, y).standard_error == pytest.approx(math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize(("shift", "factor"), [(1.0, 1.0), (0.0, math.sqrt(2))])
def test_the_standard_error_is_the_spread_of_repeated_draws(shift, factor):
    """It is right where distributions differ, and sqrt(2) too large where they are equal; 400 draws, within 15%."""
    draw = np.random.default_rng(2)
    found = [kernel_distance(*drawn(80, 60, 8, shift, draw)) for _ in range(400)]
    spread = np.std([each.distance for each in found], ddof=1)
    claimed = math.sqrt(np.mean([each.standard_error**2 for each in found]))
    assert claimed / spread == pytest.approx(factor, rel=0.15)


def test_equal_sets_are_below_0():
    """The diagonal is left out of the sets' own pairs and not of the pairs across: the estimate is not 0 but below."""
    x = RNG.normal(size=(50, 4))
    diagonal = ((x * x).sum(1) / 4 + 1) ** 3
    kernel = (x @ x.T / 4 + 1) ** 3
    expected = 2 * (kernel.sum() - diagonal.sum()) / (50 * 49) - 2 * kernel.mean()
    assert kernel_distance(x, x).distance == pytest.approx(expected, rel=1e-9) and expected < 0


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    x, y = drawn(10, 10)
    with pytest.raises(ValueError, match="first must hold 3 or more examples"):
        kernel_distance(x[:2], y)
    with pytest.raises(ValueError, match="dimensions of features must be equal, got first 5, second 4"):
        kernel_distance(x, y[:, :4])
    with pytest.raises(ValueError, match="1 of 10 rows of second"):
        subset_kernel_distance(x, np.where(np.arange(10)[:, None] == 3, np.nan, y), subset_size=5)
    for size in (1, 11):
        with pytest.raises(ValueError, match=f"from 2 to the 10 points of the smaller set, got {size}"):
            subset_kernel_distance(x, y, subset_size=size)
    with pytest.raises(ValueError, match="got subsets=0"):
        subset_kernel_distance(x, y, subsets=0, subset_size=5)
    with pytest.raises(ValueError, match="got block=0"):
        kernel_distance(x, y, block=0)
