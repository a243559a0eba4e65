"""MADE: masks against a literal reading of its equations; each set a distribution of its own, and their mixture."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_models_fvsbn import (
    BINARY,
    TWO_CHANNELS,
    all_images,
    assert_cached_logits_are_those_of_the_whole,
    assert_outputs_see_what_is_before,
    assert_probabilities_sum_to_one,
    assert_samples_are_the_naive_ones,
    assert_samples_have_the_models_probabilities,
    varied,
)

from gen_models.models.autoregressive import made as module
from gen_models.models.autoregressive.made import draw_degrees, made

CASES = {
    "one mask, two channels": (TWO_CHANNELS, {"hidden": (20,)}),
    "masks in one order, no direct connections": (BINARY, {"hidden": (20,), "masks": 2, "direct": False}),
    "masks and orders": (BINARY, {"hidden": (20, 15), "masks": 3, "natural_order": False}),
}


def _degrees(shape, hidden, masks=1, natural_order=True, mask_seed=0, **_):
    return draw_degrees(int(np.prod(shape)), hidden, masks, natural_order, mask_seed)


@pytest.mark.slow_cases("masks and orders", "masks in one order, no direct connections")
@pytest.mark.parametrize("case", CASES)
def test_it_is_autoregressive_and_normalised_in_every_order(case, monkeypatch):
    shape, options = CASES[case]
    model, masks = made(shape, **options), options.get("masks", 1)
    params, orders = varied(model, shape), np.argsort(_degrees(shape, **options)[0])
    assert_outputs_see_what_is_before(model, params, shape, orders)
    assert_probabilities_sum_to_one(model, params, shape, masks)
    assert_cached_logits_are_those_of_the_whole(monkeypatch, module, lambda: made(shape, **options), shape, masks)
    assert_samples_are_the_naive_ones(model, params, shape, **({"index": 1} if masks > 1 else {}))


@pytest.mark.slow_cases("arguments0")
@pytest.mark.parametrize("arguments", [{}, {"index": 1}])
def test_samples_have_the_probabilities_of_the_mixture_or_of_one_member(arguments):
    shape = (2, 2, 1)
    model = made(shape, hidden=(10,), masks=3, natural_order=False)
    assert_samples_have_the_models_probabilities(model, varied(model, shape), shape, **arguments)


@pytest.mark.slow_cases("cached")
@pytest.mark.parametrize("method", ["cached", "naive"])
def test_completions_are_of_the_mixture_given_what_is_there(method):
    """p(x | x_G) by enumeration: members are weighed by what they make of the given pixels, image by image."""
    shape, n = (2, 2, 1), 4000
    model = made(shape, hidden=(10,), masks=3)
    params = jax.tree.map(lambda leaf: 4 * leaf, varied(model, shape))
    x = all_images(shape)
    log_p = np.float64(jax.jit(lambda params: model.log_prob(params, {}, x))(params))
    each = np.float64(jax.jit(lambda p: jnp.stack([model.log_prob(p, {}, x, index=k) for k in range(3)]))(params))
    given = np.stack([np.array([[[1.0], [0.0]], [[0.0], [0.0]]]), np.zeros(shape)] * (n // 2))
    first_row = np.array([[True, True], [False, False]])
    masks = np.stack([first_row, first_row & (np.arange(2) == 0)] * (n // 2))  # one pixel is given of every other image
    sample = partial(model.sample, params, {}, jax.random.key(1), n, method=method)
    drawn = jax.jit(lambda given, mask: sample(given=given, mask=mask))(given, masks)
    for parity in range(2):
        images, mask = drawn[parity::2], masks[parity]
        fits = (x[:, mask] == given[parity][mask]).all((1, 2))
        want = np.exp(log_p[fits]) / np.exp(log_p[fits]).sum()
        got = np.array([(np.asarray(images) == one).all((1, 2, 3)).mean() for one in x[fits]])
        error = np.sqrt(want * (1 - want) / (n // 2))
        assert (np.abs(got - want) < 5 * error + 1e-4).all()
        if parity == 0:
            by_lot = (np.exp(each[:, fits]) / np.exp(each[:, fits]).sum(1, keepdims=True)).mean(0)
            assert np.abs(by_lot - want).max() > 0.3  # members that are not weighed would have been found out


@pytest.mark.slow
def test_pixels_that_come_first_in_no_order_cannot_be_completed_by_several_members():
    mixed, raster = (made(BINARY, hidden=(4,), masks=2, natural_order=natural) for natural in (False, True))
    params, x = varied(raster, BINARY), np.zeros((2, *BINARY), np.float32)
    first = np.arange(9).reshape(3, 3) < 4
    for model, mask in ((mixed, first), (raster, ~first)):
        with pytest.raises(ValueError, match=r"must come first in the order of each of the 2 members.*give index"):
            model.sample(params, {}, jax.random.key(0), 2, given=x, mask=mask)
        inside = jax.jit(lambda mask, model=model: model.sample(params, {}, jax.random.key(0), 2, given=x, mask=mask))
        assert np.isnan(inside(np.stack([mask, mask & False]))).all((1, 2, 3)).tolist() == [True, False]
        assert model.sample(params, {}, jax.random.key(0), 2, given=x, mask=mask, index=1).shape == (2, *BINARY)


@pytest.mark.parametrize("natural_order", [True, False])
def test_masks_are_those_of_the_equations(natural_order):
    """Each kernel's gradient vanishes where eq. 12 and 13, or the order for direct connections, forbid a connection."""
    options = {"hidden": (12, 10), "masks": 2, "natural_order": natural_order, "mask_seed": 5}
    model = made(BINARY, **options, activation=jnp.sin)
    params, x = varied(model, BINARY), jax.random.normal(jax.random.key(0), (8, *BINARY))
    gradient = jax.jit(jax.grad(lambda params, index: jnp.sin(model.apply(params, {}, x, index)).sum()))
    degrees = _degrees(BINARY, **options)
    for index in range(2):
        m = [layer[index] for layer in degrees]
        assert sorted(m[0]) == list(range(1, 10)) and (m[0] == np.arange(1, 10)).all() == natural_order
        want = {}
        for name, before, after in (("hidden_0", m[0], m[1]), ("hidden_1", m[1], m[2])):
            want[name] = np.array([[after[j] >= before[i] for j in range(len(after))] for i in range(len(before))])
            assert after.min() >= before.min() and after.max() <= 8
        want["outputs"] = np.array([[m[0][d] > m[2][k] for d in range(9)] for k in range(10)])
        want["direct"] = np.array([[m[0][d] > m[0][e] for d in range(9)] for e in range(9)])
        got = gradient(params, index)
        leads = (want["hidden_1"] @ want["outputs"]).any(1)  # a unit of the first layer may lead to none of the second
        want["hidden_0"] &= leads
        for name, mask in want.items():
            np.testing.assert_array_equal(np.asarray(got[name]["kernel"]) != 0, mask, name)


def test_degrees_of_a_seed_never_change():
    """They belong to the model: saved parameters are of use with these alone."""
    inputs, hidden, outputs = draw_degrees(9, (6,), 2, False, 0)
    np.testing.assert_array_equal(inputs, outputs)
    assert inputs.tolist() == [[9, 1, 4, 8, 7, 5, 2, 6, 3], [6, 7, 1, 2, 3, 9, 5, 8, 4]]
    assert hidden.tolist() == [[8, 5, 3, 5, 8, 4], [8, 2, 8, 4, 2, 4]]


def test_training_goes_through_the_masks_in_turn():
    model = made(BINARY, hidden=(20,), masks=3, natural_order=False)
    params, x = varied(model, BINARY), all_images(BINARY)[::50]

    @jax.jit
    def losses(params):
        each = [
            model.loss(params, {}, {"x": x}, jax.random.key(0), step=step, train=train)[0]
            for train in (True, False)
            for step in range(4)
        ]
        return jnp.stack(each), jnp.stack([model.log_prob(params, {}, x, index=k) for k in range(3)])

    each, log_p = losses(params)
    np.testing.assert_allclose(each[:4], -log_p.mean(1)[jnp.array([0, 1, 2, 0])], rtol=1e-5)
    np.testing.assert_allclose(each[4:], -np.log(np.exp(log_p).mean(0)).mean(), rtol=1e-5)


def test_dropout_is_for_training_and_its_rate_may_be_traced():
    x, options = all_images(BINARY)[::50], {"hidden": (200,), "direct": False}
    params = varied(made(BINARY, **options), BINARY)

    @jax.jit
    def loss(rate, key, params=params):
        return [
            made(BINARY, dropout=rate, **options).loss(params, {}, {"x": x}, key, step=0, train=train)[0]
            for train in (True, False)
        ]

    keys = jax.random.split(jax.random.key(0), 3)
    (dropped, whole), (undropped, _) = (jax.vmap(loss, (None, 0))(rate, keys) for rate in (0.3, 0.0))
    assert len(np.unique(dropped)) == 3 and np.ptp(whole) == 0
    np.testing.assert_allclose(undropped, whole, rtol=1e-6)


def test_half_precision_stays_close():
    images = all_images(BINARY)
    params = varied(made(BINARY, (20,)), BINARY)
    full, half = (
        jax.jit(made(BINARY, (20,), dtype=dtype).log_prob)(params, {}, images) for dtype in (None, jnp.bfloat16)
    )
    assert half.dtype == jnp.float32 and not np.array_equal(full, half)
    np.testing.assert_allclose(half, full, atol=0.3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"hidden": ()}, "hidden layer"),
        ({"hidden": (3, 0)}, r"hidden=\(3, 0\)"),
        ({"masks": 0}, "masks=0"),
        ({"dropout": 1.0}, "dropout.*1.0"),
    ],
)
def test_what_cannot_be_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        made(BINARY, **options)
