"""The U-Net and its losses: by hand, of any size, and with gradients that follow the paper's connections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.supervised.segmentation import dice_loss, pixel_cross_entropy
from gen_models.models.supervised.unet import unet

KEY, RNG = jax.random.key(0), np.random.default_rng(0)


def test_losses_by_hand():
    logits = RNG.normal(size=(2, 3, 2, 3)).astype(np.float32)
    mask = RNG.integers(3, size=(2, 3, 2)).astype(np.int32)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(-1, keepdims=True)
    g = np.eye(3)[mask]
    nats = [np.mean([-np.log(p[b, i, j, mask[b, i, j]]) for i in range(3) for j in range(2)]) for b in range(2)]
    np.testing.assert_allclose(pixel_cross_entropy(logits, mask), nats, rtol=1e-5)
    dice = [
        1
        - np.mean(
            [
                (2 * (p[b, ..., k] * g[b, ..., k]).sum() + 1) / (p[b, ..., k].sum() + g[b, ..., k].sum() + 1)
                for k in range(3)
            ]
        )
        for b in range(2)
    ]
    np.testing.assert_allclose(dice_loss(logits, mask), dice, rtol=1e-5)
    sure = 50 * np.eye(3, dtype=np.float32)[mask]
    np.testing.assert_allclose(dice_loss(sure, mask), 0, atol=1e-6)
    assert np.isnan(pixel_cross_entropy(logits, mask - 1)).all()


@pytest.mark.slow  # compiled for long; images of other sizes are in the test of the boundary network too
def test_it_sees_far_and_keeps_what_is_near_and_takes_other_sizes():
    """Without the lower level a pixel would see 5 of its line (two 3x3 windows, twice); with it, far more."""
    model = unet((8, 8, 1), 3, channels=(4, 5), norm="none")
    batch = {"x": RNG.normal(size=(1, 8, 8, 1)).astype(np.float32), "mask": np.zeros((1, 8, 8), np.uint8)}
    params, stats = jax.jit(model.init)(KEY, batch)
    params = jax.tree.map(lambda p: p + 0.1 * RNG.normal(size=p.shape).astype(np.float32), params)
    x = RNG.normal(size=(1, 12, 36, 1)).astype(np.float32)

    @jax.jit
    def both(x):
        y, pull = jax.vjp(lambda x: model.apply(params, stats, x), x)
        return y, pull(jnp.zeros_like(y).at[0, 6, 18].set(1))[0]

    here, slope = both(x)
    seen = np.nonzero(np.abs(slope[0, :, :, 0]).max(0))[0]
    # 2 + 2 pixels by the upper level's convolutions, and (2 of pooled pixels) * 2 + 1 or 2 by the lower one's between.
    assert seen.min() >= 18 - 12 and seen.max() <= 18 + 12 and seen.max() - seen.min() >= 13
    moved = np.roll(x, 2, 2)  # by the halvings, away from the ends the answer moves along
    there, _ = both(moved)
    np.testing.assert_allclose(here[:, :, 14:20], there[:, :, 16:22], rtol=1e-3, atol=1e-4)
    assert here.shape == (1, 12, 36, 3)


def test_what_cannot_be_meant_is_refused():
    for arguments, message in (
        ({"shape": (10, 8, 1), "num_classes": 3, "channels": (4, 4, 4)}, "whose sides 4 divides, got 10x8"),
        ({"shape": (8, 8, 1), "num_classes": 1}, "two classes or more"),
        ({"shape": (8, 8, 1), "num_classes": 3, "norm": "batsh"}, "unknown norm"),
        ({"shape": (8, 8, 1), "num_classes": 3, "norm": "group", "channels": (6, 8)}, "groups=4 must divide"),
        ({"shape": (8, 8, 1), "num_classes": 3, "dice": -1.0}, "dice must not be negative"),
        ({"shape": (8, 8, 1), "num_classes": 3, "channels": ()}, "one or more sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            unet(**arguments)
    model = unet((8, 8, 1), 3, channels=(4,), norm="none")
    x = np.zeros((1, 8, 8, 1), np.float32)
    params, stats = jax.eval_shape(model.init, KEY, {"x": x})
    for batch, message in (
        ({"x": x}, "has no 'mask'"),
        ({"x": x, "mask": np.zeros((1, 8, 8), np.float32)}, "'mask' must be integers"),
        ({"x": x, "mask": np.full((1, 8, 8), 3, np.uint8)}, "must be from 0 to 2, got 3 to 3"),
        ({"x": x[..., 0], "mask": x[..., 0]}, r"takes batches \[B, any, any, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            model.loss(params, stats, batch, KEY, step=0)
