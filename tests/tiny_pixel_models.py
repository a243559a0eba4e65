"""Tiny autoregressive models of images, and what their tests do with them.

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

from gen_models.core import Model
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
def made(name, kind):
    shape, levels = KINDS[kind]
    model = MODELS[name].build(shape, levels)
    return model, random_params(model, shape, classes=MODELS[name].classes)
