"""Several independent trainings in one compiled program, spread over the devices."""

from collections.abc import Callable

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gen_models.core import Step, TrainState


def host_devices(count: int) -> int:
    """Ask for `count` CPU devices; returns how many devices there are, which stays as it was once JAX has started."""
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError:  # the backends are running: some program before this one has used a device
        pass
    return len(jax.devices())


def train_many(step: Step, members: int) -> tuple[Step, Callable[[TrainState], TrainState]]:
    """A step for `members` stacked states with a batch each, and a function that puts such a state on its devices.

    The members are shared out over as many devices as divide their number. A device takes its members by `vmap` on an
    accelerator, and one after another on a CPU, where a product of stacked matrices is slower than one at a time: ten
    packed GANs on 2 cores took 273 ms a step on two host devices one after another, 465 to 497 on one, and 521 to 569 by
    `vmap` (other programs were running; not measured with convolutions, whose gradients are slow inside loops there).

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
