"""One run, from where its directory left off to its result: it is trained, measured and drawn. Imports JAX.

The command line comes here only once its arguments are known to be good.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from gen_models import plots
from gen_models.core import TrainState
from gen_models.data.report import told
from gen_models.diagnosis.finding import Finding
from gen_models.diagnosis.watch import Watch
from gen_models.measures.base import headline_of
from gen_models.measures.figure import Figure
from gen_models.run import best as bests
from gen_models.run import config as configs
from gen_models.run import console, directory, endings, loggers
from gen_models.run.directory import Request, Run
from gen_models.run.environment import record_environment
from gen_models.run.facts import facts_of
from gen_models.run.job import Job, Keys, keys, make_job
from gen_models.run.kept_stats import KeptStats, keep
from gen_models.run.loggers import Loggers
from gen_models.run.start import source_of, starting_state
from gen_models.schedules import schedule
from gen_models.training import parallel
from gen_models.training.best import Best
from gen_models.training.checkpoint import Checkpoints, quiet, remove_unfinished
from gen_models.training.loop import Outcome, fit
from gen_models.training.startup import start

Result = tuple[int, list[Figure] | None]  # exit status, and the figures of a run that finished, on the host that writes


def start_run(asked: Request) -> Result:
    """Start JAX, make the job and run it.

    Raises:
      InputError, Stopped: as `run_job`; or the data or the config are wrong.
    """
    config = asked.config
    with endings.about_input():
        start(coordinator=config.coordinator, processes=config.processes, process_id=config.process_id)
        job = make_job(asked.experiment, config)
        if jax.process_index() == 0:
            console.say(told(job.report))
        moved = directory.moved(asked) and directory.steps_before(asked) is None
        finished = Run(asked.folder).result() if moved else None
    status, figures = run_job(job, asked)
    if finished is not None and figures is not None:  # its data have moved, and are the same
        console.show_result(Run(asked.folder), figures, finished_before=True)
    return status, figures


def run_job(job: Job, asked: Request, *, until: int | None = None, again: bool = True) -> Result:
    """Train from where the directory left off; then write figures, pictures and `result.json`.

    Args:
      job: the job of the run's config, or of one that differs from it in its seed and TRACED fields alone.
      asked: the run.
      until: the step at which to stop, evaluated and saved, although the run has more; None: its last.
      again: whether a run that diverged or was dropped before is trained once more, and one that has finished is no
        error.

    Raises:
      InputError: the directory cannot be written, or its checkpoint is of another model.
      Stopped: the data cannot be read any more, memory ran out, or the directory cannot be written any more.
      EndedBefore: the run has ended, and is not to be trained `again`.
    """
    try:
        with quiet():
            return _run_job(job, asked, until, again)
    except Exception as error:
        ended = endings.in_training(error, _kept(Run(asked.folder)))
        if ended is error:
            raise
        raise ended from error


def _run_job(job: Job, asked: Request, until: int | None, again: bool) -> Result:
    began, config = time.perf_counter(), asked.config
    first = jax.process_index() == 0  # of several hosts, the one that writes
    with ExitStack() as stack:
        with endings.about_input():
            mesh = _mesh(job, config)
            bests.refuse_several_hosts(config)
            if not any((asked.folder / "checkpoints").glob("*")):
                job.refuse_too_large(mesh.size if mesh is not None and config.shard_parameters else 1)
            source = source_of(job, asked)
            watching = loggers.chosen(asked.experiment, config) if first else []
            run = _open(stack, job, asked, first)
            if (ended := _ended(run, again) if first and jax.process_count() == 1 else None) is not None:
                return ended
            if first:
                run.begin()
            checkpoints = stack.enter_context(Checkpoints(run.checkpoints, protected=run.earlier_ends()))
            state = starting_state(job, asked, checkpoints, source, mesh, config.shard_parameters and mesh is not None)
            write = stack.enter_context(Loggers(run, config, watching)) if first else None
            best = bests.followed(stack, job, run, config)
        before = _go_on(run, asked, int(np.max(jax.device_get(state.step)))) if first else 0.0
        if write is not None:
            write.start()
        training = _Training(job, asked, run, write, best, lambda: before + time.perf_counter() - began)
        outcome = training.fit(state, checkpoints, mesh, until)
        status, figures = _after(training, outcome, until) if first else (_STATUS[outcome.status], None)
        if write is not None:
            write.ended("paused" if status == configs.PAUSED else outcome.status, figures or ())
        return status, figures


def _open(stack: ExitStack, job: Job, asked: Request, first: bool) -> Run:
    """The run's directory, held by the first host alone."""
    if first:
        run = stack.enter_context(directory.open_run(asked, job.described()))
        for saved in (run.checkpoints, run.best):
            remove_unfinished(saved)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("the run directory is open")
    return run if first else directory.existing_run(asked.folder)


class EndedBefore(Exception):
    """Another process ended the run before this one held its directory; only `run_job(again=False)` raises it."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status  # "finished", "diverged" or "dropped"


def _ended(run: Run, again: bool) -> Result | None:
    """The result of a run that has one already; else None.

    Raises:
      EndedBefore: it has, or it diverged or was dropped, and is not to be trained `again`.
    """
    figures, stopped = run.result(), (run.stopped() or {}).get("status", "")
    if not again and (figures is not None or stopped in ("diverged", "dropped")):
        raise EndedBefore("finished" if figures is not None else stopped)
    return None if figures is None else (configs.FINISHED, figures)


def _go_on(run: Run, asked: Request, done: int) -> float:
    """Drop what was written after step `done`; returns the seconds trained up to there."""
    before = run.rewind(done)
    record_environment(run, done, asked.config.steps)
    if done:
        console.say(f"resuming at step {done:,} from", run.folder)
    if run.steps_before not in (None, asked.config.steps):
        console.say(other_steps(asked, run.steps_before, done))
    return before


def other_steps(asked: Request, before: int, done: int) -> str:
    """The line that says what becomes of the schedule where a run of `before` steps goes on to another number."""
    config = asked.config
    line = f"{config.steps:,} steps where {before:,} were asked for before: "
    if asked.experiment.optimizer is not None or not isinstance(config, configs.Optimisation):
        return line + f"from here on the experiment's own optimizer is that of a run of {config.steps:,} steps"
    rates = [
        float(schedule(config.schedule, config.learning_rate, steps, warmup_steps=config.warmup_steps)(done))
        for steps in (config.steps, before)
    ]
    if config.schedule == "constant":
        return line + f"the learning rate is constant, as in a run of {config.steps:,} steps from the start"
    return line + (
        f"from here on the {config.schedule} course is that of {config.steps:,} steps; the learning rate at step "
        f"{done:,} is {rates[0]:.3g} (of {before:,} steps: {rates[1]:.3g})"
    )


class _Training:
    """One run's training, and what is logged, measured and drawn during it."""

    def __init__(
        self,
        job: Job,
        asked: Request,
        run: Run,
        write: Loggers | None,
        best: Best | None,
        seconds: Callable[[], float],
    ) -> None:
        self.job, self.asked, self.run, self.write, self.best, self.seconds = job, asked, run, write, best, seconds
        self.keys: Keys = keys(asked.config.seed)

    def fit(self, state: TrainState, checkpoints: Checkpoints, mesh: Mesh | None, until: int | None) -> Outcome:
        config, job = self.asked.config, self.job
        goal = config.steps if until is None else min(until, config.steps)
        evaluates = any(headline_of(measure) is not None for measure in job.measures)
        with console.show_progress(config.steps, int(np.max(jax.device_get(state.step)))) as report:
            return fit(
                job.step,
                state,
                job.batches(config.seed),
                steps=goal,
                key=self.keys.data,
                numbers=job.numbers(config),
                checkpoints=checkpoints,
                checkpoint_every=config.checkpoint_every,
                log=None if self.write is None else self.log,
                log_every=config.log_every,
                watch=None if self.write is None else self.watch(),
                evaluate=self.evaluate,
                evaluate_every=config.evaluate_every if evaluates else 0,
                best=self.best,
                draw=self.draw,
                draw_every=config.draw_every,
                report=None if self.write is None else report,
                mesh=mesh,
                shard_parameters=config.shard_parameters and mesh is not None,  # one device holds all anyway
            )

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        assert self.write is not None
        self.write.log(step, self.seconds(), {name: float(np.mean(value)) for name, value in values.items()})

    def watch(self) -> Watch:
        """Says in one line what goes wrong; of a run that goes on, not again what its rows of before show."""

        def tell(finding: Finding) -> None:
            endings.warn(f"{self.run.folder}: {finding.line}; all of it: python -m tools.diagnose {self.run.folder}")

        facts = facts_of(self.asked.config, self.job.objective())
        return Watch(tell, facts=facts, history=self.run.history())

    def evaluate(self, state: TrainState) -> Mapping[str, float]:
        state = parallel.local(state)  # whole and on one device, where evaluation and sampling are
        return {} if self.write is None else self.job.evaluate(state, self.keys.evaluation)

    def draw(self, state: TrainState, step: int) -> None:
        state = parallel.local(state)
        if self.write is not None:
            draw_samples(self.job, state, self.keys, self.run.samples / f"step_{step:06d}.png")


def draw_samples(job: Job, state: TrainState, own: Keys, path: Path) -> None:
    """Write a picture of samples, where the model has any."""
    if (sampler := job.sampler()) is not None:
        sampler.show(sampler.sample(job.trained(state), own.samples, sampler.count), path)


def _after(training: _Training, outcome: Outcome, until: int | None) -> Result:
    """Say how the training ended; where it reached the last step, conclude the run."""
    config, run = training.asked.config, training.run
    seconds = training.seconds()
    if outcome.status != "finished":
        return _unfinished(outcome, run), None
    best = training.best if config.early_stopping else None
    if best is not None:
        bests.told(best, outcome.step, config.steps)
    elif until is not None and until < config.steps:
        return configs.PAUSED, None
    figures = conclude(training.job, run, training.asked, parallel.local(outcome.state), seconds, best)
    console.show_result(run, figures, seconds=seconds)
    return configs.FINISHED, figures


def conclude(
    job: Job, run: Run, asked: Request, state: TrainState, seconds: float, best: Best | None = None
) -> list[Figure]:
    """Write figures, pictures, curves and `result.json` of a run whose training has ended; returns the figures.

    Args:
      job: the run's.
      run: its directory.
      asked: the run.
      state: the last one.
      seconds: how long it trained.
      best: knows the state that is measured, where that is not the last one.
    """
    own, ended, more = keys(asked.config.seed), int(state.step), dict[str, Any]()
    if best is not None:
        state, more = bests.best_state(job, state, best)
    if job.estimates_stats(state):  # once for all that follows, and for tools that have no data
        found = KeptStats(int(state.step), job.trained(state).stats)
        keep(run.folder, found)
        job = job.with_stats(found)
    figures = job.figures(state, own.figures)
    if best is not None and best.step is not None:
        figures = bests.noted(figures, more["measured_at"], best.metric)
    job.draw(state, own.samples, run.samples, job.test(own.figures))
    name = asked.experiment.name.rsplit(".", 1)[-1]
    plots.curves(run.history(), run.curves, title=f"{name}, {asked.variant}, seed {asked.config.seed}")
    run.finish(figures, seconds, ended, **more)
    return figures


def _mesh(job: Job, config: Any) -> Mesh | None:
    """All devices, where there are several accelerators or hosts, or parameters are to be cut; else `fit` chooses."""
    several = jax.device_count() > 1 and (jax.default_backend() != "cpu" or config.shard_parameters)
    if not (several or jax.process_count() > 1):
        return None
    if job.batches(config.seed).batch_size % jax.device_count():
        raise ValueError(f"--batch-size {config.batch_size} must be a multiple of the {jax.device_count()} devices")
    return parallel.data_mesh()


_STATUS = {"finished": configs.FINISHED, "diverged": configs.DIVERGED, "interrupted": configs.INTERRUPTED}


def diverged_message(step: int) -> str:
    """The line that tells the user of a run that diverged."""
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
    else:
        console.say(f"interrupted and saved at step {outcome.step:,}; the same command goes on: {kept}")
    return _STATUS[outcome.status]


def _kept(run: Run) -> str:
    """What of a run is safe."""
    steps = [int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit()]
    return f"{run.checkpoints / str(max(steps))} is complete" if steps else f"{run.folder} has no checkpoint yet"
