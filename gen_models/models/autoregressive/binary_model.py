"""Models of images of zeros and ones, from a network that gives each variable's logit given those before it.

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
from jaxtyping import Array, Bool, Float, Int

from gen_models.core import Batch, Key, Metrics, Model, Params, Stats
from gen_models.distributions import bernoulli_log_prob
from gen_models.errors import unknown
from gen_models.models.autoregressive.in_order import Index, OneByOne, draw_in_order, whole_network
from gen_models.models.inputs import check_temperature, completion, images, seen_of, within_levels

SAMPLERS = ("cached", "naive")
_REPORTS = 100  # of a sampler's progress, about


class Network(NamedTuple):
    """What a model is made of; `binary_model` says what each is."""

    shape: tuple[int, ...]  # (height, width, channels)
    orders: Int[np.ndarray, "k d"]
    logits: Callable[[Params, Float[Array, "b d"], Index, Key | None], Float[Array, "b d"]]
    one_by_one: Callable[[Params, Index, int], OneByOne]

    @property
    def members(self) -> int:
        """K."""
        return self.orders.shape[0]

    @property
    def size(self) -> int:
        """D, the number of variables."""
        return self.orders.shape[1]


def binary_model(
    shape: Sequence[int],
    orders: Int[np.ndarray, "k d"],
    init: Callable[[Key], Params],
    logits: Callable[[Params, Float[Array, "b d"], Index, Key | None], Float[Array, "b d"]],
    one_by_one: Callable[[Params, Index, int], OneByOne],
) -> Model:
    """A model of images [B, *shape] of zeros and ones, whose variables are pixels and channels in raster order.

    Its functions are those of this file, without their first argument: `loss`, `apply`, `log_prob` and `sample`.

    Args:
      shape: (height, width, channels).
      orders: for each member the variables in its order.
      init: key -> parameters.
      logits: (params, x, index, key) -> of all variables; `key` is for noise in training, None elsewhere.
      one_by_one: (params, index, n) -> the same logits one by one, for n images.

    Raises:
      ValueError: a batch of another shape or of other values, or a member that there is not.
    """
    network = Network(tuple(shape), orders, logits, one_by_one)

    def start(key, batch):
        images(batch, network.shape)
        return init(key), {}

    return Model(
        start,
        partial(loss, network),
        apply=partial(apply, network),
        sample=partial(sample, network),
        log_prob=partial(log_prob, network),
    )


def apply(
    network: Network, params: Params, stats: Stats, x: Array, index: Index = 0
) -> Float[Array, "b height width channels"]:
    """Logits [B, *shape] of each variable given those before it in the order of member `index`.

    Raises:
      ValueError: x has another shape than the model's, or there is no such member.
    """
    return network.logits(params, _flat(network, x), _member(network, index), None).reshape(-1, *network.shape)


def log_prob(
    network: Network,
    params: Params,
    stats: Stats,
    x: Array,
    key: Key | None = None,
    *,
    index: Index | None = None,
    mask: Array | None = None,
) -> Float[Array, " b"]:
    """Exact log p(x), [B] nats, of the mixture, in K passes; or of one member.

    What is neither 0 nor 1 has no probability: NaN inside of `jit`, an error outside.

    Args:
      network: what the model is made of.
      params: the parameters.
      stats: none.
      x: [B, *shape].
      key: not read: the likelihood is exact.
      index: of one member; None: of the mixture.
      mask: [H, W] or [B, H, W]; the sum runs over the pixels where it is true, each given those before it. With several
        members it needs `index`.

    Raises:
      ValueError: x has another shape, or outside of `jit` other values; there is no such member; or `mask` without
        `index`.
    """
    x = _flat(network, x)
    seen = seen_of(mask, x.shape[0], network.shape)
    if seen is not None:
        seen = jnp.broadcast_to(seen[..., None], (x.shape[0], *network.shape)).reshape(x.shape)
    if index is not None or network.members == 1:
        return _log_prob_of_member(network, params, x, 0 if index is None else _member(network, index), seen=seen)
    if seen is not None:
        raise ValueError(f"mask needs index: {network.members} members have orders of their own")
    each = lax.map(lambda index: _log_prob_of_member(network, params, x, index), jnp.arange(network.members))
    return jax.nn.logsumexp(each, axis=0) - math.log(network.members)


def loss(
    network: Network, params: Params, stats: Stats, batch: Batch, key: Key, *, step: Any, train: bool = True
) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
    """Minus the mean of log p_k(x), in nats per image, k = step mod K; where not `train`, of log p(x).

    Its metric is "bits_per_dim".
    """
    x = images(batch, network.shape)
    if train:
        index = step % network.members if network.members > 1 else 0
        log_p = _log_prob_of_member(network, params, _flat(network, x), index, key)
    else:
        log_p = log_prob(network, params, stats, x)
    value = -log_p.mean()
    return value, (stats, {"bits_per_dim": value / (network.size * math.log(2))})


def sample(
    network: Network,
    params: Params,
    stats: Stats,
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
    """Images drawn from the model, or completed: float32 [n, *shape] of zeros and ones.

    Args:
      network: what the model is made of.
      params: the parameters.
      stats: none.
      key: a typed key.
      n: images.
      index: the member that draws them; None: each image is from a random one, n images from as many different members
        as there are.
      given: [n, H, W, C], or [1, H, W, C]: pixels that are known where `mask` is true. The others are drawn given those
        before them in the member's order.
      mask: [H, W] or [n, H, W], true where a pixel is given.
      temperature: by which logits are divided; 0 takes the more probable value.
      method: "naive" runs the whole network for each variable: the same images, for comparison.
      progress: called with (variables done, variables) a hundred times or so, at last with all done.

    Raises:
      ValueError: another method, a temperature that is negative, n below 1, no such member, or what is given does not
        fit the shape or is neither 0 nor 1.
    """
    if method not in SAMPLERS:
        raise unknown("sampling method", method, SAMPLERS)
    check_temperature(temperature)
    value, pixels = completion(given, mask, n, network.shape, 2)
    known = jnp.broadcast_to(pixels[..., None], (n, *network.shape)).reshape(n, network.size)
    value = value.reshape(n, network.size)
    which_key, key = jax.random.split(key)
    chosen = _members_that_draw(network, which_key, n, index)
    groups = len(chosen)  # of images, one for each member that draws
    each = -(-n // groups)
    # Image i is of group i mod groups. Where the groups do not divide n, the last image is drawn again to fill them.
    rows = jnp.minimum(jnp.arange(groups * each), n - 1).reshape(each, groups)

    def draw(group):
        member, mine = chosen[group], rows[:, group]
        made = network.one_by_one(params, member, each) if method == "cached" else _naive(network, params, member, each)
        order = jnp.asarray(network.orders)[member]
        report = partial(_report_group, progress, group, groups, network.size)
        own_key = jax.random.fold_in(key, group)
        return draw_in_order(
            made, own_key, order, known[mine], value[mine], temperature, report, max(1, _REPORTS // groups)
        )

    x = lax.map(draw, jnp.arange(groups))  # [groups, each, D]
    return jnp.swapaxes(x, 0, 1).reshape(groups * each, *network.shape)[:n]


def _flat(network: Network, x: Array) -> Float[Array, "b d"]:
    return images({"x": x}, network.shape).reshape(-1, network.size)


def _member(network: Network, index: Index) -> Int[Array, ""]:
    """The index as an array, checked where it is known."""
    members, index = network.members, jnp.asarray(index)
    wrong = (index < 0) | (index >= members)
    if not isinstance(wrong, jax.core.Tracer) and bool(wrong):
        raise ValueError(f"index must be from 0 to {members - 1}, as there are {members} members, got {index}")
    return index


def _log_prob_of_member(
    network: Network,
    params: Params,
    x: Float[Array, "b d"],
    index: Index,
    key: Key | None = None,
    seen: Bool[Array, "b d"] | None = None,
) -> Float[Array, " b"]:
    """log p_k(x), or of the variables that are seen; NaN where x holds anything but 0 and 1."""
    fits = within_levels(x.reshape(-1, *network.shape), 2)
    each = network.logits(params, x, index, key)
    if seen is None:
        log_p = bernoulli_log_prob(x, each)
    else:
        log_p = jnp.where(seen, x * each - jax.nn.softplus(each), 0).sum(-1)
    return jnp.where(fits, log_p, jnp.nan)


def _members_that_draw(network: Network, key: Key, n: int, index: Index | None) -> Int[Array, " groups"]:
    if index is not None:
        return _member(network, index)[None]
    return jax.random.permutation(key, network.members)[: min(n, network.members)]


def _naive(network: Network, params: Params, member: Index, n: int) -> OneByOne:
    return whole_network(lambda x: network.logits(params, x, member, None), n, network.size)


def _report_group(progress, group, groups, size, done):
    """Tells how many variables of all groups are done, when `done` of this one are; groups draw one after another."""
    if progress is not None:
        jax.debug.callback(partial(_report, progress, groups * size), group * size + done, ordered=True)


def _report(progress, total, done):
    progress(int(done), total)
