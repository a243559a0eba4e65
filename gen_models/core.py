"""The types and the two functions, `init_state` and `make_train_step`, that models and training runs share.

A model is a handful of pure functions. A training step is one pure function `(state, batch) -> (state, metrics)` that
does not know which model it trains, nor what surrounds it: `jit`, `scan`, `vmap`, `pmap` or `shard_map`.

A model with several losses (a GAN) has several *players*. Each owns the sub-tree of the parameters that carries its
name; a lone loss is one player that owns the whole tree.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from gen_models.errors import unknown

Array = jax.Array
Key: TypeAlias = Any  # a typed key, `jax.random.key(seed)`
Params: TypeAlias = Any  # nested dicts of arrays
Stats: TypeAlias = Any
Batch: TypeAlias = Any
Metrics = dict[str, Array]
Loss = Callable[..., tuple[Array, tuple[Any, ...]]]  # (value, (stats, metrics)), or (value, (stats, metrics, carry))
Optimizer: TypeAlias = optax.GradientTransformation
Step = Callable[["TrainState", Batch], tuple["TrainState", Metrics]]


class AbsentOperation(ValueError):
    """A model was asked for an operation that its family lacks."""


@dataclass(frozen=True)
class _Absent:
    """Stands where a family has no operation, and says so when it is called."""

    name: str = ""
    present: tuple[str, ...] = ()

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise AbsentOperation(f"this model has no operation {self.name!r}: it has {', '.join(self.present)}")


_ABSENT = _Absent()


@dataclass(frozen=True, eq=False)  # equal to itself alone, so that it is a key of caches
class Model:
    """A model as pure functions. An operation that its family lacks raises `AbsentOperation` when it is called.

    A loss is `loss(params, stats, batch, key, *, step, train=True) -> (scalar, (stats, metrics))`: a mean over the
    batch, in nats per example where it is a likelihood. A mapping of losses makes players, updated in its order.

    A model may keep a state for each example between steps (truncated backpropagation through time: Williams & Peng,
    1990). Then `init_carry` gives that state at a sequence's start, with a leading axis B on every leaf; the loss takes
    `carry=` as well, the state in which the step before left the same position of the batch, and returns `(scalar,
    (stats, metrics, carry))`.
    """

    init: Callable[[Key, Batch], tuple[Params, Stats]]  # (key, first batch) -> params, stats; it may read values
    loss: Loss | Mapping[str, Loss]
    apply: Callable[..., Any] = _ABSENT  # (params, stats, x, ...) -> logits, noise, velocity, ...
    sample: Callable[..., Array] = _ABSENT  # (params, stats, key, n, **condition) -> x
    log_prob: Callable[..., Array] = _ABSENT  # (params, stats, x, key) -> [B] nats; its docstring: exact or bound
    encode: Callable[..., Any] = _ABSENT  # (params, stats, x, key) -> z
    decode: Callable[..., Any] = _ABSENT  # (params, stats, z) -> x, or the mean of p(x|z)
    # (params, stats, batch, key) -> {"reconstruction", "kl"}, [B] nats each, whose sum bounds -log p(x) from above
    elbo: Callable[..., dict[str, Array]] = _ABSENT
    init_carry: Callable[[Params, Batch], Any] = _ABSENT  # (params, batch) -> carry, [B, ...] on every leaf
    # (params, stats, batch, key) -> stats: batch norm's means and variances of this batch alone, all others as they are
    batch_stats: Callable[[Params, Stats, Batch, Key], Stats] = _ABSENT

    def __post_init__(self) -> None:
        present = tuple(field.name for field in fields(self) if not isinstance(getattr(self, field.name), _Absent))
        for name in {field.name for field in fields(self)} - set(present):
            object.__setattr__(self, name, _Absent(name, present))  # also of a model that `dataclasses.replace` changed

    def has(self, operation: str) -> bool:
        """Whether the model's family has this operation: `model.has("sample")`.

        Raises:
          ValueError: no model has an operation of this name.
        """
        operations = [field.name for field in fields(self)]
        if operation not in operations:
            raise unknown("operation of a model", operation, operations)
        return not isinstance(getattr(self, operation), _Absent)


class TrainState(NamedTuple):
    """All that a run needs to go on, and to go on in the same bits."""

    step: Array  # [] int32, updates done
    key: Key  # the run's key: never replaced; a step's key is fold_in(key, step)
    params: Params  # several players: {"generator": ..., "discriminator": ...}
    stats: Stats  # what changes without a gradient and belongs to no example: batch-norm averages, codebooks
    opt_state: dict[str, optax.OptState]  # one entry a player
    ema: Params | None  # a copy of params, never an alias of them: donated buffers must not be shared
    carry: Any | None = None  # what is kept for each position of the batch between steps: [B, ...] on every leaf


def init_state(
    model: Model, tx: Optimizer | Mapping[str, Optimizer], key: Key, batch: Batch, *, ema: bool = False
) -> TrainState:
    """The state before the first step.

    Args:
      model: what to train.
      tx: an optax transformation, or one a player where the loss is a mapping.
      key: a typed key, `jax.random.key(seed)`.
      batch: the first batch of training, transformed as the step gets it. `model.init` sees its values, so that scales
        may be set from data (ActNorm; Salimans & Kingma, weight normalisation, 2016, section 3). A model that reads its
        shapes and dtypes alone may get zeros; one that has a carry needs the batch's size as well.
      ema: keep an exponential moving average of the parameters. It starts as a copy of them, which weighs nothing once
        a step was taken.

    Raises:
      ValueError: the losses and the transformations name different players, a player owns no parameters, or a model of
        several players has a carry.
    """
    players = _players(model.loss, tx)
    if model.has("init_carry"):
        _check_alone(dict.fromkeys(players, 1))
    init_key, run_key = jax.random.split(key)
    params, stats = model.init(init_key, batch)
    for name in players:
        if name != _ALL and name not in params:
            raise ValueError(f"player {name!r} owns no parameters: the model's parameters are {sorted(params)}")
    carry = model.init_carry(params, batch) if model.has("init_carry") else None
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        key=run_key,
        params=params,
        stats=stats,
        opt_state={name: player_tx.init(_own(params, name)) for name, (_, player_tx) in players.items()},
        ema=jax.tree.map(jnp.copy, params) if ema else None,
        carry=jax.tree.map(jnp.copy, carry),  # two of its leaves, or one and a parameter, may be one array
    )


def make_train_step(
    loss: Loss | Mapping[str, Loss],
    tx: Optimizer | Mapping[str, Optimizer],
    *,
    ema_decay: float | Array = 0.0,
    accumulate: int = 1,
    repeats: Mapping[str, int] | None = None,
    init_carry: Callable[[Params, Batch], Any] | None = None,
    axis_name: str | None = None,
) -> Step:
    """One update of every player, in the loss mapping's order, each seeing the players before it already updated.

    Args:
      loss: a model's `loss`: one function, or a mapping from players to functions.
      tx: an optax transformation, or a mapping with the same players.
      ema_decay: d of `state.ema`, where the state has one; may be traced. After t steps that is the mean of the
        parameters of steps 1 to t, those of step s weighed by d^(t - s), as Adam debiases its averages (Kingma & Ba,
        2015, section 3).
      accumulate: number of equal micro-batches into which the batch is cut, one behind the other. Each player's
        gradient is the mean over them, so that a batch that does not fit in memory trains as a whole; batch norm's
        statistics are those of a micro-batch.
      repeats: how many updates a player takes in a step, where it is more than one: `{"critic": 5}` (Arjovsky et al.,
        WGAN, 2017, algorithm 1). With R the largest of them, part i of the batch has its examples i, i + R, i + 2R and
        so on; the r updates of a player are on the parts 0 to r - 1, and a player that is not named takes one, on part
        0. So each update sees B / R examples, and the same ones however the batch is cut over devices. Metrics are
        means over a player's updates, which all see the same `step`; its transformation counts each of them.
      init_carry: the model's `init_carry`; that of a model without a carry changes nothing. Where the batch has
        "start", bool [B], an example for which it is true begins a sequence: its carry is the initial one again.
        Gradients flow into an initial carry, but never into the step before.
      axis_name: average gradients, stats and metrics over this axis of a surrounding `pmap`, `vmap` or
        `shard_map(check_vma=False)`; each copy of the step along it draws its own randomness, and keeps the carry of
        its own examples. Integers among the stats stay as they are: they must not depend on a copy's examples.

    Returns:
      A pure `(state, batch) -> (state, metrics)`. Metrics are scalars: each player's own, and its `loss` and
      `grad_norm`, all behind `player/` where there are several.

    Raises:
      ValueError: the losses and transformations name different players, `accumulate` or one of `repeats` is below 1,
        `ema_decay` is outside [0, 1), `repeats` names no player, or a carry comes together with several players or
        repeats; when the step is traced, the batch is empty or cannot be cut as asked, or the state was made by a model
        with another `init_carry`.
    """
    players = _players(loss, tx)
    if accumulate < 1:
        raise ValueError(f"accumulate must be 1 or more, got {accumulate}")
    if isinstance(ema_decay, (int, float)) and not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must be 0 or more and less than 1, got {ema_decay}")
    counts = _counts(players, repeats)
    init_carry = None if isinstance(init_carry, _Absent) else init_carry
    if init_carry is not None:
        _check_alone(counts)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if any(jnp.shape(leaf)[:1] == (0,) for leaf in jax.tree.leaves(batch)):
            raise ValueError("the batch has no examples, and a mean over none is no number")
        _check_carry(state.carry, init_carry, batch)
        # The order of the folds is part of the format of a run: run's key, step, copy along the axis, player, then the
        # update or the micro-batch. A resumed run draws what an unbroken one draws only while it stays so.
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        params, stats, carry = state.params, state.stats, state.carry
        opt_state: dict[str, optax.OptState] = {}
        metrics: Metrics = {}
        for index, (name, (player_loss, player_tx)) in enumerate(players.items()):
            objective = _objective(player_loss, params, name, init_carry, state.step)
            update = partial(_update, objective, player_tx, accumulate, axis_name)
            before = _Player(_own(params, name), stats, carry, state.opt_state[name])
            player_key = jax.random.fold_in(key, index)
            after, out = _repeated(update, before, batch, player_key, counts[name], max(counts.values()))
            params, stats, carry = _with_own(params, name, after.own), after.stats, after.carry
            opt_state[name] = after.opt_state
            prefix = "" if name == _ALL else f"{name}/"
            metrics |= {f"{prefix}{k}": v for k, v in out.items()}
        ema = state.ema
        if ema is not None:
            share = _share_of_newest(ema_decay, state.step)
            ema = jax.tree.map(partial(_drawn_to, share), params, ema)
        return TrainState(state.step + 1, state.key, params, stats, opt_state, ema, carry), metrics

    return train_step


_ALL = "all"  # the one player of a model whose loss is a single function


def _share_of_newest(decay: float | Array, step: Array) -> Array:
    """(1 - d) / (1 - d^t) with t = step + 1: the share of the newest parameters in the mean of those of steps 1 to t.

    With it the mean weighs the parameters of step s by d^(t - s) over the sum of these, and the fresh ones, from which
    training began, by nothing. The weight of the past, d (1 - d^(t-1)) / (1 - d^t), is what is left of 1. In float32
    both differences would lose their digits; `expm1` keeps them.
    """
    kind = jnp.result_type(float)
    if isinstance(decay, (int, float)):  # its logarithm is exact to the last digit, which float32's 1 - d is not
        log_decay = jnp.asarray(math.log(decay) if decay else -math.inf, kind)
    else:
        log_decay = jnp.log1p(jnp.asarray(decay, kind) - 1)
    share = jnp.expm1(log_decay) / jnp.expm1((step + 1).astype(kind) * log_decay)
    return jnp.where(step == 0, 1.0, share)


def _drawn_to(share: Array, new: Array, old: Array) -> Array:
    """(1 - share) old + share new, exact where both are equal, and where the share is 1; in the dtype of `old`.

    As a sum of two products it would scale parameters that stay as they are: 1 - share is rounded.
    """
    return jnp.where(share == 1, new, old + share * (new - old)).astype(old.dtype)


class _Player(NamedTuple):
    """What an update of one player changes."""

    own: Params  # the player's sub-tree of the parameters
    stats: Stats
    carry: Any | None
    opt_state: optax.OptState


def _objective(
    loss: Loss, params: Params, name: str, init_carry: Callable[[Params, Batch], Any] | None, step: Any
) -> Callable[..., Any]:
    """A player's loss: `(own parameters, stats, carry, batch, key) -> (value, (stats, carry, metrics))`."""

    def objective(own: Params, stats: Stats, carry: Any, batch: Batch, key: Key) -> Any:
        whole = _with_own(params, name, own)
        if init_carry is None:
            value, (stats, out) = loss(whole, stats, batch, key, step=step)
        else:
            carry = carry_for(carry, init_carry, whole, batch)
            value, (stats, out, carry) = loss(whole, stats, batch, key, step=step, carry=carry)
        return value, (stats, carry, out | {"loss": value})

    return objective


def _repeated(
    update: Callable[..., Any], player: _Player, batch: Batch, key: Key, count: int, most: int
) -> tuple[_Player, Metrics]:
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

    def body(player: _Player, numbered: Any) -> tuple[_Player, Metrics]:
        index, part = numbered
        return update(player, part, jax.random.fold_in(key, index))

    parts = jax.tree.map(lambda x: x[:count], parts)
    player, out = jax.lax.scan(body, player, (jnp.arange(count), parts))
    return player, jax.tree.map(lambda m: m.mean(0), out)


def _update(
    objective: Callable[..., Any],
    tx: Optimizer,
    accumulate: int,
    axis_name: str | None,
    player: _Player,
    batch: Batch,
    key: Key,
) -> tuple[_Player, Metrics]:
    """One update of one player: what it changes, and its metrics."""
    grads, stats, carry, out = _gradient(objective, player.own, player.stats, player.carry, batch, key, accumulate)
    if axis_name is not None:  # not the carry: each copy of the step keeps that of its own examples
        grads, out = jax.lax.pmean((grads, out), axis_name)
        stats = jax.tree.map(partial(_mean_of_numbers, axis_name), stats)
    updates, opt_state = tx.update(grads, player.opt_state, player.own)
    own = optax.apply_updates(player.own, updates)
    return _Player(own, stats, carry, opt_state), out | {"grad_norm": optax.tree.norm(grads)}


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


def _check_carry(carry: Any, init_carry: Callable[[Params, Batch], Any] | None, batch: Batch) -> None:
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


def _players(
    loss: Loss | Mapping[str, Loss], tx: Optimizer | Mapping[str, Optimizer]
) -> dict[str, tuple[Loss, Optimizer]]:
    """Player -> its loss and its transformation; the one player of a lone loss is called `_ALL`."""
    if not isinstance(loss, Mapping):
        return {_ALL: (loss, tx)}
    if not isinstance(tx, Mapping) or set(loss) != set(tx):
        named = sorted(tx) if isinstance(tx, Mapping) else "a single transformation"
        raise ValueError(f"the losses name the players {sorted(loss)}, but the optimizers are {named}")
    return {name: (loss[name], tx[name]) for name in loss}


def _counts(players: Mapping[str, Any], repeats: Mapping[str, int] | None) -> dict[str, int]:
    """Player -> how many updates it takes in a step."""
    repeats = repeats or {}
    for name, count in repeats.items():
        if name not in players or name == _ALL:
            named = "a single loss has none" if _ALL in players else f"they are {sorted(players)}"
            raise ValueError(f"repeats names the player {name!r}, but {named}")
        if count < 1:
            raise ValueError(f"repeats must be 1 or more, got {name}: {count}")
    return {name: repeats.get(name, 1) for name in players}


def _check_alone(counts: Mapping[str, int]) -> None:
    """Refuse several players or updates together with a carry: each of them would need a carry of its own."""
    if len(counts) > 1 or max(counts.values()) > 1:
        raise ValueError(f"a model with a carry has one player, which takes one update a step, got {dict(counts)}")


def _own(params: Params, name: str) -> Params:
    """The sub-tree of the parameters that the player owns."""
    return params if name == _ALL else params[name]


def _with_own(params: Params, name: str, own: Params) -> Params:
    """The parameters, with another sub-tree for the player."""
    return own if name == _ALL else {**params, name: own}
