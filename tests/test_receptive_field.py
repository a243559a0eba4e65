"""What a pixel's outputs see: as measured in the networks, as their architectures say, and as a literal search says."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.core import Model
from gen_models.evaluation import receptive_field
from gen_models.evaluation.receptive_field import behind, earlier, gated_pixel_cnn_field, measure, only, pixel_cnn_field
from gen_models.models.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.pixel_cnn import pixel_cnn

KEY = jax.random.key(0)
NARROW = {"features": 6, "head_features": 6}
FAMILIES = {  # name -> (model of so many layers after the first, its prediction)
    "PixelCNN": (
        lambda shape, layers, **windows: pixel_cnn(shape, blocks=layers, **NARROW, **windows),
        pixel_cnn_field,
    ),
    "Gated PixelCNN": (
        lambda shape, layers, **windows: gated_pixel_cnn(shape, layers=layers + 1, **NARROW, **windows),
        lambda shape, pixel, layers, **windows: gated_pixel_cnn_field(shape, pixel, layers + 1, **windows),
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("shape", "pixel", "layers", "windows"),
    [
        ((9, 11, 1), (7, 5), 2, {}),
        ((8, 9, 1), (7, 8), 2, {"first_window": 3, "window": 5}),
        ((7, 8, 3), (5, 2), 1, {"first_window": 5}),
    ],
)
def test_measured_is_predicted(name, shape, pixel, layers, windows):
    model, predict = FAMILIES[name]
    seen = measure(model(shape, layers, **windows), shape, pixel, KEY)
    np.testing.assert_array_equal(seen, predict(shape, pixel, layers, **windows))
    assert seen.any() and seen[pixel] == (shape[-1] > 1)  # then, blue sees red and green
    assert (seen <= earlier(shape, pixel) | only(shape, pixel)).all()


def test_labels_are_passed_on():
    shape, pixel = (5, 5, 1), (3, 2)
    model = gated_pixel_cnn(shape, layers=2, first_window=3, classes=2, **NARROW)
    seen = measure(model, shape, pixel, KEY, label=1)
    np.testing.assert_array_equal(seen, gated_pixel_cnn_field(shape, pixel, 2, first_window=3))


@pytest.mark.parametrize("layers", [1, 3, 30])
def test_pixel_cnn_has_its_blind_spot(layers):
    """The 7x7 window sees three columns to the right from each row above, each 3x3 one more for a row more."""
    shape, pixel = (17, 17, 1), (14, 8)
    seen = pixel_cnn_field(shape, pixel, layers)
    row, column = np.indices(shape[:2])
    up, right = pixel[0] - row, column - pixel[1]
    blind = (up > 0) & (right > up + 2)
    assert blind.sum() == 5 + 4 + 3 + 2 + 1
    assert not seen[blind].any()
    if layers == 30:  # and nothing else is missing, once there are enough
        np.testing.assert_array_equal(seen, earlier(shape, pixel) & ~blind)


@pytest.mark.parametrize("layers", [1, 2, 5, 30])
def test_gated_pixel_cnn_sees_every_earlier_pixel_within_its_reach(layers):
    shape, pixel = (17, 17, 1), (14, 8)
    reach = 3 + (layers - 1)
    row, column = np.indices(shape[:2])
    near = np.maximum(np.abs(row - pixel[0]), np.abs(column - pixel[1])) <= reach
    seen = gated_pixel_cnn_field(shape, pixel, layers)
    np.testing.assert_array_equal(seen, earlier(shape, pixel) & near)


def _walks(shape, pixel, offsets, steps):
    """Every pixel that so many steps lead to without leaving the image, one walk at a time."""
    if not all(0 <= at < size for at, size in zip(pixel, shape, strict=False)):
        return set()
    if not steps:
        return {pixel}
    return set().union(*(_walks(shape, (pixel[0] + i, pixel[1] + j), offsets, steps - 1) for i, j in offsets))


def test_behind_follows_every_walk_inside_the_image():
    shape, pixel, offsets = (6, 5, 1), (4, 1), [(-1, 2), (0, -1), (1, -2), (-1, 0)]
    seen = only(shape, pixel)
    for steps in range(1, 5):
        seen = behind(seen, offsets)
        assert {tuple(at) for at in np.argwhere(seen).tolist()} == _walks(shape, pixel, offsets, steps)


def test_measure_finds_what_is_there_and_nothing_else():
    """A function whose connections are written down: also one that is switched off for most images."""

    def apply(params, stats, x):
        y = params["w"] * x[..., 0]
        there = jax.nn.relu(y[:, 1, 2] - 0.5 * jnp.abs(params["w"][1, 2])) + y[:, 3, 3] - y[:, 3, 3] * y[:, 0, 1]
        return jnp.zeros((*x.shape[:3], 2)).at[:, 2, 0, 1].set(there)

    def init(key, batch):
        return {"w": jnp.zeros((4, 4))}, {}

    model = Model(init, lambda *args, **kwargs: (jnp.float32(0), ({}, {})), apply=apply)
    found = partial(measure, model, (4, 4, 1), key=KEY)
    assert np.argwhere(found(pixel=(2, 0))).tolist() == [[0, 1], [1, 2], [3, 3]]  # what comes later is reported too
    assert not found(pixel=(1, 1)).any()
    with pytest.raises(ValueError, match="not finite: try a scale below 1e"):
        found(pixel=(2, 0), scale=1e30)


def test_bad_arguments_are_named():
    model = pixel_cnn((3, 3, 1), blocks=1, **NARROW)
    for pixel in ((3, 0), (0, -1)):
        with pytest.raises(ValueError, match="pixel=") as error:
            measure(model, (3, 3, 1), pixel, KEY)
        assert str(pixel) in str(error.value)
        with pytest.raises(ValueError, match="pixel="):
            pixel_cnn_field((3, 3, 1), pixel, 1)
    with pytest.raises(ValueError, match="draws=0"):
        measure(model, (3, 3, 1), (0, 0), KEY, draws=0)


def test_tool_draws_what_it_measured(tmp_path, monkeypatch, capsys):
    from PIL import Image

    from tools import receptive_field as tool

    out = tmp_path / "fields.png"
    monkeypatch.setattr(sys, "argv", ["receptive_field", "--out", str(out), "--size", "10", "--layers", "1"])
    tool.main()
    seen = pixel_cnn_field((10, 10, 1), (6, 5), 1)
    assert f"PixelCNN: {seen.sum()} of 65 earlier pixels seen" in capsys.readouterr().out
    colours = {tuple(c) for c in np.asarray(Image.open(out).convert("RGB")).reshape(-1, 3).tolist()}
    for colour in tool.KINDS.values():
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in colours
    monkeypatch.setattr(receptive_field, "pixel_cnn_field", lambda *args: earlier((10, 10, 1), (6, 5)))
    with pytest.raises(ValueError, match="PixelCNN does not see what its architecture says"):
        tool.main()
    monkeypatch.setattr(sys, "argv", ["receptive_field", "--out", str(tmp_path / "none" / "fields.png")])
    with pytest.raises(ValueError, match="none"):
        tool.main()
