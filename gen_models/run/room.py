"""Whether a state fits into memory, asked before it is made: a system that runs out of memory kills or hangs."""

from collections.abc import Sequence
from typing import Any

import jax

from gen_models.core import TrainState
from gen_models.machine import available_memory


def refuse_too_large(state: TrainState, parts: int = 1) -> None:
    """Refuse a state that does not fit beside the gradients of its parameters; where no limit is known, nothing is.

    Batches and activations are not counted: what is refused here could not be trained with the smallest batch.

    Args:
      state: a state, or its shapes and dtypes.
      parts: the number of devices over which it is cut.

    Raises:
      ValueError: it is too large; the message has both numbers, and what to lower.
    """
    free = free_memory(parts)
    held = size_of(state) + size_of(state.params)
    if free is None or held <= free:
        return
    about = {"parameters": state.params, "their gradients": state.params, "the optimizer's state": state.opt_state}
    about |= {} if state.ema is None else {"their average": state.ema}
    told = ", ".join(f"{name} {_gigabytes(size_of(tree))}" for name, tree in about.items())
    path, largest = max(jax.tree_util.tree_leaves_with_path(state.params), key=lambda found: found[1].size)
    name = "/".join(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
    raise ValueError(
        f"the state takes {_gigabytes(held)} ({told}), and {_gigabytes(free)} of memory are free: make the network "
        f"smaller (its largest array is {name}, {' x '.join(map(str, largest.shape))}), take an optimizer without "
        "moments (--optimizer sgd, optimizer='sgd' in the library), or cut the state over more devices "
        "(--shard-parameters, shard_parameters=True)"
    )


def size_of(tree: Any) -> int:
    """Bytes of a tree of arrays, or of their shapes and dtypes."""
    leaves: Sequence[Any] = jax.tree.leaves(tree)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if hasattr(leaf.dtype, "itemsize"))


def free_memory(devices: int = 1) -> int | None:
    """Bytes that may still be used on so many devices together, or None where nobody knows: the host's, for a CPU."""
    local = jax.local_devices()
    if local[0].platform == "cpu":
        return available_memory()
    statistics = local[0].memory_stats() or {}
    if "bytes_limit" not in statistics:
        return None
    return devices * (int(statistics["bytes_limit"]) - int(statistics.get("bytes_in_use", 0)))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
