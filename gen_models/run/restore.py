"""A run's state: fresh, or from its newest undamaged checkpoint; and a trained run from its directory alone."""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from gen_models.core import TrainState
from gen_models.data.report import DataAbsent, changes
from gen_models.run import console, paths
from gen_models.run.config import Experiment
from gen_models.run.directory import Run, existing_run, refuse_earlier_form
from gen_models.run.experiments import find
from gen_models.run.fields import from_json
from gen_models.run.job import Job, job_without_data, make_job
from gen_models.run.kept_stats import kept
from gen_models.training import parallel
from gen_models.training.checkpoint import Checkpoints, Damaged, Unverified


class Loaded(NamedTuple):
    """What `load_run` finds in a run's directory."""

    run: Run
    config: Any
    job: Job
    state: TrainState


def load_run(
    folder: str | Path,
    *,
    data_dir: str | None = None,
    dataset: str | None = None,
    experiment: str | Path | None = None,
    with_data: bool = True,
    best: bool | None = None,
) -> Loaded:
    """Run, config, job and trained state, from a run directory alone; nothing is written there.

    Where the data cannot be read, or are of another shape or other classes now, the job is that of the data that the
    run was trained on, as far as its directory knows them: the model samples, and what wants an example raises
    `DataAbsent`, which names the data.

    Args:
      folder: the run's directory.
      data_dir: the folder of the data, where it is no longer the run's. Of a `kind:PATH` that is not there, the file or
        folder of its name is looked for in it.
      dataset: the name or `kind:PATH` of the data, where they are no longer at the run's.
      experiment: the file of an experiment of one's own, where it is no longer the run's.
      with_data: whether the data are wanted; False does not read them, unless the model itself looks at them.
      best: whether the state that was best in evaluations is wanted, of a run with `--keep-best`, or else the newest;
        None: the one at which the run's figures are measured, the best of a run with `--early-stopping`.

    Raises:
      ValueError, OSError, ImportError: the directory holds no run that can be loaded; the message says why.
    """
    run = existing_run(folder)
    found, config = saved_config(run, experiment)
    states = folder_of_states(run, best, config.early_stopping > 0)
    config = with_place(config, data_dir, dataset)
    job = _job(run, found, config, with_data or data_dir is not None or dataset is not None)
    with Checkpoints(states) as checkpoints:
        state = restored(checkpoints, job.shapes())
    if (stats := kept(run.folder, state.stats)) is not None:
        job = job.with_stats(stats)
    return Loaded(run, config, job, state)


def folder_of_states(run: Run, best: bool | None, stops_early: bool) -> Path:
    """Where the state lies that is wanted of a run; `best` as in `load_run`.

    Raises:
      ValueError: the run has kept no best state.
    """
    kept = any(path.name.isdigit() for path in run.best.glob("*"))
    if best and not kept:
        raise ValueError(
            f"{run.folder} has kept no best state: train with --keep-best (keep_best=True in the library), or leave "
            "out --best"
        )
    return run.best if kept and (stops_early if best is None else best) else run.checkpoints


def saved_config(run: Run, experiment: str | Path | None = None) -> tuple[Experiment, Any]:
    """The experiment and the config that a run's directory names.

    Raises:
      ValueError, ImportError: there is no such experiment, or it has not the fields of the config.
    """
    saved = run.config()
    refuse_earlier_form(run.folder, saved)
    found = find(saved["experiment"], experiment or saved.get("file"))
    try:
        return found, from_json(found.config_class, saved["config"])
    except ValueError as error:
        raise ValueError(
            f"{run.folder / 'config.json'} cannot be used ({error}): mend it, or use the version that made the run "
            "(environment.json names its commit)"
        ) from error


def with_place(config: Any, data_dir: str | None, dataset: str | None) -> Any:
    """The config with another place of its data; see `load_run`.

    Raises:
      ValueError: it has no such field.
    """
    for name, value in (("data_dir", data_dir), ("dataset", dataset)):
        if value is not None and not hasattr(config, name):
            raise ValueError(
                f"the run's data have no {name}: leave out --{name.replace('_', '-')} ({name}= in the library)"
            )
    if dataset is not None:
        config = dataclasses.replace(config, dataset=dataset)
    if data_dir is not None:
        config = dataclasses.replace(config, data_dir=data_dir)
        place = paths.place_of(config.dataset) if dataset is None and hasattr(config, "dataset") else None
        if place is not None and (inside := Path(paths.absolute(data_dir), Path(place.path).name)).exists():
            config = dataclasses.replace(config, dataset=f"{place.kind}:{inside}{place.options}")
    return paths.with_absolute_paths(config)


def _job(run: Run, experiment: Experiment, config: Any, with_data: bool) -> Job:
    """The run's job; without its data where they are not wanted, cannot be read or are others."""
    described = run.data()
    if described is not None and not with_data:
        try:
            return job_without_data(experiment, config, described, ValueError("it was not read, as nothing wanted it"))
        except DataAbsent:  # the model looks at the data
            pass
    try:
        job = make_job(experiment, config)
        if described is None or not (others := misfits(described["report"], job.report)):
            return job
        why: Exception = ValueError(f"other data are there now: {'; '.join(others)}")
    except (ValueError, OSError, ImportError) as error:
        if described is None:
            raise
        why = error
    return job_without_data(experiment, config, described, why)


def misfits(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How data differ, in phrases, where a model of the first cannot take the second; else none."""
    fits = all(before[what] == now[what] for what in ("kind", "shape", "levels", "num_classes", "meaning"))
    return [] if fits else changes(before, now) or ["what their values mean"]


def initial_or_saved(
    job: Job, seed: int, checkpoints: Checkpoints, mesh: Mesh | None = None, shard_parameters: bool = False
) -> TrainState:
    """The newest undamaged checkpoint's state, or a fresh one where there is none; over the mesh where one is given.

    Raises:
      ValueError: every checkpoint is damaged, or they are of another model.
    """
    fresh = checkpoints.latest() is None
    if fresh and not shard_parameters:
        return job.initial(seed)
    like = job.shapes()
    places = None if mesh is None else parallel.shardings(like, mesh, shard_parameters=shard_parameters)
    if fresh:  # made in pieces: no device holds it whole
        return jax.jit(job.initialise, out_shardings=places)(*job.initial_arguments(seed))
    if places is not None:
        like = jax.tree.map(lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), like, places)
    return restored(checkpoints, like)


def restored(checkpoints: Checkpoints, like: TrainState) -> TrainState:
    """The state that `Checkpoints.restore` gives; each of its warnings becomes a line in the terminal."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        state = checkpoints.restore(like)
    for warning in said:
        if issubclass(warning.category, Damaged | Unverified):
            console.say(f"warning: {warning.message}")
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return state
