"""Scores of codes whose disentanglement is known: factors, their rotations, noise and nothing; against scikit-learn."""

import math
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mutual_info_score

from gen_models.data.shapes import grid_factors, grid_index, shape_splits
from gen_models.data.transforms import to_unit
from gen_models.evaluation.disentanglement import (
    beta_vae_score,
    factor_vae_score,
    mutual_information_gap,
    softmax_regression,
)
from gen_models.measures import Disentanglement, Split
from tests.measured import KEY, caught, figures_of, split_of, trained_of

SIZES = (3, 4, 8, 6, 6)
COUNT = math.prod(SIZES)
FACTORS = grid_factors(np.arange(COUNT), SIZES)
UNIT = ((FACTORS - FACTORS.mean(0)) / FACTORS.std(0)).astype(np.float32)  # a perfect code
NUMBERS = {"train": 2000, "test": 1000}


@cache
def program():
    """(codes [N, D], key) -> the gap, and the scores of beta-VAE and FactorVAE."""

    @jax.jit
    def scores(codes, key):
        def encode(factors):
            return codes[grid_index(factors, SIZES)]

        one, two = jax.random.split(key)
        beta = beta_vae_score(encode, SIZES, one, **NUMBERS)
        return mutual_information_gap(codes, FACTORS, SIZES), beta, factor_vae_score(encode, SIZES, two, **NUMBERS)

    return scores


def scores_of(codes, seed=0):
    gap, *others = program()(jnp.asarray(codes, jnp.float32), jax.random.key(seed))
    return float(gap.score), *map(float, others)


def rotated(degrees):
    """The perfect code, its second and third dimension rotated and its last two, and the first one left as it is."""
    sin, cos = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    turn = np.eye(5)
    for pair in (slice(1, 3), slice(3, 5)):
        turn[pair, pair] = [[cos, sin], [-sin, cos]]
    return UNIT @ turn


def test_a_perfect_code_scores_1_however_it_is_permuted_and_stretched():
    for codes in (UNIT, FACTORS, 7 - UNIT[:, ::-1] - 0.1 * UNIT[:, ::-1] ** 3):
        gap, beta, factor = scores_of(codes)
        assert gap == pytest.approx(1, abs=1e-5)
        assert (beta, factor) == (1, 1)


def test_a_rotated_code_scores_lower_though_it_tells_as_much():
    """At 45 degrees two dimensions tell as much of two factors each, so that four of five gaps are small."""
    gap, beta, factor = scores_of(rotated(45))
    assert 0.2 <= gap < 0.3
    assert 0.4 < beta < 0.97 and 0.4 < factor < 0.9
    nearly = scores_of(rotated(10))
    assert gap < nearly[0] < 0.95 and factor < nearly[2]
    assert scores_of(rotated(90))[0] == pytest.approx(1, abs=1e-5), "axes are exchanged"


def test_a_constant_code_has_no_gap_and_leaves_chance():
    gap, beta, factor = scores_of(np.full((COUNT, 5), 3.0))
    assert (gap, factor) == (0, 0)
    assert beta == pytest.approx(1 / 5, abs=0.06)  # as often as the factor that it names comes


def test_noise_is_near_chance():
    """Information estimated from n counts is biased by about (bins - 1) (size - 1) / 2n: 0.03 nats for 8 values."""
    noise = np.random.default_rng(0).normal(size=(COUNT, 5))
    for seed in (0, 1):
        gap, beta, factor = scores_of(noise, seed)
        assert 0 <= gap < 0.01
        assert beta == pytest.approx(1 / 5, abs=0.06) and factor == pytest.approx(1 / 5, abs=0.06)
    information = program()(jnp.asarray(noise, jnp.float32), KEY)[0].information
    bias = 19 * (np.array(SIZES) - 1) / (2 * COUNT)
    np.testing.assert_allclose(information.mean(0), bias, rtol=0.4)


def test_a_factor_in_two_dimensions_has_no_gap_and_one_that_is_missing_none_either():
    twice = np.concatenate([UNIT[:, :4], UNIT[:, :1]], 1)  # the first factor in two dimensions, the last in none
    result = program()(twice, KEY)[0]
    np.testing.assert_allclose(result.each, [0, 1, 1, 1, 0], atol=1e-5)
    assert result.score == pytest.approx(3 / 5, abs=1e-5)
    alone = jax.jit(lambda codes: mutual_information_gap(codes, FACTORS, SIZES))(UNIT[:, :1])
    np.testing.assert_allclose(alone.each, [1, 0, 0, 0, 0], atol=1e-5)


def test_information_is_scikit_learns():
    """Of codes in the bins of `numpy.histogram`, and of factors that are neither uniform nor independent."""
    draw = np.random.default_rng(1)
    factors = np.stack([draw.binomial(3, 0.3, 500), draw.integers(5, size=500)], 1).astype(np.int32)
    codes = (factors @ [[1.0, 0.2, 0.0], [0.3, 1.0, 0.0]] + draw.normal(size=(500, 3))).astype(np.float32)
    found = jax.jit(partial(mutual_information_gap, sizes=(4, 5), bins=7))(codes, factors)
    expected = np.zeros((3, 2))
    for d, code in enumerate(codes.T.astype(np.float64)):
        binned = np.clip(np.digitize(code, np.linspace(code.min(), code.max(), 8)) - 1, 0, 6)
        expected[d] = [mutual_info_score(binned, factor) for factor in factors.T]
    np.testing.assert_allclose(found.information, expected, rtol=1e-4, atol=1e-6)
    entropy = np.array([mutual_info_score(factor, factor) for factor in factors.T])
    low, high = np.sort(expected, 0)[-2:]
    np.testing.assert_allclose(found.each, (high - low) / entropy, rtol=1e-3)
    np.testing.assert_allclose(found.score, ((high - low) / entropy).mean(), rtol=1e-3)


@cache
def fitted():
    return jax.jit(partial(softmax_regression, classes=4))


@pytest.mark.parametrize("scale", [0.05, 1.0, 30.0])
def test_the_classifier_is_scikit_learns(scale):
    """Features that say little, much, and everything; each a hundred times as large as the first."""
    draw = np.random.default_rng(2)
    y = draw.integers(4, size=600)
    x = ((draw.normal(size=(600, 6)) + scale * np.eye(6)[y]) * np.logspace(-2, 0, 6)).astype(np.float32)
    weights, biases = fitted()(x, y)
    theirs = LogisticRegression(tol=1e-8, max_iter=5000).fit(x, y)

    def objective(weights, biases):
        logits = x.astype(np.float64) @ weights + biases
        nats = np.logaddexp.reduce(logits, 1) - logits[np.arange(600), y]
        return nats.sum() + (np.asarray(weights) ** 2).sum() / 2

    least = objective(theirs.coef_.T, theirs.intercept_)
    assert objective(*(np.asarray(each, np.float64) for each in (weights, biases))) <= least * (1 + 1e-4)
    np.testing.assert_allclose(weights, theirs.coef_.T, atol=0.02 * np.abs(theirs.coef_).max())


def test_a_dead_dimension_does_not_vote():
    """One that is constant but for one example varies least whatever is fixed: if it votes, only chance is left."""
    dead = np.where(np.arange(COUNT) == 0, 1e-2, 0.0)[:, None]
    codes = jnp.asarray(np.concatenate([dead, UNIT], 1), jnp.float32)

    @jax.jit
    def score(least):
        return factor_vae_score(lambda f: codes[grid_index(f, SIZES)], SIZES, KEY, least=least, **NUMBERS)

    assert score(0.05) == 1
    assert score(1e-6) == pytest.approx(1 / 5, abs=0.06)


def test_scores_are_of_the_key_alone():
    codes = rotated(45)
    assert scores_of(codes, 5) == scores_of(codes, 5)
    assert scores_of(codes, 5)[1:] != scores_of(codes, 6)[1:]
    assert scores_of(codes, 5)[0] == scores_of(codes, 6)[0], "nothing of the gap is drawn"
    broken = codes.copy()
    broken[7, 2] = np.nan
    assert math.isnan(scores_of(broken)[0])


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    codes = jnp.asarray(UNIT)
    with pytest.raises(ValueError, match=r"two values or more, got sizes=\(3, 1\)"):
        mutual_information_gap(codes, FACTORS[:, :2], (3, 1))
    with pytest.raises(ValueError, match=r"must be \[N, D\] and \[N, 5\]"):
        mutual_information_gap(codes[1:], FACTORS, SIZES)
    with pytest.raises(ValueError, match="bins must be 2 or more"):
        mutual_information_gap(codes, FACTORS, SIZES, bins=1)
    with pytest.raises(ValueError, match="give two or more"):
        beta_vae_score(lambda f: f, (4,), KEY)
    with pytest.raises(ValueError, match="pairs must be 1 or more, got 0"):
        beta_vae_score(lambda f: f, SIZES, KEY, pairs=0)
    with pytest.raises(ValueError, match="draws must be 2 or more, got 1"):
        factor_vae_score(lambda f: f, SIZES, KEY, draws=1)
    with pytest.raises(ValueError, match="repeats must be 1 or more"):
        Disentanglement(repeats=0)


MEASURE = Disentanglement(train=500, test=500, repeats=2, pairs=32)


@cache
def drawn():
    """Shapes of one size: four factors vary."""
    return shape_splits(32, scales=1, rotations=4, positions=4)


def encode(params, stats, x, key=None):
    """(mu, log_sigma): where the centroid is, in a dimension each; the first of the three is the prior."""
    line = jnp.arange(x.shape[1]) / x.shape[1]
    mass = x.sum((1, 2, 3))
    across, down = x.sum((1, 3)) @ line / mass, x.sum((2, 3)) @ line / mass
    mu = params * jnp.stack([0 * mass, across, down], 1)
    return mu, jnp.broadcast_to(jnp.array([0.0, -3.0, -2.0]), mu.shape)


def decode(params, stats, z):
    """Four by four pixels whose left half is as grey as the logistic of the second dimension says."""
    grey = jnp.where(jnp.arange(4) < 2, jax.nn.sigmoid(z[:, 1:2]), 0.0)
    return jnp.broadcast_to(grey[:, None, :, None], (len(z), 4, 4, 1))


@pytest.mark.slow
def test_the_measure_takes_codes_of_the_whole_grid():
    """Positions are in a dimension each, shape and rotation in none, and one size is no factor: a gap of 2 of 4.

    Of a vote for shape or rotation the dimension is that of a position, so that FactorVAE's score is 2 of 4 too. A
    linear classifier sees that no position is shared, and guesses right of the other two half of the time: 3 of 4.
    """
    splits, trained = drawn(), trained_of(jnp.float32(10), encode=encode)
    found = figures_of(MEASURE, trained, Split(splits, splits.test, "test"))
    assert list(found) == ["MIG", "beta-VAE score", "FactorVAE score"]
    for name, expected, within in (("MIG", 0.5, 0.01), ("beta-VAE score", 0.75, 0.06), ("FactorVAE score", 0.5, 0.06)):
        assert found[name].value == pytest.approx(expected, abs=within)
        assert found[name].better == "maximize"
        assert found[name].measured_on == "shapes32, the whole grid of 192 images"
    assert found["MIG"].spread is None and 0 < found["beta-VAE score"].spread < 0.05
    assert found["FactorVAE score"].note == "chance is 0.25; the spread is over 2 repeats"
    other = figures_of(MEASURE, trained, Split(splits, splits.held_out, "validation").first(3))
    assert {name: figure.value for name, figure in other.items()} == {name: f.value for name, f in found.items()}


def test_a_grid_with_holes_and_data_without_factors_are_refused():
    arrays, trained = drawn().train.arrays, trained_of(jnp.float32(1), encode=encode)
    with pytest.raises(ValueError, match="not each combination of them once"):
        figures_of(MEASURE, trained, split_of(arrays, transform=to_unit))
    with pytest.raises(ValueError, match="no field 'factors'"):
        figures_of(MEASURE, trained, split_of({"x": arrays["x"]}, transform=to_unit))


def test_a_picture_of_each_dimension_in_the_order_of_its_divergence(tmp_path, monkeypatch):
    splits, trained = drawn(), trained_of(jnp.float32(1), encode=encode, decode=decode)
    grids = caught(monkeypatch, "image_grid")
    Disentanglement(dimensions=3, columns=5).draw(trained, Split(splits, splits.test, "test"), KEY, tmp_path)
    (images, path), options = grids[0]
    assert (path, options["columns"], images.shape) == (tmp_path / "traversal.png", 5, (15, 4, 4, 1))
    mu, _ = encode(jnp.float32(1), {}, splits.test.arrays["x"][:1] / np.float32(255))
    # The second dimension has the least sigma, and so the largest divergence; the first is the prior, and comes last.
    expected = np.stack([np.linspace(-2, 2, 5), *np.full((2, 5), float(mu[0, 1]))])
    np.testing.assert_allclose(images[:, 0, 0, 0].reshape(3, 5), 1 / (1 + np.exp(-expected)), rtol=1e-5)
    with Image.open(path) as picture:
        assert picture.size == (5 * 10 + 2, 3 * 10 + 2)
