"""Intervals, paired tests and Holm's correction against published examples, closed forms and simulated coverage."""

import math
import sys

import numpy as np
import pytest
from scipy import stats

from gen_models.sweep.report.statistics import COVERAGE, bootstrap_interval, holm, paired_difference, t_interval

# Extra hours of sleep of ten patients with two drugs (Cushny & Peebles 1905, in Student 1908; R's data set `sleep`).
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_student_s_own_example():
    found = paired_difference(DRUG_2, DRUG_1)
    assert found.pairs == 10 and found.mean == pytest.approx(1.58)
    assert found.p == pytest.approx(0.002833, abs=5e-7)  # R: t.test(paired = TRUE)
    assert found.t_interval == pytest.approx((0.7001142, 2.4598858), abs=5e-8)
    low, high = found.interval
    assert 0.7 < low < 1.58 < high < 2.5
    other = paired_difference(DRUG_1, DRUG_2)  # the other way round: mirrored
    assert (
        other.mean == -found.mean and other.p == found.p and other.t_interval == pytest.approx((-2.4598858, -0.7001142))
    )


def test_three_values_have_their_range_as_bootstrap_interval():
    # 1 of the 27 resamples is three times the least, and 1/27 > 0.025: no percentile of the mean is further in.
    assert bootstrap_interval([4.0, 1.0, 2.5]) == (1.0, 4.0)
    assert bootstrap_interval([4.0, 1.0]) == (1.0, 4.0)


def test_bootstrap_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(3).exponential(2.0, 1000)
    half = 1.959964 * values.std() / math.sqrt(1000)  # central limit theorem
    assert bootstrap_interval(values) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    low, high = bootstrap_interval(values, confidence=0.5)
    assert (high - low) / 2 == pytest.approx(half * 0.67449 / 1.959964, rel=0.1)


def test_bootstrap_interval_moves_and_scales_with_its_values_and_is_repeated():
    values = np.random.default_rng(4).normal(size=6)
    low, high = bootstrap_interval(values)
    assert bootstrap_interval(values) == (low, high) != bootstrap_interval(values, seed=1)
    assert bootstrap_interval(3 * values + 10) == pytest.approx((3 * low + 10, 3 * high + 10))


@pytest.mark.parametrize("count", sorted(COVERAGE))
def test_coverage_is_what_the_docstring_says(count):
    generator, trials = np.random.default_rng(count), 1000
    intervals = [bootstrap_interval(generator.normal(7.0, 2.0, count), resamples=400) for _ in range(trials)]
    held = sum(low <= 7 <= high for low, high in intervals) / trials
    expected = COVERAGE[count] / 100
    assert (
        abs(held - expected) < 3.3 * math.sqrt(expected * (1 - expected) / trials) + 0.005
    )  # 0.005: rounded to a percent
    if count <= 3:  # the range of n values misses the median when all lie on one side of it
        assert abs(held - (1 - 2 * 0.5**count)) < 3.3 * math.sqrt(held * (1 - held) / trials)


@pytest.mark.parametrize("count", [2, 3, 10])
def test_student_s_interval_covers_what_it_promises(count):
    draws = np.random.default_rng(count).normal(-1.0, 3.0, (2000, count))
    held = np.mean([low <= -1 <= high for low, high in map(t_interval, draws)])
    assert abs(held - 0.95) < 3.3 * math.sqrt(0.95 * 0.05 / 2000)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0, 3.0], [0.0, 0.0], [0.1 + 0.2, 0.3]])
def test_without_spread_there_is_no_interval(values):
    assert bootstrap_interval(values) is None and t_interval(values) is None


def test_values_that_have_no_mean_are_refused():
    with pytest.raises(ValueError, match="nan among the values has no mean: leave such runs out"):
        bootstrap_interval([1.0, math.nan])
    with pytest.raises(ValueError, match="inf among"):
        paired_difference([1.0, math.inf], [1.0, 2.0])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, got 95"):
        t_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError, match="same seeds in the same order, got 2 and 1"):
        paired_difference([1.0, 2.0], [1.0])


def test_differences_without_spread_are_no_test():
    assert paired_difference([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]) == (0.0, None, None, 1.0, 3)
    same = paired_difference([0.1 + 0.2, 0.7], [0.3, 0.7])  # equal but for rounding
    assert same.p == 1 and same.interval is None
    shifted = paired_difference([1.1, 2.1, 4.1], [1.0, 2.0, 4.0])  # constant: SciPy would say p = 0, and warn
    assert math.isnan(shifted.p) and shifted.mean == pytest.approx(0.1) and shifted.t_interval is None
    one = paired_difference([1.0], [1.0])
    assert math.isnan(one.p) and one.pairs == 1
    none = paired_difference([], [])
    assert math.isnan(none.mean) and math.isnan(none.p) and none.pairs == 0


def test_pairing_sees_what_the_seeds_share():
    seeds = np.random.default_rng(0).normal(0, 10, 6)
    ours = seeds + 1 + np.random.default_rng(1).normal(0, 0.1, 6)
    assert paired_difference(ours, seeds).p < 1e-3 < 0.5 < stats.ttest_ind(ours, seeds).pvalue


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [
        # R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
        # By hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 1 x 0.04, which may not be below the one before.
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_of_worked_examples(raw, corrected):
    assert holm(raw) == pytest.approx(corrected)


def test_holm_leaves_nan_out_and_keeps_it():
    with_gaps = holm([math.nan, 0.01, 0.04, math.nan, 0.03, 0.005])
    assert math.isnan(with_gaps[0]) and math.isnan(with_gaps[3])
    assert [p for p in with_gaps if not math.isnan(p)] == holm([0.01, 0.04, 0.03, 0.005])
    with pytest.raises(ValueError, match=r"lies between 0 and 1, got 1\.5"):
        holm([0.5, 1.5])


def test_holm_rejects_what_the_step_down_procedure_rejects():
    generator = np.random.default_rng(5)
    for _ in range(200):
        raw = generator.beta(0.3, 2.0, generator.integers(1, 12))
        corrected = np.array(holm(raw.tolist()))
        order, rejected = np.argsort(raw), set()
        for rank, index in enumerate(order):  # Holm 1979: stop at the first that is not small enough
            if raw[index] > 0.05 / (len(raw) - rank):
                break
            rejected.add(int(index))
        assert {int(i) for i in np.flatnonzero(corrected <= 0.05)} == rejected
        assert (corrected >= raw).all() and (corrected <= np.minimum(1, len(raw) * raw) + 1e-15).all()
        assert (np.diff(corrected[order]) >= 0).all()


def test_holm_keeps_the_chance_of_any_false_finding():
    # 12 labels with the base's mean, 5 seeds, the base shared by all tests: 46% without correction if independent.
    runs = np.random.default_rng(6).normal(size=(2000, 13, 5))
    raw = stats.ttest_rel(runs[:, 1:], runs[:, :1], axis=-1).pvalue
    assert np.mean(raw.min(1) <= 0.05) > 0.2
    assert np.mean([min(holm(p)) <= 0.05 for p in raw.tolist()]) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"a sweep's table needs an extra: pip install 'gen_models\[sweep\]'"):
        bootstrap_interval([1.0, 2.0])
