"""Likelihoods of a decoder's outputs: what sums or integrates to one, and SciPy's numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from gen_models.nn import likelihoods

SHAPE = (3, 2, 2)  # an image of 3x2 with two channels
RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
LEVELLED = {
    "bernoulli": likelihoods.bernoulli(),
    "logistic": likelihoods.discretised_logistic(5),
    "categorical": likelihoods.categorical(4),
}
GAUSSIAN = {
    "fixed": likelihoods.gaussian(0.3),
    "learned": likelihoods.gaussian("learned"),
    "each": likelihoods.gaussian("each"),
}
EVERY = LEVELLED | GAUSSIAN


def outputs_of(likelihood, count=1, scale=1.5):
    channels = SHAPE[-1] * likelihood.outputs
    return jnp.asarray(RNG.normal(size=(count, *SHAPE[:-1], channels)) * scale, jnp.float32)


def params_of(likelihood, value=-0.7):
    return {name: jnp.full(p.shape, value) for name, p in likelihood.init().items()}


@pytest.mark.slow_cases("categorical", "logistic")
@pytest.mark.parametrize("name", LEVELLED)
def test_probabilities_of_all_levels_sum_to_one(name):
    """Of a pixel of one channel, whose other pixels are not there: every level in turn."""
    own = LEVELLED[name]
    outputs = jnp.asarray(RNG.normal(size=(1, own.outputs)) * 2, jnp.float32)
    levels = jnp.arange(own.levels, dtype=jnp.float32)[:, None]
    log_p = own.log_prob({}, jnp.repeat(outputs, own.levels, 0), levels)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, rtol=1e-5)


@pytest.mark.parametrize("name", GAUSSIAN)
def test_densities_integrate_to_one(name):
    own = GAUSSIAN[name]
    outputs = jnp.asarray(RNG.normal(size=(1, own.outputs)), jnp.float32)
    x = np.linspace(-40, 40, 40_001, dtype=np.float32)[:, None]
    log_p = own.log_prob(params_of(own), jnp.repeat(outputs, len(x), 0), x)
    np.testing.assert_allclose(np.trapezoid(np.exp(np.float64(log_p)), x[:, 0]), 1, rtol=1e-4)


def scipys(name, outputs, x, params):
    """log p of each number, by SciPy, and the mean as a picture."""
    first, second = np.split(np.float64(outputs), 2, -1) if EVERY[name].outputs == 2 else (np.float64(outputs), None)
    if name == "bernoulli":
        return scipy.stats.bernoulli.logpmf(x, scipy.special.expit(first)), scipy.special.expit(first)
    if name == "categorical":
        p = scipy.special.softmax(first.reshape(*first.shape[:-1], 2, 4), -1)
        return np.log(np.take_along_axis(p, x.astype(int)[..., None], -1)[..., 0]), p @ np.arange(4) / 3
    if name == "logistic":
        centre, half = 2 * x / 4 - 1, 1 / 4
        cdf = lambda v: scipy.stats.logistic.cdf(v, first, np.exp(np.maximum(second, -7)))  # noqa: E731
        upper, lower = np.where(x == 4, 1, cdf(centre + half)), np.where(x == 0, 0, cdf(centre - half))
        return np.log(upper - lower), (np.clip(first, -1, 1) + 1) / 2
    raw = {"fixed": None, "learned": params.get("log_sigma"), "each": second}[name]
    least = np.log(0.01)
    log_sigma = np.log(0.3) if raw is None else least + np.log1p(np.exp(np.float64(raw) - least))
    return scipy.stats.norm.logpdf(x, first, np.exp(log_sigma)), np.clip(first, 0, 1)


@pytest.mark.slow_cases("categorical", "logistic")
@pytest.mark.parametrize("name", EVERY)
def test_log_probabilities_and_means_are_scipys(name):
    own = EVERY[name]
    params, outputs = params_of(own), outputs_of(own, 4)
    levels = own.levels
    x = RNG.integers(levels, size=(4, *SHAPE)) if levels else RNG.uniform(size=(4, *SHAPE))
    expected, mean = scipys(name, outputs, x.astype(np.float64), params)
    log_p = own.log_prob(params, outputs, jnp.asarray(x, jnp.float32))
    assert log_p.shape == (4,)
    np.testing.assert_allclose(log_p, expected.sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(own.mean(params, outputs), mean, rtol=1e-5, atol=1e-6)


@pytest.mark.slow_cases("bernoulli", "categorical", "logistic")
@pytest.mark.parametrize("name", EVERY)
def test_draws_follow_their_probabilities(name):
    """The mean of what the log-probability says of the draws is minus the entropy, computed in another way."""
    own = EVERY[name]
    params, one = params_of(own), outputs_of(own, scale=0.7)
    outputs = jnp.repeat(one, 20_000, 0)
    x = own.draw(KEY, params, outputs)
    assert x.shape == (20_000, *SHAPE)
    log_p = np.asarray(own.log_prob(params, outputs, x), np.float64)
    if own.levels is None:
        log_sigma = np.broadcast_to(_log_sigma(name, params, one), SHAPE).sum()
        entropy = log_sigma + 0.5 * np.prod(SHAPE) * np.log(2 * np.pi * np.e)
    else:
        assert set(np.unique(x)) <= set(range(own.levels))
        grid = [np.full((1, *SHAPE), level, float) for level in range(own.levels)]
        p = np.exp([scipys(name, one, level, params)[0] for level in grid])
        entropy = -(p * np.log(p)).sum()
    assert abs(log_p.mean() + entropy) < 4 * log_p.std() / np.sqrt(len(log_p))


def _log_sigma(name, params, outputs):
    least = np.log(0.01)
    raw = {"fixed": None, "learned": params.get("log_sigma"), "each": np.split(np.asarray(outputs[0]), 2, -1)[-1]}[name]
    return np.log(0.3) if raw is None else least + np.log1p(np.exp(raw - least))


def test_a_learned_variance_is_that_of_the_errors():
    """The best one variance for all: where its gradient is 0, it is the mean squared error (Rybkin et al., eq. 5)."""
    own = likelihoods.gaussian("learned")
    outputs, x = outputs_of(own, 50, 0.5), jnp.asarray(RNG.uniform(size=(50, *SHAPE)), jnp.float32)
    best = 0.5 * np.log(((np.float64(x) - np.float64(outputs)) ** 2).mean())
    raw = np.log(0.01) + np.log(np.expm1(best - np.log(0.01)))
    gradient = jax.grad(lambda p: own.log_prob({"log_sigma": p}, outputs, x).mean())(jnp.float32(raw))
    assert abs(float(gradient)) < 1e-3
    assert abs(float(jax.grad(lambda p: own.log_prob({"log_sigma": p}, outputs, x).mean())(jnp.float32(raw + 1)))) > 1


def test_a_variance_does_not_fall_below_the_least():
    own = likelihoods.gaussian("each", least_sigma=0.1)
    x = jnp.zeros((1, 4))
    outputs = jnp.concatenate([x, x - 80], -1)
    np.testing.assert_allclose(own.log_prob({}, outputs, x), 4 * scipy.stats.norm.logpdf(0, 0, 0.1), rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: likelihoods.gaussian(0.0), "sigma must be positive and finite, got 0.0"),
        (lambda: likelihoods.gaussian("learnt"), "did you mean 'learned'"),
        (lambda: likelihoods.gaussian(least_sigma=-1.0), "least_sigma must be positive"),
        (lambda: likelihoods.discretised_logistic(1), "two levels or more, got levels=1"),
        (lambda: likelihoods.categorical(0), "two levels or more, got levels=0"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
