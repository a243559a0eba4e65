"""A run without what it was made of: its data, its folder, a directory that can be written, its code."""

import dataclasses
import enum
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest
from saved import saved_run
from tool_runs import run_tool

from gen_models.data.report import DataAbsent
from gen_models.data.sources import PATHS
from gen_models.measures.figure import Figure
from gen_models.run import cli, directory, environment, kept_data, paths
from gen_models.run.arguments import parse
from gen_models.run.config import BAD_INPUT, InputError, RunConfig
from gen_models.run.directory import Request, Run, check_run, finished_as_asked, open_run
from gen_models.run.experiments import find
from gen_models.run.fields import from_json, to_json
from gen_models.run.job import make_job
from gen_models.run.restore import load_run
from gen_models.sweep.plan import PlannedRun
from gen_models.sweep.runner import Runner
from gen_models.sweep.worker import Serving
from tools import evaluate, export, ladder, sample

VAE = find("vae")


def _archive(path, seed=0, count=60, size=4):
    """An archive of grey images with three classes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(seed).integers(0, 256, (count, size, size), np.uint8)
    np.savez(path, image=image, label=np.arange(count) % 3)
    return f"npz:{path}"


def _error(capsys):
    """What was said on the error stream, which is one line."""
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1, said
    return said


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run after one step, whose data are no longer there; and the place where they are now."""
    root = tmp_path_factory.mktemp("alone")
    dataset = _archive(root / "server" / "set.npz")
    run = saved_run("vae", "base", root / "run", steps=1, dataset=dataset, batch_size=8)
    expected = load_run(run).state.params
    (root / "server").rename(root / "home")
    return run, root / "home" / "set.npz", expected


@pytest.mark.slow
def test_a_run_is_sampled_and_exported_without_its_data(trained, monkeypatch, tmp_path):
    run, _, expected = trained
    found = load_run(run)
    jax.tree.map(np.testing.assert_array_equal, found.state.params, expected)
    assert (found.job.data.shape, found.job.data.num_classes) == ((4, 4, 1), 3)
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    assert run_tool(sample, monkeypatch, run, "--n", 3, "--out", tmp_path / "s.png") == 0
    assert np.load(tmp_path / "s.npy").shape == (3, 4, 4, 1)
    assert run_tool(export, monkeypatch, run, "--platforms", "cpu", "--out", tmp_path / "s.stablehlo") == 0
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before, "reading wrote something"
    with pytest.raises(
        DataAbsent, match=r"set\.npz.* cannot be read .*--dataset or --data-dir \(dataset= or data_dir="
    ):
        found.job.figures(found.state, jax.random.key(0))


@pytest.mark.slow
def test_where_the_data_are_wanted_their_new_place_can_be_given(trained, monkeypatch, capsys):
    run, now, _ = trained
    assert run_tool(evaluate, monkeypatch, run) == BAD_INPUT
    assert "cannot be read" in _error(capsys)
    for words in (["--dataset", f"npz:{now}"], ["--data-dir", now.parent]):
        assert run_tool(evaluate, monkeypatch, run, *words) == 0
        said = capsys.readouterr()
        assert "ELBO" in said.out and "warning" not in said.err
    assert load_run(run, dataset=f"npz:{now}").job.data.name == f"npz:{now}"
    (now.parent / "others").mkdir()
    others = _archive(now.parent / "others" / "set.npz", seed=1, count=50)
    assert run_tool(evaluate, monkeypatch, run, "--dataset", others) == 0
    said = capsys.readouterr()
    assert "warning: the run was trained on other data than are there now: " in said.err
    assert "on other data than" in " ".join(said.out.split())
    larger = _archive(now.parent / "others" / "larger.npz", size=6)
    assert run_tool(evaluate, monkeypatch, run, "--dataset", larger) == BAD_INPUT
    assert "other data are there now: the shape was 4x4x1 and is 6x6x1" in _error(capsys)


def test_tools_write_here_where_the_runs_directory_cannot_be_written(trained, monkeypatch, tmp_path, capsys):
    run, _, _ = trained
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda *_: False)
    assert run_tool(sample, monkeypatch, run, "--n", 2) == 0
    assert "2 samples: n2_seed0.png and n2_seed0.npy" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n2_seed0.npy", "n2_seed0.png"]
    assert run_tool(sample, monkeypatch, run, "--out", "x.npy") == BAD_INPUT
    assert "x.npy must end in .png" in _error(capsys)


class _Begun:
    """A run of archives in a folder, asked for again and again; nothing is trained."""

    def __init__(self, folder):
        self.folder = folder
        self.config = dataclasses.replace(VAE.variants["base"], batch_size=8, hidden=(4,), latent=2)

    def asked(self, dataset, **fields):
        return Request(VAE, "base", dataclasses.replace(self.config, dataset=dataset, **fields), self.folder / "run")

    def open(self, dataset, **fields):
        asked = self.asked(dataset, **fields)
        with open_run(asked, make_job(VAE, asked.config).described()) as run:
            return run


def test_data_that_moved_are_the_same_runs_and_others_are_not(tmp_path):
    begun = _Begun(tmp_path)
    first, moved = _archive(tmp_path / "a" / "set.npz"), _archive(tmp_path / "b" / "again.npz")
    others = _archive(tmp_path / "c" / "set.npz", seed=1)
    run = begun.open(first)
    assert run.data()["report"]["parts"]["train"]["examples"] == 49 and "x" in run.data()["batch"]
    with pytest.raises(
        ValueError, match=r"another config: dataset is .*a/set.* there and .*c/set.* here, and other data"
    ):
        begun.open(others)
    assert run.config()["config"]["dataset"] == first, "a refused request changed the run"
    assert directory.moved(begun.asked(moved)) and not directory.moved(begun.asked(first))
    begun.open(moved)
    assert run.config()["config"]["dataset"] == moved
    with pytest.raises(ValueError, match="latent is 2 there and 3 here"):  # more than the place is another
        begun.open(first, latent=3)
    run.finish([Figure("ELBO", 1.0, "", "")], 1.0)
    assert finished_as_asked(begun.asked(moved)) is not None
    assert finished_as_asked(begun.asked(first)) is None, "data that moved are to be compared first"
    (run.folder / "data.json").unlink()
    with pytest.raises(ValueError, match="does not know its data"):
        begun.open(first)


@pytest.mark.slow
def test_a_finished_run_whose_data_moved_is_shown(tmp_path, monkeypatch, capsys):
    words = ["--steps", "1", "--batch-size", "8", "--hidden", "4", "--latent", "2", "--importance-samples", "2"]
    words += ["--evaluate-every", "0", "--run-dir", str(tmp_path / "run"), "--dataset"]
    first, moved = _archive(tmp_path / "a" / "set.npz"), _archive(tmp_path / "b" / "set.npz")
    others = _archive(tmp_path / "c" / "set.npz", seed=1)
    assert cli.main(VAE, [*words, first]) == 0
    assert capsys.readouterr().out.startswith(f"{first}: train 49")
    assert cli.main(VAE, [*words, moved]) == 0
    assert "finished before" in capsys.readouterr().out
    assert Run(tmp_path / "run").config()["config"]["dataset"] == moved
    assert cli.main(VAE, [*words, others]) == BAD_INPUT
    assert "other data lie there: " in _error(capsys)


def test_a_sweep_compares_moved_data_before_it_shows_finished_runs(tmp_path):
    begun = _Begun(tmp_path)
    first, moved = _archive(tmp_path / "a" / "set.npz"), _archive(tmp_path / "b" / "set.npz")
    others = _archive(tmp_path / "c" / "set.npz", seed=1)
    begun.open(first).finish([Figure("ELBO", 1.0, "", "")], 1.0)
    serving, asked = Serving(VAE), []

    class Here(Runner):
        """With its worker in this process."""

        def check(self, runs):
            asked.extend(runs)

    def ask(questions):
        return [{"errors": [serving.other_data(one) for one in question["runs"]]} for _, question in questions]

    with Here(VAE, tmp_path / "sweep", "one", 1, print) as runner:
        runner._crew.first, runner._crew.ask = (lambda: [None]), ask
        for dataset in (first, moved):
            run = PlannedRun("base", "base", begun.asked(dataset).config, tmp_path / "run")
            assert runner.train([run])[run.folder].status == "finished"
        assert [run.config.dataset for run in asked] == [moved]
        with pytest.raises(InputError, match="other data lie there"):
            runner.train([run._replace(config=begun.asked(others).config)])


def test_data_that_changed_end_a_resumption_unless_that_is_accepted(tmp_path):
    begun, path = _Begun(tmp_path), tmp_path / "set.npz"
    dataset = _archive(path)
    begun.open(dataset)
    _archive(path, seed=1)
    run = begun.open(dataset)  # nothing was trained on those of before
    (run.checkpoints / "20").mkdir(parents=True)
    kept = run.data()
    _archive(path, seed=2, count=50)
    with pytest.raises(ValueError, match=r"train had 49 examples and has 41.*--changed-data \(changed_data=True"):
        begun.open(dataset)
    assert run.data() == kept
    begun.open(dataset, changed_data=True)
    begun.open(dataset)  # these are its data now
    (remark,) = run.remarks()
    assert remark.startswith("the data changed after step 20: train had 49 examples and has 41")
    run.finish([Figure("ELBO", 1.0, "", "")], 1.0)
    assert directory.read_json(run.folder / "result.json")["data_changed"] == run.data()["changed"]
    assert kept_data.remarks(kept) == []


def test_paths_of_a_request_are_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    words = ["--dataset", "npz:data/set.npz", "--data-dir", "~/data", "--run-dir", "out"]
    config = parse(VAE, "base", words)
    assert (config.dataset, config.data_dir) == (f"npz:{tmp_path}/data/set.npz", "/home/somebody/data")
    assert config.run_dir == str(tmp_path / "out")
    assert paths.with_absolute_paths(config) is not None
    assert parse(VAE, "base", ["--dataset", "tokens:a.txt?length=4"]).dataset == f"tokens:{tmp_path}/a.txt?length=4"
    for name in ("digits", "hf:user/set", "npz:/abs/set.npz"):  # a name of somebody's own is left alone
        assert parse(VAE, "base", ["--dataset", name]).dataset == name
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as where the user is unknown
    assert paths.absolute("~/x") == str(tmp_path / "~" / "x")


def test_a_relative_path_an_absolute_one_and_one_through_a_link_are_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun, dataset = _Begun(tmp_path), _archive(tmp_path / "data" / "set.npz")
    Path("link").symlink_to(tmp_path / "data")
    begun.open("npz:data/set.npz")
    assert Run(tmp_path / "run").config()["config"]["dataset"] == dataset
    for same in (dataset, "npz:data/../data/set.npz", f"npz:{tmp_path}/link/set.npz"):
        assert check_run(begun.asked(same)) is not None and not directory.moved(begun.asked(same))


def test_the_kinds_of_paths_are_those_that_are_read():
    assert set(paths.KINDS) == set(PATHS)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, kw_only=True)
class Own(RunConfig):
    """Fields of types that experiments of one's own have."""

    weights: Path | None = None
    files: tuple[Path, ...] = ()
    colour: Colour = Colour.RED
    rate: float = 0.5


def test_paths_and_members_come_back_as_what_they_were(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = paths.with_absolute_paths(Own(weights=Path("w.npz"), files=(Path("a"), Path("/b")), colour=Colour.BLUE))
    assert config.weights == tmp_path / "w.npz" and config.files == (tmp_path / "a", Path("/b"))
    assert from_json(Own, json.loads(json.dumps(to_json(config)))) == config


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": "many"}, "steps is 'many', and must be int"),
        ({"steps": 2.5}, "steps is 2.5, and must be int"),
        ({"steps": True}, "steps is True, and must be int"),
        ({"rate": None}, "rate is None, and must be float"),
        ({"tensorboard": 1}, "tensorboard is 1, and must be bool"),
        ({"precision": "float8"}, "precision is 'float8', and must be 'float32' or 'bfloat16'"),
        ({"weights": 3}, "weights is 3, and must be Path or none"),
        ({"files": "a"}, "files is 'a', and must be"),
        ({"files": [1]}, r"files is \[1\], and must be"),
        ({"colour": "GREEN"}, "colour is 'GREEN', and must be RED or BLUE"),
        ({"rate": [0.5]}, r"rate is \[0.5\], and must be float"),
    ],
)
def test_a_value_of_another_type_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        from_json(Own, fields)


def _without(name):
    return lambda saved: {key: value for key, value in saved.items() if key != name}


def _with(**fields):
    return lambda saved: saved | {"config": saved["config"] | fields}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("config"), "has no 'config'"),
        (_without("experiment"), "has no 'experiment'"),
        (lambda saved: [saved], "it holds list"),
        (_with(latent="x"), "latent is 'x', and must be int.*environment.json names its commit"),
        (_with(gone=1), r"has the fields \['gone'\].*use the version that made the run"),
    ],
)
def test_a_config_that_was_changed_by_hand_is_said_in_one_line(change, message, tmp_path, monkeypatch, capsys):
    begun = _Begun(tmp_path)
    with open_run(begun.asked("digits")) as run:
        path = run.folder / "config.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert run_tool(sample, monkeypatch, run.folder) == BAD_INPUT
    said = _error(capsys)
    assert str(path) in said
    with pytest.raises(ValueError, match=message):
        check_run(begun.asked("digits"))
    assert re.search(message, said)
    path.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        check_run(begun.asked("digits"))


def test_runs_whose_experiment_is_gone_are_compared_all_the_same(tmp_path):
    for seed, latent in ((0, 2), (1, 2), (0, 3)):
        folder = tmp_path / f"{latent}-{seed}"
        config = dataclasses.replace(VAE.variants["base"], seed=seed, latent=latent, run_dir=str(folder))
        with open_run(Request(VAE, "base", config, folder)) as run:
            run.finish([Figure("ELBO", 1.0, "", "")], 1.0)
        saved = run.config() | {"experiment": "mine", "file": str(tmp_path / "gone.py")}
        directory.write_json(folder / "config.json", saved)
    found = ladder.finished(tmp_path)
    assert {name: len(runs) for name, runs in found.items()} == {"base (latent=2)": 2, "base (latent=3)": 1}


def test_the_commit_is_that_of_a_file_which_git_follows(tmp_path, monkeypatch):
    """A package that is installed in somebody's project is not of that project's commit."""
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))  # as in a hook
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    clean = {"PATH": os.environ["PATH"]}
    (tmp_path / "own.py").write_text("")
    for words in (["init", "-q"], ["add", "own.py"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, env=clean)
    (tmp_path / "installed.py").write_text("")
    assert len(environment.commit_of(tmp_path / "own.py") or "") == 40
    assert environment.commit_of(tmp_path / "installed.py") is None
    monkeypatch.setenv("PATH", "")
    environment.commit_of.cache_clear()
    assert environment.commit_of(tmp_path / "own.py") is None


def test_a_damaged_list_of_starts_is_put_aside(tmp_path):
    begun = _Begun(tmp_path)
    with open_run(begun.asked("digits")) as run:
        (run.folder / "environment.json").write_text("[1")
        environment.record_environment(run)
        (start,) = directory.read_json(run.folder / "environment.json")["starts"]
        assert start["versions"]["jax"] and (run.folder / "environment.damaged.json").read_text() == "[1"


def test_the_command_works_where_folders_are_in_the_way(tmp_path):
    for name in ("tools", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not these')")
    words = [sys.executable, "-m", "gen_models", "sample", "--help"]
    root = str(Path(directory.__file__).parent.parent.parent)
    done = subprocess.run(words, cwd=tmp_path, env={"PYTHONPATH": root}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout and "--dataset" in done.stdout
