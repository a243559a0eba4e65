"""The state before the first step, and the step: `(state, batch) -> (state, metrics)`, whatever surrounds it."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gen_models.core.model import (
    Absent,
    Array,
    Batch,
    Key,
    Loss,
    Metrics,
    Model,
    Optimizer,
    Params,
    Step,
    TrainState,
)
from gen_models.core.players import ALL, check_alone, counts_of, own_of, players_of, with_own
from gen_models.core.update import Player, check_carry, objective_of, repeated, update_player


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
    players = players_of(model.loss, tx)
    if model.has("init_carry"):
        check_alone(dict.fromkeys(players, 1))
    init_key, run_key = jax.random.split(key)
    params, stats = model.init(init_key, batch)
    for name in players:
        if name != ALL and name not in params:
            raise ValueError(f"player {name!r} owns no parameters: the model's parameters are {sorted(params)}")
    carry = model.init_carry(params, batch) if model.has("init_carry") else None
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        key=run_key,
        params=params,
        stats=stats,
        opt_state={name: player_tx.init(own_of(params, name)) for name, (_, player_tx) in players.items()},
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
    players = players_of(loss, tx)
    if accumulate < 1:
        raise ValueError(f"accumulate must be 1 or more, got {accumulate}")
    if isinstance(ema_decay, (int, float)) and not 0 <= ema_decay < 1:
        raise ValueError(f"ema_decay must be 0 or more and less than 1, got {ema_decay}")
    counts = counts_of(players, repeats)
    init_carry = None if isinstance(init_carry, Absent) else init_carry
    if init_carry is not None:
        check_alone(counts)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        if any(jnp.shape(leaf)[:1] == (0,) for leaf in jax.tree.leaves(batch)):
            raise ValueError("the batch has no examples, and a mean over none is no number")
        check_carry(state.carry, init_carry, batch)
        # The order of the folds is part of the format of a run: run's key, step, copy along the axis, player, then the
        # update or the micro-batch. A resumed run draws what an unbroken one draws only while it stays so.
        key = jax.random.fold_in(state.key, state.step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        params, stats, carry = state.params, state.stats, state.carry
        opt_state: dict[str, optax.OptState] = {}
        metrics: Metrics = {}
        for index, (name, (player_loss, player_tx)) in enumerate(players.items()):
            objective = objective_of(player_loss, params, name, init_carry, state.step)
            update = partial(update_player, objective, player_tx, accumulate, axis_name)
            before = Player(own_of(params, name), stats, carry, state.opt_state[name])
            player_key = jax.random.fold_in(key, index)
            after, out = repeated(update, before, batch, player_key, counts[name], max(counts.values()))
            params, stats, carry = with_own(params, name, after.own), after.stats, after.carry
            opt_state[name] = after.opt_state
            prefix = "" if name == ALL else f"{name}/"
            metrics |= {f"{prefix}{k}": v for k, v in out.items()}
        ema = state.ema
        if ema is not None:
            share = _share_of_newest(ema_decay, state.step)
            ema = jax.tree.map(partial(_drawn_to, share), params, ema)
        return TrainState(state.step + 1, state.key, params, stats, opt_state, ema, carry), metrics

    return train_step


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
