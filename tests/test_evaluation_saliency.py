"""Saliency against closed forms: linear classifiers, class activation maps, completeness; deletion by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from gen_models.core import Model
from gen_models.evaluation import saliency as of
from gen_models.models.supervised.fully_connected import fully_connected
from gen_models.models.supervised.fully_convolutional import fully_convolutional
from gen_models.models.supervised.residual_cnn import residual_cnn

RNG = np.random.default_rng(0)


def _linear():
    model = fully_connected((4, 4, 2), 3, hidden=())
    x = RNG.normal(size=(5, 4, 4, 2)).astype(np.float32)
    params, stats = model.init(jax.random.key(0), {"x": x})
    logits = np.asarray(model.apply(params, stats, x))
    weights = np.asarray(params["logits"]["kernel"]).reshape(4, 4, 2, 3)
    return (model, params, stats, x, logits.argmax(1).astype(np.int32)), weights, logits


def _binary():
    return Model(lambda *_: ({}, {}), lambda *_, **__: 0.0, apply=lambda params, stats, x: x.sum((1, 2, 3)))


def test_saliency_of_a_linear_classifier_is_its_weights():
    """The gradient; and integrated gradients in one step, the weights times the pixels."""
    given, weights, _ = _linear()
    x, chosen = given[3:]
    own = weights[..., chosen].transpose(3, 0, 1, 2)
    slopes, *each = jax.jit(
        lambda x: (of.gradient(*given), *(of.integrated_gradients(*given, steps=steps) for steps in (1, 3)))
    )(x)
    np.testing.assert_allclose(slopes, np.abs(own).max(-1), rtol=1e-5)
    for shares in each:
        np.testing.assert_allclose(shares, (own * x).sum(-1), rtol=1e-4, atol=1e-5)


def test_occlusion_and_removal_are_those_by_hand():
    given, weights, logits = _linear()
    x, chosen = given[3:]
    p = scipy.special.softmax(logits, 1)[range(5), chosen]
    bias = np.asarray(given[1]["logits"]["bias"])

    def p_of(x):
        return scipy.special.softmax(np.einsum("bhwc,hwck->bk", x, weights) + bias, 1)[range(5), chosen]

    saliency = RNG.permuted(np.tile(np.arange(16.0), (5, 1)), axis=1).reshape(5, 4, 4)
    found, wide, curves = jax.jit(
        lambda saliency: (
            of.occlusion(*given, window=2, stride=1),
            of.occlusion(*given, window=3, stride=3),
            of.removed(*given, saliency, steps=8),
        )
    )(saliency)
    expected, count = np.zeros((5, 4, 4)), np.zeros((4, 4))
    for row in range(-1, 4):
        for column in range(-1, 4):
            at = (slice(max(row, 0), row + 2), slice(max(column, 0), column + 2))
            covered = x.copy()
            covered[:, *at] = 0
            expected[:, *at] += (p - p_of(covered))[:, None, None]
            count[at] += 1
    assert (count == 4).all()
    np.testing.assert_allclose(found, expected / count, atol=1e-5)
    assert np.isfinite(wide).all()  # no pixel is left out by squares side by side
    for step in range(9):
        kept = saliency < 16 - 2 * step  # two more of the largest each time
        np.testing.assert_allclose(np.asarray(curves)[:, step], p_of(x * kept[..., None]), rtol=1e-4)


@pytest.fixture(scope="module")
def network():
    """Without norms, so that maps of logits are all that is behind its last rectifier."""
    model = fully_convolutional((12, 12, 1), 3, channels=(4, 6), strides=(1, 2), norm="none")
    x = RNG.uniform(size=(3, 12, 12, 1)).astype(np.float32)
    params, stats = jax.jit(model.init)(jax.random.key(1), {"x": x, "y": np.zeros(3, np.int32)})
    return model, params, stats, x, np.array([0, 2, 1], np.int32)


def test_grad_cam_before_a_mean_is_the_class_activation_map(network):
    """The logit's map without its bias, over the number of places: Selvaraju et al. (2017), section 3.1."""
    model, params, stats, x, classes = network
    found = jax.jit(lambda *given: of.grad_cam(model, *given))(*network[1:])
    logits = np.asarray(model.apply(params, stats, x, maps=True))[range(3), :, :, classes]
    expected = np.maximum(logits - np.asarray(params["logits"]["bias"])[classes][:, None, None], 0) / 36
    resized = jax.image.resize(jnp.asarray(expected), (3, 12, 12), "bilinear")
    assert (expected > 0).any((1, 2)).sum() >= 2
    np.testing.assert_allclose(found, resized, rtol=1e-4, atol=1e-6)
    # A map that no rectifier reads has none: here tanh reads it.
    other = residual_cnn((12, 12, 1), 3, channels=(2,), strides=(1,), windows=(3,), norm="none", activation="tanh")
    own = jax.jit(other.init)(jax.random.key(0), {"x": x, "y": classes})
    assert np.isnan(jax.jit(lambda params, stats: of.grad_cam(other, params, stats, x, classes))(*own)).all()


def test_integrated_gradients_are_complete(network):
    """Their sum is F(x) - F(0), the nearer the more steps: a rectifier's kinks are between two of them."""
    model, params, stats, x, classes = network
    change = np.asarray(model.apply(params, stats, x) - model.apply(params, stats, 0 * x))[range(3), classes]
    errors = []
    for steps in (2, 64):
        found = jax.jit(lambda *given, steps=steps: of.integrated_gradients(model, *given, steps=steps))(*network[1:])
        errors.append(np.abs(np.asarray(found).sum((1, 2)) - change).max())
    assert errors[1] < 0.02 * np.abs(change).max() and errors[1] <= errors[0]


def test_weights_are_drawn_again_from_the_last_layer_down(network):
    model, params, _, x, _ = network
    key = jax.random.key(7)
    fresh, _ = model.init(key, {"x": x})
    assert of.layer_names(*network[:4]) == ["conv_0", "conv_1", "logits"]
    again = ["logits", "conv_1", "conv_0"]
    for count, (name, (drawn, _)) in enumerate(of.randomised(*network[:4], key), 1):
        assert name == again[count - 1]
        for layer in params:
            expected = fresh if layer in again[:count] else params
            np.testing.assert_array_equal(drawn[layer]["kernel"], expected[layer]["kernel"])
    assert count == 3


def test_rank_correlations_are_scipys():
    one, other = RNG.integers(5, size=(2, 3, 4, 5)).astype(float)
    other[2] = -one[2]
    found = of.rank_correlation(one, other)
    expected = [scipy.stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[2] == pytest.approx(-1)
    assert np.isnan(of.rank_correlation(np.ones((1, 2, 2)), one[:1, :2, :2])).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda given: of.integrated_gradients(*given, steps=0), "steps must be 1 or more, got 0"),
        (lambda given: of.removed(*given, np.ones((5, 4, 4)), steps=0), "steps must be 1 or more, got 0"),
        (lambda given: of.occlusion(*given, window=2, stride=3), "stride=3, window=2"),
        (lambda given: of.gradient(_binary(), *given[1:]), r"must be logits \[B, K\], got \(5,\)"),
        (lambda given: of.grad_cam(*given), "the model has no convolution"),
        (lambda given: of.rank_correlation(np.ones((1, 2, 2)), np.ones((1, 2, 3))), "of one shape"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(_linear()[0])
