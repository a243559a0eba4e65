"""`tools.folds`: means over the folds of a cross-validation, and what does not belong together."""

import json

import numpy as np
from tool_runs import run_tool

from tools import folds as tool


def write(folder, fold, accuracy, variant="mlp", **fields):
    folder.mkdir(parents=True)
    config = {"fold": fold, "folds": 3, "seed": 0, "run_dir": str(folder), **fields}
    (folder / "config.json").write_text(json.dumps({"variant": variant, "config": config}))
    figures = [
        {"name": "accuracy", "value": accuracy, "unit": "fraction"},
        *([{"name": "loss", "value": 1.0, "unit": "nats"}] if fold != 1 else []),
    ]
    (folder / "result.json").write_text(json.dumps({"figures": figures}))


def test_means_over_folds(tmp_path, monkeypatch, capsys):
    shares = [0.9, 0.8, 0.97]
    for fold, share in enumerate(shares):
        write(tmp_path / "a" / str(fold), fold, share)
    for fold in (0, 2):
        write(tmp_path / "b" / str(fold), fold, 0.5, variant="linear")
    write(tmp_path / "c", None, 0.1)  # no part of a cross-validation
    assert run_tool(tool, monkeypatch, tmp_path) == 0
    said = capsys.readouterr().out
    error = np.std(shares, ddof=1) / np.sqrt(3)
    assert f"mlp: 3 of 3 folds\n  accuracy: 0.89 +- {error:.2g} fraction\n" in said
    assert "loss" not in said.partition("mlp")[2].partition("linear")[0]  # one fold lacks it
    assert "linear: 2 of 3 folds; fold 1 lacks\n  accuracy: 0.5 +- 0 fraction" in said
    write(tmp_path / "d", 1, 0.7)
    assert run_tool(tool, monkeypatch, tmp_path) == 2
    assert "another run is of fold 1 with the same config" in capsys.readouterr().err
    assert run_tool(tool, monkeypatch, tmp_path / "c") == 2
    assert "no finished run with a fold" in capsys.readouterr().err
