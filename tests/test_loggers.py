"""Loggers: each step once, whatever happened to the run; and none of them decides a run's fate."""

import dataclasses
import json
import struct
import sys
import time
import types
from collections import Counter
from pathlib import Path

import pytest

from gen_models.measures.figure import Figure
from gen_models.run import cli, config
from gen_models.run.directory import open_run
from gen_models.run.experiments import find
from gen_models.run.loggers import Loggers, TensorBoard, WeightsAndBiases, chosen

SMALL = find("small", Path(__file__).parent / "stand_in" / "small.py")
WORDS = ["--steps", "8", "--checkpoint-every", "4", "--log-every", "1", "--evaluate-every", "4"]


def train(folder, *words, experiment=SMALL):
    return cli.main(experiment, [*WORDS, "--run-dir", str(folder), *words])


def open_small(folder, **fields):
    """A run's directory, held; the run need not be trained."""
    asked = cli.request(SMALL, "base", ["--run-dir", str(folder)])
    return open_run(asked._replace(config=dataclasses.replace(asked.config, **fields)))


def scalars(folder):
    """(tag, step) -> values, of all event files, read record by record as TensorBoard stores them."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    found: dict = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        data, at = path.read_bytes(), 0
        while at + 12 <= len(data):
            (length,) = struct.unpack("<Q", data[at : at + 8])
            event = proto.Event.FromString(data[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                found.setdefault((value.tag, event.step), []).append(value.simple_value)
    return found


def test_tensorboard_holds_each_row_of_metrics_once_after_a_kill(tmp_path):
    """A process is killed at step 7 of 12, its last checkpoint being that of step 4; another finishes."""
    asked = cli.request(SMALL, "base", ["--run-dir", str(tmp_path)])
    with open_run(asked) as run:
        first = Loggers(run, asked.config, [TensorBoard()])
        first.start()
        for step in range(1, 8):
            first.log(step, step / 10, {"train/loss": float(step), "train/noise": float("nan")})
        first._loggers[0]._board.flush()  # nothing is closed
    with (next((tmp_path / "tensorboard").iterdir())).open("ab") as file:
        file.write(b"\x10\0\0")  # a record that was cut short
    with open_run(asked) as run:
        assert run.rewind(4) == 0.4
        with Loggers(run, asked.config, [TensorBoard()]) as second:
            second.start()
            for step in range(5, 13):
                second.log(step, step / 10, {"train/loss": -float(step)})
        rows = run.history()
    assert [row["step"] for row in rows] == list(range(1, 13))
    found = scalars(tmp_path)
    assert {len(values) for values in found.values()} == {1}
    losses = {step: value for (tag, step), (value,) in found.items() if tag == "train/loss"}
    assert losses == {row["step"]: row["train/loss"] for row in rows}
    assert Counter(tag for tag, _ in found) == {"train/loss": 12, "train/noise": 4}


def test_a_run_that_goes_on_has_the_steps_of_before_tensorboard_was_asked_for(tmp_path):
    assert train(tmp_path) == config.FINISHED
    assert not (tmp_path / "tensorboard").exists()
    assert train(tmp_path, "--steps", "10", "--tensorboard") == config.FINISHED
    found = scalars(tmp_path)
    assert sorted(step for tag, step in found if tag == "train/loss") == list(range(1, 11))
    assert sorted(step for tag, step in found if tag == "validation/distance") == [4, 8, 10]
    assert {len(values) for values in found.values()} == {1}


class Noted:
    """A logger of one's own, which remembers what it is told, and fails where it is asked to."""

    def __init__(self, fails=""):
        self.told, self.fails = [], fails

    def start(self, run, config):
        self._tell("start", run.folder.name, config.seed)

    def log(self, step, seconds, values):
        self._tell("log", step, sorted(values))

    def close(self, status, figures):
        self._tell("close", status, [figure.name for figure in figures])

    def _tell(self, what, *rest):
        if self.fails == what:
            raise RuntimeError(f"no {what}\nand more")
        self.told.append((what, *rest))


def test_a_logger_of_ones_own_is_told_of_rows_and_figures_and_one_that_fails_ends_nothing(tmp_path, capsys):
    own = [Noted(), Noted("start"), Noted("log"), Noted("close")]
    experiment = dataclasses.replace(SMALL, loggers=lambda config: own)
    assert train(tmp_path / "r", experiment=experiment) == config.FINISHED
    good = own[0].told
    assert good[0] == ("start", "r", 0) and good[-1] == ("close", "finished", ["distance"])
    logged = [(step, names) for what, step, names in good[1:-1]]
    train_names = ["train/grad_norm", "train/loss", "train/noise"]
    assert logged == [
        (step, names)
        for step in range(1, 9)
        for names in [train_names, *([["validation/distance"]] if step % 4 == 0 else [])]
    ]
    said = capsys.readouterr().err
    assert said.count("warning: Noted logs no more of") == 3  # each once
    assert "RuntimeError: no log; metrics.jsonl goes on" in said
    assert [len(one.told) for one in own[1:]] == [0, 1, 1 + len(logged)]


def test_a_run_that_diverges_or_fails_says_so_to_its_loggers(tmp_path):
    own = Noted()
    experiment = dataclasses.replace(SMALL, loggers=lambda config: [own])
    words = ["--learning-rate", "1e38", "--clip-norm", "0"]
    assert train(tmp_path / "r", *words, experiment=experiment) == config.DIVERGED
    assert own.told[-1] == ("close", "diverged", [])
    with (
        pytest.raises(RuntimeError),
        open_small(tmp_path / "s") as run,
        Loggers(run, SMALL.variants["base"], [own]) as loggers,
    ):
        loggers.start()
        raise RuntimeError
    assert own.told[-1] == ("close", "failed", [])


class _StandIn(types.ModuleType):
    """`wandb`, as far as it is used, with its rules: known keywords, steps that never fall, nothing after `finish`."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = []

    def Settings(self, *, silent, console, symlink):
        return {"silent": silent, "console": console, "symlink": symlink}

    def init(self, *, project, id, resume, reinit, name, dir, config, settings):
        json.dumps(config)
        assert Path(dir).is_dir() and resume == "allow" and reinit == "create_new" and settings["console"] == "off"
        before = [run for run in self.runs if run.id == id]
        run = _Run(id, name, config, before[-1].step + 1 if before else 0)
        self.runs.append(run)
        return run


class _Run:
    def __init__(self, id, name, config, step):
        self.id, self.name, self.config, self.step = id, name, config, step
        self.rows, self.summary, self.exit_code = {}, {}, None

    def log(self, values, step):
        assert self.exit_code is None and step >= self.step, "wandb leaves such values out"
        self.step = step
        self.rows.setdefault(step, {}).update(values)

    def finish(self, exit_code):
        self.exit_code = exit_code


def test_weights_and_biases_get_config_metrics_and_figures_and_a_resumed_run_keeps_its_id(tmp_path, monkeypatch):
    stand_in = _StandIn()
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    assert train(tmp_path / "r", "--wandb") == config.FINISHED
    assert train(tmp_path / "r", "--wandb", "--steps", "10") == config.FINISHED
    first, second = stand_in.runs
    assert first.id == second.id == json.loads((tmp_path / "r" / "wandb.json").read_text())["id"]
    assert first.name == "small/base/0" and first.config["learning_rate"] == 0.05 and first.config["variant"] == "base"
    assert sorted(first.rows) == list(range(1, 9)) and sorted(second.rows) == [9, 10]
    assert {"seconds", "train/loss", "validation/distance"} <= set(first.rows[8])
    result = json.loads((tmp_path / "r" / "result.json").read_text())["figures"][0]["value"]
    assert second.summary == {"status": "finished", "figures/distance": result}
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_weights_and_biases_offline(tmp_path, monkeypatch):
    """The package itself: what it writes, and that a run with its files goes on."""
    wandb = pytest.importorskip("wandb")
    if not hasattr(wandb, "init"):
        pytest.skip("wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    asked = cli.request(SMALL, "base", ["--run-dir", str(tmp_path)])
    for step in (1, 2):
        with open_run(asked) as run, Loggers(run, asked.config, [WeightsAndBiases()]) as loggers:
            loggers.start()
            loggers.log(step, 1.0, {"train/loss": 0.5})
            assert len(loggers._loggers) == 1
            loggers.ended("finished", [Figure("distance", 1.5, "", "here")])
        assert len(loggers._loggers) == 1
    kept = json.loads((tmp_path / "wandb.json").read_text())["id"]
    files = list((tmp_path / "wandb").glob(f"offline-run-*/run-{kept}.wandb"))
    assert len(files) == 2
    wanted, until = (b"learning_rate", b"train/loss", b"figures/distance"), time.monotonic() + 20
    while not all(word in path.read_bytes() for path in files for word in wanted):  # by a process of its own
        assert time.monotonic() < until, [path.read_bytes() for path in files]
        time.sleep(0.05)


@pytest.mark.parametrize(("option", "module"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_logger_that_is_not_installed_is_said_before_anything_is_made(option, module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, types.ModuleType(module))  # a folder of that name, say
    assert train(tmp_path / "r", f"--{option}") == config.BAD_INPUT
    assert f"--{option} needs an extra: pip install 'gen_models[{option}]'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
    assert chosen(SMALL, SMALL.variants["base"]) == []
