"""A run's state: fresh, or from its newest undamaged checkpoint; and a trained run from its directory alone."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from gen_models.core import TrainState
from gen_models.run import console
from gen_models.run.directory import Run, existing_run, refuse_earlier_form
from gen_models.run.experiments import find
from gen_models.run.fields import from_json
from gen_models.run.job import Job, make_job
from gen_models.training import parallel
from gen_models.training.checkpoint import Checkpoints, Damaged, Unverified


class Loaded(NamedTuple):
    """What `load_run` finds in a run's directory."""

    run: Run
    config: Any
    job: Job
    state: TrainState


def load_run(folder: str | Path, *, data_dir: str | None = None, experiment: str | Path | None = None) -> Loaded:
    """Run, config, job and trained state, from a run directory alone.

    Args:
      folder: the run's directory.
      data_dir: the folder of the data, where it is no longer the run's.
      experiment: the file of an experiment of one's own, where it is no longer the run's.

    Raises:
      ValueError, OSError, ImportError: the directory holds no run that can be loaded; the message says why.
    """
    run = existing_run(folder)
    saved = run.config()
    refuse_earlier_form(run.folder, saved)
    found = find(saved["experiment"], experiment or saved.get("file"))
    config = from_json(found.config_class, saved["config"])
    if data_dir is not None and hasattr(config, "data_dir"):
        config = dataclasses.replace(config, data_dir=data_dir)
    job = make_job(found, config)
    with Checkpoints(run.checkpoints) as checkpoints:
        return Loaded(run, config, job, restored(checkpoints, job.shapes()))


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
