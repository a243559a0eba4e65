"""What a gallery shows of a folder of runs, as plain values for JSON. Imports no JAX.

A file that is missing, torn or of another version costs what it would have said, and an error that is shown with the
run; no file stops the gallery.
"""

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.measures.figure import Figure
from gen_models.run.config import INCIDENTAL, Images
from gen_models.run.console import rounded_text
from gen_models.run.directory import Run, read_json, refuse_earlier_form
from gen_models.run.endings import message_of
from gen_models.run.fields import flat, names_marked

TIME = "%Y-%m-%dT%H:%M:%SZ"
POINTS = 300  # of a curve
DURING = 12  # pictures of a run that were drawn during training
# Files that a run alone has, where its config.json is lost.
MARKS = ("metrics.jsonl", "result.json", "stopped.json", "environment.json")


class Found(NamedTuple):
    """A run or a sweep of the gallery, and the files that go beside the page."""

    entry: dict[str, Any]
    files: list[tuple[str, Path]]  # of a run: its pictures by name; of a sweep: its report


class Sweep(NamedTuple):
    """Which runs belong to a sweep."""

    folder: Path
    labels: frozenset[str]
    seeds: frozenset[str]


def read(root: Path, is_gallery: Callable[[Path], bool]) -> tuple[list[Found], list[Found]]:
    """All runs and all sweeps in a folder, at any depth, sorted by their paths.

    Args:
      root: the folder; it may be a run itself.
      is_gallery: whether a folder is one, and holds no runs.

    Raises:
      ValueError: the folder is not there, or cannot be read.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}: give the folder of your runs, such as runs")
    runs, sweeps = [], []
    for folder, sweep in _walk(root, is_gallery):
        if (folder / "sweep.json").is_file():
            sweeps.append(read_sweep(root, folder))
        if is_run(folder):
            runs.append(read_run(root, folder, sweep))
    return runs, sweeps


def _walk(root: Path, is_gallery: Callable[[Path], bool]) -> Iterator[tuple[Path, Sweep | None]]:
    """Every folder below one, with the sweep that it lies in; links are followed, but no folder is read twice."""
    waiting: list[tuple[Path, Sweep | None]] = [(root, None)]
    seen = set[str]()
    while waiting:
        folder, sweep = waiting.pop()
        real = os.path.realpath(folder)
        if real in seen or is_gallery(folder):
            continue
        seen.add(real)
        sweep = _sweep_of(folder) or sweep
        yield folder, sweep
        if is_run(folder):  # what lies in it is its own
            continue
        try:
            inside = sorted(
                (e.name for e in os.scandir(folder) if not e.name.startswith(".") and e.is_dir()), reverse=True
            )
        except OSError as error:
            if folder == root:
                raise ValueError(f"{root} cannot be read ({error.strerror}): make it readable") from error
            continue
        waiting += [(folder / name, sweep) for name in inside]


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's directory, be it damaged; other programs' config.json make none."""
    if not (folder / "config.json").is_file():
        return (folder / ".lock").is_file() and any((folder / name).is_file() for name in MARKS)
    try:
        return bool({"form", "experiment"} & set(read_json(folder / "config.json")))
    except (OSError, ValueError):
        return True  # torn: it is shown with its error


def read_run(root: Path, folder: Path, sweep: Sweep | None = None) -> Found:
    """What the page shows of a run, and its pictures by name."""
    run, errors = Run(folder), list[str]()
    asked = _tried(errors, {}, _asked, run)
    rows = _tried(errors, [], run.history)
    figures = _tried(errors, None, run.result)
    stopped = _tried(errors, None, run.stopped)
    config = asked.get("config", {})
    entry = {
        "id": _name(root, folder),
        "experiment": str(asked.get("experiment", "")).removeprefix("experiments."),
        "variant": str(asked.get("variant", "")),
        "seed": _plain(config.get("seed")),
        **_of_sweep(root, folder, sweep),
        "state": "unreadable" if errors else _state(figures, stopped),
        "step": _tried(errors, None, _step, run, rows, stopped),
        "steps": _plain(config.get("steps")),
        "seconds": _tried(errors, None, _seconds, run, rows),
        "config": {name: _plain(value) for name, value in config.items()},
        "figures": _tried(errors, [], _figures, figures or []),
        "curves": _tried(errors, {}, curves, rows),
        "notes": _tried(errors, [], run.remarks),
        "changed": _tried(errors, None, _time_of, run.metrics),
        **_tried(errors, {"started": None, "facts": {}}, _started, folder),
    }
    if stopped is not None:
        errors.append(_plain(f"{stopped.get('status')}: {stopped.get('message')}"))
    errors += _tried(errors, [], _torn, run, rows)
    pictures = _tried(errors, [], _pictures, run)
    return Found(entry | {"errors": list(dict.fromkeys(errors))}, pictures)


def read_sweep(root: Path, folder: Path) -> Found:
    """What the page shows of a sweep, and its report where there is one."""
    errors = list[str]()
    kept = _tried(errors, {}, read_json, folder / "sweep.json")
    report = folder / "report.html"
    entry = {
        "id": _name(root, folder),
        "experiment": str(kept.get("experiment", "")).removeprefix("experiments."),
        "base": _plain(kept.get("base", "")),
        "budget": _plain(kept.get("budget", "")),
        "command": _plain(kept.get("command", "")),
        "rows": _tried(errors, 0, len, kept.get("rows", ())),
        "seeds": _tried(errors, 0, len, kept.get("seeds", ())),
        "complete": kept.get("complete") is True,
        "errors": errors,
    }
    return Found(entry, [("report", report)] if report.is_file() else [])


def incidental() -> list[str]:
    """Fields that change no result, of those that experiments share."""
    return names_marked(Images(), INCIDENTAL)


def _tried(errors: list[str], otherwise: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns; what it raises is noted."""
    try:
        return function(*arguments)
    except Exception as error:  # a file may hold anything, and all else is to be shown all the same
        errors.append(message_of(error))
        return otherwise


def _sweep_of(folder: Path) -> Sweep | None:
    try:
        kept = read_json(folder / "sweep.json")
        return Sweep(folder, frozenset(r["label"] for r in kept["rows"]), frozenset(map(str, kept["seeds"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_sweep(root: Path, folder: Path, sweep: Sweep | None) -> dict[str, str]:
    """The sweep that a run belongs to, and its row there; the other runs in a sweep's folder belong to none."""
    if sweep is not None:
        label, _, seed = folder.relative_to(sweep.folder).as_posix().partition("/")
        if label in sweep.labels and seed in sweep.seeds:
            return {"sweep": _name(root, sweep.folder), "row": label}
    return {"sweep": "", "row": ""}


def _name(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix() if folder != root else root.resolve().name


def _asked(run: Run) -> dict[str, Any]:
    """What config.json holds, its fields by dotted names."""
    if not (run.folder / "config.json").exists():
        raise ValueError(f"{run.folder / 'config.json'} is not there: restore it")
    found = run.config()
    refuse_earlier_form(run.folder, found)
    if not isinstance(found["config"], dict):
        raise ValueError(f"{run.folder / 'config.json'} is damaged: its config is no object: restore it")
    return found | {"config": flat(found["config"])}


def _state(figures: Sequence[Figure] | None, stopped: Mapping[str, Any] | None) -> str:
    if figures is not None:
        return "finished"
    return "unfinished" if stopped is None else str(stopped.get("status", "failed"))


def _step(run: Run, rows: Sequence[Mapping[str, Any]], stopped: Mapping[str, Any] | None) -> int:
    try:
        done = run.steps_done()
    except (OSError, ValueError, KeyError, TypeError):  # said already
        done = 0
    return max([done, int((stopped or {}).get("step", 0)), *(int(row["step"]) for row in rows)])


def _seconds(run: Run, rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Of training: to its end, else to its last row."""
    try:
        ended = run.seconds()
    except (OSError, ValueError, KeyError, TypeError):
        ended = None
    return ended if ended is not None else max((float(row["seconds"]) for row in rows), default=None)


def _figures(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    texts = ("name", "unit", "measured_on", "note")
    return [
        {name: str(value) if name in texts else _plain(value) for name, value in figure._asdict().items()}
        | {"text": rounded_text(figure.value, _number(figure.spread)).replace("+-", "±")}
        for figure in figures
    ]


def curves(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The metrics of a run's rows, each thinned to at most `POINTS` values.

    Returns:
      {"axes": [[steps, seconds], ...], "metrics": {name: [index of its axes, values, number of rows]}}; a value that is
      not finite is None.
    """
    names = dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds"))
    axes: dict[tuple[tuple[int, ...], tuple[float, ...]], int] = {}
    metrics = {}
    for name in names:
        own = [row for row in rows if name in row]
        some = [own[i] for i in evenly(len(own), POINTS)]
        axis = (tuple(int(row["step"]) for row in some), tuple(round(float(row["seconds"]), 3) for row in some))
        values = [_rounded(value) if (value := _number(row[name])) is not None else None for row in some]
        metrics[name] = [axes.setdefault(axis, len(axes)), values, len(own)]
    return {"axes": [[list(steps), list(seconds)] for steps, seconds in axes], "metrics": metrics}


def evenly(count: int, most: int) -> list[int]:
    """At most so many of `count` indices, evenly spaced, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def _torn(run: Run, rows: Sequence[Any]) -> list[str]:
    """An error where lines of metrics.jsonl cannot be read."""
    if not run.metrics.exists():
        return []
    lines = sum(bool(line.strip()) for line in run.metrics.read_text(errors="replace").splitlines())
    lost = lines - len(rows)
    return [f"metrics.jsonl is torn: {lost} of its {lines} lines cannot be read"] if lost > 0 else []


def _started(folder: Path) -> dict[str, Any]:
    """When the run began, and where it was trained: its last start."""
    path = folder / "environment.json"
    if not path.exists():
        return {"started": _time_of(folder / "config.json"), "facts": {}}
    starts = read_json(path)["starts"]
    last = starts[-1]
    versions = last.get("versions", {})
    facts = {
        "command": " ".join(map(str, last.get("command", ()))),
        "commit": last.get("commit"),
        "devices": ", ".join(map(str, last.get("devices", ()))),
        "versions": ", ".join(f"{name} {versions[name]}" for name in ("gen_models", "jax") if name in versions),
        "starts": len(starts),
    }
    return {"started": str(starts[0].get("time", "")), "facts": {name: _plain(value) for name, value in facts.items()}}


def _time_of(path: Path) -> str | None:
    """When a file was changed last."""
    return time.strftime(TIME, time.gmtime(path.stat().st_mtime)) if path.exists() else None


_DURING = re.compile(r"step_(\d+)")


def _pictures(run: Run) -> list[tuple[str, Path]]:
    """(name, file) of the pictures at the end, then of earlier ends, then of some during training."""
    found = sorted(run.samples.rglob("*.png"))
    names = [(path.relative_to(run.samples).with_suffix("").as_posix(), path) for path in found]
    during = [one for one in names if _DURING.fullmatch(one[0])]
    at_end = sorted((one for one in names if one not in during), key=lambda one: "/" in one[0])
    return [*at_end, *(during[i] for i in evenly(len(during), DURING))]


def _number(value: Any) -> float | None:
    """A finite number, else None."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _rounded(value: float) -> float:
    """Six digits: more than a plot shows."""
    return float(f"{value:.6g}")


def _plain(value: Any) -> Any:
    """A value for a cell: None, a truth value, a finite number or text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return " ".join(str(_plain(one)) for one in value)
    return str(value)
