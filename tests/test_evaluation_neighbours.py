"""Neighbours against brute force by differences: equal bits, ties and copies included, however points are blocked."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from gen_models.evaluation._distances import BLOCK, pairs, within
from gen_models.evaluation.neighbours import closest_pairs, nearest_neighbours, other_neighbours

RNG = np.random.default_rng(0)


def squared(first, second):
    """All squared distances, by differences."""
    return np.square(first.astype(np.float64)[:, None] - second.astype(np.float64)).sum(-1)


def brute(queries, references, k, others=False):
    """Distances and indices by sorting all of them."""
    all_of_them = squared(queries, references)
    if others:
        np.fill_diagonal(all_of_them, np.inf)
    indices = all_of_them.argsort(1, kind="stable")[:, :k]  # of equal ones the lower index comes first
    return np.sqrt(np.take_along_axis(all_of_them, indices, 1)), indices


def normal(n, m, d=6):
    return RNG.normal(size=(n, d)), RNG.normal(size=(m, d))


def integers(n, m, d=3):
    """Small ones: most distances are ties, and many points are copies."""
    return (RNG.integers(0, 3, size=(each, d)).astype(np.float64) for each in (n, m))


def far(n, m, d=5):
    """Distances of a millionth at places a million away: |a|^2 + |b|^2 - 2 a.b keeps no digit of them."""
    return (1e6 + 1e-6 * RNG.integers(0, 5, size=(each, d)) for each in (n, m))


def clusters(n, m, d=4):
    """Three heaps of nearly equal points far apart, and some equal ones, in float32."""
    heaps = 100 * RNG.normal(size=(3, d))
    return ((heaps[RNG.integers(0, 3, each)] + 1e-5 * RNG.normal(size=(each, d))).astype(np.float32) for each in (n, m))


SETS = [normal, integers, far, clusters]


@pytest.mark.parametrize("block", [1, 5, 16, 1024])
@pytest.mark.parametrize("points", SETS)
def test_neighbours_are_those_of_brute_force(points, block):
    for n, m, k in ((30, 40, 1), (23, 37, 5), (4, 9, 9)):
        queries, references = points(n, m)
        found = nearest_neighbours(queries, references, k, block=block)
        distances, indices = brute(queries, references, k)
        np.testing.assert_array_equal(found.distances, distances)
        np.testing.assert_array_equal(found.indices, indices)


@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize("points", SETS)
def test_other_neighbours_leave_out_the_point_alone(points, block):
    for n, k in ((2, 1), (41, 1), (41, 6), (10, 9)):
        x, _ = points(n, 1)
        found = other_neighbours(x, k, block=block)
        distances, indices = brute(x, x, k, others=True)
        np.testing.assert_array_equal(found.distances, distances)
        np.testing.assert_array_equal(found.indices, indices)
        assert (found.indices != np.arange(n)[:, None]).all()


def test_agrees_with_scikit_learn():
    """In 300 dimensions, of float32 features of one large mean."""
    queries, references = (3 + RNG.normal(size=(each, 300)).astype(np.float32) for each in (150, 260))
    model = NearestNeighbors(n_neighbors=4, algorithm="kd_tree").fit(references.astype(np.float64))
    distances, indices = model.kneighbors(queries.astype(np.float64))
    found = nearest_neighbours(queries, references, 4, block=64)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
    np.testing.assert_array_equal(found.indices, indices)


def test_a_copy_is_at_distance_0_whatever_its_size():
    for scale in (1e-20, 1.0, 1e20):
        x = scale * RNG.normal(size=(50, 200))
        found = nearest_neighbours(x[::-1], x)
        assert (found.distances == 0).all()
        np.testing.assert_array_equal(found.indices[:, 0], np.arange(50)[::-1])


def test_many_copies_are_neighbours_of_lower_index():
    x = np.ones((2 * BLOCK + 5, 2))
    found = other_neighbours(x, 2)
    assert (found.distances == 0).all()
    assert found.indices[0].tolist() == [1, 2] and (found.indices[2:] == [0, 1]).all()


@pytest.mark.parametrize("points", SETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_intervals_hold_what_differences_give(points, dtype):
    """Among points of the most various sizes, in many dimensions, too: comparisons rest on it."""
    various = np.exp(4 * RNG.normal(size=(60, 1))) * RNG.normal(size=(60, 500))
    for first, second in (tuple(points(40, 50)), (various[:20], various[10:])):
        a, b = first.astype(dtype), second.astype(dtype)
        truth = squared(a, b)
        for each in pairs(a, b, 16):
            there = truth[each.rows, each.columns]
            assert (each.low <= there).all() and (there <= each.high).all()
            for limit in (np.quantile(truth[each.rows], 0.3, axis=1, method="lower", keepdims=True), there[:, :1]):
                np.testing.assert_array_equal(within(a, b, each, limit), there <= limit)


@pytest.mark.parametrize("points", SETS)
def test_closest_pairs_are_those_of_brute_force(points):
    for n, count in ((2, 1), (30, 7), (12, 40), (12, 66)):
        x, _ = points(n, 1)
        found = closest_pairs(x, count, block=5)
        first, second = np.triu_indices(n, 1)
        distance = np.sqrt(squared(x, x)[first, second])
        order = np.lexsort((second, first, distance))[:count]
        np.testing.assert_array_equal(found.distances, distance[order])
        np.testing.assert_array_equal(found.indices, np.stack([first, second], 1)[order])


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    x, y = normal(10, 8)
    with pytest.raises(ValueError, match="k=9 neighbours are asked for, but there are 8 references"):
        nearest_neighbours(x, y, 9)
    with pytest.raises(ValueError, match="k=10 neighbours are asked for, but there are 9 other points"):
        other_neighbours(x, 10)
    with pytest.raises(ValueError, match="count=46 pairs are asked for, but there are 45: take a smaller count"):
        closest_pairs(x, 46)
    for k in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"got k={k}"):
            nearest_neighbours(x, y, k)
    with pytest.raises(ValueError, match="got block=0"):
        nearest_neighbours(x, y, block=0)
    with pytest.raises(ValueError, match="got queries 6, references 5: take the same layer"):
        nearest_neighbours(x, y[:, :5])
    with pytest.raises(
        ValueError, match="3 of 8 rows of references hold NaN or infinite values, the first of them row 5"
    ):
        nearest_neighbours(x, np.where(np.arange(8)[:, None] < 5, y, np.inf))
    with pytest.raises(ValueError, match="features must hold 2 or more examples"):
        other_neighbours(x[:1])
    with pytest.raises(ValueError, match=r"queries must be an array of .* got a list: make it one by np.asarray"):
        nearest_neighbours(x.tolist(), y)


def test_distances_that_would_overflow_are_refused():
    """Up to the bound all is finite; beyond it NumPy would warn of infinite values, which is an error here."""
    x = RNG.normal(size=(10, 4))
    x /= np.abs(x).max()
    most = np.sqrt(np.finfo(np.float64).max / (16 * 4))
    distances, indices = brute(x, x, 2)
    found = nearest_neighbours(most * x, most * x, 2)
    np.testing.assert_allclose(found.distances / most, distances, rtol=1e-12)
    np.testing.assert_array_equal(found.indices, indices)
    for first, second in ((x, 1.01 * most * x), (1.01 * most * x, x)):
        with pytest.raises(ValueError, match=r"features are as large as .* whose squared distances overflow"):
            nearest_neighbours(first, second)


@pytest.mark.slow
def test_memory_is_bounded():
    """Far below one matrix of all distances, 800 MB here, or a copy of the features in float64."""
    import tracemalloc

    x = RNG.normal(size=(10_000, 512)).astype(np.float32)
    tracemalloc.start()
    other_neighbours(x, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * BLOCK * BLOCK * 8
