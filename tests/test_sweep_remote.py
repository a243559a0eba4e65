"""Sweeps as tasks of a Ray cluster and as jobs of submitit's local executor: the same table as here."""

import csv
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TINY = ["--dataset", "digits", "--batch-size", "16", "--hidden", "16", "--latent", "2", "--importance-samples", "2"]
WORDS = ["sweep", *TINY, "--variants", "base", "--grid", "learning_rate=0.001,0.01", "--seeds", "2"]
WORDS += ["--log-every", "10", "--evaluate-every", "20"]


def _sweep(folder, *words):
    command = [sys.executable, "-m", "experiments.vae", *WORDS, "--run-dir", str(folder), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def _rows(folder):
    with (folder / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds_median"} for row in csv.DictReader(file)]


def _workers_of_ray():
    """Process ids of tasks that train a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"ray::train_one" in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow  # 1 minute: a cluster is started
def test_a_ray_worker_that_is_killed_changes_nothing(tmp_path):
    """Two workers on a local cluster, one of them killed in the middle of a run."""
    pytest.importorskip("ray")
    steps = ["--steps", "3000", "--checkpoint-every", "500"]
    killed = []

    def kill():
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not killed:
            # In the middle: it has saved, and no run has finished.
            if list((tmp_path / "ray").glob("*/*/checkpoints/500")):
                for pid in _workers_of_ray()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill)
    thread.start()
    done = _sweep(tmp_path / "ray", *steps, "--launcher", "ray")
    thread.join()
    assert done.returncode == 0, done.stdout + done.stderr
    assert killed
    here = _sweep(tmp_path / "here", *steps, "--execution", "processes")
    assert here.returncode == 0, here.stdout + here.stderr
    assert _rows(tmp_path / "ray") == _rows(tmp_path / "here")


@pytest.mark.slow
def test_slurm_jobs_make_the_same_table(tmp_path):
    pytest.importorskip("submitit")
    done = _sweep(
        tmp_path / "slurm", "--steps", "40", "--launcher", "slurm", "--slurm", "cluster=local", "timeout_min=5"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    here = _sweep(tmp_path / "here", "--steps", "40", "--execution", "processes")
    assert here.returncode == 0, here.stdout + here.stderr
    slurm, processes = _rows(tmp_path / "slurm"), _rows(tmp_path / "here")
    assert len(slurm) == len(processes) == 8
    for row, other in zip(slurm, processes, strict=True):
        assert row["label"] == other["label"] and row["finished"] == other["finished"] == "2"
        assert float(row["mean"]) == pytest.approx(float(other["mean"]), rel=2e-5)  # two cores there, one here


def test_what_a_launcher_needs_is_said(tmp_path):
    done = _sweep(tmp_path / "s", "--steps", "2", "--launcher", "slurm", "--slurm", "timeout")
    assert done.returncode == 2 and "--slurm takes NAME=VALUE, got 'timeout'" in done.stderr
    assert not (tmp_path / "s").exists()
