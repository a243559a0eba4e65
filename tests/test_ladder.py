"""The table over runs: means and spreads of what the runs' own files say, in order."""

import json
import math
import sys

import numpy as np
import pytest
from PIL import Image

from tools import ladder


def _run(folder, variant, nll, seconds, where="here", **config):
    (folder / "samples").mkdir(parents=True)
    about = {"experiment": "experiments.x", "variant": variant, "config": {"seed": int(folder.name), **config}}
    (folder / "config.json").write_text(json.dumps(about))
    figure = {"name": "NLL", "value": nll, "unit": "nats/image", "measured_on": where, "spread": 0.5, "note": "exact"}
    (folder / "result.json").write_text(json.dumps({"figures": [figure], "seconds": seconds}))
    Image.fromarray(np.full((20, 20), 200, np.uint8)).save(folder / "samples" / "samples.png")


def test_rows_are_means_over_seeds_in_order(tmp_path):
    for seed, nll in enumerate((80.0, 82.0, 87.0)):
        _run(tmp_path / "good" / str(seed), "good", nll, 10.0 * seed)
    _run(tmp_path / "bad" / "0", "bad", 100.0, 1.0)
    (tmp_path / "unfinished" / "0").mkdir(parents=True)
    runs = ladder.finished(tmp_path)
    assert {name: len(some) for name, some in runs.items()} == {"good": 3, "bad": 1}
    rows = ladder.table(runs, "NLL")
    assert list(rows) == ["bad", "good"]
    assert rows["good"]["NLL"][:2] == (83.0, pytest.approx(np.std([80, 82, 87], ddof=1)))
    assert rows["bad"]["NLL"] == (100.0, 0.5, "nats/image", "exact", "here")  # of a lone run: over its examples
    assert rows["good"]["training"][0] == 10.0
    with pytest.raises(ValueError, match="no run has the figure 'ELBO': known: NLL, training"):
        ladder.table(runs, "ELBO")


def test_other_configs_are_other_rows_and_other_images_another_table(tmp_path, monkeypatch, capsys):
    _run(tmp_path / "a" / "0", "made", 235.0, 1.0, dataset="fashion", steps=5)
    _run(tmp_path / "a" / "1", "made", 237.0, 1.0, dataset="fashion", steps=5, run_dir="elsewhere")
    _run(tmp_path / "b" / "0", "made", 85.0, 1.0, "there", dataset="mnist", steps=5)
    runs = ladder.finished(tmp_path)
    assert {name: len(some) for name, some in runs.items()} == {"made (dataset=fashion)": 2, "made (dataset=mnist)": 1}
    arguments = ["ladder", str(tmp_path), "--markdown", str(tmp_path / "ladder.md")]
    monkeypatch.setattr(sys, "argv", arguments)
    ladder.main()
    first, second = (tmp_path / "ladder.md").read_text().split("there:")
    assert "236.0 +- 1.4" in first and "85.00 +- 0.50" in second and "85.0" not in first and "made" in second
    assert first.startswith("here:") and "here" in capsys.readouterr().out


def test_pictures_stand_side_by_side(tmp_path):
    _run(tmp_path / "a" / "0", "a", 1.0, 1.0)
    _run(tmp_path / "b" / "0", "b", 2.0, 1.0)
    (tmp_path / "b" / "0" / "samples" / "samples.png").unlink()
    runs = {name: some[0] for name, some in ladder.finished(tmp_path).items()}
    assert ladder.pictures(runs, "samples.png", tmp_path / "all.png") == 1
    with Image.open(tmp_path / "all.png") as picture:
        assert math.isclose(np.asarray(picture.convert("L")).min(), 0, abs_tol=120) and picture.size[0] > 100
    with pytest.raises(ValueError, match=r"no run has samples/none\.png"):
        ladder.pictures(runs, "none.png", tmp_path / "all.png")
