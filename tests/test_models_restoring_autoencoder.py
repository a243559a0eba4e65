"""The restoring autoencoder: its loss in words, how far it sees, and a closed form that it is trained to."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.models.latent.restoring_autoencoder import restoring_autoencoder
from gen_models.nn.corruptions import gaussian
from gen_models.nn.image_damage import coarse

SHAPE = (7, 10, 2)
KEY, NOISE = jax.random.key(0), gaussian(0.3)
X = np.random.default_rng(0).uniform(size=(3, *SHAPE)).astype(np.float32)


@functools.cache
def _made(channels=(3,), layers=1, shape=SHAPE, corruption=NOISE):
    model = restoring_autoencoder(shape, channels=channels, layers=layers, corruption=corruption)
    return model, *jax.jit(model.init)(KEY, {"x": jnp.zeros((1, *shape))})


def test_the_code_is_a_map_and_odd_sides_come_back():
    model, params, stats = _made()
    z = model.encode(params, stats, X)
    assert z.shape == (3, 4 * 5 * 3) and model.decode(params, stats, z).shape == X.shape


def test_the_loss_is_the_error_of_what_is_made_of_damaged_images():
    model, params, stats = _made()
    damaged = NOISE(jnp.asarray(X), KEY)
    for train, seen in ((True, damaged), (False, X)):
        again = model.decode(params, stats, model.encode(params, stats, seen))
        expected = ((again - X) ** 2).sum((1, 2, 3)).mean()
        value, (_, metrics) = model.loss(params, stats, {"x": X}, KEY, step=jnp.array(0), train=train)
        np.testing.assert_allclose([value, metrics["reconstruction"]], expected, rtol=1e-5)


@pytest.mark.slow_cases("1-2", "2-1")
@pytest.mark.parametrize(("strides", "layers"), [(1, 0), (1, 2), (2, 1)])
def test_a_code_sees_as_far_as_its_layers_say(strides, layers):
    model, params, stats = _made((3,) * strides, layers, (48, 48, 1))
    side = 48 // 2**strides
    middle = (side // 2 * side + side // 2) * 3
    seen = jax.jit(jax.vmap(jax.grad(lambda x: model.encode(params, stats, x[None])[0, middle : middle + 3].sum())))
    # Rectifiers that are off hide what they could see: many images together show it.
    images = np.random.default_rng(1).normal(size=(20, 48, 48, 1)).astype(np.float32)
    rows = np.flatnonzero(np.abs(seen(images)).sum((0, 2, 3)))
    assert rows[-1] - rows[0] + 1 == 3 * 2**strides - 2 + 2 * layers * 2**strides


@pytest.mark.slow
def test_training_restores_what_the_rest_of_an_image_tells():
    """Of images of one grey under noise of the deviation 0.5, one pixel tells little, and its neighbours more."""
    model = restoring_autoencoder((8, 8, 1), channels=(3,), layers=1, corruption=gaussian(0.5))
    tx = optax.adam(3e-3)
    greys = np.random.default_rng(2).uniform(size=(256, 1, 1, 1)).astype(np.float32)
    batch = {"x": np.broadcast_to(greys, (256, 8, 8, 1)).copy()}
    state = jax.jit(lambda key: init_state(model, tx, key, batch))(KEY)
    step = make_train_step(model.loss, tx)
    state, metrics = jax.jit(lambda s: jax.lax.scan(lambda s, _: step(s, batch), s, length=200))(state)
    alone = 64 * (1 / 12) * 0.25 / (1 / 12 + 0.25)  # of the best linear restoration of each pixel by itself
    assert metrics["loss"][-20:].mean() < 0.6 * alone < metrics["loss"][0]


def test_what_cannot_be_built_is_an_error():
    for wrong in ({"layers": -1}, {"channels": ()}):
        with pytest.raises(ValueError, match="a map needs a stride, and layers cannot be negative"):
            restoring_autoencoder(SHAPE, **wrong)
    with pytest.raises(ValueError, match="shape"):
        restoring_autoencoder((7, 10))
    model, params, stats = _made((3,), 1, (7, 9, 1), coarse(2))
    with pytest.raises(ValueError, match="factor=2 does not divide the sides of images of 7x9"):
        model.loss(params, stats, {"x": X[:, :, :9, :1]}, KEY, step=jnp.array(0))
