"""The contractive penalty: the Jacobian by `jax.jacobian`, the paper's formula, and its unbiased estimate."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.latent.contractive_autoencoder import (
    contractive_autoencoder,
    estimated_norm,
    exact_norm,
)

SHAPE = (5, 4, 1)
KEY = jax.random.key(0)
X = jax.random.uniform(jax.random.key(1), (3, *SHAPE))


@functools.cache
def _made(**options):
    model = contractive_autoencoder(SHAPE, latent=3, weight=0.5, **options)
    params, stats = jax.jit(model.init)(KEY, {"x": X})
    return model, jax.tree.map(lambda p: p + 0.1 * jax.random.normal(KEY, p.shape), params), stats


def _contraction(model, params, stats, key=KEY, x=X):
    return model.loss(params, stats, {"x": x}, key, step=0)[1][1]["contraction"]


@pytest.mark.slow
@pytest.mark.parametrize("channels", [(), (2,)])
def test_the_penalty_is_the_squared_norm_of_a_deep_encoders_jacobian(channels):
    """And so is its gradient, to each parameter, whose convolutions are differentiated twice."""
    model, params, stats = _made(hidden=(6,), channels=channels, activation=jnp.tanh)

    def of_one(params, x):
        jacobian = jax.jacrev(lambda x: model.encode(params, stats, x[None])[0])(x)
        return (jacobian**2).sum()

    def by_jacobian(params):
        return jax.vmap(lambda x: of_one(params, x))(X).mean()

    penalty = functools.partial(_contraction, model, stats=stats)
    ours, theirs = (jax.jit(jax.value_and_grad(f)) for f in (lambda p: penalty(p), by_jacobian))
    (value, grads), (expected, gradient) = ours(params), theirs(params)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert np.abs(gradient["encoder"]["code"]["kernel"]).max() > 1e-4
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), grads, gradient)
    loss, (_, metrics) = model.loss(params, stats, {"x": X}, KEY, step=0)
    np.testing.assert_allclose(loss, metrics["reconstruction"] + 0.5 * metrics["contraction"], rtol=1e-6)


def test_one_layer_of_sigmoids_has_the_papers_closed_form():
    model, params, stats = _made(hidden=())
    h = np.asarray(model.encode(params, stats, X), np.float64)
    squares = (np.asarray(params["encoder"]["code"]["kernel"], np.float64) ** 2).sum(0)
    expected = ((h * (1 - h)) ** 2 * squares).sum(1)
    np.testing.assert_allclose(_contraction(model, params, stats), expected.mean(), rtol=1e-5)
    encode = lambda x: model.encode(params, stats, x)  # noqa: E731
    np.testing.assert_allclose(exact_norm(encode, X), expected, rtol=1e-5)


def test_the_estimate_is_unbiased():
    model, params, stats = _made(hidden=(6,), activation=jnp.tanh)
    encode = lambda x: model.encode(params, stats, x)  # noqa: E731
    exact = np.asarray(exact_norm(encode, X))
    keys = jax.random.split(jax.random.key(2), 4000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: estimated_norm(encode, X, key, 1)))(keys))
    error = drawn.std(0) / np.sqrt(len(keys))
    assert (error > 0).all()  # it is an estimate, and not the norm itself
    assert (np.abs(drawn.mean(0) - exact) < 4 * error).all()
    # All signs of three units, each once: the mean over them is the norm itself.
    signs = jnp.array(np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), -1).reshape(8, 3), jnp.float32)
    code, pull = jax.vjp(encode, X)
    each = [(pull(jnp.broadcast_to(v, code.shape))[0] ** 2).sum((1, 2, 3)) for v in signs]
    np.testing.assert_allclose(np.mean(each, 0), exact, rtol=1e-5)


def test_several_probes_are_a_mean_with_less_spread_and_the_model_takes_them():
    model, params, stats = _made(hidden=(6,), activation=jnp.tanh, probes=2)
    exact, _, _ = _made(hidden=(6,), activation=jnp.tanh)
    keys = jax.random.split(jax.random.key(2), 1000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: _contraction(model, params, stats, key)))(keys))
    encode = lambda x: model.encode(params, stats, x)  # noqa: E731
    single = np.asarray(jax.jit(jax.vmap(lambda key: estimated_norm(encode, X, key, 1).mean()))(keys))
    np.testing.assert_allclose(drawn.std(), single.std() / np.sqrt(2), rtol=0.15)
    assert abs(drawn.mean() - _contraction(exact, params, stats)) < 4 * drawn.std() / np.sqrt(1000)


def test_a_code_that_does_not_move_costs_nothing():
    model, params, stats = _made(hidden=())
    flat = jax.tree.map(jnp.zeros_like, params)
    assert _contraction(model, flat, stats) == 0
    grown = params | {"encoder": jax.tree.map(lambda p: 2 * p, params["encoder"])}
    assert _contraction(model, grown, stats) > _contraction(model, params, stats)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1.0}, "weight must not be negative, infinite or NaN, got -1.0"),
        ({"probes": 0}, "probes=0"),
        ({"latent": 0}, "latent=0"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        contractive_autoencoder(SHAPE, **options)
