"""A state's leaves by name, with shape, dtype and a checksum of their bits, to be kept beside what is saved.

A leaf's checksum is two sums of 32 bits over its elements, each element mixed with its index by a bijection of integers
(a finaliser of Wellons, Prospecting for Hash Functions, 2018). So a change of one element always changes the checksum,
and any other change leaves it as it was with a chance far below 2^-32. Sums of integers do not depend on their order:
they are the same however a leaf is cut over devices, and each device sums what it holds.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.training.parallel import local

ON_HOST = 2**18  # elements of a state that are added up on the host


def describe(state: Any, notes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Shape, dtype and checksum of each leaf, for `intact`, `same_form` and `changed` to compare with.

    Args:
      state: a tree of arrays.
      notes: what else to keep, as JSON holds it.

    Returns:
      Values that JSON holds: {"leaves": {name: {"shape", "dtype", "checksum"}}, "notes", "digest"}; the digest is the
      SHA-256 of the rest.
    """
    leaves = named_leaves(state)
    described = {
        name: {"shape": list(x.shape), "dtype": str(x.dtype), "checksum": total}
        for (name, x), total in zip(leaves.items(), _checksums(list(leaves.values())), strict=True)
    }
    content = {"leaves": described, "notes": dict(notes or {})}
    return {**content, "digest": _digest(content)}


def intact(recorded: Any) -> bool:
    """Whether this is what `describe` gave, to the last character."""
    if not isinstance(recorded, Mapping) or set(recorded) != {"leaves", "notes", "digest"}:
        return False
    return recorded["digest"] == _digest({name: recorded[name] for name in ("leaves", "notes")})


def same_form(recorded: Mapping[str, Any], like: Any, where: Path) -> None:
    """Compare names, shapes and dtypes with those that are wanted.

    Raises:
      ValueError: they differ; the message names the first difference.
    """
    saved, wanted = recorded["leaves"], named_leaves(like)
    for name in sorted(saved.keys() ^ wanted.keys()):
        owner = "the checkpoint alone" if name in saved else "the model alone"
        raise ValueError(f"checkpoint {where} is of another model: {name!r} is in {owner}")
    for name, leaf in wanted.items():
        if "checksum" not in saved[name] and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            continue  # without checksums, what is described is Orbax's form of a key: its words, as uint32
        found, here = saved[name], {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}
        if any(found[what] != here[what] for what in here):
            raise ValueError(
                f"checkpoint {where} is of another model: {name!r} is {found['dtype']}{found['shape']} there and "
                f"{here['dtype']}{here['shape']} here"
            )


def changed(recorded: Mapping[str, Any], state: Any) -> str | None:
    """The first leaf whose shape, dtype or values are not those that were described, or None."""
    leaves = named_leaves(state)
    for name, leaf in leaves.items():  # Orbax restores a leaf by its own description, which may be what was damaged
        described = recorded["leaves"][name]
        if described["shape"] != list(leaf.shape) or described["dtype"] != str(leaf.dtype):
            return name
    for name, total in zip(leaves, _checksums(list(leaves.values())), strict=True):
        if recorded["leaves"][name]["checksum"] != total:
            return name
    return None


def named_leaves(tree: Any) -> dict[str, Any]:
    """Path -> leaf, such as "params/dense_0/kernel"; a named tuple and the dict that Orbax stores of it agree."""

    def name(entry: Any) -> str:
        # Entries of a dict have `key`, of a named tuple `name`, and of a sequence `idx`.
        return str(next(getattr(entry, a) for a in ("key", "name", "idx") if hasattr(entry, a)))

    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(map(name, path)): leaf for path, leaf in paths if leaf is not None}


def _digest(described: Any) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _checksums(leaves: list[Any]) -> list[str]:
    """Two sums of each leaf, as 16 hexadecimal digits: on the host if they are few, else in one program.

    A program has a part for each leaf, and takes seconds to compile; NumPy adds up `ON_HOST` elements in 8 ms.
    """
    if not leaves:
        return []
    few = sum(leaf.size for leaf in leaves) <= ON_HOST and all(map(_is_readable, leaves))
    sums = _sums_on_host(leaves) if few else np.asarray(local(_sums(leaves)))
    return [f"{a:08x}{b:08x}" for a, b in sums]


def _is_readable(leaf: Any) -> bool:
    """Whether this process holds all of it."""
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or leaf.is_fully_replicated


def _sums_on_host(leaves: list[Any]) -> np.ndarray:
    """What `_sums` gives, uint32 [leaves, 2], by NumPy: the words of all leaves one behind the other."""
    keys = [jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf for leaf in leaves]
    words = [_words_on_host(np.asarray(leaf)) for leaf in jax.device_get(keys)]
    counts = [part.size for part in words]
    index = np.concatenate([np.arange(count, dtype=np.uint32) for count in counts])
    mixed = _mix(np.concatenate(words) ^ (index * np.uint32(0x9E3779B9)))
    # Sums of what lies between two ends are differences of running sums, modulo 2^32; leaves may be empty.
    ends = np.cumsum([0, *counts])
    running = np.zeros((len(index) + 1, 2), np.uint32)
    np.cumsum(np.stack([mixed, _again(mixed)], -1), axis=0, dtype=np.uint32, out=running[1:])
    return np.diff(running[ends], axis=0)


def _words_on_host(leaf: np.ndarray) -> np.ndarray:
    """What `_words` gives, flat."""
    flat = np.ascontiguousarray(leaf).reshape(-1)
    if flat.dtype == np.bool_ or (flat.dtype.itemsize == 1 and jnp.issubdtype(flat.dtype, jnp.integer)):
        return flat.astype(np.uint32)
    return flat.view({1: np.uint8, 2: np.uint16}.get(flat.dtype.itemsize, np.uint32)).astype(np.uint32)


@jax.jit
def _sums(leaves: list[jax.Array]) -> jax.Array:
    """The two sums of each leaf, uint32 [leaves, 2]."""
    return jnp.stack([_sum(jnp.asarray(leaf)) for leaf in leaves])


def _sum(leaf: jax.Array) -> jax.Array:
    """The two sums of a leaf, uint32 [2]."""
    words = _words(leaf)
    # An element's index is its position in memory order, sum over axes of i_axis * stride_axis modulo 2^32. It is added
    # up from one iota for each axis: a reshape to one axis would gather a leaf that is cut over devices.
    index, stride = jnp.zeros([], jnp.uint32), 1
    for axis in reversed(range(words.ndim)):
        index = index + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * jnp.uint32(stride % 2**32)
        stride *= words.shape[axis]
    # 0x9E3779B9, 2^32 over the golden ratio, is odd: the product is a bijection of indices, and spreads neighbours.
    # Without the index, two elements that change places would leave the sums as they were.
    mixed = _mix(words ^ (index * jnp.uint32(0x9E3779B9)))
    return jnp.stack([mixed.sum(dtype=jnp.uint32), _again(mixed).sum(dtype=jnp.uint32)])


def _words(leaf: jax.Array) -> jax.Array:
    """The bits of each element as uint32: [...], or [..., 2] for elements of 8 bytes, complex numbers and keys."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        leaf = jnp.stack([leaf.real, leaf.imag], -1)
    if leaf.dtype == jnp.bool_ or (leaf.dtype.itemsize == 1 and jnp.issubdtype(leaf.dtype, jnp.integer)):
        return leaf.astype(jnp.uint32)
    # Other types are seen as unsigned integers of their size; 8 bytes become two words of 4, on a new last axis.
    of_its_size = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(leaf, of_its_size).astype(jnp.uint32)


def _mix(word: Any) -> Any:
    """Wellons' finaliser lowbias32: a bijection of uint32, in which each bit of the word reaches each of the result."""
    word = (word ^ (word >> 16)) * np.uint32(0x7FEB352D)
    word = (word ^ (word >> 15)) * np.uint32(0x846CA68B)
    return word ^ (word >> 16)


def _again(mixed: Any) -> Any:
    """A second bijection of the same words: changes that cancel in one sum will hardly cancel in the other as well."""
    again = (mixed ^ (mixed >> 15)) * np.uint32(0x2C1B3C6D)
    return again ^ (again >> 12)
