"""Precision, recall, density, coverage and authenticity against brute force, closed forms and a published check."""

import math

import numpy as np
import pytest

from gen_models.evaluation.manifold import authenticity, expected_coverage, manifold_statistics

RNG = np.random.default_rng(0)


def distances(first, second):
    return np.sqrt(np.square(first.astype(np.float64)[:, None] - second.astype(np.float64)).sum(-1))


def brute(data, samples, k):
    """The four definitions, point by point."""

    def radius(points, i):
        return sorted(distances(points[i : i + 1], np.delete(points, i, 0))[0])[k - 1]

    data_radius = [radius(data, i) for i in range(len(data))]
    sample_radius = [radius(samples, j) for j in range(len(samples))]
    apart = distances(data, samples)
    precision = np.mean([any(apart[i, j] <= data_radius[i] for i in range(len(data))) for j in range(len(samples))])
    recall = np.mean([any(apart[i, j] <= sample_radius[j] for j in range(len(samples))) for i in range(len(data))])
    density = sum(apart[i, j] <= data_radius[i] for i in range(len(data)) for j in range(len(samples)))
    coverage = np.mean([any(apart[i, j] <= data_radius[i] for j in range(len(samples))) for i in range(len(data))])
    return precision, recall, density / (k * len(samples)), coverage


@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_agrees_with_brute_force(k, block):
    for n, m, d, shift in ((30, 30, 2, 0.5), (20, 33, 5, 0.0), (13, 25, 1, 2.0)):
        data, samples = RNG.normal(size=(n, d)), RNG.normal(shift, 1.2, size=(m, d)).astype(np.float32)
        assert manifold_statistics(data, samples, k, block=block) == pytest.approx(brute(data, samples, k), abs=1e-12)


@pytest.mark.parametrize("k", [1, 4])
def test_ties_and_copies_are_decided_as_by_brute_force(k):
    """On a grid of few points, near and far from the origin, where nearly all distances are ties."""
    for origin, step in ((0.0, 1.0), (1e6, 2.0**-10)):
        data, samples = (origin + step * RNG.integers(0, 4, size=(each, 3)) for each in (40, 35))
        assert manifold_statistics(data, samples, k, block=16) == pytest.approx(brute(data, samples, k), abs=1e-12)


def test_a_sample_on_a_ball_is_inside():
    """The data 0, 1, 3 have the radii 1, 1, 2; the sample 5 is on the last ball, 6 on none."""
    data = np.array([[0.0], [1.0], [3.0]])
    found = manifold_statistics(data, np.array([[5.0], [6.0]]), k=1)
    assert found.precision == 0.5 and found.density == 0.5 and found.coverage == pytest.approx(1 / 3)
    assert found.recall == 0  # the samples' radii are 1


def test_copies_of_the_data_are_perfect():
    """Each copy lies in its own ball and in those of which it is a neighbour: k + 1 balls on average."""
    data = RNG.normal(size=(60, 4))
    assert manifold_statistics(data, RNG.permutation(data), k=3) == pytest.approx((1, 1, 4 / 3, 1))


def test_a_collapsed_model_is_precise_and_recalls_nothing():
    data = RNG.normal(size=(400, 2))
    found = manifold_statistics(data, np.zeros((300, 2)), k=5)
    assert found.precision == 1 and found.recall == 0
    assert 0 < found.coverage < 0.1
    assert found.density == pytest.approx(found.coverage * 400 / 5), "each sample lies in the same balls"


def test_samples_elsewhere_score_0():
    data = RNG.normal(size=(100, 3))
    assert manifold_statistics(data, RNG.normal(100, 1, size=(90, 3))) == (0, 0, 0, 0)


def test_one_example_far_away_raises_the_precision_and_hardly_the_density():
    """Naeem et al.'s case for density: its ball is large, and rubbish in it is precise; of k = 5 balls it is in one."""
    data = np.vstack([RNG.normal(size=(200, 2)), [[40.0, 0.0]]])
    rubbish = RNG.normal((30, 0), 1, size=(200, 2))
    found = manifold_statistics(data, rubbish)
    assert found.precision == 1 and found.density == pytest.approx(1 / 5)


@pytest.mark.parametrize(("n", "m", "k"), [(30, 30, 5), (20, 50, 1), (40, 10, 3)])
def test_density_and_coverage_of_equal_distributions(n, m, k):
    """1 and Lemma 2, whatever the distribution: by 400 draws in two dimensions and more, within four errors."""
    found = []
    for _ in range(400):
        draw = RNG.gamma(1.0, size=(n + m, 3)) if n == 30 else RNG.normal(size=(n + m, 2))
        found.append(manifold_statistics(draw[:n], draw[n:], k)[2:])
    mean, error = np.mean(found, 0), np.std(found, 0) / 20
    np.testing.assert_array_less(abs(mean - [1, expected_coverage(n, m, k)]), 4 * error)


def test_expected_coverage_has_closed_forms():
    assert expected_coverage(10, 7, 1) == pytest.approx(7 / 16)  # the nearest of 16 others is one of 7 samples
    assert expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 2**-5, rel=1e-5)
    assert expected_coverage(4, 3, 3) == pytest.approx(1 - 3 * 2 * 1 / (6 * 5 * 4))


@pytest.mark.slow
def test_the_published_check():
    """Two draws of N(0, I), 10,000 each in 1,000 dimensions, k = 5: the README of Naeem et al.'s code, another draw.

    There: precision 0.4772, recall 0.4705, density 1.0555, coverage 0.9735. Over eight draws, of the seeds 0 to 7, the
    standard deviations here were 0.013, 0.011, 0.062 and 0.0065, with means of 0.476, 0.480, 0.990 and 0.966: a few
    central points lie in very many balls. Two draws differ by less than 3 sqrt(2) of them in 99.7% of cases.
    """
    draw = np.random.default_rng(8)
    found = manifold_statistics(*(draw.normal(size=(10_000, 1000)) for _ in range(2)))
    differences = abs(np.subtract(found, (0.4772, 0.4705, 1.0555, 0.9735)))
    np.testing.assert_array_less(differences, 3 * math.sqrt(2) * np.array([0.013, 0.011, 0.062, 0.0065]))


@pytest.mark.parametrize("block", [1, 6, 1024])
def test_authenticity_is_that_of_brute_force(block):
    for scale in (0.05, 0.5, 1.0):
        training = RNG.normal(size=(25, 2))
        samples = training[RNG.integers(0, 25, 40)] + scale * RNG.normal(size=(40, 2))
        authentic = []
        for sample in samples:
            to_training = distances(sample[None], training)[0]
            nearest = to_training.argmin()
            to_others = distances(training[nearest : nearest + 1], np.delete(training, nearest, 0))[0]
            authentic.append(to_training[nearest] > to_others.min())
        found = authenticity(training, samples, block=block)
        assert found.authentic.tolist() == authentic and found.share == pytest.approx(np.mean(authentic))
        share = found.share
        assert found.standard_error == pytest.approx(math.sqrt(share * (1 - share) / 39))


def test_copies_are_not_authentic_and_far_points_are():
    training = RNG.normal(size=(80, 5)).astype(np.float32)
    copies = authenticity(training, RNG.permutation(training))
    assert (copies.share, copies.standard_error) == (0, 0) and not copies.authentic.any()
    assert authenticity(training, training + np.float32(50)).share == 1
    half = np.concatenate([training[:40], training[:40] + np.float32(50)])
    assert authenticity(training, half).share == 0.5
    near = training + np.float32(1e-3) * RNG.normal(size=training.shape).astype(np.float32)
    assert authenticity(training, near).share == 0


def test_copies_among_the_training_examples_make_no_sample_authentic_by_themselves():
    """Their own neighbour is at distance 0: a copy of them is as far, and so none; any other sample is further."""
    training = np.repeat(RNG.normal(size=(20, 3)), 2, axis=0)
    assert authenticity(training, training[::2]).share == 0
    assert authenticity(training, training[::2] + 1e-9).share == 1


@pytest.mark.parametrize(("d", "expected"), [(1, 1 / 3), (2, 0.3785)])
def test_new_draws_of_the_training_distribution(d, expected):
    """A third in one dimension: of a Poisson process, (1 - c) / (2 - c) with the share c of a ball that its neighbour's
    covers, 1/2 on a line and 2/3 - sqrt(3) / 2 pi in a plane. On a ring and on a torus, to have no borders."""
    points = RNG.uniform(size=(2, 4000, d))
    training, samples = (np.hstack([np.cos(2 * np.pi * each), np.sin(2 * np.pi * each)]) for each in points)
    found = authenticity(training, samples)
    assert found.share == pytest.approx(expected, abs=4 * found.standard_error)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    data, samples = RNG.normal(size=(6, 3)), RNG.normal(size=(9, 3))
    with pytest.raises(ValueError, match="k=6 neighbours are asked for, but there are 5 other examples"):
        manifold_statistics(data, samples, 6)
    with pytest.raises(ValueError, match="k=6 neighbours are asked for, but there are 5 other samples"):
        manifold_statistics(samples, data, 6)
    with pytest.raises(ValueError, match="got k=0"):
        manifold_statistics(data, samples, 0)
    with pytest.raises(ValueError, match="got data 3, samples 2"):
        manifold_statistics(data, samples[:, :2], 1)
    with pytest.raises(ValueError, match="9 of 9 rows of samples"):
        manifold_statistics(data, np.full_like(samples, np.nan), 1)
    with pytest.raises(ValueError, match="training must hold 2 or more examples"):
        authenticity(data[:1], samples)
    with pytest.raises(ValueError, match="1 of 6 rows of training"):
        authenticity(np.where(np.arange(6)[:, None] == 2, np.inf, data), samples)
    with pytest.raises(ValueError, match="k=10 neighbours"):
        expected_coverage(10, 10, 10)
