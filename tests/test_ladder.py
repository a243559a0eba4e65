"""The tool that compares runs from their directories alone."""

import dataclasses
import json

import pytest
from PIL import Image

from gen_models.measures.figure import Figure
from gen_models.run.directory import Request, open_run
from gen_models.run.experiments import find
from tools.ladder import costs, finished, table

VAE = find("experiments.vae")


def _run(folder, value, measured_on="digits, test", more=(), **changes):
    config = dataclasses.replace(VAE.variants["base"], **changes)
    with open_run(Request(VAE, "base", config, folder)) as run:
        run.finish([Figure("ELBO", value, "nats/image", measured_on, spread=0.5), *more], 1.0)


def test_runs_share_a_row_where_they_differ_in_seeds_and_in_how_they_were_watched(tmp_path):
    _run(tmp_path / "0", -100.0)
    _run(tmp_path / "1", -102.0, seed=1, run_dir=str(tmp_path), log_every=7, checkpoint_every=9, tensorboard=True)
    _run(tmp_path / "2", -50.0, beta=4.0)
    runs = finished(tmp_path)
    assert {row: len(some) for row, some in runs.items()} == {"base (beta=1.0)": 2, "base (beta=4.0)": 1}
    rows = table(runs, "ELBO")
    assert list(rows) == ["base (beta=4.0)", "base (beta=1.0)"]  # the best first
    both = rows["base (beta=1.0)"]["ELBO"]
    assert both.mean == -101.0 and both.spread == pytest.approx(2**0.5)  # over runs
    assert rows["base (beta=4.0)"]["ELBO"].spread == 0.5  # of a lone run: over examples
    with pytest.raises(ValueError, match="no run has the figure 'NLL': known: ELBO, training"):
        table(runs, "NLL")


def test_a_run_of_an_earlier_form_is_refused(tmp_path):
    _run(tmp_path / "0", -100.0)
    path = tmp_path / "0" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"form": 1}))
    with pytest.raises(ValueError, match="a run of another form"):
        finished(tmp_path)


def test_a_figure_is_drawn_against_what_it_cost(tmp_path):
    _run(tmp_path / "0", -100.0, more=[Figure("parameters", 1e5, "", "the network", better=None)])
    _run(tmp_path / "1", -90.0, beta=4.0)  # no parameters: it stands against time alone
    rows = table(finished(tmp_path), "ELBO")
    both = ("parameters", "training")
    assert costs(rows, "ELBO", both, tmp_path / "costs.png") == 2
    assert costs(rows, "ELBO", both[:1], tmp_path / "one.png") == 1
    with Image.open(tmp_path / "costs.png") as image:
        assert image.size[0] > image.size[1] > 300
    with pytest.raises(ValueError, match="no row has both NLL and one of parameters, training"):
        costs(rows, "NLL", both, tmp_path / "none.png")
