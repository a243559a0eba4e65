"""A state as one array for each dtype, in the order of its leaves; what `Checkpoints` saves."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding

LARGEST = 2**28  # bytes: a copy of a larger state could take room on the device that training needs


def fits(state: Any) -> bool:
    """Whether the state may be packed: it has at most 2^28 bytes, and each device that has a leaf has all leaves whole.

    One array of leaves that lie on different devices, or in pieces, would have to gather them first.
    """
    leaves = jax.tree.leaves(state)
    whole = all(
        leaf.is_fully_addressable and leaf.is_fully_replicated for leaf in leaves if isinstance(leaf, jax.Array)
    )
    devices = {frozenset(leaf.devices()) for leaf in leaves if isinstance(leaf, jax.Array)}
    return whole and len(devices) <= 1 and sum(leaf.size * leaf.dtype.itemsize for leaf in leaves) <= LARGEST


@jax.jit
def pack(state: Any) -> dict[str, jax.Array]:
    """{dtype: [total]}: the elements of all leaves of a dtype, leaf behind leaf; a random key counts as its words."""
    flat: dict[str, list[jax.Array]] = {}
    for leaf in jax.tree.leaves(state):
        leaf = _words(jnp.asarray(leaf))
        flat.setdefault(str(leaf.dtype), []).append(leaf.reshape(-1))
    return {name: jnp.concatenate(leaves) for name, leaves in flat.items()}


def placed(like: Any) -> Any:
    """Shape, dtype and sharding of each leaf: the sharding that `like` says, else this process's first device."""
    first = SingleDeviceSharding(jax.local_devices()[0])

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or first)

    return jax.tree.map(one, like)


def shapes(wanted: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape, dtype and sharding of what `pack` makes of such a state; `wanted` is of `placed`.

    The arrays are whole on each of the state's devices, as its leaves may be cut over a mesh in different ways.
    """
    packed = jax.eval_shape(pack, wanted)
    place: Any = jax.tree.leaves(wanted)[0].sharding
    for leaf in jax.tree.leaves(wanted):
        if isinstance(leaf.sharding, NamedSharding):
            place = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place) for name, x in packed.items()}


def unpack(packed: dict[str, jax.Array], wanted: Any) -> Any:
    """The state that `pack` was given, each leaf with the sharding that `wanted`, of `placed`, says."""

    def take(packed: dict[str, jax.Array]) -> Any:
        used, leaves = dict.fromkeys(packed, 0), []  # dtype -> elements that leaves before this one have taken
        for like in jax.tree.leaves(wanted):
            words = jax.eval_shape(_words, jax.ShapeDtypeStruct(like.shape, like.dtype))
            name, size = str(words.dtype), math.prod(words.shape)
            leaf = packed[name][used[name] : used[name] + size].reshape(words.shape)
            used[name] += size
            if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
                leaf = jax.random.wrap_key_data(leaf, impl=_impl(like))
            leaves.append(leaf)
        return jax.tree.unflatten(jax.tree.structure(wanted), leaves)

    return jax.jit(take, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, wanted))(packed)


def _words(leaf: jax.Array) -> jax.Array:
    """The leaf itself; of a random key the unsigned integers that it is made of."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _impl(like: jax.ShapeDtypeStruct) -> Any:
    """The generator of random keys of this dtype, which JAX tells of arrays alone: hence one is traced."""
    said: list[Any] = []
    jax.eval_shape(lambda key: said.append(jax.random.key_impl(key)), jax.ShapeDtypeStruct(like.shape, like.dtype))
    return said[0]
