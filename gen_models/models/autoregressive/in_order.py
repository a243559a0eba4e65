"""Models of binary variables, each given those before it: what FVSBN, NADE and MADE share.

    log p(x) = sum over d of log p(x_d | x_<d),    "<" in some order of the variables

A model may have K members that share parameters, each with an order of its own. It is then their mixture with equal
weights, p(x) = 1/K sum_k p_k(x): an exact likelihood of something that can be sampled.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from gen_models.core import Key, Model, Params
from gen_models.distributions import bernoulli_log_prob
from gen_models.errors import unknown
from gen_models.models.inputs import check_temperature, completion, images, seen_of, within_levels

SAMPLERS = ("cached", "naive")
Index = int | Int[Array, ""]  # a member, 0 to K - 1


class OneByOne(NamedTuple):
    """A network that takes one variable after another, at a small cost each."""

    carry: Any  # what it keeps of the variables so far: of none, at first
    logit: Callable[[Any, Array], Float[Array, "n"]]  # (carry, d) -> of variable d
    update: Callable[[Any, Array, Float[Array, "n"]], Any]  # (carry, d, its values) -> carry


def binary_model(
    shape: Sequence[int],
    orders: Int[np.ndarray, "k d"],
    init: Callable[[Key], Params],
    logits: Callable[[Params, Float[Array, "b d"], Index, Key | None], Float[Array, "b d"]],
    one_by_one: Callable[[Params, Index, int], OneByOne],
) -> Model:
    """A model of images [B, *shape] of zeros and ones, whose variables are pixels and channels in raster order.

    Its functions:
      loss: minus the mean of log p_k(x), in nats per image, k = step mod K; not `train`: of log p(x). Metrics:
        "bits_per_dim".
      apply(params, stats, x, index=0): logits [B, *shape] of each variable given those before it, of member `index`.
      log_prob(params, stats, x, key=None, index=None, mask=None): exact, [B] nats, of the mixture, in K passes; or of
        one member, and with `mask`, [H, W] or [B, H, W], summed over the pixels where it is true, each given those
        before it. What is neither 0 nor 1 has no probability: NaN inside of `jit`, an error outside.
      sample(params, stats, key, n, index=None, given=None, mask=None, temperature=1.0, method="cached", progress=None):
        float32 [n, *shape] of zeros and ones. Each image is from a random member (n images from as many different ones
        as there are), or from `index`. Where `mask`, [H, W] or [n, H, W], is true, pixels are those of `given`,
        [n, H, W, C], and others are drawn given those before them in the member's order. `progress` is called with
        (variables done, variables) a hundred times or so, at last with all done. The method "naive" runs the whole
        network for each variable: the same images, for comparison.

    Args:
      shape: (height, width, channels).
      orders: for each member the variables in its order.
      init: key -> parameters.
      logits: (params, x, index, key) -> of all variables; `key` is for noise in training, None elsewhere.
      one_by_one: (params, index, n) -> the same logits one by one, for n images.

    Raises:
      ValueError: a batch of another shape or of other values, or a member that there is not.
    """
    shape = tuple(shape)
    members, size = orders.shape

    def flat(x):
        return images({"x": x}, shape).reshape(-1, size)

    def member(index):
        index = jnp.asarray(index)
        wrong = (index < 0) | (index >= members)
        if not isinstance(wrong, jax.core.Tracer) and bool(wrong):
            raise ValueError(f"index must be from 0 to {members - 1}, as there are {members} members, got {index}")
        return index

    def start(key, batch):
        images(batch, shape)
        return init(key), {}

    def apply(params, stats, x, index: Index = 0):
        """Logits [B, *shape] of each variable given those before it in the order of member `index`."""
        return logits(params, flat(x), member(index), None).reshape(-1, *shape)

    def of_member(params, x, index, key=None, seen=None):
        fits = within_levels(x.reshape(-1, *shape), 2)
        each = logits(params, x, index, key)
        if seen is None:
            log_p = bernoulli_log_prob(x, each)
        else:
            log_p = jnp.where(seen, x * each - jax.nn.softplus(each), 0).sum(-1)
        return jnp.where(fits, log_p, jnp.nan)

    def log_prob(params, stats, x, key=None, *, index: Index | None = None, mask=None) -> Float[Array, " b"]:
        """Exact log p(x), [B] nats; with `index`, of that member; with `mask`, of the pixels where it is true."""
        x = flat(x)
        seen = seen_of(mask, x.shape[0], shape)
        if seen is not None:
            seen = jnp.broadcast_to(seen[..., None], (x.shape[0], *shape)).reshape(x.shape)
        if index is not None or members == 1:
            return of_member(params, x, 0 if index is None else member(index), seen=seen)
        if seen is not None:
            raise ValueError(f"mask needs index: {members} members have orders of their own")
        each = lax.map(lambda index: of_member(params, x, index), jnp.arange(members))
        return jax.nn.logsumexp(each, axis=0) - math.log(members)

    def loss(params, stats, batch, key, *, step, train=True):
        """Minus the mean of log p_k(x), in nats per image, k = step mod K; not `train`: of log p(x)."""
        if train:
            log_p = of_member(params, flat(images(batch, shape)), step % members if members > 1 else 0, key)
        else:
            log_p = log_prob(params, stats, images(batch, shape))
        value = -log_p.mean()
        return value, (stats, {"bits_per_dim": value / (size * math.log(2))})

    def sample(
        params,
        stats,
        key: Key,
        n: int,
        *,
        index: Index | None = None,
        given: Array | None = None,
        mask: Array | None = None,
        temperature: float | Array = 1.0,
        method: Literal["cached", "naive"] = "cached",
        progress: Callable[[int, int], Any] | None = None,
    ) -> Float[Array, "n h w c"]:
        """Images drawn from the model, or completed."""
        if method not in SAMPLERS:
            raise unknown("sampling method", method, SAMPLERS)
        check_temperature(temperature)
        value, pixels = completion(given, mask, n, shape, 2)
        known = jnp.broadcast_to(pixels[..., None], (n, *shape)).reshape(n, size)
        value = value.reshape(n, size)
        which_key, key = jax.random.split(key)
        groups = min(n, members) if index is None else 1
        chosen = jax.random.permutation(which_key, members)[:groups] if index is None else member(index)[None]
        each = -(-n // groups)
        rows = jnp.minimum(jnp.arange(groups * each), n - 1).reshape(each, groups)  # image i is of group i mod groups

        def whole(index) -> OneByOne:
            return OneByOne(
                jnp.zeros((each, size)),
                lambda x, d: logits(params, x, index, None)[:, d],
                lambda x, d, drawn: x.at[:, d].set(drawn),
            )

        def draw(group):
            network = one_by_one(params, chosen[group], each) if method == "cached" else whole(chosen[group])

            def report(done):
                if progress is not None:
                    call = partial(_report, progress, groups * size)
                    jax.debug.callback(call, group * size + done, ordered=True)

            return _draw(
                network,
                jax.random.fold_in(key, group),
                jnp.asarray(orders)[chosen[group]],
                known[rows[:, group]],
                value[rows[:, group]],
                temperature,
                report,
                max(1, 100 // groups),
            )

        x = lax.map(draw, jnp.arange(groups))  # [groups, each, D]
        return jnp.swapaxes(x, 0, 1).reshape(groups * each, *shape)[:n]

    return Model(start, loss, apply=apply, sample=sample, log_prob=log_prob)


def image_size(shape: Sequence[int], **sizes: int) -> int:
    """The number of variables of an image [H, W, C].

    Raises:
      ValueError: `shape` is not three sizes, or one of these or of `sizes` is not positive.
    """
    if len(shape) != 3 or min((*shape, *sizes.values())) < 1:
        others = "".join(f", {name}={value}" for name, value in sizes.items())
        raise ValueError(
            f"shape must be (height, width, channels) and sizes positive, got shape={tuple(shape)}{others}"
        )
    return math.prod(shape)


def raster_order(size: int) -> Int[np.ndarray, "1 d"]:
    """One order: that of the pixels' places in memory, then channels."""
    return np.arange(size)[None]


def _draw(network, key, order, known, value, temperature, report, reports):
    """[n, D]: variables in their order, in one scan; variable d is drawn with `fold_in(key, d)`."""
    n, size = known.shape
    every = -(-size // reports)

    def one(carry, step):
        d = order[step]
        probability = jax.nn.sigmoid(network.logit(carry, d) / temperature)
        drawn = jax.random.bernoulli(jax.random.fold_in(key, d), probability).astype(jnp.float32)
        drawn = jnp.where(known[:, d], value[:, d], drawn)
        lax.cond(((step + 1) % every == 0) | (step + 1 == size), lambda: report(step + 1), lambda: None)
        return network.update(carry, d, drawn), drawn

    _, drawn = lax.scan(one, network.carry, jnp.arange(size))  # [D, n], in the order
    return jnp.zeros((n, size)).at[:, order].set(drawn.T)


def _report(progress, total, done):
    progress(int(done), total)
