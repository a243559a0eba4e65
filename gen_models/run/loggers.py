"""Where a run's metrics go besides `metrics.jsonl`: TensorBoard, Weights & Biases, and loggers of one's own.

A logger is an object with three functions (`Logger`). `metrics.jsonl` is a run's own record: where it cannot be
written, the run ends. All other loggers only watch: one that fails is named in one line and left out, and training goes
on. Imports no JAX.
"""

import importlib
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from gen_models.measures.figure import Figure
from gen_models.run.config import Experiment
from gen_models.run.directory import Run, read_json, write_json
from gen_models.run.endings import warn
from gen_models.run.fields import to_json


@runtime_checkable
class Logger(Protocol):
    """What is told of a run's metrics; whatever it raises is said in one line, and then it is told no more."""

    def start(self, run: Run, config: Any) -> None:
        """Begin, or go on: `run.history()` holds the rows up to the step from which the run goes on.

        What was logged of later steps, by a process that was killed, is logged again.
        """

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Take the values by name at a step, `seconds` of training after the run's start."""

    def close(self, status: str, figures: Sequence[Figure]) -> None:
        """End: "finished", "diverged", "interrupted", "paused" or "failed"; the figures are those of a finished run."""


class TensorBoard:
    """Scalars in `tensorboard/` of the run's directory.

    The file is written anew from `metrics.jsonl` whenever a run goes on: it holds each step once, however often the run
    was killed, and the steps of before TensorBoard was asked for.
    """

    def __init__(self) -> None:
        self._library = _imported("tensorboardX", "SummaryWriter", "--tensorboard", "tensorboard")

    def start(self, run: Run, config: Any) -> None:
        """Write what is known of the steps before."""
        folder = run.folder / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        rows = run.history()
        # A TensorBoard that is open has read the old file: this makes it forget what it read.
        self._board = self._library.SummaryWriter(str(folder), purge_step=0 if rows else None)
        self._began = time.time() - (rows[-1]["seconds"] if rows else 0.0)
        for row in rows:
            values = {name: float(value) for name, value in row.items() if name not in ("step", "seconds")}
            self.log(row["step"], row["seconds"], values)

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Add a scalar for each value."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step, walltime=self._began + seconds)

    def close(self, status: str, figures: Sequence[Figure]) -> None:
        """Write what is still in memory."""
        self._board.close()


class WeightsAndBiases:
    """A run of Weights & Biases, with the config and the figures; one that goes on keeps its id (`wandb.json`).

    Project, entity and mode are those of wandb's own environment (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE=offline).
    """

    def __init__(self) -> None:
        self._library = _imported("wandb", "init", "--wandb", "wandb")

    def start(self, run: Run, config: Any) -> None:
        """Begin the run there, or go on with it."""
        kept, said = run.folder / "wandb.json", run.config()
        if not kept.exists():
            write_json(kept, {"id": uuid.uuid4().hex[:8]})
        name = f"{said['experiment'].rsplit('.', 1)[-1]}/{said['variant']}/{config.seed}"
        self._run = self._library.init(
            project=os.environ.get("WANDB_PROJECT", "gen_models"),
            id=read_json(kept)["id"],
            resume="allow",
            reinit="create_new",  # several runs of a stack are open at once
            name=name,
            dir=str(run.folder),
            config={"experiment": said["experiment"], "variant": said["variant"]} | to_json(config),
            settings=self._library.Settings(silent=True, console="off", symlink=False),
        )
        self._known = int(self._run.step)  # steps before this one are there, in the same bits, and it takes none twice

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Add the values at the step."""
        if step >= self._known:
            self._run.log({"seconds": seconds, **values}, step=step)

    def close(self, status: str, figures: Sequence[Figure]) -> None:
        """Add the figures to the summary, and end the run there."""
        found = {f"figures/{figure.name}": figure.value for figure in figures}
        self._run.summary.update({"status": status} | found)
        self._run.finish(exit_code=0 if status in ("finished", "interrupted", "paused") else 1)


def chosen(experiment: Experiment, config: Any) -> list[Logger]:
    """The loggers that a run is asked for, besides `metrics.jsonl`.

    Raises:
      ImportError: one needs a package that is not installed; the message names the extra.
    """
    found: list[Logger] = []
    if config.tensorboard:
        found.append(TensorBoard())
    if config.wandb:
        found.append(WeightsAndBiases())
    return found + list([] if experiment.loggers is None else experiment.loggers(config))


class Loggers:
    """A run's `metrics.jsonl` and its other loggers, as one; a context manager that closes them.

    Args:
      run: the run, which this process holds.
      config: the run's.
      loggers: what `chosen` gave.
    """

    def __init__(self, run: Run, config: Any, loggers: Sequence[Logger]) -> None:
        self._run, self._config, self._loggers = run, config, list(loggers)
        self._started = False
        self.ended("failed")

    def __enter__(self) -> "Loggers":
        return self

    def __exit__(self, *_: object) -> None:
        if self._started:
            self._each(lambda logger: logger.close(self._status, self._figures))

    def start(self) -> None:
        """Start the loggers, once the rows of later steps have been dropped."""
        self._started = True
        self._each(lambda logger: logger.start(self._run, self._config))

    def ended(self, status: str, figures: Sequence[Figure] = ()) -> None:
        """Say how the run ended, for when the loggers are closed."""
        self._status, self._figures = status, figures

    def log(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        """Append a row to `metrics.jsonl`, and tell the others.

        Raises:
          OSError: `metrics.jsonl` cannot be written.
        """
        self._run.log(step, seconds, values)
        self._each(lambda logger: logger.log(step, seconds, values))

    def _each(self, tell: Callable[[Logger], None]) -> None:
        """Tell each logger; one that raises is left out from here on."""
        for logger in list(self._loggers):
            try:
                tell(logger)
            except Exception as error:
                self._loggers.remove(logger)
                name, what = type(logger).__name__, f"{type(error).__name__}: {error}".splitlines()[0]
                warn(f"{name} logs no more of {self._run.folder}: {what}; metrics.jsonl goes on")


def _imported(module: str, needed: str, option: str, extra: str) -> Any:
    """The package of a logger; raises ImportError, with the remedy, where it is not installed."""
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{option} needs an extra: pip install 'gen_models[{extra}]'") from error
    if not hasattr(found, needed):  # a folder of this name, such as the one in which wandb keeps its runs
        raise ImportError(f"{option} needs an extra: pip install 'gen_models[{extra}]'")
    return found
