"""A sweep of the command line trains its runs once each, whoever trains them, and ends in a table."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sweep_runs import FEW, GRID, RATES, TINY, VAE, WORDS, found_in, starts_of

from gen_models.run import cli, config
from gen_models.run.directory import existing_run
from gen_models.run.experiments import find

pytest_plugins = ["sweep_fixtures"]
ROOT = Path(__file__).parent.parent


def _sweep(folder, *words, grid=GRID, **options):
    return subprocess.run(
        [sys.executable, "-m", "experiments.vae", *WORDS, *grid, "--run-dir", str(folder), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def _rows(folder):
    with (folder / "results.csv").open() as file:
        return {(row["label"], row["figure"]): row for row in csv.DictReader(file)}


def test_a_sweep_is_a_table_and_grows_by_seeds(alone, tmp_path):
    done = _sweep(tmp_path, "--seeds", "1", grid=FEW)
    assert done.returncode == config.FINISHED, done.stdout + done.stderr
    # Again: nothing is trained. With more seeds: these alone.
    starts = starts_of(tmp_path)
    assert set(starts.values()) == {1} and len(starts) == 2
    again = _sweep(tmp_path, "--seeds", "1", grid=FEW)
    assert again.returncode == config.FINISHED and starts_of(tmp_path) == starts
    words = [sys.executable, "-m", "experiments.vae", "sweep", "--add-seeds", "1", "--run-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    assert {k: v for k, v in starts_of(tmp_path).items() if k in starts} == starts and len(starts_of(tmp_path)) == 4
    table = _rows(tmp_path)
    for rate in (RATES[0], RATES[-1]):
        label = f"base,learning_rate={rate:g}"
        row = table[label, "ELBO"]
        values = [found_in(alone / f"{rate}" / str(seed))[0].get("ELBO") for seed in (0, 1)]
        if rate > 1:
            assert (row["finished"], row["diverged"], row["mean"]) == ("0", "2", "")
        else:
            np.testing.assert_allclose(float(row["mean"]), np.mean(values), rtol=2e-5)
            assert float(row["bootstrap_low"]) <= float(row["mean"]) <= float(row["bootstrap_high"])
            assert int(row["finished"]) == 2 and float(row["parameters"]) > 0 and float(row["flops_per_step"]) > 0
    assert "1e+12" in done.stdout and "2 diverged" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert "processes" in page and "<img" in page and (tmp_path / "report.md").exists()
    assert not re.search(r'(src|href)="(?!data:|#)', page)  # all of it is in the file


@pytest.mark.slow
def test_two_processes_share_the_work_and_a_killed_worker_is_replaced(tmp_path):
    words = [sys.executable, "-m", "experiments.vae", *WORDS, *GRID, "--run-dir", str(tmp_path), "--seeds", "3"]
    words += ["--execution", "one"]
    with (
        subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as first,
        subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as second,
    ):
        while not list(tmp_path.glob("*/*/result.json")):
            time.sleep(0.05)
            assert first.poll() is None or second.poll() is None
        killed = _children(first.pid)[0]
        os.kill(killed, signal.SIGKILL)
        said = [process.communicate()[0] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert len(list(tmp_path.glob("*/*/result.json"))) == 6 and len(list(tmp_path.glob("*/*/stopped.json"))) == 3
    starts = starts_of(tmp_path)
    assert len(starts) == 9 and sum(starts.values()) <= 10  # the run that the killed worker held may have two
    # Each run is told as its own by one of them alone; one whose worker was killed before it could tell, by none.
    own = [re.findall(r"^(\S+, seed \d+): (?:finished|diverged)(?!.*by another process)", text, re.M) for text in said]
    assert len({*own[0], *own[1]}) == len(own[0] + own[1]) >= 8, said
    assert any("by another process" in text or "done before" in text for text in said)
    assert "ended with status -9" in said[0]


def _children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _killed_and_resumed(folder, kills, words):
    rng, count = np.random.default_rng(0), 0
    while True:
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            if count < kills:
                before = len(list(folder.glob("*/*/result.json")))
                while process.poll() is None and len(list(folder.glob("*/*/result.json"))) <= before:
                    time.sleep(0.02)
                time.sleep(rng.uniform(0, 1))
                count += 1
                process.kill()
                process.communicate()
            else:
                said = process.communicate()[0]
                return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "rates", "kills"), [(2, "0.001,0.01", 2), (25, "0.001,0.003,0.01,1e12", 10)])
def test_a_sweep_that_is_killed_ends_in_the_same_table(seeds, rates, kills, tmp_path):
    words = [sys.executable, "-m", "experiments.vae", *WORDS, "--variants", "base", "--grid", f"learning_rate={rates}"]
    words += ["--seeds", str(seeds), "--execution", "processes"]
    status, said = _killed_and_resumed(tmp_path / "killed", kills, [*words, "--run-dir", str(tmp_path / "killed")])
    assert status == 0, said
    subprocess.run([*words, "--run-dir", str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    killed, whole = _rows(tmp_path / "killed"), _rows(tmp_path / "whole")
    count = seeds * len(rates.split(","))
    assert len(list((tmp_path / "killed").glob("*/*/config.json"))) == count
    starts = starts_of(tmp_path / "killed")  # a kill cuts short what two workers were at, and nothing else starts again
    assert len(starts) == count and sum(starts.values()) <= count + 2 * kills
    for key, row in whole.items():
        for name, value in row.items():
            if name != "seconds_median":
                assert killed[key][name] == value, (key, name)


@pytest.mark.slow
def test_an_interrupted_sweep_says_so_and_leaves_no_process(tmp_path):
    words = [sys.executable, "-m", "experiments.vae", *WORDS, *GRID, "--steps", "1000000", "--run-dir", str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while len(list(tmp_path.glob("*/*/metrics.jsonl"))) < 2:
            time.sleep(0.05)
            assert process.poll() is None
        workers = _children(process.pid)
        process.terminate()
        said = process.communicate()[0]
    assert process.returncode == config.INTERRUPTED and "the same command goes on" in said
    assert workers and not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert list(tmp_path.glob("*/*/checkpoints/*"))


@pytest.mark.slow
def test_a_wrong_config_is_said_before_anything_is_kept(tmp_path, capsys):
    words = ["sweep", *TINY, "--grid", "beta=1,-2", "--run-dir", str(tmp_path / "sweep")]
    assert cli.main(VAE, words) == config.BAD_INPUT
    assert "beta must not be negative, infinite or NaN, got -2" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()
    quadratic = find("experiments.ablations.momentum_quadratic")  # its measure reads the learning rate
    words = ["sweep", "--execution", "vmap", "--run-dir", str(tmp_path / "sweep")]
    assert cli.main(quadratic, words) == config.BAD_INPUT
    assert "cannot be stacked" in capsys.readouterr().err


@pytest.mark.slow
def test_a_dry_run_estimates_and_keeps_nothing(tmp_path, capsys):
    words = [*WORDS, "--variants", "base", "iwae", "--grid", "learning_rate=0.001,0.01", "--dry-run"]
    assert cli.main(VAE, [*words, "--run-dir", str(tmp_path / "sweep")]) == config.FINISHED
    said = capsys.readouterr().out
    assert "12 runs to train of 12, in 2 groups" in said
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_halving_drops_the_worst_and_keeps_the_base(tmp_path, capsys):
    words = ["sweep", *TINY, "--steps", "80", "--variants", "base", "--seeds", "1", "--run-dir", str(tmp_path)]
    words += ["--grid", "learning_rate=1e-5,1e-4,1e-2,1e12", "--halving", "2", "--execution", "one"]
    assert cli.main(VAE, words) == config.FINISHED
    status = {label: row["finished"] + row["dropped"] + row["diverged"] for (label, _), row in _rows(tmp_path).items()}
    names = [f"base,learning_rate={rate}" for rate in ("1e-05", "0.0001", "0.01", "1e+12")]
    assert [status[name] for name in names] == ["100", "010", "100", "001"]
    dropped = existing_run(tmp_path / names[1] / "0")
    assert dropped.stopped() == {
        "status": "dropped",
        "step": 40,
        "message": "dropped after 40 of 80 steps: 2 of 3 by validation/elbo",
    }
    assert max(row["step"] for row in dropped.history()) == 40
    assert "1 dropped" in capsys.readouterr().out


@pytest.mark.slow
def test_a_budget_of_seconds_is_steps_that_an_interruption_does_not_change(tmp_path, capsys):
    words = ["sweep", *TINY, "--variants", "base", "--seeds", "1", "--run-dir", str(tmp_path)]
    words += ["--grid", "batch_size=8,64", "--budget", "1", "seconds", "--execution", "one"]
    for _ in range(2):
        assert cli.main(VAE, words) == config.FINISHED
    steps = {
        path.parent.parent.name: json.loads(path.read_text())["config"]["steps"]
        for path in tmp_path.glob("*/*/config.json")
    }
    assert steps["base,batch_size=8"] > steps["base,batch_size=64"] > 1
    said = capsys.readouterr().out
    assert "2 of them done before" in said and f"base,batch_size=8 {steps['base,batch_size=8']:,}" in said


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["--random", "--bayes"])
def test_a_search_goes_on_and_ends_in_a_ranked_table(kind, tmp_path, capsys):
    words = ["sweep", *TINY, "--steps", "40", "--evaluate-every", "20", "--seeds", "1", "--execution", "one"]
    words += [kind, "4", "--search", "learning_rate=1e-4,1e-1", "latent=1,4", "--run-dir", str(tmp_path)]
    assert cli.main(VAE, words) == config.FINISHED
    starts = starts_of(tmp_path)
    assert len(starts) == 5 and set(starts.values()) == {1}
    words[words.index("4")] = "5"  # one more; what was trained stays
    assert cli.main(VAE, words) == config.FINISHED
    assert len(starts_of(tmp_path)) == 6 and set(starts_of(tmp_path).values()) == {1}
    values = []
    for label in [label for label, figure in _rows(tmp_path) if figure == "ELBO"]:
        history = existing_run(tmp_path / label / "0").history()
        values.append([row["validation/elbo"] for row in history if "validation/elbo" in row][-1])
    assert len(values) == 6 and values[1:] == sorted(values[1:], reverse=True)  # the base comes first
