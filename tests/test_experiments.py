"""Every experiment runs, resumes in the same bits, and answers bad input in one line."""

import dataclasses
import importlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import experiments
from gen_models.run import cli, config
from gen_models.training.loop import fit

ROOT = Path(__file__).parent.parent
NAMES = [module.name for module in pkgutil.iter_modules(experiments.__path__)]
# Sizes at which a step takes no time; whatever is not named here keeps the experiment's own value.
TINY = {
    "vae": [
        "--batch-size",
        "16",
        "--hidden",
        "16",
        "--latent",
        "2",
        "--importance-samples",
        "2",
        "--dataset",
        "digits",
    ],
    "classifier": ["--batch-size", "16", "--channels", "4", "4", "--strides", "2", "2", "--dataset", "digits"],
    "gan_grid": ["--batch-size", "4", "--points", "400", "--trials", "2", "--samples", "40"],
}


TINY["likelihood_ladder"] = ["--batch-size", "8", "--features", "4", "--layers", "1", "--hidden", "8", "--latent", "2"]
TINY["likelihood_ladder"] += ["--dataset", "digits", "--importance-samples", "2", "--evaluated", "20"]
TINY |= dict.fromkeys(("inpainting", "pixel_rnn_ablation", "published_likelihood"), TINY["likelihood_ladder"])
# Other questions asked of the ladder's own `build`: their tests say nothing new, and are slow ones.
OF_THE_LADDER = ("inpainting", "pixel_rnn_ablation", "published_likelihood")
TINY["gan_grid"] += ["--generator-hidden", "8", "--discriminator-hidden", "8"]
# Ablations: of the ladder's images, of the classifier's, and with data of their own.
_ABLATED = ("activation", "conv1x1", "kernel_size", "momentum", "normalisation", "skip_connections")
OF_THE_CLASSIFIER = tuple(f"ablation_{name}" for name in _ABLATED)
_PIXELS = ("ablation_attention_pixels", "ablation_kernel_size_pixels")
TINY |= dict.fromkeys(_PIXELS, TINY["likelihood_ladder"])
_FEW = ["--batch-size", "16", "--channels", "4", "8", "--strides", "2", "2", "--groups", "2", "--dataset", "digits"]
TINY |= {name: _FEW for name in OF_THE_CLASSIFIER}
TINY["ablation_attention"] = ["--batch-size", "8", "--pairs", "2", "--keys", "3", "--values", "2", "--features", "4"]
TINY["ablation_attention"] += ["--examples", "200"]
TINY["ablation_momentum_quadratic"] = ["--dimensions", "3", "--condition", "5"]
OF_THE_LADDER += _PIXELS
WITHOUT_SAMPLES = ("classifier", *OF_THE_CLASSIFIER, "ablation_attention", "ablation_momentum_quadratic")
# One variant shows that the classifier's `build` measures layers; the quadratic has tests of its own.
REPEATED = (*OF_THE_LADDER, *OF_THE_CLASSIFIER, "ablation_momentum_quadratic")


def _experiment(name) -> config.Experiment:
    return importlib.import_module(f"experiments.{name}").EXPERIMENT


def _main(name, *words):
    experiment = _experiment(name)
    if experiment.table and (not words or words[0].startswith("-")):  # which would be a sweep
        words = (next(iter(experiment.variants)), *words)
    return cli.main(experiment, [*words])


def _leaves(folder, name):
    """Every leaf of the newest checkpoint, as bytes can be compared."""
    from gen_models.run.job import load_run

    _, _, _, state = load_run(folder)
    keys = [jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key) for x in jax.tree.leaves(state)]
    return [np.asarray(jax.random.key_data(x) if k else x) for x, k in zip(jax.tree.leaves(state), keys, strict=True)]


def test_an_ablation_without_a_variant_is_its_whole_table(tmp_path, monkeypatch):
    """Fields on the command line are those of every row; with a variant it is one run."""
    seen = []
    monkeypatch.setattr("gen_models.sweep.command.sweep", lambda experiment, words: seen.append(words) or 0)
    tables = [name for name in NAMES if _experiment(name).table]
    assert {name for name in NAMES if name.startswith("ablation_")} == set(tables)
    for name in tables:
        assert cli.main(_experiment(name), ["--steps", "5", "--seeds", "2"]) == 0
    assert seen == [["--steps", "5", "--seeds", "2"]] * len(tables)


def test_all_experiments_are_covered():
    assert set(TINY) == set(NAMES)


def _slow_if(condition, *values):
    return pytest.param(*values, marks=pytest.mark.slow if condition else ())


@pytest.mark.parametrize("name", [_slow_if(n in REPEATED or n.startswith("ablation_"), n) for n in NAMES])
def test_runs_finishes_and_resumes_in_the_same_bits(name, tmp_path, capsys):
    common = [
        "--steps",
        "6",
        "--checkpoint-every",
        "2",
        "--log-every",
        "2",
        "--evaluate-every",
        "2",
        "--draw-every",
        "4",
    ]
    words = [*TINY[name], *common]
    assert _main(name, *words, "--tensorboard", "--run-dir", str(tmp_path / "whole")) == config.FINISHED
    whole = tmp_path / "whole"
    for file in ("config.json", "environment.json", "metrics.jsonl", "curves.png", "result.json"):
        assert (whole / file).stat().st_size > 0, file
    assert list((whole / "samples").glob("*.png"))
    assert list((whole / "tensorboard").glob("events.*"))
    result = json.loads((whole / "result.json").read_text())
    for figure in result["figures"]:
        assert set(figure) == {"name", "value", "unit", "measured_on", "spread", "note"}

    # As a kill after step 4 leaves it: an older checkpoint, metrics that ran ahead, no result.
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "6")
    (cut / "result.json").unlink()
    assert _main(name, *words, "--run-dir", str(cut)) == config.FINISHED
    for a, b in zip(_leaves(whole, name), _leaves(cut, name), strict=True):
        np.testing.assert_array_equal(a, b)
    figures = json.loads((cut / "result.json").read_text())["figures"]
    timed = [figure["name"] for figure in figures if figure["unit"] == "s"]  # times differ
    assert [f for f in figures if f["name"] not in timed] == [f for f in result["figures"] if f["name"] not in timed]

    def metrics(folder):
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert metrics(cut) == metrics(whole)

    capsys.readouterr()
    before = (whole / "result.json").read_bytes()
    assert _main(name, *words, "--run-dir", str(whole)) == config.FINISHED
    assert "finished before" in capsys.readouterr().out and (whole / "result.json").read_bytes() == before
    assert _main(name, *words, "--run-dir", str(whole), "--seed", "5") == config.BAD_INPUT
    assert "seed is 0 there and 5 here" in capsys.readouterr().err

    env = {"cwd": ROOT, "capture_output": True, "text": True}
    again = subprocess.run([sys.executable, "-m", "tools.evaluate", str(whole)], **env, check=True)
    assert result["figures"][0]["name"].split()[0] in again.stdout
    sampled = subprocess.run([sys.executable, "-m", "tools.sample", str(whole), "--n", "5"], **env, check=False)
    if name in WITHOUT_SAMPLES:
        assert sampled.returncode == config.BAD_INPUT and "no samples" in sampled.stderr
    else:
        assert sampled.returncode == 0, sampled.stderr
        assert np.isfinite(np.load(whole / "samples" / "n5_seed0.npy", allow_pickle=False)).all()


def _long(name, variant):
    """Compiled for long, and like others of the same experiment."""
    rungs = name == "likelihood_ladder" and variant not in ("gated_pixel_cnn", "nade", "vae")
    shown = variant in ("relu", "conv_attention")
    ablation = not shown and (name in REPEATED or name.startswith("ablation_"))
    # Programs that others of these tests compile as well, or the base's with another number.
    known = (name, variant) in (
        ("likelihood_ladder", "gated_pixel_cnn"),
        ("likelihood_ladder", "vae"),
        ("gan_grid", "gan"),
        ("gan_grid", "packing3"),
        ("gan_grid", "packing4"),
        ("classifier", "cnn"),
        ("vae", "base"),
        ("vae", "beta4"),
        ("vae", "warmup"),
        ("ablation_activation", "relu"),
    )
    return ablation or known or (rungs and not variant.startswith("mnist"))


VARIANTS = [(name, variant) for name in NAMES for variant in _experiment(name).variants]


@pytest.mark.parametrize(("name", "variant"), [_slow_if(_long(*pair), *pair) for pair in VARIANTS])
def test_every_variant_builds_and_takes_two_steps_or_says_how_to_get_its_data(name, variant, tmp_path, capsys):
    dataset = _experiment(name).variants[variant].dataset
    small = [] if dataset in ("mnist", "fashion_mnist", "cifar10") else TINY[name]
    status = _main(name, variant, *small, "--steps", "2", "--run-dir", str(tmp_path / "run"))
    if small:
        assert status == config.FINISHED
    else:
        assert status == config.BAD_INPUT and not (tmp_path / "run").exists()
        assert f"python -m tools.prepare_data {dataset}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("likelihood_ladder", ["--train-split", "test"], "the test split, which must not be trained on"),
        ("likelihood_ladder", ["made", "--conditional"], "made takes no labels; these do: pixel_cnn"),
        ("likelihood_ladder", ["made", "--levels", "4"], "made is for binary images: --levels must be 2, got 4"),
        ("inpainting", ["made", "--masks", "2"], "lower halves need one order"),
        ("inpainting", ["made", "--model", "vae"], "lower halves need one order"),
        ("classifier", ["--measure", "units"], "--measure units needs --model residual_cnn, got cnn"),
    ],
)
def test_rungs_refuse_what_they_cannot_do(name, words, message, tmp_path, capsys):
    assert _main(name, *words, "--dataset", "digits", "--run-dir", str(tmp_path / "run")) == config.BAD_INPUT
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_conditional_model_completes_halves(tmp_path, capsys):
    """Labels reach the loss, the likelihoods and the sampler; and the noise of evaluation is the seed's."""
    run = tmp_path / "run"
    words = [*TINY["inpainting"], "--conditional", "--steps", "2", "--run-dir", str(run)]
    assert _main("inpainting", *words) == config.FINISHED
    figures = {figure["name"]: figure["value"] for figure in json.loads((run / "result.json").read_text())["figures"]}
    assert 0 < figures["NLL, lower half"] < figures["NLL"]
    assert (run / "samples" / "completions.png").exists()
    from gen_models.run.job import keys, load_run

    _, _, job, state = load_run(run)
    assert "label_0" in state.params
    again, other = ({f.name: f.value for f in job.figures(state, key)} for key in (keys(0)[3], jax.random.key(7)))
    assert again["NLL"] == figures["NLL"] != other["NLL"]


@pytest.mark.slow  # 37 minutes beside a training: the sizes are those of the papers
@pytest.mark.parametrize("variant", _experiment("published_likelihood").variants)
def test_published_sizes_take_two_steps(variant, tmp_path):
    """On noise of the data's shape, a batch of two: they fit together, and their losses are finite."""
    shape = (28, 28) if variant.startswith("mnist") else (32, 32, 3)
    for split in ("train", "validation", "test"):
        for i in range(2):
            path = tmp_path / split / "noise" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 256, shape, np.uint8)).save(path)
    small = ["--dataset", f"folder:{tmp_path}", "--batch-size", "2", "--train-split", "train", "--evaluate-every", "0"]
    job = _experiment("published_likelihood").build(
        cli.parse(_experiment("published_likelihood"), variant, [*small, "--steps", "2"])
    )
    state = job.init(jax.random.key(0))
    before = jax.tree.map(np.asarray, state.params)
    outcome = fit(job.step, state, job.batches, steps=2, key=jax.random.key(1))
    assert (outcome.status, outcome.step) == ("finished", 2)
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(outcome.state.params), strict=True):
        assert np.isfinite(new).all()
        assert old.shape == new.shape
    assert any(
        (old != new).any()
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(outcome.state.params), strict=True)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bse"], "unknown variant 'bse': did you mean 'base'"),
        (["--dataset", "mnst"], "did you mean 'mnist'"),
        (["--steps", "0"], "--steps must be 1 or more, got 0"),
        (["--learning-rate", "nan"], "--learning-rate must be finite"),
        (["--batch-size", "20000"], "20000|20,000"),
        (["--latent", "-1"], "latent=-1"),
        (["--hidden", "0"], "hidden=\\(0,\\)"),
        (["--accumulate", "3"], "--accumulate must divide --batch-size 128, got 3"),
        (["--dataset", "folder:no/such/folder"], "no/such/folder"),
        (["sweep", "--seeds", "0"], "--seeds must be 1 or more"),
        (["sweep", "--variants", "bas"], "did you mean 'base'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _main("vae", *words) == config.BAD_INPUT
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1 and "Traceback" not in error
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


def test_a_mistyped_option_suggests_the_nearest_without_importing_jax():
    code = (
        "import sys\nfrom gen_models import cli\nfrom experiments.vae import EXPERIMENT\n"
        "for words in (['--stepz', '5'], ['--help']):\n"
        "    try: cli.main(EXPERIMENT, words)\n"
        "    except SystemExit as stop: print(stop.code)\n"
        "assert not {'jax', 'flax', 'orbax', 'tensorflow_datasets'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--steps" in done.stderr + done.stdout and done.stdout.splitlines()[0] == "2"


def test_importing_the_library_does_not_import_tfds():
    code = (
        "import sys, gen_models.data, gen_models.run.job, gen_models.training.loop\n"
        "assert not {'tensorflow_datasets', 'tensorflow', 'grain', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_help_lists_every_field_with_its_default(capsys):
    for name in NAMES:
        experiment = _experiment(name)
        with pytest.raises(SystemExit):
            cli.main(experiment, ["--help"])
        text = capsys.readouterr().out
        for field in dataclasses.fields(next(iter(experiment.variants.values()))):
            assert f"--{field.name.replace('_', '-')}" in text, field.name


def test_sigterm_saves_and_says_so_with_its_own_status(tmp_path):
    words = [
        sys.executable,
        "-m",
        "experiments.vae",
        *TINY["vae"],
        "--steps",
        "1000000",
        "--run-dir",
        str(tmp_path / "r"),
    ]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.terminate()
        rest = process.stdout.read()
        assert process.wait() == config.INTERRUPTED, rest
    assert "interrupted and saved at step" in rest
    assert list((tmp_path / "r" / "checkpoints").iterdir())


def test_divergence_is_said_with_its_own_status(tmp_path, capsys):
    words = [*TINY["vae"], "--optimizer", "sgd", "--learning-rate", "1e12", "--steps", "50"]
    assert _main("vae", *words, "--run-dir", str(tmp_path / "r")) == config.DIVERGED
    assert "diverged at step" in capsys.readouterr().out
