"""Extractors: what a network gives, however many images are taken at a time; resizing; features of classifiers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.features.classifier import classifier_features
from gen_models.features.extractor import Extractor, NetworkExtractor, described, digest
from gen_models.models.latent.pca import pca
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.models.supervised.mlp import mlp
from gen_models.models.supervised.residual_cnn import residual_cnn

RNG = np.random.default_rng(0)
SHAPE, CLASSES = (6, 5, 2), 3
IMAGES = RNG.uniform(size=(7, *SHAPE)).astype(np.float32)
KEY = jax.random.key(0)
CLASSIFIERS = {
    "cnn": (lambda: cnn(SHAPE, CLASSES, channels=(3, 4), strides=(1, 2)), 4),
    "residual_cnn": (lambda: residual_cnn(SHAPE, CLASSES, channels=(4, 6), strides=(1, 2)), 6),
    "mlp": (lambda: mlp(SHAPE, CLASSES, hidden=(8, 5)), 5),
    "logistic": (lambda: logistic_regression(SHAPE, CLASSES), 60),
    "half precision": (lambda: cnn(SHAPE, CLASSES, channels=(3, 4), strides=(1, 2), dtype=jnp.bfloat16), 4),
}


def identity(params, images):
    """The pixels, times a number."""
    return (params * images).reshape(len(images), -1), None


def random_variables(model):
    batch = {"x": IMAGES, "y": np.zeros(len(IMAGES), np.int32)}
    shapes = jax.eval_shape(model.init, KEY, batch)
    return jax.tree.map(lambda x: jnp.asarray(RNG.uniform(0.2, 1.0, size=x.shape), jnp.float32), shapes)


@pytest.mark.slow_cases("cnn", "half precision", "residual_cnn")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifiers_logits_are_an_affine_function_of_its_features(name):
    make, dimension = CLASSIFIERS[name]
    model = make()
    params, stats = random_variables(model)
    extractor = classifier_features(model, params, stats, SHAPE, at_once=4)
    assert isinstance(extractor, Extractor)
    assert (extractor.dimension, extractor.num_classes, extractor.resizing) == (dimension, CLASSES, "none")
    found = extractor(IMAGES)
    assert found.features.shape == (7, dimension) and found.features.dtype == np.float32
    layer = jax.tree.map(np.asarray, params["logits"])
    logits = found.features @ layer["kernel"] + layer["bias"]
    half = name == "half precision"
    alone = np.asarray(model.apply(params, stats, IMAGES))
    np.testing.assert_allclose(logits, alone, rtol=2e-2 if half else 1e-4)
    expected = np.exp(alone - alone.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-2 if half else 1e-5)


@pytest.mark.parametrize("at_once", [1, 3, 7, 20])
def test_features_do_not_depend_on_the_images_taken_at_a_time(at_once):
    found = NetworkExtractor("pixels", identity, jnp.float32(2), SHAPE, at_once=at_once)(IMAGES)
    np.testing.assert_array_equal(found.features, 2 * IMAGES.reshape(7, -1))
    assert found.probabilities is None


def test_images_are_enlarged_by_lines_between_the_centres_of_pixels():
    extractor = NetworkExtractor("pixels", identity, jnp.float32(1), (1, 4, 1), resizing="bilinear")
    found = extractor(np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1))
    np.testing.assert_allclose(found.features[0], [0, 0.25, 0.75, 1], atol=1e-6)
    assert extractor.resizing == "bilinear to 1x4"


@pytest.mark.parametrize(("resizing", "value"), [("bilinear", 0.25), ("bilinear without antialiasing", 0.0)])
def test_only_antialiasing_sees_every_pixel_of_what_is_made_smaller(resizing, value):
    """A quarter of the columns is white, and none of those beside which the smaller image's pixels have centres."""
    image = np.zeros((1, 4, 32, 1), np.float32)
    image[:, :, 0::4] = 1
    extractor = NetworkExtractor("pixels", identity, jnp.float32(1), (4, 8, 1), resizing=resizing)
    np.testing.assert_allclose(extractor(image).features.reshape(4, 8)[:, 1:-1], value, atol=0.01)


def test_grey_images_are_given_to_each_of_three_channels():
    found = NetworkExtractor("pixels", identity, jnp.float32(1), (6, 5, 3))(IMAGES[..., :1])
    np.testing.assert_array_equal(found.features, np.repeat(IMAGES[..., :1], 3, -1).reshape(7, -1))


def test_weights_are_told_apart_by_one_value_a_name_and_a_shape():
    tree = {"a": np.arange(6, dtype=np.float32), "b": np.zeros(2, np.float32)}
    changed = [
        tree | {"a": tree["a"] + np.eye(1, 6, 3, dtype=np.float32)[0]},
        {"a": tree["a"], "c": tree["b"]},
        tree | {"a": tree["a"].reshape(2, 3)},
    ]
    assert len({digest(each) for each in (tree, *changed)}) == 4
    assert digest(tree) == digest(jax.tree.map(jnp.asarray, tree))
    extractor = NetworkExtractor("pixels", identity, tree["b"][0], SHAPE)
    assert described(extractor) == f"60 features of pixels, weights {extractor.weights}; no resizing"


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES[:0], "one or more"),
        (IMAGES[0], r"one or more, \[N, H, W, C\], got \[6, 5, 2\]"),
        (IMAGES[..., :1], "takes images of 6x5x2, got 6x5x1"),
        (IMAGES[:, :5], "takes images of 6x5x2, got 5x5x2"),
        (IMAGES - 1, "must be in .0, 1., got values from -0.99"),
        (np.full_like(IMAGES, np.nan), "got values from nan to nan"),
    ],
)
def test_images_that_the_network_does_not_take_are_an_error(images, words, unchecked):
    with pytest.raises(ValueError, match=words):
        NetworkExtractor("pixels", identity, jnp.float32(1), SHAPE)(images)


def test_what_is_no_resizing_and_what_has_no_features_is_an_error():
    with pytest.raises(ValueError, match="did you mean 'bilinear'"):
        NetworkExtractor("pixels", identity, jnp.float32(1), SHAPE, resizing="bilinea")
    with pytest.raises(ValueError, match="gives no features"):
        classifier_features(pca(SHAPE, latent=2), {}, {}, SHAPE)
