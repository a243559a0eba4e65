"""One step on many devices: a batch cut over them, parameters too where asked, or several independent trainings."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gen_models.core import Batch, Metrics, Step, TrainState
from gen_models.errors import unknown
from gen_models.nn.devices import DATA_AXIS, largest_divisor, over_devices

HOW = ("jit", "pmap", "shard_map")
SMALLEST_CUT = 2**10  # elements: a smaller leaf is kept whole, as it costs more to gather than to hold


def data_mesh(count: int | None = None) -> Mesh:
    """A mesh of `count` devices of all hosts, by default of all devices, with one axis "data".

    Raises:
      ValueError: there are fewer devices.
    """
    devices = jax.devices()
    count = len(devices) if count is None else count
    if not 1 <= count <= len(devices):
        raise ValueError(f"a mesh of {count} devices was asked for, but there are {len(devices)}")
    return Mesh(devices[:count], (DATA_AXIS,), axis_types=(AxisType.Auto,))


def shardings(state: Any, mesh: Mesh, *, shard_parameters: bool = False) -> Any:
    """The sharding of each leaf of a state, or of its `jax.eval_shape`: whole on every device, or cut into equal parts.

    With `shard_parameters`, leaves of 1,024 elements or more are cut along their longest axis that the devices divide:
    parameters, their average and the optimizer's moments alike, so that a device holds its part of them alone (Zhao et
    al., PyTorch FSDP, 2023; Rajbhandari et al., ZeRO, 2020). XLA gathers a parameter where it is used.

    A state's carry is cut as the batch is: each device keeps that of its own examples.
    """
    whole, part = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(DATA_AXIS))
    if isinstance(state, TrainState):
        rest = TrainState(*shardings(tuple(state._replace(carry=None)), mesh, shard_parameters=shard_parameters))
        carry = jax.tree.map(lambda leaf: part if leaf.shape[0] % mesh.size == 0 else whole, state.carry)
        return rest._replace(carry=carry)

    def one(leaf: Any) -> NamedSharding:
        spec = PartitionSpec()
        fits = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if shard_parameters and fits and leaf.size >= SMALLEST_CUT:
            longest = max(fits, key=lambda axis: leaf.shape[axis])
            spec = PartitionSpec(*(DATA_AXIS if axis == longest else None for axis in range(leaf.ndim)))
        return NamedSharding(mesh, spec)

    return jax.tree.map(one, state)


def compile_step(
    step: Step,
    how: Literal["jit", "pmap", "shard_map"] = "jit",
    *,
    mesh: Mesh | None = None,
    shard_parameters: bool = False,
    donate: bool = True,
) -> Step:
    """The step as one compiled program over the devices of a mesh: `(state, batch) -> (state, metrics)`.

    The batch is the whole one, which every host gives in full; each device computes on its equal part, and keeps the
    carry of its examples, where the state has one.

    Args:
      step: from `make_train_step`; for "pmap" and "shard_map" made with `axis_name="data"`, and of a model whose batch
        norm has that `axis_name`; for "jit" without.
      how: "jit" leaves the cutting to XLA, and then the step is that of one device up to rounding, noise and batch
        norm included. "pmap" and "shard_map" run one copy of the step on each device: each draws its own noise.
      mesh: by default all devices of all hosts.
      shard_parameters: cut the state as well (`shardings`), so that a model larger than a device trains; "jit" only.
      donate: the state's buffers are re-used for the new state.

    Raises:
      ValueError: `how` is unknown or cannot shard parameters, or (when called) the devices do not divide the batch.
    """
    if how not in HOW:
        raise unknown("way to compile a step", how, HOW)
    if shard_parameters and how != "jit":
        raise ValueError(f'shard_parameters needs how="jit", got {how!r}')
    mesh = data_mesh() if mesh is None else mesh
    donated = (0,) if donate else ()
    programs = {
        "jit": partial(_by_jit, step, mesh, donated, shard_parameters),
        "pmap": partial(_by_pmap, step, mesh, donated),
        "shard_map": partial(_by_shard_map, step, mesh, donated),
    }
    program = programs[how]()

    def compiled(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        size = jax.tree.leaves(batch)[0].shape[0]
        if size % mesh.size:
            raise ValueError(f"{mesh.size} devices do not divide the batch of {size} examples")
        if how == "jit":  # a fresh state is on one device
            state = put(state, shardings(state, mesh, shard_parameters=shard_parameters))
        return program(state, batch)

    return compiled


def _by_jit(step: Step, mesh: Mesh, donated: tuple[int, ...], shard_parameters: bool) -> Step:
    """The step as XLA cuts it: the batch is constrained to the mesh, and the new state to where the old one was."""

    def cut_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        state, metrics = on_mesh(step, mesh)(state, batch)
        return constrain(state, shardings(state, mesh, shard_parameters=shard_parameters)), metrics

    return jax.jit(cut_step, donate_argnums=donated)


def _by_pmap(step: Step, mesh: Mesh, donated: tuple[int, ...]) -> Step:
    """One copy of the step a device. `pmap` maps over a leading axis of devices, which batch and carry get for it."""
    axes = _but_carry(None, 0)
    mapped = jax.pmap(
        step,
        DATA_AXIS,
        in_axes=(axes, 0),
        out_axes=(axes, None),
        devices=list(mesh.devices.flat),
        donate_argnums=donated,
    )

    def with_device_axis(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        batch, carry = jax.tree.map(lambda x: x.reshape(mesh.size, -1, *x.shape[1:]), (batch, state.carry))
        state, metrics = mapped(state._replace(carry=carry), batch)
        return state._replace(carry=jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state.carry)), metrics

    return with_device_axis


def _by_shard_map(step: Step, mesh: Mesh, donated: tuple[int, ...]) -> Step:
    """One copy of the step a device, inside one compiled program."""
    whole, part = PartitionSpec(), PartitionSpec(DATA_AXIS)
    specs = _but_carry(whole, part)
    sharded = jax.shard_map(step, mesh=mesh, in_specs=(specs, part), out_specs=(specs, whole), check_vma=False)
    return jax.jit(sharded, donate_argnums=donated)


def _but_carry(whole: Any, part: Any) -> Any:
    """A state of specifications: `part` for the carry, and `whole` for all else."""
    return TrainState(whole, whole, whole, whole, whole, whole, carry=part)


def on_mesh(step: Step, mesh: Mesh) -> Step:
    """The step with its batch cut over the mesh, to be called inside `jit`."""

    def over_mesh(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        with over_devices(mesh):
            return step(state, cut(batch, mesh))

    return over_mesh


def cut(batch: Batch, mesh: Mesh) -> Batch:
    """The batch, each leaf cut over the mesh along its first axis; a leaf that the devices do not divide stays whole.

    For use inside `jit`.
    """

    def one(x: jax.Array) -> jax.Array:
        divides = x.ndim > 0 and x.shape[0] % mesh.size == 0
        spec = PartitionSpec(DATA_AXIS) if divides else PartitionSpec()
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

    return jax.tree.map(one, batch)


def put(tree: Any, places: Any) -> Any:
    """The tree with its leaves where `places`, a tree of shardings, says; each of several hosts gives the same tree.

    A leaf that is there already is returned as it is.
    """

    def one(leaf: Any, place: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(place, leaf.ndim):
            return leaf
        if place.is_fully_addressable:
            return jax.device_put(leaf, place)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            words = one(jax.random.key_data(leaf), NamedSharding(place.mesh, PartitionSpec()))
            return jax.jit(partial(jax.random.wrap_key_data, impl=jax.random.key_impl(leaf)))(words)
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, place, lambda index: host[index])

    return jax.tree.map(one, tree, places)


def constrain(state: Any, places: Any) -> Any:
    """The state with its leaves where `places`, a tree of shardings, says; for use inside `jit`."""
    return jax.tree.map(jax.lax.with_sharding_constraint, state, places)


def own_part(mesh: Mesh, size: int) -> slice:
    """The examples of a batch of `size` that this process's devices get, where the mesh cuts it.

    Raises:
      ValueError: the devices do not divide the batch, or this process's devices do not stand together in the mesh.
    """
    if size % mesh.size:
        raise ValueError(f"{mesh.size} devices do not divide the batch of {size} examples")
    here = jax.process_index()
    at = [index for index, device in enumerate(mesh.devices.flat) if device.process_index == here]
    if not at or at != list(range(at[0], at[-1] + 1)):
        raise ValueError(f"the mesh must hold the devices of process {here} next to each other, but they are at {at}")
    each = size // mesh.size
    return slice(at[0] * each, (at[-1] + 1) * each)


def of_all_hosts(rows: Any, mesh: Mesh, size: int) -> Any:
    """Arrays [count, size, ...] cut over the mesh along their second axis, of which each host gives its `own_part`."""
    place = NamedSharding(mesh, PartitionSpec(None, DATA_AXIS))

    def one(own: Any) -> jax.Array:
        return jax.make_array_from_process_local_data(place, own, (own.shape[0], size, *own.shape[2:]))

    return jax.tree.map(one, rows)


def local(state: Any) -> Any:
    """The state, whole, on this process's first device, for evaluation and sampling; not copied where it is there."""

    def gather(leaf: Any) -> jax.Array:
        if len(leaf.sharding.device_set) > 1 and not leaf.is_fully_replicated:
            leaf = jax.jit(lambda x: x, out_shardings=NamedSharding(leaf.sharding.mesh, PartitionSpec()))(leaf)
        return leaf.addressable_data(0)

    return jax.tree.map(gather, state)


def train_many(
    step: Callable[..., Any], members: int, how: Literal["auto", "vmap", "scan"] = "auto"
) -> tuple[Callable[..., Any], Callable[[TrainState], TrainState]]:
    """A step for `members` stacked states with a batch each, and a function that puts such a state on its devices.

    The members are shared out over as many devices as divide their number. A device takes its members by `vmap` on an
    accelerator, and one after another on a CPU, where products of stacked matrices are slower than one at a time: for
    ten GANs of `experiments/gan_grid.py` on 2 cores, one after another on two host devices took about half the time of
    `vmap` on one, and on one device 0.85 of it (two rounds each, while other programs ran: rough).

    Args:
      step: the step of one member, from `make_train_step`; or one of more arguments, which are stacked as well.
      members: leading axis of every leaf of the state and the batch.
      how: "vmap" or "scan" (one after another) on each device; "auto": as above.

    Raises:
      ValueError: `members` is below 1, or `how` is unknown.
    """
    if members < 1:
        raise ValueError(f"members must be 1 or more, got {members}")
    if how not in ("auto", "vmap", "scan"):
        raise unknown("way to train several members", how, ("auto", "vmap", "scan"))
    devices = jax.devices()
    mesh = Mesh(devices[: largest_divisor(members, len(devices))], ("member",))
    spec = PartitionSpec("member")
    in_turn = how == "scan" or (how == "auto" and jax.default_backend() == "cpu")

    def mine(arguments: Any) -> Any:
        if in_turn:
            return jax.lax.map(lambda each: step(*each), arguments)
        return jax.vmap(step)(*arguments)

    together = jax.shard_map(mine, mesh=mesh, in_specs=(spec,), out_specs=spec, check_vma=False)
    return lambda *arguments: together(arguments), lambda state: jax.device_put(state, NamedSharding(mesh, spec))
