"""`tools.diagnose` reads runs from their directories, and a run says on the way what goes wrong."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from saved import saved_run
from tool_runs import run_tool

import gen_models as gm
from gen_models.run import cli, config, diagnosing
from gen_models.run.diagnosing import diagnose_run
from gen_models.run.experiments import find
from gen_models.run.extractors import extractor_of
from gen_models.run.facts import facts_of
from tools import diagnose as tool

IMBALANCE = find("experiments.gan_imbalance")
FAILURE_OF_THE_DOMINATED = {"discriminator dominance", "vanishing generator gradient"}


def kept(folder, variant="dominated", experiment="experiments.gan_imbalance", rows=(), result=True, **stopped):
    """A run's directory as a run leaves it, without the checkpoints: a log alone."""
    folder.mkdir(parents=True)
    fields = {"class": None, **dataclasses.asdict(find(experiment).variants[variant])}
    named = {"form": 2, "experiment": experiment, "variant": variant, "config": fields}
    (folder / "config.json").write_text(
        json.dumps({**named, "config": {k: v for k, v in fields.items() if k != "class"}})
    )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if stopped:
        (folder / "stopped.json").write_text(json.dumps(stopped))
    elif result:
        (folder / "result.json").write_text(json.dumps({"figures": [], "seconds": 1.0, "step": 600}))
    return folder


def logged(fake, generator=-1e-3, norm=1.0):
    """Rows of a GAN whose discriminator gives generated examples the probability `fake`."""
    return [
        {
            "step": 20 * i,
            "seconds": float(i),
            "train/discriminator/loss": -float(np.log(1 - fake)),
            "train/discriminator/real_probability": 1 - fake,
            "train/discriminator/fake_probability": fake,
            "train/generator/loss": generator,
            "train/generator/grad_norm": norm if i < 5 else norm * fake,
        }
        for i in range(1, 31)
    ]


def test_one_run_is_a_table_with_remedies_that_its_experiment_has(tmp_path, monkeypatch, capsys):
    folder, file = kept(tmp_path / "run", rows=logged(1e-3)), tmp_path / "found.json"
    assert run_tool(tool, monkeypatch, folder, "--samples", "0", "--json", file) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(word in shown for word in ("vanishing", "certain", "evidence", "remedy", "--objective"))
    (found,) = json.loads(file.read_text()).values()
    assert {each["name"] for each in found["findings"]} == FAILURE_OF_THE_DOMINATED
    remedies = {each["name"]: each["remedy"] for each in found["findings"]}
    assert remedies["vanishing generator gradient"].startswith(
        "--objective non_saturating; --discriminator-learning-rate below 0.004; --discriminator-updates below 3; "
        "--penalty r1; --weights spectral"
    )
    assert {"failure": "samples that are alike", "needs": "--samples above 0"} in found["unseen"]


def test_a_healthy_run_is_accused_of_nothing_and_what_was_looked_for_is_said(tmp_path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", "balanced", rows=logged(0.3, generator=1.2))
    assert run_tool(tool, monkeypatch, folder, "--samples", "0") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "nothing found" in shown and "looked for: divergence, growing swings" in shown
    assert "could not look for posterior collapse: that needs a KL term" in shown


def test_a_folder_of_runs_is_counted(tmp_path, monkeypatch, capsys):
    for seed in range(3):
        kept(tmp_path / "sweep" / "dominated" / str(seed), rows=logged(1e-3))
    kept(tmp_path / "sweep" / "balanced" / "0", "balanced", rows=logged(0.3, generator=1.2))
    stopped = {"status": "diverged", "step": 40, "message": "diverged at step 40: a loss is not finite"}
    kept(tmp_path / "sweep" / "wgan_gp" / "0", "wgan_gp", **stopped)
    assert run_tool(tool, monkeypatch, tmp_path / "sweep", "--samples", "0") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "discriminator dominance: 3 of 5 runs" in shown and "divergence: 1 of 5 runs" in shown
    assert diagnose_run(tmp_path / "sweep" / "wgan_gp" / "0").diverged
    (tmp_path / "sweep" / "wgan_gp" / "0" / "config.json").write_text("{}")
    assert run_tool(tool, monkeypatch, tmp_path / "sweep", "--samples", "0") == 0
    said = capsys.readouterr()
    assert "wgan_gp/0 is left out" in said.err and "3 of 4 runs" in said.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "nowhere holds no run"),
        (["--samples", "1"], "--samples must be 0, or 2 or more, got 1"),
        (["--samples", "0", "--features", "efficientnet_lite0"], "--features are of samples"),
    ],
)
def test_bad_input_is_one_line(words, line, tmp_path, monkeypatch, capsys):
    folder = kept(tmp_path / "run", rows=logged(0.3, generator=1.2))
    assert run_tool(tool, monkeypatch, *([] if "nowhere" in words else [folder]), *words) == config.BAD_INPUT
    assert line in capsys.readouterr().err


def test_a_run_without_a_result_is_said_to_be_unfinished(tmp_path):
    folder = kept(tmp_path / "run", rows=logged(0.3, generator=1.2)[:10], result=False)
    (finding,) = diagnose_run(folder, samples=0).findings
    assert finding.name == "unfinished" and "200 of 600 steps" in finding.evidence
    assert ("samples that are alike", "a checkpoint") in diagnose_run(folder).unseen


def test_facts_know_the_words_of_options():
    facts = facts_of(IMBALANCE.variants["dominated"])
    assert facts.choices["penalty"] == ("none", "r1", "wgan_gp") and facts.options["discriminator_updates"] == 3
    assert facts.steps == 600


def with_sampler(found, sample):
    """A loaded run whose model draws by `sample(params, stats, key, n)`."""
    return found._replace(job=dataclasses.replace(found.job, model=dataclasses.replace(found.job.model, sample=sample)))


@pytest.mark.parametrize(
    ("name", "variant"), [("vae", "base"), pytest.param("gan_grid", "gan", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_samples_of_a_run_are_looked_at(name, variant, tmp_path, monkeypatch):
    """One example again and again is mode collapse; draws of the data are accused of nothing."""
    found = gm.load_run(saved_run(name, variant, tmp_path / "run"))
    batch = next(iter(found.job.test(jax.random.key(0)).batches(400)))
    data = jnp.asarray(batch["x"], jnp.float32)[np.asarray(batch["weight"]) > 0]

    def draws(params, stats, key, n):
        return data[jax.random.permutation(key, len(data))[jnp.arange(n) % len(data)]]

    def repeats(params, stats, key, n):
        return data[:1] + 1e-3 * jax.random.normal(key, (n, *data.shape[1:]))

    for sample, accused in ((draws, False), (repeats, True)):
        monkeypatch.setattr(diagnosing, "load_run", lambda folder, sample=sample, **place: with_sampler(found, sample))
        diagnosis = diagnose_run(tmp_path / "run", samples=200)
        assert diagnosis.collapsed == accused and "samples that are alike" in diagnosis.looked


@pytest.mark.slow
def test_a_weight_of_the_kl_that_is_too_high_is_posterior_collapse(tmp_path, capsys):
    """Induced by beta: the code is given up; with beta 1 it is used, and nothing is said on the way."""
    for beta, accused in (("50", True), ("1", False)):
        folder = tmp_path / beta
        words = ["--dataset", "digits", "--beta", beta, "--steps", "400", "--log-every", "20", "--evaluate-every", "0"]
        words += ["--importance-samples", "2", "--run-dir", str(folder)]
        assert cli.main(find("experiments.vae"), ["base", *words]) == config.FINISHED
        assert ("posterior collapse" in capsys.readouterr().err) == accused
        found = [each.name for each in diagnose_run(folder, samples=0).findings]
        assert found == (["posterior collapse"] if accused else [])


@pytest.mark.slow
def test_a_classifier_that_learns_noise_overfits(tmp_path, capsys):
    """Induced by labels: half of those of training are wrong, and are learned by heart; right ones accuse nobody."""
    draw, data = np.random.default_rng(0), gm.load("digits", "train").arrays
    x, y = np.asarray(data["x"]), np.asarray(data["y"])
    wrong = np.where(draw.random(len(y)) < 0.5, draw.integers(10, size=len(y)), y)
    classifier = find("experiments.classifier")
    for name, labels, accused in (("wrong", wrong, True), ("right", y, False)):
        np.savez(tmp_path / f"{name}.npz", x_train=x[:900], y_train=labels[:900], x_test=x[900:], y_test=labels[900:])
        words = [
            "--dataset",
            f"npz:{tmp_path / name}.npz",
            "--steps",
            "1500",
            "--log-every",
            "50",
            "--schedule",
            "constant",
        ]
        words += [
            "--network.dropout",
            "0",
            "--evaluate-every",
            "100",
            "--run-dir",
            str(tmp_path / name),
            "--augmentation",
        ]
        assert cli.main(classifier, ["mlp", *words]) == config.FINISHED
        assert ("overfitting" in capsys.readouterr().err) == accused


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["dominated", "balanced"])
def test_a_dominated_run_warns_on_the_way_and_a_balanced_one_does_not(variant, tmp_path, capsys, monkeypatch):
    """The whole of it: trained, warned of, diagnosed with samples; what is said on the way is said once."""
    words = [
        variant,
        "--steps",
        "200",
        "--log-every",
        "10",
        "--evaluate-every",
        "0",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    assert cli.main(IMBALANCE, words) == config.FINISHED
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    expected = FAILURE_OF_THE_DOMINATED if variant == "dominated" else set()
    assert len(said) == len(expected) and all(any(name in line for line in said) for name in expected)
    found = diagnose_run(tmp_path / "run", samples=200)
    assert expected <= {each.name for each in found.findings} and "samples that are alike" in found.looked
    assert found.collapsed == (variant == "dominated")
    cli.main(IMBALANCE, [*words, "--steps", "220"])  # a run that goes on does not say it again
    assert "warning:" not in capsys.readouterr().err


@pytest.mark.slow
def test_classes_that_samples_miss_are_found_by_a_classifier(tmp_path, monkeypatch):
    """A model that draws noughts alone, and one that draws all digits, by the same classifier's classes."""
    words = ["--dataset", "digits", "--steps", "300", "--run-dir", str(tmp_path / "classifier")]
    assert cli.main(find("experiments.classifier"), ["mlp", *words]) == config.FINISHED
    extractor = extractor_of(f"classifier:{tmp_path / 'classifier'}")
    found = gm.load_run(saved_run("vae", "base", tmp_path / "run"))
    batch = next(iter(found.job.held_out().batches(400)))
    images, labels = np.asarray(batch["x"], np.float32), np.asarray(batch["y"])
    for chosen, missed in ((labels == 0, True), (labels >= 0, False)):
        data = jnp.asarray(images[chosen & (np.asarray(batch["weight"]) > 0)])

        def sample(params, stats, key, n, data=data):
            return data[jax.random.randint(key, (n,), 0, len(data))]

        monkeypatch.setattr(diagnosing, "load_run", lambda folder, sample=sample, **place: with_sampler(found, sample))
        diagnosis = diagnose_run(tmp_path / "run", samples=200, extractor=extractor)
        assert "missed classes or modes" in diagnosis.looked
        assert any("classes are covered" in each.evidence for each in diagnosis.findings) == missed
