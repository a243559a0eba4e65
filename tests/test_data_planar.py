"""Points of the plane: their classes are the regions that the docstring says."""

import numpy as np
import pytest

from experiments.decision_regions import best_line
from gen_models.data.planar import planar_points


def _exact(kind, count=4000, seed=0):
    points = planar_points(kind, count, seed, noise=0.0)
    return points["x"].astype(np.float64), points["y"]


def test_regions_are_those_of_the_docstring():
    x, y = _exact("halves")
    assert ((x[:, 0] + x[:, 1] / 2 > 0) == y).all()
    x, y = _exact("xor")
    assert ((x.prod(1) > 0) == y).all()
    for kind in ("circles", "ring"):
        x, y = _exact(kind)
        radius = np.hypot(*x.T)
        inside = radius < 0.6 if kind == "circles" else (radius > 0.4) & (radius < 0.8)
        assert (inside == y).all() and 0.2 < y.mean() < 0.6


def test_the_two_spirals_are_lang_and_witbrocks():
    """Their formula as the CMU benchmark has it, divided by its radius 6.5; a seed that is odd stands in between."""
    x, y = _exact("two_spirals", 194)
    i = np.arange(97)
    angle, radius = i * np.pi / 16, 6.5 * (104 - i) / 104
    one = np.stack([radius * np.sin(angle), radius * np.cos(angle)], 1) / 6.5
    np.testing.assert_allclose(x[y == 1], one, atol=1e-6)
    np.testing.assert_allclose(x[y == 0], -one, atol=1e-6)
    between, _ = _exact("two_spirals", 192, seed=1)
    apart = np.linalg.norm(between[:, None] - x, axis=-1).min(1)
    assert (apart > 0.008).all()
    repeated, _ = _exact("two_spirals", 388)
    np.testing.assert_array_equal(repeated[194:], x)


def test_an_arm_turned_by_half_is_the_other():
    x, y = _exact("spirals")
    along = np.hypot(*x.T) / 0.95
    angle = 3 * np.pi * along + np.pi * y
    np.testing.assert_allclose(x / np.hypot(*x.T)[:, None], np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-4)


def test_noise_and_seeds():
    a, b = (planar_points("xor", 2000, seed, noise=0.0)["x"] for seed in (0, 1))
    assert not np.array_equal(a, b)
    noisy = planar_points("xor", 2000, 0, noise=0.1)["x"] - a
    assert abs(noisy.std() - 0.1) < 0.005


def test_the_best_line_is_that_of_every_pair_of_points():
    """By brute force over all lines through two points, on either side of both; of XOR on a square it is 2/3."""
    x, y = _exact("ring", 25)
    best = 0.0
    for i in range(25):
        for j in range(i):
            across = np.array([x[i, 1] - x[j, 1], x[j, 0] - x[i, 0]])
            height = (x - x[i]) @ across
            for tilt in (-1e-9, 1e-9):  # both points on one side, or one on each
                for along in (-1e-9, 1e-9):
                    above = height + tilt + along * ((x - (x[i] + x[j]) / 2) @ (x[j] - x[i])) > 0
                    best = max(best, (above == y).mean(), (above != y).mean())
    assert best_line(x, y, 20_000) == pytest.approx(best)
    x, y = _exact("xor", 20_000)
    assert best_line(x, y) == pytest.approx(2 / 3, abs=0.015)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "spiral"}, "did you mean 'spirals'"),
        ({"kind": "xor", "count": 0}, "count=0"),
        ({"kind": "xor", "noise": -1.0}, "noise=-1.0"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        planar_points(**options)
