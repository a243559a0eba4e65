"""Modes of stacked images, where classes of samples are known: an image is of the class of its one bright row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.core import Model
from gen_models.data.splits import Splits
from gen_models.features.extractor import NetworkExtractor
from gen_models.measures.base import Split, Trained
from gen_models.measures.stacked_modes import StackedModes

ROWS = np.eye(10, dtype=np.float32)[:, :, None, None] * np.ones((1, 1, 4, 1), np.float32)  # [10, 10, 4, 1]
DATA = Splits.of_arrays({"x": ROWS, "y": np.arange(10, dtype=np.int32)}, num_classes=10, name="rows")
SPLIT = Split(DATA, DATA.train, "train")


def _forward(params, images):
    brightness = images.mean((2, 3))
    return brightness, jax.nn.softmax(brightness)


CLASSIFIER = NetworkExtractor("classifier", _forward, {"none": jnp.zeros(1)}, (10, 4, 1))


def _measured(sample, classifier=CLASSIFIER):
    """Figures by name, of a model that draws by `sample(key, n) -> classes [n, 3]`."""

    def drawn(params, stats, key, n):
        return jnp.moveaxis(jnp.asarray(ROWS)[sample(key, n)][..., 0], 1, -1)

    model = Model(lambda key, batch: ({}, {}), lambda *_, **__: (0.0, ({}, {})), sample=drawn)
    measure = StackedModes(classifier, samples=1000, at_once=200)
    return {figure.name: figure for figure in measure.figures(Trained(model, {}, {}), SPLIT, jax.random.key(0))}


def test_a_collapsed_model_has_one_mode():
    found = _measured(lambda key, n: jnp.tile(jnp.array([3, 1, 4]), (n, 1)))
    assert found["accuracy of the classifier"].value == 100
    assert found["modes covered"].value == 1
    assert found["KL to uniform modes"].value == pytest.approx(np.log(1000))


def test_channels_count_apart():
    """Digits in the order of their channels, and part after part with other noise: as many modes as a fair draw has."""
    alike = _measured(lambda key, n: jnp.tile(jax.random.randint(key, (n, 1), 0, 10), (1, 3)))
    assert alike["modes covered"].value == 10
    fair = _measured(lambda key, n: jax.random.randint(key, (n, 3), 0, 10))
    expected = 1000 * (1 - np.exp(-1))  # 1,000 draws
    for name in ("modes covered", "modes covered, real images"):
        assert abs(fair[name].value - expected) < 60
        assert fair[name].unit == "of 1,000"
    assert fair["modes covered"].better == "maximize" and fair["modes covered, real images"].better is None


def test_a_classifier_without_classes_is_refused():
    features = NetworkExtractor("squeezenet", lambda params, x: (x.mean((2, 3)), None), {}, (10, 4, 1))
    with pytest.raises(ValueError, match="'squeezenet' has none: give a classifier of the data"):
        _measured(lambda key, n: jnp.zeros((n, 3), int), features)
