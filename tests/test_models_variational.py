"""Bounds of a linear-Gaussian model, whose log p(x) has a closed form; objectives, priors and labels of any VAE."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_models.models.latent.hierarchical_vae import hierarchical_vae
from gen_models.models.latent.objectives import doubly_reparameterised, importance_bound, kl_weight, with_free_bits
from gen_models.models.latent.vae import vae
from gen_models.models.latent.variational import Objective
from gen_models.nn import likelihoods, priors
from gen_models.nn.autoencoding import resized

SHAPE, LATENT, NOISE = (2, 2, 1), 2, 0.5
X = jnp.asarray(np.random.default_rng(0).normal(size=(6, *SHAPE)), jnp.float32)
STEP = jnp.int32(0)


def linear(**options):
    """A factor analysis with one noise for all; its encoder is the posterior (Tipping & Bishop, 1999, eq. 7), moved."""
    own = likelihoods.gaussian(NOISE, unit=False)
    model = vae(SHAPE, latent=LATENT, hidden=(), likelihood=own, **options)
    params, stats = model.init(jax.random.key(0), {"x": X})
    noise = [0.1 * jax.random.normal(jax.random.key(i), p.shape) for i, p in enumerate(jax.tree.leaves(params))]
    params = jax.tree.map(jnp.add, params, jax.tree.unflatten(jax.tree.structure(params), noise))
    w, b = (np.float64(params["decoder"]["Dense_0"][name]) for name in ("kernel", "bias"))
    w = w[:LATENT]  # the rest is of the classes
    covariance = np.linalg.inv(np.eye(LATENT) + w @ w.T / NOISE**2)
    towards = w.T @ covariance / NOISE**2
    mu, log_sigma = (params["encoder"][name] for name in ("mu", "log_sigma"))
    mu["kernel"] = mu["kernel"].at[:4].set(towards)
    mu["bias"] = jnp.float32(0.2 - b @ towards)
    log_sigma["kernel"] *= 0.3
    log_sigma["bias"] = jnp.float32(0.5 * np.log(np.diag(covariance)) + 0.2)
    return model, params, stats


@functools.cache
def exact():
    """log p(x) = log N(x; b, W W^T + noise^2), [6]."""
    _, params, _ = linear()
    w, b = (np.float64(params["decoder"]["Dense_0"][name]) for name in ("kernel", "bias"))
    return scipy.stats.multivariate_normal(b, w.T @ w + NOISE**2 * np.eye(4)).logpdf(np.float64(X).reshape(6, 4))


def mean_and_error(value, trials, seed):
    """Mean over keys of value(key), [B], and its standard error."""
    found = np.asarray(jax.jit(jax.vmap(value))(jax.random.split(jax.random.key(seed), trials)), np.float64)
    return found.mean(0), found.std(0) / np.sqrt(trials)


def test_elbo_below_importance_weighted_bounds_below_log_p_and_all_rise_with_particles():
    model, params, stats = linear()

    def elbo(key):
        terms = model.elbo(params, stats, {"x": X}, key)
        return -(terms["reconstruction"] + terms["kl"])

    found = [mean_and_error(elbo, 4000, 0)]
    for k, trials in ((2, 4000), (10, 2000), (100, 500)):
        found.append(mean_and_error(lambda key, k=k: model.log_prob(params, stats, X, key, particles=k), trials, k))
    means, errors = (np.array(each) for each in zip(*found, strict=True))
    gaps = np.diff(np.vstack([means, exact()]), axis=0)
    assert (gaps > -4 * np.hypot(errors, np.vstack([errors[1:], 0 * errors[:1]]))).all()
    assert (gaps[:2] > 4 * errors[:2]).all() and np.abs(means[-1] - exact()).max() < 0.1


def test_the_training_objective_is_the_same_bound_for_both_gradients():
    """And for one key both have the same value, as the gradient alone differs."""
    values = {}
    model, params, stats = linear()
    for doubly in (False, True):
        own = linear(particles=8, doubly_reparameterised=doubly)[0]
        values[doubly] = mean_and_error(lambda key, m=own: m.loss(params, stats, {"x": X}, key, step=STEP)[0], 500, 1)
    np.testing.assert_allclose(values[True], values[False], rtol=1e-4)
    bound, error = mean_and_error(lambda key: model.log_prob(params, stats, X, key, particles=8).mean(), 500, 2)
    assert abs(values[True][0] + bound) < 4 * np.hypot(values[True][1], error)


def gradients(doubly, trials=6000, particles=8):
    model, params, stats = linear(particles=particles, doubly_reparameterised=doubly)

    @jax.jit
    def flat(keys):
        def one(key):
            grads = jax.grad(lambda p: model.loss(p, stats, {"x": X}, key, step=STEP)[0])(params)
            return [
                jnp.concatenate([g.ravel() for g in jax.tree.leaves(grads[part])]) for part in ("encoder", "decoder")
            ]

        return jax.vmap(one)(keys)

    return [np.asarray(part, np.float64) for part in flat(jax.random.split(jax.random.key(9), trials))]


def test_both_gradients_agree_in_expectation_and_the_doubly_reparameterised_one_varies_less():
    """Tucker et al. (2019), eq. 8 and figure 1; the decoder's gradient is IWAE's, to the digit."""
    plain, doubly = gradients(False), gradients(True)
    np.testing.assert_allclose(doubly[1], plain[1], rtol=1e-3, atol=1e-4)
    error = np.sqrt((plain[0].var(0) + doubly[0].var(0)) / len(plain[0]))
    assert (np.abs(plain[0].mean(0) - doubly[0].mean(0)) < 4.5 * error).all()
    assert doubly[0].var(0).sum() < 0.5 * plain[0].var(0).sum()


def test_the_doubly_reparameterised_gradient_is_equation_8():
    """Towards each draw: v_k^2 d log w_k / d z_k; towards parameters: v_k grad log w_k; both over the batch."""
    rng = np.random.default_rng(3)
    z, scale = jnp.asarray(rng.normal(size=(4, 5, 2)), jnp.float32), jnp.float32(0.7)
    log_w = lambda scale, z: -scale * (z**2).sum(-1)  # noqa: E731
    of_scale, of_z = jax.grad(lambda s, z: doubly_reparameterised(log_w, s, z)[0], (0, 1))(scale, z)
    share = jax.nn.softmax(log_w(scale, z), axis=0)
    np.testing.assert_allclose(of_z, (share**2)[..., None] * -2 * scale * z / 5, rtol=1e-5)
    np.testing.assert_allclose(of_scale, (share * -(z**2).sum(-1)).sum(0).mean(), rtol=1e-5)
    np.testing.assert_allclose(doubly_reparameterised(log_w, scale, z)[0], importance_bound(log_w(scale, z)), rtol=1e-6)


def test_free_bits_are_equation_15_and_stop_the_gradient_below_them():
    kl = jnp.asarray([[0.1, 2.0, 0.6], [0.3, 4.0, 0.2]])
    np.testing.assert_allclose(with_free_bits(kl, 0.3), 0.3 + 3.0 + 0.4, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(with_free_bits)(kl, 0.3), [[0, 0.5, 0.5]] * 2)
    free, params, stats = linear(free_bits=0.3, beta=2.0)
    usual = linear()[0]
    key = jax.random.key(0)
    loss, (_, metrics) = free.loss(params, stats, {"x": X}, key, step=STEP)
    mu, log_sigma = (np.float64(part) for part in usual.encode(params, stats, X))
    each = (0.5 * (mu**2 + np.exp(2 * log_sigma) - 1) - log_sigma).mean(0)
    np.testing.assert_allclose(loss, metrics["reconstruction"] + 2 * np.maximum(each, 0.3).sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], usual.loss(params, stats, {"x": X}, key, step=STEP)[1][1]["elbo"])


def test_the_weight_of_the_kl_rises_once_or_in_cycles():
    steps = np.arange(12)
    once = [float(kl_weight(jnp.int32(step), 2.0, 4)) for step in steps]
    np.testing.assert_allclose(once, 2 * np.minimum(1, (steps + 1) / 4))
    cycles = [float(kl_weight(jnp.int32(step), 1.0, 4, 6)) for step in steps]
    np.testing.assert_allclose(cycles, np.minimum(1, (steps % 6 + 1) / 4))
    assert float(kl_weight(jnp.int32(0))) == 1


@pytest.mark.slow_cases("mixture")
@pytest.mark.parametrize("prior", [priors.mixture(3), priors.vamp(SHAPE, 4, unit=False)], ids=["mixture", "vamp"])
def test_other_priors_bound_the_likelihood_that_draws_from_them_have(prior):
    """log p(x) by drawing z from the prior itself, which needs neither encoder nor density of the prior."""
    model, params, stats = linear(prior=prior)
    z = jax.vmap(lambda key: model.sample(params, stats, key, 1000).reshape(1000, 4))  # means W z + b of p(x|z)
    mean = np.float64(jax.jit(z)(jax.random.split(jax.random.key(1), 100))).reshape(-1, 4)
    distance = ((np.float64(X).reshape(6, 1, 4) - mean) ** 2).sum(-1) / NOISE**2
    log_p = np.log(np.exp(-0.5 * distance).mean(1)) - 4 * np.log(NOISE * np.sqrt(2 * np.pi))
    bound = model.log_prob(params, stats, X, jax.random.key(2), particles=4000, chunk=500)
    np.testing.assert_allclose(bound, log_p, atol=0.25)  # the fourth x lies far out, where few draws are
    terms, error = mean_and_error(lambda key: sum(model.elbo(params, stats, {"x": X}, key).values()), 500, 3)
    assert (-terms < log_p + 4 * error).all()


@pytest.mark.slow
def test_a_label_reaches_encoder_and_decoder_and_each_class_is_a_model_of_its_own():
    """The weights of the class's input are moved to the biases: the same numbers as a model without labels."""
    model, params, stats = linear(classes=3)
    plain = linear()[0]
    label = jnp.asarray([0, 1, 2, 0, 1, 2])
    key = jax.random.key(4)
    found = model.log_prob(params, stats, X, key, label=label, particles=3)
    for c in range(3):
        moved = jax.tree.map(jnp.copy, params)
        for part, layers in (("encoder", ("mu", "log_sigma")), ("decoder", ("Dense_0",))):
            for layer in layers:
                own = params[part][layer]
                moved[part][layer] = {"kernel": own["kernel"][:-3], "bias": own["bias"] + own["kernel"][-3 + c]}
        same = plain.log_prob(moved, stats, X, key, particles=3)
        np.testing.assert_allclose(found[label == c], same[label == c], rtol=1e-5)
        drawn = model.sample(params, stats, key, 2, label=jnp.full(2, c))
        np.testing.assert_allclose(drawn, plain.sample(moved, stats, key, 2), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="the model needs labels below 3"):
        model.encode(params, stats, X)
    with pytest.raises(ValueError, match="labels must be from 0 to 2, got 3"):
        model.sample(params, stats, key, 1, label=jnp.array([3]))
    inside = jax.jit(lambda y: model.log_prob(params, stats, X, key, label=y, particles=2))(label.at[1].set(7))
    assert np.isnan(inside[1]) and np.isfinite(inside[0])


def test_draws_of_x_scatter_about_the_means_that_are_shown():
    model, params, stats = linear()
    draw = jax.jit(jax.vmap(lambda key: model.sample(params, stats, key, 1, draw=True)[0]))
    x = np.float64(draw(jax.random.split(jax.random.key(0), 20_000))).reshape(-1, 4)
    w, b = (np.float64(params["decoder"]["Dense_0"][name]) for name in ("kernel", "bias"))
    np.testing.assert_allclose(x.mean(0), b, atol=0.05)
    np.testing.assert_allclose(np.cov(x.T), w.T @ w + NOISE**2 * np.eye(4), atol=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"free_bits": 0.1, "prior": priors.mixture(2)}, "free bits need the KL of each dimension in closed form"),
        ({"doubly_reparameterised": True}, "give particles=2 or more"),
        ({"particles": 2, "free_bits": 0.1}, "particles=2 has no separate KL"),
        ({"particles": 2, "cycle_steps": 5}, "particles=2 has no separate KL"),
        ({"free_bits": -1.0}, "free_bits must not be negative"),
        ({"classes": 0}, "classes=0"),
        ({"cycle_steps": 10}, "give warmup_steps from 1 to 10, got 0"),
        ({"cycle_steps": 10, "warmup_steps": 20}, "give warmup_steps from 1 to 10, got 20"),
        ({"particles": 2, "beta": np.float32(4)}, "particles=2 has no separate KL"),
        ({"classes": 3, "prior": priors.vamp(SHAPE, 4)}, "is not told the class"),
        ({"decoder_channels": (4, 4, 4)}, "an image of 2x2 is too small for 3 convolutions"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        linear(**options)


@pytest.mark.slow
def test_the_doubly_reparameterised_gradient_of_a_prior_that_the_posterior_asks_is_iwaes():
    """A ladder: what its log q takes of the prior is constant, and what its draws take is a draw's way."""
    chain = hierarchical_vae((2, 2, 1), latents=(2, 1), hidden=((), ()), ladder=True)
    own = chain.init.__self__  # the parts, with another objective
    x = jnp.ones((2, 2, 2, 1))
    params, stats = chain.init(jax.random.key(0), {"x": x})
    params = jax.tree.map(lambda p: p + 0.3 * jax.random.normal(jax.random.key(p.size), p.shape), params)
    found = {}
    for doubly in (False, True):
        parts = own._replace(objective=Objective(particles=4, doubly_reparameterised=doubly))
        gradient = jax.grad(lambda p, key, m=parts: m.loss(p, stats, {"x": x}, key, step=STEP)[0])
        each = jax.jit(jax.vmap(lambda key, g=gradient: jax.tree.leaves(g(params, key)["prior"])))
        found[doubly] = [np.float64(leaf) for leaf in each(jax.random.split(jax.random.key(1), 4000))]
    for plain, doubly in zip(found[False], found[True], strict=True):
        error = np.sqrt((plain.var(0) + doubly.var(0)) / 4000)
        assert (np.abs(plain.mean(0) - doubly.mean(0)) < 4.5 * error + 1e-6).all()


@pytest.mark.slow_cases("likelihood0")
@pytest.mark.parametrize("likelihood", [likelihoods.discretised_logistic(4), likelihoods.categorical(4)])
def test_pixels_of_several_levels(likelihood):
    """All 4^2 images of two pixels: their probabilities sum to one; a level that there is not has none."""
    model = vae((1, 2, 1), latent=1, hidden=(4,), likelihood=likelihood)
    grid = np.stack(np.meshgrid([0, 1, 2, 3], [0, 1, 2, 3]), -1).reshape(16, 1, 2, 1)
    params, stats = model.init(jax.random.key(0), {"x": grid})
    log_p = model.log_prob(params, stats, grid, jax.random.key(1), particles=4000, chunk=500)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=0.03)
    with pytest.raises(ValueError, match="pixels must be integers from 0 to 3, got values from 4 to 4"):
        model.encode(params, stats, np.full((1, 1, 2, 1), 4))
    assert model.sample(params, stats, jax.random.key(0), 3).max() <= 1
    assert set(np.unique(model.sample(params, stats, jax.random.key(0), 50, draw=True))) <= {0, 1, 2, 3}


def test_grey_pixels_are_no_levels_of_a_softmax_over_two():
    model = vae((2, 2, 1), latent=1, hidden=(4,), likelihood=likelihoods.categorical(2))
    params, stats = model.init(jax.random.key(0), {"x": jnp.zeros((1, 2, 2, 1))})
    grey = jnp.full((1, 2, 2, 1), 0.4)
    with pytest.raises(ValueError, match=r"integers from 0 to 1, got values from 0\.4 to 0\.4"):
        model.encode(params, stats, grey)
    loss = jax.jit(lambda x: model.loss(params, stats, {"x": x}, jax.random.key(0), step=STEP)[0])
    assert np.isnan(loss(grey)) and np.isfinite(loss(jnp.round(grey)))


def test_the_three_decoders_and_their_sides():
    z = jnp.zeros((2, 3))
    for shape in ((7, 5, 3), (8, 8, 1)):
        for options in ({"decoder_channels": ()}, {}, {"enlarged": resized}):
            model = vae(shape, latent=3, hidden=(4,), channels=(2, 3), **options)
            params, stats = jax.eval_shape(model.init, jax.random.key(0), {"x": jnp.zeros((1, *shape))})
            assert jax.eval_shape(model.decode, params, stats, z).shape == (2, *shape), options
            kinds = {name.rpartition("_")[0] for name in params["decoder"]}
            assert kinds == {"Dense"} | ({"ConvTranspose"} if options == {} else set()) | (
                {"_Resized"} if "enlarged" in options else set()
            )
