"""Measures of sequences that go on from window to window, against whole sequences; and music as files."""

import jax
import numpy as np
import pytest
from PIL import Image

from gen_models.data.dataset import of_arrays
from gen_models.data.rolls import roll_windows
from gen_models.data.splits import Splits
from gen_models.measures.base import Split
from gen_models.measures.music import Rolls, StepLikelihood
from gen_models.models.sequences.polyphonic import polyphonic
from tests.measured import KEY, figures_of, trained_of


def _trained(keys):
    model = polyphonic(keys, features=4)
    params, stats = jax.jit(model.init)(KEY, {name: np.zeros((1, 3, keys), np.uint8) for name in ("x", "y")})
    return trained_of()._replace(model=model, params=params, stats=stats)


def test_nats_of_a_step_are_those_of_whole_sequences_however_they_are_cut():
    trained = _trained(3)
    pieces = [np.random.default_rng(n).integers(2, size=(n, 3), dtype=np.uint8) for n in (5, 12, 7)]
    nats = [-float(trained.model.log_prob(trained.params, {}, jax.numpy.asarray(piece[None]))[0]) for piece in pieces]
    value = sum(nats) / 24
    for length in (4, 12):
        windows = roll_windows(pieces, length)
        splits = Splits.of_arrays(windows, name="music")
        split = Split(splits, of_arrays(windows, "music"), "test")
        found = figures_of(StepLikelihood(), trained, split)
        figure, alike = found["nats/step"], found["nats/step, sequences alike"]
        assert figure.value == pytest.approx(value, rel=1e-5)
        assert figure.note == "exact; 3 sequences, 24 steps"
        steps = np.array([5, 12, 7])
        deviation = (np.array(nats) - value * steps).std(ddof=1) / (8 * np.sqrt(3))
        assert figure.spread == pytest.approx(deviation, rel=1e-3)
        own = np.array(nats) / steps
        assert alike.value == pytest.approx(own.mean(), rel=1e-5)
        assert alike.spread == pytest.approx(own.std(ddof=1) / np.sqrt(3), rel=1e-3)


def test_music_is_drawn_and_written(tmp_path):
    pytest.importorskip("mido")
    trained, windows = _trained(88), roll_windows([np.eye(88, dtype=np.uint8)[:9]] * 3, 6)
    split = Split(Splits.of_arrays(windows, name="music"), of_arrays(windows, "music"), "test")
    Rolls(count=3, length=7).draw(trained, split, KEY, tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"data.png", "samples.png", "samples_0.mid", "samples_1.mid", "samples_2.mid"}
    with Image.open(tmp_path / "samples.png") as image:
        assert image.size[0] > 600
    samples = Rolls(length=7).sample(trained, KEY, 2)
    assert samples.shape == (2, 7, 88) and samples.dtype == np.uint8 and samples.max() <= 1
