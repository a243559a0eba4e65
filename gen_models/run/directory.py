"""A run's directory: what was asked for, where it ran, what it measured and what came out.

    config.json        the experiment's module, the variant and every field
    data.json          what was read, and what a batch is, so that the model can be restored without the data
    environment.json   versions, devices, commit and command, one entry each time the run was started
    metrics.jsonl      one JSON object a line: step, seconds of training, and metrics
    samples/           pictures taken during training and at the end
    curves.png         metrics against steps
    checkpoints/       Orbax
    best/              the checkpoint that was best in evaluations, where it is asked for
    batch_stats.npz    batch norm's statistics for averaged parameters, once the run has finished (kept_stats.py)
    result.json        the figures, once the run has finished
    result_at_40.json  those that it had before it was trained for longer; the pictures of then are in samples/at_40/
    stopped.json       why it has not: it diverged, say
    .lock              held by the process that trains

JSON files are written whole or not at all: to a temporary file, then renamed. `metrics.jsonl` grows by lines; one that
a kill cut short is left out when it is read.
"""

import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from gen_models.files import write_text
from gen_models.measures.figure import Figure
from gen_models.run import kept_data, paths
from gen_models.run.config import INCIDENTAL, Experiment
from gen_models.run.endings import warn
from gen_models.run.fields import flat, from_json, names_marked, to_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORM = 2  # of config.json; runs of another form are refused
# Fields that say how far a run is trained, and nothing of what it does until there: it goes on with other values.
LENGTHS = ("steps", "early_stopping")


class Request(NamedTuple):
    """A run that is asked for."""

    experiment: Experiment
    variant: str
    config: Any  # a frozen dataclass: the experiment's config
    folder: Path


class InUse(ValueError):
    """Another process holds the run directory."""


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


def check_run(request: Request) -> Run | None:
    """The run in the request's folder, or None where the directory is new; nothing is written.

    A run whose data have `moved` passes: whether they are the same data is known once they are read (`open_run`).

    Raises:
      ValueError: the directory belongs to another experiment or config (the fields that differ are named), or is of
        another form, or holds something that is not a run.
    """
    folder = request.folder
    if (folder / "config.json").exists():
        _compare(request, Run(folder).config())
        return Run(folder)
    if folder.exists() and (not folder.is_dir() or not all(map(_is_beginning, folder.iterdir()))):
        raise ValueError(f"{folder} is not empty and holds no run: choose another --run-dir")
    return None


@contextmanager
def open_run(request: Request, data: Mapping[str, Any] | None = None) -> Iterator[Run]:
    """Make the run's directory, or continue in the one that is there, and hold it.

    Args:
      request: the run.
      data: what `Job.described` says of its data; None: they are neither kept nor compared.

    Raises:
      InUse: another process holds the directory.
      ValueError: as `check_run`; or something in it is a link, through which a run would write elsewhere; or the data
        are others than the run's (`kept_data.to_keep`).
      OSError: it cannot be written.
    """
    folder = request.folder
    check_run(request)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_links(folder)
        held = _hold(folder)
        try:
            # It may have been made since. Fields that may change, as the folder of the data, are kept as they are now.
            run = check_run(request)
            kept = None if data is None else _data_to_keep(request, data)  # first: it may be another run's
            before = None if run is None else steps_before(request)
            if run is not None and before is not None:
                run.put_result_aside()  # first: a result beside the new config.json would count as the new one's
            if run is None or read_json(folder / "config.json") != _asked(request):
                write_json(folder / "config.json", _asked(request))
            if kept is not None and kept != Run(folder).data():
                write_json(folder / "data.json", kept)
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
        yield Run(folder, before)


_EARLIER = re.compile(r"result_at_(\d+)(-\d+)?\.json")
_TEMPORARY = re.compile(
    r"\.(batch_stats\.npz|config\.json|data\.json|environment\.json|metrics\.jsonl|result\.json|stopped\.json)\.\d+"
)


def _is_beginning(path: Path) -> bool:
    """Whether this is what a process leaves that was killed before it wrote config.json."""
    return path.name == ".lock" or bool(_TEMPORARY.fullmatch(path.name))


def _refuse_links(folder: Path) -> None:
    """Refuse a directory that holds a link, through which a run would write elsewhere."""
    for path in folder.rglob("*"):
        # Weights & Biases links to its own logs; nothing else of a run is written there.
        if path.is_symlink() and "wandb" not in path.relative_to(folder).parts[:-1]:
            raise ValueError(
                f"{path} is a symbolic link, and a run writes in its own directory alone: remove it, or give the "
                "folder that you want as --run-dir"
            )


def _hold(folder: Path) -> IO[str]:
    """An open file whose lock ends when it is closed, or with the process, however that ends.

    Where the file system has no locks (ENOSYS of Lustre, ENOLCK of NFS) the user is warned: only a held lock refuses.
    """
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
    except OSError as error:
        warn(
            f"the file system of {folder} has no locks ({error.strerror}): nothing keeps a second process from "
            "training there, so start only one"
        )
    file.seek(0)
    file.truncate()
    file.write(f"process {os.getpid()} on {platform.node()}")
    file.flush()
    return file


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


def _asked(request: Request) -> dict[str, Any]:
    """The content of `config.json`."""
    experiment = request.experiment
    named = {"form": FORM, "experiment": experiment.name, "variant": request.variant}
    if "." not in experiment.name:  # of somebody's own project: `find` takes its file
        named["file"] = str(Path(experiment.file).resolve())
    return named | {"config": to_json(paths.with_absolute_paths(request.config))}


def refuse_earlier_form(folder: Path, asked: Mapping[str, Any]) -> None:
    """Raises ValueError where `config.json` was written by a version whose runs this one cannot read."""
    if asked.get("form") != FORM:
        raise ValueError(
            f"{folder} holds a run of another form ({asked.get('form', 1)}; this version reads {FORM}): use the "
            "version that made it (environment.json names its commit), or choose another --run-dir"
        )


def _compare(request: Request, old: Mapping[str, Any]) -> None:
    """Refuse a request that is not for the run whose `config.json` holds `old`."""
    folder, config = request.folder, request.config
    refuse_earlier_form(folder, old)
    if old["experiment"] != request.experiment.name:
        raise ValueError(
            f"{folder} holds a run of {old['experiment']}, not of {request.experiment.name}: choose another --run-dir"
        )
    different = _differing(request, old)
    before, now, names = different.before, different.now, different.names
    if not set(names) <= set(LENGTHS) and not paths.moved(before, now, [n for n in names if n not in LENGTHS]):
        fields = ", ".join(f"{name} is {before.get(name)!r} there and {now.get(name)!r} here" for name in names)
        raise ValueError(
            f"{folder} holds a run with another config: {fields}. Choose another --run-dir, or repeat the old fields"
        )
    if set(names) & set(LENGTHS):
        _refuse_fewer_steps(Run(folder), config)


class _Differing(NamedTuple):
    """Two configs of one class, as `flat` gives them, and the names of the fields in which they differ."""

    before: dict[str, Any]
    now: dict[str, Any]
    names: list[str]  # incidental ones do not count


def _differing(request: Request, old: Mapping[str, Any]) -> _Differing:
    """How the config that is asked for differs from what `config.json` holds; ValueError where that is no config."""
    config = request.config
    try:  # a field that the code has gained since the run began stands at its default
        before = flat(to_json(from_json(type(config), old["config"])))
    except ValueError as error:
        raise ValueError(
            f"{request.folder / 'config.json'} cannot be used ({error}): restore it, use the version that made the run "
            "(environment.json names its commit), or choose another --run-dir"
        ) from error
    now, incidental, places = flat(to_json(config)), names_marked(config, INCIDENTAL), paths.path_fields(config)
    if config.early_stopping:  # then evaluations decide where the run ends
        incidental = [name for name in incidental if name not in ("evaluate_every", "evaluated")]
    names = [
        name
        for name in sorted(before | now)
        if name not in incidental
        and before.get(name) != now.get(name)
        and not (name in places and paths.same_path(before.get(name), now.get(name)))
    ]
    return _Differing(before, now, names)


def moved(request: Request) -> str:
    """Where the data of the run in the folder lay and lie now, in words; "" where they have not moved."""
    path = request.folder / "config.json"
    if not path.exists():
        return ""
    different = _differing(request, Run(request.folder).config())
    return ", ".join(
        f"{name} is {different.before[name]!r} there and {different.now[name]!r} here"
        for name in different.names
        if paths.moved(different.before, different.now, [name])
    )


def refuse_other_data(request: Request, data: Mapping[str, Any]) -> None:
    """Compare the data that a run is asked for with, as `Job.described` says them, with its own; nothing is written.

    Raises:
      ValueError: they are others.
    """
    _data_to_keep(request, data)


def _data_to_keep(request: Request, now: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What `data.json` is to hold; None: as it is. Raises ValueError where the run's data are others now."""
    run, places = Run(request.folder), moved(request)
    if not places and run.result() is not None and steps_before(request) is None:
        return None  # it has its figures already
    steps = [int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit()]
    trained = max(steps, default=0) or (run.steps_done() if run.result() is not None else 0)
    accepted = getattr(request.config, "changed_data", False)
    return kept_data.to_keep(request.folder, run.data(), now, step=trained, places=places, accepted=accepted)


def steps_before(request: Request) -> int | None:
    """Of a run in the folder that is now asked for with other `LENGTHS`: the steps asked for before; else None."""
    path = request.folder / "config.json"
    if not path.exists():
        return None
    old = from_json(type(request.config), read_json(path)["config"])
    same = all(getattr(old, name, None) == getattr(request.config, name, None) for name in LENGTHS)
    return None if same else old.steps


def finished_as_asked(request: Request) -> list[Figure] | None:
    """The figures of the run in the folder, where it has finished and there is nothing to be done; else None.

    A run that is asked to go on for longer, or whose data have moved and are to be compared, has something to do.
    """
    return Run(request.folder).result() if steps_before(request) is None and not moved(request) else None


def _refuse_fewer_steps(run: Run, config: Any) -> None:
    """Refuse to end a run before the steps that it has taken, or to go on as it is with one that stopped early."""
    done = run.steps_done()
    if config.steps < done:
        raise ValueError(
            f"{run.folder} has {done} steps done, more than --steps {config.steps} (steps={config.steps} in the "
            f"library): ask for {done} or more, or choose another --run-dir"
        )
    result = read_json(run.folder / "result.json") if (run.folder / "result.json").exists() else {}
    if 0 < config.early_stopping <= result.get("evaluations_since_best", 0) and done < config.steps:
        raise ValueError(
            f"{run.folder} stopped early at step {done}, {result['evaluations_since_best']} evaluations after its "
            "best: to go on, give a higher --early-stopping, or 0 (early_stopping= in the library)"
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
