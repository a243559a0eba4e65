"""Mode coverage on samples whose statistics are known, and against PacGAN's definitions in plain loops."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data.synthetic import grid_centres
from gen_models.evaluation.modes import coverage_of, mode_statistics

CENTRES = grid_centres()


def test_the_grid_is_the_papers():
    expected = set(itertools.product((-4.0, -2.0, 0.0, 2.0, 4.0), repeat=2))
    assert {tuple(c) for c in np.asarray(CENTRES).tolist()} == expected
    np.testing.assert_allclose(np.sort(np.unique(grid_centres(2, 3.0))), [-1.5, 1.5])


def pacgan(samples, sigma=0.05, threshold=3.0):
    """(modes, quality, reverse KL) sample by sample and mode by mode, in float64."""
    centres, counts = np.asarray(CENTRES, np.float64), np.zeros(len(CENTRES))
    for sample in np.asarray(samples, np.float64):
        distances = [math.dist(sample, centre) / sigma for centre in centres]
        nearest = int(np.argmin(distances))
        if distances[nearest] < threshold:
            counts[nearest] += 1
    q = counts / counts.sum()
    reverse_kl = sum(q_i * math.log(q_i * len(q)) for q_i in q if q_i > 0)
    return (counts > 0).sum(), counts.sum() / len(samples), reverse_kl


def test_agrees_with_the_definition():
    rng = np.random.default_rng(0)
    for spread in (0.05, 0.1, 0.4):
        modes = rng.choice(25, 300, p=rng.dirichlet(np.full(25, 0.3)))
        samples = np.asarray(CENTRES)[modes] + spread * rng.normal(size=(300, 2))
        samples = samples.astype(np.float32)
        np.testing.assert_allclose(mode_statistics(samples, CENTRES), pacgan(samples), rtol=1e-5, atol=1e-6)


def test_samples_of_the_data_itself():
    """A perfect generator: all modes, 1 - exp(-9/2) of the mass within three sigma, and the KL of a fair draw."""
    rng = np.random.default_rng(1)
    n = 2500
    samples = np.asarray(CENTRES)[rng.integers(0, 25, n)] + 0.05 * rng.normal(size=(n, 2))
    stats = mode_statistics(jnp.asarray(samples, jnp.float32), CENTRES)
    inside = 1 - math.exp(-4.5)  # of a two-dimensional Gaussian
    assert stats.modes == 25
    assert abs(stats.high_quality - inside) < 4 * math.sqrt(inside * (1 - inside) / n)
    assert 0 < stats.reverse_kl < 0.015  # in expectation about (25 - 1) / 2n = 0.005


def test_collapse_to_one_mode():
    stats = mode_statistics(jnp.tile(CENTRES[7], (100, 1)), CENTRES)
    assert stats.modes == 1
    assert stats.high_quality == 1
    assert stats.reverse_kl == pytest.approx(math.log(25))


def test_samples_between_the_modes_lower_the_quality_alone():
    """The reverse KL is over high-quality samples, as in PacGAN's code: the rubbish is all nearest to one mode."""
    good = jnp.tile(CENTRES, (4, 1))
    rubbish = jnp.full((100, 2), 0.9)
    stats = mode_statistics(jnp.concatenate([good, rubbish]), CENTRES)
    assert stats.high_quality == 0.5
    assert stats.modes == 25
    assert stats.reverse_kl == pytest.approx(0, abs=1e-6)


def test_the_threshold_is_three_sigma():
    inside, outside = CENTRES[:1] + jnp.array([0.149, 0]), CENTRES[:1] + jnp.array([0.0, 0.151])
    assert mode_statistics(inside, CENTRES).high_quality == 1
    assert mode_statistics(outside, CENTRES).high_quality == 0
    assert mode_statistics(outside, CENTRES, sigma=0.1).high_quality == 1


def test_no_good_sample_and_no_finite_sample():
    for bad in (jnp.full((10, 2), 100.0), jnp.full((10, 2), jnp.nan)):
        stats = mode_statistics(bad, CENTRES)
        assert stats.modes == 0
        assert stats.high_quality == 0
        assert jnp.isnan(stats.reverse_kl)


def test_trials_at_once_under_vmap():
    keys = jax.random.split(jax.random.key(0), 10)
    samples = jax.vmap(lambda key: jnp.tile(CENTRES, (4, 1)) + 0.1 * jax.random.normal(key, (100, 2)))(keys)
    together = jax.jit(jax.vmap(lambda s: mode_statistics(s, CENTRES)))(samples)
    for i in (0, 9):
        alone = mode_statistics(samples[i], CENTRES)
        np.testing.assert_allclose([t[i] for t in together], alone, rtol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    with pytest.raises(ValueError, match=r"samples must be \[N, d\]"):
        mode_statistics(jnp.zeros((5, 3)), CENTRES)
    with pytest.raises(ValueError, match="side and spacing must be positive"):
        grid_centres(0)


def test_coverage_of_known_shares():
    """One mode: log(modes); two halves of four: log 2; each once: nothing."""
    assert coverage_of(np.full(7, 3), 1000) == (1, pytest.approx(math.log(1000)))
    assert coverage_of(np.array([0, 2, 2, 0]), 4) == (2, pytest.approx(math.log(2)))
    assert coverage_of(np.arange(1000), 1000) == (1000, pytest.approx(0, abs=1e-12))
    drawn = coverage_of(np.random.default_rng(0).integers(1000, size=25_600), 1000)
    assert drawn.modes == 1000  # 1000 exp(-25.6) are missed
    assert drawn.divergence == pytest.approx(999 / (2 * 25_600), rel=0.2)


@pytest.mark.parametrize("found", [[], [-1], [4]])
def test_samples_of_no_mode_are_refused(found):
    with pytest.raises(ValueError, match="modes of one sample or more must be 0 to 3"):
        coverage_of(np.array(found, int), 4)
