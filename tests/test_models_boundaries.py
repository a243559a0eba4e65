"""The boundary network: its loss by hand, images of any size, and shares that are refused."""

import jax
import numpy as np
import pytest

from gen_models.models.supervised.boundaries import boundary_cross_entropy, boundary_unet

RNG = np.random.default_rng(0)


def test_the_loss_by_hand():
    logits = RNG.normal(size=(2, 3, 4)).astype(np.float32)
    share = RNG.random((2, 3, 4)).astype(np.float32) ** 3
    p, s = 1 / (1 + np.exp(-logits.astype(float))), share.astype(float)
    beta = (1 - s).mean((1, 2), keepdims=True)
    balanced = -(beta * s * np.log(p) + (1 - beta) * (1 - s) * np.log(1 - p)).mean((1, 2))
    np.testing.assert_allclose(boundary_cross_entropy(logits, share), balanced, rtol=1e-5)
    nats = -(s * np.log(p) + (1 - s) * np.log(1 - p)).mean((1, 2))
    np.testing.assert_allclose(boundary_cross_entropy(logits, share, balanced=False), nats, rtol=1e-5)


def test_images_of_any_size_are_those_continued_at_their_edges():
    model = boundary_unet((8, 8, 3), channels=(2, 3), norm="none")
    x = RNG.normal(size=(2, 5, 7, 3)).astype(np.float32)
    params, stats = jax.jit(model.init)(jax.random.key(0), {"x": x})
    apply = jax.jit(model.apply)
    whole = apply(params, stats, np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)), "edge"))
    found = apply(params, stats, x)
    assert found.shape == (2, 5, 7)
    np.testing.assert_allclose(found, whole[:, :5, :7], rtol=1e-5, atol=1e-6)
    for share, message in (
        (np.zeros((2, 5, 6), np.float32), r"'share' must be float \[2, 5, 7\], got float32 \[2, 5, 6\]"),
        (np.zeros((2, 5, 7), np.int32), "'share' must be float .*, got int32"),
        (np.full((2, 5, 7), 2.0, np.float32), "'share' must be from 0 to 1, got 2.0 to 2.0"),
    ):
        with pytest.raises(ValueError, match=message):
            model.loss(params, stats, {"x": x, "share": share}, jax.random.key(0), step=0)
