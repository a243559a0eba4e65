"""An experiment of somebody's own project: its runs are trained, swept and loaded from anywhere."""

import subprocess
import sys

import jax
import numpy as np
import pytest
from tool_runs import run_tool

from gen_models.run import config
from gen_models.run.restore import load_run
from tools import evaluate, sample

MY_VAE = '''"""Is a VAE of one's own trained as ours are?"""
from dataclasses import dataclass

import noise  # beside this file

import gen_models as gm


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    latent: int = 2


def data(config):
    return gm.Splits.of_arrays(noise.images(64), noise.images(32), name="noise", examples="images")


def model(config, data):
    return gm.vae(data.shape, latent=config.latent, hidden=(8,))


def measures(config):
    return (gm.measures.Elbo(), gm.measures.Samples(count=4))


EXPERIMENT = gm.Experiment(__file__, __doc__, {"base": Config(steps=4, batch_size=8)}, data, model, measures)
if __name__ == "__main__":
    gm.launch(EXPERIMENT)
'''
NOISE = """import numpy as np


def images(count):
    return {"x": (np.random.default_rng(count).random((count, 4, 4, 1)) < 0.3).astype(np.float32)}
"""


@pytest.fixture
def project(tmp_path):
    """Somebody's own project, which has a folder called experiments too."""
    folder = tmp_path / "project"
    (folder / "experiments").mkdir(parents=True)
    (folder / "experiments" / "__init__.py").write_text("raise ImportError('not these')")
    (folder / "my_vae.py").write_text(MY_VAE)
    (folder / "noise.py").write_text(NOISE)
    return folder


def _python(folder, *words):
    return subprocess.run([sys.executable, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_run_of_an_experiment_of_ones_own_is_loaded_from_anywhere(project, tmp_path, monkeypatch, capsys):
    done = _python(project, "my_vae.py")
    assert done.returncode == config.FINISHED, done.stderr
    run = project / "runs" / "my_vae" / "base" / "0"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which the project's folder is added
    assert run_tool(sample, monkeypatch, run, "--n", 3) == 0
    x = np.load(run / "samples" / "n3_seed0.npy", allow_pickle=False)
    _, own, job, state = load_run(run)
    assert (own.latent, int(state.step), job.experiment.name) == (2, 4, "my_vae")
    expected = job.model.sample(state.params, state.stats, jax.random.key(0), 3)
    np.testing.assert_allclose(x, expected, rtol=1e-5)

    # The project moves: its runs say so, and what they need.
    project.rename(tmp_path / "moved")
    monkeypatch.delitem(sys.modules, "my_vae")
    run, file = (tmp_path / "moved" / path for path in ("runs/my_vae/base/0", "my_vae.py"))
    capsys.readouterr()
    assert run_tool(sample, monkeypatch, run, "--n", 3) == config.BAD_INPUT
    error = capsys.readouterr().err
    assert "project/my_vae.py is not there: give its present path as --experiment FILE" in error
    assert len(error.strip().splitlines()) == 1
    assert run_tool(sample, monkeypatch, run, "--n", 3, "--seed", 1, "--experiment", file) == 0
    assert run_tool(evaluate, monkeypatch, run, "--experiment", file) == 0
    assert "ELBO" in capsys.readouterr().out


@pytest.mark.slow  # 10 s
def test_an_experiment_of_ones_own_is_swept(project, tmp_path):
    done = _python(project, "my_vae.py", "sweep", "--seeds", "2")
    assert done.returncode == config.FINISHED, done.stdout + done.stderr
    folder = project / "runs" / "my_vae"
    assert "python my_vae.py sweep --seeds 2" in (folder / "report.md").read_text()
    elbos = [load_run(folder / "base" / str(seed)).run.result()[0] for seed in range(2)]
    assert elbos[0].name == "ELBO" and elbos[0].value != elbos[1].value
