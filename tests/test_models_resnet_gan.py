"""GANs of residual blocks: the published sizes, both networks against XLA's convolutions, conditional batch norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gen_models.models.adversarial.resnet_gan import ConditionalBatchNorm, resnet_gan
from gen_models.nn.adversarial_losses import wasserstein
from gen_models.nn.gradient_penalties import wasserstein_penalty
from gen_models.nn.normalised_weights import COLLECTION

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
BATCH = {"x": RNG.uniform(size=(4, 8, 8, 1)).astype(np.float32), "y": np.array([0, 1, 2, 1], np.int32)}
SMALL = {
    "shape": (8, 8, 1),
    "latent": 3,
    "generator_features": 2,
    "discriminator_features": 3,
    "halvings": 2,
    "blocks": 1,
}


def _sizes(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("shape", "first", "doublings"), [((32, 32, 3), 16, 3), ((28, 28, 1), 49, 2)])
@pytest.mark.parametrize("wide", [256, 128])
def test_the_networks_are_those_of_the_papers(shape, first, doublings, wide):
    """Counted from table 4 of Miyato et al. (2018), and appendix C of Gulrajani et al. (2017), layer by layer."""
    model = resnet_gan(shape, generator_features=wide)
    params, stats = jax.eval_shape(model.init, KEY, {"x": jnp.zeros((2, *shape))})

    def conv(window, inputs, outputs):
        return window**2 * inputs * outputs + outputs

    colours = shape[-1]
    up = conv(1, wide, wide) + 2 * conv(3, wide, wide) + 2 * 2 * wide
    generator = 129 * first * wide + doublings * up + 2 * wide + conv(3, wide, colours)
    assert _sizes(params["generator"]) == generator
    first_block = conv(3, colours, 128) + conv(3, 128, 128) + conv(1, colours, 128)
    block = 2 * conv(3, 128, 128)
    assert _sizes(params["discriminator"]) == first_block + 3 * block + conv(1, 128, 128) + 128
    assert _sizes(stats[COLLECTION]) == 10 * 128 + 1  # a vector for each kernel
    assert jax.eval_shape(lambda p, s: model.sample(p, s, KEY, 5), params, stats).shape == (5, *shape)


def _conv(x, layer):
    order = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=order) + layer["bias"]


def _halved(h):
    return lax.reduce_window(h, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4


def _moved(params):
    return jax.tree.map(lambda p: p + 0.1 * jnp.asarray(RNG.normal(size=p.shape), jnp.float32), params)


@pytest.mark.slow
def test_the_critic_is_that_of_xlas_convolutions():
    """Gulrajani et al. (2017): the first block begins with a convolution, two halve, one more, ReLU, means, linear."""
    model = resnet_gan(**SMALL, sums=False, weights="plain", loss=wasserstein(), penalty=wasserstein_penalty())
    params, stats = jax.jit(model.init)(KEY, BATCH)
    params = _moved(params)
    own = params["discriminator"]
    layers = iter([own[f"Conv_{i}"] for i in range(8)])
    x = jnp.asarray(2 * BATCH["x"] - 1)
    inner = _halved(_conv(jax.nn.relu(_conv(x, next(layers))), next(layers)))
    h = inner + _conv(_halved(x), next(layers))
    inner = _conv(jax.nn.relu(_conv(jax.nn.relu(h), next(layers))), next(layers))
    h = _halved(inner) + _halved(_conv(h, next(layers)))
    h = h + _conv(jax.nn.relu(_conv(jax.nn.relu(h), next(layers))), next(layers))
    features = jax.nn.relu(h).mean((1, 2))
    np.testing.assert_allclose(model.encode(params, stats, BATCH["x"]), features, rtol=1e-4, atol=1e-5)
    logits = features @ own["Dense_0"]["kernel"][:, 0]
    np.testing.assert_allclose(model.apply(params, stats, BATCH["x"]), logits, rtol=1e-4, atol=1e-5)
    summed = resnet_gan(**SMALL, weights="plain").apply(params, stats, BATCH["x"])
    np.testing.assert_allclose(summed, 4 * logits, rtol=1e-4, atol=1e-5)  # over a map of 2x2


@pytest.mark.slow
def test_the_generator_is_that_of_xlas_convolutions():
    model = resnet_gan(**SMALL)
    params, stats = jax.jit(model.init)(KEY, BATCH)
    own = _moved(params["generator"])
    stats = jax.tree.map(lambda s: jnp.asarray(RNG.uniform(0.5, 1.5, s.shape), jnp.float32), stats)

    def norm(i, h):
        its, running = (tree[f"ConditionalBatchNorm_{i}"]["BatchNorm_0"] for tree in (own, stats["generator"]))
        return (h - running["mean"]) / jnp.sqrt(running["var"] + 1e-5) * its["scale"] + its["bias"]

    def doubled(h):
        return jnp.stack([jnp.stack([h, h], 3), jnp.stack([h, h], 3)], 2).reshape(2, 8, 8, 2)

    z = jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32)
    h = (z @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"]).reshape(2, 4, 4, 2)
    inner = _conv(doubled(jax.nn.relu(norm(0, h))), own["Conv_1"])
    h = _conv(doubled(h), own["Conv_0"]) + _conv(jax.nn.relu(norm(1, inner)), own["Conv_2"])
    expected = (jnp.tanh(_conv(jax.nn.relu(norm(2, h)), own["Conv_3"])) + 1) / 2
    found = model.decode(params | {"generator": own}, stats, z)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_norm_has_a_scale_and_a_bias_for_each_class():
    layer = ConditionalBatchNorm(momentum=0.9)
    h = jnp.asarray(RNG.normal(3, 2, size=(6, 2, 2, 3)), jnp.float32)
    label = jax.nn.one_hot(np.array([0, 1, 1, 0, 2, 2]), 3)
    variables = layer.init(KEY, h, label, False)
    y, _ = layer.apply(variables, h, label, True, mutable=["batch_stats"])
    normalised = (h - h.mean((0, 1, 2))) / np.sqrt(h.var((0, 1, 2)) + 1e-5)
    np.testing.assert_allclose(y, normalised, atol=1e-4)  # at first no class differs
    params = _moved(variables["params"])
    y, _ = layer.apply({**variables, "params": params}, h, label, True, mutable=["batch_stats"])
    for i, c in enumerate([0, 1, 1, 0, 2, 2]):
        scale, bias = (params[f"Dense_{j}"]["kernel"][c] for j in range(2))
        np.testing.assert_allclose(y[i], normalised[i] * scale + bias, atol=1e-4)


@pytest.mark.slow
def test_classes_reach_both_networks():
    model = resnet_gan(**SMALL, classes=3)
    params, stats = jax.jit(model.init)(KEY, BATCH)
    params = _moved(params)
    z = np.ones((2, 3), np.float32)
    first, second = model.decode(params, stats, z, np.array([0, 1]))
    assert np.abs(first - second).max() > 1e-3
    one, other = model.apply(params, stats, np.repeat(BATCH["x"][:1], 2, 0), np.array([0, 1]))
    assert abs(one - other) > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (30, 30, 1)}, "30x30 cannot be halved 2 times without a rest: give fewer doublings"),
        ({"halvings": 4}, "cannot be halved 4 times without a rest: give fewer halvings"),
        ({"blocks": -1}, "blocks must be a whole number"),
        ({"weights": "spectra"}, "did you mean 'spectral'"),
        ({"classes": 2, "condition": "none"}, "unknown condition 'none'"),
        ({"momentum": 1.0}, "momentum must be in"),
        ({"latent": 0}, "latent=0"),
    ],
)
def test_impossible_arguments_are_refused(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        resnet_gan(**{**SMALL, **options})
