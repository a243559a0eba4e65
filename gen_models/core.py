"""Four types and two functions that every model and every training run share.

A model is a handful of pure functions. A training step is one pure function `(state, batch) -> (state, metrics)` that
does not know which model it trains, nor what surrounds it: `jit`, `scan`, `vmap`, `pmap` or `shard_map`.

A model with several losses (a GAN) has several *players*. Each owns the sub-tree of the parameters that carries its
name; a lone loss is one player that owns the whole tree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
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
Loss = Callable[..., tuple[Array, tuple[Stats, Metrics]]]
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
    """

    init: Callable[[Key, Batch], tuple[Params, Stats]]  # of the first batch's values, where it reads them
    loss: Loss | Mapping[str, Loss]
    apply: Callable[..., Any] = _ABSENT  # (params, stats, x, ...) -> logits, noise, velocity, ...
    sample: Callable[..., Array] = _ABSENT  # (params, stats, key, n, **condition) -> x
    log_prob: Callable[..., Array] = _ABSENT  # (params, stats, x, key) -> [B] nats; its docstring: exact or bound
    encode: Callable[..., Any] = _ABSENT  # (params, stats, x, key) -> z
    decode: Callable[..., Any] = _ABSENT  # (params, stats, z) -> x, or the parameters of its distribution

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
    stats: Stats  # what changes without a gradient: batch-norm averages, codebooks, carried RNN states
    opt_state: dict[str, optax.OptState]  # one entry a player
    ema: Params | None  # a copy of params, never an alias of them: donated buffers must not be shared


def init_state(
    model: Model, tx: Optimizer | Mapping[str, Optimizer], key: Key, batch: Batch, *, ema: bool = False
) -> TrainState:
    """Fresh state before the first step.

    Args:
      model: what to train.
      tx: an optax transformation, or one a player where the loss is a mapping.
      key: a typed key, `jax.random.key(seed)`.
      batch: the first batch of training, transformed as the step gets it. `model.init` sees its values, so that scales
        may be set from data (ActNorm; Salimans & Kingma, weight normalisation, 2016, section 3). A model that reads its
        shapes and dtypes alone may get zeros.
      ema: keep an exponential moving average of the parameters, which starts as a copy of them.

    Raises:
      ValueError: the losses and the transformations name different players, or a player owns no parameters.
    """
    players = _players(model.loss, tx)
    init_key, run_key = jax.random.split(key)
    params, stats = model.init(init_key, batch)
    for name in players:
        if name != _ALL and name not in params:
            raise ValueError(f"player {name!r} owns no parameters: the model's parameters are {sorted(params)}")
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        key=run_key,
        params=params,
        stats=stats,
        opt_state={name: player_tx.init(_own(params, name)) for name, (_, player_tx) in players.items()},
        ema=jax.tree.map(jnp.copy, params) if ema else None,
    )


def make_train_step(
    loss: Loss | Mapping[str, Loss],
    tx: Optimizer | Mapping[str, Optimizer],
    *,
    ema_decay: float | Array = 0.0,
    accumulate: int = 1,
    axis_name: str | None = None,
) -> Step:
    """One update of every player, in the loss mapping's order, each seeing the players before it already updated.

    Args:
      loss: a model's `loss`: one function, or a mapping from players to functions.
      tx: an optax transformation, or a mapping with the same players.
      ema_decay: weight of the past in `state.ema`, where the state has one; may be traced.
      accumulate: number of equal parts into which the batch is cut; each player's gradient is the mean over them, so
        that a batch that does not fit in memory trains as a whole. Batch norm's statistics are those of a part.
      axis_name: average gradients, stats and metrics over this axis of a surrounding `pmap`, `vmap` or
        `shard_map(check_vma=False)`, each member of which draws its own randomness.

    Returns:
      A pure `(state, batch) -> (state, metrics)`. Metrics are scalars: each player's own, and its `loss` and
      `grad_norm`, all behind `player/` where there are several.

    Raises:
      ValueError: the players differ, `accumulate` is below 1, or (when traced) it does not divide the batch.
    """
    players = _players(loss, tx)
    if accumulate < 1:
        raise ValueError(f"accumulate must be 1 or more, got {accumulate}")

    def mean(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        params, stats = state.params, state.stats
        opt_state: dict[str, optax.OptState] = {}
        metrics: Metrics = {}
        for index, (name, (player_loss, player_tx)) in enumerate(players.items()):

            def objective(own, stats, batch, key, params=params, name=name, player_loss=player_loss):
                value, (stats, out) = player_loss(_with_own(params, name, own), stats, batch, key, step=state.step)
                return value, (stats, {"loss": value} | out)

            own = _own(params, name)
            player_key = jax.random.fold_in(key, index)
            grads, stats, out = _gradient(objective, own, stats, batch, player_key, accumulate)
            grads, stats, out = mean((grads, stats, out))
            updates, opt_state[name] = player_tx.update(grads, state.opt_state[name], own)
            params = _with_own(params, name, optax.apply_updates(own, updates))
            prefix = "" if name == _ALL else f"{name}/"
            metrics |= {f"{prefix}{k}": v for k, v in out.items()}
            metrics[f"{prefix}grad_norm"] = optax.tree.norm(grads)
        ema = state.ema
        if ema is not None:
            ema = jax.tree.map(lambda new, old: old * ema_decay + new * (1 - ema_decay), params, ema)
        return TrainState(state.step + 1, state.key, params, stats, opt_state, ema), metrics

    return train_step


_ALL = "all"  # the one player of a model whose loss is a single function


def _gradient(objective, own, stats, batch, key, parts):
    """Gradient, stats and metrics of one player, the batch taken whole or part by part."""
    value_and_grad = jax.value_and_grad(objective, has_aux=True)
    if parts == 1:
        (_, (stats, out)), grads = value_and_grad(own, stats, batch, key)
        return grads, stats, out
    size = jax.tree.leaves(batch)[0].shape[0]
    if size % parts:
        raise ValueError(f"accumulate={parts} does not divide the batch of {size} examples")
    batch = jax.tree.map(lambda x: x.reshape(parts, size // parts, *x.shape[1:]), batch)

    def body(carry, part):
        total, stats = carry
        index, batch = part
        (_, (stats, out)), grads = value_and_grad(own, stats, batch, jax.random.fold_in(key, index))
        return (jax.tree.map(jnp.add, total, grads), stats), out

    zeros = jax.tree.map(jnp.zeros_like, own)
    (total, stats), out = jax.lax.scan(body, (zeros, stats), (jnp.arange(parts), batch))
    return jax.tree.map(lambda g: g / parts, total), stats, jax.tree.map(lambda m: m.mean(0), out)


def _players(loss, tx) -> dict[str, tuple[Loss, Optimizer]]:
    if not isinstance(loss, Mapping):
        return {_ALL: (loss, tx)}
    if not isinstance(tx, Mapping) or set(loss) != set(tx):
        named = sorted(tx) if isinstance(tx, Mapping) else "a single transformation"
        raise ValueError(f"the losses name the players {sorted(loss)}, but the optimizers are {named}")
    return {name: (loss[name], tx[name]) for name in loss}


def _own(params, name):
    return params if name == _ALL else params[name]


def _with_own(params, name, own):
    return own if name == _ALL else {**params, name: own}
