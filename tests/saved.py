"""Run directories that tests of tools read: a state after few steps, and nothing of what takes longer."""

import dataclasses
from pathlib import Path
from typing import Any

from tiny import tiny_config

from gen_models.run.directory import Request, open_run
from gen_models.run.experiments import find
from gen_models.run.job import keys, make_job
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.loop import fit


def saved_run(name: str, variant: str, folder: Path, *, steps: int = 0, **fields: Any) -> Path:
    """A run of tiny sizes after `steps`, without the figures and pictures of a finished one; returns the folder."""
    experiment = find(name)
    config = dataclasses.replace(tiny_config(experiment, variant), **fields)
    job = make_job(experiment, config)
    state = job.initial(config.seed)
    asked = Request(experiment, variant, config, folder)
    with open_run(asked, job.described()) as run, Checkpoints(run.checkpoints) as checkpoints:
        if steps:
            batches, key = job.batches(config.seed), keys(config.seed).data
            state = fit(job.step, state, batches, steps=steps, key=key, numbers=job.numbers(config)).state
        checkpoints.save(steps, state)
    return folder
