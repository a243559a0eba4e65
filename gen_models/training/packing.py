"""A state as one array for each dtype, in the order of its leaves; what `Checkpoints` saves."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

LARGEST = 2**28  # bytes: above, a copy of the state takes room on the device that may be needed


def fits(state: Any) -> bool:
    """Whether every device of this process that holds a leaf holds all of it, and their size is moderate."""
    leaves = jax.tree.leaves(state)
    whole = all(
        leaf.is_fully_addressable and leaf.is_fully_replicated for leaf in leaves if isinstance(leaf, jax.Array)
    )
    devices = {frozenset(leaf.devices()) for leaf in leaves if isinstance(leaf, jax.Array)}
    return whole and len(devices) <= 1 and sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) <= LARGEST


@jax.jit
def pack(state: Any) -> dict[str, jax.Array]:
    """{dtype: [total]}; keys are the words they are made of."""
    parts: dict[str, list[jax.Array]] = {}
    for leaf in jax.tree.leaves(state):
        leaf = _words(jnp.asarray(leaf))
        parts.setdefault(str(leaf.dtype), []).append(leaf.reshape(-1))
    return {name: jnp.concatenate(some) for name, some in parts.items()}


def placed(like: Any) -> Any:
    """Shapes and dtypes with where each leaf belongs: where `like` says, else on this process's first device."""
    first = SingleDeviceSharding(jax.local_devices()[0])

    def one(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or first)

    return jax.tree.map(one, like)


def shapes(wanted: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """What `pack` makes of such a state, whole on each of its devices; `wanted` from `placed`."""
    packed = jax.eval_shape(pack, wanted)
    place: Any = jax.tree.leaves(wanted)[0].sharding
    for leaf in jax.tree.leaves(wanted):
        if isinstance(leaf.sharding, NamedSharding):
            place = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place) for name, x in packed.items()}


def unpack(packed: dict[str, jax.Array], wanted: Any) -> Any:
    """The state that `pack` was given, in its places."""

    def take(packed):
        used, leaves = dict.fromkeys(packed, 0), []
        for like in jax.tree.leaves(wanted):
            words = jax.eval_shape(_words, jax.ShapeDtypeStruct(like.shape, like.dtype))
            name, size = str(words.dtype), math.prod(words.shape)
            part = packed[name][used[name] : used[name] + size].reshape(words.shape)
            used[name] += size
            if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
                part = jax.random.wrap_key_data(part, impl=_impl(like))
            leaves.append(part)
        return jax.tree.unflatten(jax.tree.structure(wanted), leaves)

    return jax.jit(take, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, wanted))(packed)


def _words(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _impl(like):
    """How a key of this dtype makes random bits; JAX says so of arrays alone, traced ones included."""
    said: list[Any] = []
    jax.eval_shape(lambda key: said.append(jax.random.key_impl(key)), jax.ShapeDtypeStruct(like.shape, like.dtype))
    return said[0]
