"""The birthday test on distributions over a known number of points, and coverage of classes against counts."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from gen_models.evaluation.support import (
    birthday_test,
    class_coverage,
    collision_probability,
    support_size,
)

RNG = np.random.default_rng(0)


def test_the_collision_probability_is_that_of_all_outcomes():
    for support, batch in ((5, 3), (4, 4), (3, 4), (2, 2), (6, 1)):
        outcomes = list(itertools.product(range(support), repeat=batch))
        expected = sum(len(set(each)) < batch for each in outcomes) / len(outcomes)
        assert collision_probability(batch, support) == pytest.approx(expected, abs=1e-14)
    assert collision_probability(23, 365) == pytest.approx(0.5072972343)
    assert collision_probability(1000, math.inf) == 0
    assert collision_probability(1000, 1e15) == pytest.approx(1000 * 999 / 2e15, rel=1e-6)


def test_the_support_is_that_which_has_the_probability():
    for batch, support in ((23, 365), (2, 7), (400, 160_000), (100, 1e12), (50, 200)):
        assert support_size(collision_probability(batch, support), batch) == pytest.approx(support, rel=1e-9)
    assert support_size(0, 20) == math.inf
    assert support_size(1, 20) == 19


def test_half_of_the_batches_speak_for_about_the_square_of_their_size():
    """s^2 / (2 log 2) to first order; s^2 itself has duplicates in 39% of the batches."""
    assert support_size(0.5, 1000) == pytest.approx(1000**2 / (2 * math.log(2)), rel=2e-3)
    assert collision_probability(1000, 1000**2) == pytest.approx(1 - math.exp(-0.5), rel=1e-3)


@pytest.mark.parametrize(("support", "batch"), [(200, 17), (1000, 30)])
def test_a_uniform_distribution_over_a_known_number_of_points(support, batch):
    """Whose features are distinct, with noise far below the threshold."""
    points = RNG.normal(size=(support, 8))
    samples = points[RNG.integers(0, support, 400 * batch)] + 1e-4 * RNG.normal(size=(400 * batch, 8))
    found = birthday_test(samples, batch, threshold=0.01)
    assert found.batches == 400 and found.batch_size == batch
    probability = collision_probability(batch, support)
    assert found.probability == pytest.approx(probability, abs=4 * math.sqrt(probability * (1 - probability) / 400))
    assert found.support == pytest.approx(support_size(found.probability, batch))
    low, high = found.support_interval
    assert low < found.support < high
    assert low < support < high and high < 1.6 * low


def test_intervals_hold_the_support_as_often_as_they_say():
    """95% of 100 tests, within four standard errors of that share."""
    draw = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        samples = draw.integers(0, 300, size=(400, 1)).astype(np.float64)
        low, high = birthday_test(samples, 20, threshold=0, seed=seed).support_interval
        held += low <= 300 <= high
    assert held / 100 == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 100))


def test_unequal_probabilities_make_it_smaller():
    """It is near 1 / sum p^2, here 360 of 1,000 points, of which 100 have half of the mass."""
    p = np.where(np.arange(1000) < 100, 0.5 / 100, 0.5 / 900)
    samples = RNG.choice(1000, p=p, size=(16_000, 1)).astype(np.float64)
    found = birthday_test(samples, 16, threshold=0)
    effective = 1 / (p**2).sum()
    assert effective == pytest.approx(360, rel=0.01)
    low, high = found.support_interval
    assert low < effective < high < 1000


def test_no_duplicates_and_nothing_but_duplicates():
    different = RNG.normal(size=(105, 2))
    found = birthday_test(different, 10, threshold=0)
    assert (found.batches, found.probability, found.support) == (10, 0, math.inf)
    assert found.interval[0] == 0 and 0.2 < found.interval[1] < 0.4  # Wilson's: z^2 / (n + z^2)
    assert 0 < found.support_interval[0] < found.support_interval[1] == math.inf
    same = birthday_test(np.ones((100, 2), np.float32), 10, threshold=0)
    assert (same.probability, same.support, same.interval[1]) == (1, 9, 1)


def test_wilsons_interval_is_scipys():
    samples = RNG.integers(0, 30, size=(300, 1)).astype(np.float64)
    found = birthday_test(samples, 6, threshold=0)
    count = round(found.probability * 50)
    expected = scipy.stats.binomtest(count, 50).proportion_ci(method="wilson")
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_the_threshold_is_a_distance_and_counts_as_a_duplicate():
    pair = np.array([[0.0, 0.0], [3.0, 4.0]])
    assert birthday_test(pair, 2, threshold=5.0).probability == 1
    assert birthday_test(pair, 2, threshold=np.nextafter(5.0, 0)).probability == 0


def test_batches_are_of_the_seed_alone():
    samples = RNG.integers(0, 500, size=(2000, 1)).astype(np.float64)
    values = [birthday_test(samples, 25, threshold=0, seed=seed).probability for seed in (1, 1, 2, 3, 4)]
    assert values[0] == values[1] and len({*values}) > 1


def test_class_coverage_counts():
    predicted = np.repeat([0, 1, 3], [70, 27, 3])
    found = class_coverage(predicted, 5)
    assert found.classes == 3
    np.testing.assert_allclose(found.shares, [0.7, 0.27, 0, 0.03, 0])
    assert found.reverse_kl == pytest.approx(scipy.stats.entropy(found.shares, np.full(5, 0.2)))
    assert class_coverage(predicted, 5, 0.03).classes == 3, "a share at the threshold is covered"
    assert class_coverage(predicted, 5, 0.031).classes == 2
    assert class_coverage(predicted, 5, 0.7).classes == 1


def test_class_coverage_of_a_reference():
    reference = np.repeat([0, 1, 2, 3], [40, 30, 20, 10])
    predicted = np.repeat([0, 1, 3], [5, 3, 2])
    found = class_coverage(predicted, 4, reference=reference)
    assert found.reverse_kl == pytest.approx(scipy.stats.entropy([0.5, 0.3, 0, 0.2], [0.4, 0.3, 0.2, 0.1]))
    assert class_coverage(reference, 4, reference=RNG.permutation(reference)).reverse_kl == 0
    assert class_coverage(reference, 4, reference=predicted).reverse_kl == math.inf, (
        "class 2 is none of the reference's"
    )


def test_class_coverage_at_its_ends():
    even = class_coverage(np.tile(np.arange(10), 7), 10)
    assert even.classes == 10 and even.reverse_kl == pytest.approx(0, abs=1e-15)
    one = class_coverage(np.zeros(30, np.int32), 10)
    assert one.classes == 1 and one.reverse_kl == pytest.approx(math.log(10))


def test_the_divergence_of_fair_draws_is_the_bias_that_it_says():
    """(classes - 1) / 2N, and as much again by a reference of as many examples; means of 500 draws, within 10%."""
    draw = np.random.default_rng(6)
    alone = [class_coverage(draw.integers(0, 10, 1000), 10).reverse_kl for _ in range(500)]
    both = [
        class_coverage(draw.integers(0, 10, 1000), 10, reference=draw.integers(0, 10, 1000)).reverse_kl
        for _ in range(500)
    ]
    assert np.mean(alone) == pytest.approx(9 / 2000, rel=0.1)
    assert np.mean(both) == pytest.approx(9 / 1000, rel=0.1)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    x = RNG.normal(size=(10, 2))
    for size in (1, 11):
        with pytest.raises(ValueError, match=f"batch_size must be from 2 to the 10 samples, got {size}"):
            birthday_test(x, size, 0.1)
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="threshold must not be negative"):
            birthday_test(x, 5, wrong)
    with pytest.raises(ValueError, match="1 of 10 rows of samples"):
        birthday_test(np.where(np.arange(10)[:, None] == 2, np.nan, x), 5, 0.1)
    for wrong in (0.5, math.nan):
        with pytest.raises(ValueError, match="support must be 1 or more"):
            collision_probability(5, wrong)
    for probability, size in ((1.1, 5), (math.nan, 5), (0.5, 1)):
        with pytest.raises(ValueError, match="from 0 to 1 and batch_size 2 or more"):
            support_size(probability, size)
    classes = np.array([0, 1, 7, -1, 2])
    with pytest.raises(ValueError, match="2 of 5 entries of predicted are no class from 0 to 6, the first of them 7"):
        class_coverage(classes, 7)
    with pytest.raises(ValueError, match="1 of 5 entries of reference are no class"):
        class_coverage(classes[:2], 8, reference=classes)
    with pytest.raises(ValueError, match=r"threshold must be a share from 0 to 1, got 1\.5"):
        class_coverage(classes[:2], 8, 1.5)
    for empty in (classes[:0], classes.astype(np.float64), classes[None]):
        with pytest.raises(ValueError, match="predicted must be one or more classes"):
            class_coverage(empty, 8)
