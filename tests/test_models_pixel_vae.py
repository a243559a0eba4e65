"""The PixelVAE: a Gated PixelCNN where z is cut off, and a bound on what quadrature over z gives."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss
from scipy.stats import chisquare

from gen_models.models.autoregressive.gated_pixel_cnn import gated_network, gated_pixel_cnn
from gen_models.models.latent.pixel_vae import pixel_vae

KEY = jax.random.key(0)
SIZES = {"features": 6, "layers": 2, "first_window": 3, "head_features": 6}


@functools.cache
def _model(shape=(3, 4, 1), levels=2, **options):
    """A tiny model with parameters far from zero, so that each connection shows."""
    model = pixel_vae(shape, levels, **{"latent": 2, "hidden": (5,)} | SIZES | options)
    x = np.random.default_rng(0).integers(levels, size=(8, *shape)).astype(np.float32)
    shapes, _ = jax.eval_shape(model.init, KEY, {"x": x})
    rng = np.random.default_rng(1)
    return model, jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes), x


@functools.cache
def _apply(model):
    return jax.jit(lambda params, z, x: model.apply(params, {}, z, x=x))


@pytest.mark.parametrize("map_features", [None, 3])
def test_the_decoder_sees_earlier_pixels_and_z(map_features):
    model, params, x = _model(map_features=map_features)
    z = jax.random.normal(KEY, (1, 2))
    image, apply = x[:1], _apply(model)
    changed = np.repeat(image, 12, 0)
    changed.reshape(12, 12)[np.arange(12), np.arange(12)] = 1 - image.ravel()
    both = np.asarray(apply(params, jnp.repeat(z, 13, 0), np.concatenate([changed, image]))).reshape(13, 12, 2)
    moved = (both[:12] != both[12:]).any(-1)  # [what is changed, what it moves]
    assert not moved[np.tril_indices(12)].any()
    assert moved[np.arange(11), np.arange(1, 12)][np.arange(11) % 4 != 3].all(), "what comes next in its row"
    other = np.asarray(apply(params, jnp.repeat(z + 1, 13, 0), np.concatenate([changed, image]))).reshape(13, 12, 2)
    assert (other != both).any(-1).all(), "every pixel sees z"


def test_without_z_it_is_a_gated_pixel_cnn():
    model, params, x = _model((2, 3, 3), levels=3)
    network = dict(params["decoder"]["network"])
    cut = {name: jax.tree.map(jnp.zeros_like, leaf) for name, leaf in network.items() if name.startswith("label_")}
    assert len(cut) == 2
    params = params | {"decoder": {"network": network | cut}}
    terms = jax.jit(lambda key: model.elbo(params, {}, {"x": x}, key))(KEY)
    alone = gated_pixel_cnn((2, 3, 3), 3, **SIZES)
    own = {name: leaf for name, leaf in network.items() if name not in cut}
    assert jax.tree.structure(own) == jax.tree.structure(jax.eval_shape(alone.init, KEY, {"x": x})[0])
    np.testing.assert_allclose(-terms["reconstruction"], jax.jit(alone.log_prob)(own, {}, x), rtol=1e-5)


def test_a_vector_is_a_label_where_it_is_one_hot():
    """V h of eq. 4 picks a column of V; and a map that is the same everywhere is a vector."""
    network = gated_network((3, 4, 1), 2, window=3, classes=3, **SIZES)
    x, label = jnp.asarray(_model()[2]) * 2 - 1, jnp.arange(8) % 3
    shapes = jax.eval_shape(lambda: network.init(KEY, x, label, None, False)["params"])
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
    vectors = {name: {"kernel": leaf["embedding"]} if "embedding" in leaf else leaf for name, leaf in params.items()}
    one_hot = jax.nn.one_hot(label, 3)

    @jax.jit
    def three(params, vectors):
        conditions = one_hot, jnp.broadcast_to(one_hot[:, None, None], (8, 3, 4, 3))
        found = [network.apply({"params": vectors}, x, condition, None, False) for condition in conditions]
        return network.apply({"params": params}, x, label, None, False), *found

    of_label, of_vector, of_map = three(params, vectors)
    np.testing.assert_allclose(of_vector, of_label, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of_map, of_label, rtol=1e-4, atol=1e-5)
    assert np.abs(np.diff(of_label[:3], axis=0)).max() > 0.1


@pytest.mark.parametrize("map_features", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_cached_samples_are_the_naive_samplers(map_features):
    cached, params, _ = _model(map_features=map_features)
    naive, _, _ = _model(map_features=map_features, method="naive")
    draw = [jax.jit(lambda key, m=m: m.sample(params, {}, key, 20, draw=True)) for m in (cached, naive)]
    first, second = (np.asarray(each(KEY)) for each in draw)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) > 5 and set(np.unique(first)) == {0, 1}


def _exact(model, params, images):
    """log p(x) by Gauss and Hermite's rule over the one dimension of z."""
    nodes, weights = hermegauss(60)
    n = len(images)
    z = jnp.repeat(jnp.asarray(nodes, jnp.float32), n)[:, None]
    logits = np.float64(_apply(model)(params, z, np.tile(images, (60, 1, 1, 1)))).reshape(60, n, -1, 2)
    log_p = logits - np.logaddexp(logits[..., :1], logits[..., 1:])
    chosen = np.where(images.reshape(n, -1) == 1, log_p[..., 1], log_p[..., 0]).sum(-1)
    return np.log((weights[:, None] / weights.sum() * np.exp(chosen)).sum(0))


@pytest.mark.slow
def test_bounds_lie_below_the_likelihood_by_quadrature():
    model, params, _ = _model((2, 2, 1), latent=1)
    images = np.array(list(itertools.product((0, 1), repeat=4)), np.float32).reshape(16, 2, 2, 1)
    exact = _exact(model, params, images)
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-4)
    terms = jax.jit(jax.vmap(lambda key: model.elbo(params, {}, {"x": images}, key)))(jax.random.split(KEY, 4000))
    each = -np.float64(terms["reconstruction"] + terms["kl"])
    elbo, error = each.mean(0), each.std(0) / np.sqrt(len(each))
    assert (elbo < exact + 4 * error).all() and (elbo < exact - 0.01).any()
    bound = jax.jit(lambda key: model.log_prob(params, {}, images, key, particles=10_000, chunk=1000))(KEY)
    np.testing.assert_allclose(bound, exact, atol=0.1)

    samples = np.asarray(jax.jit(lambda key: model.sample(params, {}, key, 4000, draw=True))(KEY))
    counts = np.bincount(samples.reshape(-1, 4).astype(int) @ [8, 4, 2, 1], minlength=16)
    p = np.exp(exact)
    assert chisquare(counts, p / p.sum() * 4000).pvalue > 1e-4


def test_labels_are_told_to_encoder_and_decoder():
    model, params, x = _model(classes=3)
    z, label = jnp.zeros((8, 2)), jnp.arange(8) % 3
    terms = jax.jit(lambda y: model.elbo(params, {}, {"x": x, "y": y}, KEY) | {"p": model.apply(params, {}, z, y, x)})
    told, other = terms(label), terms((label + 1) % 3)
    assert (told["kl"] != other["kl"]).any() and (told["p"] != other["p"]).any((1, 2, 3)).all()


def test_grey_pixels_have_no_probability():
    """Nor that of the level below them."""
    model, params, x = _model()
    with pytest.raises(ValueError, match="pixels must be integers from 0 to 1"):
        model.encode(params, {}, x / 2)
    assert np.isnan(jax.jit(lambda x: model.elbo(params, {}, {"x": x}, KEY)["reconstruction"])(x / 2)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 0}, "latent=0"),
        ({"map_features": 0}, "map_features=0"),
        ({"first_window": 2}, "first_window=2"),
        ({"shape": (4, 4, 3), "features": 8}, "3 channels must divide features=8"),
        ({"method": "naiv"}, "did you mean 'naive'"),
        ({"particles": 5, "free_bits": 1.0}, "particles=5"),
        ({"channels": (4, 4, 4)}, "an image of 4x4 is too small for 3"),
        ({"levels": 1}, "levels=1"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        pixel_vae(**{"shape": (4, 4, 1), **options})
