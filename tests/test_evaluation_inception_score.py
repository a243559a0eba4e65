"""The Inception score of probabilities whose score is known, and against SciPy's entropies."""

import math
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats

from gen_models.evaluation.inception_score import inception_score

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [1, 2, 10, 1000])
def test_certain_and_even_is_the_number_of_classes_and_the_same_for_all_is_1(classes):
    certain = np.tile(np.eye(classes), (6, 1))
    assert inception_score(certain, splits=3).score == pytest.approx(classes, rel=1e-12)
    same = np.tile(RNG.dirichlet(np.ones(classes)), (20, 1))
    assert inception_score(same, splits=2).score == pytest.approx(1, rel=1e-12)


def test_certain_and_uneven_is_the_exponential_of_the_entropy():
    certain = np.eye(3)[[0] * 6 + [1] * 3 + [2] * 1]
    assert inception_score(certain, splits=1).score == pytest.approx(math.exp(scipy.stats.entropy([0.6, 0.3, 0.1])))


@pytest.mark.parametrize("splits", [1, 2, 7, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_scipy(splits, dtype):
    p = RNG.dirichlet(np.full(12, 0.1), size=50).astype(dtype)
    p[::5, 3:] = 0  # what is 0 counts nothing
    p /= p.sum(1, keepdims=True)
    wide = p.astype(np.float64)
    edges = [50 * i // splits for i in range(splits + 1)]
    expected = []
    for start, end in pairwise(edges):
        part = wide[start:end]
        expected.append(
            np.exp(scipy.stats.entropy(part.T, (part / part.sum(1, keepdims=True)).mean(0)[:, None]).mean())
        )
    found = inception_score(p, splits=splits)
    np.testing.assert_allclose(found.each, expected, rtol=1e-10)
    assert found.score == pytest.approx(np.mean(expected), rel=1e-10)
    if splits == 1:
        assert math.isnan(found.spread)
    else:
        assert found.spread == pytest.approx(np.std(expected, ddof=1), rel=1e-8, abs=1e-12)


def test_many_samples_are_taken_in_parts():
    p = RNG.dirichlet(np.ones(5), size=10_000)
    expected = math.exp(scipy.stats.entropy(p.mean(0)) - scipy.stats.entropy(p.T).mean())
    assert inception_score(p, splits=1).score == pytest.approx(expected, rel=1e-11)


def test_splits_see_the_samples_in_their_order():
    """Class by class each of ten splits holds one class, and the score is 1: samples must be shuffled."""
    ordered = np.repeat(np.eye(10), 20, axis=0)
    assert inception_score(ordered).score == pytest.approx(1)
    assert inception_score(RNG.permutation(ordered)).score > 5


def test_nested_lists_are_probabilities_too():
    p = RNG.dirichlet(np.ones(3), size=12)
    assert inception_score(p.tolist(), splits=2).score == inception_score(p, splits=2).score


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    p = RNG.dirichlet(np.ones(4), size=20)
    with pytest.raises(ValueError, match="one sample or more for each of 21 splits"):
        inception_score(p, splits=21)
    with pytest.raises(ValueError, match="got splits=0"):
        inception_score(p, splits=0)
    with pytest.raises(ValueError, match=r"those of row 0 sum to .*: take the softmax of logits"):
        inception_score(np.log(p))
    for wrong, told in ((1.5 * p, "row 13 sum to 1.5"), (p * 0, "row 13 sum to 0")):
        with pytest.raises(ValueError, match=told):
            inception_score(np.where(np.arange(20)[:, None] < 13, p, wrong))
    negative = p.copy()
    negative[7, :2] = -0.2, p[7, :2].sum() + 0.2
    with pytest.raises(ValueError, match=r"row 7 sum to 1, and the least of them is -0\.2"):
        inception_score(negative)
    negative[3, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 20 rows of the probabilities hold NaN"):
        inception_score(negative)
