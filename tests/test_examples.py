"""The experiments in `examples/` run from a folder outside of the checkout, and can be loaded from anywhere."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gen_models.run.job import keys
from gen_models.run.restore import load_run

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains_outside_of_the_checkout(example, tmp_path):
    """Beside a folder that is called as ours, by the command that its docstring has."""
    assert len(example.read_text().splitlines()) <= 60
    file = tmp_path / example.name
    shutil.copy(example, file)
    (tmp_path / "experiments").mkdir()
    words = ["--steps", "6", "--batch-size", "16", "--evaluate-every", "3", "--log-every", "2"]
    done = subprocess.run(
        [sys.executable, file.name, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / example.stem / "base" / "0"
    figures = json.loads((folder / "result.json").read_text())["figures"]
    assert all(np.isfinite(float(figure["value"])) for figure in figures)
    _, config, job, state = load_run(folder)
    assert job.experiment.name == example.stem and config.steps == int(state.step) == 6
    again = {figure.name: figure.value for figure in job.figures(state, keys(config.seed).figures)}
    assert again == pytest.approx({figure["name"]: figure["value"] for figure in figures}, rel=1e-5)
