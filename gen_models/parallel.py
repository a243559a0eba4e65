"""Several independent trainings in one compiled program, spread over the devices."""

import contextlib
from collections.abc import Callable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gen_models.core import Step, TrainState


def host_devices(count: int) -> int:
    """Ask for `count` CPU devices; returns how many devices there are, which stays as it was once JAX has started."""
    with contextlib.suppress(RuntimeError):  # JAX is running: a program before this one has used a device
        jax.config.update("jax_num_cpu_devices", count)
    return len(jax.devices())


def train_many(step: Step, members: int) -> tuple[Step, Callable[[TrainState], TrainState]]:
    """A step for `members` stacked states with a batch each, and a function that puts such a state on its devices.

    The members are shared out over as many devices as divide their number. A device takes its members by `vmap` on an
    accelerator, and one after another on a CPU, where products of stacked matrices are slower than one at a time: for
    ten GANs of `experiments/gan_grid.py` on 2 cores, one after another on two host devices took about half the time of
    `vmap` on one, and on one device 0.85 of it (two rounds each, while other programs ran: rough). Not measured with
    convolutions, whose gradients are slow inside loops there.

    Args:
      step: of one member, from `make_train_step`.
      members: leading axis of every leaf of the state and the batch.

    Raises:
      ValueError: `members` is below 1.
    """
    if members < 1:
        raise ValueError(f"members must be 1 or more, got {members}")
    devices = jax.devices()
    count = max(d for d in range(1, len(devices) + 1) if members % d == 0)
    mesh = Mesh(devices[:count], ("member",))
    spec = PartitionSpec("member")

    def mine(states, batches):
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda pair: step(*pair), (states, batches))
        return jax.vmap(step)(states, batches)

    together = jax.shard_map(mine, mesh=mesh, in_specs=(spec, spec), out_specs=(spec, spec), check_vma=False)
    return together, lambda state: jax.device_put(state, NamedSharding(mesh, spec))
