"""The importance-weighted bound on probabilistic PCA, whose log p(x), posterior and gap are known in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_models.distributions import gaussian_kl, normal_log_prob
from gen_models.models.latent.importance import importance_weighted

RNG = np.random.default_rng(0)
D, Z, B, NOISE = 4, 2, 6, 0.7
W = RNG.normal(size=(D, Z))
X = RNG.normal(size=(B, Z)) @ W.T + NOISE * RNG.normal(size=(B, D))
EXACT = scipy.stats.multivariate_normal(np.zeros(D), W @ W.T + NOISE**2 * np.eye(D)).logpdf(X)

# the posterior N(MEAN, COVARIANCE) of Tipping & Bishop (1999), eq. 7, and a diagonal q that misses it
COVARIANCE = NOISE**2 * np.linalg.inv(W.T @ W + NOISE**2 * np.eye(Z))
MEAN = X @ W @ COVARIANCE / NOISE**2
Q_MEAN, Q_SIGMA = MEAN + 0.1, 1.3 * np.sqrt(np.diag(COVARIANCE))
Q_COVARIANCE = np.diag(Q_SIGMA**2)


def log_weight_of(mean, covariance):
    """log p(x, z) - log q(z | x) with z ~ q = N(mean, covariance)."""
    w, x, mean = (jnp.asarray(v, jnp.float32) for v in (W, X, mean))
    chol = jnp.asarray(np.linalg.cholesky(covariance), jnp.float32)

    def log_weight(key):
        eps = jax.random.normal(key, (B, Z))
        z = mean + eps @ chol.T
        log_q = normal_log_prob(eps) - jnp.log(jnp.diagonal(chol)).sum()
        return normal_log_prob(z) + normal_log_prob(x, z @ w.T, np.log(NOISE)) - log_q

    return log_weight


log_weight = log_weight_of(Q_MEAN, Q_COVARIANCE)


@functools.cache  # compiling costs far more than running
def bounds(samples, trials, chunk=10):
    keys = jax.random.split(jax.random.key(samples), trials)
    return np.asarray(jax.jit(jax.vmap(lambda key: importance_weighted(log_weight, key, samples, chunk)))(keys))


def test_the_true_posterior_makes_one_sample_exact():
    ours = importance_weighted(log_weight_of(MEAN, COVARIANCE), jax.random.key(0), 1)
    np.testing.assert_allclose(ours, EXACT, rtol=1e-4)


def test_one_sample_is_the_elbo():
    """E[log w] = log p(x) - KL(q || posterior), with the KL in closed form."""
    kl = [
        gaussian_kl(*(jnp.asarray(v, jnp.float32) for v in (Q_MEAN[i], Q_COVARIANCE, MEAN[i], COVARIANCE)))
        for i in range(B)
    ]
    out = bounds(1, 4000)
    error = out.std(0) / np.sqrt(len(out))
    assert np.all(np.array(kl) > 20 * error)  # so that the test can tell the bound from log p
    assert np.all(np.abs(out.mean(0) - (EXACT - np.array(kl))) < 4 * error)


def test_the_bound_rises_to_the_exact_value():
    means, errors = [], []
    for samples, trials in ((1, 4000), (5, 2000), (25, 800)):
        out = bounds(samples, trials).mean(1)  # of the data set, one entry a trial
        means.append(out.mean())
        errors.append(out.std() / np.sqrt(trials))
    exact = EXACT.mean()
    assert np.all(np.diff(means) > 3 * np.hypot(errors[:-1], errors[1:]))
    assert all(mean < exact + 3 * error for mean, error in zip(means, errors, strict=True))
    gaps = exact - np.array(means)
    assert gaps[2] < gaps[1] / 3 < gaps[0] / 9  # the gap falls about as 1 / K
    large = bounds(20_000, 1, chunk=1000)[0]
    np.testing.assert_allclose(large, EXACT, atol=0.05)


@pytest.mark.parametrize("chunk", [3, 50])
def test_chunks_do_not_change_the_result(chunk):
    key = jax.random.key(2)
    log_w = np.asarray(jax.jit(jax.vmap(lambda k: log_weight(jax.random.fold_in(key, k))))(jnp.arange(7)))
    expected = np.log(np.exp(log_w.astype(np.float64)).mean(0))  # eq. 8 as it is written
    np.testing.assert_allclose(importance_weighted(log_weight, key, 7, chunk), expected, rtol=1e-5)


def test_weights_far_outside_the_range_of_floats():
    """exp(-1000) and exp(1000) are no float32: the sum must never leave the logarithm."""

    @jax.jit
    def bound(shift):
        return importance_weighted(lambda key: log_weight(key) + shift, jax.random.key(3), 20, 6)

    for shift in (-1000.0, 1000.0):
        np.testing.assert_allclose(bound(shift) - shift, bound(0.0), atol=1e-3)
    nothing = importance_weighted(lambda key: jnp.full(3, -jnp.inf), jax.random.key(3), 5, 2)
    np.testing.assert_array_equal(nothing, -np.inf)


def test_memory_is_that_of_a_chunk():
    def temporary_bytes(samples, chunk):
        run = jax.jit(lambda key: importance_weighted(lambda k: jax.random.normal(k, (100,)), key, samples, chunk))
        return run.lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    small = temporary_bytes(200, 20)
    assert temporary_bytes(20_000, 20) < 1.5 * small + 8 * 20_000 / 20  # the second term: the chunks' first indices
    assert temporary_bytes(20_000, 2000) > 20 * small


def test_bad_numbers_of_samples():
    for samples, chunk in ((0, 10), (10, 0)):
        with pytest.raises(ValueError, match="samples and chunk must be 1 or more"):
            importance_weighted(log_weight, jax.random.key(0), samples, chunk)
