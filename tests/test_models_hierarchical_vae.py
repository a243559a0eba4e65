"""Layers of latent variables: a linear chain whose log p(x) has a closed form, and the ladder's products."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_models.models.latent.hierarchical_vae import hierarchical_vae, product
from gen_models.nn.likelihoods import gaussian
from gen_models.nn.posteriors import Normal

SHAPE, LATENTS, NOISE = (2, 2, 1), (3, 2), 0.6
X = jnp.asarray(0.5 * np.random.default_rng(0).normal(size=(5, *SHAPE)), jnp.float32)
FORMS = pytest.mark.parametrize("ladder", [False, True], ids=["plain", "ladder"])


@functools.cache
def linear(ladder):
    """All networks linear, deviations that depend on nothing in the prior: x and all z are jointly normal."""
    model = hierarchical_vae(
        SHAPE, latents=LATENTS, hidden=((), ()), ladder=ladder, likelihood=gaussian(NOISE, unit=False)
    )
    params, stats = model.init(jax.random.key(0), {"x": X})
    leaves, structure = jax.tree.flatten(params)
    leaves = [0.7 * p + 0.1 * jax.random.normal(jax.random.key(i), p.shape) for i, p in enumerate(leaves)]
    params = jax.tree.unflatten(structure, leaves)
    for path, kernel in jax.tree.leaves_with_path(params):  # deviations of q that hardly depend on x
        names = [entry.key for entry in path]
        if names[-2:] == ["log_sigma", "kernel"]:
            at = params
            for name in names[:-1]:
                at = at[name]
            at["kernel"] = 0.1 * kernel
    params["prior"]["layer_0"]["log_sigma"] = {"kernel": jnp.zeros((2, 3)), "bias": jnp.array([-0.3, 0.1, -0.2])}
    return model, params, stats


def moments(params):
    """Mean and covariance of x, from p(z_2), p(z_1 | z_2) and p(x | z_1)."""
    link = jax.tree.map(np.float64, params["prior"]["layer_0"])
    last = jax.tree.map(np.float64, params["decoder"]["decoder"]["Dense_0"])
    mean = link["mu"]["bias"] @ last["kernel"] + last["bias"]
    first = link["mu"]["kernel"].T @ link["mu"]["kernel"] + np.diag(np.exp(2 * link["log_sigma"]["bias"]))
    return mean, last["kernel"].T @ first @ last["kernel"] + NOISE**2 * np.eye(4)


@pytest.mark.slow_cases("plain")
@FORMS
def test_bounds_rise_to_the_closed_form(ladder):
    model, params, stats = linear(ladder)
    mean, covariance = moments(params)
    exact = scipy.stats.multivariate_normal(mean, covariance).logpdf(np.float64(X).reshape(5, 4))
    keys = jax.random.split(jax.random.key(1), 1000)
    terms = jax.jit(jax.vmap(lambda key: model.elbo(params, stats, {"x": X}, key)))(keys)
    elbo = -np.float64(terms["reconstruction"] + terms["kl"])
    tight = model.log_prob(params, stats, X, jax.random.key(2), particles=20_000, chunk=2000)
    assert (elbo.mean(0) + 4 * elbo.std(0) / np.sqrt(1000) < exact).all()
    np.testing.assert_allclose(tight, exact, atol=0.3)
    np.testing.assert_allclose(np.mean(tight - exact), 0, atol=0.1)


@FORMS
def test_draws_from_the_prior_have_the_moments(ladder):
    model, params, stats = linear(ladder)
    mean, covariance = moments(params)
    x = np.float64(model.sample(params, stats, jax.random.key(0), 40_000, draw=True)).reshape(-1, 4)
    np.testing.assert_allclose(x.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.12)


def log_normal(z, mu, log_sigma):
    return scipy.stats.norm.logpdf(z, mu, np.exp(log_sigma)).sum(-1)


@pytest.mark.slow_cases("plain")
@FORMS
def test_the_kl_of_each_layer_is_that_of_the_chain_written_out(ladder):
    """In NumPy, from the weights: the same draws, layer by layer."""
    model, params, stats = linear(ladder)
    key = jax.random.key(3)
    _, (_, metrics) = model.loss(params, stats, {"x": X}, key, step=jnp.int32(0))
    own = jax.tree.map(np.float64, params)
    noise = [np.float64(jax.random.normal(jax.random.fold_in(key, layer), (5, LATENTS[layer]))) for layer in (0, 1)]
    flat = np.float64(X).reshape(5, 4)

    def of(net, z):
        return [z @ net[name]["kernel"] + net[name]["bias"] for name in ("mu", "log_sigma")]

    if ladder:
        up = [own["encoder"][f"layer_{layer}"] for layer in (0, 1)]
        second = of(up[1], flat)  # without hidden layers the features of the first layer are x
        z2 = second[0] + np.exp(second[1]) * noise[1]
        (m, s), (mp, sp) = of(up[0], flat), of(own["prior"]["layer_0"], z2)
        precision = np.exp(-2 * s) + np.exp(-2 * sp)
        first = [(m * np.exp(-2 * s) + mp * np.exp(-2 * sp)) / precision, -0.5 * np.log(precision)]
        z1 = first[0] + np.exp(first[1]) * noise[0]
    else:
        first = of(own["encoder"], flat)
        z1 = first[0] + np.exp(first[1]) * noise[0]
        second = of(own["posterior"]["layer_1"], z1)
        z2 = second[0] + np.exp(second[1]) * noise[1]
    kl_1 = log_normal(z1, *first) - log_normal(z1, *of(own["prior"]["layer_0"], z2))
    kl_2 = log_normal(z2, *second) - log_normal(z2, 0 * z2, 0 * z2)
    np.testing.assert_allclose(metrics["kl_1"], kl_1.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(metrics["kl_2"], kl_2.mean(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(metrics["kl"], (kl_1 + kl_2).mean(), rtol=1e-4, atol=1e-4)


@FORMS
def test_codes_are_decoded_by_their_first_layer(ladder):
    model, params, stats = linear(ladder)
    mu, log_sigma = model.encode(params, stats, X)
    assert mu.shape == log_sigma.shape == (5, 5)
    changed = mu.at[:, 3:].add(5.0)
    np.testing.assert_array_equal(model.decode(params, stats, mu), model.decode(params, stats, changed))
    assert (model.decode(params, stats, mu) != model.decode(params, stats, mu.at[:, 0].add(1.0))).any()


def test_a_product_of_normals_is_proportional_to_the_product_of_densities():
    one, other = Normal(jnp.array([[0.3]]), jnp.array([[-0.5]])), Normal(jnp.array([[-1.0]]), jnp.array([[0.4]]))
    x = np.linspace(-3, 3, 7)
    both = product(one, other)
    log_p = [
        scipy.stats.norm.logpdf(x, float(n.mu[0, 0]), np.exp(float(n.log_sigma[0, 0]))) for n in (one, other, both)
    ]
    difference = log_p[0] + log_p[1] - log_p[2]
    np.testing.assert_allclose(difference, difference[0], atol=1e-5)
    far = product(Normal(jnp.float32(2.0), jnp.float32(-60.0)), Normal(jnp.float32(0.0), jnp.float32(60.0)))
    assert float(far.mu) == 2 and float(far.log_sigma) == pytest.approx(-60)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latents": (3,)}, r"each of the layers latents=\(3,\) needs the widths of a network"),
        ({"latents": (3, 0)}, r"latents=\(3, 0\)"),
        ({"hidden": ((4,), (0,))}, r"hidden=\(0,\)"),
        ({"particles": 2, "beta": 2.0}, "particles=2 has no separate KL"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        hierarchical_vae(**({"shape": SHAPE, "latents": LATENTS, "hidden": ((4,), (4,))} | options))
