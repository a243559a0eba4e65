"""One program for several runs of a group: their states stacked, and stepped by `vmap` or one after another."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import TrainState
from gen_models.data import Batches
from gen_models.run.fields import traced_fields
from gen_models.run.job import Job
from gen_models.training import parallel
from gen_models.training.program import LARGEST_LOSS, is_good

How = Literal["vmap", "scan"]
_POSITION = "position"  # there is always one number, so that the step always has its third argument


def member_of(state: TrainState, index: int) -> TrainState:
    """One run's state, on one device."""
    device = jax.devices()[0]
    return jax.tree.map(lambda leaf: jax.device_put(leaf[index], device), state)


def alive(state: TrainState) -> list[int]:
    """The runs that have not diverged: the others' step counters have fallen behind."""
    steps = np.asarray(state.step)
    return [i for i in range(len(steps)) if steps[i] == steps.max()]


def stacked_step(job: Job, count: int, how: How) -> tuple[Any, Any]:
    """`parallel.train_many` of the step; a run that diverges stays as it was, and has no metrics from then on.

    Who has diverged is seen from the step counters, which fall behind; so nothing need be kept beside the state.

    Raises:
      ValueError: the job cannot serve other numbers.
    """
    refuse_unstackable(job)
    return _stacked_step(job.step, bool(job.names), count, how)


def refuse_unstackable(job: Job) -> None:
    """Raises ValueError where the job cannot serve other numbers, or runs of a stack could not end each by itself."""
    if job.config.early_stopping or job.config.keep_best:
        raise ValueError(
            "--early-stopping and --keep-best follow one run, and those of a stack end together: leave out --execution "
            "or have it be processes or one"
        )
    if job.config.shard_parameters:
        raise ValueError("--shard-parameters cuts the state of one run: leave out --execution, or --shard-parameters")
    if numbers := [name for name in traced_fields(job.config) if name not in job.names]:
        reads = ", ".join(type(measure).__name__ for measure in job.measures if getattr(measure, "reads_traced", False))
        raise ValueError(
            f"runs of this experiment cannot be stacked, as {reads} depends on {', '.join(numbers)}: leave out "
            "--execution"
        )


@lru_cache(maxsize=8)  # the same objects again, so that `fit` compiles nothing again
def _stacked_step(one: Any, takes_numbers: bool, count: int, how: How) -> tuple[Any, Any]:
    def careful(state, batch, numbers, newest):
        new, metrics = one(state, batch, numbers) if takes_numbers else one(state, batch)
        good = (state.step == newest) & is_good(metrics, LARGEST_LOSS)
        kept = jax.tree.map(lambda a, b: _where(good, a, b), new, state)
        return kept, jax.tree.map(lambda value: jnp.where(good, value, jnp.nan), metrics)

    together, place = parallel.train_many(careful, count, how)

    def step(states, batches, numbers):
        numbers = {name: value for name, value in numbers.items() if name != _POSITION}
        return together(states, batches, numbers, jnp.broadcast_to(states.step.max(), (count,)))

    return step, place


def _where(good: jax.Array, new: Any, old: Any) -> Any:
    if jnp.issubdtype(new.dtype, jax.dtypes.prng_key):
        return old  # a run's key never changes
    return jnp.where(good, new, old)


def stacked_numbers(job: Job, configs: Sequence[Any]) -> dict[str, np.ndarray]:
    """Each TRACED number of the configs as [runs]."""
    numbers = [job.numbers(config) for config in configs]
    own = {name: np.array([of[name] for of in numbers], np.float32) for name in job.names}
    return own | {_POSITION: np.arange(len(configs), dtype=np.float32)}


def stacked_batches(job: Job, seeds: Sequence[int], keys: Sequence[Any]) -> Batches:
    """Batches of all runs, those that each would have alone: the same data, its own indices and transforms' keys."""
    own = [job.batches(seed) for seed in seeds]
    base, stack = own[0], jnp.stack(list(keys))

    def rows(step: int, count: int, part: slice | None = None) -> Any:
        by_seed = {seed: batches.rows(step, count, part) for seed, batches in zip(seeds, own, strict=True)}
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves, 1), *(by_seed[seed] for seed in seeds))
        return {"row": stacked, "step": np.arange(step, step + count, dtype=np.int32)}

    return base._replace(data=(base.data, stack), rows=rows, make=_stacked_make(base.make))


@lru_cache(maxsize=8)
def _stacked_make(one: Any) -> Any:
    def make(data, row, key):
        data, keys = data
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, row["step"])
        return jax.vmap(one, (None, 0, 0))(data, row["row"], keys)

    return make
