"""The estimate of a step's memory: what can be counted is counted, and the rest follows the batch."""

import shutil
import sys
from dataclasses import replace

import pytest

from gen_models.run.config import BAD_INPUT
from gen_models.run.experiments import find
from gen_models.run.job import make_job
from tools import memory


def _estimate(**options):
    sizes = {"hidden": (8,), "latent": 3, **{k: v for k, v in options.items() if k == "batch_size"}}
    vae = find("vae")
    job = make_job(vae, replace(vae.variants["base"], dataset="digits", **sizes))
    return memory.estimate(job, **{k: v for k, v in options.items() if k != "batch_size"})


def test_what_is_counted():
    found = _estimate(batch_size=64)
    weights = 64 * 8 + 8 + 8 * 6 + 6 + 3 * 8 + 8 + 8 * 64 + 64  # of 8x8 images
    assert found["parameters"] == weights
    key_and_steps = 8 + 3 * 4  # the state's own, Adam's and the schedule's
    assert found["state"] == 3 * 4 * weights + key_and_steps  # and two moments
    assert found["all"] == found["state"] + found["data"] + found["temporaries"]
    assert found["temporaries"] > 4 * weights  # the gradients, at least


def test_devices_share_the_batch_and_parameters_where_asked():
    whole, half, cut = (
        _estimate(batch_size=64, **o) for o in ({}, {"devices": 2}, {"devices": 2, "shard_parameters": True})
    )
    assert (whole["batch"], half["batch"]) == (64, 32)
    assert half["temporaries"] < whole["temporaries"]
    assert half["state"] == whole["state"] == 2 * cut["state"]
    with pytest.raises(ValueError, match="3 devices do not divide the batch of 64"):
        _estimate(batch_size=64, devices=3)


def test_temporaries_grow_with_the_batch():
    small, large = (_estimate(batch_size=size)["temporaries"] for size in (128, 512))
    assert 2 < large / small < 8


def test_the_tool_takes_an_experiments_own_words(capsys, monkeypatch):
    monkeypatch.setattr("gen_models.training.startup.start", lambda: None)
    words = ["experiments.vae", "--dataset", "digits", "--hidden", "8", "--latent", "3", "--batch-size", "64"]
    memory.main([*words, "--devices", "4"])
    shown = capsys.readouterr().out
    assert "experiments.vae base" in shown
    assert [row.split()[-2] for row in shown.splitlines() if "examples on a device" in row] == ["16"]


@pytest.mark.slow
def test_the_tool_takes_a_file_of_ones_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gen_models.training.startup.start", lambda: None)
    shutil.copy(find("vae").file, tmp_path / "mine.py")
    memory.main([str(tmp_path / "mine.py"), "iwae", "--dataset", "digits", "--hidden", "8", "--latent", "3"])
    assert "mine iwae" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiments.vae", "bse"], "did you mean 'base'"),
        (["experiments.vae", "--devices", "0"], "--devices must be 1 or more, got 0"),
        (["vea"], "unknown experiment 'vea': did you mean 'vae'"),
        (["absent.py"], "the experiment's file absent.py is not there"),
        (["--devices", "2"], "an experiment comes first"),
    ],
)
def test_bad_words_are_named(words, message, capsys, monkeypatch):
    from gen_models.run import cli

    monkeypatch.setattr(sys, "argv", ["memory", *words])
    with pytest.raises(SystemExit) as ended:
        cli.guard(memory.main)
    assert ended.value.code == BAD_INPUT and message in capsys.readouterr().err
