"""How layers with gradients of their own are traced: cut over devices, or as XLA differentiates them.

On a CPU, `nn/conv.py` and `nn/recurrent.py` write their gradients out, for speed. These contexts, which `jit` keeps
apart, say how.
"""

from contextlib import AbstractContextManager
from typing import Any

import jax
from jax.sharding import Mesh

DATA_AXIS = "data"  # of a mesh over which batches are cut

_mesh: Any = jax.make_user_context(None)  # part of jit's cache keys: a change is a new trace
_plain: Any = jax.make_user_context(False)


def over_devices(mesh: Mesh | None) -> AbstractContextManager:
    """A context in which such layers cut their batch over the axis "data" of `mesh`, on a CPU."""
    return _mesh(mesh)


def plain() -> AbstractContextManager:
    """A context in which they are XLA's own, also on a CPU: needed for `jvp`, `jacfwd` and `hessian`."""
    return _plain(True)


def contexts() -> tuple[Mesh | None, bool]:
    """What `over_devices` and `plain` say here: part of the key of whatever keeps traced programs, as `jit` does."""
    return _mesh.value, _plain.value


def mesh_for(batch_size: int) -> Mesh | None:
    """The mesh of `over_devices` where it divides the batch, else None."""
    mesh = _mesh.value
    return None if mesh is None or batch_size % mesh.shape[DATA_AXIS] else mesh


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of a number that is not above a bound: into how many equal parts it can be cut."""
    return max(d for d in range(1, min(number, at_most) + 1) if number % d == 0)


def is_plain() -> bool:
    """Whether XLA's own form is to be traced: in `plain()`, and elsewhere than on a CPU."""
    return _plain.value or jax.default_backend() != "cpu"
