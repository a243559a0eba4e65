"""Maps of a convolutional network, receptive fields against those that windows and strides give, and moved images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.evaluation import feature_maps as look
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.fully_connected import fully_connected

RNG = np.random.default_rng(0)


@pytest.mark.slow  # 4 s of a core
def test_maps_and_fields_are_those_of_the_convolutions():
    """Of three 3x3 convolutions with strides 1, 2, 1: fields of 3, 5 and 9 pixels; maps by SciPy's correlation."""
    signal = pytest.importorskip("scipy.signal")
    model = cnn((16, 16, 1), 3, channels=(2, 3, 3), strides=(1, 2, 1), dropout=0.0)
    x = RNG.uniform(size=(4, 16, 16, 1)).astype(np.float32)
    params, stats = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": np.zeros(4, np.int32)})
    found = look.maps(model, params, stats, x)
    assert [each.shape for each in found] == [(4, 16, 16, 2), (4, 8, 8, 3), (4, 8, 8, 3)]
    kernel = np.asarray(params["Conv_0"]["kernel"])
    for i in range(2):
        expected = signal.correlate2d(x[1, ..., 0], kernel[..., 0, i], mode="same")
        np.testing.assert_allclose(found[0][1, ..., i], expected, atol=1e-5)
    for layer, width in ((0, 3), (1, 5), (2, 9)):
        field = look.receptive_field(model, params, stats, x, layer)
        rows, columns = (np.flatnonzero(field.any(axis)) for axis in (1, 0))
        assert len(rows) <= width and len(columns) <= width
        assert rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1 == width


def test_saliency_of_a_linear_classifier_is_its_weights():
    model = fully_connected((4, 4, 2), 3, hidden=())
    x = RNG.normal(size=(5, 4, 4, 2)).astype(np.float32)
    params, stats = model.init(jax.random.key(0), {"x": x})
    chosen = np.asarray(model.apply(params, stats, x)).argmax(1)
    kernel = np.asarray(params["logits"]["kernel"]).reshape(4, 4, 2, 3)
    expected = np.abs(kernel[..., chosen]).max(2).transpose(2, 0, 1)
    np.testing.assert_allclose(look.saliency(model, params, stats, x), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="the model has no convolution"):
        look.maps(model, params, stats, jnp.asarray(x))


def test_images_are_moved_by_whole_pixels():
    x = RNG.uniform(size=(2, 5, 6, 1)).astype(np.float32)
    for down, right in ((0, 0), (2, 0), (-1, 3), (0, -5)):
        moved = look.shifted(x, down, right)
        rolled = np.roll(x, (down, right), (1, 2))
        kept = np.zeros((5, 6), bool)
        kept[max(down, 0) : 5 + min(down, 0), max(right, 0) : 6 + min(right, 0)] = True
        np.testing.assert_array_equal(moved[:, kept], rolled[:, kept])
        assert not moved[:, ~kept].any()
    with pytest.raises(ValueError, match="nothing of them is left"):
        look.shifted(x, 5, 0)
