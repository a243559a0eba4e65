"""A run that is asked for, and what is read from and written to its directory (`directory.py` says what is there)."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.files import write_text
from gen_models.measures.figure import Figure
from gen_models.run import kept_data
from gen_models.run.config import Experiment

FORM = 2  # of config.json; runs of another form are refused


class Request(NamedTuple):
    """A run that is asked for."""

    experiment: Experiment
    variant: str
    config: Any  # a frozen dataclass: the experiment's config
    folder: Path


class Run:
    """An open run directory."""

    def __init__(self, folder: Path, steps_before: int | None = None) -> None:
        self.folder = folder
        self.steps_before = steps_before  # of a run that is trained for longer: as many as were asked for before
        self.samples = folder / "samples"
        self.checkpoints = folder / "checkpoints"
        self.best = folder / "best"
        self.metrics = folder / "metrics.jsonl"
        self.curves = folder / "curves.png"

    def result(self) -> list[Figure] | None:
        """The figures of a finished run, else None."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        return [Figure(**{**f, "value": float(f["value"])}) for f in read_json(path)["figures"]]

    def finish(self, figures: Sequence[Figure], seconds: float, step: int | None = None, **more: Any) -> None:
        """Write `result.json`: the run is done, after `step` steps; `more` is kept beside the figures."""
        saved = as_json(figures)
        ended = {} if step is None else {"step": step}
        if changed := (self.data() or {}).get("changed"):
            more["data_changed"] = changed
        write_json(self.folder / "result.json", {"figures": saved, "seconds": round(seconds, 3), **ended, **more})
        (self.folder / "stopped.json").unlink(missing_ok=True)

    def begin(self) -> None:
        """Remove `stopped.json`, as the run is tried again."""
        (self.folder / "stopped.json").unlink(missing_ok=True)

    def stop(self, status: str, step: int, message: str) -> None:
        """Write `stopped.json`: why the run ended without figures."""
        write_json(self.folder / "stopped.json", {"status": status, "step": step, "message": message})

    def stopped(self) -> dict[str, Any] | None:
        """What `stop` wrote, else None."""
        path = self.folder / "stopped.json"
        return read_json(path) if path.exists() else None

    def seconds(self) -> float | None:
        """How long a finished run trained, else None."""
        path = self.folder / "result.json"
        return float(read_json(path)["seconds"]) if path.exists() else None

    def steps_done(self) -> int:
        """The steps that the run has taken: to its end, else to its newest checkpoint; 0 where there is neither."""
        if (self.folder / "result.json").exists():
            return int(read_json(self.folder / "result.json").get("step", self.config()["config"].get("steps", 0)))
        return max((int(path.name) for path in self.checkpoints.glob("*") if path.name.isdigit()), default=0)

    def earlier_ends(self) -> list[int]:
        """Steps at which the run had finished, or was measured, before it was trained for longer."""
        found = set[int]()
        for path in self.folder.glob("result_at_*.json"):
            if match := _EARLIER.fullmatch(path.name):
                found |= {int(match[1]), int(read_json(path).get("measured_at", int(match[1])))}
        return sorted(found)

    def put_result_aside(self) -> None:
        """Keep the result of a run that is trained for longer: `result_at_STEP.json`, and pictures in `samples/`."""
        if not (self.folder / "result.json").exists():
            return
        name, number = f"at_{self.steps_done()}", 1
        while (self.folder / f"result_{name}.json").exists():
            number += 1
            name = f"at_{self.steps_done()}-{number}"
        # The result last: a process that is killed in between does all of it again.
        for picture in sorted(self.samples.glob("*.png")):
            if not picture.name.startswith("step_"):
                (self.samples / name).mkdir(exist_ok=True)
                picture.replace(self.samples / name / picture.name)
        (self.folder / "result.json").replace(self.folder / f"result_{name}.json")

    def config(self) -> dict[str, Any]:
        """What `config.json` holds: experiment, variant and config.

        Raises:
          ValueError: it is damaged.
        """
        found = read_json(self.folder / "config.json")
        if lacking := [name for name in ("experiment", "variant", "config") if name not in found and "form" in found]:
            raise ValueError(f"{self.folder / 'config.json'} is damaged: it has no {lacking[0]!r}: restore it")
        return found

    def data(self) -> dict[str, Any] | None:
        """What `data.json` holds (`kept_data.py`); None for a run that began before there was one."""
        path = self.folder / "data.json"
        if not path.exists():
            return None
        found = read_json(path)
        if not {"report", "batch"} <= set(found):
            raise ValueError(f"{path} is damaged: restore it, or remove it and have the run's data there")
        return found

    def remarks(self) -> list[str]:
        """Lines that belong to the run's figures: where its data changed."""
        return kept_data.remarks(self.data())

    def rewind(self, step: int) -> float:
        """Drop metrics of steps after `step` (of a run that was killed); returns the seconds trained up to there."""
        rows = [row for row in self.history() if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))
        return max((row["seconds"] for row in rows), default=0.0)

    def history(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; a last line that a kill cut short is left out."""
        if not self.metrics.exists():
            return []
        rows = []
        for line in self.metrics.read_text(errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                break
            if not isinstance(row, dict) or not {"step", "seconds"} <= set(row):
                break
            rows.append(row)
        return rows

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append a row to `metrics.jsonl`: the step, the seconds trained so far, and values by name."""
        row = {"step": step, "seconds": round(seconds, 3)} | {k: _for_json(v) for k, v in values.items()}
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")


_EARLIER = re.compile(r"result_at_(\d+)(-\d+)?\.json")


def existing_run(folder: str | Path) -> Run:
    """The run that `folder` holds, for reading.

    Raises:
      FileNotFoundError: there is none.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder} holds no run: it has no config.json")
    return Run(folder)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def as_json(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Figures as JSON holds them."""
    return [f._asdict() | {"value": _for_json(f.value), "spread": _for_json(f.spread)} for f in figures]


def refuse_earlier_form(folder: Path, asked: Mapping[str, Any]) -> None:
    """Raises ValueError where `config.json` was written by a version whose runs this one cannot read."""
    if asked.get("form") != FORM:
        raise ValueError(
            f"{folder} holds a run of another form ({asked.get('form', 1)}; this version reads {FORM}): use the "
            "version that made it (environment.json names its commit), or choose another --run-dir"
        )


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
      ValueError: it is damaged.
    """
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"it holds {type(found).__name__}, not an object")
        return found
    except ValueError as error:  # no JSON, or no UTF-8
        raise ValueError(f"{path} is damaged ({error}): restore it, or choose another --run-dir") from error


def _for_json(value: float | None) -> float | str | None:
    """The value, as a word where it is NaN or infinite, which JSON does not have."""
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else str(value)
