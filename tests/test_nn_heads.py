"""Distributions of a pixel: they sum to 1, are what their formulas say, and what is drawn follows them."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_softmax
from scipy.stats import chisquare

from gen_models.nn.heads import categorical, discretised_logistic_mixture, to_unit_range

HEADS = {
    "categorical": categorical,
    "mixture": partial(discretised_logistic_mixture, mixtures=3),
}
SIZES = [(1, 2), (1, 256), (3, 2), (3, 6)]  # channels, levels
CASES = list(itertools.product(HEADS, SIZES))


def _all_pixels(channels, levels):
    return np.array(list(itertools.product(range(levels), repeat=channels)), np.int32)


def _ordinary(head, count=4, seed=0):
    return np.random.default_rng(seed).normal(0, 1.5, (count, head.outputs)).astype(np.float32)


def _extreme(head):
    rng = np.random.default_rng(1)
    return np.concatenate([rng.normal(0, scale, (3, head.outputs)) for scale in (10, 1e3, 1e6)]).astype(np.float32)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_sums_to_one_with_finite_gradients(name, size):
    head, pixels = HEADS[name](*size), _all_pixels(*size)

    @jax.jit
    def run(y):
        log_p, pull = jax.vjp(lambda y: head.log_prob(jnp.broadcast_to(y, (len(pixels), head.outputs)), pixels), y)
        return log_p, pull(jnp.ones_like(log_p))[0]

    for y in [*_ordinary(head), *_extreme(head)]:
        log_p, gradient = run(y)
        assert np.isfinite(log_p).all() and np.isfinite(gradient).all()
        np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1, rtol=2e-5)


@pytest.mark.parametrize("levels", [2, 256])
def test_mixture_of_extreme_means_and_scales(levels):
    """Down to the smallest scale, up to beyond float32's exponentials, and logits that choose one of them."""
    head, pixels = discretised_logistic_mixture(1, levels, mixtures=4), _all_pixels(1, levels)
    log_scales = np.array([-50, -3, 20, 120])

    @jax.jit
    def run(y):
        log_p, pull = jax.vjp(lambda y: head.log_prob(jnp.broadcast_to(y, (len(pixels), head.outputs)), pixels), y)
        return log_p, pull(jnp.ones_like(log_p))[0]

    for mean, chosen in itertools.product((0.0, 1.0, -3.0, 100.0, -1e6), range(4)):
        log_p, gradient = run(jnp.concatenate([1e3 * jax.nn.one_hot(chosen, 4), jnp.full(4, mean), log_scales]))
        assert np.isfinite(log_p).all() and np.isfinite(gradient).all()
        np.testing.assert_allclose(np.exp(np.float64(log_p)).sum(), 1, rtol=2e-5)
        if chosen == 3:  # so large a scale that each edge has all of one side
            np.testing.assert_allclose(np.exp(log_p[np.array([0, -1])]), 0.5, rtol=1e-5)


def _categorical_log_prob(y, pixel, channels, levels):
    return sum(log_softmax(y.reshape(channels, levels)[c])[pixel[c]] for c in range(channels))


def _mixture_log_prob(y, pixel, channels, levels, mixtures=3):
    """PixelCNN++, eq. 2 and 3, as they are written, for one pixel."""
    x = [2 * value / (levels - 1) - 1 for value in pixel]
    half = 1 / (levels - 1)
    logits, rest = y[:mixtures], y[mixtures:]
    means, log_scales = rest[: 2 * channels * mixtures].reshape(2, channels, mixtures)
    linear = iter(np.tanh(rest[2 * channels * mixtures :]).reshape(-1, mixtures))
    moved = []
    for c in range(channels):
        moved.append(means[c] + sum((next(linear) * x[before] for before in range(c)), np.zeros(mixtures)))
    p = 0.0
    for k, weight in enumerate(np.exp(log_softmax(logits))):
        for c in range(channels):
            scale = np.exp(max(log_scales[c, k], -7))
            up = 1.0 if pixel[c] == levels - 1 else expit((x[c] + half - moved[c][k]) / scale)
            low = 0.0 if pixel[c] == 0 else expit((x[c] - half - moved[c][k]) / scale)
            weight *= up - low
        p += weight
    return np.log(p)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_log_prob_is_the_formula_in_double_precision(name, size):
    head = HEADS[name](*size)
    literal = {"categorical": _categorical_log_prob, "mixture": _mixture_log_prob}[name]
    y = _ordinary(head, 50, seed=2)
    pixels = np.random.default_rng(3).integers(0, size[1], (50, size[0]))
    pixels[0], pixels[1] = 0, size[1] - 1
    want = np.array([literal(np.float64(a), b, *size) for a, b in zip(y, pixels, strict=True)])
    assert want.min() > -30  # below, the literal differences lose digits
    np.testing.assert_allclose(jax.jit(head.log_prob)(y, pixels), want, rtol=1e-4, atol=1e-4)


def _drawn(head, y, channels, temperature, count, key=0):
    """[count, channels], in the order in which a sampler draws channels."""

    @jax.jit
    def run(key, y, temperature):
        pixel = jnp.zeros((count, channels), jnp.int32)
        many = jnp.broadcast_to(y, (count, head.outputs))
        for channel in range(channels if head.by_channel else 1):
            pixel = head.draw(jax.random.fold_in(key, channel), many, pixel, channel, temperature)
        return pixel

    return np.asarray(run(jax.random.key(key), y, temperature))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("size", [(1, 7), (3, 3)])
def test_what_is_drawn_has_the_probabilities(name, size):
    channels, levels = size
    head, pixels = HEADS[name](*size), _all_pixels(*size)
    y = _ordinary(head, 1, seed=4)[0] / 2
    p = np.exp(np.float64(jax.jit(head.log_prob)(jnp.broadcast_to(y, (len(pixels), head.outputs)), pixels)))
    drawn = _drawn(head, y, channels, 1.0, 20_000)
    assert drawn.min() >= 0 and drawn.max() < levels
    counts = np.bincount(drawn @ (levels ** np.arange(channels)[::-1]), minlength=len(pixels))
    assert chisquare(counts, p / p.sum() * counts.sum()).pvalue > 1e-4


def test_categorical_temperature_divides_the_logits():
    head = categorical(1, 5)
    y = np.array([0.3, -1.0, 1.2, 0.0, 1.1], np.float32)
    p = np.exp(log_softmax(np.float64(y) / 0.5))
    counts = np.bincount(_drawn(head, y, 1, 0.5, 20_000)[:, 0], minlength=5)
    assert chisquare(counts, p * counts.sum()).pvalue > 1e-4
    for temperature in (1e-4, 0.0):
        assert (_drawn(head, y, 1, temperature, 1000) == 2).all()


def test_at_temperature_zero_one_of_several_most_probable_levels_is_drawn():
    head = categorical(1, 3)
    logits = jnp.broadcast_to(jnp.array([2.0, 1.0, 2.0]), (1000, 3))
    drawn = head.draw(jax.random.key(0), logits, jnp.zeros((1000, 1), jnp.int32), 0, 0.0)
    counts = np.bincount(drawn[:, 0], minlength=3)
    assert counts[1] == 0 and abs(counts[0] - 500) < 80


def test_mixture_without_temperature_is_the_heaviest_components_mean():
    head = discretised_logistic_mixture(3, 11, mixtures=2)
    means = np.array([[0.9, 0.41], [0.9, -0.2], [-0.9, 7.0]])  # [channels, mixtures]
    linear = np.array([[0.0, 0.5], [0.0, 0.0], [0.0, 1.0]])  # of (G, R), (B, R), (B, G)
    y = np.concatenate([[-1, 1], means.ravel(), np.zeros(6), linear.ravel()]).astype(np.float32)
    red = 0.4  # the level that is nearest to 0.41, among -1, -0.8, ...
    green = 5 + round(5 * (-0.2 + np.tanh(0.5) * red))  # -0.015: level 5
    for temperature in (1e-5, 0.0):
        np.testing.assert_array_equal(_drawn(head, y, 3, temperature, 100), [[7, green, 10]] * 100)


def test_levels_fill_the_range_from_minus_one_to_one():
    for levels in (2, 3, 256):
        x = np.asarray(to_unit_range(jnp.arange(levels, dtype=jnp.uint8), levels))
        np.testing.assert_allclose(x, np.linspace(-1, 1, levels), atol=1e-6)
