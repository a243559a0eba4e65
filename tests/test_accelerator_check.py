"""The accelerator check finds faults that are planted for it, ends in time, and says what it left out."""

import json
import os
import time
from functools import partial

import jax
import pytest

from tools import accelerator_check
from tools.accelerator import CHECKS, Report, equality, exports, half, loop, samplers, subjects

# Subjects that ask most of the images' sizes; the slow suite makes the others too.
OF_EACH_SIZE = ("likelihood_ladder pixel_cnn_pp", "likelihood_ladder pixel_snail", "vae conv")

# An experiment of somebody's own, whose variants have a fault each.
OWN = '''
"""Which faults are found?"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

import gen_models as gm
from gen_models.nn.devices import is_plain


@dataclass(frozen=True, kw_only=True)
class Config(gm.Optimisation):
    """A line through points."""

    batch_size: int = 16
    fault: str = "none"
    """What is wrong."""


def data(config):
    """Points on a plane."""
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    return gm.Splits.of_arrays({"x": x, "y": x.sum(1)})


def model(config, data):
    """A linear map."""
    if config.fault == "hangs":
        import time

        time.sleep(600)
    dtype = jnp.float32 if config.fault == "half" else config.precision

    def loss(params, stats, batch, key, *, step, train=True):
        off = (batch["x"].astype(dtype) @ params["w"].astype(dtype)).astype(jnp.float32) - batch["y"]
        value = (off**2).sum() if config.fault == "sum" else (off**2).mean()
        if config.fault == "platform":  # the layers here take another form than on an accelerator
            value *= 1.0 if is_plain() else 1.01
        if config.fault == "raises":
            raise KeyError("the loss")
        return value, (stats, {})

    def sample(params, stats, key, n, method="cached"):
        shift = 1 if config.fault == "cache" and method == "cached" else 0
        return jax.random.bernoulli(jax.random.fold_in(key, shift), 0.5, (n, 4)).astype(jnp.int32)

    return gm.Model(lambda key, batch: ({"w": jnp.zeros(3)}, {}), loss, sample=sample)


def measures(config):
    """None."""
    return ()


base = Config()
faults = ("half", "sum", "platform", "raises", "cache", "hangs")
EXPERIMENT = gm.Experiment(
    __file__, __doc__, {"base": base} | {name: replace(base, fault=name) for name in faults}, data, model, measures
)
'''


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own_experiment.py"
    path.write_text(OWN)
    subjects.job_of.cache_clear()
    return path


def found(check, subject, platform="cpu"):
    findings = []
    check.run([subject], Report("check", 60, platform, findings.append))
    return findings


def failed(findings):
    return [finding.said.partition(":")[0] for finding in findings if finding.status == "failed"]


@pytest.mark.parametrize(
    ("fault", "ways"),
    [
        ("base", []),
        # Here the planted step differs by device: by the layers' form on a CPU, which the reference does not take.
        ("platform", ["jit", "pmap", "shard_map", "jit, 8 devices", "jit, parameters cut"]),
        ("sum", ["copies of the step"]),
        ("raises", ["KeyError"]),
    ],
)
def test_a_step_that_differs_is_found(own, fault, ways):
    findings = found(equality, f"{own} {fault}")
    assert findings
    assert failed(findings) == ways


@pytest.mark.parametrize(("check", "fault"), [(half, "half"), (samplers, "cache")])
def test_other_faults_are_found(own, check, fault):
    assert failed(found(check, f"{own} base")) == []
    assert len(failed(found(check, f"{own} {fault}"))) == 1


def test_a_step_that_is_traced_again_is_found(own, monkeypatch):
    assert failed(found(loop, f"{own} base")) == []
    again = partial(loop.fit, steps_per_call=None)

    def forgets(step, *arguments, **options):
        return again(lambda *inside: step(*inside), *arguments, **options)  # a new function for each call of fit

    monkeypatch.setattr(loop, "fit", forgets)
    assert len(failed(found(loop, f"{own} base"))) == 1


@pytest.mark.slow_cases(*(name for name in accelerator_check.SUBJECTS if name not in OF_EACH_SIZE))
@pytest.mark.parametrize("subject", accelerator_check.SUBJECTS)
def test_every_subject_can_be_made_at_its_tiny_sizes(subject):
    job = subjects.job_of(subject)
    params, _ = jax.eval_shape(job.model.init, jax.random.key(0), subjects.batch_of(job))
    assert jax.tree.leaves(params)


def test_a_subject_that_cannot_be_made_ends_no_check(own):
    own.write_text(OWN.replace("return gm.Model(", 'raise ValueError("no such sizes")\n    return gm.Model('))
    for check in (samplers, exports):
        findings = []
        check.run([f"{own} base", "vae"], Report("check", 60, "cpu", findings.append))
        assert [finding.status for finding in findings][:1] == ["failed"]
        assert "no such sizes" in findings[0].said
        assert {finding.subject for finding in findings} == {f"{own} base"} | ({"vae"} if check is exports else set())


def test_subjects_are_left_out_where_the_longest_would_take_too_long():
    findings = []
    report = Report("check", 0.2, "cpu", findings.append)

    def takes(subject):
        time.sleep(0.15)
        yield "ok", "well", {}

    report.of_each(["a", "b", "c"], takes)
    assert [finding.status for finding in findings] == ["ok", "left out", "left out"]
    assert findings[0].seconds == pytest.approx(0.15, abs=0.1)


def test_it_ends_in_time_and_says_what_it_left_out(own, tmp_path, capsys):
    out = tmp_path / "found.json"
    own.write_text(OWN.replace("base = Config()", 'base = Config(fault="hangs")'))
    began = time.monotonic()
    words = ["--experiment", str(own), "--only", "equality", "bfloat16", "--minutes", "0.2", "--out", str(out)]
    status = accelerator_check.main(words)
    assert time.monotonic() - began < 12 + 2 * accelerator_check.ENDING + 5
    assert status == 0
    written = json.loads(out.read_text())
    assert written["machine"]["platform"] == jax.default_backend()
    assert {(f["check"], f["status"]) for f in written["findings"]} >= {("equality", "left out")}
    assert "left out for lack of time, equality" in capsys.readouterr().out


def test_what_is_asked_is_checked_first(own, tmp_path):
    for words, told in [
        (["--only", "equalty"], "did you mean 'equality'"),
        (["--subjects", "vae cnov"], "did you mean 'conv'"),
        (["--minutes", "0"], "--minutes must be above 0"),
        (["--out", str(tmp_path)], "give a file's name"),
        (["--experiment", str(tmp_path / "none.py")], "is not there"),
    ]:
        with pytest.raises(ValueError, match=told):
            accelerator_check.main(words)


def test_subjects_are_variants_that_there_are():
    for subject in accelerator_check.SUBJECTS:
        experiment, variant = subjects.named(subject)
        assert variant in experiment.variants
    assert sum(check.share for check in CHECKS.values()) == pytest.approx(1)


@pytest.mark.slow  # 2 minutes on two cores
def test_the_whole_of_it_finds_nothing_wrong_here(tmp_path, capsys):
    assert accelerator_check.main(["--minutes", "2", "--out", str(tmp_path / "found.json")]) == 0, capsys.readouterr()
    statuses = {finding["status"] for finding in json.loads((tmp_path / "found.json").read_text())["findings"]}
    assert "ok" in statuses and "failed" not in statuses
    assert os.path.getsize(tmp_path / "found.json")
