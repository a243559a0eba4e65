"""How the suite checks types and shapes wherever a function of `gen_models` is called: see pyproject.toml.

It is beartype, which jaxtyping runs on arguments and results, but for five things:

- an `int` is a `float`, as in PEP 484;
- NumPy's arrays and numbers are taken for JAX's, as by the functions of `jax.numpy`: their shapes and dtypes are
  checked alike;
- a size may be one that is left open, as in an exported sampler;
- a number of a config that is marked as traced may be a traced one;
- of a `Literal` only the type is checked: a function that is given an unknown name refuses it itself, with the nearest.
"""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import jax
import jax.export
import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, Num

# The type of a batch's size that is left open, as in an exported sampler.
_OPEN_SIZE = type(jax.export.symbolic_shape("n")[0])
_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function):
    """The function, which raises where an argument or the result is not what its annotation says."""
    if not isinstance(function, type):
        function.__annotations__ = {name: _widened(hint) for name, hint in function.__annotations__.items()}
    return _check(function)


@contextmanager
def unchecked():
    """A context in which nothing is checked: for tests of what functions refuse themselves, and of replaced ones."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def _widened(hint: Any) -> Any:
    """The annotation with NumPy's arrays beside JAX's, and with types in the place of literals."""
    if hint is jax.Array:
        return jax.Array | np.ndarray | np.number
    if hint is int:
        return int | _OPEN_SIZE
    if isinstance(hint, type) and issubclass(hint, AbstractArray) and hint.array_type is jax.Array:
        numbers = (np.number,) if hint.dim_str == "" else ()
        return Union[hint, hint.dtype[np.ndarray, hint.dim_str], *numbers]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        traced = any(getattr(mark, "name", "") == "traced" for mark in arguments[1:])
        numbers = (Num[jax.Array, ""],) if traced else ()
        return Union[_widened(arguments[0]), *numbers]
    if origin is Literal:
        return Union[tuple(type(value) for value in arguments)]  # noqa: UP007
    if origin in (Union, UnionType):
        return Union[tuple(map(_widened, arguments))]  # noqa: UP007
    if origin in (tuple, list, dict, Mapping, Sequence):
        return origin[tuple(argument if argument is ... else _widened(argument) for argument in arguments)]
    return hint
