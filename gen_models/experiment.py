"""`Job`: what an experiment's config means; and `run_job`: train it in a run directory, then measure and draw.

Imports JAX: the command line comes here only once its arguments are known to be good.
"""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gen_models import config as configs
from gen_models import console, plots, runs
from gen_models.checkpoint import Checkpoints
from gen_models.core import Key, Model, Step, TrainState
from gen_models.data import Batches
from gen_models.runs import Figure, Run
from gen_models.training import Outcome, fit


class Job(NamedTuple):
    """A config made concrete. Functions take the training state, so that they may choose its averaged parameters."""

    model: Model
    init: Callable[[Key], TrainState]
    step: Step
    batches: Batches
    figures: Callable[[TrainState, Key], Sequence[Figure]]  # on the test split; also what tools.evaluate prints
    evaluate: Callable[[TrainState, Key], Mapping[str, float]] | None = None  # on the validation split, on the way
    sample: Callable[[TrainState, Key, int], np.ndarray] | None = None  # n samples
    show: Callable[[np.ndarray, Path], Any] | None = None  # draws samples into a PNG file
    pictures: Callable[[TrainState, Key, Path], Any] | None = None  # more pictures into a folder, at the end
    shown: int = 64  # samples in a picture
    place: Callable[[TrainState], TrainState] | None = None  # puts a fresh or restored state on its devices


def run_job(
    job: Job, experiment: str, variant: str, config: configs.RunConfig, folder: Path
) -> tuple[int, list[Figure] | None]:
    """Train from wherever the directory is; then figures, pictures and `result.json`.

    Returns:
      The exit status (see `gen_models/config.py`), and the figures where the run finished.

    Raises:
      InputError: the directory cannot be written, or its checkpoint is of another model.
    """
    started = time.perf_counter()
    _, data_key, evaluation_key, figures_key, draw_key = keys(config.seed)
    with ExitStack() as stack:
        try:
            run = runs.open_run(folder, experiment, variant, config)
            checkpoints = stack.enter_context(Checkpoints(run.checkpoints))
            state = initial_or_saved(job, config.seed, checkpoints)
            write = stack.enter_context(_Writer(run, config.tensorboard))
        except (ValueError, OSError, ImportError) as error:
            raise configs.InputError(str(error)) from error
        start = int(np.max(jax.device_get(state.step)))
        before = run.rewind(start)
        runs.record_environment(run)
        if start:
            console.say(f"resuming at step {start:,} from", run.folder)

        def seconds() -> float:
            return before + time.perf_counter() - started

        def draw(state: TrainState, step: int) -> None:
            if job.sample is not None and job.show is not None:
                job.show(job.sample(state, draw_key, job.shown), run.samples / f"step_{step:06d}.png")

        with console.report(config.steps, start) as report:
            outcome = fit(
                job.step,
                state,
                job.batches,
                steps=config.steps,
                key=data_key,
                checkpoints=checkpoints,
                checkpoint_every=config.checkpoint_every,
                log=lambda step, values: write(step, seconds(), values),
                log_every=config.log_every,
                evaluate=None if job.evaluate is None else partial(_evaluate, job.evaluate, evaluation_key),
                evaluate_every=config.evaluate_every,
                draw=draw,
                draw_every=config.draw_every,
                report=report,
            )
        trained = seconds()
        if outcome.status != "finished":
            return _unfinished(outcome, run), None
        state = outcome.state
        figures = list(job.figures(state, figures_key))
        if job.sample is not None and job.show is not None:
            job.show(job.sample(state, draw_key, job.shown), run.samples / "samples.png")
        if job.pictures is not None:
            job.pictures(state, figures_key, run.samples)
        plots.curves(run.history(), run.curves, title=f"{experiment.rsplit('.', 1)[-1]}, {variant}, seed {config.seed}")
        run.finish(figures, trained)
        console.show_result(run, figures, seconds=trained)
    return configs.FINISHED, figures


def keys(seed: int) -> tuple[Key, Key, Key, Key, Key]:
    """A run's keys: for the state, the data's transforms, evaluation, final figures, and samples."""
    return tuple(jax.random.split(jax.random.key(seed), 5))


def initial_or_saved(job: Job, seed: int, checkpoints: Checkpoints) -> TrainState:
    """The newest checkpoint's state, or a fresh one where there is none."""
    key = keys(seed)[0]
    fresh = checkpoints.latest() is None
    state = job.init(key) if fresh else checkpoints.restore(jax.eval_shape(job.init, key))
    return state if job.place is None else job.place(state)


def load_run(folder: str | Path, *, data_dir: str | None = None) -> tuple[Run, Any, Job, TrainState]:
    """Run, config, job and trained state, from a run directory alone; `data_dir` where the data have moved.

    Raises:
      ValueError, OSError, ImportError: the directory holds no run that can be loaded; the message says why.
    """
    run = runs.existing_run(folder)
    name = runs.experiment_module(run)
    experiment = importlib.import_module(name).EXPERIMENT
    saved = run.config()
    default = next(iter(experiment.variants.values()))
    config = runs.restore_config(type(default), saved["config"] | ({"data_dir": data_dir} if data_dir else {}))
    job = experiment.build(config)
    with Checkpoints(run.checkpoints) as checkpoints:
        state = checkpoints.restore(jax.eval_shape(job.init, keys(config.seed)[0]))
    return run, config, job, state


def _evaluate(evaluate, key: Key, state: TrainState) -> Mapping[str, float]:
    return evaluate(state, key)


def _unfinished(outcome: Outcome, run: Run) -> int:
    """Say how the run stopped; returns the exit status."""
    kept = (
        "no checkpoint was saved yet"
        if outcome.checkpoint is None
        else f"the last good checkpoint is {outcome.checkpoint}"
    )
    if outcome.status == "diverged":
        console.say(f"diverged at step {outcome.step:,}: a loss or gradient is not finite, or too large; {kept}")
        return configs.DIVERGED
    console.say(f"interrupted and saved at step {outcome.step:,}; the same command goes on: {kept}")
    return configs.INTERRUPTED


class _Writer:
    """Metrics to `metrics.jsonl`, and to TensorBoard where asked."""

    def __init__(self, run: Run, tensorboard: bool) -> None:
        self._run, self._board = run, None
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError as error:
                raise ImportError("--tensorboard needs an extra: pip install 'gen_models[tensorboard]'") from error
            self._board = SummaryWriter(str(run.folder / "tensorboard"))

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def __call__(self, step: int, seconds: float, values: Mapping[str, float]) -> None:
        self._run.log(step, seconds, values)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
