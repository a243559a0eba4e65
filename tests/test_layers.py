"""Gradients by layer, dead and flat units, operations: against what they come to on paper."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gen_models.evaluation import layers


def _loss(params, stats, batch, key, *, step, train=True):
    x = batch["x"] @ params["conv_000"]["kernel"] @ params["conv_001"]["kernel"]
    return x.sum() + params["other"]["kernel"].sum(), (stats, {})


def test_gradient_norms_of_two_products():
    """d/dA sum(x A B) = (sum of x's rows) (sums of B's rows)', d/dB = (sum of (x A)'s rows) 1'."""
    rng = np.random.default_rng(0)
    x, a, b = (rng.normal(size=shape) for shape in ((5, 3), (3, 4), (4, 2)))
    params = {"conv_001": {"kernel": b}, "conv_000": {"kernel": a}, "other": {"kernel": a}}
    norms = layers.gradient_norms(_loss, params, {}, {"x": x}, None)
    assert list(norms) == ["conv_000", "conv_001"]
    expected = [np.linalg.norm(np.outer(x.sum(0), b.sum(1))), np.linalg.norm((x @ a).sum(0)) * np.sqrt(2)]
    np.testing.assert_allclose(list(norms.values()), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="no layer's name begins with 'dense': there are conv_000, conv_001, other"):
        layers.gradient_norms(_loss, params, {}, {"x": x}, None, "dense")


def test_a_unit_is_dead_where_no_image_of_any_batch_moves_it():
    z = np.full((4, 2, 2, 3), -1.0)
    z[0, 0, 0, 0] = z[3, 1, 1, 1] = 1  # the second one only in what fills up the batch; the third never
    y, slope = np.maximum(z, 0), (z > 0) * 1.0
    weight = jnp.array([1.0, 1, 1, 0])
    found = layers.activity(layers.count(y, slope, weight))
    assert (found.dead, found.flat) == (pytest.approx(2 / 3), pytest.approx(35 / 36))
    both = jax.tree.map(jnp.add, layers.count(y, slope, weight), layers.count(y, slope))
    assert layers.activity(both).dead == pytest.approx(1 / 3)
    leaky = layers.activity(layers.count(np.where(z > 0, z, 0.01 * z), np.where(z > 0, 1, 0.01)))
    assert leaky == (0, 0)
    saturated = layers.activity(layers.count(np.ones((2, 3)), np.full((2, 3), 1e-4)))
    assert saturated == (0, 1)  # it gives a constant, which is not nothing


def test_flops_of_products_and_convolutions():
    assert layers.flops(jnp.dot, jnp.zeros((4, 5)), jnp.zeros((5, 6))) == 2 * 4 * 5 * 6
    window = lambda x, k: lax.conv_general_dilated(x, k, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))  # noqa: E731
    assert layers.flops(window, jnp.zeros((2, 9, 8, 3)), jnp.zeros((3, 3, 3, 5))) == 2 * 2 * 7 * 6 * 9 * 3 * 5
