"""`Job`: what an experiment's config means; and `run_job`: train it in a run directory, then measure and draw.

Imports JAX: the command line comes here only once its arguments are known to be good.
"""

import dataclasses
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from gen_models import plots
from gen_models.core import Key, Model, Step, TrainState
from gen_models.data import Batches
from gen_models.run import config as configs
from gen_models.run import console
from gen_models.run import directory as runs
from gen_models.run.directory import Figure, Run
from gen_models.training import parallel
from gen_models.training.checkpoint import Checkpoints, Damaged, Unverified, quiet, remove_unfinished
from gen_models.training.loop import Outcome, fit


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
    # The step of a config that differs in fields marked TRACED alone, which may be traced values; and the batches of
    # another seed, which differ from these in their rows alone. With both, the job serves any such config and seed.
    step_of: Callable[[Any], Step] | None = None
    batches_of: Callable[[int], Batches] | None = None


class Prepared(NamedTuple):
    """A job whose step takes the config's traced numbers, so that one program serves all runs that differ in them."""

    job: Job
    step: Callable[..., Any]  # (state, batch, numbers) -> (state, metrics); without numbers where there are none
    names: tuple[str, ...]  # of the numbers
    config: Any  # that the job was built of

    def serves(self, config: Any) -> bool:
        """Whether a config that differs in seed and traced numbers alone can be trained with this."""
        if self.job.batches_of is None and config.seed != self.config.seed:
            return False
        traced = configs.traced_fields(config)
        return all(name in self.names or getattr(config, name) == getattr(self.config, name) for name in traced)

    def numbers(self, config: Any) -> dict[str, float]:
        """The config's."""
        return {name: getattr(config, name) for name in self.names}

    def batches(self, seed: int) -> Batches:
        """Those of a seed; data and transforms are the same objects for all seeds."""
        if seed == self.config.seed or self.job.batches_of is None:
            return self.job.batches
        return self.job.batches._replace(rows=self.job.batches_of(seed).rows)


def prepare(job: Job, config: Any) -> Prepared:
    """The job of a config, ready for every config that differs from it in its seed and traced numbers."""
    step_of = job.step_of
    names = () if step_of is None else configs.traced_fields(config)
    if step_of is None or not names:
        return Prepared(job, job.step, (), config)

    def step(state, batch, numbers):
        return step_of(dataclasses.replace(config, **numbers))(state, batch)

    return Prepared(job, step, names, config)


def run_job(
    job: Job | Prepared,
    experiment: str,
    variant: str,
    config: configs.RunConfig,
    folder: Path,
    *,
    until: int | None = None,
    again: bool = True,
) -> tuple[int, list[Figure] | None]:
    """Train from wherever the directory is; then figures, pictures and `result.json`.

    Args:
      job: of the config; or prepared for one that differs from it in seed and traced numbers alone.
      experiment: the experiment's module.
      variant: the variant's name.
      config: what is asked for.
      folder: the run's directory.
      until: stop at this step, evaluated and saved, where the run has more.
      again: train a run that diverged once more; else it stays as it is.

    Returns:
      The exit status (see `gen_models/run/config.py`), and the figures where the run finished, on the host that writes.

    Raises:
      InputError: the directory cannot be written, or its checkpoint is of another model.
    """
    try:
        with quiet():
            prepared = job if isinstance(job, Prepared) else prepare(job, config)
            return _run_job(prepared, experiment, variant, config, folder, until, again)
    except _CannotWrite as error:
        print(f"error: {error}", file=sys.stderr)
        return configs.CANNOT_WRITE, None


def _run_job(
    prepared: Prepared,
    experiment: str,
    variant: str,
    config: configs.RunConfig,
    folder: Path,
    until: int | None,
    again: bool,
) -> tuple[int, list[Figure] | None]:
    started = time.perf_counter()
    job = prepared.job
    goal = config.steps if until is None else min(until, config.steps)
    _, data_key, evaluation_key, _, draw_key = keys(config.seed)
    first = jax.process_index() == 0  # of several hosts, the one that writes
    with ExitStack() as stack:
        try:
            mesh = _mesh(job, config)
            if first:
                run = stack.enter_context(runs.open_run(folder, experiment, variant, config))
                remove_unfinished(run.checkpoints)
            _together("the run directory is open")
            if not first:
                run = runs.existing_run(folder)
            elif jax.process_count() == 1 and (figures := run.result()) is not None:  # finished since it was looked at
                return configs.FINISHED, figures
            elif not again and (run.stopped() or {}).get("status") == "diverged":  # likewise
                return configs.DIVERGED, None
            if first:
                run.begin()
            checkpoints = stack.enter_context(Checkpoints(run.checkpoints))
            state = initial_or_saved(job, config.seed, checkpoints, mesh, config.shard_parameters)
            write = stack.enter_context(_Writer(run, config.tensorboard)) if first else None
        except (ValueError, OSError, ImportError) as error:
            raise configs.InputError(str(error)) from error
        start = int(np.max(jax.device_get(state.step)))
        try:
            before = run.rewind(start) if first else 0.0
            if first:
                runs.record_environment(run)
            if start and first:
                console.say(f"resuming at step {start:,} from", run.folder)

            def seconds() -> float:
                return before + time.perf_counter() - started

            def here(state: TrainState) -> TrainState:
                """Whole and on one device, where evaluation and sampling are; several trainings stay where they are."""
                return state if job.place is not None else parallel.local(state)

            def evaluate(state: TrainState) -> Mapping[str, float]:
                state = here(state)
                return {} if not first or job.evaluate is None else job.evaluate(state, evaluation_key)

            def draw(state: TrainState, step: int) -> None:
                state = here(state)
                if first and job.sample is not None and job.show is not None:
                    job.show(job.sample(state, draw_key, job.shown), run.samples / f"step_{step:06d}.png")

            with console.report(config.steps, start) as report:
                outcome = fit(
                    prepared.step,
                    state,
                    prepared.batches(config.seed),
                    steps=goal,
                    key=data_key,
                    numbers=prepared.numbers(config),
                    checkpoints=checkpoints,
                    checkpoint_every=config.checkpoint_every,
                    log=None if write is None else lambda step, values: write(step, seconds(), values),
                    log_every=config.log_every,
                    evaluate=evaluate,
                    evaluate_every=0 if job.evaluate is None else config.evaluate_every,
                    draw=draw,
                    draw_every=config.draw_every,
                    report=report if first else None,
                    mesh=mesh,
                    shard_parameters=config.shard_parameters,
                )
            trained = seconds()
            if outcome.status != "finished":
                return _unfinished(outcome, run) if first else _STATUS[outcome.status], None
            if goal < config.steps:
                return configs.PAUSED, None
            state = here(outcome.state)
            if not first:
                return configs.FINISHED, None
            figures = conclude(job, run, variant, config, state, trained)
        except OSError as error:
            raise _CannotWrite(_told(error, run)) from error
        console.show_result(run, figures, seconds=trained)
    return configs.FINISHED, figures


def conclude(
    job: Job, run: Run, variant: str, config: configs.RunConfig, state: TrainState, seconds: float
) -> list[Figure]:
    """Figures, pictures, curves and `result.json` of a run whose training has ended; returns the figures."""
    *_, figures_key, draw_key = keys(config.seed)
    figures = list(job.figures(state, figures_key))
    if job.sample is not None and job.show is not None:
        job.show(job.sample(state, draw_key, job.shown), run.samples / "samples.png")
    if job.pictures is not None:
        job.pictures(state, figures_key, run.samples)
    name = run.config()["experiment"].rsplit(".", 1)[-1]
    plots.curves(run.history(), run.curves, title=f"{name}, {variant}, seed {config.seed}")
    run.finish(figures, seconds)
    return figures


def _mesh(job: Job, config: configs.RunConfig) -> Mesh | None:
    """All devices, where there are several accelerators or hosts, or parameters are to be cut; else `fit` chooses."""
    several = jax.device_count() > 1 and (jax.default_backend() != "cpu" or config.shard_parameters)
    if job.place is not None or not (several or jax.process_count() > 1):
        return None
    if job.batches.batch_size % jax.device_count():
        raise ValueError(f"--batch-size {config.batch_size} must be a multiple of the {jax.device_count()} devices")
    return parallel.data_mesh()


def _together(what: str) -> None:
    """Wait until every host has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def keys(seed: int) -> tuple[Key, Key, Key, Key, Key]:
    """A run's keys: for the state, the data's transforms, evaluation, final figures, and samples."""
    return tuple(jax.random.split(jax.random.key(seed), 5))


def initial_or_saved(
    job: Job, seed: int, checkpoints: Checkpoints, mesh: Mesh | None = None, shard_parameters: bool = False
) -> TrainState:
    """The newest undamaged checkpoint's state, or a fresh one where there is none; over the mesh where there is one."""
    key = keys(seed)[0]
    fresh = checkpoints.latest() is None
    if fresh and not shard_parameters:
        state = initial(job, key)
        return state if job.place is None else job.place(state)
    like = jax.eval_shape(job.init, key)
    places = None if mesh is None else parallel.shardings(like, mesh, shard_parameters=shard_parameters)
    if fresh:  # made in pieces: no device holds it whole
        return jax.jit(job.init, out_shardings=places)(key)
    if places is not None:
        like = jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), like, places)
    state = _restored(checkpoints, like)
    return state if job.place is None else job.place(state)


def initial(job: Job, key: Key) -> TrainState:
    """A fresh state: `job.init` as one program, compiled once for all runs of a group."""
    return _initialise(job.init)(key)


@lru_cache(maxsize=8)
def _initialise(init: Callable[[Key], TrainState]) -> Callable[[Key], TrainState]:
    # One program in place of dozens, and on a CPU with few of LLVM's optimisations, as it runs once and most of its
    # time would be compilation.
    quick = {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else None
    return jax.jit(init, compiler_options=quick)


def _restored(checkpoints: Checkpoints, like: TrainState) -> TrainState:
    """What `Checkpoints.restore` gives, its warnings said to the user in a line each."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        state = checkpoints.restore(like)
    for warning in said:
        if issubclass(warning.category, Damaged | Unverified):
            console.say(f"warning: {warning.message}")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return state


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
        state = _restored(checkpoints, jax.eval_shape(job.init, keys(config.seed)[0]))
    return run, config, job, state


_STATUS = {"diverged": configs.DIVERGED, "interrupted": configs.INTERRUPTED}


def diverged_message(step: int) -> str:
    """What is said of a run that diverged."""
    return f"diverged at step {step:,}: a loss or gradient is not finite, or too large"


def _unfinished(outcome: Outcome, run: Run) -> int:
    """Say how the run stopped; returns the exit status."""
    kept = (
        "no checkpoint was saved yet"
        if outcome.checkpoint is None
        else f"the last good checkpoint is {outcome.checkpoint}"
    )
    if outcome.status == "diverged":
        message = diverged_message(outcome.step)
        run.stop("diverged", outcome.step, message)
        console.say(f"{message}; {kept}")
        return _STATUS[outcome.status]
    console.say(f"interrupted and saved at step {outcome.step:,}; the same command goes on: {kept}")
    return _STATUS[outcome.status]


class _CannotWrite(OSError):
    """Ends a run; the message says what could not be written and what is safe."""


def _told(error: OSError, run: Run) -> str:
    steps = [int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit()]
    kept = f"{run.checkpoints / str(max(steps))} is complete" if steps else "there is no checkpoint yet"
    told = str(error) if str(run.folder) in str(error) else f"{error}, in {run.folder}"
    return f"{told}; {kept}. The same command goes on from there once this is mended"


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

    def __call__(self, step: int, seconds: float, values: Mapping[str, Any]) -> None:
        values = {name: float(np.mean(value)) for name, value in values.items()}  # over trials, where there are some
        self._run.log(step, seconds, values)
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
