"""What a pixel's outputs see: as measured in the networks, as their architectures say, and as a literal search says."""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.core import Model
from gen_models.evaluation import receptive_field
from gen_models.evaluation.receptive_field import (
    all_behind,
    attention_field,
    behind,
    earlier,
    gated_pixel_cnn_field,
    measure,
    measure_each,
    only,
    pixel_cnn_field,
    pixel_cnn_pp_field,
    pixel_rnn_field,
)
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
from gen_models.models.autoregressive.pixel_snail import pixel_snail

KEY = jax.random.key(0)
NARROW = {"features": 6, "head_features": 6}
ATTENTION = {"features": 6, "levels": 2}
FAMILIES = {  # name -> (model, prediction), both of a shape and of what a case names
    "PixelCNN": (partial(pixel_cnn, **NARROW), pixel_cnn_field),
    "Gated PixelCNN": (partial(gated_pixel_cnn, **NARROW), gated_pixel_cnn_field),
    "PixelRNN": (partial(pixel_rnn, features=3, head_features=6), pixel_rnn_field),
    "PixelCNN++": (partial(pixel_cnn_pp, features=4, levels=2, mixtures=1), pixel_cnn_pp_field),
    "ImageGPT": (partial(image_gpt, **ATTENTION, layers=1), attention_field),
    "PixelSNAIL": (partial(pixel_snail, **ATTENTION, blocks=1, residual_blocks=1), attention_field),
    "PixelSNAIL, mixtures": (
        partial(pixel_snail, **ATTENTION, blocks=1, residual_blocks=1, mixtures=1),
        partial(attention_field, by_channel=False),
    ),
}
OF_WHOLE_PIXELS = ("PixelCNN++", "PixelSNAIL, mixtures")  # outputs that see none of their own pixel's channels
GREY = ((9, 11, 1), [(7, 5), (8, 10), (8, 0), (3, 9), (0, 1)])
WIDE = ((10, 40, 1), [(8, 18), (8, 19), (9, 18), (9, 19)])  # a block of four pixels at half the resolution
CASES = [
    ("PixelCNN", *GREY, {"blocks": 2}),
    ("PixelCNN", (8, 9, 1), [(7, 8)], {"blocks": 2, "first_window": 3, "window": 5}),
    ("PixelCNN", (7, 8, 3), [(5, 2)], {"blocks": 1, "first_window": 5}),
    ("Gated PixelCNN", *GREY, {"layers": 3}),
    ("Gated PixelCNN", (8, 9, 1), [(7, 8)], {"layers": 3, "first_window": 3, "window": 5}),
    ("Gated PixelCNN", (7, 8, 3), [(5, 2)], {"layers": 2, "first_window": 5}),
    ("PixelRNN", *GREY, {"kind": "row", "layers": 1, "first_window": 3}),
    ("PixelRNN", (7, 12, 3), [(5, 2), (6, 9)], {"kind": "row", "layers": 2, "window": 5, "first_window": 5}),
    ("PixelRNN", *GREY, {"kind": "diagonal", "layers": 1}),
    ("PixelRNN", (5, 8, 3), [(4, 2), (3, 7)], {"kind": "diagonal", "layers": 2, "first_window": 3}),
    ("PixelCNN++", *GREY, {"blocks": 1, "resolutions": 1}),
    ("PixelCNN++", *WIDE, {"blocks": 1, "resolutions": 2}),
    pytest.param(
        *("PixelCNN++", (4, 64, 3), [(2, 31), (3, 0), (3, 30)], {"blocks": 1, "resolutions": 3}), marks=pytest.mark.slow
    ),
    ("ImageGPT", *GREY, {}),
    ("ImageGPT", (4, 5, 3), [(3, 2), (2, 4)], {}),
    ("PixelSNAIL", *GREY, {}),
    pytest.param("PixelSNAIL", (4, 5, 3), [(3, 2), (2, 4)], {}, marks=pytest.mark.slow),
    pytest.param("PixelSNAIL, mixtures", (4, 5, 3), [(3, 2), (2, 4)], {}, marks=pytest.mark.slow),
]


@pytest.mark.slow_cases(
    "Gated PixelCNN-shape3-pixels3-sizes3",
    "Gated PixelCNN-shape4-pixels4-sizes4",
    "Gated PixelCNN-shape5-pixels5-sizes5",
    "ImageGPT-shape13-pixels13-sizes13",
    "ImageGPT-shape14-pixels14-sizes14",
    "PixelCNN++-shape10-pixels10-sizes10",
    "PixelCNN++-shape11-pixels11-sizes11",
    "PixelCNN-shape0-pixels0-sizes0",
    "PixelCNN-shape1-pixels1-sizes1",
    "PixelRNN-shape6-pixels6-sizes6",
    "PixelRNN-shape7-pixels7-sizes7",
    "PixelRNN-shape8-pixels8-sizes8",
    "PixelRNN-shape9-pixels9-sizes9",
    "PixelSNAIL-shape15-pixels15-sizes15",
)
@pytest.mark.parametrize(("name", "shape", "pixels", "sizes"), CASES)
def test_measured_is_predicted(name, shape, pixels, sizes):
    build, predict = FAMILIES[name]
    measured = measure_each(build(shape, **sizes), shape, pixels, KEY)
    for pixel, seen in zip(pixels, measured, strict=True):
        np.testing.assert_array_equal(seen, predict(shape, pixel, **sizes), err_msg=str(pixel))
        assert seen.any() and seen[pixel] == (shape[-1] > 1 and name not in OF_WHOLE_PIXELS)  # blue sees red and green
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


@pytest.mark.parametrize("layers", [1, 2, 30])
@pytest.mark.parametrize("window", [3, 5])
def test_row_lstm_sees_a_triangle(layers, window):
    """The states' convolutions bring `window // 2` columns a row on both sides, those of inputs as many on the left."""
    shape, pixel = (17, 17, 1), (14, 8)
    row, column = np.indices(shape[:2])
    up, right = pixel[0] - row, column - pixel[1]
    step = window // 2
    triangle = (up > 0) & (right <= (up - 1) * step + 3) & (right >= -(up + layers) * step - 3)
    own_row = (up == 0) & (right < 0) & (right >= -layers * step - 3)
    seen = pixel_rnn_field(shape, pixel, layers, "row", window)
    np.testing.assert_array_equal(seen, triangle | own_row)
    assert not seen[pixel[0] - 1, -1] and seen[0].any()
    if layers == 30 and window == 3:  # the blind spot of a PixelCNN with many blocks
        np.testing.assert_array_equal(seen, pixel_cnn_field(shape, pixel, 30))


@pytest.mark.parametrize("layers", [1, 4])
def test_diagonal_bilstm_sees_every_earlier_pixel_or_all_but_one(layers):
    height, width = 6, 9
    shape = (height, width, 1)
    for pixel in np.ndindex(height, width):
        missing = earlier(shape, pixel) & ~pixel_rnn_field(shape, pixel, layers, "diagonal", first_window=5)
        reached = pixel[0] == 0 or pixel[1] + 2 >= width - 1
        assert np.argwhere(missing).tolist() == ([] if reached else [[pixel[0] - 1, width - 1]])
        # With several channels, its features hold all but the last of that pixel's.
        seen = pixel_rnn_field((height, width, 3), pixel, layers, "diagonal", first_window=5)
        np.testing.assert_array_equal(seen, earlier(shape, pixel) | only(shape, pixel))


@pytest.mark.parametrize("blocks", [1, 2])
def test_pixel_cnn_pp_of_one_resolution_sees_a_rectangle(blocks):
    """Each of 2 `blocks` blocks adds two pixels on each side that its stream sees, the first and last layers some."""
    shape, pixel = (16, 25, 1), (13, 12)
    row, column = np.indices(shape[:2])
    up, right = pixel[0] - row, column - pixel[1]
    reach = 4 * blocks + 1
    above = (up > 0) & (up <= reach + 2) & (right >= -reach - 1) & (right <= reach)
    seen = pixel_cnn_pp_field(shape, pixel, blocks, 1)
    np.testing.assert_array_equal(seen, above | (up == 0) & (right < 0) & (right >= -reach))


def test_pixel_cnn_pp_sees_further_with_each_resolution():
    shape = (4, 200, 1)
    for pixel in ((3, 100), (2, 103)):
        near, far, farthest = (pixel_cnn_pp_field(shape, pixel, 1, resolutions) for resolutions in (1, 2, 3))
        assert (near <= far).all() and (far <= farthest).all() and (farthest <= earlier(shape, pixel)).all()
        assert near.sum() < far.sum() < farthest.sum() < earlier(shape, pixel).sum()
    with pytest.raises(ValueError, match="even height and width, got 5x4"):
        pixel_cnn_pp_field((5, 4, 1), (3, 2), 1, 2)


def _walks(shape, pixel, offsets, steps):
    """Every pixel that so many steps lead to without leaving the image, one walk at a time."""
    if not all(0 <= at < size for at, size in zip(pixel, shape, strict=False)):
        return set()
    if not steps:
        return {pixel}
    return set().union(*(_walks(shape, (pixel[0] + i, pixel[1] + j), offsets, steps - 1) for i, j in offsets))


def test_behind_follows_every_walk_inside_the_image():
    shape, pixel, offsets = (6, 5, 1), (4, 1), [(-1, 2), (0, -1), (1, -2), (-1, 0)]
    seen = every = only(shape, pixel)
    for steps in range(1, 5):
        seen = behind(seen, offsets)
        assert {tuple(at) for at in np.argwhere(seen).tolist()} == _walks(shape, pixel, offsets, steps)
    seen = only(shape, pixel)
    for _ in range(every.size):
        seen = behind(seen, offsets)
        every = every | seen
    np.testing.assert_array_equal(all_behind(only(shape, pixel), iter(offsets)), every)


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
    both = measure_each(model, (4, 4, 1), [(1, 1), (2, 0)], KEY)
    assert not both[0].any()
    np.testing.assert_array_equal(both[1], found(pixel=(2, 0)))
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
    with pytest.raises(ValueError, match=r"pixels=\[\]"):
        measure_each(model, (3, 3, 1), [], KEY)
    with pytest.raises(ValueError, match="did you mean 'row'"):
        pixel_rnn_field((3, 3, 1), (2, 1), 1, "rows")


@pytest.mark.slow
@pytest.mark.parametrize("names", [("PixelCNN,", "Diagonal"), pytest.param(None, marks=pytest.mark.slow)])
def test_tool_draws_what_it_measured(names, tmp_path, monkeypatch, capsys):
    """Two of its families; in the slow test, all."""
    from PIL import Image

    from tools import receptive_field as tool

    out, shape, pixel, every = tmp_path / "fields.png", (10, 10, 1), (6, 5), tool.families

    def families(*args):
        return {title: pair for title, pair in every(*args).items() if names is None or title.startswith(names)}

    monkeypatch.setattr(tool, "families", families)
    monkeypatch.setattr(sys, "argv", ["receptive_field", "--out", str(out), "--size", "10", "--layers", "1"])
    tool.main()
    printed = capsys.readouterr().out
    for title, field in {
        "PixelCNN, 1 block": pixel_cnn_field(shape, pixel, 1),
        "Gated PixelCNN, 1 layer": gated_pixel_cnn_field(shape, pixel, 1),
        "Row LSTM, 1 layer": pixel_rnn_field(shape, pixel, 1, "row"),
        "Diagonal BiLSTM, 1 layer": pixel_rnn_field(shape, pixel, 1, "diagonal"),
        "PixelCNN++, 2 resolutions, 1 block": pixel_cnn_pp_field(shape, pixel, 1, 2),
        "ImageGPT, 1 layer": attention_field(shape, pixel),
        "PixelSNAIL, 1 block": attention_field(shape, pixel),
    }.items():
        told = f"{title}: {field.sum()} of 65 earlier pixels seen\n" in printed
        assert told == (names is None or title.startswith(names))
    colours = {tuple(c) for c in np.asarray(Image.open(out).convert("RGB")).reshape(-1, 3).tolist()}
    for colour in tool.KINDS.values():
        assert tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) in colours
    monkeypatch.setattr(receptive_field, "measure", lambda *args: earlier(shape, pixel))
    with pytest.raises(ValueError, match=r"PixelCNN, 1 block does not see what .* at \[\(0, 0\)"):
        tool.main()
    monkeypatch.setattr(sys, "argv", ["receptive_field", "--out", str(tmp_path / "none" / "fields.png")])
    with pytest.raises(ValueError, match="none"):
        tool.main()


@pytest.mark.parametrize("size", [3, 16, 17, 40])
def test_tools_models_are_as_deep_as_the_first_row_is_far(size):
    from tools import receptive_field as tool

    shape, pixel = (size, size, 1), (size * 2 // 3, size // 2)
    fields = {title: field for title, (_, field) in tool.families(shape, pixel, None).items()}
    assert all(field[0].any() for field in fields.values())
    blocks = max(1, pixel[0] - 3)  # a 7x7 window reaches three rows up, each 3x3 one more
    assert f"PixelCNN, {blocks} block{'s' * (blocks > 1)}" in fields
    assert not pixel_cnn_field(shape, pixel, blocks - 1)[0].any() or blocks == 1
