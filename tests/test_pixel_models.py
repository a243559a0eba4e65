"""What every autoregressive image model must satisfy: causality and normalisation; samplers: test_pixel_samplers.py.

A model joins with an entry in MODELS of tiny_pixel_models.py.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pixel_models import (
    COUNT,
    ENUMERATED,
    KINDS,
    MODELS,
    assert_causal,
    assert_normalised,
    each_case,
    labels,
    made,
    random_params,
)

from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn


@pytest.mark.slow_cases(
    "diagonal_lstm-RGB",
    "diagonal_lstm-grey",
    "gated_pixel_cnn with labels-grey",
    "gated_pixel_cnn-RGB",
    "image_gpt with labels, in chunks-grey",
    "pixel_cnn with labels-grey",
    "pixel_cnn-RGB",
    "pixel_cnn-grey",
    "pixel_cnn_pp-grey",
    "pixel_snail with labels, in chunks-grey",
    "pixel_snail-grey",
    "row_lstm-RGB",
    "row_lstm-grey",
)
@each_case
def test_outputs_depend_on_what_comes_before_alone(name, kind):
    entry, (shape, _) = MODELS[name], KINDS[kind]
    assert_causal(made(name, kind)[0], shape, by_channel=entry.by_channel, classes=entry.classes, **labels(entry, 1))


@pytest.mark.slow_cases(
    "diagonal_lstm-RGB", "diagonal_lstm-grey", "gated_pixel_cnn-RGB", "image_gpt-grey", "pixel_snail-grey"
)
@each_case
def test_probabilities_of_all_images_sum_to_one(name, kind):
    entry, (shape, levels) = MODELS[name], ENUMERATED[kind]
    condition = {} if entry.classes is None else {"label": jnp.int32(1)}
    assert_normalised(entry.build(shape, levels), shape, levels, classes=entry.classes, **condition)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.classes])
def test_labels_change_the_model(name):
    model, params = made(name, "grey")
    x = np.random.default_rng(0).integers(0, 2, (COUNT, *KINDS["grey"][0]))
    log_p = jax.jit(lambda label: model.log_prob(params, {}, x, label=label))
    values = np.stack([log_p(jnp.full(COUNT, c)) for c in range(MODELS[name].classes)])
    assert (np.abs(np.diff(values, axis=0)) > 1e-3).all()


@pytest.mark.parametrize("build", [pixel_cnn, gated_pixel_cnn])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"features": 0}, "features=0"),
        ({"head_features": -1}, "head_features=-1"),
        ({"window": 4}, "window=4"),
        ({"first_window": 2}, "first_window=2"),
        ({"shape": (4, 4, 3), "features": 8}, "3 channels must divide features=8"),
        ({"shape": (4, 0, 1)}, "shape="),
        ({"levels": 1}, "levels=1"),
    ],
)
def test_bad_sizes_are_named(build, arguments, named):
    with pytest.raises(ValueError, match=named):
        build(**arguments)


def test_pixel_cnn_must_see_an_earlier_pixel():
    with pytest.raises(ValueError, match="first_window=1 sees no earlier pixel"):
        pixel_cnn(first_window=1)


def test_bad_calls_are_named():
    shape = (2, 2, 1)
    plain, labelled = (pixel_cnn(shape, features=1, blocks=1, head_features=1, classes=c) for c in (None, 3))
    params, key, x = random_params(plain, shape), jax.random.key(0), jnp.zeros((2, *shape))
    sample = partial(plain.sample, params, {}, key, 2)
    with pytest.raises(ValueError, match=r"takes no labels"):
        plain.log_prob(params, {}, x, label=jnp.zeros(2, int))
    with pytest.raises(ValueError, match=r"needs labels below 3"):
        labelled.log_prob(params, {}, x)
    with pytest.raises(ValueError, match=r"label must be \[2\]"):
        labelled.log_prob(params, {}, x, label=jnp.zeros(3, int))
    with pytest.raises(ValueError, match=r"built for images of shape \(2, 2, 1\)"):
        plain.log_prob(params, {}, jnp.zeros((2, 3, 2, 1)))
    with pytest.raises(ValueError, match="did you mean 'naive'"):
        sample(method="naiv")
    with pytest.raises(ValueError, match="given needs mask"):
        sample(given=x)
    with pytest.raises(ValueError, match=r"mask \(2, 2\) or \(2, 2, 2\), got"):
        sample(given=x, mask=np.ones((2, 3), bool))
    for temperature in (-1, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            sample(temperature=temperature)
