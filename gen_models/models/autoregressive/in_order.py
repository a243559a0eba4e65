"""Variables that come one after another in some order: what the models of `binary_model.py` are made and drawn with."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from gen_models.core import Key
from gen_models.models.sizes import check_sizes
from gen_models.nn.heads import COLDEST

Index = int | Int[Array, ""]  # a member, 0 to K - 1


class OneByOne(NamedTuple):
    """A network that takes one variable after another, at a small cost each."""

    carry: Any  # what it keeps of the variables so far: of none, at first
    logit: Callable[[Any, Array], Float[Array, "n"]]  # (carry, d) -> of variable d
    update: Callable[[Any, Array, Float[Array, "n"]], Any]  # (carry, d, its values) -> carry


def image_size(shape: Sequence[int], **sizes: int) -> int:
    """The number of variables of an image [H, W, C].

    Raises:
      ValueError: `shape` is not three sizes, or one of these or of `sizes` is not positive.
    """
    check_sizes(shape=shape, **sizes)
    return math.prod(shape)


def raster_order(size: int) -> Int[np.ndarray, "1 d"]:
    """One order: that of the pixels' places in memory, then channels."""
    return np.arange(size)[None]


def whole_network(logits: Callable[[Float[Array, "n d"]], Float[Array, "n d"]], n: int, size: int) -> OneByOne:
    """A network of all variables at once, run again for each of them: for comparison with those that keep something.

    Args:
      logits: x [n, D] -> the logit of each variable given those before it.
      n: images.
      size: D.
    """
    return OneByOne(
        jnp.zeros((n, size), jnp.float32),
        lambda x, d: logits(x)[:, d],
        lambda x, d, drawn: x.at[:, d].set(drawn),
    )


def draw_in_order(
    network: OneByOne,
    key: Key,
    order: Int[Array, "d"],
    known: Bool[Array, "n d"],
    value: Float[Array, "n d"],
    temperature: float | Array,
    report: Callable[[Array], None],
    reports: int,
) -> Float[Array, "n d"]:
    """n times all variables, drawn in their order in one scan; variable d is drawn with `fold_in(key, d)`.

    Args:
      network: what gives each variable's logit.
      key: a typed key.
      order: the variables in their order.
      known: true where a variable is not drawn, but given.
      value: what is given there.
      temperature: by which logits are divided; at 0 the more probable value is taken, and a fair coin where both are.
      report: called with the number of variables done, while the program runs.
      reports: how often, about.
    """
    n, size = known.shape
    every = -(-size // reports)

    def one(carry, step):
        d = order[step]
        probability = jax.nn.sigmoid(network.logit(carry, d) / jnp.maximum(temperature, COLDEST))
        drawn = jax.random.bernoulli(jax.random.fold_in(key, d), probability).astype(jnp.float32)
        drawn = jnp.where(known[:, d], value[:, d], drawn)
        lax.cond(((step + 1) % every == 0) | (step + 1 == size), lambda: report(step + 1), lambda: None)
        return network.update(carry, d, drawn), drawn

    _, drawn = lax.scan(one, network.carry, jnp.arange(size))  # [D, n], in the order
    return jnp.zeros((n, size), jnp.float32).at[:, order].set(drawn.T)
