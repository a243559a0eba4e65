"""Drawn shapes: areas and centroids in closed form, symmetries, shifts, the order of the grid, and what is held out."""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data.shapes import (
    FACTORS,
    draw_shapes,
    grid_factors,
    grid_index,
    shape_sizes,
    shape_splits,
    shapes,
)

SMALL = {"scales": 3, "rotations": 8, "positions": 4}
SQUARE, ELLIPSE, HEART = range(3)


@cache
def small():
    return shapes(32, **SMALL)


def drawn(*rows, side=32, **sizes):
    """Images [B, side, side] of these factors, with pixels from 0 to 1."""
    return draw_shapes(np.array(rows), side, **(SMALL | sizes))[..., 0] / 255


def test_the_default_grid_is_that_of_its_factors():
    sizes = shape_sizes()
    assert sizes == (3, 6, 20, 12, 12) and len(FACTORS) == 5
    assert math.prod(sizes) * 32 * 32 < 60e6, "bytes"
    arrays = small()
    assert (arrays["x"].dtype, arrays["factors"].dtype) == (np.uint8, np.int32)
    assert arrays["x"].shape == (3 * 3 * 8 * 4 * 4, 32, 32, 1)
    expected = np.stack(np.unravel_index(np.arange(len(arrays["x"])), shape_sizes(**SMALL)), 1)
    np.testing.assert_array_equal(arrays["factors"], expected)


def test_the_index_is_that_of_numpy_and_is_found_in_a_program():
    sizes = shape_sizes(**SMALL)
    factors = np.random.default_rng(0).integers(sizes, size=(7, 9, 5)).astype(np.int32)
    expected = np.ravel_multi_index(np.moveaxis(factors, -1, 0), sizes)
    np.testing.assert_array_equal(grid_index(factors, sizes), expected)
    np.testing.assert_array_equal(jax.jit(lambda f: grid_index(f, sizes))(factors), expected)
    np.testing.assert_array_equal(grid_factors(expected, sizes), factors)
    there = jax.vmap(lambda i: grid_factors(i, sizes))(jnp.asarray(expected))
    np.testing.assert_array_equal(there, factors)
    assert there.dtype == jnp.int32


@pytest.mark.parametrize("side", [32, 64])
def test_single_images_are_those_of_the_grid(side):
    arrays = small() if side == 32 else shapes(64, scales=2, rotations=3, positions=3)
    sizes = SMALL if side == 32 else {"scales": 2, "rotations": 3, "positions": 3}
    some = np.random.default_rng(1).permutation(len(arrays["x"]))[:60]
    np.testing.assert_array_equal(draw_shapes(arrays["factors"][some], side, **sizes), arrays["x"][some])


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_areas_and_centroids_are_in_closed_form(shape, side):
    """The root of the area is 0.15, 0.225 or 0.3 of the side, and the centroid is at 1/4 to 3/4 of it."""
    rows = [(shape, scale, rotation, x, y) for scale in range(3) for rotation in (0, 1, 3) for x, y in [(0, 3), (2, 1)]]
    images, line = drawn(*rows, side=side), np.arange(side) + 0.5
    area = images.sum((1, 2))
    np.testing.assert_allclose(area, [(0.075 * (2 + row[1]) * side) ** 2 for row in rows], rtol=0.006)
    centre = np.stack([(images.sum(1) * line).sum(1), (images.sum(2) * line).sum(1)], 1) / area[:, None]
    expected = [[side * (1 / 4 + at / 6) for at in row[3:]] for row in rows]
    np.testing.assert_allclose(centre, expected, atol=0.02)


@pytest.mark.parametrize("shape", [SQUARE, ELLIPSE, HEART])
def test_moments_are_those_of_the_shape(shape):
    """Second moments about the centroid, of area 1 and upright: along each axis, in closed form."""
    a, r = math.sqrt(2 / math.pi), 0.5 / math.sqrt(1 + math.pi / 4)  # a: half an ellipse's width; r: of a heart's disc
    # A heart's square has the moment (2r)^4 / 12 along each axis, and a half disc pi r^4 / 8 along its diameter and as
    # much across it about the diameter. Each half disc stands on a side at (+-r, r) / sqrt(2) of the square's centre.
    lift = (r + 4 * r / (3 * math.pi)) / math.sqrt(2) * (math.pi / 4) / (1 + math.pi / 4)
    disc = math.pi * r**4 / 8 + math.pi * r**4 / 8 + math.pi * r**2 / 2 * r**2 + 2 * r * (2 * r**3 / 3)  # both axes
    heart_both = (2 * r) ** 4 / 6 + 2 * disc - lift**2
    expected = {SQUARE: 1 / 6, ELLIPSE: (a**2 + a**2 / 4) / 4, HEART: heart_both}[shape]
    image, line = drawn((shape, 2, 0, 0, 0), side=256, positions=1)[0], np.arange(256) + 0.5
    across, down = ((image.sum(axis) * (line - 128) ** 2).sum() / image.sum() for axis in (0, 1))
    assert (across + down) / image.sum() == pytest.approx(expected, rel=0.001)
    if shape == ELLIPSE:
        assert across / down == pytest.approx(4, rel=0.001), "twice as wide as it is high"


@pytest.mark.parametrize("shape", [ELLIPSE, HEART])
def test_a_quarter_of_a_turn_is_numpys(shape):
    """Also of the position, which turns about the image's centre; to one level, as a sine is rounded."""
    quarter = SMALL["rotations"] // 4
    for rotation, x, y in [(0, 0, 0), (1, 3, 1), (3, 2, 0)]:
        before, after = drawn((shape, 2, rotation, x, y), (shape, 2, rotation + quarter, y, 3 - x))
        np.testing.assert_allclose(np.rot90(before), after, atol=1.01 / 255)
        assert np.abs(before - after).max() > 0.5


def test_symmetric_shapes_repeat_to_the_last_bit():
    for turns, shape in ((4, SQUARE), (2, ELLIPSE), (1, HEART)):
        images = drawn(*[(shape, 1, rotation, 2, 1) for rotation in range(8)])
        distinct = np.unique(images.reshape(8, -1), axis=0)
        assert len(distinct) == 8 // turns
        np.testing.assert_array_equal(images[: 8 // turns], images[8 - 8 // turns :])
    square = drawn((SQUARE, 2, 1, 0, 0), positions=1)[0]
    np.testing.assert_allclose(square, np.rot90(square), atol=1.01 / 255)
    # Of six rotations a square has three that differ: 0, 60 and 120 degrees, the last of which are 30.
    six = drawn(*[(SQUARE, 1, rotation, 2, 1) for rotation in range(6)], rotations=6)
    np.testing.assert_array_equal(six[:3], six[3:])
    assert len(np.unique(six.reshape(6, -1), axis=0)) == 3


def test_positions_shift_the_image():
    """Seventeen positions over half of 32 pixels are one pixel apart."""
    rows = [(HEART, 1, 1, x, y) for x, y in [(3, 5), (4, 5), (3, 7), (9, 11)]]
    first, right, down, both = drawn(*rows, positions=17)
    np.testing.assert_array_equal(right, np.roll(first, 1, 1))
    np.testing.assert_array_equal(down, np.roll(first, 2, 0))
    np.testing.assert_array_equal(both, np.roll(first, (6, 6), (0, 1)))


def test_a_heart_is_upright_and_turns_counter_clockwise():
    upright, turned = drawn((HEART, 2, 0, 0, 0), (HEART, 2, 2, 0, 0), positions=1)
    np.testing.assert_allclose(upright, upright[:, ::-1], atol=1e-9)
    wide = (upright > 0.5).sum(1)
    filled = np.flatnonzero(wide)
    assert wide[filled[2]] > 2 * wide[filled[-2]], "two lobes above, a tip below"
    narrow = np.flatnonzero((turned > 0.5).sum(0))
    assert (turned > 0.5).sum(0)[narrow[-2]] < (turned > 0.5).sum(0)[narrow[2]] / 2, "the tip has turned to the right"


def test_every_factor_changes_the_image():
    sizes = shape_sizes(**SMALL)
    x = small()["x"].reshape(*sizes, 32, 32).astype(int)
    for axis in range(5):
        change = np.abs(np.diff(x[HEART:] if axis else x, axis=axis)).max((-1, -2))
        assert change.min() > 30, FACTORS[axis]


def test_edges_are_grey_and_the_rest_is_not():
    x = small()["x"]
    assert (x.max((1, 2, 3)) == 255).all() and (x.min((1, 2, 3)) == 0).all()
    grey = ((x > 0) & (x < 255)).mean()
    assert 0.005 < grey < 0.06
    assert len(np.unique(x)) > 60


def test_parts_are_drawn_by_the_seed_and_hold_equal_images_together():
    splits = shape_splits(16, **SMALL, seed=3)
    parts = [splits.train, splits.held_out, splits.test]
    assert (splits.name, splits.held_out_word, splits.test_word) == ("shapes16", "validation", "test")
    factors = [part.arrays["factors"] for part in parts]
    index = np.concatenate([grid_index(each, shape_sizes(**SMALL)) for each in factors])
    total = math.prod(shape_sizes(**SMALL))
    np.testing.assert_array_equal(np.sort(index), np.arange(total))
    assert [len(part) / total for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    seen = [{image.tobytes() for image in part.arrays["x"]} for part in parts]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]
    assert any(len(part) > len(images) for part, images in zip(parts, seen, strict=True)), "there are equal images"
    for part in parts:
        np.testing.assert_array_equal(part.arrays["x"], draw_shapes(part.arrays["factors"], 16, **SMALL))
    assert (np.diff(index[: len(parts[0])]) < 0).mean() > 0.3, "in a random order"
    again, other = shape_splits(16, **SMALL, seed=3), shape_splits(16, **SMALL, seed=4)
    np.testing.assert_array_equal(again.test.arrays["factors"], factors[2])
    assert len(other.test) != len(factors[2]) or (other.test.arrays["factors"] != factors[2]).any()
    batch = splits.first_batch(8, jax.random.key(0))
    assert batch["x"].dtype == jnp.float32 and batch["x"].max() == 1 and batch["factors"].shape == (8, 5)


@pytest.mark.usefixtures("unchecked")
def test_bad_input():
    with pytest.raises(ValueError, match="images of 7 pixels a side"):
        shapes(7)
    with pytest.raises(ValueError, match="rotations=0"):
        shapes(rotations=0)
    with pytest.raises(ValueError, match="indices of shape, scale"):
        draw_shapes(np.array([[3, 0, 0, 0, 0]]))
    with pytest.raises(ValueError, match="indices of shape, scale"):
        draw_shapes(np.zeros((2, 4), int))
    with pytest.raises(ValueError, match=r"held_out=0\.6, test=0\.4"):
        shape_splits(held_out=0.6, test=0.4)
    with pytest.raises(ValueError, match="3 different images are too few"):
        shape_splits(scales=1, rotations=1, positions=1, held_out=0.4, test=0.5)
