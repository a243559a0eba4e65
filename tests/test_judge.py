"""The tool that has a classifier judge sounds: which part it hears, and what it refuses."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.core import Model
from gen_models.measures import Trained
from tools.judge import check, companded, judged, share, told


def by_loudness(params, stats, x, lengths):
    """Class 1 where the mean size of the samples that count is above a quarter."""
    inside = jnp.arange(x.shape[1]) < lengths[:, None]
    loud = (jnp.abs(x) * inside).sum(1) / lengths
    return jnp.stack([jnp.full(len(x), 0.25), loud], -1)


class Part(SimpleNamespace):
    """A part of the data."""

    def __len__(self):
        return len(self.arrays["y"])


def a_judge(apply=by_loudness, kind="audio", experiment="experiments.speech"):
    """A loaded run whose sounds are 12 samples long, at most, and half of them 6."""
    loud, quiet = np.full(12, 20_000, np.int16), np.full(12, 1000, np.int16)
    x = np.stack([loud, quiet, loud, quiet])
    arrays = {"x": x, "y": np.array([1, 0, 0, 0]), "length": np.array([6, 6, 12, 5])}
    part = Part(arrays=arrays, name="toys", kind=kind, shape=(12,))
    model = Model(init=lambda *_: ({}, {}), loss=lambda *_, **__: (0.0, ({}, {})), apply=apply)
    evaluation = lambda batch, key: {**batch, "x": batch["x"] / 2**15}  # noqa: E731
    data = SimpleNamespace(train=part, test=part, evaluation=evaluation, num_classes=2)
    job = SimpleNamespace(
        data=data, trained=lambda state: Trained(model, {}, {}), experiment=SimpleNamespace(name=experiment)
    )
    return SimpleNamespace(
        job=job, state=None, run=SimpleNamespace(folder="runs/judge"), config=SimpleNamespace(rate=8000)
    )


def test_sounds_are_told_by_as_much_as_sounds_have_in_the_median():
    """Six samples: what is behind them, here silence in a loud sound and noise in a quiet one, is not heard."""
    sounds = np.zeros((4, 10))
    sounds[:2, :6], sounds[2:, 6:] = 0.6, 1.0
    figures = {figure.name: figure for figure in judged(a_judge(), sounds, np.array([1, 1, 0, 1]), 256)}
    asked = figures["told as asked for"]
    assert asked.value == 0.75 and asked.measured_on == "4 samples, 6 of each"
    assert figures["real sounds"].value == 0.75 and figures["real sounds, cut and companded"].value == 0.75
    assert asked.spread == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
    assert share(np.array([True, True])) == (1.0, 0.0)


def test_a_classifier_that_reads_whole_sounds_is_told_no_length():
    judge = a_judge(lambda params, stats, x: jnp.stack([x[:, -1], -x[:, -1]], -1))
    x = np.zeros((3, 20), np.int16)
    x[:, 11] = [5, -5, 5]  # the last sample that it hears; of shorter sounds it is silence
    assert told(judge, x, np.full(3, 20)).tolist() == [0, 1, 0]


def test_companded_sounds_are_near_to_what_they_were():
    x = np.random.default_rng(0).integers(-(2**15), 2**15, (3, 50)).astype(np.int16)
    found = companded(x, 256)
    assert found.dtype == np.int16 and 0 < np.abs(found.astype(int) - x).max() <= 0.022 * 2**15 + 4


def test_runs_that_do_not_go_together(monkeypatch):
    sampler = SimpleNamespace(levels=256, conditional=True)
    monkeypatch.setattr("gen_models.run.tool.sampler_of", lambda found: sampler)
    check(a_judge(), a_judge())
    other = a_judge()
    other.config.rate = 16_000
    for found, judge, message in (
        (a_judge(), other, "2 classes and 8000 samples a second, and runs/judge 2 and 16000"),
        (a_judge(), a_judge(experiment="experiments.vae"), "tells no single digits"),
        (a_judge(), a_judge(kind="arrays"), "tells no single digits"),
    ):
        with pytest.raises(ValueError, match=message):
            check(found, judge)
    sampler.conditional = False
    with pytest.raises(ValueError, match="makes no sounds of a class"):
        check(a_judge(), a_judge())
