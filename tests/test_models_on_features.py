"""M1 and M1+M2: the upper model sees features alone, the lower one is as it would be without it."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.models.latent.autoencoder import autoencoder
from gen_models.models.latent.on_features import labelled_alone, on_features
from gen_models.models.latent.semi_supervised_vae import semi_supervised_vae
from gen_models.models.latent.vae import vae
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.nn.likelihoods import gaussian

SHAPE, CLASSES, WIDTH = (3, 3, 1), 3, 4


@functools.cache
def _parts():
    below = vae(SHAPE, latent=WIDTH, hidden=(5,))
    above = semi_supervised_vae((WIDTH,), CLASSES, latent=2, hidden=(6,), likelihood=gaussian("each", unit=False))
    return below, above, on_features(below, above)


def _batch():
    rng = np.random.default_rng(0)
    x = (rng.uniform(size=(8, *SHAPE)) < 0.4).astype(np.float32)
    return {"x": x, "labelled_x": x[::-1], "labelled_y": (np.arange(8) % CLASSES).astype(np.int32)}


@functools.cache
def _params():
    return jax.jit(_parts()[2].init)(jax.random.key(0), _batch())


@pytest.mark.slow
def test_the_losses_are_those_of_the_parts_with_draws_for_features():
    below, above, both = _parts()
    params, stats = _params()
    batch, key = _batch(), jax.random.key(1)

    @jax.jit
    def values(params):
        lower = both.loss["features"](params, stats, batch, key, step=jnp.array(0))[0]
        upper = both.loss["top"](params, stats, batch, key, step=jnp.array(0))[0]
        draw_key, own_key = jax.random.split(key)
        drawn = {}
        for name, one in zip(("x", "labelled_x"), jax.random.split(draw_key), strict=True):
            code = below.encode(params["features"], {}, batch[name])
            drawn[name] = code.mu + jnp.exp(code.log_sigma) * jax.random.normal(one, code.mu.shape)
        expected = above.loss(
            params["top"], {}, {**drawn, "labelled_y": batch["labelled_y"]}, own_key, step=jnp.array(0)
        )[0]
        return (lower, upper), (below.loss(params["features"], {}, batch, key, step=jnp.array(0))[0], expected)

    np.testing.assert_allclose(*values(params), rtol=1e-6)


@pytest.mark.slow
def test_the_lower_model_trains_as_it_does_alone():
    """With the noise of its place among the players; no step of the upper one reaches it."""
    below, _, both = _parts()
    tx = optax.sgd(0.01)
    players, batch, (params, stats) = {"features": tx, "top": tx}, _batch(), _params()
    state = jax.eval_shape(lambda key: init_state(both, players, key, batch), jax.random.key(3))
    opt_state = {name: tx.init(params[name]) for name in players}
    state = state._replace(step=jnp.array(0), key=jax.random.key(3), params=params, stats=stats, opt_state=opt_state)
    alone = state._replace(params=params["features"], stats={}, opt_state={"all": tx.init(params["features"])})
    step, of_alone = (jax.jit(make_train_step(model.loss, own)) for model, own in ((both, players), (below, tx)))
    for _ in range(3):
        state, alone = step(state, batch)[0], of_alone(alone, batch)[0]
    chex.assert_trees_all_close(state.params["features"], alone.params, rtol=1e-5)
    assert not np.allclose(state.params["top"]["class"], params["top"]["class"])


@pytest.mark.slow
def test_operations_go_through_both_models():
    below, above, both = _parts()
    params, stats = _params()
    x, label = _batch()["x"], np.array([0, 1, 2, 0, 1, 2, 0, 1], np.int32)
    own, upper = params["features"], params["top"]

    @jax.jit
    def all_of(params):
        means = below.encode(own, {}, x).mu
        code = above.encode(upper, {}, means, label=label)
        key = jax.random.key(2)
        ours = (
            both.apply(params, stats, x),
            both.encode(params, stats, x, label=label),
            both.decode(params, stats, code.mu, label=label),
            both.sample(params, stats, key, 8, label=label),
            both.elbo(params, stats, {"x": x}, key),
        )
        expected = (
            above.apply(upper, {}, means),
            code,
            below.decode(own, {}, above.decode(upper, {}, code.mu, label)),
            below.decode(own, {}, above.sample(upper, {}, key, 8, label=label, draw=True)),
            below.elbo(own, {}, {"x": x}, key),
        )
        return ours, expected

    chex.assert_trees_all_close(*all_of(params), rtol=1e-5)


def test_a_classifier_of_few_labels_is_one_of_the_labelled_examples():
    whole = logistic_regression((2,), CLASSES, l2=0.1)
    model = labelled_alone(whole)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 2)).astype(np.float32), np.arange(6, dtype=np.int32) % CLASSES
    batch = {"x": np.full((6, 2), np.nan, np.float32), "labelled_x": x, "labelled_y": y}
    params, stats = model.init(jax.random.key(0), batch)
    params = jax.tree.map(lambda p: p + rng.normal(size=p.shape).astype(np.float32), params)
    ours, expected = (
        one.loss(params, stats, given, jax.random.key(0), step=jnp.array(0))
        for one, given in ((model, batch), (whole, {"x": x, "y": y}))
    )
    chex.assert_trees_all_equal(ours, expected)
    with pytest.raises(ValueError, match=r"'labelled_x'.*with_few_labels"):
        model.loss(params, stats, {"x": x, "y": y}, jax.random.key(0), step=jnp.array(0))


def test_m1_has_the_operations_of_its_vae_and_codes_that_are_points_are_features():
    classifier = labelled_alone(logistic_regression((WIDTH,), CLASSES))
    m1 = on_features(vae(SHAPE, latent=WIDTH, hidden=(5,)), classifier)
    params, stats = jax.jit(m1.init)(jax.random.key(0), _batch())
    assert m1.sample(params, stats, jax.random.key(0), 2).shape == (2, *SHAPE)
    below = autoencoder(SHAPE, latent=WIDTH, hidden=(5,))
    points = on_features(below, classifier)
    params, stats = jax.jit(points.init)(jax.random.key(0), _batch())
    params["top"]["logits"]["kernel"] = jnp.eye(WIDTH, CLASSES)
    code = below.encode(params["features"], {}, _batch()["x"])
    np.testing.assert_allclose(points.apply(params, stats, _batch()["x"]), code[:, :CLASSES], rtol=1e-6)
    values = [points.loss["top"](params, stats, _batch(), jax.random.key(k), step=jnp.array(0))[0] for k in range(2)]
    assert values[0] == values[1] and not points.has("sample") and not points.has("elbo")


def test_models_that_do_not_fit_are_refused():
    below, above, both = _parts()
    with pytest.raises(ValueError, match="features must be a model with one loss and the operation 'encode'"):
        on_features(logistic_regression(), above)
    with pytest.raises(ValueError, match="top must be a model with one loss and the operation 'apply'"):
        on_features(below, both)
    with pytest.raises(ValueError, match=r"the players \['features', 'top'\] would each need labelled examples"):
        labelled_alone(both)
