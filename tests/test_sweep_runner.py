"""A sweep's processes, with workers that pretend to train: who trains what, and what becomes of it. Without JAX."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from gen_models.run.config import FINISHED, InputError
from gen_models.run.experiments import find
from gen_models.sweep import command, pool, sharing
from gen_models.sweep.plan import Row, group_of, planned
from gen_models.sweep.runner import Runner

STAND_IN = Path(__file__).parent / "stand_in"
EXPERIMENT = find("experiment", STAND_IN / "experiment.py")
BASE = EXPERIMENT.variants["base"]


@pytest.fixture(autouse=True)
def _pretending(monkeypatch):
    monkeypatch.setattr(pool, "_interpreter", lambda core: [sys.executable, str(STAND_IN / "worker.py")])
    monkeypatch.setattr(sharing, "POLL_SECONDS", 0.01)


def _runs(folder, fates, seeds=1):
    rows = [Row(fate.replace(" ", "_") or "fine", "base", _with(fate=fate)) for fate in fates]
    return [planned(folder, row, seed) for row in rows for seed in range(seeds)]


def _with(**changes):
    return type(BASE)(**changes)


def _starts(folder):
    """{run: process ids that began it}."""
    return {str(p.relative_to(folder))[:-7]: p.read_text().splitlines() for p in folder.glob("*/*.starts")}


def _sweep(folder, *words):
    return command.sweep(EXPERIMENT, [*words, "--run-dir", str(folder)])


def _table(folder):
    with (folder / "results.csv").open() as file:
        return {row["label"]: row for row in csv.DictReader(file)}


def test_runs_are_trained_once_each_and_a_worker_that_dies_costs_its_run_alone(tmp_path):
    said = []
    runs = _runs(tmp_path, ["", "dies", "dies once", "is held once", "diverges"], seeds=2)
    with Runner(EXPERIMENT, tmp_path, "processes", 2, said.append) as runner:
        endings = runner.train(runs)
    status = {run.label: {endings[r.folder].status for r in runs if r.label == run.label} for run in runs}
    assert status == {
        "fine": {"finished"},
        "dies": {"failed"},
        "dies_once": {"finished"},
        "is_held_once": {"finished"},
        "diverges": {"diverged"},
    }
    begun = {run: len(pids) for run, pids in _starts(tmp_path).items()}
    often = ("dies/", "dies_once/", "is_held_once/")
    assert begun == {run: 2 if run.startswith(often) else 1 for run in begun} and len(begun) == 10
    assert sum("ended with status 9" in line and "another process goes on" in line for line in said) == 6
    assert any("its process ended with status 9, 2 times" in line for line in said)
    assert all(line.endswith("of 10)") for line in said if line.startswith("fine"))
    again = []
    with Runner(EXPERIMENT, tmp_path, "processes", 2, again.append) as runner:  # what failed is tried again
        assert runner.train(runs).keys() == endings.keys()
    assert all(line.startswith(("dies,", "a worker")) for line in again)


def test_a_worker_that_dies_idle_is_replaced(tmp_path):
    first, second = _runs(tmp_path, [""], seeds=2)
    with Runner(EXPERIMENT, tmp_path, "one", None, lambda line: None) as runner:
        runner.train([first])
        worker = runner._crew.pool("wide")[0]
        worker.process.kill()
        worker.process.wait()
        assert runner.train([second])[second.folder].status == "finished"


def test_a_worker_keeps_to_the_group_that_it_has_compiled(tmp_path):
    rows = [Row(f"w{width}", "base", _with(width=width)) for width in (1, 2)]
    runs = [planned(tmp_path, row, seed) for seed in range(6) for row in rows]
    with Runner(EXPERIMENT, tmp_path, "processes", 2, lambda line: None) as runner:
        assert {ending.status for ending in runner.train(runs).values()} == {"finished"}
    starts = _starts(tmp_path)
    by_group = [Counter(starts[f"{row.label}/{seed}"][0] for seed in range(6)) for row in rows]
    # At its end one worker may help the other with what is left.
    assert all(counts.most_common(1)[0][1] >= 4 for counts in by_group), by_group


def test_executions_are_chosen_by_what_was_measured(tmp_path):
    runs = [planned(tmp_path, Row("base", "base", _with(steps=100_000)), seed) for seed in range(8)]
    with Runner(EXPERIMENT, tmp_path, "auto", 2, lambda line: None) as runner:
        choice = runner.estimated(runs)
        assert choice.how == "processes"
        assert choice.seconds == {"processes": 0.002, "one": 0.004, "vmap": 0.002, "scan": 0.003}
        assert runner.compare(runs, ["one"]) == {"processes": 0.002, "one": 0.004}
        assert runner.costs == {group_of(runs[0].config): {"parameters": 5.0}}
    few = [planned(tmp_path, Row("base", "base", _with()), seed) for seed in range(3)]
    with Runner(EXPERIMENT, tmp_path, "auto", 2, lambda line: None) as runner:
        assert runner.estimated(few).note == "not measured: fewer than 4 runs"
    with Runner(EXPERIMENT, tmp_path, "vmap", 2, lambda line: None) as runner:
        runner.train(few)
        assert next(iter(runner.groups.values())).execution == "vmap"


def test_a_sweep_is_a_table_that_grows_and_is_not_repeated(tmp_path, capsys):
    folder = tmp_path / "sweep"
    words = ["--seeds", "2", "--execution", "processes"]
    assert _sweep(folder, *words, "--grid", "width=1,2") == FINISHED
    assert {label: row["mean"] for label, row in _table(folder).items()} == {
        "base,width=1": "1.005",
        "base,width=2": "1.005",
        "good,width=1": "2.01",
        "good,width=2": "2.01",
    }
    assert {row["better"] for row in _table(folder).values()} == {"maximize"}
    assert {row["parameters"] for row in _table(folder).values()} == {"5.0"}
    begun = _starts(folder)
    assert _sweep(folder, *words, "--grid", "width=1,2") == FINISHED and _starts(folder) == begun
    assert _sweep(folder, "--add-seeds", "1") == FINISHED
    assert len(_starts(folder)) == 12 and set(map(len, _starts(folder).values())) == {1}
    assert {row["n"] for row in _table(folder).values()} == {"3"}
    shared = json.loads((folder / "sweep.json").read_text())
    assert shared["complete"] and shared["seeds"] == [0, 1, 2]
    text = (folder / "report.md").read_text()
    assert "good,width=1 is better" in text and "log_every" not in text  # what shapes no result is no setting
    assert "8 of them done before" in capsys.readouterr().out


def test_a_sweep_goes_on_to_more_steps_and_keeps_the_results_of_before(tmp_path, capsys):
    words = ["--variants", "base", "--seeds", "2", "--execution", "processes"]
    assert _sweep(tmp_path, *words, "--steps", "50") == FINISHED
    begun = _starts(tmp_path)
    capsys.readouterr()
    assert _sweep(tmp_path, *words, "--steps", "80", "--dry-run") == FINISHED
    assert "2 runs to train of 2" in capsys.readouterr().out and not list(tmp_path.glob("*/*/result_at_*"))
    assert _sweep(tmp_path, *words, "--steps", "80") == FINISHED
    assert "2 runs go on for longer; results that they have stay there as result_at_STEP.json" in _flat(capsys)
    assert {run: len(pids) for run, pids in _starts(tmp_path).items()} == {run: 2 for run in begun}
    assert len(list(tmp_path.glob("*/*/result_at_50.json"))) == len(list(tmp_path.glob("*/*/result.json"))) == 2
    assert json.loads((tmp_path / "base" / "0" / "config.json").read_text())["config"]["steps"] == 80
    with pytest.raises(InputError, match="has 80 steps done, more than --steps 50"):
        _sweep(tmp_path, *words, "--steps", "50")
    with pytest.raises(InputError, match="was trained for 80 steps, and rows that are judged must all be of as many"):
        _sweep(tmp_path, *words[:4], "--halving", "2", "--steps", "90")
    assert not list(tmp_path.glob("*/*/result_at_80.json"))


def _flat(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_early_stopping_is_not_for_halving_and_leaves_stacking_out(tmp_path):
    words = ["--variants", "base", "--grid", "width=1,2", "--early-stopping", "2"]
    with pytest.raises(InputError, match="leave out --early-stopping"):
        _sweep(tmp_path, *words, "--halving", "2")
    runs = [planned(tmp_path, Row("base", "base", _with(steps=100_000, early_stopping=2)), seed) for seed in range(8)]
    with Runner(EXPERIMENT, tmp_path, "auto", 2, lambda line: None) as runner:
        assert set(runner.estimated(runs).seconds) == {"processes", "one"}


def test_halving_keeps_the_best_by_what_the_workers_say(tmp_path):
    words = ["--variants", "base", "--seeds", "2", "--grid", "good=1,4,2,3", "--base", "base,good=1", "--halving", "2"]
    assert _sweep(tmp_path, *words) == FINISHED
    assert {label: (row["finished"], row["dropped"]) for label, row in _table(tmp_path).items()} == {
        "base,good=1": ("2", "0"),  # the base is kept
        "base,good=2": ("0", "2"),
        "base,good=3": ("0", "2"),
        "base,good=4": ("2", "0"),
    }
    stopped = {n: json.loads((tmp_path / f"base,good={n}" / "0" / "stopped.json").read_text()) for n in (2, 3)}
    assert stopped[2]["message"] == "dropped after 25 of 100 steps: 3 of 4 by validation/x"
    assert stopped[3]["message"] == "dropped after 50 of 100 steps: 2 of 3 by validation/x"


def test_a_row_with_a_run_that_failed_is_not_dropped(tmp_path):
    words = ["--variants", "base", "--seeds", "1", "--grid", "good=1,4", "fate=dies,fine", "--halving", "2"]
    assert _sweep(tmp_path, *words, "--base", "base,good=4,fate=fine") == command.FAILED
    table = _table(tmp_path)
    assert [table[f"base,good={n},fate=dies"]["dropped"] for n in (1, 4)] == ["0", "0"]
    assert table["base,good=1,fate=fine"]["dropped"] == "1"


@pytest.mark.slow_cases("--bayes")
@pytest.mark.parametrize("kind", ["--random", "--bayes"])
def test_a_search_ends_in_a_ranked_table(kind, tmp_path):
    words = ["--execution", "one", "--seeds", "2", kind, "3", "--search", "good=0.5,8", "width=1,4"]
    assert _sweep(tmp_path, *words) == FINISHED
    table = list(_table(tmp_path).items())
    assert table[0][0] == "base" and len(table) == 4
    means = [float(row["mean"]) for _, row in table[1:]]
    assert means == sorted(means, reverse=True)
    words[5] = "4"  # one more; what was trained stays
    assert _sweep(tmp_path, *words) == FINISHED
    assert len(_table(tmp_path)) == 5 and set(map(len, _starts(tmp_path).values())) == {1}


def test_a_dry_run_says_how_long_it_would_take_and_keeps_nothing(tmp_path, capsys):
    assert _sweep(tmp_path / "sweep", "--grid", "width=1,2", "--dry-run", "--execution", "one") == FINISHED
    said = capsys.readouterr().out
    assert "12 runs to train of 12, in 2 groups" in said and "About 5 s of training" in said
    assert not (tmp_path / "sweep").exists()


def test_a_config_that_cannot_be_built_is_said_before_anything_is_kept(tmp_path):
    with pytest.raises(InputError, match="fate: choose another one"):
        _sweep(tmp_path / "sweep", "--grid", "fate=fine,broken")
    assert not (tmp_path / "sweep").exists()


def test_a_budget_of_seconds_is_steps_that_stay(tmp_path):
    words = ["--variants", "base", "--seeds", "1", "--budget", "2", "seconds", "--grid", "width=1,2"]
    assert _sweep(tmp_path, *words) == FINISHED
    kept = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["config"]["steps"] for row in kept["rows"]] == [500, 500]
    kept["rows"][0]["config"]["steps"] = 400  # as a slower machine might have measured
    (tmp_path / "sweep.json").write_text(json.dumps(kept))
    with pytest.raises(InputError, match="has 500 steps done, more than --steps 400"):
        _sweep(tmp_path, *words)
