"""What every autoregressive image model must satisfy: causality, normalisation, and a sampler that is the model.

A model joins with an entry in MODELS.
"""

import itertools
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.stats import chisquare

from gen_models.core import Model
from gen_models.models.autoregressive import pixel_model
from gen_models.models.autoregressive.gated_pixel_cnn import gated_pixel_cnn
from gen_models.models.autoregressive.image_gpt import image_gpt
from gen_models.models.autoregressive.pixel_cnn import pixel_cnn
from gen_models.models.autoregressive.pixel_cnn_pp import pixel_cnn_pp
from gen_models.models.autoregressive.pixel_rnn import pixel_rnn
from gen_models.models.autoregressive.pixel_snail import pixel_snail


class Entry(NamedTuple):
    """A tiny model, and what its tests need to know."""

    build: Callable[..., Model]  # (shape, levels) -> Model; three channels must be allowed unless `kinds` says not
    classes: int | None = None
    by_channel: bool = True  # outputs are [channels, levels], each channel's from those before it; else of whole pixels
    attends: bool = False  # to all earlier positions: the one operation on them that a pixel's step may hold
    loops: int = 0  # of its layers over a whole row, when one begins
    constants: int = 0  # of each of the image's pixels, in a step's program: compiled, it makes only those it reads
    kinds: tuple[str, ...] = ("grey", "RGB")


_TINY = {"features": 6, "first_window": 5, "head_features": 6}
_RNN = {"features": 6, "layers": 2, "first_window": 5, "head_features": 6}
_SNAIL = {"features": 6, "residual_blocks": 1, "key_features": 4}
_PP = {"features": 4, "blocks": 1, "resolutions": 1}
MODELS = {
    "pixel_cnn": Entry(partial(pixel_cnn, **_TINY, blocks=2)),
    "pixel_cnn with labels": Entry(partial(pixel_cnn, **_TINY, blocks=1, classes=3), classes=3, kinds=("grey",)),
    "gated_pixel_cnn": Entry(partial(gated_pixel_cnn, **_TINY, layers=3)),
    "gated_pixel_cnn with labels": Entry(
        partial(gated_pixel_cnn, **_TINY, layers=2, classes=3), classes=3, kinds=("grey",)
    ),
    "row_lstm": Entry(partial(pixel_rnn, **_RNN, kind="row")),
    "diagonal_lstm": Entry(partial(pixel_rnn, **_RNN, kind="diagonal"), loops=2),
    "pixel_cnn_pp": Entry(partial(pixel_cnn_pp, **_PP, mixtures=None), constants=1, kinds=("grey",)),
    "pixel_cnn_pp with a mixture": Entry(
        partial(pixel_cnn_pp, **_PP, mixtures=2), by_channel=False, constants=1, kinds=("RGB",)
    ),
    "image_gpt": Entry(partial(image_gpt, features=8, layers=2, heads=2), attends=True),
    "image_gpt with labels, in chunks": Entry(
        partial(image_gpt, features=8, layers=1, heads=2, classes=3, chunk=4), classes=3, attends=True, kinds=("grey",)
    ),
    "pixel_snail": Entry(partial(pixel_snail, **_SNAIL, blocks=2), attends=True),
    "pixel_snail with labels, in chunks": Entry(
        partial(pixel_snail, **_SNAIL, blocks=1, classes=3, chunk=4), classes=3, attends=True, kinds=("grey",)
    ),
    "pixel_snail with a mixture": Entry(
        partial(pixel_snail, **_SNAIL, blocks=1, mixtures=2), by_channel=False, attends=True, kinds=("RGB",)
    ),
}
KINDS = {"grey": ((5, 4, 1), 2), "RGB": ((4, 3, 3), 3)}  # shape, levels
ENUMERATED = {"grey": ((3, 3, 1), 2), "RGB": ((2, 2, 3), 2)}  # 512 and 4096 images
CASES = [
    pytest.param(
        name, kind, marks=[pytest.mark.slow] if kind == "RGB" and (entry.attends or entry.constants) else []
    )  # the longest
    for name, entry in MODELS.items()
    for kind in entry.kinds
]
COUNT = 6  # images a sampler draws

each_case = pytest.mark.parametrize(("name", "kind"), CASES)


def random_params(model, shape, seed=0, scale=0.4, classes=None):
    """Parameters far from zero, so that a connection that should not be there shows."""
    batch = {"x": jnp.zeros((1, *shape))} | ({} if classes is None else {"y": jnp.zeros(1, jnp.int32)})
    like, _ = jax.eval_shape(model.init, jax.random.key(0), batch)
    flat, unflatten = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like))
    return unflatten(jnp.asarray(np.random.default_rng(seed).normal(0, scale, flat.shape), flat.dtype))


def labels(entry, count):
    """As a keyword argument, where the model takes one."""
    return {} if entry.classes is None else {"label": jnp.arange(count) % entry.classes}


def assert_causal(model, shape, *, by_channel=True, classes=None, **condition):
    """Outputs depend on earlier (pixel, channel) pairs alone, and on the one just before, in the same row."""
    height, width, channels = shape
    units = channels if by_channel else 1

    @jax.jit
    def jacobian(params, x):
        def outputs(x):
            return model.apply(params, {}, x[None], **condition)[0].reshape(height * width * units, -1)

        return jnp.abs(jax.jacrev(outputs)(x)).sum(1).reshape(height * width * units, height * width * channels)

    total = 0.0
    for seed in range(24):  # a unit that is switched off for one of them hides nothing for all
        x = np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
        total += np.asarray(jacobian(random_params(model, shape, seed, classes=classes), x), np.float64)
    assert np.isfinite(total).all()
    before = np.arange(height * width * channels) < (np.arange(height * width * units) * (channels // units))[:, None]
    assert (total[~before] == 0).all()
    for unit in range(1, len(total)):
        if unit % (width * units):
            assert total[unit, unit * (channels // units) - 1] > 0, f"output {unit} ignores what comes just before"


def assert_normalised(model, shape, levels, *, classes=None, scale=0.4, **condition):
    """The probabilities of all images sum to 1: they are returned. The condition is that of one image."""
    size = int(np.prod(shape))
    x = np.array(list(itertools.product(range(levels), repeat=size)), np.int32).reshape(-1, *shape)
    condition = {k: jnp.broadcast_to(v, (len(x),)) for k, v in condition.items()}
    log_p = jax.jit(lambda params, x: model.log_prob(params, {}, x, **condition))
    p = np.exp(np.float64(log_p(random_params(model, shape, scale=scale, classes=classes), x)))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    assert p.max() > 2 * p.min()  # and they differ
    return x, p


@cache
def _model(name, kind):
    shape, levels = KINDS[kind]
    model = MODELS[name].build(shape, levels)
    return model, random_params(model, shape, classes=MODELS[name].classes)


@cache
def _sampler(name, kind, method):
    """(key, given, mask, temperature) -> (images, outputs that they were drawn from), compiled once for all tests."""
    entry, (shape, _) = MODELS[name], KINDS[kind]
    model, params = _model(name, kind)
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
    entry, (model, params) = MODELS[name], _model(name, kind)
    return jax.jit(lambda x: model.apply(params, {}, x, **labels(entry, COUNT)))


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
    assert_causal(_model(name, kind)[0], shape, by_channel=entry.by_channel, classes=entry.classes, **labels(entry, 1))


@pytest.mark.slow_cases(
    "diagonal_lstm-RGB", "diagonal_lstm-grey", "gated_pixel_cnn-RGB", "image_gpt-grey", "pixel_snail-grey"
)
@each_case
def test_probabilities_of_all_images_sum_to_one(name, kind):
    entry, (shape, levels) = MODELS[name], ENUMERATED[kind]
    condition = {} if entry.classes is None else {"label": jnp.int32(1)}
    assert_normalised(entry.build(shape, levels), shape, levels, classes=entry.classes, **condition)


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


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.classes])
def test_labels_change_the_model(name):
    model, params = _model(name, "grey")
    x = np.random.default_rng(0).integers(0, 2, (COUNT, *KINDS["grey"][0]))
    log_p = jax.jit(lambda label: model.log_prob(params, {}, x, label=label))
    values = np.stack([log_p(jnp.full(COUNT, c)) for c in range(MODELS[name].classes)])
    assert (np.abs(np.diff(values, axis=0)) > 1e-3).all()


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


@pytest.mark.slow_cases("image_gpt-grey", "pixel_cnn-RGB", "pixel_snail-grey")
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
