"""Sizes of activations and gradients by layer, against He et al.'s factors and a gradient by hand."""

import jax
import numpy as np
import pytest
import scipy.special

from gen_models.evaluation.signals import of_copies
from gen_models.models.side_by_side import copies, side_by_side
from gen_models.models.supervised.fully_connected import fully_connected

RNG = np.random.default_rng(0)


def test_activations_keep_vanish_or_halve_as_theory_says():
    """Three layers of 400 units; a factor of RMS by layer: 1 (he), 1/sqrt 2 (lecun), 0.01 sqrt(400 / 2) (small)."""
    starts = ("he", "lecun", "small")
    networks = [fully_connected((400,), 2, hidden=(400,) * 3, initialisation=start) for start in starts]
    model = side_by_side({"relu": copies(networks[0], 3, starts=networks)})
    batch = {"x": RNG.normal(size=(50, 400)).astype(np.float32), "y": RNG.integers(2, size=50).astype(np.int32)}
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    found = of_copies(model, params, stats, batch, jax.random.key(1))
    sizes = np.asarray(found.activations["relu"])
    assert sizes.shape == (3, 3) and found.gradients["relu"].shape == (4, 3)
    factors = (sizes[-1] / sizes[0]) ** (1 / 2)
    assert factors == pytest.approx([1, 0.5**0.5, 0.01 * 200**0.5], rel=0.06)
    answers, hidden = networks[0].apply(jax.tree.map(lambda leaf: leaf[0], params["relu"]), {}, batch["x"], layers=True)
    assert answers.shape == (50, 2)
    np.testing.assert_allclose(sizes[:, 0], [np.sqrt((np.asarray(h) ** 2).mean()) for h in hidden], rtol=1e-4)


def test_gradients_are_those_of_cross_entropy_by_hand():
    model = side_by_side({"none": copies(fully_connected((3,), 4, hidden=()), 2)})
    batch = {"x": RNG.normal(size=(9, 3)).astype(np.float32), "y": RNG.integers(4, size=9).astype(np.int32)}
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    found = of_copies(model, params, stats, batch, jax.random.key(1))
    assert found.activations["none"].shape == (0, 2)
    kernel = np.asarray(params["none"]["logits"]["kernel"], np.float64)
    for i in range(2):
        p = scipy.special.softmax(batch["x"] @ kernel[i], 1)
        slope = batch["x"].T @ (p - np.eye(4)[batch["y"]]) / 9
        assert found.gradients["none"][0, i] == pytest.approx(np.sqrt((slope**2).mean()), rel=1e-4)
