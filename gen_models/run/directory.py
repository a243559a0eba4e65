"""A run's directory: what was asked for, where it ran, what it measured and what came out.

    config.json        the experiment's module, the variant and every field
    environment.json   versions, devices, commit and command, one entry each time the run was started
    metrics.jsonl      one JSON object a line: step, seconds of training, and metrics
    samples/           pictures taken on the way and at the end
    curves.png         metrics against steps
    checkpoints/       Orbax
    result.json        the figures, once the run has finished
    stopped.json       why it has not: it diverged, say
    .lock              held by the process that trains

Everything is written whole or not at all: to a temporary file, then renamed.
"""

import dataclasses
import json
import math
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Where a run lives and how it is watched: another value continues the same run.
NOT_COMPARED = (
    "run_dir",
    "data_dir",
    "tensorboard",
    "shard_parameters",
    "coordinator",
    "processes",
    "process_id",
)
PACKAGES = ("gen_models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class Figure(NamedTuple):
    """One measured number."""

    name: str
    value: float
    unit: str
    measured_on: str  # data set, split, number of examples or draws
    spread: float | None = None  # standard error over examples or trials
    note: str = ""  # what it is a bound on, how many samples, what it may not be compared with


class InUse(ValueError):
    """Another process holds the run directory."""


class Run:
    """An open run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.samples = folder / "samples"
        self.checkpoints = folder / "checkpoints"
        self.metrics = folder / "metrics.jsonl"
        self.curves = folder / "curves.png"

    def result(self) -> list[Figure] | None:
        """The figures of a finished run, else None."""
        path = self.folder / "result.json"
        if not path.exists():
            return None
        return [Figure(**{**f, "value": float(f["value"])}) for f in read_json(path)["figures"]]

    def finish(self, figures: Sequence[Figure], seconds: float) -> None:
        """Write `result.json`: the run is done."""
        rows = [f._asdict() | {"value": _plain(f.value), "spread": _plain(f.spread)} for f in figures]
        write_json(self.folder / "result.json", {"figures": rows, "seconds": round(seconds, 3)})
        (self.folder / "stopped.json").unlink(missing_ok=True)

    def begin(self) -> None:
        """Forget why an earlier process ended: it is tried again."""
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

    def config(self) -> dict[str, Any]:
        """What `config.json` holds: experiment, variant and config."""
        return read_json(self.folder / "config.json")

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
        for line in self.metrics.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return rows

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append one row to `metrics.jsonl`."""
        row = {"step": step, "seconds": round(seconds, 3)} | {k: _plain(v) for k, v in values.items()}
        with self.metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")


def check_run(folder: str | Path, experiment: str, variant: str, config: Any) -> Run | None:
    """The run in `folder`, or None where the directory is new; nothing is written.

    Args:
      folder: the run's directory.
      experiment: the experiment's module, such as "experiments.vae".
      variant: the variant's name.
      config: a dataclass of plain values.

    Raises:
      ValueError: the directory belongs to another experiment or config (the fields that differ are named), or holds
        something that is not a run.
    """
    folder = Path(folder)
    if (folder / "config.json").exists():
        _compare(folder, read_json(folder / "config.json"), experiment, variant, config)
        return Run(folder)
    if folder.exists() and (not folder.is_dir() or not all(map(_is_beginning, folder.iterdir()))):
        raise ValueError(f"{folder} is not empty and holds no run: choose another --run-dir")
    return None


@contextmanager
def open_run(folder: str | Path, experiment: str, variant: str, config: Any) -> Iterator[Run]:
    """Make the run's directory, or continue in the one that is there, and hold it; arguments as for `check_run`.

    Raises:
      InUse: another process holds the directory.
      ValueError: as `check_run`; or something in it is a link, through which a run would write elsewhere.
      OSError: it cannot be written.
    """
    folder = Path(folder)
    check_run(folder, experiment, variant, config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_links(folder)
        held = _hold(folder)
        try:
            if check_run(folder, experiment, variant, config) is None:  # it may have been made since
                write_json(folder / "config.json", _asked(experiment, variant, config))
            (folder / "samples").mkdir(exist_ok=True)
            for left in folder.glob(".*"):  # by a process that was killed while it wrote
                if _TEMPORARY.fullmatch(left.name):
                    left.unlink()
        except BaseException:
            held.close()
            raise
    except OSError as error:
        raise OSError(
            f"cannot write the run directory {folder} ({error.strerror}): choose another --run-dir"
        ) from error
    with held:
        yield Run(folder)


_TEMPORARY = re.compile(r"\.(config\.json|environment\.json|metrics\.jsonl|result\.json|stopped\.json)\.\d+")


def _is_beginning(path: Path) -> bool:
    """Whether this is what a process leaves that was killed before it wrote config.json."""
    return path.name == ".lock" or bool(_TEMPORARY.fullmatch(path.name))


def _refuse_links(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise ValueError(
                f"{path} is a symbolic link, and a run writes in its own directory alone: remove it, or give the place "
                "that you want as --run-dir"
            )


def _hold(folder: Path) -> IO[str]:
    """An open file whose lock ends when it is closed, or with the process, however that ends."""
    file = (folder / ".lock").open("a+")
    if fcntl is None:  # Windows: two processes are not kept apart
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise InUse(f"{folder} is in use by {holder}: wait for it, or choose another --run-dir") from None
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


def existing_run(folder: str | Path) -> Run:
    """The run in `folder`, to be read.

    Raises:
      FileNotFoundError: there is none.
    """
    folder = Path(folder)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{folder} holds no run: it has no config.json")
    return Run(folder)


def record_environment(run: Run) -> None:
    """Add this start's versions, devices, commit and command to `environment.json`. Imports JAX."""
    import jax

    path = run.folder / "environment.json"
    starts = read_json(path)["starts"] if path.exists() else []
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
        "commit": _commit(),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    write_json(path, {"starts": [*starts, entry]})


def plain(config: Any) -> dict[str, Any]:
    """A dataclass as JSON holds it: tuples are lists, paths are strings."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def restore_config(kind: type, fields: Mapping[str, Any]) -> Any:
    """The dataclass that `plain` made JSON of; fields that the code does not know any more are an error.

    Raises:
      ValueError: a field is unknown, or one without a default is missing.
    """
    known = {field.name for field in dataclasses.fields(kind)}
    if strange := sorted(set(fields) - known):
        raise ValueError(
            f"the run's config has the fields {strange}, which {kind.__name__} does not: it is of another version"
        )
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def _asked(experiment: str, variant: str, config: Any) -> dict[str, Any]:
    return {"experiment": experiment, "variant": variant, "config": plain(config)}


def _compare(folder: Path, old: Mapping[str, Any], experiment: str, variant: str, config: Any) -> None:
    asked = _asked(experiment, variant, config)
    if old.get("experiment") != asked["experiment"]:
        raise ValueError(
            f"{folder} holds a run of {old.get('experiment')}, not of {asked['experiment']}: choose another --run-dir"
        )
    # A field that the code has got since the run began stands at its default.
    before, now = plain(type(config)()) | dict(old["config"]), asked["config"]
    different = [
        name for name in sorted(before | now) if name not in NOT_COMPARED and before.get(name) != now.get(name)
    ]
    if different:
        fields = ", ".join(f"{name} is {before.get(name)!r} there and {now.get(name)!r} here" for name in different)
        raise ValueError(
            f"{folder} holds a run with another config: {fields}. Choose another --run-dir, or repeat the old fields"
        )


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote.

    Raises:
      ValueError: it is damaged.
    """
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or choose another --run-dir") from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _plain(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinity: they are kept as words."""
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else str(value)


@lru_cache  # what this process has loaded
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@lru_cache
def _commit() -> str | None:
    """The commit of the code, with a + where files differ from it; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def experiment_module(run: Run) -> str:
    """The module that made the run.

    Raises:
      ValueError: `config.json` does not name an importable module.
    """
    name = run.config().get("experiment", "")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", str(name)):
        raise ValueError(f"{run.folder / 'config.json'} names no experiment: {name!r}")
    return name
