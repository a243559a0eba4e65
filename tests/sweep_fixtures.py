"""The runs of `sweep_runs`, each trained by itself: a fixture that the tests of sweeps name as a plug-in."""

import pytest
from sweep_runs import VAE, asked, small_config

from gen_models.run import config
from gen_models.run.job import make_job
from gen_models.run.train import run_job


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Each run by itself, all of them by one program."""
    folder, job = tmp_path_factory.mktemp("alone"), make_job(VAE, small_config())
    for one in asked(folder):
        status, _ = run_job(job, one)
        assert status == (config.DIVERGED if one.config.learning_rate == 1e12 else config.FINISHED)
    return folder
