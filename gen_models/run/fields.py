"""The fields of configs: their dotted names and marks, and a config as JSON holds it. Imports no JAX.

A config may hold other frozen dataclasses, one level deep: the fields of `network: PixelCnn | Made` are named
`network.layers` and so on. In JSON a nested config names its class: {"network": {"class": "PixelCnn", "layers": 5}}.
"""

import contextlib
import dataclasses
import enum
import json
import types
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from gen_models.run.config import INCIDENTAL, TRACED, Mark, Range

CLASS = "class"  # the entry of a nested config's JSON that names its dataclass


@lru_cache
def annotations(kind: Any) -> dict[str, Any]:
    """Field -> type, marks included, of a dataclass."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _each(config: Any) -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, type, value) of every field that is no nested config."""
    kind: Any = type(config)
    for name, annotation in annotations(kind).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from ((f"{name}.{inner}", of_inner, own) for inner, of_inner, own in _each(value))
        else:
            yield name, annotation, value


def field_names(config: Any) -> list[str]:
    """Dotted names of all fields of a config."""
    return [name for name, _, _ in _each(config)]


def value_of(config: Any, name: str) -> Any:
    """The value of a field by its dotted name."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def with_values(config: Any, values: Mapping[str, Any]) -> Any:
    """The config with other values, by dotted names.

    Where `values` holds both a nested config, `network`, and a field of it, `network.layers`, the field is set in the
    new nested config.
    """
    own = {name: value for name, value in values.items() if "." not in name}
    for nested in dict.fromkeys(name.split(".")[0] for name in values if "." in name):
        inner = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{nested}.")}
        own[nested] = with_values(own.get(nested, getattr(config, nested)), inner)
    return dataclasses.replace(config, **own)


def _marks(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def names_marked(config: Any, mark: Mark) -> list[str]:
    """Dotted names of the fields that carry the mark."""
    return [name for name, annotation, _ in _each(config) if mark in _marks(annotation)]


def traced_fields(config: Any) -> tuple[str, ...]:
    """Dotted names of the fields marked `TRACED` that are not 0."""
    return tuple(name for name, annotation, value in _each(config) if TRACED in _marks(annotation) and value != 0)


def ranges(config: Any) -> dict[str, Range]:
    """The fields that have a `Range`, by dotted names."""
    each = ((name, mark) for name, annotation, _ in _each(config) for mark in _marks(annotation))
    return {name: mark for name, mark in each if isinstance(mark, Range)}


def to_json(config: Any) -> dict[str, Any]:
    """A config as JSON holds it: tuples are lists, a nested config names its class, and an `Enum` is its member's name.

    `from_json` gives the config back; paths are words in between.
    """

    def one(value: Any) -> Any:
        if isinstance(value, enum.Enum):
            return value.name
        if isinstance(value, tuple | list):
            return [one(inner) for inner in value]
        if not dataclasses.is_dataclass(value):
            return value
        fields = {field.name: one(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {CLASS: type(value).__name__} | fields

    whole = one(config)
    del whole[CLASS]
    return json.loads(json.dumps(whole, default=str))


def flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What `to_json` gives, by dotted names; the class of the nested config `network` stands under "network"."""
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            inner = flat({key: own for key, own in value.items() if key != CLASS})
            found |= {name: value.get(CLASS)} | {f"{name}.{key}": own for key, own in inner.items()}
        else:
            found[name] = value
    return found


def settings(config: Any, *, leave_out: tuple[str, ...] = ("seed",)) -> dict[str, Any]:
    """The fields that shape a run's result, as JSON holds them, by dotted names; all but those of `leave_out`."""
    incidental = {*names_marked(config, INCIDENTAL), *leave_out}
    return {name: value for name, value in flat(to_json(config)).items() if name not in incidental}


def from_json(kind: type, fields: Mapping[str, Any]) -> Any:
    """The config that `to_json` made JSON of; a field that is not there stands at its default.

    Raises:
      ValueError: a field or a nested config's class is unknown, as in a run of another version; a value is not of its
        field's type, as after a change by hand; or a field that has no default is not there.
    """
    known = annotations(kind)
    if strange := sorted(set(fields) - set(known)):
        raise ValueError(
            f"the config has the fields {strange}, which {kind.__name__} does not: it is of another version"
        )
    if lacking := sorted({field.name for field in dataclasses.fields(kind) if _is_required(field)} - set(fields)):
        raise ValueError(
            f"the config lacks the fields {lacking}, which {kind.__name__} needs: it is of another version"
        )
    return kind(**{name: _value(known[name], name, value) for name, value in fields.items()})


def _is_required(field: dataclasses.Field) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


class _OfAnotherType(Exception):
    """A value is not of an alternative of its field's type."""


def _value(annotation: Any, name: str, value: Any) -> Any:
    """The value of a field of this type; raises ValueError where it is of another."""
    if isinstance(value, Mapping) and (classes := {one.__name__: one for one in _dataclasses(annotation)}):
        if value.get(CLASS) not in classes:
            raise ValueError(
                f"the config's {name} is of the class {value.get(CLASS)!r}: known are {', '.join(classes)}"
            )
        return from_json(classes[value[CLASS]], {key: own for key, own in value.items() if key != CLASS})
    for alternative in _alternatives(annotation):
        with contextlib.suppress(_OfAnotherType):
            return _of_type(alternative, value)
    wanted = " or ".join(map(_words, _alternatives(annotation)))
    raise ValueError(f"the config's {name} is {value!r}, and must be {wanted}")


def _of_type(kind: Any, value: Any) -> Any:
    """The value as one of a type that is no union; raises `_OfAnotherType` where it is none."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return _taken(value, any(value == one and type(value) is type(one) for one in inner))
    if isinstance(value, list):
        return _sequence(kind, value)
    if _is_a(kind, PurePath):
        return Path(_taken(value, isinstance(value, str)))
    if _is_a(kind, enum.Enum):
        return kind[_taken(value, isinstance(value, str) and value in kind.__members__)]
    if kind in (int, float):
        return _taken(value, isinstance(value, int if kind is int else int | float) and not isinstance(value, bool))
    if kind in (bool, str, type(None)):
        return _taken(value, isinstance(value, kind))
    return _taken(value, (origin or kind) is not tuple and not dataclasses.is_dataclass(kind))


def _sequence(kind: Any, values: list[Any]) -> tuple[Any, ...]:
    """A list of JSON as a tuple, as configs must be hashable; each of its values is checked too."""
    inner = typing.get_args(kind)
    single = kind in (bool, int, float, str, type(None)) or _is_a(kind, PurePath) or _is_a(kind, enum.Enum)
    _taken(values, not single and not dataclasses.is_dataclass(kind))
    if typing.get_origin(kind) is not tuple or inner[1:] == (...,):
        inner = (inner[0] if inner else Any,) * len(values)
    _taken(values, len(inner) == len(values))
    try:
        return tuple(_value(own, "", one) for own, one in zip(inner, values, strict=True))
    except ValueError as error:
        raise _OfAnotherType from error


def _taken(value: Any, good: bool) -> Any:
    """The value, where it is of the type that is tried."""
    if not good:
        raise _OfAnotherType
    return value


def _is_a(kind: Any, base: type) -> bool:
    return isinstance(kind, type) and issubclass(kind, base)


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types that a type is a union of, without marks."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in (typing.Union, types.UnionType):
        for inner in typing.get_args(annotation):
            yield from _alternatives(inner)
    else:
        yield annotation


def _words(kind: Any) -> str:
    """A type in words."""
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if _is_a(kind, enum.Enum):
        return " or ".join(kind.__members__)
    return (
        "none" if kind is type(None) else str(kind) if typing.get_args(kind) else getattr(kind, "__name__", str(kind))
    )


def _dataclasses(annotation: Any) -> Iterator[type]:
    """The dataclasses that a type is a union of."""
    yield from (one for one in _alternatives(annotation) if dataclasses.is_dataclass(one))  # type: ignore[misc]
