"""Principal component analysis: scikit-learn's, the published error, and training from another start."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from gen_models.core import init_state, make_train_step
from gen_models.data.sources import load
from gen_models.models.latent.autoencoder import autoencoder
from gen_models.models.latent.pca import pca

KEY = jax.random.key(0)
X = (load_digits().images[:300, :, :, None] / 16).astype(np.float32)
FULL = os.environ.get("GEN_MODELS_DATA_DIR")


def _fitted(latent=5, x=X):
    model = pca(x.shape[1:], latent=latent)
    return model, *jax.jit(model.init)(KEY, {"x": x})


def test_components_codes_and_images_are_scikit_learns():
    model, params, stats = _fitted()
    flat = X.reshape(300, -1).astype(np.float64)
    theirs = PCA(5, svd_solver="full").fit(flat)
    signs = np.sign((np.asarray(params["components"]) * theirs.components_.T).sum(0))
    np.testing.assert_allclose(params["mean"], theirs.mean_, atol=1e-6)
    np.testing.assert_allclose(params["components"], (theirs.components_ * signs[:, None]).T, atol=1e-4)
    codes = model.encode(params, stats, X)
    np.testing.assert_allclose(codes, theirs.transform(flat) * signs, atol=1e-3)
    again = theirs.inverse_transform(theirs.transform(flat))
    np.testing.assert_allclose(model.decode(params, stats, codes).reshape(300, -1), again, atol=1e-4)
    error = model.loss(params, stats, {"x": X}, KEY, step=0)[0]
    np.testing.assert_allclose(error, ((again - flat) ** 2).sum(1).mean(), rtol=1e-5)


def test_the_sign_is_that_of_the_largest_number_and_fewer_images_than_components_leave_an_orthonormal_basis():
    _, params, _ = _fitted(x=X[:3])
    components = np.asarray(params["components"])
    assert (np.take_along_axis(components, np.abs(components).argmax(0)[None], 0) > 0).all()
    np.testing.assert_allclose(components.T @ components, np.eye(5), atol=1e-5)


def test_at_the_closed_form_the_gradient_vanishes():
    model, params, stats = _fitted()
    loss = lambda p: model.loss(p, stats, {"x": X}, KEY, step=0)[0]  # noqa: E731
    assert all(np.abs(g).max() < 1e-4 for g in jax.tree.leaves(jax.grad(loss)(params)))
    moved = jax.tree.map(lambda p: p + 0.01 * jax.random.normal(KEY, p.shape), params)
    assert loss(moved) > loss(params)
    assert all(np.abs(g).max() > 1e-2 for g in jax.tree.leaves(jax.grad(loss)(moved)))


def test_training_from_a_few_images_reaches_the_error_of_all():
    model, params, stats = _fitted()
    least = model.loss(params, stats, {"x": X}, KEY, step=0)[0]
    tx = optax.adam(optax.cosine_decay_schedule(0.02, 600))
    step = make_train_step(model.loss, tx)
    state = init_state(model, tx, KEY, {"x": X[:4]})
    assert model.loss(state.params, stats, {"x": X}, KEY, step=0)[0] > 1.5 * least
    run = jax.jit(lambda state: jax.lax.scan(lambda s, _: (step(s, {"x": X})[0], None), state, None, length=600)[0])
    np.testing.assert_allclose(model.loss(run(state).params, stats, {"x": X}, KEY, step=0)[0], least, rtol=1e-3)


def test_more_components_than_numbers_are_refused():
    with pytest.raises(ValueError, match="an image of 4 numbers has no latent=5 components"):
        pca((2, 2, 1), latent=5)
    assert pca((2, 2, 1), latent=4).init(KEY, {"x": jnp.ones((3, 2, 2, 1))})[0]["components"].shape == (4, 4)


def _mnist(split):
    return np.asarray(load("mnist", split, FULL).arrays["x"], np.float32).reshape(-1, 28, 28, 1) / 255


@pytest.mark.slow  # 10 s
@pytest.mark.skipif(FULL is None, reason="GEN_MODELS_DATA_DIR names no folder with MNIST")
def test_thirty_components_of_mnist_have_the_published_error():
    """13.87 (Hinton & Salakhutdinov, 2006, figure 2B): fitted to all 60,000 images, on the 10,000 for tests."""
    model, params, stats = _fitted(30, _mnist("train+validation"))
    error = model.loss(params, stats, {"x": _mnist("test")}, KEY, step=0)[0]
    assert abs(float(error) - 13.87) < 0.01


@pytest.mark.slow  # a minute
@pytest.mark.skipif(FULL is None, reason="GEN_MODELS_DATA_DIR names no folder with MNIST")
def test_a_linear_autoencoder_reaches_that_error_on_mnist():
    x = jnp.asarray(_mnist("train+validation"))
    least = _fitted(30, x)[0].loss(*_fitted(30, x)[1:], {"x": x}, KEY, step=0)[0]
    model = autoencoder((28, 28, 1), latent=30, hidden=(), activation=None)
    tx = optax.adam(optax.cosine_decay_schedule(3e-3, 6000))
    step = make_train_step(model.loss, tx)

    def body(state, _):
        rows = jax.random.randint(jax.random.fold_in(KEY, state.step), (500,), 0, len(x))
        return step(state, {"x": x[rows]})[0], None

    run = jax.jit(lambda state: jax.lax.scan(body, state, None, length=6000)[0])
    params = run(init_state(model, tx, KEY, {"x": x[:500]})).params
    error = float(model.loss(params, {}, {"x": x}, KEY, step=0)[0])
    assert least < error < 1.01 * least
