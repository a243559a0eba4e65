"""Autoregressive models of images: exact likelihoods, and sampling that computes each pixel once.

    log p(x) = sum over pixels i in raster order of log p(x_i | x_<i)

A network of causal layers (`gen_models/nn/causal.py`) and a head (`gen_models/nn/heads.py`) make a `Model`. Its sampler
is one compiled scan over rows and pixels that carries the image so far and what the layers keep; a naive sampler, which
runs the whole network for every pixel and channel, stands beside it and gives the same pixels for the same key. In half
precision a few may differ: sums are rounded in another order, and that decides where two levels are nearly as probable.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_models.core import Key, Model, Params
from gen_models.errors import unknown
from gen_models.models.inputs import (
    check_count,
    check_temperature,
    checked_labels,
    completion,
    images,
    labels_of,
    seen_of,
    within_levels,
)
from gen_models.models.sizes import check_sizes
from gen_models.nn.causal import At
from gen_models.nn.heads import Head, to_unit_range

SAMPLERS = ("cached", "naive")


def pixel_model(
    network: nn.Module, head: Head, shape: Sequence[int], levels: int, *, classes: int | None = None
) -> Model:
    """A model of images [B, H, W, C] of integers 0 to levels - 1, in any dtype.

    Its functions:
      loss: minus the mean of log p, in nats per image; metrics "bits_per_dim". Reads `batch["x"]`, and with
        `classes` also `batch["y"]`.
      apply(params, stats, x, label=None): the network's outputs for every pixel, [B, H, W, head.outputs].
      log_prob(params, stats, x, key=None, label=None, mask=None): exact, [B] nats. With `mask`, [H, W] or [B, H, W],
        the sum over pixels where it is true, each given all before it: where these are the last pixels, that is log p
        of them given the others. Images of what is no integer from 0 to levels - 1 have none, nor has one with a label
        of no class: NaN inside of `jit`, an error outside.
      sample(params, stats, key, n, label=None, given=None, mask=None, temperature=1.0, method="cached",
        progress=None): int32 [n, H, W, C]. `label` is [n] integers. Where `mask`, [H, W] or [n, H, W], is true, pixels
        are those of `given`, [n, H, W, C], and the others are drawn from the model given those before them (Oord et
        al., 2016, figure 1: completions). Logits are divided by `temperature`: 0 takes the most probable level, of a
        mixture the mean of the most probable component (its scales are multiplied by it); one of several that are as
        probable is drawn. Inside of `jit`, an image is -1 throughout where an argument is wrong that would be an error
        outside. `progress` is called with (rows done, rows) while it runs.

    Args:
      network: called as `network(x, label, at, train)`, x scaled to [-1, 1]; see `gen_models/nn/causal.py`.
      head: the distribution of a pixel given the network's outputs for it.
      shape: (height, width, channels).
      levels: values that a channel takes, 2 or more.
      classes: of labels that the network takes; None: it takes none.

    Raises:
      ValueError: a size or `classes` is not positive or `levels` is below 2; a batch of another shape; labels where the
        model takes none, none where it does, or of classes that there are not; pixels beyond the levels.
    """
    check_sizes(shape=shape, levels=levels, classes=classes)
    height, width, channels = shape = tuple(shape)
    if levels < 2:
        raise ValueError(f"a pixel needs two levels or more, got {levels=}")

    def labels(label, n):
        """What the network gets, and whether each is a class; of those that are not, an embedding is NaN."""
        if (label is None) != (classes is None):
            needs = "takes no labels" if classes is None else f"needs labels below {classes}"
            raise ValueError(f"the model {needs}, got label={'None' if label is None else 'an array'}")
        if label is None or classes is None:
            return None, True
        label, fits = checked_labels(label, n, classes)
        return jnp.where(fits, label, classes), fits  # -1 would be the last class

    def init(key, batch):
        images(batch, shape)
        label = None if classes is None else jnp.zeros(1, jnp.int32)
        return network.init(key, jnp.zeros((1, *shape), jnp.float32), label, None, False)["params"], {}

    def outputs(params, x, label, train=False, key=None):
        rngs = None if key is None else {"dropout": key}
        x = to_unit_range(x, levels)
        return network.apply({"params": params}, x, labels(label, x.shape[0])[0], None, train, rngs=rngs)

    def apply(params, stats, x, label=None):
        """The network's outputs, [B, H, W, head.outputs]."""
        return outputs(params, images({"x": x}, shape), label)

    def of_pixels(params, batch, label, *how):
        """log p of each pixel given those before it, [B, H, W]."""
        x = images(batch, shape)
        fits = within_levels(x, levels)
        log_p = head.log_prob(outputs(params, x, label, *how), x.astype(jnp.int32))
        return jnp.where(fits[:, None, None], log_p, jnp.nan)

    def log_prob(params, stats, x, key=None, label=None, mask=None) -> Float[Array, " b"]:
        """Exact log p(x), [B] nats, or of the pixels where `mask` is true."""
        log_p = of_pixels(params, {"x": x}, label)
        seen = seen_of(mask, len(log_p), shape)
        return (log_p if seen is None else jnp.where(seen, log_p, 0)).sum((1, 2))

    def loss(params, stats, batch, key, *, step, train=True):
        """Minus the mean of log p(x) in nats per image; dropout where `train`."""
        label = None if classes is None else labels_of(batch)
        value = -of_pixels(params, batch, label, train, key).sum((1, 2)).mean()
        return value, (stats, {"bits_per_dim": value / (height * width * channels * jnp.log(2.0))})

    def sample(
        params,
        stats,
        key: Key,
        n: int,
        *,
        label: Int[Array, " n"] | None = None,
        given: Array | None = None,
        mask: Array | None = None,
        temperature: float | Array = 1.0,
        method: Literal["cached", "naive"] = "cached",
        progress: Callable[[int, int], Any] | None = None,
    ) -> Int[Array, "n h w c"]:
        """Images drawn from the model, or completed."""
        check_count(n)
        fits = check_temperature(temperature)
        label, classified = labels(label, n)
        given, mask, levelled = completion(given, mask, n, shape, levels)
        x = drawn_pixels(
            network,
            head,
            params,
            label,
            key,
            jnp.round(given).astype(jnp.int32),
            mask,
            levels,
            temperature=temperature,
            method=method,
            progress=progress,
        )
        return jnp.where(jnp.reshape(fits & classified & levelled, (n, 1, 1, 1)), x, -1)

    return Model(init, loss, apply=apply, sample=sample, log_prob=log_prob)


def drawn_pixels(
    network: nn.Module,
    head: Head,
    params: Params,
    condition: Any,
    key: Key,
    given: Int[Array, "n h w c"],
    mask: Bool[Array, "n h w"],
    levels: int,
    *,
    temperature: float | Array = 1.0,
    method: Literal["cached", "naive"] = "cached",
    progress: Callable[[int, int], Any] | None = None,
) -> Int[Array, "n h w c"]:
    """Images drawn from a network of causal layers and a head, pixel by pixel; those of `given` where `mask` is true.

    Args:
      network: called as `network(x, condition, at, train)`, x scaled to [-1, 1].
      head: the distribution of a pixel given the network's outputs for it.
      params: the network's.
      condition: what the network takes beside the images, of all n; None: nothing.
      key: a typed key.
      given: the pixels that are known, and anything elsewhere.
      mask: which are known.
      levels: values that a channel takes.
      temperature: by which logits are divided.
      method: "cached" computes each pixel once, "naive" the whole network for each.
      progress: called with (rows done, rows).

    Raises:
      ValueError: the method is unknown.
    """
    if method not in SAMPLERS:
        raise unknown("sampling method", method, SAMPLERS)
    draw = partial(_draw, head, key, given, mask, temperature, levels)
    call = partial(network.apply, mutable=["cache"]) if method == "cached" else network.apply
    sampler = _cached if method == "cached" else _naive
    channels = given.shape[-1] if head.by_channel else 1
    x = sampler(call, params, condition, draw, given.shape, channels, progress)
    return jnp.round((x + 1) * ((levels - 1) / 2)).astype(jnp.int32)


def _draw(head, key, given, mask, temperature, levels, outputs, x, row, column, channel):
    """The image x [n, H, W, C], scaled, with one more channel of a pixel, or with the whole pixel."""
    n, _, width, channels = x.shape
    at = (0, row, column, 0)
    pixel = lax.dynamic_slice(x, at, (n, 1, 1, channels))[:, 0, 0]
    pixel = jnp.round((pixel + 1) * ((levels - 1) / 2)).astype(jnp.int32)
    key = jax.random.fold_in(jax.random.fold_in(key, row * width + column), channel)
    drawn = head.draw(key, outputs, pixel, channel, temperature)
    known = lax.dynamic_slice(mask, at[:3], (n, 1, 1))[:, 0]
    drawn = jnp.where(known, lax.dynamic_slice(given, at, (n, 1, 1, channels))[:, 0, 0], drawn)
    return lax.dynamic_update_slice(x, to_unit_range(drawn, levels)[:, None, None], at)


def _cached(call, params, condition, draw, shape, channels, progress):
    """Rows, pixels, channels; each layer computes what the next pixel needs and keeps what later ones will."""
    _, height, width, _ = shape

    def at_row(cache, x, row):
        return call({"params": params, "cache": cache}, x, condition, At(row, None, (height, width)), False)[1]["cache"]

    def at_pixel(cache, x, row, column):
        at = At(row, column, (height, width))
        outputs, new = call({"params": params, "cache": cache}, x, condition, at, False)
        return outputs[:, 0, 0], new.get("cache", {})

    def one_channel(carry, channel, row, column):
        x, cache = carry
        outputs, cache = at_pixel(cache, x, row, column)
        return (draw(outputs, x, row, column, channel), cache), None

    def one_pixel(carry, column, row):
        step = partial(one_channel, row=row, column=column)
        if channels == 1:
            return step(carry, 0)[0], None
        return lax.scan(step, carry, jnp.arange(channels))[0], None

    def one_row(carry, row):
        x, cache = carry
        cache = at_row(cache, x, row) if cache else cache
        carry, _ = lax.scan(partial(one_pixel, row=row), (x, cache), jnp.arange(width))
        if progress is not None:
            jax.debug.callback(partial(_report, progress, height), row + 1, ordered=True)
        return carry, None

    x = jnp.zeros(shape, jnp.float32)
    start = At(jnp.int32(0), None, (height, width))
    made = jax.eval_shape(lambda params, x: call({"params": params}, x, condition, start, False)[1], params, x)
    cache = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), made.get("cache", {}))
    (x, _), _ = lax.scan(one_row, (x, cache), jnp.arange(height))
    return x


def _naive(call, params, condition, draw, shape, channels, progress):
    """The whole network for every channel of every pixel."""
    n, height, width, _ = shape

    def one(x, index):
        row, column, channel = index // (width * channels), index // channels % width, index % channels
        outputs = call({"params": params}, x, condition, None, False)
        outputs = lax.dynamic_slice(outputs, (0, row, column, 0), (n, 1, 1, outputs.shape[-1]))[:, 0, 0]
        if progress is not None:
            report = partial(jax.debug.callback, partial(_report, progress, height), ordered=True)
            ends = (index + 1) % (width * channels) == 0
            lax.cond(ends, lambda: report(row + 1), lambda: None)
        return draw(outputs, x, row, column, channel), None

    return lax.scan(one, jnp.zeros(shape, jnp.float32), jnp.arange(height * width * channels))[0]


def _report(progress, rows, row):
    progress(int(row), rows)
