"""Many training steps as one compiled program, which stops by itself at the first step whose loss is not good.

The step is traced once, to a jaxpr: JAX's program of primitive operations. What the compiled program looks like follows
from the step, the data and the platform alone, and how many steps a call takes is a number that the program reads. So a
resumed run goes through the same program, and ends in the same bits.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jax_core
from jax.sharding import Mesh

from gen_models.core import Key, Metrics, TrainState
from gen_models.data import Batches
from gen_models.machine import cores
from gen_models.nn.devices import contexts, over_devices
from gen_models.training import parallel

MAX_STEPS_PER_CALL = 64
LARGEST_LOSS = 1e8  # a loss of greater magnitude counts as diverged


class Program(NamedTuple):
    """Up to `most` steps as one compiled function that donates its state.

    `run(state, data, key, numbers, rows, start, count) -> (state, metrics, taken, good)`:

    - data, key: of the batches, as in `Batches.data` and `fit`
    - numbers: name -> float32 [], what the step takes as a third argument; empty where it takes none
    - rows: `Batches.rows` of `most` steps from `start` on, [most, ...] on every leaf; only the first `count` are used
    - start, count: int32 []
    - metrics: name -> [most, ...], of which the first `taken` are those of steps that were taken
    - taken: int32 [], `count`, or fewer where a step was not good; the state is that after the last step taken
    - good: bool [], whether the last step taken was good
    """

    run: Callable[..., Any]
    most: int
    mesh: Mesh | None  # the mesh over which it cuts batches: the given one, or one that the step's layers gain by


def compile_program(
    step: Callable[..., Any],
    state: TrainState,
    batches: Batches,
    rows: Any,
    key: Key,
    numbers: dict[str, jax.Array],
    *,
    most: int | None,
    limit: float,
    mesh: Mesh | None,
    shard_parameters: bool,
) -> Program:
    """The program for such a state, batches and numbers; the same object where one like it was made before.

    Args:
      step: `(state, batch) -> (state, metrics)`, or `(state, batch, numbers) -> ...` where there are numbers.
      state: a state of the shapes and on the devices of the one to be trained.
      batches: their `data` and `make` are used.
      rows: `batches.rows` of one step, [1, ...] on every leaf, of which the shapes are used.
      key: the key of the data's transforms.
      numbers: name -> value that the step takes as a third argument.
      most: steps that one call takes at most; None chooses.
      limit: a loss of greater magnitude is not good.
      mesh: the mesh over which batches are cut; None chooses, where there is a choice.
      shard_parameters: whether the mesh cuts the state as well.

    Raises:
      ValueError: `most` is below 1, the mesh does not divide the batch, or the step changes its state's form.
    """
    if most is not None and most < 1:
        raise ValueError(f"steps_per_call must be 1 or more, got {most}")
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    # Shapes and a tree structure can be hashed: they are what the cache of `_program` knows the arguments by.
    leaves, tree = jax.tree.flatten((state, batches.data, key, numbers, row, np.int32(0)))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    most = 1 if batches.streamed and most is None else most
    # The batch may be cut over host devices where one training is on one of them. A stacked state (several trainings,
    # whose `step` has an axis) uses the other devices in its own way: `parallel.train_many`.
    automatic = mesh is None and jax.default_backend() == "cpu" and jax.process_count() == 1 and state.step.ndim == 0
    automatic = automatic and all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))
    return _program(step, batches.make, tree, shapes, most, limit, mesh, automatic, shard_parameters, contexts())


class _Traced(NamedTuple):
    """What makes a batch, and a step, as jaxprs; and the shapes of what they give."""

    make: Any  # jaxpr: (data, row, key, index) -> batch
    step: Any  # jaxpr: (state, batch, numbers) -> (state, metrics)
    batch: Any
    state: Any
    metrics: Any
    mesh: Mesh | None  # the given one, or one that the step's layers gain by


@lru_cache(maxsize=4)  # a second `fit` with the same step, as after a restore, traces and compiles nothing again
def _program(
    step: Callable[..., Any],
    make: Callable[..., Any],
    tree: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    most: int | None,
    limit: float,
    mesh: Mesh | None,
    automatic: bool,
    shard_parameters: bool,
    _contexts: Any,
) -> Program:
    """The program for arguments of these shapes. Layers are traced in `_contexts`: in another one, another program."""
    arguments = jax.tree.unflatten(tree, shapes)
    traced = _trace(step, make, arguments, mesh, automatic)
    state, mesh = arguments[0], traced.mesh
    _same_shape(state, traced.state)
    if most is None:
        slow_inside_loops = jax.default_backend() == "cpu" and holds(traced.step.jaxpr, _is_slow_convolution)
        most = 1 if slow_inside_loops else MAX_STEPS_PER_CALL
    places = None if mesh is None else parallel.shardings(state, mesh, shard_parameters=shard_parameters)
    return Program(jax.jit(_loop(_once(traced, places), traced.metrics, most, limit), donate_argnums=0), most, mesh)


def _trace(
    step: Callable[..., Any], make: Callable[..., Any], arguments: Any, mesh: Mesh | None, automatic: bool
) -> _Traced:
    """Trace the step once, and see from it whether the batch is to be cut over host devices.

    With `automatic`, layers are traced in a context in which they cut their batch over devices, if they can. Those that
    can leave a `shard_map` in the jaxpr, and are faster so. Where there is none, the context has changed nothing, and
    the batch is not cut.
    """
    state, data, key, numbers, row, index = arguments
    more = (numbers,) if numbers else ()

    def made(data: Any, row: Any, key: Any, index: Any) -> Any:
        return make(data, row, jax.random.fold_in(key, index))

    make_jaxpr, batch = jax.make_jaxpr(made, return_shape=True)(data, row, key, index)
    size = jax.tree.leaves(batch)[0].shape[0]
    if mesh is not None and size % mesh.size:
        raise ValueError(f"{mesh.size} devices do not divide the batch of {size} examples")
    wanted = mesh
    if automatic:
        wanted = parallel.data_mesh(parallel.largest_divisor(size, min(cores(), jax.device_count())))
    with over_devices(wanted if wanted is not None and wanted.size > 1 else contexts()[0]):
        jaxpr, (new_state, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batch, *more)
    several = automatic and wanted is not None and wanted.size > 1
    if several and holds(jaxpr.jaxpr, lambda equation: equation.primitive.name == "shard_map"):
        mesh = wanted
    return _Traced(make_jaxpr, jaxpr, batch, new_state, metrics, mesh)


def _once(traced: _Traced, places: Any) -> Callable[..., Any]:
    """`(state, data, key, numbers, row, index) -> (state, metrics)`: one step, evaluated from the jaxprs.

    So the user's functions are traced once, although JAX may trace a loop's body more than once. A jaxpr takes and
    gives leaves in the order of `jax.tree.leaves`, which is why arguments are flattened and results put together.
    """
    make, step, mesh = jax_core.jaxpr_as_fun(traced.make), jax_core.jaxpr_as_fun(traced.step), traced.mesh
    batch_tree, out_tree = jax.tree.structure(traced.batch), jax.tree.structure((traced.state, traced.metrics))

    def once(state: Any, data: Any, key: Any, numbers: Any, row: Any, index: Any) -> tuple[Any, Any]:
        batch = jax.tree.unflatten(batch_tree, make(*jax.tree.leaves((data, row, key, index))))
        if mesh is not None:
            batch = parallel.cut(batch, mesh)
        state, metrics = jax.tree.unflatten(out_tree, step(*jax.tree.leaves((state, batch, numbers))))
        if mesh is not None:
            # Otherwise XLA might leave the new state on other devices than the old one, and the next call would have to
            # be compiled again for those.
            state = parallel.constrain(state, places)
            metrics = parallel.constrain(metrics, parallel.shardings(metrics, mesh))
        return state, metrics

    return once


def _loop(once: Callable[..., Any], metrics: Any, most: int, limit: float) -> Callable[..., Any]:
    """The program of `Program.run`, not yet compiled: a `while_loop` over steps, or one step where `most` is 1."""

    def program(state: Any, data: Any, key: Any, numbers: Any, rows: Any, start: Any, count: Any) -> Any:
        def body(loop: Any) -> Any:
            index, state, buffers, _ = loop
            row = jax.tree.map(lambda r: jax.lax.dynamic_index_in_dim(r, index, keepdims=False), rows)
            state, metrics = once(state, data, key, numbers, row, start + index)
            buffers = jax.tree.map(lambda b, m: b.at[index].set(m), buffers, metrics)
            return index + 1, state, buffers, is_good(metrics, limit)

        def proceed(loop: Any) -> Any:
            index, _, _, good = loop
            return good & (index < count)

        # Metrics of step i go into entry i of a buffer. Its size is `most` and not `count`, as a program's shapes are
        # fixed, and `count` is data. The order of the loop: step, then judge it, so that a bad step is the last one.
        buffers = jax.tree.map(lambda m: jnp.zeros((most, *m.shape), m.dtype), metrics)
        loop = (jnp.int32(0), state, buffers, jnp.array(True))
        index, state, buffers, good = jax.lax.while_loop(proceed, body, loop) if most > 1 else body(loop)
        return state, buffers, index, good

    return program


def is_good(metrics: Metrics, limit: float) -> jax.Array:
    """Whether every loss is within the limit and every gradient norm finite, bool [].

    The metrics of a stacked state have a leading axis of members: one member for which it holds is enough, so that one
    that diverges does not end the others.
    """
    good = jnp.array(True)
    for name, value in metrics.items():
        last = name.rsplit("/", 1)[-1]
        if last == "loss":
            good &= (jnp.abs(value) <= limit).any()  # a comparison with NaN is false
        elif last == "grad_norm":
            good &= jnp.isfinite(value).any()
    return good


def holds(jaxpr: Any, matches: Callable[[Any], bool]) -> bool:
    """Whether an equation of the jaxpr, or of one inside it, matches."""
    if any(matches(equation) for equation in jaxpr.eqns):
        return True
    return any(holds(inner, matches) for inner in jax_core.subjaxprs(jaxpr))


def _is_slow_convolution(equation: Any) -> bool:
    """Whether it is a convolution that XLA:CPU makes slow inside a loop.

    The fast form has images [B, ..., C], kernels [..., C, C'] and one group of the batch; gradients that JAX derives
    have others.
    """
    if equation.primitive.name != "conv_general_dilated":
        return False
    order = equation.params["dimension_numbers"]
    rank = len(order.lhs_spec)
    # `dimension_numbers` says, for images, kernels and outputs, which axis is which: first the axis of the batch (of a
    # kernel: of the output features), then that of the features (of a kernel: of the input features), then space.
    images = (0, rank - 1, *range(1, rank - 1))
    fast = (images, (rank - 1, rank - 2, *range(rank - 2)), images)
    return tuple(map(tuple, order)) != fast or equation.params["batch_group_count"] > 1


def _same_shape(state: TrainState, new: TrainState) -> None:
    """Refuse a step that changes its state's form: it would be compiled in every call, and could not be resumed."""
    old_leaves = jax.tree_util.tree_leaves_with_path(state)
    old_tree, new_tree = str(jax.tree.structure(state)), str(jax.tree.structure(new))
    if old_tree != new_tree:
        raise ValueError(f"the step changes the state's structure from {old_tree} to {new_tree}")
    for (path, a), b in zip(old_leaves, jax.tree.leaves(new), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            where = jax.tree_util.keystr(path)
            raise ValueError(f"the step changes {where} from {a.dtype}{list(a.shape)} to {b.dtype}{list(b.shape)}")
