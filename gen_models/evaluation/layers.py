"""What single layers of a network do: how large their gradients are, which units are dead, what they cost."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Batch, Key, Loss, Params, Stats


class Activity(NamedTuple):
    """Shares of a layer's units, which are its channels, and activations, over images and the positions in them."""

    dead: Float[Array, ""]  # share of units with output 0 and slope 0 everywhere: no gradient reaches their weights
    flat: Float[Array, ""]  # share of activations, of any unit, whose slope is below 1e-3 in absolute value


def gradient_norms(
    loss: Loss, params: Params, stats: Stats, batch: Batch, key: Key, prefix: str = "conv_"
) -> dict[str, Float[Array, ""]]:
    """L2 norm of the training loss's gradient with respect to each kernel, by the layer's name, in order.

    Args:
      loss: a model's only loss.
      params: name of layer -> {"kernel": ...}.
      stats: the model's statistics, such as batch norm's averages.
      batch: the examples.
      key: the key of the loss.
      prefix: how the names of the layers begin that are measured.

    Raises:
      ValueError: no layer's name begins with the prefix.
    """
    names = sorted(name for name in params if name.startswith(prefix))
    if not names:
        raise ValueError(f"no layer's name begins with {prefix!r}: there are {', '.join(sorted(params))}")
    gradients, _ = jax.grad(loss, has_aux=True)(params, stats, batch, key, step=jnp.zeros([], jnp.int32))
    return {name: jnp.linalg.norm(gradients[name]["kernel"].ravel()) for name in names}


class Counts(NamedTuple):
    """Sums of `activity` over batches, so that a whole split fits in memory."""

    alive: Float[Array, "c"]  # above 0 for a unit that is not dead
    flat: Float[Array, ""]  # activations with a slope below 1e-3
    total: Float[Array, ""]  # activations


def count(
    outputs: Float[Array, "b *space c"], slopes: Float[Array, "b *space c"], weight: Float[Array, "b"] | None = None
) -> Counts:
    """The counts of one layer for one batch, to be summed over batches.

    Args:
      outputs: activations y = f(z), channels last.
      slopes: their derivatives f'(z).
      weight: [B], 1 for an image and 0 for what fills up a last batch; None: all are images.
    """
    axes = tuple(range(outputs.ndim - 1))
    real = jnp.ones(outputs.shape[:1]) if weight is None else weight
    real = real.reshape(-1, *(1,) * (outputs.ndim - 1))
    alive = (real * ((outputs != 0) | (slopes != 0))).sum(axes)
    flat = (real * (jnp.abs(slopes) < 1e-3)).sum()
    return Counts(alive, flat, real.sum() * (outputs.size // outputs.shape[0]))


def activity(counts: Counts) -> Activity:
    """The shares of dead units and flat activations, from counts that were summed over batches."""
    return Activity((counts.alive == 0).mean(), counts.flat / counts.total)


def flops(function: Callable[..., Any], *arguments: Any) -> float:
    """Floating-point operations of `function(*arguments)`, as XLA counts them before it optimises the program.

    A product and a sum count as two. Padding and transcendental functions are not counted. NaN where XLA does not say.
    """
    cost: Mapping[str, float] | None = jax.jit(function).lower(*arguments).cost_analysis()
    return float((cost or {}).get("flops", float("nan")))
