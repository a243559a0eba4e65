"""The VAE: its bound against a model whose likelihood is known, its objectives against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.distributions import bernoulli_log_prob, normal_kl
from gen_models.models.vae import vae

SHAPE = (3, 3, 1)


def _fitted(seed=0, **options):
    model = vae(SHAPE, latent=2, hidden=(8,), **options)
    x = jax.random.bernoulli(jax.random.key(seed), 0.4, (6, *SHAPE)).astype(jnp.float32)
    params, stats = model.init(jax.random.key(1), {"image": x})
    return model, _varied(params), stats, x


def _varied(params):
    """A decoder that depends on z, and an encoder that stays near the prior, where importance sampling works."""
    return params | {"decoder": jax.tree.map(lambda p: 2.0 * p + 0.1, params["decoder"])}


def _exact(model, params, x):
    """log p(x) by quadrature over the plane of z."""
    line = np.linspace(-6, 6, 241)
    z = jnp.asarray(np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), jnp.float32)
    logits = model.decode(params, {}, z)
    log_prior = -0.5 * (z**2).sum(-1) - jnp.log(2 * jnp.pi)
    log_joint = jax.vmap(lambda x: bernoulli_log_prob(jnp.broadcast_to(x, logits.shape), logits) + log_prior)(x)
    return jax.nn.logsumexp(log_joint, axis=1) + 2 * np.log(line[1] - line[0])


def test_bounds_rise_with_particles_to_the_exact_log_likelihood():
    model, params, stats, x = _fitted()
    exact = _exact(model, params, x)
    means = []
    for particles, repeats in ((1, 400), (10, 100), (20_000, 1)):

        def bound(key, k=particles):
            return model.log_prob(params, stats, x, key, particles=k, chunk=min(k, 1000))

        bound = jax.jit(jax.vmap(bound))
        means.append(float(bound(jax.random.split(jax.random.key(particles), repeats)).mean()))
    assert means[0] < means[1] < means[2] + 0.02
    assert means[1] < float(exact.mean())
    np.testing.assert_allclose(means[2], exact.mean(), atol=0.05)


def test_probabilities_of_all_images_sum_to_one():
    model = vae((2, 2, 1), latent=1, hidden=(4,))
    images = np.stack(np.meshgrid(*[[0.0, 1.0]] * 4, indexing="ij"), -1).reshape(16, 2, 2, 1).astype(np.float32)
    params, _ = model.init(jax.random.key(0), {"image": images})
    params = _varied(params)
    log_p = model.log_prob(params, {}, images, jax.random.key(1), particles=20_000, chunk=2000)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1.0, atol=0.01)


def test_loss_is_the_negative_bound_with_the_kl_weighted():
    model, params, stats, x = _fitted(beta=3.0)
    key = jax.random.key(4)
    loss, (_, metrics) = model.loss(params, stats, {"image": x}, key, step=jnp.int32(0))
    mu, log_sigma = model.encode(params, stats, x)
    z = mu + jnp.exp(log_sigma) * jax.random.normal(key, mu.shape)
    reconstruction = -bernoulli_log_prob(x, model.decode(params, stats, z)).mean()
    kl = normal_kl(mu, log_sigma).mean()
    np.testing.assert_allclose(loss, reconstruction + 3 * kl, rtol=1e-6)
    np.testing.assert_allclose(metrics["elbo"], -(reconstruction + kl), rtol=1e-6)


def test_warm_up_raises_the_kl_weight_in_a_line_and_only_in_training():
    model, params, stats, x = _fitted(warmup_steps=4)

    def weight(step, train=True):
        loss, (_, m) = model.loss(params, stats, {"image": x}, jax.random.key(0), step=jnp.int32(step), train=train)
        return float((loss - m["reconstruction"]) / m["kl"])

    np.testing.assert_allclose([weight(s) for s in (0, 1, 3, 9)], [0.25, 0.5, 1, 1], rtol=1e-4)
    np.testing.assert_allclose(weight(0, train=False), 1, rtol=1e-4)


def test_iwae_objective_is_the_negative_importance_weighted_bound():
    model, params, stats, x = _fitted(particles=5)
    loss = jax.jit(jax.vmap(lambda key: model.loss(params, stats, {"image": x}, key, step=jnp.int32(0))[0]))
    bound = jax.jit(jax.vmap(lambda key: model.log_prob(params, stats, x, key, particles=5).mean()))
    losses = np.asarray(loss(jax.random.split(jax.random.key(0), 200)))
    bounds = np.asarray(bound(jax.random.split(jax.random.key(1), 200)))
    spread = np.std(losses) / np.sqrt(200) + np.std(bounds) / np.sqrt(200)
    assert abs(np.mean(losses) + np.mean(bounds)) < 4 * spread


def test_gradient_of_the_reparameterised_bound_matches_finite_differences():
    model, params, stats, x = _fitted(activation=jnp.tanh)

    def loss(scale):
        moved = jax.tree.map(lambda p: p * scale, params)
        return model.loss(moved, stats, {"image": x}, jax.random.key(3), step=jnp.int32(9))[0]

    eps = 1e-2
    np.testing.assert_allclose(jax.grad(loss)(1.0), (loss(1 + eps) - loss(1 - eps)) / (2 * eps), rtol=1e-2)


def test_samples_are_probabilities_and_follow_the_key():
    model, params, stats, _ = _fitted()
    one, same, other = (model.sample(params, stats, jax.random.key(k), 5) for k in (0, 0, 1))
    assert one.shape == (5, *SHAPE) and (one >= 0).all() and (one <= 1).all()
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent=0"),
        ({"beta": -1.0}, "beta must not be negative, got -1.0"),
        ({"particles": 5, "beta": 2.0}, "particles=5"),
        ({"particles": 5, "warmup_steps": 10}, "particles=5"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        vae(SHAPE, **options)


def test_a_batch_of_another_shape_is_refused():
    model = vae(SHAPE)
    with pytest.raises(ValueError, match=r"\(3, 3, 1\).*\(4, 4, 1\)"):
        model.init(jax.random.key(0), {"image": np.zeros((1, 4, 4, 1), np.float32)})
