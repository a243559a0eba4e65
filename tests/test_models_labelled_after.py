"""Pre-training sees every image and no label, fine-tuning the labelled examples alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.latent.labelled_after import labelled_after
from gen_models.models.latent.stacked_denoising_autoencoder import stacked_denoising_autoencoder

SHAPE, CLASSES, STEPS = (3, 2, 1), 3, 2
STACKED = stacked_denoising_autoencoder(SHAPE, latent=4, hidden=(5,), steps_per_layer=STEPS, classes=CLASSES)
MODEL = labelled_after(STACKED, 2 * STEPS)
RNG = np.random.default_rng(0)
BATCH = {
    "x": RNG.uniform(size=(6, *SHAPE)).astype(np.float32),
    "labelled_x": RNG.uniform(size=(6, *SHAPE)).astype(np.float32),
    "labelled_y": (np.arange(6) % CLASSES).astype(np.int32),
}
KEY = jax.random.key(1)


def test_a_step_sees_all_images_before_and_labelled_ones_after():
    params, stats = MODEL.init(jax.random.key(0), BATCH)
    both = [jax.jit(jax.grad(m.loss, has_aux=True)) for m in (MODEL, STACKED)]
    labelled = {"x": BATCH["labelled_x"], "y": BATCH["labelled_y"]}
    images = {"x": BATCH["x"], "y": np.zeros(6, np.int32)}  # labels that no step of pre-training reads
    for step in range(2 * STEPS + 2):
        ours, theirs = (
            of(params, stats, batch, KEY, step=jnp.array(step))[0]
            for of, batch in zip(both, (BATCH, images if step < 2 * STEPS else labelled), strict=True)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), ours, theirs)
        assert bool(np.any(ours["classifier"]["kernel"])) == (step >= 2 * STEPS)
    at_once = STACKED.loss(params, stats, labelled, KEY, step=jnp.array(0), train=False)[0]
    np.testing.assert_allclose(MODEL.loss(params, stats, BATCH, KEY, step=jnp.array(0), train=False)[0], at_once)


def test_what_cannot_be_meant_is_an_error():
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        labelled_after(STACKED, -1)
    params, stats = MODEL.init(KEY, BATCH)
    with pytest.raises(ValueError, match="with_few_labels"):
        MODEL.loss(params, stats, {"x": BATCH["x"], "y": BATCH["labelled_y"]}, KEY, step=jnp.array(0))
    players = type(STACKED)(STACKED.init, {"a": STACKED.loss, "b": STACKED.loss})
    with pytest.raises(ValueError, match=r"the players \['a', 'b'\] would each need labelled examples"):
        labelled_after(players, 2)
