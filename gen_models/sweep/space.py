"""The space of a search: fields with their ranges or choices. Imports no JAX.

The ranges stand beside the fields (`Annotated[float, Range(1e-4, 1e-1, log=True)]`) or on the command line.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from gen_models.errors import unknown
from gen_models.run.config import InputError, Range
from gen_models.run.fields import annotations, ranges, value_of

Space = Mapping[str, Range | tuple[Any, ...]]  # dotted name of a field -> its range, or its choices


def space_of(config: Any, words: Sequence[str], names: Sequence[str]) -> Space:
    """The fields to search, by dotted names: those of the words, else all that have a range and are not 0.

    Args:
      config: what the search changes.
      words: `FIELD`, `FIELD=LOW,HIGH` or `FIELD=A,B,C`.
      names: dotted names of the fields that may be searched.

    Raises:
      InputError: a field is unknown, has neither range nor choices, or its bounds are wrong.
    """
    known = ranges(config)
    if not words:
        if not known:
            raise InputError("no field of this experiment has a range: name what to search, --search FIELD=LOW,HIGH")
        return {name: known[name] for name in known if value_of(config, name) != 0}
    space: dict[str, Range | tuple[Any, ...]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if name not in names:
            raise InputError(unknown("field", name, names))
        kind = _kind(config, name)
        if kind in (int, float) and equals:
            space[name] = _range(name, kind, values, known.get(name))
        elif name in known:
            space[name] = known[name]
        elif kind is bool or get_origin(kind) is Literal:
            space[name] = _choices(name, (False, True) if kind is bool else get_args(kind), values if equals else None)
        else:
            raise InputError(f"{name} has no range beside it: give one, --search {name}=LOW,HIGH")
    return space


def distributions(config: Any, space: Space) -> dict[str, Any]:
    """The space as Optuna draws from it; a range of a field that is an integer gives integers."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # optional

    found: dict[str, Any] = {}
    for name, among in space.items():
        if not isinstance(among, Range):
            found[name] = CategoricalDistribution(among)
        elif isinstance(value_of(config, name), int):
            found[name] = IntDistribution(int(among.low), int(among.high), log=among.log)
        else:
            found[name] = FloatDistribution(among.low, among.high, log=among.log)
    return found


def _kind(config: Any, name: str) -> Any:
    """The type of a field without its marks."""
    part, _, own = name.rpartition(".")
    kind: type = type(value_of(config, part) if part else config)
    annotation = annotations(kind)[own]
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _choices(name: str, choices: Sequence[Any], values: str | None) -> tuple[Any, ...]:
    """The choices that the words name, or all."""
    by_name = {str(choice): choice for choice in choices}
    asked = list(by_name) if values is None else values.split(",")
    if wrong := [value for value in asked if value not in by_name]:
        raise InputError(unknown(f"choice of {name}", wrong[0], by_name))
    return tuple(by_name[value] for value in asked)


def _range(name: str, kind: type, values: str, known: Range | None) -> Range:
    try:
        low, high = (kind(value) for value in values.split(","))
    except ValueError as error:
        raise InputError(f"--search {name} takes LOW,HIGH, two numbers, got {values!r}") from error
    if not low < high or not math.isfinite(low) or not math.isfinite(high):
        raise InputError(f"--search {name}: {low} must be below {high}")
    log = low > 0 and (known.log if known is not None else high / low >= 100)  # over two decades: its logarithm
    return Range(low, high, log)
