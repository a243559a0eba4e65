"""Penalties on the gradient of a discriminator with respect to what it judges, which bound how fast its logits change.

A penalty is called as `penalty(critic, real, fake, key) -> scalar`, where `critic` maps examples or packs [B, ...] to
logits [B]. The gradients of all examples are that of the sum of the logits, one pass backwards, as each logit depends
on its own example alone. Batch norm and features of the whole batch (`nn/minibatch.py`) in a critic break this: the
gradient of an example is then mixed with its influence on the logits of others, and the penalty is another one
(Gulrajani et al., 2017, section 4, therefore leave batch norm out of critics).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key

Critic = Callable[[Array], Array]  # x [B, ...] -> logits [B]


class GradientPenalty(NamedTuple):
    """Where the gradient is taken, and what it costs."""

    points: Callable[[Array, Array, Key], Array]  # (real, fake, key), each [B, ...] -> x [B, ...]
    cost: Callable[[Array], Array]  # squared norms of the gradients [B] -> a mean, with its weight

    def __call__(
        self, critic: Critic, real: Float[Array, "b *dims"], fake: Float[Array, "b *dims"], key: Key
    ) -> Float[Array, ""]:
        """The penalty, which is differentiable with respect to what the critic closes over."""
        return self.measured(critic, real, fake, key)[0]

    def measured(
        self, critic: Critic, real: Float[Array, "b *dims"], fake: Float[Array, "b *dims"], key: Key
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The penalty, and the mean norm of the gradients that it looked at."""
        squares = squared_gradient_norms(critic, self.points(real, fake, key))
        return self.cost(squares).astype(squares.dtype), _root(squares).mean()  # a traced weight may be wider


def squared_gradient_norms(critic: Critic, x: Float[Array, "b *dims"]) -> Float[Array, "b"]:
    """|d critic(x_i) / d x_i|^2 of each example."""
    gradient = jax.grad(lambda x: critic(x).sum())(x)
    return jnp.square(gradient).sum(tuple(range(1, x.ndim)))


def wasserstein_penalty(weight: float | Array = 10.0, one_sided: bool = False) -> GradientPenalty:
    """weight E (|grad f(x)| - 1)^2 between real and fake: Gulrajani et al., Improved Training of WGANs (2017), eq. 3.

    The x are uniform on the straight lines between pairs of a real and a fake example (of packs: whole packs). In one
    dimension take `one_sided`: a slope cannot turn round but by way of 0, which costs the two-sided penalty its weight,
    so that a critic keeps the sign that it started with and drives the generator past the data. The slopes of the best
    critic are above 1, and its estimate is above the distance (`tests/test_wasserstein_distance.py` has both).

    Args:
      weight: lambda; may be traced.
      one_sided: punish norms above 1 alone, max(0, |grad f(x)| - 1)^2 (section 4, "two-sided penalty").

    Raises:
      ValueError: the weight is negative, infinite or NaN.
    """
    _check(weight=weight)

    def points(real, fake, key):
        share = jax.random.uniform(key, (real.shape[0], *[1] * (real.ndim - 1)), real.dtype)
        return share * real + (1 - share) * fake

    def cost(squares):
        excess = _root(squares) - 1
        return weight * jnp.square(jnp.maximum(excess, 0) if one_sided else excess).mean()

    return GradientPenalty(points, cost)


def r1(weight: float | Array = 10.0) -> GradientPenalty:
    """weight / 2 E |grad f(x)|^2 on real examples: Mescheder et al. (2018), eq. 9, with gamma for the weight.

    Which Training Methods for GANs do actually Converge?: with it, training converges locally also where data and
    samples lie on manifolds of fewer dimensions.

    Raises:
      ValueError: the weight is negative, infinite or NaN.
    """
    _check(weight=weight)
    return GradientPenalty(lambda real, fake, key: real, lambda squares: weight / 2 * squares.mean())


def dragan(
    weight: float | Array = 10.0, *, deviation: float | Array | None = None, norm: float | Array = 1.0
) -> GradientPenalty:
    """weight E (|grad f(x + d)| - k)^2 around real x: Kodali et al. (2017), section 2.3.

    On Convergence and Stability of GANs: sharp gradients near the data come before a loss of modes.

    Args:
      weight: lambda; may be traced.
      deviation: of the Gaussian noise d, sqrt(c); None: half the standard deviation of all numbers of the batch, to
        which the authors' code scales its noise, which is uniform there. Under `pmap` and `shard_map` the batch is each
        device's own part, under `jit` the whole one.
      norm: k, which gradients are drawn to.

    Raises:
      ValueError: a number is negative, infinite or NaN.
    """
    _check(weight=weight, norm=norm, **({} if deviation is None else {"deviation": deviation}))

    def points(real, fake, key):
        scale: Any = real.std() / 2 if deviation is None else deviation
        return real + scale * jax.random.normal(key, real.shape, real.dtype)

    return GradientPenalty(points, lambda squares: weight * jnp.square(_root(squares) - norm).mean())


def _root(squares: Float[Array, "b"]) -> Float[Array, "b"]:
    """The square root, whose derivative at 0 is 0 here: of a critic that does not change it would be infinite."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def _check(**numbers: Any) -> None:
    wrong = {
        name: value for name, value in numbers.items() if isinstance(value, int | float) and not 0 <= value < math.inf
    }
    if wrong:
        raise ValueError(f"numbers of a penalty must not be negative, infinite or NaN, got {wrong}")
