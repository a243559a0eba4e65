"""What every sampler of an autoregressive image model must satisfy: it draws from the model, each pixel at one cost."""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare
from tiny_pixel_models import (
    COUNT,
    KINDS,
    MODELS,
    assert_normalised,
    each_case,
    labels,
    made,
    random_params,
)

from gen_models.models.autoregressive import pixel_model
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn


@cache
def _sampler(name, kind, method):
    """(key, given, mask, temperature) -> (images, outputs that they were drawn from), compiled once for all tests."""
    entry, (shape, _) = MODELS[name], KINDS[kind]
    model, params = made(name, kind)
    seen: dict[tuple, np.ndarray] = {}
    draw = pixel_model._draw

    def watched(head, key, given, mask, temperature, levels, outputs, x, row, column, channel):
        jax.debug.callback(lambda i, j, c, y: seen.update({(int(i), int(j), int(c)): y}), row, column, channel, outputs)
        return draw(head, key, given, mask, temperature, levels, outputs, x, row, column, channel)

    @jax.jit
    def run(key, given, mask, temperature):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pixel_model, "_draw", watched)
            return model.sample(
                params,
                {},
                key,
                COUNT,
                given=given,
                mask=mask,
                temperature=temperature,
                method=method,
                **labels(entry, COUNT),
            )

    def sample(seed=0, given=None, mask=None, temperature=1.0):
        seen.clear()
        given = jnp.zeros((COUNT, *shape), jnp.int32) if given is None else jnp.asarray(given)
        mask = jnp.zeros((COUNT, *shape[:2]), bool) if mask is None else jnp.asarray(mask)
        x = np.asarray(run(jax.random.key(seed), given, mask, jnp.float32(temperature)))
        jax.effects_barrier()
        return x, dict(seen)

    return sample


@cache
def _full_pass(name, kind):
    entry, (model, params) = MODELS[name], made(name, kind)
    return jax.jit(lambda x: model.apply(params, {}, x, **labels(entry, COUNT)))


@pytest.mark.slow_cases(
    "pixel_snail with labels, in chunks-grey",
    "image_gpt with labels, in chunks-grey",
    "diagonal_lstm-RGB",
    "diagonal_lstm-grey",
    "gated_pixel_cnn with labels-grey",
    "gated_pixel_cnn-RGB",
    "image_gpt-grey",
    "pixel_cnn with labels-grey",
    "pixel_cnn-RGB",
    "pixel_cnn-grey",
    "pixel_cnn_pp-grey",
    "row_lstm-RGB",
    "row_lstm-grey",
)
@each_case
def test_cached_sampler_gives_the_naive_samplers_pixels(name, kind):
    _, levels = KINDS[kind]
    for seed in range(3):
        cached, _ = _sampler(name, kind, "cached")(seed)
        naive, _ = _sampler(name, kind, "naive")(seed)
        np.testing.assert_array_equal(cached, naive)
        assert cached.dtype == np.int32 and cached.min() >= 0 and cached.max() < levels
        assert len(np.unique(cached, axis=0)) > 1


@pytest.mark.slow_cases(
    "diagonal_lstm-RGB",
    "diagonal_lstm-grey",
    "gated_pixel_cnn-RGB",
    "image_gpt-grey",
    "pixel_cnn-RGB",
    "pixel_cnn_pp-grey",
    "row_lstm-RGB",
)
@each_case
def test_cached_outputs_are_those_of_the_full_pass(name, kind):
    """For images that the model did not draw, too: all their pixels are given."""
    entry, (shape, levels) = MODELS[name], KINDS[kind]
    given = np.random.default_rng(0).integers(0, levels, (COUNT, *shape)).astype(np.int32)
    x, seen = _sampler(name, kind, "cached")(given=given, mask=np.ones((COUNT, *shape[:2]), bool))
    np.testing.assert_array_equal(x, given)
    full = np.asarray(_full_pass(name, kind)(x))
    assert np.abs(full).max() > 0.1
    channels = shape[-1] if entry.by_channel else 1
    assert set(seen) == set(itertools.product(range(shape[0]), range(shape[1]), range(channels)))
    for (row, column, channel), y in seen.items():
        got, want = (a.reshape(COUNT, channels, -1)[:, channel] for a in (y, full[:, row, column]))
        np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.slow_cases("diagonal_lstm-RGB", "gated_pixel_cnn-RGB", "row_lstm-RGB")
@each_case
def test_inpainting_keeps_what_is_given(name, kind):
    shape, levels = KINDS[kind]
    rng = np.random.default_rng(1)
    mask = rng.random((COUNT, *shape[:2])) < 0.5
    given = rng.integers(0, levels, (COUNT, *shape)).astype(np.int32)
    drawn, _ = _sampler(name, kind, "cached")()
    completed, _ = _sampler(name, kind, "cached")(given=given, mask=mask)
    np.testing.assert_array_equal(completed[mask], given[mask])
    np.testing.assert_array_equal(completed, _sampler(name, kind, "naive")(given=given, mask=mask)[0])
    assert (completed != given).any()
    # What the model would have drawn there anyway changes nothing after it.
    np.testing.assert_array_equal(_sampler(name, kind, "cached")(given=drawn, mask=mask)[0], drawn)


@each_case
def test_temperature_zero_takes_the_mode(name, kind):
    entry, (shape, levels) = MODELS[name], KINDS[kind]
    cold, _ = _sampler(name, kind, "cached")(seed=0, temperature=0.0)
    for seed, temperature in ((1, 0.0), (2, 1e-5)):
        np.testing.assert_array_equal(_sampler(name, kind, "cached")(seed, temperature=temperature)[0], cold)
    if entry.by_channel:
        logits = np.asarray(_full_pass(name, kind)(cold)).reshape(COUNT, *shape, levels)
        np.testing.assert_array_equal(cold, logits.argmax(-1))


@pytest.mark.slow_cases("diagonal_lstm", "gated_pixel_cnn", "image_gpt", "pixel_cnn", "pixel_cnn_pp", "pixel_snail")
@pytest.mark.parametrize(
    "name", [name for name, entry in MODELS.items() if "grey" in entry.kinds and not entry.classes]
)
def test_samples_and_completions_have_the_models_probabilities(name):
    """2x2 binary images, all 16 of them; and those whose first pixel is given."""
    shape = (2, 2, 1)
    model = MODELS[name].build(shape, 2)
    images, p = assert_normalised(model, shape, 2, scale=0.8)
    params = random_params(model, shape, scale=0.8)
    run = jax.jit(lambda key, given, mask: model.sample(params, {}, key, 4000, given=given, mask=mask))
    for first in (False, True):
        mask = np.array([[first, False], [False, False]])
        x = np.asarray(run(jax.random.key(0), jnp.ones((1, *shape), jnp.int32), mask))
        counts = np.bincount(x.reshape(-1, 4) @ [8, 4, 2, 1], minlength=16)
        possible = images[:, 0, 0, 0] == 1 if first else np.full(16, True)
        assert counts[~possible].sum() == 0
        assert chisquare(counts[possible], p[possible] / p[possible].sum() * 4000).pvalue > 1e-4


def _work(jaxpr, names):
    """Numbers that the operations of a program write, those inside of others included; updates in place are free."""
    total = 0
    for eqn in jaxpr.eqns:
        inner = [getattr(p, "jaxpr", p) for p in jax.tree.leaves(tuple(eqn.params.values()), is_leaf=_is_jaxpr)]
        inner = [p for p in inner if hasattr(p, "eqns")]
        if inner:
            total += sum(_work(p, names) for p in inner)
        elif eqn.primitive.name not in ("dynamic_update_slice", "scatter"):
            size = sum(int(np.prod(v.aval.shape)) for v in eqn.outvars)
            names[eqn.primitive.name] = names.get(eqn.primitive.name, 0) + size
            total += size
    return total


def _is_jaxpr(x):
    return hasattr(x, "eqns") or hasattr(x, "jaxpr")


def _scan(jaxpr, length, before=0):
    """The body of the one loop of this length, after so many others."""
    loops = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan" and eqn.params["length"] == length]
    assert len(loops) == before + 1
    return loops[-1].params["jaxpr"].jaxpr


@pytest.mark.slow_cases("image_gpt with labels, in chunks-grey", "image_gpt-grey", "pixel_cnn-RGB", "pixel_snail-grey")
@each_case
def test_work_for_a_pixel_does_not_grow_with_the_image(name, kind):
    """Read from the program: the body of the loop over pixels, for images of two sizes or more.

    What attends has some for each position, always as much, and far less than the network itself.
    """
    entry, (shape, levels) = MODELS[name], KINDS[kind]
    positions, work = [], []
    for height, width in ((11, 13), (22, 39), (17, 29))[: 3 if entry.attends else 2]:  # sizes no layer's loops have
        model = entry.build((height, width, shape[-1]), levels)
        params = random_params(model, (height, width, shape[-1]), classes=entry.classes)
        program = jax.make_jaxpr(lambda key, m=model, p=params: m.sample(p, {}, key, 2, **labels(entry, 2)))
        names: dict[str, int] = {}
        body = _scan(_scan(program(jax.random.key(0)).jaxpr, height), width, entry.loops)
        work.append((_work(body, names), names))
        positions.append(height * width)
    each = (work[1][0] - work[0][0]) / (positions[1] - positions[0])
    of_pixel = work[0][0] - each * positions[0]
    assert of_pixel > 100
    if entry.attends:
        assert work[2][0] == of_pixel + each * positions[2]
        assert 0 < each < of_pixel / 20
    elif entry.constants:
        assert 0 <= each <= entry.constants
    else:
        assert work[0] == work[1]


@pytest.mark.parametrize("method", pixel_model.SAMPLERS)
def test_progress_is_told_of_every_row(method):
    shape = (3, 2, 1)
    model = pixel_cnn(shape, features=1, blocks=1, head_features=1)
    calls: list[tuple[int, int]] = []
    run = jax.jit(
        lambda params, key: model.sample(
            params, {}, key, 1, method=method, progress=lambda done, rows: calls.append((done, rows))
        )
    )
    run(random_params(model, shape), jax.random.key(0)).block_until_ready()
    jax.effects_barrier()
    assert calls == [(1, 3), (2, 3), (3, 3)]
