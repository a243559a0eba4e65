"""The Pythons that the package names are those that its continuous integration tries, with the README's own command."""

import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
NAMED = "Programming Language :: Python :: 3."


def _project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _workflow():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())


def test_every_python_that_is_named_is_tried():
    named = [f"3.{c.removeprefix(NAMED)}" for c in _project()["classifiers"] if c.startswith(NAMED)]
    suite = _workflow()["jobs"]["suite"]
    assert suite["strategy"]["matrix"]["python"] == named
    assert _project()["requires-python"] == f">={named[0]}"
    assert suite["steps"][-1]["run"] == "bash .ci/run"


def test_workflows_run_commands_that_there_are():
    extras = _project()["optional-dependencies"]
    runs = [step["run"] for job in _workflow()["jobs"].values() for step in job["steps"] if "run" in step]
    assert (ROOT / ".ci" / "run").is_file()
    for run in runs:
        for extra in run.partition("'.[")[2].partition("]")[0].split(",") if "'.[" in run else ():
            assert extra in extras, run
