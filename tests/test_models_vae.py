"""The VAE: its bound against a model whose likelihood is known, its objectives against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gen_models.distributions import bernoulli_log_prob, normal_kl
from gen_models.models.latent.vae import vae

SHAPE = (3, 3, 1)


def _fitted(seed=0, shape=SHAPE, **options):
    model = vae(shape, latent=2, hidden=(8,), **options)
    x = jax.random.bernoulli(jax.random.key(seed), 0.4, (6, *shape)).astype(jnp.float32)
    params, stats = model.init(jax.random.key(1), {"x": x})
    return model, _varied(params), stats, x


def _varied(params):
    """A decoder that depends on z, and an encoder that stays near the prior, where importance sampling works."""
    return params | {"decoder": jax.tree.map(lambda p: 2.0 * p + 0.1, params["decoder"])}


def _exact(model, params, x):
    """log p(x) by quadrature over the plane of z."""
    line = np.linspace(-6, 6, 241)
    z = jnp.asarray(np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), jnp.float32)
    logits = model.apply(params, {}, z)
    log_prior = -0.5 * (z**2).sum(-1) - jnp.log(2 * jnp.pi)
    log_joint = jax.vmap(lambda x: bernoulli_log_prob(jnp.broadcast_to(x, logits.shape), logits) + log_prior)(x)
    return jax.nn.logsumexp(log_joint, axis=1) + 2 * np.log(line[1] - line[0])


@pytest.mark.slow
@pytest.mark.parametrize("channels", [(), pytest.param((3, 4), marks=pytest.mark.slow)])
def test_bounds_rise_with_particles_to_the_exact_log_likelihood(channels):
    model, params, stats, x = _fitted(channels=channels)
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
    params, _ = model.init(jax.random.key(0), {"x": images})
    params = _varied(params)
    log_p = model.log_prob(params, {}, images, jax.random.key(1), particles=20_000, chunk=2000)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1.0, atol=0.01)


def test_loss_is_the_negative_bound_with_the_kl_weighted():
    model, params, stats, x = _fitted(beta=3.0)
    key = jax.random.key(4)
    loss, (_, metrics) = model.loss(params, stats, {"x": x}, key, step=jnp.int32(0))
    mu, log_sigma = model.encode(params, stats, x)
    z = mu + jnp.exp(log_sigma) * jax.random.normal(key, mu.shape)
    reconstruction = -bernoulli_log_prob(x, model.apply(params, stats, z)).mean()
    kl = normal_kl(mu, log_sigma).mean()
    np.testing.assert_allclose(loss, reconstruction + 3 * kl, rtol=1e-6)
    np.testing.assert_allclose(metrics["elbo"], -(reconstruction + kl), rtol=1e-6)


def test_warm_up_raises_the_kl_weight_in_a_line_and_only_in_training():
    model, params, stats, x = _fitted(warmup_steps=4)

    def weight(step, train=True):
        loss, (_, m) = model.loss(params, stats, {"x": x}, jax.random.key(0), step=jnp.int32(step), train=train)
        return float((loss - m["reconstruction"]) / m["kl"])

    np.testing.assert_allclose([weight(s) for s in (0, 1, 3, 9)], [0.25, 0.5, 1, 1], rtol=1e-4)
    np.testing.assert_allclose(weight(0, train=False), 1, rtol=1e-4)


def test_iwae_objective_is_the_negative_importance_weighted_bound():
    model, params, stats, x = _fitted(particles=5)
    loss = jax.jit(jax.vmap(lambda key: model.loss(params, stats, {"x": x}, key, step=jnp.int32(0))[0]))
    bound = jax.jit(jax.vmap(lambda key: model.log_prob(params, stats, x, key, particles=5).mean()))
    losses = np.asarray(loss(jax.random.split(jax.random.key(0), 200)))
    bounds = np.asarray(bound(jax.random.split(jax.random.key(1), 200)))
    spread = np.std(losses) / np.sqrt(200) + np.std(bounds) / np.sqrt(200)
    assert abs(np.mean(losses) + np.mean(bounds)) < 4 * spread


@pytest.mark.slow
def test_gradient_of_the_reparameterised_bound_matches_finite_differences():
    model, params, stats, x = _fitted(activation=jnp.tanh)

    def loss(scale):
        moved = jax.tree.map(lambda p: p * scale, params)
        return model.loss(moved, stats, {"x": x}, jax.random.key(3), step=jnp.int32(9))[0]

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
        ({"beta": -1.0}, "beta must not be negative, infinite or NaN, got -1.0"),
        ({"particles": 5, "beta": 2.0}, "particles=5"),
        ({"particles": 5, "warmup_steps": 10}, "particles=5"),
        ({"channels": (4, 0)}, r"sizes must be positive, .*channels=\(4, 0\)"),
        ({"shape": (3, 3)}, r"\(height, width, channels\), got shape=\(3, 3\)"),
        (
            {"channels": (4, 4, 4)},
            "an image of 3x3 is too small for 3 convolutions .*give at most 2 channels, .*sides of more than 4 pixels",
        ),
        ({"shape": (8, 1, 1), "channels": (4,)}, "8x1 is too small .*leave channels empty, .*more than 1 pixels"),
    ],
)
def test_bad_values_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        vae(**{"shape": SHAPE, **options})


def test_widths_that_are_one_number_are_named(unchecked):
    with pytest.raises(ValueError, match=r"hidden must be a sequence of sizes, such as \(500,\), got hidden=500"):
        vae(SHAPE, hidden=500)


def test_a_batch_of_another_shape_is_refused():
    model = vae(SHAPE)
    with pytest.raises(ValueError, match=r"built for images of shape \(3, 3, 1\), but the batch is \(1, 4, 4, 1\)"):
        model.init(jax.random.key(0), {"x": np.zeros((1, 4, 4, 1), np.float32)})


class _LinenEncoder(nn.Module):
    """What the convolutional encoder is to be, in Flax's own layers under the same names."""

    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for features in self.channels:
            x = nn.tanh(nn.Conv(features, (4, 4), 2)(x))
        h = nn.tanh(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(2, name="mu")(h), nn.Dense(2, name="log_sigma")(h)


class _LinenDecoder(nn.Module):
    """And the decoder: maps of twice the size, the last row and column of which are cut off where it was odd."""

    maps: tuple[tuple[int, int, int], ...]  # from the smallest to the image

    @nn.compact
    def __call__(self, z):
        h = nn.tanh(nn.Dense(8)(z))
        h = nn.Dense(int(np.prod(self.maps[0])))(h).reshape(-1, *self.maps[0])
        for height, width, features in self.maps[1:]:
            h = nn.ConvTranspose(features, (4, 4), (2, 2))(nn.tanh(h))[:, :height, :width]
        return h


@pytest.mark.parametrize(
    ("shape", "channels", "maps"),
    [
        ((28, 28, 1), (3, 4), ((7, 7, 4), (14, 14, 3))),
        ((7, 5, 3), (4, 3, 5), ((1, 1, 5), (2, 2, 3), (4, 3, 4))),
    ],
)
@pytest.mark.slow
def test_convolutions_are_those_of_flax_for_even_and_odd_sides_and_colours(shape, channels, maps):
    model, params, stats, x = _fitted(shape=shape, channels=channels, activation=jnp.tanh)
    params = jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(p.size), p.shape), params)  # biases too
    z = jax.random.normal(jax.random.key(3), (6, 2))
    encoder, decoder = _LinenEncoder(channels), _LinenDecoder((*maps, shape))
    for name, network, argument in (("encoder", encoder, x), ("decoder", decoder, z)):
        like = jax.eval_shape(network.init, jax.random.key(0), argument)["params"]
        assert jax.tree.map(jnp.shape, like) == jax.tree.map(jnp.shape, params[name])

    @jax.jit  # of the gradients, `test_nn_conv` says the same
    def both(params, x, z):
        flaxs = *encoder.apply({"params": params["encoder"]}, x), decoder.apply({"params": params["decoder"]}, z)
        return (*model.encode(params, stats, x), model.apply(params, stats, z)), flaxs

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *both(params, x, z))


def _maps_alone(shape, channels, smallest):
    """Encoder and decoder of a model whose mu, and whose z, is the smallest map: its dense layers change nothing."""
    size = int(np.prod(smallest))
    model = vae(shape, latent=size, hidden=(), channels=channels, activation=jnp.tanh)
    params, _ = model.init(jax.random.key(0), {"x": np.zeros((1, *shape), np.float32)})
    params["encoder"]["mu"]["kernel"] = params["decoder"]["Dense_0"]["kernel"] = jnp.eye(size)
    return (
        lambda x: model.encode(params, {}, x)[0].reshape(len(x), *smallest),
        lambda h: model.apply(params, {}, h.reshape(len(h), -1)),
    )


@pytest.mark.slow_cases("1")
@pytest.mark.parametrize("axis", [1, 2])
def test_a_shift_of_the_image_by_all_strides_shifts_the_smallest_map_by_one(axis):
    """And the other way in the decoder; what lies within reach of the border is left zero."""
    encode, decode = _maps_alone((32, 32, 2), (3, 4), (8, 8, 4))
    x = np.zeros((2, 32, 32, 2), np.float32)
    x[:, 10:18, 10:18] = np.random.default_rng(0).uniform(size=(2, 8, 8, 2))
    h = np.zeros((2, 8, 8, 4), np.float32)
    h[:, 3:5, 3:5] = np.random.default_rng(1).normal(size=(2, 2, 2, 4))
    np.testing.assert_allclose(encode(np.roll(x, 4, axis)), jnp.roll(encode(x), 1, axis), atol=1e-6)
    np.testing.assert_allclose(decode(np.roll(h, 1, axis)), jnp.roll(decode(h), 4, axis), atol=1e-6)
    assert abs(encode(np.roll(x, 2, axis)) - jnp.roll(encode(x), 1, axis)).max() > 0.01


@pytest.mark.slow
def test_each_feature_makes_the_pixels_that_it_saw_and_no_others():
    """After two strides, feature j of a line sees pixels 4 j - 3 to 4 j + 6, where those exist; odd and even lines."""
    shape = (27, 26, 1)  # 14 x 13, 7 x 7
    encode, decode = _maps_alone(shape, (2, 3), (7, 7, 3))
    # Biases are 0, so that what an image with a single pixel does not reach is exactly 0.
    seen = encode(np.eye(27 * 26, dtype=np.float32).reshape(-1, *shape)).any(-1).reshape(27, 26, 7, 7)
    made = decode(np.repeat(np.eye(49, dtype=np.float32), 3, 1).reshape(-1, 7, 7, 3)).any(-1).reshape(7, 7, 27, 26)
    rows, columns = (
        np.array([[4 * j - 3 <= i <= 4 * j + 6 for j in range(7)] for i in range(side)]) for side in shape[:2]
    )
    np.testing.assert_array_equal(seen, rows[:, None, :, None] & columns[None, :, None, :])
    np.testing.assert_array_equal(made.transpose(2, 3, 0, 1), seen)


@pytest.mark.slow
def test_the_importance_weighted_gradient_reaches_each_output_of_each_layer():
    """Whose convolutions run under a `vmap` over the particles."""
    model, params, stats, x = _fitted(shape=(7, 5, 3), channels=(4, 3), activation=jnp.tanh, particles=3)
    loss = lambda p: model.loss(p, stats, {"x": x}, jax.random.key(3), step=jnp.int32(0))[0]  # noqa: E731
    grads = jax.jit(jax.grad(loss))(params)
    for path, g in jax.tree.leaves_with_path(grads):
        assert g.dtype == jnp.float32 and jnp.isfinite(g).all(), path
        assert (jnp.abs(g).reshape(-1, g.shape[-1]).max(0) > 0).all(), path
