"""Which runs a sweep has, and which of them share a program; without JAX."""

import dataclasses
import gc
import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from gen_models.run.config import TRACED, BinaryImages, Experiment, InputError, Optimisation, Range
from gen_models.run.fields import ranges, traced_fields
from gen_models.sweep import options, plan, search, space
from gen_models.sweep.planning import grid_fields, plan_of
from gen_models.sweep.report.study import RunRecord

ROOT = Path(__file__).parent.parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deep:
    """A network."""

    layers: int = 3
    """Static."""
    dropout: Annotated[float, TRACED, Range(0.0, 0.9)] = 0.1
    """Traced."""
    gated: bool = False
    """Static."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shallow:
    """Another one."""

    width: int = 4
    """Static."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(BinaryImages, Optimisation):
    """Of these tests."""

    beta: Annotated[float, TRACED, Range(0.1, 10.0, log=True)] = 1.0
    """Traced."""
    hidden: tuple[int, ...] = (8,)
    """Static."""
    noise: float = 0.0
    """Static, though a float."""
    flag: bool = False
    """Static."""
    network: Deep | Shallow = Deep()
    """Of these tests."""


VARIANTS = {"base": Config(), "wide": Config(hidden=(16, 16)), "shallow": Config(network=Shallow())}


def _no_part(*_):
    raise AssertionError("planning builds nothing")


EXPERIMENT = Experiment(__file__, "Why?\n\nMore.", VARIANTS, _no_part, _no_part, _no_part, swept=("base", "wide"))


def _plan(*words):
    return plan_of(EXPERIMENT, *options.read(EXPERIMENT, words))


def test_a_grid_is_every_variant_at_every_point_with_every_seed(tmp_path):
    found = _plan("--seeds", "2", "--grid", "beta=0.5,1", "hidden=4 4,8", "--run-dir", str(tmp_path), "--steps", "7")
    assert [row.label for row in found.rows] == [
        f"{variant},beta={beta},hidden={hidden}"
        for variant in ("base", "wide")
        for beta in ("0.5", "1")
        for hidden in ("4+4", "8")
    ]
    runs = found.runs()
    assert len(runs) == 16 and len({one.folder for one in runs}) == 16
    assert {one.config.steps for one in runs} == {7} and found.budget.startswith("7 steps each")
    assert {one.config.hidden for one in runs} == {(4, 4), (8,)}
    assert {one.folder for one in runs} == {tmp_path / one.label / str(one.config.seed) for one in runs}
    # Whole rounds of seeds, so that what is there after an interruption can be compared.
    assert [one.config.seed for one in runs] == [0] * 8 + [1] * 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "betta=1"], "unknown field 'betta': did you mean 'beta'"),
        (["--grid", "beta"], "FIELD=VALUE"),
        (["--grid", "beta=1,,2"], "empty value"),
        (["--grid", "beta=1,1"], "same value twice"),
        (["--grid", "beta=1,1.0"], "twice"),
        (["--grid", "beta=1", "beta=2"], "names beta twice"),
        (["--grid", "seed=1,2"], "unknown field 'seed'"),
        (["--grid", "processes=1,2"], "unknown field 'processes'"),
        (["--processes", "2"], "--processes is for one run over several hosts"),
        (["--grid", "evaluated=1"], "unknown field"),
        (["--grid", "flag=yes"], "flag takes True and False, got 'yes'"),
        (["--grid", "network.layer=2"], "unknown field 'network.layer': did you mean 'network.layers'"),
        (["--grid", "network=2"], "unknown field 'network'"),
        (["--grid", "network.layers=2", "--variants", "base", "shallow"], "shallow has no field network.layers"),
        (["--random", "2", "--grid", "beta=1,2"], "leave out --grid"),
        (["--random", "2", "--variants", "wide", "base"], "give one to --variants"),
        (["--search", "beta"], "belong to --random or --bayes"),
        (["--halving", "2", "--execution", "vmap"], "leave out --execution vmap"),
        (["--halving", "2", "--objective", "validation/x", "up"], "unknown way of --objective 'up'"),
        (["--grid", "steps=1,2", "--budget", "5", "steps"], "leave out --steps"),
        (["--steps", "7", "--budget", "5", "steps"], "leave out --steps"),
        (["--budget", "1__0", "steps"], "got '1__0'"),
        (["--grid", "learning_rate=-1,1"], "base,learning_rate=-1: --learning-rate must not be negative"),
        (["--grid", "learning_rate=nan,1"], "must be finite"),
        (["--variants", "bas"], "unknown variant 'bas': did you mean 'base'"),
        (["--base", "wid"], "did you mean 'wide'"),
        (["--seeds", "0"], "--seeds must be 1 or more, got 0"),
        (["--workers", "0"], "--workers must be 1 or more, got 0"),
        (["--budget", "5", "steeps"], "did you mean 'steps'"),
        (["--budget", "many", "steps"], "whole number of steps above 0, got 'many'"),
        (["--budget", "5", "examples"], "less than one batch"),
        (["--add-seeds", "2"], "holds no sweep"),
        (["--add-seeds", "2", "--steps", "5"], "which says what it is: leave out --steps"),
    ],
)
def test_bad_input_names_the_value_and_the_remedy(words, message, tmp_path):
    with pytest.raises(InputError, match=message):
        _plan("--run-dir", str(tmp_path / "sweep"), *words)
    assert not list(tmp_path.iterdir())


def test_a_grids_mistyped_value_is_refused_by_its_type(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        _plan("--run-dir", str(tmp_path / "sweep"), "--grid", "beta=1,x")
    assert stop.value.code == 2 and "beta" in capsys.readouterr().err


def test_a_grid_of_nested_fields(tmp_path):
    words = ["--grid", "network.layers=2,4", "network.gated=True,False", "--variants", "base", "--steps", "7"]
    rows = _plan(*words, "--network.dropout", "0.5", "--run-dir", str(tmp_path)).rows
    assert [(row.label, row.config.network) for row in rows] == [
        (f"base,network.layers={layers},network.gated={gated}", Deep(layers=layers, gated=gated, dropout=0.5))
        for layers in (2, 4)
        for gated in (True, False)
    ]
    both = _plan("--grid", "network.width=2", "--variants", "shallow", "--run-dir", str(tmp_path)).rows
    assert [row.config.network for row in both] == [Shallow(width=2)]


def test_flags_are_true_and_false(tmp_path):
    rows = _plan("--grid", "flag=True,false", "--variants", "base", "--run-dir", str(tmp_path)).rows
    assert [(row.label, row.config.flag) for row in rows] == [("base,flag=True", True), ("base,flag=False", False)]


def test_budgets_are_equal_in_steps_or_examples(tmp_path):
    by_steps = _plan("--budget", "50", "steps", "--grid", "batch_size=10,100")
    assert {row.config.steps for row in by_steps.rows} == {50}
    assert by_steps.budget == "50 steps each, of batches that differ"
    by_examples = _plan("--budget", "1000", "examples", "--grid", "batch_size=10,100")
    assert [row.config.steps for row in by_examples.rows] == [100, 10, 100, 10]
    assert by_examples.budget == "1,000 examples each"
    assert _plan("--grid", "steps=10,20").budget.startswith("not equal: base,steps=10 10 steps")


def test_runs_that_differ_in_seeds_and_traced_numbers_are_a_group():
    base = Config()
    same = [
        dataclasses.replace(base, seed=3),
        dataclasses.replace(base, beta=4.0, learning_rate=0.5),
        dataclasses.replace(base, run_dir="elsewhere"),
        dataclasses.replace(base, network=Deep(dropout=0.7)),
    ]
    others = [
        dataclasses.replace(base, hidden=(9,)),
        dataclasses.replace(base, noise=0.1),  # not marked
        dataclasses.replace(base, beta=0.0),  # a term that is not computed at all
        dataclasses.replace(base, steps=5),
        dataclasses.replace(base, data_dir="elsewhere"),
        dataclasses.replace(base, log_every=7),  # those of a stack write their metrics together
        dataclasses.replace(base, network=Deep(layers=7)),
        dataclasses.replace(base, network=Deep(dropout=0.0)),
        dataclasses.replace(base, network=Shallow()),
    ]
    assert {plan.group_of(config) for config in same} == {plan.group_of(base)}
    assert len({plan.group_of(config) for config in [base, *others]}) == 1 + len(others)
    assert traced_fields(base) == ("learning_rate", "beta", "network.dropout")
    assert ranges(base)["beta"] == Range(0.1, 10.0, True)


def test_labels_are_names_of_folders_and_short():
    label = plan.label_of("base", {"dataset": "folder:/a/b", "hidden": (4, 5), "beta": 1e-3})
    assert label == "base,dataset=folder__a_b,hidden=4+5,beta=0.001"
    long = [plan.label_of("base", {"dataset": "x" * 300 + end}) for end in "ab"]
    assert all(len(label) <= plan.LABEL_LENGTH for label in long) and long[0] != long[1]


def test_a_plan_is_saved_and_longer_by_seeds(tmp_path):
    first = _plan("--seeds", "2", "--grid", "beta=0.5,1", "--run-dir", str(tmp_path), "--hidden", "4", "4")
    plan.save(first)
    assert plan.saved(tmp_path, Config)._replace(command=first.command) == first
    # While runs are missing it stays as it is; then it grows.
    assert _plan("--add-seeds", "3", "--run-dir", str(tmp_path)).seeds == (0, 1)
    for one in first.runs():
        one.folder.mkdir(parents=True)
        (one.folder / "result.json").write_text("{}")
    assert _plan("--add-seeds", "3", "--run-dir", str(tmp_path)).seeds == (0, 1)  # killed before its report
    plan.save(first, complete=True)
    with pytest.raises(InputError, match="leave out --halving"):
        _plan("--add-seeds", "3", "--run-dir", str(tmp_path), "--halving", "2")
    assert _plan("--add-seeds", "3", "--run-dir", str(tmp_path)).seeds == (0, 1, 2, 3, 4)
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        _plan("--add-seeds", "3", "--run-dir", str(tmp_path))


def test_planning_imports_no_jax():
    code = (
        "import sys\nfrom gen_models.sweep import command, runner, collect, tuning\n"
        "from gen_models.sweep.report import report, table\n"
        "assert not {'jax', 'flax', 'optax', 'optuna', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def _space(words):
    return space.space_of(Config(), words, grid_fields(Config()))


def test_a_search_is_of_ranges_beside_the_fields_or_given():
    assert _space([]) == {
        "learning_rate": Range(1e-4, 1e-1, True),
        "beta": Range(0.1, 10.0, True),
        "network.dropout": Range(0.0, 0.9),
    }
    assert _space(["network.dropout=0,0.5", "network.layers=1,8", "network.gated"]) == {
        "network.dropout": Range(0.0, 0.5, False),
        "network.layers": Range(1, 8, False),
        "network.gated": (False, True),
    }
    assert _space(["beta=0.5,2"]) == {"beta": Range(0.5, 2.0, True)}
    assert _space(["noise=0,1", "precision", "flag"]) == {
        "noise": Range(0.0, 1.0, False),
        "precision": ("float32", "bfloat16"),
        "flag": (False, True),
    }
    assert _space(["batch_size=8,64"]) == {"batch_size": Range(8, 64, False)}
    for words, message in (
        (["betta"], "did you mean 'beta'"),
        (["beta=2,1"], "2.0 must be below 1.0"),
        (["beta=1"], "two numbers"),
        (["noise"], "noise has no range beside it"),
        (["seed=1,2"], "unknown field 'seed'"),
        (["tensorboard"], "unknown field 'tensorboard'"),
        (["precision=float64"], "unknown choice of precision 'float64'"),
    ):
        with pytest.raises(InputError, match=message):
            _space(words)


@pytest.mark.slow_cases("random")
@pytest.mark.parametrize("kind", ["random", "bayes"])
def test_trials_are_kept_drawn_once_and_ranked(kind, tmp_path):
    """A search that goes on after a kill trains what was asked for, and never draws a point again."""
    own = search.Search(kind, 12, _space([]), ("validation/x", "minimize"), None, "base", Config())
    seen = {}
    while rows := search.rows(own, tmp_path, 3):
        assert rows == search.rows(own, tmp_path, 3)  # as another process, or the same one after a kill, sees them
        assert len(rows) == (12 if kind == "random" else 3)
        for row in rows:
            assert 0.1 <= row.config.beta <= 10 and 1e-4 <= row.config.learning_rate <= 1e-1
            assert 0 <= row.config.network.dropout <= 0.9 and row.config.network.layers == 3
            seen[row.label] = row.config
            value = (math.log(row.config.beta)) ** 2
            search.tell(own, tmp_path, row, [value, value] if row.config.beta < 8 else [value, math.nan])
            search.tell(own, tmp_path, row, [-1.0])  # what another process tells later is not heard
    assert len(seen) == 12 and len({config.beta for config in seen.values()}) == 12
    ranked = [abs(math.log(row.config.beta)) for row in search.all_rows(own, tmp_path) if row.config.beta < 8]
    assert ranked == sorted(ranked)
    logs = [math.log(config.learning_rate) for config in seen.values()]
    assert min(logs) < math.log(3e-3) < max(logs)  # drawn evenly in its logarithm
    more = own._replace(trials=14)
    assert len(search.rows(more, tmp_path, 3)) == 2


@pytest.mark.slow_cases("random")
@pytest.mark.parametrize("kind", ["random", "bayes"])
def test_a_search_leaves_no_connection_to_its_database_open(kind, tmp_path):
    """From Python 3.13 on a connection that is collected unclosed warns; the counts show it with any Python."""
    counts = dict.fromkeys(("connect", "close"), 0)

    def counted(name):
        def count(*_):
            counts[name] += 1

        return count

    listeners = {name: counted(name) for name in counts}
    for name, listener in listeners.items():
        event.listen(Pool, name, listener)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            own = search.Search(kind, 2, _space([]), ("validation/x", "minimize"), None, "base", Config())
            for row in search.rows(own, tmp_path, 2):
                search.tell(own, tmp_path, row, [1.0])
            assert len(search.all_rows(own, tmp_path)) == 2
            with pytest.raises(InputError, match="the folder's search is another one"):
                search.rows(own._replace(objective=("validation/y", "minimize")), tmp_path, 2)
            assert counts["connect"] == counts["close"] > 0
            gc.collect()
    finally:
        for name, listener in listeners.items():
            event.remove(Pool, name, listener)


def test_a_trial_is_judged_by_its_newest_value_and_never_by_the_test_split():
    history = [{"step": 1, "validation/x": 3.0}, {"step": 2, "validation/x": "nan"}, {"step": 3, "validation/x": 2.0}]
    record = RunRecord("base,trial=0", 0, "finished", history=history)
    assert search.score(record, ("validation/x", "minimize")) == 2.0
    assert math.isnan(search.score(record._replace(status="diverged"), ("validation/x", "minimize")))
    with pytest.raises(InputError, match="no validation/y to judge it by; it has validation/x"):
        search.score(record, ("validation/y", "minimize"))
