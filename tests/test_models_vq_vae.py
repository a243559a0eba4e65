"""The VQ-VAE: its gradient term by term, its bound against an enumeration of all codes, and its prior's samples."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from gen_models.core import init_state, make_train_step
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.latent.vq_vae import _Decoder, _Encoder, vq_vae
from gen_models.nn import codebook, likelihoods
from tests.zoo import SGD

KEY, CALL = jax.random.key(0), {"step": jnp.array(0)}
SMALL = {"channels": (3,), "residual_blocks": 1, "residual_features": 4, "code_size": 3, "code_features": 2}
PRIOR = {"prior_features": 4, "prior_layers": 2, "prior_embedded": 3}


@functools.cache
def _model(shape=(4, 4, 1), likelihood=None, **options):
    """A tiny model of binary images, with parameters away from where they start, so that each shows."""
    model = vq_vae(shape, likelihood=likelihood or likelihoods.bernoulli(), **SMALL | PRIOR | options)
    x = (np.random.default_rng(0).uniform(size=(12, *shape)) < 0.5).astype(np.float32)
    params, stats = jax.jit(model.init)(KEY, {"x": x})
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), params)
    book = codebook.drawn_from(_outputs_of(params, x), 3, KEY)  # outputs of these parameters, so that all are used
    if not stats:
        return model, params | {"autoencoder": params["autoencoder"] | {"codebook": book}}, stats, x
    return model, params, codebook.initial(book), x


def _encoder():
    return _Encoder(outputs=2, blocks=1, features=4, channels=(3,), dtype=None)


def _outputs_of(params, x):
    return _encoder().apply({"params": params["autoencoder"]["encoder"]}, x)


def test_the_gradient_is_that_of_equation_3_term_by_term():
    """Decoder: -log p at z_q. Encoder: the same gradient at z_q, and beta |z - e|^2. Codebook: |z - e|^2."""
    model, params, _, x = _model(decay=None, commitment=0.7)
    own, decoder = params["autoencoder"], _Decoder(shape=(4, 4, 1), blocks=1, features=4, channels=(3,), dtype=None)

    @jax.jit
    def by_hand(own):
        z, to_encoder = jax.vjp(lambda p: _encoder().apply({"params": p}, x), own["encoder"])
        codes = codebook.nearest(z, own["codebook"])
        e = own["codebook"][codes]

        def reconstruction(decoder_params, e):
            outputs = decoder.apply({"params": decoder_params}, e)
            return -likelihoods.bernoulli().log_prob({}, outputs, x).mean()

        nats, (of_decoder, of_e) = jax.value_and_grad(reconstruction, argnums=(0, 1))(own["decoder"], e)
        apart = (z - e) / len(x)  # half of the gradient of |z - e|^2, the mean over the batch
        (of_encoder,) = to_encoder(of_e + 0.7 * 2 * apart)
        of_book = jnp.zeros_like(own["codebook"]).at[codes].add(-2 * apart)
        value = nats + 1.7 * ((z - e) ** 2).sum() / len(x)
        return value, {"encoder": of_encoder, "decoder": of_decoder, "codebook": of_book}, codes

    loss = model.loss["autoencoder"]
    call = jax.jit(jax.value_and_grad(lambda params: loss(params, {}, {"x": x}, KEY, **CALL)[0]))
    value, gradient = call(params)
    expected, by_part, codes = by_hand(own)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for path, leaf in jax.tree.leaves_with_path(by_part):
        found = functools.reduce(lambda tree, key: tree[key.key], path, gradient["autoencoder"])
        np.testing.assert_allclose(found, leaf, rtol=1e-3, atol=1e-4, err_msg=str(path))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["prior"]))
    np.testing.assert_array_equal(codes, model.encode(params, {}, x))
    assert len(np.unique(codes)) > 1


def test_a_codebook_of_running_means_is_moved_by_the_step_alone():
    model, params, stats, x = _model(decay=0.6)
    loss = jax.jit(model.loss["autoencoder"], static_argnames="train")
    _, (after, metrics) = loss(params, stats, {"x": x}, KEY, **CALL)
    expected = codebook.moved(stats, model.encode(params, stats, x), _outputs_of(params, x), 0.6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after, expected)
    np.testing.assert_allclose(metrics["perplexity"], 3, rtol=1e-5)  # as it was before the step: all alike
    assert np.abs(after["sum"] - stats["sum"]).max() > 1e-3


def _exact(model, params, stats, images):
    """log p(x) by enumeration of the three codes of a grid of one, and log p(z)."""
    codes = jnp.arange(3)[:, None, None]
    prior = gated_pixel_cnn((1, 1, 1), 3, features=4, layers=2, head_features=4, embedded=3)
    log_prior = prior.log_prob(params["prior"], {}, codes[..., None])
    outputs = model.apply(params, stats, codes)

    def of_code(outputs):
        return likelihoods.bernoulli().log_prob({}, jnp.broadcast_to(outputs, images.shape), images)

    return jax.nn.logsumexp(jax.vmap(of_code)(outputs) + log_prior[:, None], axis=0), log_prior


def test_the_bound_is_below_the_likelihood_that_all_codes_make():
    model, params, stats, _ = _model((2, 2, 1))
    images = np.array(list(itertools.product((0, 1), repeat=4)), np.float32).reshape(16, 2, 2, 1)
    exact, log_prior = _exact(model, params, stats, images)
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_prior).sum(), 1, rtol=1e-5)
    bound = jax.jit(model.log_prob)(params, stats, images)
    assert (bound < exact).all() and (np.exp(log_prior) > 0.05).all()
    codes = model.encode(params, stats, images)
    terms = model.elbo(params, stats, {"x": images})
    log_p = likelihoods.bernoulli().log_prob({}, model.apply(params, stats, codes), images)
    np.testing.assert_allclose(terms["reconstruction"], -log_p, rtol=1e-5)
    np.testing.assert_allclose(terms["kl"], -log_prior[codes[:, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(bound, log_p + log_prior[codes[:, 0, 0]], rtol=1e-5)
    assert len(np.unique(codes)) > 1


def test_samples_are_codes_of_the_prior_decoded():
    """A grid of 1 x 2: nine grids, each of which decodes to a picture of its own."""
    model, params, stats, _ = _model((2, 4, 1))
    grids = jnp.array(list(itertools.product(range(3), repeat=2)), jnp.int32).reshape(9, 1, 2)
    pictures = np.asarray(model.decode(params, stats, grids)).reshape(9, -1)
    samples = jax.jit(model.sample, static_argnums=3)(params, stats, KEY, 4000)
    distance = np.abs(np.asarray(samples).reshape(4000, 1, -1) - pictures).max(-1)
    assert distance.min(1).max() < 1e-5
    prior = gated_pixel_cnn((1, 2, 1), 3, features=4, layers=2, head_features=4, embedded=3)
    p = np.exp(np.float64(prior.log_prob(params["prior"], {}, grids[..., None])))
    counts = np.bincount(distance.argmin(1), minlength=9)
    assert chisquare(counts, p / p.sum() * 4000).pvalue > 1e-4
    assert p.max() > 2 * p.min()
    drawn = model.sample(params, stats, KEY, 4, draw=True)
    assert set(np.unique(drawn)) <= {0, 1}


def test_the_prior_learns_the_codes_of_the_encoder_that_was_just_updated():
    model, params, stats, x = _model()
    tx = {"autoencoder": SGD, "prior": SGD}
    state = init_state(model, tx, KEY, {"x": x})._replace(params=params, stats=stats)
    after, metrics = jax.jit(make_train_step(model.loss, tx))(state, {"x": x})
    between = {"autoencoder": after.params["autoencoder"], "prior": params["prior"]}
    nats = model.elbo(between, after.stats, {"x": x})["kl"].mean()
    np.testing.assert_allclose(metrics["prior/loss"], nats, rtol=1e-5)
    np.testing.assert_allclose(metrics["prior/bits_per_code"], nats / (4 * np.log(2)), rtol=1e-5)


def test_levels_that_are_embedded_keep_the_order_of_pixels():
    """What is changed at a pixel changes outputs of later ones alone, and the two samplers agree."""
    model = gated_pixel_cnn((3, 3, 2), 3, features=8, layers=2, head_features=8, embedded=5)
    x = np.random.default_rng(0).integers(3, size=(1, 3, 3, 2))
    shapes, _ = jax.eval_shape(model.init, KEY, {"x": x})
    changed = np.repeat(x, 18, 0)
    changed.reshape(18, 18)[np.arange(18), np.arange(18)] += 1
    outputs = jax.jit(lambda params, x: model.apply(params, {}, x).reshape(len(x), 18, 3))
    moved = np.zeros((18, 18), bool)  # [what is changed, what it moves]
    for seed in range(8):  # a unit that is switched off for one of them hides nothing for all
        rng = np.random.default_rng(seed)
        params = jax.tree.map(lambda leaf, rng=rng: jnp.asarray(rng.normal(0, 0.5, leaf.shape), jnp.float32), shapes)
        both = np.asarray(outputs(params, np.concatenate([changed % 3, x])))
        moved |= (both[:18] != both[18:]).any(-1)
    assert not moved[np.tril_indices(18)].any()
    assert moved[np.arange(17), np.arange(1, 18)][np.arange(17) % 6 != 5].all(), "what comes next in its row"
    draw = jax.jit(model.sample, static_argnames=("n", "method"))
    samples = [draw(params, {}, KEY, n=5, method=method) for method in ("cached", "naive")]
    np.testing.assert_array_equal(*samples)
    assert len(np.unique(samples[0])) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"code_size": 1}, "code_size=1"),
        ({"channels": ()}, r"channels=\(\)"),
        ({"channels": (4, 4, 4)}, "an image of 4x4 is too small for 3"),
        ({"commitment": -1.0}, "commitment must not be negative, infinite or NaN, got -1.0"),
        ({"decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
        ({"decay": None, "restart_below": 0.1}, "give decay=0.99"),
        ({"residual_features": 0}, "residual_features=0"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        vq_vae((4, 4, 1), **options)


def test_images_and_codes_that_there_are_not():
    model, params, stats, x = _model()
    grey = x.copy()
    grey[3, 0, 0] = 0.5
    with pytest.raises(ValueError, match="pixels must be integers from 0 to 1"):
        model.encode(params, stats, grey)
    codes = np.asarray(jax.jit(model.encode)(params, stats, grey))
    assert (codes[3] == -1).all() and (np.delete(codes, 3, 0) >= 0).all()
    assert np.flatnonzero(np.isnan(jax.jit(model.log_prob)(params, stats, grey))) == [3]
    with pytest.raises(ValueError, match="codes must be from 0 to 2, got"):
        model.decode(params, stats, codes)
    assert np.flatnonzero(np.isnan(jax.jit(model.decode)(params, stats, codes)).all((1, 2, 3))) == [3]
    with pytest.raises(ValueError, match=r"codes must be integers \['B', 2, 2\], got float32"):
        model.decode(params, stats, np.zeros((1, 2, 2), np.float32))
