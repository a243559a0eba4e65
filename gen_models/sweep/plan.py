"""Which runs a sweep has: variants, points of a grid, and seeds; each with its directory, config and group.

A sweep lives in one folder: `<folder>/<label>/<seed>` are its runs, each like any other run; `sweep.json` says what was
asked for. A label is a variant's name, with the fields that a grid gives it: `base,beta=4,learning_rate=0.001`.
"""

import dataclasses
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.errors import unknown
from gen_models.run import directory
from gen_models.run.config import InputError
from gen_models.run.fields import flat, from_json, to_json, traced_fields, value_of

LABEL_LENGTH = 120  # characters: folders' names have at most 255 bytes


class Row(NamedTuple):
    """A row of the table: a variant at a point of the grid, trained with every seed."""

    label: str
    variant: str
    config: Any


class PlannedRun(NamedTuple):
    """One training with one seed, and where it is kept."""

    label: str
    variant: str
    config: Any  # with its seed and its directory
    folder: Path


class Plan(NamedTuple):
    """A sweep."""

    experiment: str
    folder: Path
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    base: str
    budget: str
    command: str

    def runs(self) -> list[PlannedRun]:
        """Every run: all rows of a seed before the next seed, so that a sweep that is stopped can be compared."""
        return [planned(self.folder, row, seed) for seed in self.seeds for row in self.rows]


def planned(folder: Path, row: Row, seed: int) -> PlannedRun:
    """The run of a row with a seed."""
    own = folder / row.label / str(seed)
    config = dataclasses.replace(row.config, seed=seed, run_dir=str(own))
    return PlannedRun(row.label, row.variant, config, own)


def static(config: Any) -> dict[str, Any]:
    """What runs that share one compiled program have in common: all fields but seeds, folders and traced numbers."""
    traced = traced_fields(config)
    fields = flat(to_json(config))
    return {name: value for name, value in fields.items() if name not in ("seed", "run_dir", *traced)} | {
        "traced": traced
    }


def group_of(config: Any) -> str:
    """A name for `static(config)`: runs with the same one are a group."""
    return hashlib.sha256(json.dumps(static(config), sort_keys=True).encode()).hexdigest()[:12]


def grid_points(words: Sequence[str], names: Sequence[str]) -> list[dict[str, str]]:
    """Points of `beta=0.5,1,4 network.layers=2,4`; a tuple's values are parted by spaces: `hidden=512 512,256`.

    Args:
      words: the axes of the grid, each `FIELD=VALUE,VALUE`.
      names: dotted names of the fields that may be named.

    Raises:
      InputError: a word has no values, a field is unknown or named twice.
    """
    axes: dict[str, list[str]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.strip().lstrip("-").replace("-", "_")
        if not equals or not values.strip():
            raise InputError(f"--grid takes FIELD=VALUE,VALUE,..., got {word!r}")
        if name not in names:
            raise InputError(unknown("field", name, names))
        if name in axes:
            raise InputError(f"--grid names {name} twice: give all its values at once")
        axes[name] = [value.strip() for value in values.split(",")]
        if "" in axes[name]:
            raise InputError(f"--grid has an empty value in {word!r}")
        if len(set(axes[name])) < len(axes[name]):
            raise InputError(f"--grid has the same value twice in {word!r}")
    return [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]


def rows_of(
    variants: Sequence[str],
    points: Sequence[Mapping[str, str]],
    parse: Callable[[str, list[str]], Any],
    flags: Mapping[str, Sequence[str]],
) -> tuple[Row, ...]:
    """Every variant at every point.

    Args:
      variants: their names.
      points: of the grid: {field: its value as a word}.
      parse: makes a config of a variant and the words of a command line.
      flags: {variant: dotted names of the fields that are true or false}.

    Raises:
      InputError: two rows would be the same.
    """
    rows = []
    for variant in dict.fromkeys(variants):
        for point in points or [{}]:
            words = [word for name, value in point.items() for word in _words(name, value, flags[variant])]
            config = parse(variant, words)
            rows.append(Row(label_of(variant, {name: value_of(config, name) for name in point}), variant, config))
    labels = [row.label for row in rows]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise InputError(f"the sweep has {', '.join(twice)} twice: name every value once")
    return tuple(rows)


def label_of(variant: str, fields: Mapping[str, Any]) -> str:
    """`variant,field=value,...`, which may be a folder's name."""
    text = ",".join([variant, *(f"{name}={_value(value)}" for name, value in fields.items())])
    text = re.sub(r"[^\w.,=+-]", "_", text)
    if len(text) > LABEL_LENGTH:
        text = f"{text[: LABEL_LENGTH - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    return text


def save(plan: Plan, complete: bool = False) -> None:
    """Write `sweep.json`; `complete` once every run has ended and the report is there."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    rows = [{"label": row.label, "variant": row.variant, "config": to_json(row.config)} for row in plan.rows]
    kept: dict[str, Any] = {"complete": complete}
    kept |= {"experiment": plan.experiment, "base": plan.base, "budget": plan.budget, "command": plan.command}
    directory.write_json(plan.folder / "sweep.json", kept | {"seeds": list(plan.seeds), "rows": rows})


def is_complete(folder: Path) -> bool:
    """Whether the sweep that was saved in the folder is complete: every run has ended and the report is written."""
    return bool(directory.read_json(folder / "sweep.json").get("complete"))


def saved(folder: Path, kind: type) -> Plan:
    """The sweep that `save` wrote; `kind` is the configs' class.

    Raises:
      InputError: there is none, or it is damaged or of another version.
    """
    path = folder / "sweep.json"
    if not path.exists():
        raise InputError(f"{folder} holds no sweep to go on with: start one without --add-seeds")
    try:
        found = directory.read_json(path)
        rows = tuple(Row(r["label"], r["variant"], from_json(kind, r["config"])) for r in found["rows"])
        seeds = tuple(found["seeds"])
        return Plan(found["experiment"], folder, rows, seeds, found["base"], found["budget"], found["command"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be used ({error}): start the sweep again with all its options") from error


def merge(path: Path, new: Mapping[str, Any]) -> dict[str, Any]:
    """Add `new` to what a JSON file holds, and return all of it; a damaged file counts as empty."""
    try:
        old = json.loads(path.read_text()) if path.exists() else {}
    except (OSError, json.JSONDecodeError):
        old = {}
    both = {**old, **json.loads(json.dumps(new))}
    if both != old:
        path.parent.mkdir(parents=True, exist_ok=True)
        directory.write_json(path, both)
    return both


def _words(name: str, value: str, flags: Sequence[str]) -> list[str]:
    """The options that give a field its value on the command line."""
    option = name.replace("_", "-")
    if name not in flags:
        return [f"--{option}", *value.split()]
    if value.lower() not in ("true", "false"):
        raise InputError(f"--grid {name} takes True and False, got {value!r}")
    part, dot, own = option.rpartition(".")
    return [f"--{option}" if value.lower() == "true" else f"--{part}{dot}no-{own}"]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "+".join(map(_value, value)) if isinstance(value, tuple | list) else str(value)
