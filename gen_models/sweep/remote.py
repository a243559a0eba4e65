"""Runs of a sweep on other machines that see its folder: as tasks of a Ray cluster, or as Slurm jobs by submitit.

A task is one run. It goes on from the run's checkpoint, so that one whose machine went away is given to another.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gen_models.run.config import InputError
from gen_models.run.experiments import find
from gen_models.sweep.pool import Source

RETRIES = 3  # of a task whose worker went away
_serving: dict[Source, Any] = {}  # one a process: what it has compiled serves the next run of the group


def train_one(source: Source, asked: Mapping[str, Any], until: int | None) -> dict[str, Any]:
    """Train a run in this process, from wherever it is; returns how it ended, as a worker says it."""
    if source not in _serving:
        from gen_models.sweep.worker import Serving
        from gen_models.training.startup import start  # imports JAX

        start()
        _serving[source] = Serving(find(*source))
    cost: dict[str, Any] = {}
    ended: dict[str, Any] = {}
    for said in _serving[source].run([asked], "one", until):
        cost, ended = (said, ended) if "cost" in said else (cost, said)
    return cost | ended


def by_ray(source: Source, asked: Sequence[Mapping[str, Any]], until: int | None) -> Iterator[dict[str, Any]]:
    """Train each run as a task with one core; yields how each ended, as it ends.

    `RAY_ADDRESS` names the cluster; without it a cluster is started on this machine.

    Raises:
      InputError: Ray is not installed, or there is no such cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("--launcher ray needs an extra: pip install 'gen_models[ray]'") from error
    began = not ray.is_initialized()
    if began:
        try:
            # The workers import the experiment as this process does: from its working directory.
            ray.init(log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": _paths()}})
        except (ConnectionError, RuntimeError) as error:
            raise InputError(f"--launcher ray: {error}") from error
    try:
        task = ray.remote(num_cpus=1, max_retries=RETRIES)(train_one)
        folders = {task.remote(source, one, until): one["folder"] for one in asked}
        waiting = list(folders)
        while waiting:
            ended, waiting = ray.wait(waiting)
            for reference in ended:
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError as error:
                    yield {"folder": folders[reference], "status": "failed", "message": str(error).splitlines()[0]}
    finally:
        if began:
            ray.shutdown()


def by_slurm(
    source: Source,
    asked: Sequence[Mapping[str, Any]],
    until: int | None,
    folder: Path,
    parameters: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Train each run as a job of an array; yields how each ended, as it ends.

    Args:
      source: from where the jobs import the experiment.
      asked: the runs, each as a worker is told of it.
      until: the step at which they stop; None: at their end.
      folder: for submitit's logs.
      parameters: of submitit's executor, such as slurm_partition, timeout_min, cpus_per_task; `cluster=local` starts
        processes of this machine instead.

    Raises:
      InputError: submitit is not installed, or refuses a parameter.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError("--launcher slurm needs an extra: pip install 'gen_models[slurm]'") from error
    options: dict[str, Any] = {name: int(value) if value.isdigit() else value for name, value in parameters.items()}
    try:
        executor = submitit.AutoExecutor(folder=folder, cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(**options)
        with executor.batch():
            jobs = [executor.submit(Submission(source, one, until)) for one in asked]
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise InputError(f"--launcher slurm: {error}") from error
    folders = {job.job_id: one["folder"] for job, one in zip(jobs, asked, strict=True)}
    for job in submitit.helpers.as_completed(jobs):
        try:
            yield job.result()
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
            yield {"folder": folders[job.job_id], "status": "failed", "message": str(error).strip().splitlines()[0]}


class Submission:
    """A job that is submitted again when it is pre-empted or out of time: the run goes on from its checkpoint."""

    def __init__(self, source: Source, asked: Mapping[str, Any], until: int | None) -> None:
        self.source, self.asked, self.until = source, asked, until

    def __call__(self) -> dict[str, Any]:
        """Train the run."""
        return train_one(self.source, self.asked, self.until)

    def checkpoint(self) -> Any:
        """What submitit submits next."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _paths() -> str:
    """Where this process looks for modules."""
    return os.pathsep.join(dict.fromkeys([os.getcwd(), *(path for path in sys.path if path)]))
