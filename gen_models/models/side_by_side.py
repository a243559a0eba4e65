"""Several models trained in one step as if each was alone: one program in place of many runs.

A study of widths, depths or starts needs dozens of small networks, for which compiling and starting costs more than
training. Their losses are added: the gradient of a sum by one network's parameters is that of its own loss. So an
update that works on each parameter alone, as gradient descent, momentum and Adam do, gives each network what it gets
alone, up to rounding; a clipped norm does not, as the norm is that of all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from gen_models.core import Batch, Key, Model, Params, Stats
from gen_models.models.inputs import field
from gen_models.models.sizes import check_sizes


def side_by_side(models: Mapping[str, Model]) -> Model:
    """A model of several, which all see the same batch.

    Parameters and statistics are {name: those of the model}. The loss is the sum of the losses, its metrics are called
    `<name>_<metric>`, and `<name>_loss`. `apply(params, stats, x, **options)` gives {name: what the model's gives}.
    Model number i in the mapping's order has the key `fold_in(key, i)`, at the start and in each step.

    Args:
      models: name -> a model with one loss and no carry.

    Raises:
      ValueError: there are none, or one of them has several players or a carry.
    """
    if not models:
        raise ValueError("side_by_side needs one model or more, got none: give {name: model}")
    for name, model in models.items():
        _check_alone(name, model)
    own = dict(models)

    def init(key: Key, batch: Batch) -> tuple[Params, Stats]:
        made = {name: model.init(jax.random.fold_in(key, i), batch) for i, (name, model) in enumerate(own.items())}
        return {name: params for name, (params, _) in made.items()}, {name: stats for name, (_, stats) in made.items()}

    def loss(params, stats, batch, key, *, step, train=True):
        """Sum of the losses."""
        total: Any = 0.0
        after: dict[str, Any] = {}
        found: dict[str, Any] = {}
        for i, (name, model) in enumerate(own.items()):
            one: Any = model.loss
            of_it = (None if params is None else params[name], stats.get(name, {}), batch, jax.random.fold_in(key, i))
            value, (after[name], metrics) = one(*of_it, step=step, train=train)
            total = total + value
            found |= {f"{name}_{metric}": number for metric, number in {"loss": value, **metrics}.items()}
        return total, (after, found)

    def apply(params, stats, x, **options):
        return {name: model.apply(params[name], stats[name], x, **options) for name, model in own.items()}

    def batch_stats(params, stats, batch, key):
        return {
            name: model.batch_stats(params[name], stats[name], batch, jax.random.fold_in(key, i))
            if model.has("batch_stats")
            else stats[name]
            for i, (name, model) in enumerate(own.items())
        }

    return Model(init, loss, apply=apply, batch_stats=batch_stats)


def copies(model: Model, count: int, *, own_data: bool = False, starts: Sequence[Model] = ()) -> Model:
    """`count` copies of a model that differ in their start, and in their data where `own_data`.

    All parameters and statistics have a leading axis [count]. The loss is the sum over copies, metrics are means over
    them. `apply(params, stats, x)` gives [B, count, ...], that of each copy.

    Args:
      model: with one loss and no carry.
      count: copies.
      own_data: whether every field of a batch is [B, count, ...] and copy i sees `[:, i]`; else all see the same.
      starts: models that differ from this one in their start alone, one for each copy, which begins as it does; none:
        all begin as the model does, each with a key of its own.

    Raises:
      ValueError: `count` is below 1, the model has several players or a carry, or there are not as many starts; a batch
        whose second axis is not the copies'.
    """
    check_sizes(count=count)
    if len(starts) not in (0, count):
        raise ValueError(f"starts must be none or {count} models, one for each copy, got {len(starts)}")
    _check_alone("the model", model)

    def parts(batch: Batch) -> Batch:
        """The fields that are cut, by copies; "index", which the data add, is that of the example."""
        x = field(batch, "x", "name the model's input 'x'")
        if x.ndim < 2 or x.shape[1] != count:
            raise ValueError(f"x must be [B, {count}, ...], a part for each of {count} copies, got {list(x.shape)}")
        return {name: value for name, value in batch.items() if value.ndim > 1 and value.shape[1] == count}

    def over(function: Callable[..., Any], batch: Batch, *of_each: Any) -> Any:
        """The function of each copy's arguments and batch, results stacked on a first axis."""
        if not own_data:
            return jax.vmap(lambda *each: function(batch, *each))(*of_each)
        cut = parts(batch)
        rest = {name: value for name, value in batch.items() if name not in cut}
        axes = (1, *(0 for _ in of_each))
        return jax.vmap(lambda one, *each: function({**rest, **one}, *each), in_axes=axes)(cut, *of_each)

    def init(key: Key, batch: Batch) -> tuple[Params, Stats]:
        keys = jax.random.split(key, count)
        if not starts:
            return over(lambda one, key: model.init(key, one), batch, keys)
        cut = parts(batch) if own_data else {}
        made = [
            start.init(keys[i], {**batch, **{name: value[:, i] for name, value in cut.items()}})
            for i, start in enumerate(starts)
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)

    def loss(params, stats, batch, key, *, step, train=True):
        """Sum of the losses."""

        def one(own, key, params, stats):
            single: Any = model.loss
            value, (after, metrics) = single(params, stats, own, key, step=step, train=train)
            return value, after, metrics

        value, after, metrics = over(one, batch, jax.random.split(key, count), params, stats)
        return value.sum(), (after, {name: number.mean() for name, number in metrics.items()})

    def apply(params, stats, *arrays, **options):
        """What each copy gives, [B, count, ...]; of an option `key` each copy has a part of its own."""
        axes = (0, 0, *(1 if own_data else None for _ in arrays))
        if (key := options.pop("key", None)) is None:
            return jax.vmap(partial(model.apply, **options), in_axes=axes, out_axes=1)(params, stats, *arrays)

        def one(key, *own):
            return model.apply(*own, key=key, **options)

        return jax.vmap(one, in_axes=(0, *axes), out_axes=1)(jax.random.split(key, count), params, stats, *arrays)

    return Model(init, loss, apply=apply)


def _check_alone(name: str, model: Model) -> None:
    if isinstance(model.loss, Mapping) or model.has("init_carry"):
        raise ValueError(f"{name} has several players or a carry: only models with one loss stand side by side")
