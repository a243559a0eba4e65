"""Exported operations give the model's own results, in a process that has neither Flax nor this package."""

import csv
import json
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from saved import saved_run
from test_export import REFUSE
from tool_runs import run_tool

from gen_models import export
from gen_models.data.raw_inputs import from_file
from gen_models.data.sources import BUNDLED
from gen_models.run.config import BAD_INPUT
from gen_models.run.operations import NAMES, operation_of
from gen_models.run.predicting import predictor_of
from gen_models.run.restore import load_run
from tools import export as tool

PENGUINS = BUNDLED.parent / "penguins.csv"
# Raw rows of a CSV file to predictions, with what the export wrote and no part of this package.
ELSEWHERE = f"""{REFUSE}
import csv
import numpy as np
from jax import export

described = json.loads(Path("predict.json").read_text())
rows = list(csv.DictReader(Path("penguins.csv").read_text().splitlines()))
x = np.array([[float(row[name] or "nan") for name in described["numeric"]] for row in rows], np.float32)
number = [{{word: i + 1 for i, word in enumerate(words)}} for _, words in described["categorical"]]
names = [name for name, _ in described["categorical"]]
categories = [[of.get(row[name], 0) for of, name in zip(number, names)] for row in rows]
program = export.deserialize(bytearray(Path("predict.stablehlo").read_bytes()))
p = program.call({{"x": x, "categories": np.array(categories, np.int32)}})
few = program.call({{"x": x[:3], "categories": np.array(categories, np.int32)[:3]}})
np.savez("p.npz", p=p, few=few)
"""


@pytest.mark.slow
def test_raw_rows_are_predicted_elsewhere(tmp_path, monkeypatch, capsys):
    run = saved_run("tables", "mlp", tmp_path / "run", steps=3, missing="nearest", indicator=True, learning_rate=0.05)
    assert run_tool(tool, monkeypatch, run, "--operation", "predict", "--out", tmp_path / "predict.stablehlo") == 0
    out = capsys.readouterr().out
    assert "for cpu, cuda, tpu; it gives float32 [n, 3]" in out and "NaN where missing" in out
    # The lines that it prints are a program.
    names: dict = {}
    exec(out[out.index("    from pathlib") :].replace("    ", ""), names)
    assert names["result"].shape == (2, 3)
    shutil.copy(PENGUINS, tmp_path)
    words = [sys.executable, "-c", ELSEWHERE]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "p.npz")
    predictor = predictor_of(load_run(run))
    expected = predictor(from_file(PENGUINS, predictor.form)).probabilities
    assert np.ptp(expected, 0).max() > 0.1
    np.testing.assert_allclose(found["p"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["few"], expected[:3], rtol=1e-4, atol=1e-6)
    described = json.loads((tmp_path / "predict.json").read_text())
    assert described["classes"] == ["Adelie", "Chinstrap", "Gentoo"]
    rows = list(csv.DictReader(PENGUINS.read_text().splitlines()))
    assert {*described["numeric"], *dict(described["categorical"]), described["target"]} == set(rows[0])


# experiment, variant -> the operations that its model has, of those of `NAMES`
FAMILIES = {
    ("classifier", "cnn"): ("predict", "apply"),
    ("vae", "base"): ("encode", "decode", "reconstruct", "log_prob"),
    ("autoencoder_uses", ""): ("encode", "decode", "reconstruct"),
    ("vq_vae", "base"): ("encode", "decode", "reconstruct", "log_prob"),
    ("likelihood_ladder", "made"): ("apply", "log_prob"),
    ("language_model", "transformer"): ("apply", "log_prob"),
    ("sequential_mnist", "lstm"): ("predict", "encode", "apply"),
    ("music", "gru"): ("apply", "log_prob"),
    ("speech", "gru"): ("apply",),
    ("speech_enhancement", "white"): ("apply",),
    ("forecast", "dlinear"): ("apply",),
    ("sentiment", "cnn"): ("apply",),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "variant"), FAMILIES, ids=lambda word: word or "first")
def test_every_family_exports_what_it_can_do(name, variant, tmp_path):
    """The programs give what the model itself does, of a batch of examples; what a model lacks is refused."""
    from gen_models.run.experiments import find

    found = load_run(saved_run(name, variant or next(iter(find(name).variants)), tmp_path / "run"))
    trained, rng = found.job.trained(found.state), np.random.default_rng(0)
    for operation in NAMES:
        if operation not in FAMILIES[name, variant]:
            with pytest.raises(ValueError, match=r"lacks|does not take|no prediction|no class and no|are not read"):
                operation_of(found, operation)
            continue
        made = operation_of(found, operation)
        data = export.export_function(made.function, made.shapes, platforms=["cpu"])
        program = jax.export.deserialize(bytearray(data))
        assert program.disabled_safety_checks == ()

        def random(shape):
            integer = np.issubdtype(shape.dtype, np.integer)
            values = rng.integers(0, 2, shape.shape) if integer else rng.normal(size=shape.shape)
            return values.astype(shape.dtype)

        for count in (1, 5):
            given = jax.tree.map(random, made.shapes(count))
            ours, own = program.call(given), _whole(operation, trained, found, given)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, own)


def _whole(operation, trained, found, given):
    """What the model says of the whole batch, prepared by the data's own transform."""
    model, params, stats, key = trained.model, trained.params, trained.stats, jax.random.key(0)
    if operation == "decode":
        return model.decode(params, stats, given)
    own = found.job.data.evaluation
    if found.job.data.train.kind == "images":
        x = given["x"] if operation == "predict" else given
        each = [own({"x": one[None], "y": np.zeros(1, np.int32)}, key)["x"] for one in x]
        given = np.concatenate(each)
    if operation == "log_prob":  # whose noise is that of the key for each example alone
        return np.concatenate([model.log_prob(params, stats, one[None], key) for one in np.asarray(given)])
    if operation in ("encode", "reconstruct"):
        code = model.encode(params, stats, given, key)
        code = code[0] if isinstance(code, tuple) else code
        return code if operation == "encode" else model.decode(params, stats, code)
    outputs = model.apply(params, stats, given)
    return jax.nn.softmax(outputs) if operation == "predict" else outputs


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch, capsys):
    run = saved_run("tables", "linear", tmp_path / "run")
    for words, message in (
        (["--operation", "encode"], "whose model lacks 'encode', which encode needs: it has predict, apply"),
        (["--operation", "predictt"], "unknown operation 'predictt': did you mean 'predict'"),
        (["--operation", "predict", "--label", "1"], "--label is of samples"),
        (["--operation", "apply", "--platforms", "cude"], "unknown platform 'cude'"),
    ):
        assert run_tool(tool, monkeypatch, run, *words) == BAD_INPUT
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1
