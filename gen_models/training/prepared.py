"""A training that is ready to run: its program, and what all calls of it get, on the devices where it belongs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from gen_models.core import Key, TrainState
from gen_models.data import Batches
from gen_models.training import parallel
from gen_models.training.program import Program, compile_program


class Prepared(NamedTuple):
    """A program, and what all its calls get, on the devices where it belongs."""

    program: Program
    batches: Batches
    data: Any
    key: Key
    numbers: dict[str, jax.Array]
    part: slice | None  # the examples of each batch that this host reads; None: all

    @property
    def most(self) -> int:
        """Steps that one call takes at most."""
        return self.program.most

    def run(self, state: TrainState, first: int, count: int) -> tuple[TrainState, Any, Any, Any]:
        """Start `count` steps from step `first` on: the new state, metrics, number of steps taken, and whether good."""
        rows = _pad(_rows(self.batches, first, count, self.part), self.most)
        if self.part is not None and self.program.mesh is not None:
            rows = parallel.of_all_hosts(rows, self.program.mesh, self.batches.batch_size)
        return self.program.run(state, self.data, self.key, self.numbers, rows, np.int32(first), np.int32(count))


def prepare(
    step: Any,
    state: TrainState,
    batches: Batches,
    done: int,
    key: Key,
    numbers: Mapping[str, Any],
    mesh: Mesh | None,
    shard_parameters: bool,
    limits: Mapping[str, Any],
) -> tuple[Prepared, TrainState]:
    """Compile the program for a state that has taken `done` steps, and put what it takes where it belongs."""
    if shard_parameters and mesh is None:
        raise ValueError("shard_parameters needs a mesh: parallel.data_mesh() has all devices")
    state = jax.tree.map(_strong, state)
    if mesh is None and _is_copied(state):
        state = parallel.local(state)
    values = {name: jnp.asarray(value, jnp.float32) for name, value in numbers.items()}
    part = None
    if mesh is not None and jax.process_count() > 1 and batches.streamed:
        part = parallel.own_part(mesh, batches.batch_size)
    rows = _shapes(batches, done, part)
    program = compile_program(
        step, state, batches, rows, key, values, mesh=mesh, shard_parameters=shard_parameters, **limits
    )
    data, mesh = batches.data, program.mesh
    if mesh is not None:
        state = parallel.put(state, parallel.shardings(state, mesh, shard_parameters=shard_parameters))
        data, key, values = parallel.put((data, key, values), parallel.shardings((data, key, values), mesh))
    return Prepared(program, batches, data, key, values, part), state


def _rows(batches: Batches, step: int, count: int, part: slice | None) -> Any:
    """`Batches.rows`, which one's own batches need not be able to read in part."""
    return batches.rows(step, count) if part is None else batches.rows(step, count, part)


def _shapes(batches: Batches, step: int, part: slice | None) -> Any:
    """Shapes and dtypes of the whole rows of one step, of which this host may read a part alone."""

    def one(x: Any) -> jax.ShapeDtypeStruct:
        x = np.asarray(x)
        return jax.ShapeDtypeStruct(x.shape if part is None else (1, batches.batch_size, *x.shape[2:]), x.dtype)

    return jax.tree.map(one, _rows(batches, step, 1, part))


def _pad(rows: Any, most: int) -> Any:
    """Rows for `most` steps, whatever their number, so that the program's shapes stay the same."""

    def pad(r: Any) -> np.ndarray:
        r = np.asarray(r)
        return r if len(r) == most else np.concatenate([r, np.zeros((most - len(r), *r.shape[1:]), r.dtype)])

    return jax.tree.map(pad, rows)


def _is_copied(state: TrainState) -> bool:
    """Whether each CPU device holds the whole state, as a `fit` that cut its batches leaves it."""
    alone = jax.default_backend() == "cpu" and jax.process_count() == 1 and state.step.ndim == 0
    rest = state._replace(carry=None)  # which is cut as the batches were
    return alone and all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(rest))


def _strong(leaf: jax.Array) -> jax.Array:
    """Without JAX's weak type, which a restored state has lost: the program is the same for both."""
    return jax.lax.convert_element_type(leaf, leaf.dtype) if getattr(leaf, "weak_type", False) else leaf
