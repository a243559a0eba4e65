"""The fields of configs: their dotted names and marks, and a config as JSON holds it. Imports no JAX.

A config may hold other frozen dataclasses, one level deep: the fields of `network: PixelCnn | Made` are named
`network.layers` and so on. In JSON a nested config names its class: {"network": {"class": "PixelCnn", "layers": 5}}.
"""

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
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
    """A config as JSON holds it: tuples are lists, and a nested config names its class."""

    def one(value: Any) -> Any:
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
      ValueError: a field or a nested config's class is unknown, as in a run of another version.
    """
    known = annotations(kind)
    if strange := sorted(set(fields) - set(known)):
        raise ValueError(
            f"the config has the fields {strange}, which {kind.__name__} does not: it is of another version"
        )
    return kind(**{name: _value(known[name], name, value) for name, value in fields.items()})


def _value(annotation: Any, name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_value(annotation, name, one) for one in value)
    if not isinstance(value, Mapping):
        return value
    classes = {one.__name__: one for one in _dataclasses(annotation)}
    if value.get(CLASS) not in classes:
        raise ValueError(f"the config's {name} is of the class {value.get(CLASS)!r}: known are {', '.join(classes)}")
    return from_json(classes[value[CLASS]], {key: own for key, own in value.items() if key != CLASS})


def _dataclasses(annotation: Any) -> Iterator[type]:
    """The dataclasses that a type is a union of."""
    if dataclasses.is_dataclass(annotation):
        yield annotation  # type: ignore[misc]
    for inner in typing.get_args(annotation):
        yield from _dataclasses(inner)
