"""Normalised weights: singular values by NumPy, outputs at initialisation, and plain layers in Linen's own bits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from gen_models.nn import conv
from gen_models.nn.normalised_weights import COLLECTION, Conv, Dense, check_weights, power_iteration

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
X = jnp.asarray(RNG.normal(2, 3, size=(64, 5)), jnp.float32)
IMAGES = jnp.asarray(RNG.normal(1, 2, size=(8, 6, 6, 3)), jnp.float32)
LAYERS = {"dense": (lambda **o: Dense(4, **o), X), "conv": (lambda **o: Conv(4, (3, 3), strides=2, **o), IMAGES)}


@pytest.mark.parametrize("name", LAYERS)
def test_power_iteration_finds_the_largest_singular_value_in_training_alone(name):
    """Miyato et al. (2018), algorithm 1: against NumPy's SVD of the kernel as [all else, outputs]."""
    make, x = LAYERS[name]
    layer, plain = make(weights="spectral"), make()
    variables = layer.init(KEY, x)
    kernel = variables["params"]["kernel"]
    train = jax.jit(lambda v: layer.apply(v, x, True, mutable=[COLLECTION]))
    first, vectors = train(variables), variables[COLLECTION]["u"]
    for _ in range(100):
        _, moved = train(variables)
        variables = {**variables, **moved}
    singular = np.linalg.svd(np.asarray(kernel).reshape(-1, 4))[1]
    by_plain = plain.apply({"params": {**variables["params"], "kernel": kernel / singular[0]}}, x)
    np.testing.assert_allclose(layer.apply(variables, x), by_plain, rtol=1e-4, atol=1e-5)
    # one step a call: what the first call moved is one step from the first vector, and not more
    sigma, once = power_iteration(kernel.reshape(-1, 4), vectors)
    np.testing.assert_allclose(first[1][COLLECTION]["u"], once, rtol=1e-5, atol=1e-6)
    assert sigma <= singular[0] * (1 + 1e-6) and np.abs(once - variables[COLLECTION]["u"]).max() > 1e-3
    evaluated, kept = layer.apply(variables, x, False, mutable=[COLLECTION])
    np.testing.assert_array_equal(kept[COLLECTION]["u"], variables[COLLECTION]["u"])
    np.testing.assert_array_equal(evaluated, layer.apply(variables, x))  # and needs no mutable collection


def test_the_gradient_of_a_normalised_weight():
    """Miyato et al. (2018), eq. 12, at the true vectors: (g - <g, W / sigma> v u^T) / sigma, with g by W / sigma."""
    layer = Dense(4, weights="spectral", use_bias=False)
    variables = layer.init(KEY, X)
    w = np.asarray(variables["params"]["kernel"], np.float64)
    left, singular, right = np.linalg.svd(w, full_matrices=False)
    vectors = {COLLECTION: {"u": jnp.asarray(right[0], jnp.float32)}}
    pull = RNG.normal(size=(64, 4))

    def value(params):
        return (layer.apply({"params": params, **vectors}, X) * pull).sum()

    plain = np.float64(X).T @ pull
    expected = (plain - (plain * w / singular[0]).sum() * np.outer(left[:, 0], right[0])) / singular[0]
    np.testing.assert_allclose(jax.grad(value)(variables["params"])["kernel"], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow_cases("conv", "dense")
@pytest.mark.parametrize("name", LAYERS)
def test_weight_normalisation_starts_from_the_first_batch(name):
    """Salimans & Kingma (2016), section 3: mean 0 and variance 1 over it; then the scale alone is a kernel's norm."""
    make, x = LAYERS[name]
    layer = make(weights="weight")
    variables = jax.jit(layer.init)(KEY, x)
    y = layer.apply(variables, x).reshape(-1, 4)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(y.std(0), 1, atol=1e-4)
    params = variables["params"]
    np.testing.assert_allclose(layer.init(KEY, x)["params"]["scale"], params["scale"], rtol=1e-5)
    longer = {**params, "kernel": 3 * params["kernel"]}
    np.testing.assert_allclose(layer.apply({"params": longer}, x).reshape(-1, 4), y, rtol=1e-4, atol=1e-4)
    norm = np.sqrt(np.square(params["kernel"]).sum(tuple(range(params["kernel"].ndim - 1))))
    same = {"kernel": params["kernel"] / norm * params["scale"], "bias": params["bias"]}
    np.testing.assert_allclose(make().apply({"params": same}, x).reshape(-1, 4), y, rtol=1e-4, atol=1e-4)
    gradient = jax.grad(lambda p: (layer.apply({"params": p}, x) ** 3).sum())(params)
    of_norm = (gradient["kernel"] * params["kernel"]).reshape(-1, 4).sum(0)
    assert (np.abs(of_norm) < 1e-3 * np.abs(gradient["scale"])).all()  # eq. 4: orthogonal to v
    nothing = layer.init(KEY, jnp.zeros_like(x))  # as where a state is made without data
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(nothing))


def test_plain_layers_are_linens_and_ours_bit_for_bit():
    for ours, theirs, x in ((Dense(4), nn.Dense(4), X), (Conv(4, (3, 3)), conv.Conv(4, (3, 3)), IMAGES)):
        variables = theirs.init(KEY, x)
        jax.tree.map(np.testing.assert_array_equal, ours.init(KEY, x), variables)
        np.testing.assert_array_equal(ours.apply(variables, x), theirs.apply(variables, x))


@pytest.mark.slow_cases("conv")
@pytest.mark.parametrize("name", LAYERS)
def test_a_kernel_of_zeros_is_trained_as_any_other(name):
    """Its gradient is a plain layer's, and its vector stays, by which the kernel is normalised after the step."""
    make, x = LAYERS[name]
    layer, plain = (make(weights=weights, kernel_init=nn.initializers.zeros) for weights in ("spectral", "plain"))
    variables = layer.init(KEY, x)

    def value(params, layer):
        y, moved = layer.apply({**variables, "params": params}, x, True, mutable=[COLLECTION])
        return jnp.sin(y + jnp.arange(y.size).reshape(y.shape)).sum(), (y, moved)

    gradient, (y, moved) = jax.grad(value, has_aux=True)(variables["params"], layer)
    assert not y.any()
    np.testing.assert_array_equal(moved[COLLECTION]["u"], variables[COLLECTION]["u"])
    expected, _ = jax.grad(value, has_aux=True)(variables["params"], plain)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), gradient, expected)
    stepped = {"params": jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradient), **moved}
    for _ in range(100):
        _, moved = layer.apply(stepped, x, True, mutable=[COLLECTION])
        stepped = {**stepped, **moved}
    sigma, _ = power_iteration(stepped["params"]["kernel"].reshape(-1, 4), stepped[COLLECTION]["u"])
    true = np.linalg.svd(np.asarray(stepped["params"]["kernel"]).reshape(-1, 4))[1][0]
    np.testing.assert_allclose(sigma, true, rtol=1e-4)


def test_seeds_in_a_vmap():
    layer = Dense(4, weights="spectral")
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(lambda key: layer.apply(layer.init(key, X), X))(keys)
    np.testing.assert_allclose(together[1], layer.apply(layer.init(keys[1], X), X), rtol=1e-5, atol=1e-5)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="unknown normalisation of weights 'spectrum': did you mean 'spectral'"):
        check_weights("spectrum")
