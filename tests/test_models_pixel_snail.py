"""PixelSNAIL: exact likelihoods with both heads, one pixel at a time as whole images, labels, learning, errors."""

from functools import cache

import jax
import numpy as np
import pytest
from test_models_image_gpt import (
    build,
    check_dropout,
    check_half_precision,
    check_jacobian,
    check_learning,
    check_pixel_by_pixel,
    draw_images,
)

from gen_models.models.autoregressive import pixel_snail as module
from gen_models.models.autoregressive.pixel_snail import pixel_snail

TINY = dict(features=6, blocks=1, residual_blocks=1, heads=1, key_features=4)
# Each: arguments, and a second shape, which is not square.
CASES = {
    "grey": (TINY | dict(shape=(3, 3, 1), levels=2, classes=3, chunk=4), (4, 3, 1)),
    "rgb": (TINY | dict(shape=(2, 2, 3), levels=2, heads=2), (2, 3, 3)),
    "rgb of logistics": (TINY | dict(shape=(2, 2, 3), levels=2, blocks=2, mixtures=2), (2, 3, 3)),
}


@cache
def _case(name, square=True):
    arguments, shape = CASES[name]
    return *build(module, pixel_snail, arguments if square else arguments | {"shape": shape}), arguments, shape


@pytest.mark.slow_cases("rgb", "rgb of logistics")
@pytest.mark.parametrize("name", CASES)
def test_an_output_depends_on_all_before_and_on_nothing_else(name):
    model, _, params, arguments, _ = _case(name)
    check_jacobian(model, params, arguments, by_channel="mixtures" not in arguments)


@pytest.mark.slow_cases("grey", "rgb of logistics")
@pytest.mark.parametrize("name", CASES)
def test_one_pixel_at_a_time_as_whole_images(name):
    model, network, params, arguments, shape = _case(name, square=False)
    check_pixel_by_pixel(model, network, params, arguments, shape)


def test_labels_change_every_position():
    model, _, params, arguments, _ = _case("grey")
    outputs = jax.jit(lambda label: model.apply(params, {}, draw_images(1, arguments), label=label))
    assert (outputs(np.array([0])) != outputs(np.array([1]))).any(-1).all()


def test_attention_sees_what_is_beyond_the_convolutions():
    """The last pixel's outputs change with the first pixel of an image that is larger than all windows together."""
    arguments = TINY | dict(shape=(8, 8, 1), levels=2)
    model, _, params = build(module, pixel_snail, arguments)
    x = np.zeros((2, 8, 8, 1), np.int32)
    x[1, 0, 0] = 1
    outputs = jax.jit(lambda x: model.apply(params, {}, x))(x)
    assert (outputs[0, -1, -1] != outputs[1, -1, -1]).any()
    without = jax.tree_util.tree_map_with_path(
        lambda path, a: np.zeros_like(a) if "value" in jax.tree_util.keystr(path) else a, params
    )
    outputs = jax.jit(lambda x: model.apply(without, {}, x))(x)
    np.testing.assert_array_equal(outputs[0, -1, -1], outputs[1, -1, -1])


def test_without_attention_it_is_its_convolutions():
    arguments = TINY | dict(shape=(8, 8, 1), levels=2, attention=False)
    model, network, params = build(module, pixel_snail, arguments)
    assert not {name for name in params if name.startswith(("attention", "query", "memory", "mixed"))}
    x = np.zeros((3, 8, 8, 1), np.int32)
    x[1, 0, 0] = x[2, -1, -2] = 1  # far from the last pixel, and beside it
    outputs = jax.jit(lambda x: model.apply(params, {}, x))(x)[:, -1, -1]
    assert (outputs[0] == outputs[1]).all() and (outputs[0] != outputs[2]).any()
    check_pixel_by_pixel(model, network, params, arguments, arguments["shape"])


@pytest.mark.slow  # the contract holds a smaller one to it
def test_the_loss_falls():
    arguments = TINY | dict(shape=(4, 4, 1), levels=3)
    check_learning(pixel_snail(**arguments), arguments)


def test_dropout_may_be_traced_and_acts_in_training_alone():
    check_dropout(module, pixel_snail, TINY | dict(shape=(3, 3, 1), levels=2))


def test_computations_in_bfloat16_are_close():
    model, _, params, arguments, _ = _case("rgb")
    check_half_precision(model, pixel_snail, params, arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(features=0), "features=0"),
        (dict(blocks=0, chunk=-1), "blocks=0, chunk=-1"),
        (dict(heads=0), "heads=0"),
        (dict(mixtures=0), "mixtures=0"),
        (dict(heads=3, key_features=16), "3 heads must divide key_features=16"),
        (dict(shape=(4, 4, 3), head_features=8), "3 channels must divide head_features=8"),
        (dict(shape=(4, 4, 0)), r"shape=\(4, 4, 0\)"),
    ],
)
def test_errors_name_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        pixel_snail(**(dict(shape=(4, 4, 1)) | arguments))
