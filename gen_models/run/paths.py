"""Paths among a config's fields: absolute once a run is asked for, so that it is found from any folder. No JAX.

Paths are the fields `data_dir` and `run_dir`, fields whose type is `Path`, and `dataset` where it is `kind:PATH`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.run.fields import field_names, value_of, with_values

# The kinds of paths that `gen_models.data.sources` reads, which cannot be asked without JAX; a test compares them.
KINDS = (
    *("folder", "idx", "npz", "tokens", "sentences", "parallel", "babi", "audio", "rolls", "series"),
    *("table", "points", "pairs", "boxes"),
)
FOLDERS = ("data_dir", "run_dir", "init_from")
DATASET = "dataset"
_OPTIONS = re.compile(r"(?P<path>.*?)(?P<options>\?\w+=[^/]*)?", re.DOTALL)  # `PATH?length=64`


class Place(NamedTuple):
    """`kind:PATH?options` in its parts."""

    kind: str
    path: str
    options: str


def place_of(dataset: Any) -> Place | None:
    """The parts of a data set's name that is `kind:PATH`; None for any other."""
    kind, colon, rest = str(dataset).partition(":")
    if not isinstance(dataset, str) or not colon or not rest or kind not in KINDS:
        return None
    match = _OPTIONS.fullmatch(rest)
    assert match is not None
    return Place(kind, match["path"], match["options"] or "")


def absolute(path: str) -> str:
    """The path from the root, with the home folder for `~`; links stay, but for a path that goes up over them."""
    path = os.path.expanduser(path)  # leaves it alone where there is no home
    if os.pardir in Path(path).parts:  # after a link `..` is not the folder that the path names
        return os.path.realpath(path)
    return os.path.abspath(path)


def with_absolute_paths(config: Any) -> Any:
    """The config with all of its paths absolute."""
    found: dict[str, Any] = {}
    for name in field_names(config):
        value, last = value_of(config, name), name.rpartition(".")[2]
        if isinstance(value, Path) or (isinstance(value, tuple) and any(isinstance(one, Path) for one in value)):
            found[name] = _absolute_paths(value)
        elif last in FOLDERS and isinstance(value, str) and value:
            found[name] = absolute(value)
        elif last == DATASET and (place := place_of(value)) is not None:
            found[name] = f"{place.kind}:{absolute(place.path)}{place.options}"
    return with_values(config, {name: value for name, value in found.items() if value != value_of(config, name)})


def _absolute_paths(value: Any) -> Any:
    """A path, or a tuple with some in it, made absolute."""
    if isinstance(value, tuple):
        return tuple(map(_absolute_paths, value))
    return Path(absolute(str(value))) if isinstance(value, Path) else value


def same_path(one: Any, other: Any) -> bool:
    """Whether two values of a field are one path, or one `kind:PATH`, with all links followed."""
    if not isinstance(one, str) or not isinstance(other, str):
        return one == other
    if (first := place_of(one)) is not None and (second := place_of(other)) is not None:
        return first._replace(path="") == second._replace(path="") and same_path(first.path, second.path)
    return os.path.realpath(os.path.expanduser(one)) == os.path.realpath(os.path.expanduser(other))


def moved(before: Mapping[str, Any], now: Mapping[str, Any], names: list[str]) -> bool:
    """Whether the fields of these names, by dotted names, differ in the place of the data alone.

    The data there must then be compared: only the same data are of the same run.
    """
    for name in names:
        first, second = place_of(before.get(name)), place_of(now.get(name))
        if name.rpartition(".")[2] != DATASET or first is None or second is None:
            return False
        if first._replace(path="") != second._replace(path=""):
            return False
    return True


def path_fields(config: Any) -> set[str]:
    """Dotted names of the fields that hold paths."""
    return {
        name
        for name in field_names(config)
        if isinstance(value_of(config, name), Path) or name.rpartition(".")[2] in (*FOLDERS, DATASET)
    }
