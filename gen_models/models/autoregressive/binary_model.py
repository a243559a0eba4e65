"""Models of images of zeros and ones, from a network that gives each variable's logit given those before it.

    log p(x) = sum over d of log p(x_d | x_<d),    "<" in some order of the variables

A model may have K members that share parameters, each with an order of its own. It is then their mixture with equal
weights, p(x) = 1/K sum_k p_k(x): an exact likelihood of something that can be sampled. Given some variables x_G, it is
a mixture with other weights,

    p(x | x_G) = sum_k p(k | x_G) p_k(x | x_G),    p(k | x_G) = p_k(x_G) / sum_j p_j(x_G)

which can be computed where the given variables come first in the order of every member.
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
from gen_models.models.inputs import check_temperature, completion, images, known, seen_of, within_levels
from gen_models.nn.heads import cooled

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
      ValueError: x has another shape than the model's, or there is no such member; inside of `jit`, such a member's
        logits are NaN.
    """
    index, fits = _member(network, index)
    logits = network.logits(params, _flat(network, x), index, None)
    return jnp.where(fits, logits, jnp.nan).reshape(-1, *network.shape)


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

    What is neither 0 nor 1 has no probability, nor has what a member says that there is not: NaN inside of `jit`, an
    error outside.

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
    fits = within_levels(x, 2)  # here, where the values are known if they ever are: below, members are traced
    if index is not None or network.members == 1:
        index, there = _member(network, 0 if index is None else index)
        log_p = _log_prob_of_member(network, params, x, index, seen=seen)
        return jnp.where(fits & there, log_p, jnp.nan)
    if seen is not None:
        raise ValueError(f"mask needs index: {network.members} members have orders of their own")
    each = _log_prob_of_each(network, params, x)
    return jnp.where(fits, jax.nn.logsumexp(each, axis=0) - math.log(network.members), jnp.nan)


def loss(
    network: Network, params: Params, stats: Stats, batch: Batch, key: Key, *, step: Any, train: bool = True
) -> tuple[Float[Array, ""], tuple[Stats, Metrics]]:
    """Minus the mean of log p_k(x), in nats per image, k = step mod K; where not `train`, of log p(x).

    Its metric is "bits_per_dim".
    """
    x = images(batch, network.shape)
    if train:
        index, x = step % network.members if network.members > 1 else 0, _flat(network, x)
        log_p = jnp.where(within_levels(x, 2), _log_prob_of_member(network, params, x, index, key), jnp.nan)
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

    Inside of `jit`, images are NaN where an argument is wrong that would be an error outside.

    Args:
      network: what the model is made of.
      params: the parameters.
      stats: none.
      key: a typed key.
      n: images.
      index: the member that draws them; None: each image is from a random one, n images from as many different members
        as there are. Where pixels are given, image by image member k with p(k | x_G).
      given: [n, H, W, C], or [1, H, W, C]: pixels that are known where `mask` is true. The others are drawn given those
        before them in the member's order: from p(x | x_G), exactly, where the given ones come first in it.
      mask: [H, W] or [n, H, W], true where a pixel is given. With several members it needs `index`, or pixels that come
        first in the order of each.
      temperature: by which logits are divided, those of members given pixels too; 0 takes the more probable value, or
        tosses a fair coin where both are as probable.
      method: "naive" runs the whole network for each variable: the same images, for comparison; in half precision they
        may differ where two logits are nearly equal, as sums are then rounded in another order.
      progress: called with (variables done, variables) a hundred times or so, at last with all done.

    Raises:
      ValueError: another method, a temperature that is negative, n below 1, no such member, what is given does not fit
        the shape or is neither 0 nor 1, or it does not come first in the order of several members.
    """
    if method not in SAMPLERS:
        raise unknown("sampling method", method, SAMPLERS)
    fits = check_temperature(temperature)
    value, pixels, levels = completion(given, mask, n, network.shape, 2)
    fits &= levels
    seen = jnp.broadcast_to(pixels[..., None], (n, *network.shape)).reshape(n, network.size)
    value = value.reshape(n, network.size)
    which_key, key = jax.random.split(key)
    weighed = given is not None and index is None and network.members > 1
    if weighed:
        fits &= _come_first(network, seen)
        log_p = _log_prob_of_each(network, params, value, seen)  # [K, n]
        which = jax.random.categorical(which_key, cooled(log_p.T, temperature))
        chosen = jnp.arange(network.members)
        rows = jnp.broadcast_to(jnp.arange(n)[:, None], (n, network.members))  # each draws all, of which one is taken
    else:
        chosen, there = _members_that_draw(network, which_key, n, index)
        fits &= there
        # Image i is of group i mod groups. Where they do not divide n, the last image is drawn again to fill them.
        rows = jnp.minimum(jnp.arange(-(-n // len(chosen)) * len(chosen)), n - 1).reshape(-1, len(chosen))
    each, groups = rows.shape  # groups of images, one for each member that draws

    def draw(group):
        member, mine = chosen[group], rows[:, group]
        made = network.one_by_one(params, member, each) if method == "cached" else _naive(network, params, member, each)
        order = jnp.asarray(network.orders)[member]
        report = partial(_report_group, progress, group, groups, network.size)
        own_key = jax.random.fold_in(key, group)
        return draw_in_order(
            made, own_key, order, seen[mine], value[mine], temperature, report, max(1, _REPORTS // groups)
        )

    x = lax.map(draw, jnp.arange(groups))  # [groups, each, D]
    x = x[which, jnp.arange(n)] if weighed else jnp.swapaxes(x, 0, 1).reshape(groups * each, -1)[:n]
    return jnp.where(fits[:, None], x, jnp.nan).reshape(n, *network.shape)


def _flat(network: Network, x: Array) -> Float[Array, "b d"]:
    return images({"x": x}, network.shape).reshape(-1, network.size)


def _member(network: Network, index: Index) -> tuple[Int[Array, ""], Bool[Array, ""]]:
    """The index as an array, checked where it is known, and whether there is such a member."""
    members, index = network.members, jnp.asarray(index)
    if index.shape or not jnp.issubdtype(index.dtype, jnp.integer):
        raise ValueError(f"index must be one integer, got {index.dtype} {list(index.shape)}")
    fits = (index >= 0) & (index < members)
    if known(fits) and not bool(fits):
        raise ValueError(f"index must be from 0 to {members - 1}, as there are {members} members, got {index}")
    return index, fits


def _come_first(network: Network, seen: Bool[Array, "n d"]) -> Bool[Array, " n"]:
    """Whether the seen variables of each image come before all others in the order of every member.

    Raises:
      ValueError: they do not, where they are known.
    """
    in_order = seen[:, jnp.asarray(network.orders)]  # [n, K, D]
    fits = ~(in_order[..., 1:] & ~in_order[..., :-1]).any((1, 2))
    if known(fits) and not bool(fits.all()):
        raise ValueError(
            f"the given pixels must come first in the order of each of the {network.members} members, or what these "
            "make of them cannot be weighed: give index, to complete images by one member, or build the model with "
            "natural_order=True, and give the first pixels of the image"
        )
    return fits


def _log_prob_of_member(
    network: Network,
    params: Params,
    x: Float[Array, "b d"],
    index: Index,
    key: Key | None = None,
    seen: Bool[Array, "b d"] | None = None,
) -> Float[Array, " b"]:
    """log p_k(x) of zeros and ones, or of the variables that are seen."""
    return bernoulli_log_prob(x, network.logits(params, x, index, key), seen)


def _log_prob_of_each(
    network: Network, params: Params, x: Float[Array, "b d"], seen: Bool[Array, "b d"] | None = None
) -> Float[Array, "k b"]:
    """The same of every member."""
    return lax.map(lambda index: _log_prob_of_member(network, params, x, index, seen=seen), jnp.arange(network.members))


def _members_that_draw(
    network: Network, key: Key, n: int, index: Index | None
) -> tuple[Int[Array, " groups"], Bool[Array, ""]]:
    """The members, and whether there are such."""
    if index is not None:
        member, there = _member(network, index)
        return member[None], there
    return jax.random.permutation(key, network.members)[: min(n, network.members)], jnp.array(True)


def _naive(network: Network, params: Params, member: Index, n: int) -> OneByOne:
    return whole_network(lambda x: network.logits(params, x, member, None), n, network.size)


def _report_group(progress, group, groups, size, done):
    """Tells how many variables of all groups are done, when `done` of this one are; groups draw one after another."""
    if progress is not None:
        jax.debug.callback(partial(_report, progress, groups * size), group * size + done, ordered=True)


def _report(progress, total, done):
    progress(int(done), total)
