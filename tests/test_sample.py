"""Samples from a run's directory: of a class, or completions of images of one's own."""

import functools
import re

import jax
import numpy as np
import pytest
from PIL import Image
from saved import saved_run
from tool_runs import run_tool

from gen_models.run.config import BAD_INPUT
from gen_models.run.restore import load_run
from tools import sample as tool


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A Gated PixelCNN that is told the class, of images 8x8x1."""
    return saved_run("inpainting", "gated_pixel_cnn", tmp_path_factory.mktemp("c") / "run", steps=1, conditional=True)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Runs whose models take no class, or draw nothing."""
    folder = tmp_path_factory.mktemp("others")
    runs = {"vae": ("vae", "base"), "rung": ("likelihood_ladder", "gated_pixel_cnn"), "cnn": ("classifier", "cnn")}
    return {name: saved_run(*which, folder / name) for name, which in runs.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A recurrent language model of tiny Shakespeare's characters."""
    return saved_run("language_model", "gru", tmp_path_factory.mktemp("written") / "run", steps=1)


_loaded = functools.cache(load_run)


def _drawn(folder, name):
    return np.load(folder / "samples" / f"{name}.npy", allow_pickle=False)


def test_samples_of_a_class_are_those_of_the_model(conditional, monkeypatch, capsys):
    assert run_tool(tool, monkeypatch, conditional, "--n", 6, "--label", 3) == 0
    assert "6 samples: " in capsys.readouterr().out
    _, _, job, state = load_run(conditional)
    expected = job.model.sample(state.params, state.stats, jax.random.key(0), 6, label=np.full(6, 3))
    np.testing.assert_array_equal(_drawn(conditional, "n6_seed0_label3"), expected)
    assert (conditional / "samples" / "n6_seed0_label3.png").exists()


def test_what_is_given_is_kept_and_the_rest_is_drawn(conditional, monkeypatch, tmp_path):
    rng = np.random.default_rng(0)
    levels, mask = rng.integers(0, 2, (2, 8, 8, 1)), rng.random((8, 8)) < 0.5
    np.save(tmp_path / "images.npy", levels)
    np.save(tmp_path / "one.npy", levels[0, ..., 0])
    Image.fromarray(np.uint8(levels[0, ..., 0] * 127 + rng.integers(0, 128, (8, 8)))).save(tmp_path / "one.png")
    Image.fromarray(np.uint8(mask * 9)).save(tmp_path / "mask.png")

    words = ["--n", 3, "--given", tmp_path / "images.npy", "--mask", tmp_path / "mask.png", "--label", 1]
    assert run_tool(tool, monkeypatch, conditional, *words) == 0
    x = _drawn(conditional, "n3_seed0_label1_images")
    assert x.shape == (6, 8, 8, 1)  # three of the first image, three of the second
    np.testing.assert_array_equal(x[:, mask], np.repeat(levels, 3, axis=0)[:, mask])
    assert len(np.unique(x[:3], axis=0)) == len(np.unique(x[3:], axis=0)) == 3

    found = []
    for file in ("one.npy", "one.png"):  # by default the upper half
        assert (
            run_tool(tool, monkeypatch, conditional, "--n", 2, "--given", tmp_path / file, "--out", tmp_path / "o.png")
            == 0
        )
        found.append(np.load(tmp_path / "o.npy", allow_pickle=False))
        np.testing.assert_array_equal(found[-1][:, :4], np.repeat(levels[:1, :4], 2, axis=0))
        assert (found[-1][:, 4:] != levels[0, 4:]).any()
    np.testing.assert_array_equal(*found)  # 127 and less are the level 0, and 128 and more the level 1


@pytest.mark.slow_cases("conditional-words0---label must be from 0 to 9, got 10")
@pytest.mark.parametrize(
    ("which", "words", "message"),
    [
        ("conditional", ["--label", 10], "--label must be from 0 to 9, got 10"),
        ("conditional", ["--label", -1], "--label must be from 0 to 9, got -1"),
        ("rung", ["--label", 3], "--label 3: the model of .*rung is not told the class"),
        ("vae", ["--label", 3], "--label 3: the model of .*vae is not told the class"),
        ("vae", ["--given", "small.npy"], "--given: the model of .*vae completes no images"),
        ("cnn", [], "is a run of experiments.classifier, whose model has no samples"),
        ("rung", ["--mask", "small.npy"], "--mask says which pixels of --given count"),
        ("rung", ["--given", "small.npy"], r"small.npy is \(4, 4, 1\), but the model's images are \(8, 8, 1\)"),
        ("rung", ["--given", "fits.npy", "--mask", "small.npy"], r"small.npy is \(4, 4\), but .* are \(8, 8\)"),
        ("rung", ["--given", "levels.npy"], "levels.npy: pixels must be integers from 0 to 1"),
        ("rung", ["--given", "line.npy"], "line.npy must hold one image or several"),
        ("rung", ["--given", "x.txt"], "x.txt must be a .png or an .npy file"),
        ("rung", ["--given", "absent.npy"], "absent.npy"),
        ("rung", ["--n", 0], "--n must be 1 or more, got 0"),
        ("rung", ["--experiment", "absent.py", "--out", "no/such/x.png"], "the folder no/such does not exist"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    which, words, message, conditional, others, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gen_models.run.tool.loaded", lambda arguments, **_: _loaded(arguments.run))
    shapes = {"small": (4, 4), "fits": (8, 8), "line": (8,)}
    for name, shape in shapes.items():
        np.save(f"{name}.npy", np.zeros(shape, np.int32))
    np.save("levels.npy", np.full((8, 8), 2))
    folder = others.get(which, conditional)
    before = sorted(folder.rglob("*"))
    assert run_tool(tool, monkeypatch, folder, *words) == BAD_INPUT
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert re.search(message, error), error
    assert sorted(folder.rglob("*")) == before


def test_a_language_models_texts_have_the_options_that_are_asked_for(written, monkeypatch, capsys):
    words = ["--n", 3, "--prompt", "ROMEO:", "--temperature", 0.8, "--top-k", 5, "--top-p", 0.9, "--length", 12]
    assert run_tool(tool, monkeypatch, written, *words) == 0
    _, _, job, state = _loaded(written)
    vocabulary = job.trained(state).vocabulary
    options = {"prompt": vocabulary.encode("ROMEO:"), "temperature": 0.8, "top_k": 5, "top_p": 0.9}
    tokens = job.model.sample(state.params, state.stats, jax.random.key(0), 3, length=12, **options)
    found = _drawn(written, "n3_seed0_prompt_temperature0.8_top_k5_top_p0.9_length12")
    assert found.tolist() == [vocabulary.decode(one) for one in np.asarray(tokens)]
    assert all(text.startswith("ROMEO:") and len(text) == 12 for text in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--prompt", "a\u00e9"], "é"),
        (["--temperature", -1], "--temperature must be 0 or more, got -1.0"),
        (["--top-k", 0], "top_k must be a whole number"),
        (["--top-p", 1.5], "--top-p must be a probability above 0 and at most 1, got 1.5"),
        (["--length", 0], "--length must be 1 or more, got 0"),
    ],
)
def test_options_that_no_text_can_have_are_refused(written, words, message, monkeypatch, capsys):
    assert run_tool(tool, monkeypatch, written, "--n", 1, *words) == BAD_INPUT
    assert message in " ".join(capsys.readouterr().err.split())


def test_images_have_no_prompt(others, monkeypatch, capsys):
    assert run_tool(tool, monkeypatch, others["vae"], "--prompt", "a") == BAD_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "--prompt a: samples of" in said and "take none of these options: leave it out" in said
