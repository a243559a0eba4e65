"""NADE against its equations, one variable after another in NumPy, and its gradient against theirs by autodiff."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models_fvsbn import (
    BINARY,
    TWO_CHANNELS,
    all_images,
    assert_cached_logits_are_those_of_the_whole,
    assert_outputs_see_what_is_before,
    assert_probabilities_sum_to_one,
    assert_samples_are_the_naive_ones,
    assert_samples_have_the_models_probabilities,
    varied,
)

from gen_models.models.autoregressive import nade as module
from gen_models.models.autoregressive.nade import nade, nade_products


def _order(shape, seed):
    """Read off the model: the more variables an output depends on, the later it is."""
    model, size = nade(shape, hidden=5, order_seed=seed), int(np.prod(shape))
    params, x = varied(model, shape), jnp.zeros((1, *shape))
    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(params, {}, x)))(x).reshape(size, size)
    return np.argsort((np.asarray(jacobian) != 0).sum(1))


@pytest.mark.slow_cases("shape0-None")
@pytest.mark.parametrize(("shape", "seed"), [(BINARY, None), (TWO_CHANNELS, 0)])
def test_it_is_autoregressive_and_normalised(shape, seed, monkeypatch):
    model, size = nade(shape, hidden=5, order_seed=seed), int(np.prod(shape))
    params, order = varied(model, shape), _order(shape, seed)
    assert np.array_equal(order, np.arange(size)) == (seed is None) and set(order) == set(range(size))
    assert_outputs_see_what_is_before(model, params, shape, [order])
    assert_probabilities_sum_to_one(model, params, shape)
    assert_cached_logits_are_those_of_the_whole(
        monkeypatch, module, lambda: nade(shape, hidden=5, order_seed=seed), shape
    )
    assert_samples_are_the_naive_ones(model, params, shape)


def test_samples_have_the_models_probabilities():
    shape = (2, 2, 1)
    model = nade(shape, hidden=3, order_seed=2)
    assert_samples_have_the_models_probabilities(model, varied(model, shape), shape)


@pytest.mark.parametrize("seed", [None, 3])
def test_likelihood_is_that_of_the_equations_one_variable_after_another(seed):
    model = nade(BINARY, hidden=5, order_seed=seed)
    params, order = varied(model, BINARY), _order(BINARY, seed)
    w, v, b, c = (np.float64(params[name]) for name in ("W", "V", "b", "c"))
    images = all_images(BINARY)[::7]
    want = []
    for x in np.float64(images.reshape(-1, 9)):
        log_p, a = 0.0, c
        for place, d in enumerate(order):
            h = 1 / (1 + np.exp(-a))
            p = 1 / (1 + np.exp(-(b[place] + v[place] @ h)))
            log_p += np.log(p if x[d] else 1 - p)
            a = a + w[place] * x[d]
        want.append(log_p)
    np.testing.assert_allclose(jax.jit(model.log_prob)(params, {}, images), want, rtol=1e-5)


def _naive(x, w, v, c, activation):
    """Every variable's sums anew."""
    before = jnp.tril(jnp.ones((x.shape[1], x.shape[1])), -1)
    return (activation(c + jnp.einsum("de,be,eh->bdh", before, x, w)) * v).sum(-1)


@pytest.mark.parametrize("activation", [jax.nn.sigmoid, jnp.sin])
def test_value_and_gradients_are_autodiffs_of_the_naive_form(activation):
    """Also by x, which need not be binary; and inside vmap, scan and checkpoint."""
    rng = np.random.default_rng(0)
    arrays = [jnp.float32(rng.normal(size=size)) for size in ((4, 11), (11, 6), (11, 6), (6,))]

    def gradients(products):
        def total(*arrays):
            y = products(*arrays, activation)
            return (jnp.cos(jnp.arange(y.size)).reshape(y.shape) * jnp.tanh(y)).sum(), y

        return jax.grad(total, (0, 1, 2, 3), has_aux=True)

    @jax.jit
    def run(*arrays):
        stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf / 2]), arrays)
        scanned = jax.lax.scan(lambda _, a: (None, gradients(nade_products)(*a)), None, tuple(stacked))[1]
        kept = gradients(jax.checkpoint(nade_products, static_argnums=4))(*arrays)
        mapped = jax.vmap(gradients(nade_products))(*stacked)
        return gradients(nade_products)(*arrays), kept, mapped, scanned, jax.vmap(gradients(_naive))(*stacked)

    plain, kept, mapped, scanned, want = jax.device_get(run(*arrays))
    for got in (plain, kept):
        chex.assert_trees_all_close(got, jax.tree.map(lambda leaf: leaf[0], want), rtol=1e-4, atol=1e-5)
    for got in (mapped, scanned):
        chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)


def test_sums_taken_off_again_do_not_drift_over_a_whole_image():
    """784 variables with weights as large as training makes them: gradients of float32 against those of float64."""
    rng = np.random.default_rng(1)
    shapes = ((2, 784), (784, 8), (784, 8), (8,))
    arrays = [rng.normal(size=size).astype(np.float32) for size in shapes]
    arrays[0] = np.float32(arrays[0] > 0)

    def gradient(products, arrays):
        return jax.jit(jax.grad(lambda *a: jnp.tanh(products(*a, jax.nn.sigmoid)).sum(), (1, 2, 3)))(*arrays)

    got = gradient(nade_products, [jnp.asarray(a) for a in arrays])
    with jax.enable_x64(True):
        want = gradient(nade_products, [jnp.float64(a) for a in arrays])
    for a, b in zip(got, want, strict=True):
        assert np.abs(np.float64(a) - np.asarray(b)).max() < 1e-4 * np.abs(b).max()


def test_half_precision_stays_close():
    images = all_images(BINARY)
    params = varied(nade(BINARY, hidden=5), BINARY)
    full, half = (
        jax.jit(nade(BINARY, hidden=5, dtype=dtype).log_prob)(params, {}, images) for dtype in (None, jnp.bfloat16)
    )
    assert half.dtype == jnp.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.1)


def test_sizes_that_are_not_positive_are_named():
    with pytest.raises(ValueError, match="hidden=0"):
        nade(BINARY, hidden=0)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        nade((3, 3))
