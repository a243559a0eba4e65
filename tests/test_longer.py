"""Runs that are trained for longer than was asked for at first."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from gen_models.run import cli, config
from gen_models.run.directory import Request, existing_run, open_run
from gen_models.run.experiments import find
from gen_models.run.restore import load_run
from gen_models.run.train import other_steps

SMALL = find("small", Path(__file__).parent / "stand_in" / "small.py")


def train(folder, *words):
    return cli.main(SMALL, ["--log-every", "3", *words, "--run-dir", str(folder)])


def leaves(state):
    state = state._replace(key=jax.random.key_data(state.key))
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def same(a, b):
    for x, y in zip(leaves(load_run(a).state), leaves(load_run(b).state), strict=True):
        np.testing.assert_array_equal(x, y)


def figures_of(folder, name="result.json"):
    return [f for f in json.loads((folder / name).read_text())["figures"] if f["unit"] != "s"]


def rows(folder):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in existing_run(folder).history()]


def test_a_finished_run_goes_on_to_more_steps_in_the_bits_of_a_run_that_had_them_from_the_start(tmp_path, capsys):
    assert train(tmp_path / "r", "--steps", "4") == config.FINISHED
    first = {path.name: path.read_bytes() for path in (tmp_path / "r" / "samples").glob("*.png")}
    before = figures_of(tmp_path / "r")
    capsys.readouterr()
    assert train(tmp_path / "r", "--steps", "8", "--checkpoint-every", "2") == config.FINISHED
    said = capsys.readouterr().out
    assert "8 steps where 4 were asked for before: the learning rate is constant, as in a run of 8 steps" in said
    assert train(tmp_path / "whole", "--steps", "8") == config.FINISHED
    same(tmp_path / "r", tmp_path / "whole")
    assert figures_of(tmp_path / "r") == figures_of(tmp_path / "whole") != before
    assert rows(tmp_path / "r") == rows(tmp_path / "whole")
    # Nothing of before is lost: result, pictures and checkpoint.
    assert figures_of(tmp_path / "r", "result_at_4.json") == before
    assert first and {path.name: path.read_bytes() for path in (tmp_path / "r" / "samples/at_4").iterdir()} == first
    assert {path.name for path in (tmp_path / "r" / "checkpoints").iterdir()} == {"4", "6", "8"}
    starts = json.loads((tmp_path / "r" / "environment.json").read_text())["starts"]
    assert [(start["from_step"], start["steps"]) for start in starts] == [(0, 4), (4, 8)]
    # Asked again, it has finished; fewer steps than it has are refused, with a remedy.
    assert train(tmp_path / "r", "--steps", "8") == config.FINISHED
    assert "finished before" in capsys.readouterr().out
    assert train(tmp_path / "r", "--steps", "4") == config.BAD_INPUT
    error = capsys.readouterr().err
    assert "r has 8 steps done, more than --steps 4 (steps=4 in the library): ask for 8 or more" in error
    assert train(tmp_path / "r", "--steps", "9", "--learning-rate", "0.5") == config.BAD_INPUT
    assert "learning_rate" in capsys.readouterr().err


def test_a_run_that_was_killed_goes_on_to_more_steps_or_fewer_but_not_below_those_that_are_done(tmp_path, capsys):
    assert train(tmp_path / "r", "--steps", "4") == config.FINISHED
    (tmp_path / "r" / "result.json").unlink()
    assert train(tmp_path / "r", "--steps", "3") == config.BAD_INPUT
    assert "has 4 steps done" in capsys.readouterr().err
    assert train(tmp_path / "r", "--steps", "6") == config.FINISHED
    assert not list((tmp_path / "r").glob("result_at_*"))


@pytest.mark.parametrize("name", ["cosine", "linear", "exponential"])
def test_the_rate_of_before_and_of_now_are_named(name):
    own = dataclasses.replace(SMALL.variants["base"], steps=80, schedule=name, learning_rate=0.2)
    rates = {"cosine": ("0.1", "0"), "linear": ("0.1", "0"), "exponential": ("0.0632", "0.02")}[name]
    asked = Request(SMALL, "base", own, None)
    assert other_steps(asked, 40, 40) == (
        f"80 steps where 40 were asked for before: from here on the {name} course is that of 80 steps; the learning "
        f"rate at step 40 is {rates[0]} (of 40 steps: {rates[1]})"
    )
    with_own = asked._replace(experiment=dataclasses.replace(SMALL, optimizer=lambda config: None))
    assert other_steps(with_own, 40, 40).endswith("the experiment's own optimizer is that of a run of 80 steps")


def test_a_process_that_is_killed_while_it_puts_a_result_aside_loses_nothing(tmp_path, monkeypatch):
    """Whatever was moved last, the run counts as finished with its old steps or goes on with the new ones."""
    assert train(tmp_path / "r", "--steps", "2") == config.FINISHED
    before = figures_of(tmp_path / "r")
    monkeypatch.setattr("gen_models.run.directory.write_json", _killed)
    with pytest.raises(KeyboardInterrupt):
        _open(tmp_path / "r", 3)
    assert figures_of(tmp_path / "r", "result_at_2.json") == before
    monkeypatch.undo()
    assert train(tmp_path / "r", "--steps", "3") == config.FINISHED
    assert existing_run(tmp_path / "r").earlier_ends() == [2]


def _killed(*_):
    raise KeyboardInterrupt


def _open(folder, steps):
    words = ["--log-every", "3", "--run-dir", str(folder), "--steps", str(steps)]
    with open_run(cli.request(SMALL, "base", words)) as run:
        return run
