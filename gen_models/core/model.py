"""The types of a training: a `Model`, which is a handful of pure functions, and the state that a step changes.

A model with several losses (a GAN) has several *players*. Each owns the sub-tree of the parameters that carries its
name; a lone loss is one player that owns the whole tree.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import jax
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
class Absent:
    """Stands where a family has no operation, and says so when it is called."""

    name: str = ""
    present: tuple[str, ...] = ()

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Raise `AbsentOperation`, whatever the arguments are."""
        raise AbsentOperation(f"this model has no operation {self.name!r}: it has {', '.join(self.present)}")


ABSENT = Absent()


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
    apply: Callable[..., Any] = ABSENT  # (params, stats, x, ...) -> logits, noise, velocity, ...
    sample: Callable[..., Array] = ABSENT  # (params, stats, key, n, **condition) -> x
    log_prob: Callable[..., Array] = ABSENT  # (params, stats, x, key) -> [B] nats; its docstring: exact or bound
    encode: Callable[..., Any] = ABSENT  # (params, stats, x, key) -> z
    decode: Callable[..., Any] = ABSENT  # (params, stats, z) -> x, or the mean of p(x|z)
    # (params, stats, batch, key) -> {"reconstruction", "kl"}, [B] nats each, whose sum bounds -log p(x) from above
    elbo: Callable[..., dict[str, Array]] = ABSENT
    init_carry: Callable[[Params, Batch], Any] = ABSENT  # (params, batch) -> carry, [B, ...] on every leaf
    # (params, stats, batch, key) -> stats: batch norm's means and variances of this batch alone, all others as they are
    batch_stats: Callable[[Params, Stats, Batch, Key], Stats] = ABSENT

    def __post_init__(self) -> None:
        present = tuple(field.name for field in fields(self) if not isinstance(getattr(self, field.name), Absent))
        for name in {field.name for field in fields(self)} - set(present):
            object.__setattr__(self, name, Absent(name, present))  # also of a model that `dataclasses.replace` changed

    def has(self, operation: str) -> bool:
        """Whether the model's family has this operation: `model.has("sample")`.

        Raises:
          ValueError: no model has an operation of this name.
        """
        operations = [field.name for field in fields(self)]
        if operation not in operations:
            raise unknown("operation of a model", operation, operations)
        return not isinstance(getattr(self, operation), Absent)


class TrainState(NamedTuple):
    """All that a run needs to go on, and to go on in the same bits."""

    step: Array  # [] int32, updates done
    key: Key  # the run's key: never replaced; a step's key is fold_in(key, step)
    params: Params  # several players: {"generator": ..., "discriminator": ...}
    stats: Stats  # what changes without a gradient and belongs to no example: batch-norm averages, codebooks
    opt_state: dict[str, optax.OptState]  # one entry a player
    ema: Params | None  # a copy of params, never an alias of them: donated buffers must not be shared
    carry: Any | None = None  # what is kept for each position of the batch between steps: [B, ...] on every leaf
