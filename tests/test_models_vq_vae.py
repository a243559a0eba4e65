"""The VQ-VAE: its gradient term by term, its bound against an enumeration of all codes, and its prior's samples."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.latent.vq_vae import _Decoder, _Encoder, vq_vae
from gen_models.nn import codebook, likelihoods

KEY, CALL = jax.random.key(0), {"step": jnp.array(0)}
SHAPE = (2, 4, 1)  # a grid of 1 x 2, so that nine grids of codes are all there are; and 256 images
SMALL = {"channels": (3,), "residual_blocks": 1, "residual_features": 4, "code_size": 3, "code_features": 2}
PRIOR = {"prior_features": 4, "prior_layers": 2, "prior_embedded": 3}
GRIDS = np.array(list(itertools.product(range(3), repeat=2)), np.int32).reshape(9, 1, 2)
IMAGES = np.array(list(itertools.product((0, 1), repeat=8)), np.float32).reshape(256, *SHAPE)
BERNOULLI = likelihoods.bernoulli()


@functools.cache
def _model(**options):
    """A tiny model of binary images, with parameters away from where they start, so that each shows."""
    model = vq_vae(SHAPE, likelihood=BERNOULLI, **SMALL | PRIOR | options)
    shapes = jax.eval_shape(model.init, KEY, {"x": IMAGES})
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.7, leaf.shape).astype(np.float32), shapes[0])
    z = _outputs_of(params, IMAGES)
    book = np.stack([z.min((0, 1, 2)), z.mean((0, 1, 2)), z.max((0, 1, 2))])  # so that all are used
    if not shapes[1]:
        return model, params | {"autoencoder": params["autoencoder"] | {"codebook": book}}, {}
    return model, params, jax.tree.map(np.asarray, codebook.initial(book))


@jax.jit
def _outputs_of(params, x):
    encoder = _Encoder(outputs=2, blocks=1, features=4, channels=(3,), dtype=None)
    return encoder.apply({"params": params["autoencoder"]["encoder"]}, x)


@functools.cache
def _found():
    """All that a model says of all images and of all grids, compiled once."""
    model, params, stats = _model(decay=0.6)
    prior = gated_pixel_cnn((1, 2, 1), 3, features=4, layers=2, head_features=4, embedded=3)

    @jax.jit
    def everything(params, stats, x, grids):
        autoencoder, of_prior = (loss(params, stats, {"x": x}, KEY, **CALL) for loss in model.loss.values())
        unmoved = model.loss["autoencoder"](params, stats, {"x": x}, KEY, train=False, **CALL)[1][0]
        return {
            "loss": autoencoder[0],
            "metrics": autoencoder[1][1],
            "stats": autoencoder[1][0],
            "unmoved": unmoved,
            "prior loss": of_prior[0],
            "bits": of_prior[1][1]["bits_per_code"],
            "codes": model.encode(params, stats, x),
            "bound": model.log_prob(params, stats, x),
            "terms": model.elbo(params, stats, {"x": x}),
            "outputs": model.apply(params, stats, grids),
            "pictures": model.decode(params, stats, grids),
            "log prior": prior.log_prob(params["prior"], {}, grids[..., None]),
        }

    return jax.tree.map(np.asarray, everything(params, stats, IMAGES, GRIDS))


@pytest.mark.slow
def test_the_gradient_is_that_of_equation_3_term_by_term():
    """Decoder: -log p at z_q. Encoder: the same gradient at z_q, and beta |z - e|^2. Codebook: |z - e|^2."""
    model, params, _ = _model(decay=None, commitment=0.7)
    own, decoder = params["autoencoder"], _Decoder(shape=SHAPE, blocks=1, features=4, channels=(3,), dtype=None)

    @jax.jit
    def by_hand(own):
        z, to_encoder = jax.vjp(lambda p: _outputs_of({"autoencoder": {"encoder": p}}, IMAGES), own["encoder"])
        codes = codebook.nearest(z, own["codebook"])
        e = own["codebook"][codes]

        def reconstruction(decoder_params, e):
            return -BERNOULLI.log_prob({}, decoder.apply({"params": decoder_params}, e), IMAGES).mean()

        nats, (of_decoder, of_e) = jax.value_and_grad(reconstruction, argnums=(0, 1))(own["decoder"], e)
        apart = (z - e) / len(IMAGES)  # half of the gradient of |z - e|^2, the mean over the batch
        (of_encoder,) = to_encoder(of_e + 0.7 * 2 * apart)
        of_book = jnp.zeros_like(own["codebook"]).at[codes].add(-2 * apart)
        value = nats + 1.7 * ((z - e) ** 2).sum() / len(IMAGES)
        return value, {"encoder": of_encoder, "decoder": of_decoder, "codebook": of_book}, codes

    loss = model.loss["autoencoder"]
    call = jax.jit(jax.value_and_grad(lambda params: loss(params, {}, {"x": IMAGES}, KEY, **CALL)[0]))
    value, gradient = call(params)
    expected, by_part, codes = by_hand(own)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    for path, leaf in jax.tree.leaves_with_path(by_part):
        found = functools.reduce(lambda tree, key: tree[key.key], path, gradient["autoencoder"])
        np.testing.assert_allclose(found, leaf, rtol=1e-3, atol=1e-4 * np.abs(leaf).max(), err_msg=str(path))
        assert np.abs(leaf).max() > 1e-3
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient["prior"]))
    assert len(np.unique(codes)) == 3


@pytest.mark.slow
def test_the_step_moves_a_codebook_of_running_means():
    (_, params, stats), found = _model(decay=0.6), _found()
    z = _outputs_of(params, IMAGES)
    expected = codebook.moved(stats, found["codes"], z, 0.6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), found["stats"], expected)
    jax.tree.map(np.testing.assert_array_equal, found["unmoved"], stats)
    np.testing.assert_allclose(found["metrics"]["perplexity"], 3, rtol=1e-5)  # as it was before the step: all alike
    distance = ((z - np.asarray(codebook.entries(stats))[found["codes"]]) ** 2).sum((1, 2, 3)).mean()
    np.testing.assert_allclose(found["metrics"]["commitment"], distance, rtol=1e-4)
    np.testing.assert_allclose(found["loss"], found["terms"]["reconstruction"].mean() + distance / 4, rtol=1e-4)


def test_the_bound_is_below_the_likelihood_that_all_codes_make():
    found = _found()
    logits = np.float64(found["outputs"])[:, None]  # [9, 1, 2, 4, 1]
    of_pixel = -np.logaddexp(0, np.where(IMAGES == 1, -logits, logits))  # log p(x_i | z)
    log_p, log_prior = of_pixel.sum((2, 3, 4)), np.float64(found["log prior"])
    exact = np.log(np.exp(log_p + log_prior[:, None]).sum(0))
    np.testing.assert_allclose(np.exp(log_prior).sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(np.exp(exact).sum(), 1, rtol=1e-5)
    assert (found["bound"] < exact).all()
    mine = found["codes"].reshape(256, 2) @ [3, 1]  # which of the nine grids
    assert len(np.unique(mine)) > 4
    np.testing.assert_allclose(found["terms"]["reconstruction"], -log_p[mine, np.arange(256)], rtol=1e-4)
    np.testing.assert_allclose(found["terms"]["kl"], -log_prior[mine], rtol=1e-4)
    np.testing.assert_allclose(found["bound"], (log_p + log_prior[:, None])[mine, np.arange(256)], rtol=1e-4)
    np.testing.assert_allclose(found["prior loss"], found["terms"]["kl"].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["bits"], found["prior loss"] / (2 * np.log(2)), rtol=1e-5)


def test_samples_are_codes_of_the_prior_decoded():
    (model, params, stats), found = _model(decay=0.6), _found()
    samples = jax.jit(model.sample, static_argnums=3)(params, stats, KEY, 4000)
    pictures = found["pictures"].reshape(9, -1)
    distance = np.abs(np.asarray(samples).reshape(4000, 1, -1) - pictures).max(-1)
    assert distance.min(1).max() < 1e-5
    p = np.exp(np.float64(found["log prior"]))
    counts = np.bincount(distance.argmin(1), minlength=9)
    assert chisquare(counts, p / p.sum() * 4000).pvalue > 1e-4
    assert p.max() > 2 * p.min()


@pytest.mark.slow
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
        # Compared row by row of two batches, as how a product is rounded may depend on its row.
        moved |= np.asarray(outputs(params, changed % 3) != outputs(params, np.repeat(x, 18, 0))).any(-1)
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
    model, params, stats = _model(decay=0.6)
    grey = IMAGES[:4].copy()
    grey[3, 0, 0] = 0.5
    with pytest.raises(ValueError, match="pixels must be integers from 0 to 1"):
        model.encode(params, stats, grey)
    everything = jax.jit(lambda x, codes: (model.encode(params, stats, x), model.decode(params, stats, codes)))
    codes, pictures = everything(grey, GRIDS[:4] - np.array([0, 0, 0, 1]).reshape(4, 1, 1))
    assert (codes[3] == -1).all() and (codes[:3] >= 0).all()
    assert np.isnan(pictures[3]).all() and np.isfinite(pictures[:3]).all()
    with pytest.raises(ValueError, match="codes must be from 0 to 2, got -1"):
        model.decode(params, stats, codes)
    with pytest.raises(ValueError, match=r"codes must be integers \['B', 1, 2\], got float32"):
        model.decode(params, stats, np.zeros((1, 1, 2), np.float32))
