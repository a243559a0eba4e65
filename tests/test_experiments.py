"""Every experiment runs, resumes in the same bits, and answers bad input in one line."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from tiny import tiny_config, tiny_words
from tool_runs import run_tool

from gen_models.run import cli, config
from gen_models.run.arguments import parse
from gen_models.run.experiments import find, names
from gen_models.run.fields import field_names
from gen_models.run.job import keys, make_job
from gen_models.run.restore import load_run
from gen_models.training.loop import fit
from tools import evaluate, sample
from tools.kill_check import differing_leaf

ROOT = Path(__file__).parent.parent
EXPERIMENTS = {name: find(name) for name in names()}
FIRST = {name: next(iter(experiment.variants)) for name, experiment in EXPERIMENTS.items()}
# Experiments whose models are their own; the others ask other questions of those.
OWN = [name for name, experiment in EXPERIMENTS.items() if experiment.model.__module__.endswith(f".{name}")]
# These run the models of others of OWN, by the same mechanisms: whole runs of theirs are for the slow suite.
LIKE_OTHERS = (
    *("ablations.attention", "autoencoder_uses", "posterior_collapse", "semi_supervised", "vae_beta", "vae_decoders"),
    *("vq_vae", "gan_imbalance", "gan_mode_collapse", "stacked_mnist"),
)
WHOLE = ("classifier",)  # a whole run of the default suite; the contract restores states of every kind
VARIANTS = [(name, variant) for name, experiment in EXPERIMENTS.items() for variant in experiment.variants]


def _main(name, variant, *words):
    return cli.main(EXPERIMENTS[name], [variant, *words])


def _result(folder):
    return json.loads((folder / "result.json").read_text())


def test_an_ablation_without_a_variant_is_its_whole_table(monkeypatch):
    """Fields on the command line are those of every row; with a variant it is one run."""
    seen = []
    monkeypatch.setattr("gen_models.sweep.command.sweep", lambda experiment, words: seen.append(words) or 0)
    tables = {name for name, experiment in EXPERIMENTS.items() if experiment.table}
    assert tables == {name for name in EXPERIMENTS if name.startswith("ablations.")} | {
        *("gan_grid", "gan_losses", "gan_mode_collapse", "stacked_mnist")
    }
    for name in tables:
        assert cli.main(EXPERIMENTS[name], ["--steps", "5", "--seeds", "2"]) == 0
    assert seen == [["--steps", "5", "--seeds", "2"]] * len(tables)


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in WHOLE else pytest.mark.slow) for n in OWN])
def test_runs_finishes_and_resumes_in_the_same_bits(name, tmp_path, capsys, monkeypatch):
    often = {"--steps": 6, "--checkpoint-every": 2, "--log-every": 2, "--evaluate-every": 2, "--draw-every": 4}
    words = [*tiny_words(EXPERIMENTS[name], FIRST[name]), *(str(word) for pair in often.items() for word in pair)]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert _main(name, FIRST[name], *words, "--tensorboard", "--run-dir", str(whole)) == config.FINISHED
    for file in ("config.json", "environment.json", "metrics.jsonl", "curves.png", "result.json"):
        assert (whole / file).stat().st_size > 0, file
    assert list((whole / "samples").glob("*.png"))
    assert list((whole / "tensorboard").glob("events.*"))
    result = _result(whole)
    for figure in result["figures"]:
        assert set(figure) == {"name", "value", "unit", "measured_on", "spread", "note", "better"}

    # As a kill after step 4 leaves it: an older checkpoint, metrics that ran ahead, no result.
    shutil.copytree(whole, cut)
    shutil.rmtree(cut / "checkpoints" / "6")
    (cut / "result.json").unlink()
    assert _main(name, FIRST[name], *words, "--run-dir", str(cut)) == config.FINISHED
    found = load_run(whole)
    assert differing_leaf(found.state, load_run(cut).state) is None
    timed = [figure["name"] for figure in result["figures"] if figure["unit"] == "s"]  # times differ
    ours, others = (
        [figure for figure in every["figures"] if figure["name"] not in timed] for every in (result, _result(cut))
    )
    assert ours == others
    histories = [[row | {"seconds": None} for row in load.history()] for load in (found.run, type(found.run)(cut))]
    assert histories[0] == histories[1] and {row["step"] for row in histories[0]} == {2, 4, 6}

    # A run that has finished is not trained again, however it is watched now; nor is another seed's taken for it.
    capsys.readouterr()
    before = (whole / "result.json").read_bytes()
    assert _main(name, FIRST[name], *words, "--log-every", "3", "--run-dir", str(whole)) == config.FINISHED
    assert "finished before" in capsys.readouterr().out and (whole / "result.json").read_bytes() == before
    assert _main(name, FIRST[name], *words, "--run-dir", str(whole), "--seed", "5") == config.BAD_INPUT
    assert "seed is 0 there and 5 here" in capsys.readouterr().err

    assert run_tool(evaluate, monkeypatch, whole) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert result["figures"][0]["name"].split()[0] in shown
    status = run_tool(sample, monkeypatch, whole, "--n", "5")
    if found.job.sampler() is None:
        assert status == config.BAD_INPUT and "no samples" in capsys.readouterr().err
    else:
        assert status == 0
        samples = np.load(whole / "samples" / "n5_seed0.npy", allow_pickle=False)
        assert samples.dtype.kind == "U" or np.isfinite(samples).all()


def _is_elsewhere(name, variant):
    """Whether the variant's data are no part of this package."""
    return getattr(EXPERIMENTS[name].variants[variant], "dataset", "") in ("mnist", "fashion_mnist", "cifar10")


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_every_variant_is_a_job(name, variant):
    """Data, model, optimizer and measures fit together; nothing is compiled."""
    own = tiny_config(EXPERIMENTS[name], variant)
    job = make_job(EXPERIMENTS[name], own)
    assert job.measures and job.batches(own.seed).steps_per_epoch > 0


# One that asks a question of an autoencoder; the slow suite has the others.
_ASKED = [name for name in EXPERIMENTS if name not in OWN or name in LIKE_OTHERS]
_QUICK = ("autoencoder_uses",)


@pytest.mark.parametrize("name", [n if n in _QUICK else pytest.param(n, marks=pytest.mark.slow) for n in _ASKED])
def test_a_question_asked_of_anothers_model_takes_two_steps(name):
    """Its first variant; what is measured of it, and the other variants, are for the slow test below."""
    own = tiny_config(EXPERIMENTS[name], FIRST[name])
    job = make_job(EXPERIMENTS[name], own)
    batches, key = job.batches(own.seed), keys(own.seed).data
    outcome = fit(job.step, job.initial(own.seed), batches, steps=2, key=key, numbers=job.numbers(own))
    assert (outcome.status, int(outcome.state.step)) == ("finished", 2)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(outcome.state.params))


def _marked(name, variant):
    """In the default suite are those that have no data here."""
    return pytest.param(name, variant, marks=() if _is_elsewhere(name, variant) else pytest.mark.slow)


@pytest.mark.parametrize(("name", "variant"), [_marked(*pair) for pair in VARIANTS])
def test_every_variant_builds_and_takes_two_steps_or_says_how_to_get_its_data(name, variant, tmp_path, capsys):
    elsewhere = _is_elsewhere(name, variant)
    small = [] if elsewhere else tiny_words(EXPERIMENTS[name], variant)
    status = _main(name, variant, *small, "--steps", "2", "--run-dir", str(tmp_path / "run"))
    if not elsewhere:
        assert status == config.FINISHED
    else:
        assert status == config.BAD_INPUT and not (tmp_path / "run").exists()
        dataset = EXPERIMENTS[name].variants[variant].dataset
        assert f"python -m tools.prepare_data {dataset}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("likelihood_ladder", ["--train-split", "test"], "the test split, which must not be trained on"),
        ("likelihood_ladder", ["made", "--conditional"], "Made takes no labels; these do: PixelCnn"),
        ("likelihood_ladder", ["made", "--levels", "4"], "Made is for binary images: --levels must be 2, got 4"),
        ("inpainting", ["made", "--network.masks", "2"], "lower halves need one order"),
        ("classifier", ["--measure", "units"], "--measure units needs a network ResidualCnn, got Cnn"),
    ],
)
def test_rungs_refuse_what_they_cannot_do(name, words, message, tmp_path, capsys):
    words = [*words, "--dataset", "digits", "--run-dir", str(tmp_path / "run")]
    assert cli.main(EXPERIMENTS[name], words) == config.BAD_INPUT
    assert message in capsys.readouterr().err and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_conditional_model_completes_halves(tmp_path):
    """Labels reach the loss, the likelihoods and the sampler; and the noise of evaluation is the seed's."""
    run = tmp_path / "run"
    words = [*tiny_words(EXPERIMENTS["inpainting"], FIRST["inpainting"]), "--conditional", "--steps", "2"]
    assert _main("inpainting", FIRST["inpainting"], *words, "--run-dir", str(run)) == config.FINISHED
    figures = {figure["name"]: figure["value"] for figure in _result(run)["figures"]}
    assert 0 < figures["NLL, lower half"] < figures["NLL"]
    assert (run / "samples" / "completions.png").exists()
    _, _, job, state = load_run(run)
    assert "label_0" in state.params
    again, other = ({f.name: f.value for f in job.figures(state, key)} for key in (keys(0).figures, jax.random.key(7)))
    assert again["NLL"] == figures["NLL"] != other["NLL"]


@pytest.mark.slow  # 37 minutes beside a training: the sizes are those of the papers
@pytest.mark.parametrize("variant", EXPERIMENTS["recipes.published_likelihood"].variants)
def test_published_sizes_take_two_steps(variant, tmp_path):
    """On noise of the data's shape, a batch of two: they fit together, and their losses are finite."""
    shape = (28, 28) if variant.startswith("mnist") else (32, 32, 3)
    two_steps(EXPERIMENTS["recipes.published_likelihood"], variant, shape, tmp_path, images=2)


@pytest.mark.slow  # 2 minutes on two idle cores
@pytest.mark.parametrize(
    "variant", [name for name in EXPERIMENTS["recipes.published_gan"].variants if name != "features"]
)
def test_published_gans_take_two_steps(variant, tmp_path):
    """On noise of the data's shape, two images for each update of the discriminator."""
    experiment = EXPERIMENTS["recipes.published_gan"]
    config = experiment.variants[variant]
    side = 64 if "64" in variant or variant.startswith(("lsun", "celeb")) else 32
    two_steps(experiment, variant, (side, side, 3), tmp_path, images=2 * config.discriminator_updates)


def two_steps(experiment, variant, shape, folder, images):
    """Train a variant for two steps on noise, two classes of it, and check that its parameters move and are finite."""
    for split, name in itertools.product(("train", "validation", "test"), ("noise", "other")):
        for i in range(images):
            path = folder / split / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(i).integers(0, 256, shape, np.uint8)).save(path)
    small = ["--dataset", f"folder:{folder}", "--batch-size", str(images), "--train-split", "train", "--steps", "2"]
    own = parse(experiment, variant, small)
    job = make_job(experiment, own)
    state = job.initial(own.seed)
    before = jax.tree.map(np.asarray, state.params)
    batches, key = job.batches(own.seed), keys(own.seed).data
    outcome = fit(job.step, state, batches, steps=2, key=key, numbers=job.numbers(own))
    assert (outcome.status, outcome.step) == ("finished", 2)
    pairs = list(zip(jax.tree.leaves(before), jax.tree.leaves(outcome.state.params), strict=True))
    for old, new in pairs:
        assert np.isfinite(new).all()
        assert old.shape == new.shape
    assert any((old != new).any() for old, new in pairs)


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
    assert cli.main(EXPERIMENTS["vae"], words) == config.BAD_INPUT
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1 and "Traceback" not in error
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


def test_a_run_of_another_form_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    """As earlier versions wrote it: no form, and fields that are no more."""
    saved = {"experiment": "experiments.gan_grid", "variant": "gan", "config": {"trials": 10}}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    commands = (
        lambda: _main("gan_grid", "gan", "--run-dir", str(tmp_path)),
        lambda: run_tool(evaluate, monkeypatch, tmp_path),
        lambda: run_tool(sample, monkeypatch, tmp_path),
    )
    for command in commands:
        assert command() == config.BAD_INPUT
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1 and "holds a run of another form" in error, error
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_mistyped_option_suggests_the_nearest_without_importing_jax():
    code = (
        "import sys\nfrom gen_models.run import cli\nfrom experiments.vae import EXPERIMENT\n"
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


TOOLS = (
    "sample",
    "evaluate",
    "export",
    "memory",
    "kill_check",
    "benchmark",
    "ladder",
    "rate_distortion",
    "receptive_field",
    "sweep_check",
    "judge",
)


def test_tools_say_how_they_are_used_without_importing_jax():
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    tool, sys.argv = importlib.import_module(f'tools.{name}'), [name, '--help']\n"
        "    try: tool.main()\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "assert not {'jax', 'flax', 'orbax'} & set(sys.modules)\n"
    )
    words = [sys.executable, "-c", code, *TOOLS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: ") == len(TOOLS)
    assert done.stdout.count("--experiment FILE") == 2 * 4  # of each tool that takes a run: usage and option


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_lists_every_field_with_its_default(name, capsys):
    """Those of the variant's network too."""
    with pytest.raises(SystemExit):
        cli.main(EXPERIMENTS[name], ["--help"])
    text = capsys.readouterr().out
    for field in field_names(EXPERIMENTS[name].variants[FIRST[name]]):
        assert f"--{field.replace('_', '-')}" in text, field


def test_sigterm_saves_and_says_so_with_its_own_status(tmp_path):
    small = [*tiny_words(EXPERIMENTS["vae"], "base"), "--steps", "1000000", "--run-dir", str(tmp_path / "r")]
    words = [sys.executable, "-m", "experiments.vae", *small]
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
    words = [*tiny_words(EXPERIMENTS["vae"], "base"), "--optimizer", "sgd", "--learning-rate", "1e12", "--steps", "50"]
    assert _main("vae", "base", *words, "--run-dir", str(tmp_path / "r")) == config.DIVERGED
    assert "diverged at step" in capsys.readouterr().out


@pytest.mark.slow
def test_one_device_needs_no_cutting_of_parameters(tmp_path):
    """As on a machine with one GPU, and in each pinned worker of a sweep."""
    words = [*tiny_words(EXPERIMENTS["vae"], "base"), "--steps", "2", "--run-dir", str(tmp_path / "r")]
    command = [sys.executable, "-m", "experiments.vae", *words, "--shard-parameters"]
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == config.FINISHED, done.stderr
