"""An image as a memory: its positions lie where the image's parts do, and captions can look at them."""

import jax
import numpy as np
import pytest

from gen_models.models.sequences.image_memory import ImageMemory
from gen_models.models.sequences.recurrent_seq2seq import recurrent_seq2seq


def test_positions_see_their_own_part_of_the_image():
    encoder, draw = ImageMemory(features=(4, 5)), np.random.default_rng(0)
    image = draw.random((1, 12, 9, 3), np.float32)  # odd sizes are rounded up
    params = jax.jit(encoder.init)(jax.random.key(0), image)
    other = image.copy()
    other[:, :2, :2] += 1  # the first corner alone
    first, second = (np.asarray(encoder.apply(params, x).values) for x in (image, other))
    assert first.shape == (1, 3 * 3, 5) and encoder.apply(params, image).lengths is None
    changed = (first != second).any(-1).reshape(3, 3)
    assert changed[0, 0] and not changed[2].any() and not changed[:, 2].any()
    alike = np.asarray(encoder.apply(params, np.zeros_like(image)).values)[0]
    assert (alike[0] != alike[4]).any() and (
        alike[4] != alike[8]
    ).any()  # each position can be told from others, whatever is there


@pytest.mark.usefixtures("unchecked")
def test_what_is_no_image():
    with pytest.raises(ValueError, match=r"sources must be images \[B, H, W, C\] without lengths, got \[1, 12, 9\]"):
        ImageMemory().init(jax.random.key(0), np.zeros((1, 12, 9), np.float32))
    with pytest.raises(ValueError, match="without lengths"):
        ImageMemory().init(jax.random.key(0), np.zeros((1, 12, 9, 1), np.float32), np.array([3]))


def test_a_caption_is_given_its_image():
    model = recurrent_seq2seq(4, source_vocabulary=None, features=4, encoder=ImageMemory(features=(3,)))
    draw = np.random.default_rng(0)
    x = np.array([[0, 1, 2], [0, 3, 0]], np.int32)
    batch = {"source": draw.random((2, 6, 6, 1), np.float32), "x": x, "y": np.roll(x, -1, 1)}
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    logits, weights = model.apply(params, stats, x, source=batch["source"], attention=True)
    assert weights.shape == (2, 1, 1, 3, 9)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    turned = model.apply(params, stats, x, source=batch["source"][::-1])
    assert (np.abs(logits - turned).max((1, 2)) > 0).all()
