"""One player's updates within a step: its loss, its gradient over micro-batches, its carry."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gen_models.core.model import (
    Array,
    Batch,
    Key,
    Loss,
    Metrics,
    Optimizer,
    Params,
    Stats,
)
from gen_models.core.players import with_own


class Player(NamedTuple):
    """What an update of one player changes."""

    own: Params  # the player's sub-tree of the parameters
    stats: Stats
    carry: Any | None
    opt_state: optax.OptState


def objective_of(
    loss: Loss, params: Params, name: str, init_carry: Callable[[Params, Batch], Any] | None, step: Any
) -> Callable[..., Any]:
    """A player's loss: `(own parameters, stats, carry, batch, key) -> (value, (stats, carry, metrics))`."""

    def objective(own: Params, stats: Stats, carry: Any, batch: Batch, key: Key) -> Any:
        whole = with_own(params, name, own)
        if init_carry is None:
            value, (stats, out) = loss(whole, stats, batch, key, step=step)
        else:
            carry = carry_for(carry, init_carry, whole, batch)
            value, (stats, out, carry) = loss(whole, stats, batch, key, step=step, carry=carry)
        return value, (stats, carry, out | {"loss": value})

    return objective


def repeated(
    update: Callable[..., Any], player: Player, batch: Batch, key: Key, count: int, most: int
) -> tuple[Player, Metrics]:
    """`count` updates of one player, each on one of the `most` parts into which the batch is cut."""
    if most == 1:
        return update(player, batch, key)
    size = _size(batch)
    if size % most:
        raise ValueError(f"repeats cuts the batch into {most} parts, which do not divide its {size} examples")
    # Part i has the examples i, i + most, and so on. Devices hold equal stretches of the batch, and each can cut its
    # own stretch into these very parts; parts that were stretches themselves would lie on some of the devices alone.
    parts = jax.tree.map(lambda x: x.reshape(-1, most, *x.shape[1:]).swapaxes(0, 1), batch)
    if count == 1:
        return update(player, jax.tree.map(lambda x: x[0], parts), key)

    def body(player: Player, numbered: Any) -> tuple[Player, Metrics]:
        index, part = numbered
        return update(player, part, jax.random.fold_in(key, index))

    parts = jax.tree.map(lambda x: x[:count], parts)
    player, out = jax.lax.scan(body, player, (jnp.arange(count), parts))
    return player, jax.tree.map(lambda m: m.mean(0), out)


def update_player(
    objective: Callable[..., Any],
    tx: Optimizer,
    accumulate: int,
    axis_name: str | None,
    player: Player,
    batch: Batch,
    key: Key,
) -> tuple[Player, Metrics]:
    """One update of one player: what it changes, and its metrics."""
    grads, stats, carry, out = _gradient(objective, player.own, player.stats, player.carry, batch, key, accumulate)
    if axis_name is not None:  # not the carry: each copy of the step keeps that of its own examples
        grads, out = jax.lax.pmean((grads, out), axis_name)
        stats = jax.tree.map(partial(_mean_of_numbers, axis_name), stats)
    updates, opt_state = tx.update(grads, player.opt_state, player.own)
    own = optax.apply_updates(player.own, updates)
    return Player(own, stats, carry, opt_state), out | {"grad_norm": optax.tree.norm(grads)}


def _mean_of_numbers(axis_name: str, leaf: Array) -> Array:
    """The mean over an axis; integers, such as counts, are the same along it, and their mean would be no integer."""
    return jax.lax.pmean(leaf, axis_name) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf


def _gradient(
    objective: Callable[..., Any], own: Params, stats: Stats, carry: Any, batch: Batch, key: Key, accumulate: int
) -> tuple[Params, Stats, Any, Metrics]:
    """Gradient, stats, carry and metrics of one player, over the whole batch or as means over its micro-batches."""
    value_and_grad = jax.value_and_grad(objective, has_aux=True)
    if accumulate == 1:
        (_, (stats, carry, out)), grads = value_and_grad(own, stats, carry, batch, key)
        return grads, stats, carry, out
    size = _size(batch)
    if size % accumulate:
        raise ValueError(f"accumulate={accumulate} does not divide the batch of {size} examples")
    cut = partial(jax.tree.map, lambda x: x.reshape(accumulate, size // accumulate, *x.shape[1:]))
    batch, carry = cut((batch, carry))

    # Stats go from micro-batch to micro-batch, as from step to step; each example's carry stays with its micro-batch.
    def body(so_far: Any, micro_batch: Any) -> Any:
        total, stats = so_far
        index, batch, carry = micro_batch
        (_, (stats, carry, out)), grads = value_and_grad(own, stats, carry, batch, jax.random.fold_in(key, index))
        return (jax.tree.map(jnp.add, total, grads), stats), (carry, out)

    zeros = jax.tree.map(jnp.zeros_like, own)
    (total, stats), (carry, out) = jax.lax.scan(body, (zeros, stats), (jnp.arange(accumulate), batch, carry))
    carry = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), carry)
    return jax.tree.map(lambda g: g / accumulate, total), stats, carry, jax.tree.map(lambda m: m.mean(0), out)


def carry_for(carry: Any, init_carry: Callable[[Params, Batch], Any], params: Params, batch: Batch) -> Any:
    """The carry that the loss gets: the initial one where a sequence starts, else the old one without its gradient."""
    carry = jax.lax.stop_gradient(carry)
    if not isinstance(batch, Mapping) or "start" not in batch:
        return carry
    start = batch["start"]
    return jax.tree.map(
        lambda initial, old: jnp.where(start.reshape(-1, *[1] * (old.ndim - 1)), initial, old),
        init_carry(params, batch),
        carry,
    )


def check_carry(carry: Any, init_carry: Callable[[Params, Batch], Any] | None, batch: Batch) -> None:
    """Refuse a state whose carry does not fit the step or the batch."""
    if (carry is None) != (init_carry is None):
        has, lacks = ("step", "state") if carry is None else ("state", "step")
        raise ValueError(
            f"the {has} has a carry and the {lacks} has none: give init_carry=model.init_carry to make_train_step, and "
            "make the state by init_state of the same model"
        )
    if carry is None:
        return
    size = _size(batch)
    for path, leaf in jax.tree_util.tree_leaves_with_path(carry):
        if leaf.shape[:1] != (size,):
            where = jax.tree_util.keystr(path)
            raise ValueError(
                f"the carry{where} is {list(leaf.shape)}, but the batch has {size} examples: make the state with a "
                "batch of the size that it trains with"
            )
    if isinstance(batch, Mapping) and "start" in batch and batch["start"].shape != (size,):
        raise ValueError(f'"start" must be [{size}], one for each example, got {list(batch["start"].shape)}')


def _size(batch: Batch) -> int:
    """The number of examples in a batch."""
    return jax.tree.leaves(batch)[0].shape[0]
