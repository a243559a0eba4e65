"""Ways to keep a model from fitting noise, each around any model with one loss: they can stand side by side."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from gen_models.core import Model
from gen_models.models.inputs import field
from gen_models.models.sizes import check_numbers
from gen_models.optimizers import not_bias_or_scale


def penalised(model: Model, *, l1: float = 0.0, l2: float = 0.0) -> Model:
    """The model with l1 |kernels|_1 + l2/2 |kernels|^2 added to its loss in training; biases and scales are free.

    Raises:
      ValueError: a weight is negative, or the model has several players.
    """
    check_numbers(l1=l1, l2=l2)
    own = _loss_of(model)

    def loss(params, stats, batch, key, *, step, train=True):
        """The model's loss, and in training the penalty."""
        value, rest = own(params, stats, batch, key, step=step, train=train)
        if not train:
            return value, rest
        acts = jax.tree.leaves(not_bias_or_scale(params))
        kernels = [leaf for leaf, is_kernel in zip(jax.tree.leaves(params), acts, strict=True) if is_kernel]
        return value + sum(l1 * jnp.abs(each).sum() + l2 / 2 * (each**2).sum() for each in kernels), rest

    return replace(model, loss=loss)


def noisy_inputs(model: Model, sigma: float) -> Model:
    """The model that sees x with normal noise of deviation sigma in training, new in each step: data augmentation.

    For small noise it is a penalty on the slope of the network (Bishop, 1995).

    Raises:
      ValueError: `sigma` is negative, or the model has several players.
    """
    check_numbers(sigma=sigma)
    own = _loss_of(model)

    def loss(params, stats, batch, key, *, step, train=True):
        """The model's loss, in training at noisy inputs."""
        own_key, noise_key = jax.random.split(key)
        if train:
            x = jnp.asarray(field(batch, "x", "name the model's input 'x'"), jnp.float32)
            batch = {**batch, "x": x + sigma * jax.random.normal(noise_key, x.shape)}
        return own(params, stats, batch, own_key, step=step, train=train)

    return replace(model, loss=loss)


def early_stopped(model: Model) -> Model:
    """The model as it was when its loss on held-out examples was least: `apply`, its only operation, reads that state.

    Held-out examples are in the batch, as "held_x" and "held_y". Training goes on behind the best state, which is kept
    in the statistics: {"own": the model's, "best": parameters, "best_own": the statistics beside them, "cost": their
    loss on held-out examples}. So models side by side stop each at its own time.

    Raises:
      ValueError: the model has several players; a batch without held-out examples.
    """
    own = _loss_of(model)

    def held_of(batch):
        return {name: field(batch, f"held_{name}", "early stopping needs held-out examples") for name in ("x", "y")}

    def init(key, batch):
        held_of(batch)
        params, stats = model.init(key, batch)
        best, best_own = jax.tree.map(jnp.copy, (params, stats))  # a step may take the buffers of its arguments
        return params, {"own": stats, "best": best, "best_own": best_own, "cost": jnp.asarray(jnp.inf)}

    def loss(params, stats, batch, key, *, step, train=True):
        """The model's loss; in training the best state is compared with this one."""
        value, (after, metrics) = own(params, stats["own"], batch, key, step=step, train=train)
        if not train:
            return value, ({**stats, "own": after}, metrics)
        now = jax.lax.stop_gradient(params)
        cost = own(now, stats["own"], held_of(batch), key, step=step, train=False)[0]
        better = cost < stats["cost"]
        names = ("best", "best_own", "cost")
        found = (now, stats["own"], cost), tuple(stats[name] for name in names)
        kept = jax.tree.map(lambda new, old: jnp.where(better, new, old), *found)
        return value, ({"own": after, **dict(zip(names, kept, strict=True))}, metrics)

    def apply(params, stats, *arrays, **options):
        return model.apply(stats["best"], stats["best_own"], *arrays, **options)

    return Model(init, loss, apply=apply)


def _loss_of(model: Model) -> Any:
    if isinstance(model.loss, Mapping) or model.has("init_carry"):
        raise ValueError("the model has several players or a carry: only one with one loss can be regularised so")
    return model.loss
