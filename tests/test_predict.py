"""`tools.predict`: raw inputs give what the model says of the same examples in the run's own data; errors say where."""

import csv
import functools
import shutil

import jax
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from saved import saved_run
from tool_runs import run_tool

from gen_models.data.raw_inputs import BadInput, Form, from_file, from_values
from gen_models.data.sources import BUNDLED
from gen_models.measures.base import Split
from gen_models.measures.classification import predicted
from gen_models.measures.regression import predicted_numbers
from gen_models.run.config import BAD_INPUT
from gen_models.run.predicting import predictor_of
from gen_models.run.restore import load_run
from tools import predict as tool

PENGUINS = BUNDLED.parent / "penguins.csv"
ROWS = list(csv.DictReader(PENGUINS.read_text().splitlines()))


VARIANTS = {"class": ("mlp", "species"), "number": ("weight", "body_mass_g")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """kind -> (folder, what the run says of its test part by raw row); the run's table is then no longer there."""
    root = tmp_path_factory.mktemp("predict")

    @functools.cache
    def make(kind):
        variant, target = VARIANTS[kind]
        shutil.copy(PENGUINS, root / f"{kind}.csv")
        name = f"table:{root / kind}.csv?untargeted=skip&target={target}"
        common = {"steps": 3, "missing": "nearest", "indicator": True, "learning_rate": 0.05}
        found = load_run(saved_run("tables", variant, root / kind, dataset=name, **common))
        trained, data = found.job.trained(found.state), found.job.data
        split = Split(data, data.test, "test")
        raw = np.nan_to_num(np.asarray(data.test.arrays["x"]), nan=-1)
        of = predicted if kind == "class" else predicted_numbers
        values = jax.nn.softmax(of(trained, split)[0]) if kind == "class" else of(trained, split)[0][:, 0]
        (root / f"{kind}.csv").unlink()
        return root, {tuple(row.tolist()): np.asarray(value) for row, value in zip(raw, values, strict=True)}

    return make


@pytest.fixture
def runs(made):
    """The folder of the run of a class, as its first entry."""
    return made("class")


def _key(row, columns):
    return tuple(float(np.float32(row[name] or -1)) for name in columns)


@pytest.mark.slow_cases("number")
@pytest.mark.parametrize("kind", VARIANTS)
def test_raw_rows_give_what_the_run_is_measured_with(kind, made, monkeypatch, capsys):
    root, expected = made(kind)
    for ending in (".csv", ".parquet", ".npz"):
        out = root / f"out_{kind}{ending}"
        assert run_tool(tool, monkeypatch, root / kind, "--input", PENGUINS, "--out", out) == 0
        target = "species" if kind == "class" else "body_mass_g"
        assert f"344 predictions of {target!r}" in capsys.readouterr().out
    columns = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", *(["body_mass_g"] if kind == "class" else [])]
    found = list(csv.DictReader((root / f"out_{kind}.csv").read_text().splitlines()))
    table = pyarrow.parquet.read_table(root / f"out_{kind}.parquet").to_pydict()
    arrays = np.load(root / f"out_{kind}.npz")
    known = 0
    for index, (row, line) in enumerate(zip(ROWS, found, strict=True)):
        want = expected.get(_key(row, columns))
        assert int(line["row"]) == index + 1 == table["row"][index]
        if want is None:
            continue
        known += 1
        if kind == "class":
            names = ("Adelie", "Chinstrap", "Gentoo")
            shares = [float(line[f"p({name})"]) for name in names]
            np.testing.assert_allclose(shares, want, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(arrays["probabilities"][index], want, rtol=1e-4, atol=1e-6)
            assert line["species"] == table["species"][index] == names[want.argmax()]
        else:
            for value in (line["body_mass_g"], table["body_mass_g"][index], arrays["prediction"][index]):
                assert float(value) == pytest.approx(float(want), rel=1e-4)
    assert known >= 34


def _written(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_what_is_wrong_is_told_with_row_and_column(runs, tmp_path, monkeypatch, capsys):
    run = runs[0] / "class"
    lacks = [{name: value for name, value in row.items() if name != "sex"} for row in ROWS[:5]]
    wrong = [dict(row) for row in ROWS[:5]]
    wrong[2]["bill_depth_mm"] = "deep"
    for rows, message in ((lacks, "lacks the column 'sex'"), (wrong, "row 3 has 'deep' in the numeric column")):
        assert run_tool(tool, monkeypatch, run, "--input", _written(tmp_path / "rows.csv", rows)) == BAD_INPUT
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1
    strange = [dict(row) for row in ROWS[:8]]
    for row in strange[1:]:
        row["island"] = "Paris"
    path = _written(tmp_path / "rows.csv", strange)
    assert run_tool(tool, monkeypatch, run, "--input", path, "--out", tmp_path / "p.csv") == 0
    error = capsys.readouterr().err
    assert "row 2: 'Paris' is none of the words of 'island' for training" in error and "and 2 more such words" in error
    for words, message in (
        (["--input", path, "--out", tmp_path / "p.txt"], "are written as .csv, .parquet, .npz"),
        (["--input", tmp_path / "absent.csv", "--out", tmp_path / "p.csv"], "there is no such file or folder"),
        (["--input", path, "--out", tmp_path / "no" / "p.csv"], "does not exist"),
    ):
        assert run_tool(tool, monkeypatch, run, *words) == BAD_INPUT
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_images_are_predicted_by_their_pixels(tmp_path, monkeypatch, capsys):
    run = saved_run("classifier", "cnn", tmp_path / "run", steps=2, dataset="fashion_mnist_bundled")
    found = load_run(run)
    data = found.job.data
    logits, _ = predicted(found.job.trained(found.state), Split(data, data.test, "test").first(6))
    pixels = np.asarray(data.test.arrays["x"][:6])
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for index, image in enumerate(pixels):
        Image.fromarray(image[..., 0]).save(tmp_path / "images" / ("deep" if index > 3 else "") / f"{index}.png")
    np.savez(tmp_path / "x.npz", x=pixels)
    assert run_tool(tool, monkeypatch, run, "--input", tmp_path / "images", "--out", tmp_path / "p.npz") == 0
    archive = np.load(tmp_path / "p.npz")
    assert archive["files"].tolist() == ["0.png", "1.png", "2.png", "3.png", "deep/4.png", "deep/5.png"]
    np.testing.assert_allclose(archive["probabilities"], jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)
    assert run_tool(tool, monkeypatch, run, "--input", tmp_path / "x.npz", "--out", tmp_path / "q.npz") == 0
    np.testing.assert_array_equal(np.load(tmp_path / "q.npz")["probabilities"], archive["probabilities"])
    Image.fromarray(pixels[0, :, :20, 0]).save(tmp_path / "narrow.png")
    capsys.readouterr()
    assert run_tool(tool, monkeypatch, run, "--input", tmp_path / "narrow.png") == BAD_INPUT
    assert "is 28x20x1, and the model takes images of 28x28x1: resize it" in capsys.readouterr().err


@pytest.mark.slow
def test_sentences_are_predicted_by_their_words(tmp_path, monkeypatch):
    lines = [f"{'good' if i % 2 else 'bad'} {'fine' if i % 2 else 'dull'} film {i % 5}" for i in range(60)]
    (tmp_path / "s.txt").write_text("\n".join(lines) + "\n")
    run = saved_run("sentiment", "cnn", tmp_path / "run", steps=2, dataset=f"sentences:{tmp_path / 's.txt'}")
    found = load_run(run)
    data = found.job.data
    logits, _ = predicted(found.job.trained(found.state), Split(data, data.test, "test"))
    texts = [data.train.meaning.decode(x) for x in data.test.arrays["x"]]
    (tmp_path / "in.txt").write_text("\n".join(texts) + "\n")
    assert run_tool(tool, monkeypatch, run, "--input", tmp_path / "in.txt", "--out", tmp_path / "p.npz") == 0
    archive = np.load(tmp_path / "p.npz")
    assert archive["classes"].tolist() == ["bad", "good"]
    np.testing.assert_allclose(archive["probabilities"], jax.nn.softmax(logits), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_model_that_predicts_nothing_is_named(tmp_path, monkeypatch, capsys):
    run = saved_run("vae", "base", tmp_path / "run")
    assert run_tool(tool, monkeypatch, run, "--input", tmp_path) == BAD_INPUT
    error = capsys.readouterr().err
    assert "experiments.vae, whose model makes no prediction of an example" in error and len(error.splitlines()) == 1


def test_values_of_json_are_the_rows_of_a_file(runs):
    predictor = predictor_of(load_run(runs[0] / "class", with_data=False))
    numbers = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
    values = [
        {name: (float(cell) if cell else None) if name in numbers else cell or None for name, cell in row.items()}
        for row in ROWS
    ]
    ours, theirs = from_values(values, predictor.form), from_file(PENGUINS, predictor.form)
    assert ours.arrays.keys() == theirs.arrays.keys()
    for name, array in theirs.arrays.items():
        np.testing.assert_array_equal(ours.arrays[name], array)
    good = values[0]
    for changed, row, field, why in (
        (good | {"bill_depth_mm": "18"}, 2, "bill_depth_mm", "must be a number or null, got the text '18'"),
        (good | {"bill_depth_mm": True}, 2, "bill_depth_mm", "got the truth value True"),
        (good | {"bill_depth_mm": float("inf")}, 2, "bill_depth_mm", "must be a finite number"),
        (good | {"bill_depth_mm": 10**400}, 2, "bill_depth_mm", "must be a finite number"),
        (good | {"sex": 1}, 2, "sex", "must be a text or null, got the number 1"),
        (good | {"colour": "red"}, 2, "colour", "is no column of the model: it has bill_depth_mm"),
        ({name: cell for name, cell in good.items() if name != "sex"}, 2, "sex", "is missing"),
        ([1, 2], 2, "", "a row is an object of column and value, got a list"),
    ):
        with pytest.raises(BadInput) as caught:
            from_values([good, changed], predictor.form)
        (fault,) = caught.value.faults
        assert (fault.row, fault.field) == (row, field) and why in fault.why
    with pytest.raises(BadInput, match="must stand in a list that is not empty"):
        from_values([], predictor.form)
    dropped = predictor.form._replace(meaning=predictor.form.meaning._replace(missing="drop"))
    with pytest.raises(BadInput, match="row 1: 'sex' is missing or unknown, and the model was trained on comp"):
        from_values([good | {"sex": "?"}], dropped)


def test_images_and_texts_of_json():
    form = Form("images", (2, 3, 1), 256, None)
    pixels = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(from_values([pixels.tolist()], form).arrays["x"][0, ..., 0], pixels)
    for value, why in (
        ([[1, 2], [3, 4]], "the image is 2x2x1, and the model takes images of 2x3x1"),
        ([[1, 2, 300], [3, 4, 5]], "pixels must be whole numbers from 0 to 255"),
        ([[1, 2], [3]], "inhomogeneous"),
        ("no base64!", "base64"),
        ({"a": 1}, "pixels must be whole numbers"),
    ):
        with pytest.raises(BadInput) as caught:
            from_values([pixels.tolist(), value], form)
        assert caught.value.faults[0].row == 2 and why in caught.value.faults[0].why
