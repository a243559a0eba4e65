"""The small convolutional GAN of stacked MNIST: its sizes, and its networks against SciPy's correlations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from gen_models.models.adversarial.tiny_dcgan import tiny_dcgan
from gen_models.nn.gradient_penalties import r1

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
SHAPE = (6, 6, 2)
MODEL = tiny_dcgan(SHAPE, latent=3, generator_features=(2, 3), discriminator_features=(2, 3), packing=2)
BATCH = {"x": RNG.uniform(size=(4, *SHAPE)).astype(np.float32)}


@pytest.fixture(scope="module")
def variables():
    shapes = jax.eval_shape(MODEL.init, KEY, BATCH)
    params = jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape), jnp.float32), shapes[0])
    return params, jax.tree.map(lambda x: jnp.asarray(RNG.uniform(0.2, 1.5, size=x.shape), jnp.float32), shapes[1])


def _norm(h, params, stats):
    return (h - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * params["scale"] + params["bias"]


def _conv(h, layer):
    """Of stride 1, each output the sum of the correlations of all channels."""
    kernel = layer["kernel"]
    made = [
        [
            sum(correlate2d(image[..., i], kernel[..., i, o], "same") for i in range(kernel.shape[2]))
            for o in range(kernel.shape[3])
        ]
        for image in h
    ]
    return np.moveaxis(np.asarray(made), 1, -1) + layer["bias"]


def test_the_sizes_are_those_of_the_published_code():
    """Counted from its layers: of batch norm two for each channel, of all others kernels and biases."""
    for packing in (1, 4):
        model = tiny_dcgan(packing=packing)
        params, stats = jax.eval_shape(model.init, KEY, {"x": jnp.zeros((packing, 28, 28, 3))})
        count = {name: sum(x.size for x in jax.tree.leaves(tree)) for name, tree in params.items()}
        maps = [9 * i * o + o for i, o in ((64, 32), (32, 16), (16, 8), (8, 3))]
        assert count["generator"] == 257 * 4 * 4 * 64 + sum(maps) + 2 * (64 + 32 + 16 + 8)
        maps = [9 * i * o + o for i, o in ((3 * packing, 2), (2, 4), (4, 8))]
        assert count["discriminator"] == sum(maps) + 2 * (2 + 4 + 8) + 4 * 4 * 8 + 1
        assert set(stats) == {"generator", "discriminator"}


def test_the_discriminator_is_scipys(variables):
    """Of packs of two images, whose channels stand side by side; stride 2 begins at an even side's second pixel."""
    params, stats = jax.tree.map(np.float64, variables)
    own, seen = params["discriminator"], stats["discriminator"]
    h = np.concatenate([2 * BATCH["x"][0::2] - 1, 2 * BATCH["x"][1::2] - 1], -1)
    for i in range(2):
        h = _conv(h, own[f"Conv_{i}"])
        first = 1 if h.shape[1] % 2 == 0 else 0  # "SAME" pads one pixel at the end of 6, and one at each end of 3
        h = _norm(h[:, first::2, first::2], own[f"BatchNorm_{i}"], seen[f"BatchNorm_{i}"])
        h = np.where(h > 0, h, 0.3 * h)
    logits = h.reshape(2, -1) @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"]
    np.testing.assert_allclose(MODEL.apply(*variables, BATCH["x"]), logits[:, 0], rtol=1e-4, atol=1e-4)


def test_the_generator_is_scipys(variables):
    """A transposed convolution is the gradient of a strided one: pixels spread apart, then a correlation."""
    params, stats = jax.tree.map(np.float64, variables)
    own, seen = params["generator"], stats["generator"]
    z = RNG.normal(size=(5, 3)).astype(np.float32)
    h = (z @ own["Dense_0"]["kernel"] + own["Dense_0"]["bias"]).reshape(5, 3, 3, 3)
    h = np.maximum(_norm(h, own["BatchNorm_0"], seen["BatchNorm_0"]), 0)
    apart = np.zeros((5, 6, 6, 3))
    apart[:, 1::2, 1::2] = h  # where the strided convolution has its centres
    h = np.maximum(_norm(_conv(apart, own["ConvTranspose_0"]), own["BatchNorm_1"], seen["BatchNorm_1"]), 0)
    x = np.tanh(_conv(h, own["Conv_0"]))
    np.testing.assert_allclose(MODEL.decode(*variables, z), (x + 1) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"latent": 0}, "latent=0"),
        ({"generator_features": ()}, "generator_features must be one or more channels"),
        ({"discriminator_features": (1,) * 6}, "28x28 is too small for 6 convolutions of stride 2"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"penalty": r1()}, "batch norm in this discriminator makes logits depend on the whole batch"),
    ],
)
def test_impossible_arguments_are_refused(keywords, message):
    with pytest.raises(ValueError, match=message):
        tiny_dcgan(**keywords)
