"""`tools.compare`, and the classifier that `--features classifier` trains by itself, of real runs at tiny sizes."""

import fcntl
import json

import numpy as np
import pytest
from saved import saved_run
from tool_runs import run_tool

from gen_models.measures.figure import Figure
from gen_models.run import config, own_classifier
from gen_models.run.directory import Run
from gen_models.run.extractors import extractor_of
from gen_models.run.own_classifier import classifier_of_data, request_of
from gen_models.run.restore import load_run
from tools import compare, evaluate

WORDS = ("--samples", 40, "--training", 200)


@pytest.fixture(scope="module", autouse=True)
def _short():
    """Small classifiers of three steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_classifier, "VARIANT", "mlp")
        patch.setattr(own_classifier, "LEAST_STEPS", 3)
        patch.setattr(own_classifier, "MOST_STEPS", 3)
        patch.setattr(own_classifier, "WAIT_SECONDS", 0.1)
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Untrained VAEs of binarised digits, of grey ones and of their 17 levels, and a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    saved_run("vae", "base", folder / "vae")
    saved_run("vae", "base", folder / "grey", likelihood="gaussian")
    saved_run("vae", "base", folder / "levels", likelihood="logistic", levels=17)
    saved_run("classifier", "logistic", folder / "classifier")
    return folder


@pytest.fixture(scope="module")
def kept(runs):
    """The folder of the classifier of the runs' data, which is trained."""
    classifier_of_data(load_run(runs / "vae"), runs / "kept")
    return runs / "kept"


@pytest.mark.slow
def test_a_classifier_of_the_data_is_trained_once_on_training_images_alone(runs, kept, monkeypatch):
    (folder,) = kept.iterdir()
    asked = request_of(load_run(runs / "vae"), kept)
    assert asked.folder == folder.absolute() and asked.config.train_split == "train" and asked.config.steps == 3
    monkeypatch.setattr(own_classifier, "run_job", lambda *_: pytest.fail("it is trained again"))
    for name in ("vae", "levels"):  # however a run sees the images
        extractor = extractor_of("classifier", load_run(runs / name), kept)
    (accuracy,) = (figure for figure in Run(folder).result() if figure.name == "accuracy")
    assert extractor.name == "classifier" and extractor.num_classes == 10
    assert extractor.weights.endswith(f"of a classifier of digits, test accuracy {accuracy.value:.4f}")
    found = load_run(folder)
    batch = found.job.test(None).some(5)
    logits = found.job.trained(found.state).model.apply(found.state.params, found.state.stats, batch["x"])
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(extractor(batch["x"]).probabilities, expected, atol=1e-5)


@pytest.mark.slow
def test_other_data_another_size_or_another_version_have_a_classifier_of_their_own(runs, monkeypatch, tmp_path):
    found = load_run(runs / "vae")
    names = {request_of(found, tmp_path).folder.name}
    smaller = saved_run("vae", "base", tmp_path / "smaller", size=6)
    names.add(request_of(load_run(smaller), tmp_path).folder.name)
    more = saved_run("vae", "base", tmp_path / "more", train_split="train+validation")
    names.add(request_of(load_run(more), tmp_path).folder.name)
    seed = saved_run("vae", "base", tmp_path / "seed", seed=7)
    assert request_of(load_run(seed), tmp_path).folder.name in names  # it is of the data, not of the run
    monkeypatch.setattr(own_classifier, "VERSION", own_classifier.VERSION + 1)
    names.add(request_of(found, tmp_path).folder.name)
    assert len(names) == 4


@pytest.mark.slow
def test_a_classifier_that_was_killed_goes_on_and_a_second_process_waits(runs, kept, tmp_path, monkeypatch, capsys):
    """The folder is held as by another process; once it is let go, training goes on from the checkpoint."""
    found = load_run(runs / "vae")
    asked = request_of(found, tmp_path)
    (done,) = kept.iterdir()
    trained = extractor_of("classifier", found, kept)
    asked.folder.mkdir(parents=True)
    own_classifier.run_job(own_classifier.make_job(asked.experiment, asked.config), asked, until=2)
    assert Run(asked.folder).result() is None and Run(asked.folder).steps_done() == 2
    with (asked.folder / ".lock").open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It is let go when the second process begins to wait, however long that takes on a busy machine.
        monkeypatch.setattr(own_classifier.time, "sleep", lambda _: fcntl.flock(held, fcntl.LOCK_UN))
        extractor = classifier_of_data(found, tmp_path)
    said = capsys.readouterr().out
    assert "waiting for the classifier that another process trains" in said and "resuming at step 2" in said
    assert extractor.weights == trained.weights and done.name == asked.folder.name  # the same bits


def test_a_table_is_markdown_with_units_and_without_the_networks_name():
    def row(value):
        cells = (
            ("FD net", value, "", 0.25),
            ("classes by net", 9.0, "of 10", None),
            ("precision by net", 0.5, "fraction", None),
        )
        return {name: Figure(name, number, unit, "test", spread) for name, number, unit, spread in cells}

    rows = {"A|B": row(12.0), "noise": {"FD net": Figure("FD net", 99.0, "", "test")}}
    lines = compare.markdown(compare.Compared(rows, {"A|B": "runs/a, step 3"}, "test", "net of DIR")).splitlines()
    assert lines[0] == "|  | FD | classes (of 10) | precision |" and lines[1] == "| --- | ---: | ---: | ---: |"
    assert lines[2].startswith("| A\\|B | 12.00 +- 0.25 | 9 | 0.5") and lines[3] == "| noise | 99 |  |  |"
    assert lines[-1] == "Measured on test; net of DIR. A|B: `runs/a, step 3`."


@pytest.mark.parametrize(
    "words, wrong",
    [
        (("a", "a"), "more than one row 'a'"),
        (("noise=a", "b"), "more than one row 'noise'"),
        (("a", "--samples", "0"), "--samples must be 1 or more, got 0"),
        (("a", "--training", "-1"), "--training must be 0 or more, got -1"),
    ],
)
def test_options_that_say_nothing_are_refused_before_a_run_is_read(words, wrong):
    with pytest.raises(ValueError, match=wrong):
        compare.check_options(compare.parser().parse_args([*words, "--features", "classifier"]))


def test_data_without_labels_have_no_classifier(tmp_path, monkeypatch, capsys):
    images = np.random.default_rng(0).integers(256, size=(60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", x_train=images, x_test=images)
    run = saved_run("vae", "base", tmp_path / "run", dataset=f"npz:{tmp_path / 'set.npz'}")
    words = ("--distances", "--features", "classifier", "--keep", tmp_path / "kept")
    assert run_tool(evaluate, monkeypatch, run, *words) == config.BAD_INPUT
    error = capsys.readouterr().err
    assert "has no labels" in error and "name another network" in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "kept").exists()


@pytest.mark.slow
def test_runs_stand_in_one_table(runs, kept, monkeypatch, capsys, tmp_path):
    words = [f"VAE={runs / 'vae'}", str(runs / "grey"), f"levels={runs / 'levels'}", "--features", "classifier"]
    words += [*WORDS, "--keep", kept, "--json", tmp_path / "t.json", "--markdown", tmp_path / "t.md"]
    assert run_tool(compare, monkeypatch, *words) == 0
    table = json.loads((tmp_path / "t.json").read_text())
    rows = {name: {each["name"].partition(",")[0]: each for each in row} for name, row in table["rows"].items()}
    assert list(rows) == ["VAE", str(runs / "grey"), "levels", "held-out examples", "memoriser", "noise"]
    assert all(set(row) == set(rows["VAE"]) for row in rows.values())
    assert {"FD classifier", "KD classifier", "classifier score", "authenticity by classifier"} <= set(rows["noise"])
    assert rows["memoriser"]["authenticity by classifier"]["value"] == 0
    assert "40 images of each set, 200 training images, as they are" in table["measured_on"]
    lines = (tmp_path / "t.md").read_text().splitlines()
    assert lines[0].startswith(
        "|  | FD | KD | precision | recall | density | coverage | authenticity | classifier score"
    )
    assert len(lines) == 10 and "test accuracy" in lines[-1]
    # A run alone has the same figures of it and of what stands beneath: the sets do not depend on who is compared.
    alone = runs / "levels" / "distances_classifier.json"
    before = json.loads(alone.read_text())["figures"]
    same = ("--distances", "--features", "classifier", "--keep", kept, "--unchanged")
    assert run_tool(evaluate, monkeypatch, runs / "levels", *same, *WORDS) == 0
    figures = {each["name"]: each for each in json.loads(alone.read_text())["figures"]}
    assert [figures[each["name"]] for each in before] == before
    assert figures["FD classifier, noise"]["value"] == rows["noise"]["FD classifier"]["value"]
    # What the directories have is read again, and gives the same table.
    monkeypatch.setattr("gen_models.measures.distances.Distances.figures", lambda *_: pytest.fail("measured again"))
    assert run_tool(compare, monkeypatch, *words[:-4], "--json", tmp_path / "again.json") == 0
    assert json.loads((tmp_path / "again.json").read_text()) == table


@pytest.mark.slow
def test_runs_of_other_images_are_not_compared(runs, kept, monkeypatch, capsys, tmp_path):
    other = saved_run("vae", "base", tmp_path / "other", train_split="train+validation")
    words = ("--features", "classifier", "--keep", kept, *WORDS)
    assert run_tool(compare, monkeypatch, runs / "vae", other, *words) == config.BAD_INPUT
    assert "may not be compared, as their data differ: train" in capsys.readouterr().err
    assert run_tool(compare, monkeypatch, runs / "vae", runs / "grey", *words, "--as-seen") == config.BAD_INPUT
    assert "the first sees binarised (dynamic), the second images as they are" in capsys.readouterr().err
    assert run_tool(compare, monkeypatch, runs / "vae", runs / "classifier", *words) == config.BAD_INPUT
    assert "whose model has no samples" in capsys.readouterr().err
    assert run_tool(compare, monkeypatch, runs / "vae", runs / "vae", *words) == config.BAD_INPUT
    assert "more than one row" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_that_sees_levels_and_draws_means_is_compared_as_images_are(runs, kept, monkeypatch, capsys):
    words = ("--distances", "--features", "classifier", "--keep", kept, *WORDS)
    assert run_tool(evaluate, monkeypatch, runs / "levels", *words) == config.BAD_INPUT
    assert "give --unchanged" in capsys.readouterr().err


@pytest.mark.slow
def test_families_with_other_levels_and_the_usual_classifier_stand_in_one_table(runs, monkeypatch, tmp_path):
    """The usual network, and models of two and of 17 levels; their programs take long to compile."""
    monkeypatch.setattr(own_classifier, "VARIANT", "cnn")
    binary = saved_run("likelihood_ladder", "pixel_cnn", tmp_path / "binary")
    pixels = saved_run("likelihood_ladder", "pixel_cnn_pp", tmp_path / "pixels", levels=17)
    words = [*WORDS, "--features", "classifier", "--keep", tmp_path / "kept", "--json", tmp_path / "t.json"]
    assert run_tool(compare, monkeypatch, runs / "grey", binary, pixels, *words) == 0
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert len(rows) == 6 and all(np.isfinite(each["value"]) for row in rows.values() for each in row)
