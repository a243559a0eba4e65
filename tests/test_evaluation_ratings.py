"""Shares, error rates and strengths of simulated raters, against closed forms, SciPy and the strengths they had."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from gen_models.evaluation.ratings import bradley_terry, error_rates, share, unbeaten_set


def comparisons(wins):
    """(winners, losers) of a table of wins."""
    pairs = [(i, j) for i, j in itertools.product(range(len(wins)), repeat=2) for _ in range(wins[i][j])]
    return np.array(pairs).T


def simulated(rng, strengths, raters, each, spread=0.0):
    """Comparisons of random pairs; each rater's own strengths differ from the common ones by normal draws."""
    k = len(strengths)
    own = strengths + spread * rng.normal(size=(raters, k))
    who = np.repeat(np.arange(raters), each)
    one = rng.integers(0, k, who.size)
    other = (one + rng.integers(1, k, who.size)) % k
    won = rng.random(who.size) < 1 / (1 + np.exp(own[who, other] - own[who, one]))
    return np.where(won, one, other), np.where(won, other, one), who


def test_a_share_has_wilsons_interval():
    for count, total in ((0, 7), (7, 7), (3, 40), (1, 1)):
        found = share(np.arange(total) < count, np.zeros(total, np.int64))
        expected = scipy.stats.binomtest(count, total).proportion_ci(method="wilson")
        assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9)
        assert (found.share, found.held, found.total, found.raters) == (count / total, count, total, 1)
        assert found.by_rater is None


def test_the_bootstrap_over_raters_has_the_percentiles_of_all_resamples():
    """With three raters all 27 resamples can be listed, each as likely; no percentile lies at a step between them."""
    found = np.repeat([True, False, True, False, True, False], [9, 1, 5, 5, 3, 27])
    raters = np.repeat([7, -2, 40], [10, 10, 30])
    counts, totals = np.array([9, 5, 3]), np.array([10, 10, 30])
    pooled = [counts[[*who]].sum() / totals[[*who]].sum() for who in itertools.product(range(3), repeat=3)]
    low, high = np.percentile(np.repeat(sorted(pooled), 1000), [2.5, 97.5])
    assert share(found, raters).by_rater == pytest.approx((low, high), abs=1e-12)
    assert low < share(found, raters).share < high


def test_raters_who_agree_with_themselves_make_the_interval_wider():
    """Raters who differ: the interval over raters holds the true share as often as it says, and Wilson's does not."""
    rng = np.random.default_rng(3)
    held = np.zeros(2)
    for trial in range(200):
        own = rng.beta(2, 2, size=40)  # each rater's share, 1/2 on average
        raters = np.repeat(np.arange(40), 25)
        found = share(rng.random(raters.size) < own[raters], raters, resamples=400, seed=trial)
        held += [low <= 0.5 <= high for low, high in (found.interval, found.by_rater)]
    assert held[0] < 150 and 180 <= held[1] <= 199


def test_resamples_are_of_the_seed_alone():
    rng = np.random.default_rng(0)
    found, raters = rng.random(600) < 0.4, rng.integers(0, 6, 600)
    values = [share(found, raters, seed=seed, resamples=1500).by_rater for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_error_rates_are_those_of_the_counts():
    real = np.repeat([True, True, False, False], [30, 10, 12, 28])
    said = np.repeat([True, False, True, False], [30, 10, 12, 28])
    raters = np.arange(80) % 4
    found = error_rates(real, said, raters)
    assert (found.reals_as_fake.held, found.reals_as_fake.total) == (10, 40)
    assert (found.fakes_as_real.held, found.fakes_as_real.total) == (12, 40)
    assert found.error.share == 22 / 80 and found.error.raters == 4
    alone = error_rates(real[:40], said[:40], raters[:40])
    assert alone.fakes_as_real is None and alone.reals_as_fake == found.reals_as_fake
    assert error_rates(real, real, raters).error.share == 0 and error_rates(real, ~real, raters).error.share == 1


def test_two_competitors_have_the_closed_form():
    """The difference of log-strengths is the log of the odds, and its variance is 1/a + 1/b."""
    winners, losers = comparisons([[0, 21], [9, 0]])
    found = bradley_terry(winners, losers, np.zeros(30, np.int64), 2)
    np.testing.assert_allclose(found.strengths, np.array([1, -1]) * math.log(21 / 9) / 2, rtol=1e-10)
    half = scipy.stats.norm.ppf(0.975) * math.sqrt(1 / 21 + 1 / 9) / 2
    np.testing.assert_allclose(found.intervals[0] - found.strengths[0], [-half, half], rtol=1e-8)
    assert found.preferred(0, 1) == pytest.approx(0.7) and found.preferred(1, 0) == pytest.approx(0.3)
    assert found.by_rater is None
    np.testing.assert_array_equal(found.wins, [[0, 21], [9, 0]])


def test_one_judgement_a_rater_gives_both_intervals_of_two_competitors():
    """Then raters are as many as judgements, and the two variances differ by their factor alone."""
    winners, losers = comparisons([[0, 21], [9, 0]])
    found = bradley_terry(winners, losers, np.arange(30), 2)
    middle = found.strengths[:, None]
    np.testing.assert_allclose(found.by_rater - middle, (found.intervals - middle) * math.sqrt(30 / 29), rtol=1e-8)


@pytest.mark.parametrize("seed", range(4))
def test_several_competitors_have_scipys_optimum_and_hunters_fixed_point(seed):
    rng = np.random.default_rng(seed)
    wins = rng.integers(0, [3, 12, 40, 3][seed], size=(5, 5)) * (1 - np.eye(5, dtype=np.int64))
    wins[np.arange(5), (np.arange(5) + 1) % 5] += 1  # a circle of wins
    if seed == 3:
        wins[0, 1:] *= 500  # far from the start
    winners, losers = comparisons(wins)
    found = bradley_terry(winners, losers, np.zeros(len(winners), np.int64), 5)

    def loss(free):
        s = np.concatenate([[0], free])
        return (wins * np.logaddexp(0, s - s[:, None])).sum()

    best = scipy.optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-7, "maxiter": 2000})
    expected = np.concatenate([[0], best.x])
    np.testing.assert_allclose(found.strengths, expected - expected.mean(), atol=2e-4)
    assert loss(found.strengths[1:] - found.strengths[0]) <= best.fun + 1e-9
    p = np.exp(found.strengths)
    n = wins + wins.T
    np.testing.assert_allclose(p, wins.sum(1) / (n / (p[:, None] + p)).sum(1), rtol=1e-8)
    assert found.strengths.sum() == pytest.approx(0, abs=1e-12)


def test_the_information_is_the_curvature_of_the_likelihood():
    wins = np.array([[0, 5, 8], [4, 0, 6], [2, 9, 0]])
    winners, losers = comparisons(wins)
    found = bradley_terry(winners, losers, np.zeros(len(winners), np.int64), 3)

    def loss(s):
        return (wins * np.logaddexp(0, s - s[:, None])).sum()

    step, signs = 1e-4, list(itertools.product((1, -1), repeat=2))
    curve = np.zeros((3, 3))
    for i, j in itertools.product(range(3), repeat=2):
        moved = [a * b * loss(found.strengths + step * (a * np.eye(3)[i] + b * np.eye(3)[j])) for a, b in signs]
        curve[i, j] = sum(moved) / (4 * step**2)
    half = scipy.stats.norm.ppf(0.975) * np.sqrt(np.diag(np.linalg.pinv(curve, rcond=1e-4)))
    np.testing.assert_allclose(found.intervals[:, 1] - found.strengths, half, rtol=1e-3)


@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_simulated_raters_strengths_lie_in_their_intervals(spread):
    """Of 150 trials; where raters differ, only the intervals that know of raters hold what they say."""
    rng, true = np.random.default_rng(5), np.array([0.6, 0.1, -0.7])
    held, trials = np.zeros((2, 3)), 150
    target = true if not spread else bradley_terry(*simulated(rng, true, 4000, 60, spread), 3).strengths
    for _ in range(trials):
        found = bradley_terry(*simulated(rng, true, 30, 40, spread), 3)
        for row, each in enumerate((found.intervals, found.by_rater)):
            held[row] += (each[:, 0] <= target) & (target <= each[:, 1])
    assert 0.89 <= held[1].mean() / trials <= 0.985
    assert 0.92 <= held[0].mean() / trials <= 0.985 if not spread else held[0].mean() / trials < 0.85


def test_strengths_that_would_be_infinite_are_refused_with_the_set():
    for wins, unbeaten in (
        ([[0, 3, 2], [0, 0, 1], [0, 4, 0]], [0]),
        ([[0, 1, 2, 0], [1, 0, 0, 3], [0, 0, 0, 2], [0, 0, 1, 0]], [0, 1]),
        ([[0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 2, 0]], [0, 1]),  # who never met
    ):
        winners, losers = comparisons(wins)
        assert unbeaten_set(np.array(wins)) == unbeaten
        with pytest.raises(ValueError, match=rf"competitors \[{str(unbeaten)[1:-1]}\] have lost to none of the others"):
            bradley_terry(winners, losers, np.zeros(len(winners), np.int64), len(wins))
    assert unbeaten_set(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])) is None


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    yes, who = np.array([True, False]), np.array([0, 1])
    with pytest.raises(ValueError, match=r"one or more, \[N\] in each array, got found \[2\], raters \[1\]"):
        share(yes, who[:1])
    with pytest.raises(ValueError, match=r"got found \[0\], raters \[0\]"):
        share(yes[:0], who[:0])
    with pytest.raises(ValueError, match="resamples=0"):
        share(yes, who, resamples=0)
    with pytest.raises(ValueError, match=r"real \[2\], said_real \[1\]"):
        error_rates(yes, yes[:1], who)
    for winners, losers, k in (([0, 2], [1, 0], 2), ([0, 1], [1, 1], 2), ([0, 0], [-1, 1], 2), ([0, 0], [0, 0], 1)):
        with pytest.raises(ValueError, match="two different competitors from 0"):
            bradley_terry(np.array(winners), np.array(losers), who, k)
