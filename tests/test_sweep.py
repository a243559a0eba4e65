"""A sweep's runs are trained once each, whoever trains them, and are those that each would be alone."""

import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny import tiny_config

from gen_models.run import cli, config
from gen_models.run.directory import Request, existing_run
from gen_models.run.experiments import find, names
from gen_models.run.fields import traced_fields, value_of, with_values
from gen_models.run.job import keys, make_job
from gen_models.run.train import EndedBefore, run_job
from gen_models.sweep.choice import Choice
from gen_models.sweep.group import run_group
from gen_models.sweep.measure import bytes_per_member, cost, seconds_per_step
from gen_models.sweep.plan import Row, group_of, planned
from gen_models.sweep.report.study import Group
from gen_models.sweep.runner import Runner


def _words(value):
    return [str(one) for one in value] if isinstance(value, tuple) else [str(value)]


ROOT = Path(__file__).parent.parent
VAE = find("experiments.vae")
RATES = (1e-3, 1e-2, 1e12)  # the last one diverges
TINY = [word for name, value in VAE.tiny.items() for word in (f"--{name.replace('_', '-')}", *_words(value))]
WORDS = ["sweep", *TINY, "--steps", "40", "--evaluate-every", "20", "--log-every", "10"]
GRID = ["--variants", "base", "--grid", "learning_rate=0.001,0.01,1e12"]
FEW = ["--variants", "base", "--grid", "learning_rate=0.001,1e12"]


def _config(**changes):
    often = {"steps": 40, "log_every": 10, "evaluate_every": 20, "checkpoint_every": 20}
    return dataclasses.replace(tiny_config(VAE, "base"), **(often | changes))


def _asked(folder, **changes):
    members = [(rate, seed) for rate in RATES for seed in (0, 1)]
    return [
        Request(VAE, "base", _config(learning_rate=rate, seed=seed, **changes), folder / f"{rate}" / f"{seed}")
        for rate, seed in members
    ]


def _found(folder):
    """What a run's directory says, without times."""
    run = existing_run(folder)
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in run.history()]
    figures = run.result()
    return {f.name: f.value for f in figures or []}, history, run.stopped()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Each run by itself, all of them by one program."""
    folder, job = tmp_path_factory.mktemp("alone"), make_job(VAE, _config())
    for one in _asked(folder):
        status, _ = run_job(job, one)
        assert status == (config.DIVERGED if one.config.learning_rate == 1e12 else config.FINISHED)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", ["vmap", "scan"])
def test_a_stacked_run_is_what_it_is_alone(how, alone, tmp_path):
    """Figures, curves and checkpoints; on two devices; and a member that diverges disturbs no other."""
    job = make_job(VAE, _config())
    watched = [one._replace(config=dataclasses.replace(one.config, tensorboard=True)) for one in _asked(tmp_path)]
    ended = list(run_group(job, watched, how))
    assert sorted(e.status for e in ended) == ["diverged"] * 2 + ["finished"] * 4
    assert all(list((one.folder / "tensorboard").glob("events.*")) for one in watched)
    for one in _asked(tmp_path):
        where = one.folder.relative_to(tmp_path)
        figures, history, stopped = _found(one.folder)
        expected, before, diverged = _found(alone / where)
        assert set(figures) == set(expected) and [r["step"] for r in history] == [r["step"] for r in before]
        for row, other in zip(history, before, strict=True):
            assert set(row) == set(other)
            np.testing.assert_allclose([row[k] for k in row], [other[k] for k in row], rtol=2e-5, atol=1e-6)
        np.testing.assert_allclose([figures[k] for k in figures], [expected[k] for k in figures], rtol=2e-5)
        assert stopped == diverged and (stopped is None) == (one.config.learning_rate < 1)
        if stopped is None:
            assert (one.folder / "samples" / "samples.png").exists() and (one.folder / "curves.png").exists()
    # A parent that looked before they ended, as another process's: none begins again.
    starts, alike = _starts(tmp_path), list(run_group(job, _asked(tmp_path), how))
    assert {(e.folder, e.status) for e in alike} == {(e.folder, e.status) for e in ended}
    assert {e.message for e in alike} == {"by another process"}
    for number, one in enumerate(_asked(tmp_path)):
        if number == 0:  # as successive halving leaves it
            (one.folder / "result.json").unlink()
            existing_run(one.folder).stop("dropped", 20, "dropped after 20 steps")
        with pytest.raises(EndedBefore) as before:
            run_job(job, one, again=False)
        assert before.value.status == ("dropped", "finished", "diverged")[min(number, 1) + (number > 3)]
    assert _starts(tmp_path) == starts == dict.fromkeys(starts, 1)


@pytest.mark.slow
def test_a_run_goes_on_alone_from_where_a_stack_left_it(alone, tmp_path):
    """Killed after 20 steps in a stack, finished alone and the other way round: the same figures."""
    half, job = _asked(tmp_path)[:4], make_job(VAE, _config())
    status, _ = run_job(job, half[0], until=20)
    assert status == config.PAUSED
    for one in half[1:3]:
        run_job(job, one, until=20)
    list(run_group(job, [half[0], half[1], half[3]], "vmap"))  # two of them begun, one not
    assert run_job(job, half[2])[0] == config.FINISHED
    for one in half:
        figures, history, _ = _found(one.folder)
        expected, before, _ = _found(alone / one.folder.relative_to(tmp_path))
        np.testing.assert_allclose([figures[k] for k in expected], list(expected.values()), rtol=2e-5)
        assert [row["step"] for row in history] == [row["step"] for row in before]


def test_other_numbers_and_seeds_trace_nothing_again(tmp_path):
    own, traced = _config(), []

    def model(config, data):
        traced.append(isinstance(config.beta, jax.core.Tracer))
        return VAE.model(config, data)

    counted = dataclasses.replace(VAE, model=model)
    job = make_job(counted, own)
    for number, changes in enumerate(({}, {"learning_rate": 0.1}, {"beta": 4.0}, {"beta": 0.5, "seed": 3})):
        other = dataclasses.replace(own, **changes)
        assert job.serves(other)
        run_job(job, Request(counted, "base", other, tmp_path / str(number)))
    assert traced == [False, True]
    losses = [next(r for r in _found(tmp_path / str(n))[1] if "train/loss" in r)["train/loss"] for n in range(4)]
    assert len(set(losses)) == 4  # and yet the numbers took effect
    without = make_job(VAE, dataclasses.replace(own, beta=0.0))
    assert "beta" not in without.names and not without.serves(own)  # its program has no such term


def _differing(own):
    """The config with other traced numbers."""
    return with_values(own, {name: value_of(own, name) * 0.75 for name in traced_fields(own)})


def _slow_if_alike(name):
    """Experiments that train another one's model say nothing new of a job."""
    experiment = find(f"experiments.{name}")
    own = Path(experiment.model.__code__.co_filename) == Path(experiment.file)
    return name if own else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.slow  # `test_job.py` holds every experiment to the same with fewer steps
@pytest.mark.parametrize("name", [_slow_if_alike(name) for name in names()])
def test_a_job_serves_other_seeds_and_numbers(name):
    """What sharing a job rests on: evaluation reads no traced number; a seed changes the order of the data alone."""
    experiment = find(f"experiments.{name}")
    own = dataclasses.replace(tiny_config(experiment, next(iter(experiment.variants))), seed=0)
    job = make_job(experiment, own)
    differing = dataclasses.replace(_differing(own) if job.names else own, seed=1)
    other = make_job(experiment, differing)
    assert job.serves(differing)
    again, theirs = job.batches(1), other.batches(1)
    for a, b in zip(jax.tree.leaves(theirs.rows(5, 3)), jax.tree.leaves(again.rows(5, 3)), strict=True):
        np.testing.assert_array_equal(a, b)
    row, key = jax.tree.map(lambda x: x[0], again.rows(5, 1)), jax.random.key(0)
    made = [b.make(b.data, row, key) for b in (again, theirs)]
    jax.tree.map(np.testing.assert_array_equal, *made)
    state = job.initial(0)
    figures = [{f.name: f.value for f in of.figures(state, key) if f.name != "sampling"} for of in (job, other)]
    assert figures[0] == figures[1]
    assert job.evaluate(state, keys(0).evaluation) == other.evaluate(state, keys(0).evaluation)


@pytest.mark.slow
def test_costs_are_those_of_a_step():
    job = make_job(VAE, _config())
    found = cost(job)
    state = job.initial(0)
    assert found["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(state.params))
    # The products of a step: forwards once, backwards for the weights and (but for the first layer) the inputs.
    kernels = [leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim == 2]
    products = 2 * 16 * sum(3 * kernel.size for kernel in kernels)
    first = 2 * 16 * 64 * 16
    assert products - first <= found["FLOPs per step"] < 2 * products
    size = sum(leaf.nbytes for leaf in jax.tree.leaves((state.params, state.opt_state)))
    assert bytes_per_member(job) >= 2 * size
    for how in ("one", "plain", "vmap"):
        assert 0 < seconds_per_step(job, job.config, how, 4, 0.05) < 1


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


def _starts(folder):
    return {
        path.parent.relative_to(folder): len(json.loads(path.read_text())["starts"])
        for path in folder.glob("*/*/environment.json")
    }


def test_a_sweep_is_a_table_and_grows_by_seeds(alone, tmp_path):
    done = _sweep(tmp_path, "--seeds", "1", grid=FEW)
    assert done.returncode == config.FINISHED, done.stdout + done.stderr
    # Again: nothing is trained. With more seeds: these alone.
    starts = _starts(tmp_path)
    assert set(starts.values()) == {1} and len(starts) == 2
    again = _sweep(tmp_path, "--seeds", "1", grid=FEW)
    assert again.returncode == config.FINISHED and _starts(tmp_path) == starts
    words = [sys.executable, "-m", "experiments.vae", "sweep", "--add-seeds", "1", "--run-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True)
    assert {k: v for k, v in _starts(tmp_path).items() if k in starts} == starts and len(_starts(tmp_path)) == 4
    table = _rows(tmp_path)
    for rate in (RATES[0], RATES[-1]):
        label = f"base,learning_rate={rate:g}"
        row = table[label, "ELBO"]
        values = [_found(alone / f"{rate}" / str(seed))[0].get("ELBO") for seed in (0, 1)]
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
    starts = _starts(tmp_path)
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
    starts = _starts(tmp_path / "killed")  # a kill cuts short what two workers were at, and nothing else starts again
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
    starts = _starts(tmp_path)
    assert len(starts) == 5 and set(starts.values()) == {1}
    words[words.index("4")] = "5"  # one more; what was trained stays
    assert cli.main(VAE, words) == config.FINISHED
    assert len(_starts(tmp_path)) == 6 and set(_starts(tmp_path).values()) == {1}
    values = []
    for label in [label for label, figure in _rows(tmp_path) if figure == "ELBO"]:
        history = existing_run(tmp_path / label / "0").history()
        values.append([row["validation/elbo"] for row in history if "validation/elbo" in row][-1])
    assert len(values) == 6 and values[1:] == sorted(values[1:], reverse=True)  # the base comes first


def test_a_group_that_does_not_fit_is_split(tmp_path, monkeypatch):
    """By what one more member takes, and 0.8 of what there is."""
    members = [planned(tmp_path, Row("base", "base", _config()), seed) for seed in range(10)]
    sweep = Runner(VAE, tmp_path, "vmap", None, print)
    group = group_of(members[0].config)
    sweep.choices[group] = Choice("vmap", {}, "as asked")
    sweep.groups[group] = Group(("base",), 10, "vmap", {}, "as asked")
    monkeypatch.setattr(sweep._crew, "pool", lambda kind: [None])
    for available, sizes in ((10**6, [10]), (1250, [10]), (1249, [5, 5]), (500, [4, 4, 2]), (10, [1] * 10)):
        monkeypatch.setattr(sweep._crew, "ask", lambda questions, a=available: [{"member": 100, "available": a}])
        assert [len(task.runs) for task in sweep._stacks(group, members)] == sizes
    assert "10 stacks" in sweep.groups[group].note
