"""What a diagnosis of a run compares its samples with."""

import numpy as np
import pytest
from saved import saved_run

from gen_models.diagnosis.checks import Diagnosis
from gen_models.diagnosis.finding import Facts
from gen_models.run import diagnosing
from gen_models.run.diagnosing import diagnose_run

NOTHING = Diagnosis((), (), ())


@pytest.mark.parametrize(
    ("samples", "examples", "why"),
    [
        (np.full((10, 4), np.nan), np.eye(10, 4), "NaN"),
        (np.eye(10, 4), np.zeros((10, 4)), "exact copy"),
        (np.eye(1, 4), np.eye(1, 4), "2 or more examples"),
    ],
)
def test_samples_that_cannot_be_compared_are_said_to_be_unseen(samples, examples, why):
    """A diverged model, data that are copies, a part of one example."""
    found = diagnosing._alike(NOTHING, samples, examples, 1, Facts(), "pixel by pixel")
    ((name, needs),) = found.unseen
    assert name == "samples that are alike" and why in needs and not found.findings


@pytest.mark.slow
def test_examples_of_a_model_that_draws_means_of_levels_have_the_scale_of_its_samples(tmp_path, monkeypatch):
    """Its network sees levels from 0 to 16; its samples are from 0 to 1."""
    run, seen = saved_run("vae", "base", tmp_path / "run", likelihood="logistic", levels=17), []
    monkeypatch.setattr(diagnosing, "likeness", lambda *sets: seen.extend(sets))
    monkeypatch.setattr(diagnosing.of_samples, "alike", lambda *_: None)
    diagnose_run(run, samples=30)
    samples, examples = seen
    assert samples.shape == examples.shape == (30, 64)
    assert 0.9 < examples.max() <= 1 and samples.max() <= 1
