"""Many training steps as one compiled program, which stops by itself at the first step whose loss is not good.

The step is traced once, to a jaxpr. What the program looks like follows from the step, the data and the platform alone,
and how many of its steps a call takes is a number that it reads. So a resumed run goes through the same program, and
ends in the same bits.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jax_core
from jax.sharding import Mesh

from gen_models.core import Metrics, TrainState
from gen_models.data import Batches
from gen_models.machine import cores
from gen_models.nn.devices import contexts, over_devices
from gen_models.training import parallel

MAX_STEPS_PER_CALL = 64
LARGEST_LOSS = 1e8  # a loss of greater magnitude counts as diverged


class Program(NamedTuple):
    """Up to `most` steps as one compiled function that donates its state.

    `run(state, data, key, constants, rows, start, count) -> (state, metrics, taken, good)`: `rows` are those of `most`
    steps from `start` on, of which the program takes `count`; metrics are [most, ...] a name, of which the first
    `taken` are steps'; `good` is whether the last of them is.
    """

    run: Callable[..., Any]
    most: int
    mesh: Mesh | None  # over which it cuts batches; where it was not given, found by looking into the step


def compile_program(
    step: Callable[..., Any],
    state: TrainState,
    batches: Batches,
    rows: Any,
    key: Any,
    constants: dict[str, jax.Array],
    *,
    most: int | None,
    limit: float,
    mesh: Mesh | None,
    shard_parameters: bool,
) -> Program:
    """The program for such a state, batches and numbers; the same object where one like it was made before.

    Args:
      step: `(state, batch) -> (state, metrics)`, and with a third argument where there are `constants`.
      state: for its shapes and devices.
      batches: for their data and `make`.
      rows: of one step, [1, ...] on every leaf, for their shapes.
      key: of the data's transforms.
      constants: numbers that the step gets.
      most: steps that one call takes; None chooses.
      limit: a loss of greater magnitude is not good.
      mesh: over which to cut batches; None chooses, where there is a choice.
      shard_parameters: whether the mesh cuts the state as well.

    Raises:
      ValueError: `most` is below 1, the mesh does not divide the batch, or the step changes its state's form.
    """
    if most is not None and most < 1:
        raise ValueError(f"steps_per_call must be 1 or more, got {most}")
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    leaves, tree = jax.tree.flatten((state, batches.data, key, constants, row, np.int32(0)))
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    on_host = not jax.tree.leaves(batches.data)
    most = 1 if on_host and most is None else most
    # One training on one device: a stacked state (several trainings) has its own way to use the others.
    automatic = mesh is None and jax.default_backend() == "cpu" and jax.process_count() == 1 and state.step.ndim == 0
    automatic = automatic and all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))
    return _program(step, batches.make, tree, shapes, most, limit, mesh, automatic, shard_parameters, contexts())


class _Traced(NamedTuple):
    """A batch's making and a step as jaxprs, with the forms of what goes in and comes out."""

    make: Any  # (data, row, key, index) -> batch
    step: Any  # (state, batch, constants) -> (state, metrics)
    batch: Any
    state: Any
    metrics: Any
    mesh: Mesh | None  # that was given, or that the step's layers call for


@lru_cache(maxsize=4)  # a second `fit` with the same step, as after a restore, traces and compiles nothing again
def _program(step, make, tree, shapes, most, limit, mesh, automatic, shard_parameters, _contexts) -> Program:
    arguments = jax.tree.unflatten(tree, shapes)
    traced = _trace(step, make, arguments, mesh, automatic)
    state, mesh = arguments[0], traced.mesh
    _same_shape(state, traced.state)
    if most is None:
        slow_inside_loops = jax.default_backend() == "cpu" and holds(traced.step.jaxpr, _is_slow_convolution)
        most = 1 if slow_inside_loops else MAX_STEPS_PER_CALL
    places = None if mesh is None else parallel.shardings(state, mesh, shard_parameters=shard_parameters)
    return Program(jax.jit(_loop(_once(traced, places), traced.metrics, most, limit), donate_argnums=0), most, mesh)


def _trace(step, make, arguments, mesh, automatic) -> _Traced:
    """Trace the step once, and see from it whether the batch is to be cut over host devices.

    With `automatic`, layers are traced in the form that cuts its batch. Those that have it leave a `shard_map` in the
    jaxpr, and then they are faster so; where there is none, the form makes no difference and nothing is cut.
    """
    state, data, key, constants, row, index = arguments
    given = (constants,) if constants else ()

    def made(data, row, key, index):
        return make(data, row, jax.random.fold_in(key, index))

    make_jaxpr, batch = jax.make_jaxpr(made, return_shape=True)(data, row, key, index)
    size = jax.tree.leaves(batch)[0].shape[0]
    if mesh is not None and size % mesh.size:
        raise ValueError(f"{mesh.size} devices do not divide the batch of {size} examples")
    wanted = mesh
    if automatic:
        wanted = parallel.data_mesh(parallel.largest_divisor(size, min(cores(), jax.device_count())))
    with over_devices(wanted if wanted is not None and wanted.size > 1 else contexts()[0]):
        jaxpr, (new_state, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batch, *given)
    if automatic and wanted.size > 1 and holds(jaxpr.jaxpr, lambda equation: equation.primitive.name == "shard_map"):
        mesh = wanted
    return _Traced(make_jaxpr, jaxpr, batch, new_state, metrics, mesh)


def _once(traced: _Traced, places: Any) -> Callable[..., Any]:
    """`(state, data, key, constants, row, index) -> (state, metrics)`: one step, from the jaxprs.

    Nothing of the user's is traced a second time, although a loop's body may be traced more than once.
    """
    make, step, mesh = jax_core.jaxpr_as_fun(traced.make), jax_core.jaxpr_as_fun(traced.step), traced.mesh
    batch_tree, out_tree = jax.tree.structure(traced.batch), jax.tree.structure((traced.state, traced.metrics))

    def once(state, data, key, constants, row, index):
        batch = jax.tree.unflatten(batch_tree, make(*jax.tree.leaves((data, row, key, index))))
        if mesh is not None:
            batch = parallel.cut(batch, mesh)
        state, metrics = jax.tree.unflatten(out_tree, step(*jax.tree.leaves((state, batch, constants))))
        if (
            mesh is not None
        ):  # XLA would else be free to leave the new state in other places, and compile again for them
            state = parallel.constrain(state, places)
            metrics = parallel.constrain(metrics, parallel.shardings(metrics, mesh))
        return state, metrics

    return once


def _loop(once: Callable[..., Any], metrics: Any, most: int, limit: float) -> Callable[..., Any]:
    """The program of `Program.run`, not yet compiled: a `while_loop` over steps, or one step where `most` is 1."""

    def program(state, data, key, constants, rows, start, count):
        def body(loop):
            index, state, buffers, _ = loop
            row = jax.tree.map(lambda r: jax.lax.dynamic_index_in_dim(r, index, keepdims=False), rows)
            state, metrics = once(state, data, key, constants, row, start + index)
            buffers = jax.tree.map(lambda b, m: b.at[index].set(m), buffers, metrics)
            return index + 1, state, buffers, is_good(metrics, limit)

        def proceed(loop):
            index, _, _, good = loop
            return good & (index < count)

        # Metrics of each step go into their own place of a buffer, whose size does not depend on `count`.
        buffers = jax.tree.map(lambda m: jnp.zeros((most, *m.shape), m.dtype), metrics)
        loop = (jnp.int32(0), state, buffers, jnp.array(True))
        index, state, buffers, good = jax.lax.while_loop(proceed, body, loop) if most > 1 else body(loop)
        return state, buffers, index, good

    return program


def is_good(metrics: Metrics, limit: float) -> jax.Array:
    """Whether every loss and gradient norm is finite and within the limit; of a vmapped step, of any member."""
    good = jnp.array(True)
    for name, value in metrics.items():
        last = name.rsplit("/", 1)[-1]
        if last == "loss":
            good &= (jnp.abs(value) <= limit).any()  # false for NaN
        elif last == "grad_norm":
            good &= jnp.isfinite(value).any()
    return good


def holds(jaxpr: Any, matches: Callable[[Any], bool]) -> bool:
    """Whether an equation of the jaxpr, or of one inside it, matches."""
    if any(matches(equation) for equation in jaxpr.eqns):
        return True
    return any(holds(inner, matches) for inner in jax_core.subjaxprs(jaxpr))


def _is_slow_convolution(equation) -> bool:
    """XLA:CPU's fast form has images [B, ..., C] and kernels [..., C, C']; other forms are slow inside loops."""
    if equation.primitive.name != "conv_general_dilated":
        return False
    order = equation.params["dimension_numbers"]
    rank = len(order.lhs_spec)
    # Each specification names the axes in one order: batch (or output features), features (or input features), space.
    images = (0, rank - 1, *range(1, rank - 1))
    fast = (images, (rank - 1, rank - 2, *range(rank - 2)), images)
    return tuple(map(tuple, order)) != fast or equation.params["batch_group_count"] > 1


def _same_shape(state: TrainState, new: TrainState) -> None:
    """A step that changes its state's form would be compiled again and again, and could not be resumed."""
    old_leaves = jax.tree_util.tree_leaves_with_path(state)
    old_tree, new_tree = str(jax.tree.structure(state)), str(jax.tree.structure(new))
    if old_tree != new_tree:
        raise ValueError(f"the step changes the state's structure from {old_tree} to {new_tree}")
    for (path, a), b in zip(old_leaves, jax.tree.leaves(new), strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            where = jax.tree_util.keystr(path)
            raise ValueError(f"the step changes {where} from {a.dtype}{list(a.shape)} to {b.dtype}{list(b.shape)}")
