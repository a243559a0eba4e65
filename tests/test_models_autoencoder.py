"""The plain autoencoder and its denoising kind: against principal components, NumPy and each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats
from flax import linen as nn
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from gen_models.core import init_state, make_train_step
from gen_models.models.latent.autoencoder import autoencoder
from gen_models.models.latent.denoising_autoencoder import denoising_autoencoder
from gen_models.nn.corruptions import gaussian, masking, salt_and_pepper
from gen_models.nn.reconstructions import cross_entropy, squared

SHAPE = (3, 4, 1)
KEY = jax.random.key(0)


def _x(n=6, shape=SHAPE):
    return jax.random.uniform(jax.random.key(3), (n, *shape))


@functools.cache
def _fresh(build, *options):
    model = build(SHAPE, latent=2, hidden=(5,), **dict(options))
    params, stats = jax.jit(model.init)(KEY, {"x": _x()})
    return model, jax.tree.map(lambda p: p + 0.1, params), stats


def test_the_loss_is_the_error_of_what_is_decoded_of_the_code():
    model, params, stats = _fresh(autoencoder)
    loss, (_, metrics) = model.loss(params, stats, {"x": _x()}, KEY, step=0)
    code = model.encode(params, stats, _x())
    again = np.asarray(model.decode(params, stats, code))
    np.testing.assert_allclose(loss, ((again - np.asarray(_x())) ** 2).sum((1, 2, 3)).mean(), rtol=1e-6)
    assert code.shape == (6, 2) and again.shape == (6, *SHAPE) and metrics["reconstruction"] == loss
    e, d = params["encoder"], params["decoder"]
    h = np.maximum(np.asarray(_x()).reshape(6, -1) @ e["Dense_0"]["kernel"] + e["Dense_0"]["bias"], 0)
    np.testing.assert_allclose(code, h @ e["code"]["kernel"] + e["code"]["bias"], rtol=1e-5)
    h = np.maximum(np.asarray(code) @ d["Dense_0"]["kernel"] + d["Dense_0"]["bias"], 0)
    np.testing.assert_allclose(
        again.reshape(6, -1), h @ d["Dense_1"]["kernel"] + d["Dense_1"]["bias"], rtol=1e-4, atol=1e-6
    )


def test_the_cross_entropy_is_that_of_the_pixels_and_its_picture_their_probability():
    model, params, stats = _fresh(autoencoder, ("reconstruction", cross_entropy()))
    loss, _ = model.loss(params, stats, {"x": _x()}, KEY, step=0)
    p = np.asarray(model.decode(params, stats, model.encode(params, stats, _x())), np.float64)
    x = np.asarray(_x(), np.float64)
    np.testing.assert_allclose(loss, -(x * np.log(p) + (1 - x) * np.log(1 - p)).sum((1, 2, 3)).mean(), rtol=1e-5)
    with pytest.raises(ValueError, match="pixels must be between 0 and 1, got values from"):
        model.loss(params, stats, {"x": 2 * _x() + 1}, KEY, step=0)
    half = jnp.concatenate([_x(1), 2 * _x(1) + 1])
    codes = jax.jit(lambda x: model.encode(params, stats, x))(half)
    assert np.isnan(codes).any(1).tolist() == [False, True]
    np.testing.assert_array_equal(squared().error(_x(), _x()), 0)


@pytest.mark.slow_cases("channels1")
@pytest.mark.parametrize("channels", [(), (3, 2)])
def test_without_activations_it_is_linear(channels):
    shape = (5, 4, 2)
    x = jnp.concatenate([_x(2, shape), -2 * _x(4, shape)[2:]])
    x = jnp.concatenate([x, 0.3 * x[:2] + 0.7 * x[2:]])

    def bent(activation):
        """How far the network of such activations is from linear, of outputs around 1."""
        model = autoencoder(shape, latent=3, hidden=(4,), channels=channels, activation=activation)

        def again(key):
            params = jax.tree.map(lambda p: p + 0.1, model.init(key, {"x": x})[0])
            return model.decode(params, {}, model.encode(params, {}, x)).reshape(3, 2, *shape)

        a, b, between = jax.jit(again)(KEY)
        return float(jnp.abs(0.3 * a + 0.7 * b - between).max())

    assert bent(None) < 1e-4 and bent(nn.relu) > 1e-2


def test_a_linear_autoencoder_reaches_the_error_of_principal_components():
    x = (load_digits().images[:400, :, :, None] / 16).astype(np.float32)
    flat = x.reshape(400, -1).astype(np.float64)
    best = PCA(6).fit(flat)
    least = ((best.inverse_transform(best.transform(flat)) - flat) ** 2).sum(1).mean()
    model = autoencoder((8, 8, 1), latent=6, hidden=(), activation=None)
    tx = optax.adam(optax.cosine_decay_schedule(0.03, 1500))
    step = make_train_step(model.loss, tx)

    @jax.jit
    def trained(state):
        return jax.lax.scan(lambda state, _: (step(state, {"x": x})[0], None), state, None, length=1500)[0]

    state = trained(init_state(model, tx, KEY, {"x": x}))
    error = float(model.loss(state.params, {}, {"x": x}, KEY, step=0)[0])
    assert least * (1 - 1e-5) < error < 1.002 * least, (error, least)


def test_shares_and_deviations_of_the_corruptions():
    x = jax.random.uniform(KEY, (400, 50), minval=0.2, maxval=0.8)
    key = jax.random.key(1)
    few = 4 * np.sqrt(0.25 * 0.75 / x.size)  # four standard errors of a share
    masked = masking(0.25)(x, key)
    assert abs((masked == 0).mean() - 0.25) < few and ((masked == 0) | (masked == x)).all()
    noisy = salt_and_pepper(0.25)(x, key)
    assert ((noisy == x) | (noisy == 0) | (noisy == 1)).all()
    assert all(abs((noisy == end).mean() - 0.125) < few for end in (0, 1))
    noise = np.asarray(gaussian(0.3)(x, key) - x).ravel() / 0.3
    assert scipy.stats.kstest(noise, "norm").pvalue > 0.01
    spread = (masked == 0).mean(1)  # independent ones, a binomial number in each row
    np.testing.assert_allclose(spread.std(), np.sqrt(0.25 * 0.75 / 50), rtol=0.15)
    for corruption in (masking(0.0), salt_and_pepper(0.0), gaussian(0.0)):
        np.testing.assert_array_equal(corruption(x, key), x)
    np.testing.assert_array_equal(masking(1.0)(x, key), 0)
    np.testing.assert_array_equal(jax.jit(lambda s: masking(s)(x, key))(0.25), masked)


@pytest.mark.parametrize("make", [masking, salt_and_pepper])
def test_shares_that_are_none(make):
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"a share of damaged numbers must be in \[0, 1\], got"):
            make(share)
    with pytest.raises(ValueError, match="sigma must not be negative, infinite or NaN, got -1"):
        gaussian(-1)


def test_what_is_whole_is_the_target_of_what_is_damaged():
    model, params, stats = _fresh(denoising_autoencoder, ("corruption", masking(0.5)))
    x, batch = np.asarray(_x()), {"x": _x()}
    loss, _ = model.loss(params, stats, batch, KEY, step=0)
    again = model.decode(params, stats, model.encode(params, stats, masking(0.5)(_x(), KEY)))
    np.testing.assert_allclose(loss, ((np.asarray(again) - x) ** 2).sum((1, 2, 3)).mean(), rtol=1e-6)
    assert loss != model.loss(params, stats, batch, jax.random.key(1), step=0)[0]
    plain, _, _ = _fresh(autoencoder)
    whole = plain.loss(params, stats, batch, KEY, step=0)[0]
    np.testing.assert_allclose(model.loss(params, stats, batch, KEY, step=0, train=False)[0], whole, rtol=1e-6)
    np.testing.assert_array_equal(model.encode(params, stats, _x()), plain.encode(params, stats, _x()))


def test_a_linear_denoiser_shrinks_as_the_best_one_does():
    """Of normal x with deviations s and noise sigma: W = diag(s^2 / (s^2 + sigma^2)), Wiener's, in closed form."""
    scale, sigma = np.array([1.0, 0.5, 0.2], np.float32), 0.5
    x = (np.random.default_rng(0).normal(size=(4096, 3)).astype(np.float32) * scale).reshape(-1, 3, 1, 1)
    model = denoising_autoencoder(
        (3, 1, 1), corruption=gaussian(sigma), latent=3, hidden=(), activation=None, code_activation=None
    )
    tx = optax.adam(optax.cosine_decay_schedule(0.03, 600))
    step = make_train_step(model.loss, tx)
    run = jax.jit(lambda state: jax.lax.scan(lambda s, _: (step(s, {"x": x})[0], None), state, None, length=600)[0])
    params = run(init_state(model, tx, KEY, {"x": x})).params
    product = params["encoder"]["code"]["kernel"] @ params["decoder"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(product, np.diag(scale**2 / (scale**2 + sigma**2)), atol=0.03)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("build", [autoencoder, denoising_autoencoder])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent=0"),
        ({"hidden": 500}, r"must be a sequence of sizes, such as \(500,\), got hidden=500"),
        ({"channels": (4, 4, 4)}, "an image of 3x4 is too small for 3 convolutions"),
        ({"shape": (3, 4)}, r"\(height, width, channels\), got shape=\(3, 4\)"),
    ],
)
def test_bad_values_are_named(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**{"shape": SHAPE, **options})


def test_a_code_of_another_width_is_refused():
    model, params, stats = _fresh(autoencoder)
    with pytest.raises(ValueError, match=r"z must be \[B, 2\]"):
        model.decode(params, stats, jnp.zeros((1, 3)))
