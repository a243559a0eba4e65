"""`tools.evaluate --distances` of a real run, in the features of a real classifier; and words that name networks."""

import json

import numpy as np
import pytest
from saved import saved_run
from tool_runs import run_tool

from gen_models.run import config
from gen_models.run.extractors import extractor_of
from gen_models.run.restore import load_run
from tools import evaluate


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A VAE and a classifier of the bundled digits, untrained."""
    folder = tmp_path_factory.mktemp("runs")
    saved_run("vae", "base", folder / "vae")
    saved_run("classifier", "cnn", folder / "classifier")
    return folder


def test_distances_are_shown_and_saved_with_what_they_are_read_beside(runs, monkeypatch, capsys):
    run, words = runs / "vae", ("--distances", "--features", f"classifier:{runs / 'classifier'}")
    assert run_tool(evaluate, monkeypatch, run, *words, "--samples", 40, "--training", 200) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for word in ("FD classifier", "KD classifier", "memoriser", "noise", "held-out", "authenticity", "recall"):
        assert word in shown
    assert "FID" not in shown and "nception" not in shown
    saved = json.loads((run / "distances_classifier.json").read_text())
    figures = {figure["name"]: figure for figure in saved["figures"]}
    assert saved["step"] == int(load_run(run).state.step) and len(figures) == 40
    assert figures["authenticity by classifier, memoriser"]["value"] == 0
    assert figures["FD classifier, noise"]["value"] > figures["FD classifier, held-out examples"]["value"] >= 0
    assert "40 images of each set, 200 training images" in figures["FD classifier"]["measured_on"]
    assert "of a run on digits; no resizing" in figures["FD classifier"]["note"]
    assert (run / "samples" / "neighbours_classifier.png").stat().st_size > 0
    before = (run / "distances_classifier.json").read_bytes()
    kept = runs / "kept"
    for _ in range(2):
        assert run_tool(evaluate, monkeypatch, run, *words, "--samples", 40, "--training", 200, "--keep", kept) == 0
    assert len(list(kept.iterdir())) == 2  # of training images and of held-out ones
    assert (run / "distances_classifier.json").read_bytes() == before  # the same randomness


def test_a_runs_classifier_is_the_model_that_it_is_evaluated_with(runs):
    extractor = extractor_of(f"classifier:{runs / 'classifier'}")
    found = load_run(runs / "classifier")
    trained, batch = found.job.trained(found.state), found.job.test(None).some(5)
    logits = np.asarray(trained.model.apply(trained.params, trained.stats, batch["x"]))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(extractor(batch["x"]).probabilities, expected, atol=1e-5)
    assert extractor.num_classes == found.job.data.num_classes == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--features", "classifier:x"), "without --distances, leave out --features"),
        (("--distances",), "say of which network"),
        (("--keep", "x"), "without --distances, leave out --keep"),
        (("--distances", "--features", "classifier:x", "--samples", "0"), "--samples must be 1 or more, got 0"),
        (("--distances", "--features", "clasifier:x"), "did you mean 'classifier'?"),
        (("--distances", "--features", "squeezenet"), "say where it is, squeezenet:FILE"),
        (("--distances", "--features", "classifier:VAE"), "is no run of a classifier of images"),
    ],
)
def test_words_that_name_no_network_are_one_line(words, said, runs, monkeypatch, capsys):
    words = [word.replace("VAE", str(runs / "vae")) for word in words]
    assert run_tool(evaluate, monkeypatch, runs / "vae", *words) == config.BAD_INPUT
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1


def test_a_run_without_samples_has_no_distances(runs, monkeypatch, capsys):
    words = ("--distances", "--features", f"classifier:{runs / 'classifier'}")
    assert run_tool(evaluate, monkeypatch, runs / "classifier", *words) == config.BAD_INPUT
    assert "whose model has no samples" in capsys.readouterr().err
