"""Priors of latent variables: densities that are SciPy's, closed KLs that are averages over draws, draws that fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from gen_models.nn import posteriors, priors

LATENT, SHAPE = 3, (2, 2, 1)
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(size=(4, *SHAPE)), jnp.float32)
W = jnp.asarray(RNG.normal(size=(4, LATENT)), jnp.float32)
PRIORS = {"standard": priors.standard_normal(), "mixture": priors.mixture(5), "vamp": priors.vamp(SHAPE, 7)}


def encode(x):
    """A normal code that depends on x."""
    mu = x.reshape(len(x), -1) @ W
    return posteriors.Normal(mu, 0.3 * jnp.tanh(mu) - 1)


def made_of(name):
    own = PRIORS[name]
    params = own.init(jax.random.key(1), LATENT, X)
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(2), p.shape), params)
    return own, params, own.made(params, encode)


def exact(name, made, z):
    """log p(z) in float64, component by component."""
    if name == "standard":
        return scipy.stats.norm.logpdf(z).sum(-1)
    mu, sigma = np.float64(made.mu), np.exp(np.float64(made.log_sigma))
    each = scipy.stats.norm.logpdf(z[:, None], mu, sigma).sum(-1)
    return scipy.special.logsumexp(each, 1) - np.log(len(mu))


@pytest.mark.slow_cases("mixture", "vamp")
@pytest.mark.parametrize("name", PRIORS)
def test_log_densities_are_scipys_and_draws_have_their_moments(name):
    own, _, made = made_of(name)
    z = np.asarray(own.draw(made, jax.random.key(3), (20_000, LATENT)), np.float64)
    log_p = np.asarray(own.log_prob(made, jnp.asarray(z[:500], jnp.float32)))
    np.testing.assert_allclose(log_p, exact(name, made, z[:500]), atol=2e-4)
    if name == "standard":
        mean, variance = np.zeros(LATENT), np.ones(LATENT)
    else:
        mu, var = np.float64(made.mu), np.exp(2 * np.float64(made.log_sigma))
        mean = mu.mean(0)
        variance = (var + mu**2).mean(0) - mean**2
    np.testing.assert_allclose(z.mean(0), mean, atol=5 * np.sqrt(variance.max() / len(z)))
    np.testing.assert_allclose(z.var(0), variance, rtol=0.06)


def test_a_closed_kl_is_the_average_over_draws():
    own, posterior = priors.standard_normal(), posteriors.diagonal_normal()
    code = encode(X)
    keys = jax.random.split(jax.random.key(5), 20_000)

    def difference(key):
        z = posterior.draw({}, code, key)
        return posterior.log_prob({}, code, z) - own.log_prob(None, z)

    drawn = np.asarray(jax.jit(jax.vmap(difference))(keys), np.float64)
    closed = own.kl(None, code).sum(1)
    assert np.all(np.abs(drawn.mean(0) - closed) < 4 * drawn.std(0) / np.sqrt(len(keys)))
    assert PRIORS["mixture"].kl is None and PRIORS["vamp"].kl is None


def test_a_vamp_prior_is_the_mean_of_the_posteriors_of_its_pseudo_inputs():
    own, params, made = made_of("vamp")
    pseudo = jax.nn.sigmoid(params["pseudo_inputs"])
    assert pseudo.shape == (7, *SHAPE)
    code = encode(pseudo)
    np.testing.assert_allclose(made.mu, code.mu, rtol=1e-6)
    z = jnp.asarray(RNG.normal(size=(6, LATENT)), jnp.float32)
    each = [posteriors.Normal(code.mu[k : k + 1], code.log_sigma[k : k + 1]) for k in range(7)]
    log_q = [posteriors.diagonal_normal().log_prob({}, one, z) for one in each]
    np.testing.assert_allclose(own.log_prob(made, z), scipy.special.logsumexp(log_q, 0) - np.log(7), rtol=1e-4)


def test_pseudo_inputs_start_near_the_first_examples():
    own = priors.vamp(SHAPE, 7)
    pseudo = jax.nn.sigmoid(own.init(jax.random.key(0), LATENT, X)["pseudo_inputs"])
    np.testing.assert_allclose(pseudo, 0.1 + 0.8 * X[np.arange(7) % 4], atol=0.1)


@pytest.mark.parametrize("make", [priors.mixture, lambda n: priors.vamp(SHAPE, n)])
def test_a_mixture_of_nothing_is_refused(make):
    with pytest.raises(ValueError, match="must be a whole number, 1 or more, got 0"):
        make(0)
