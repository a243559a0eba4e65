"""Spectrograms of known tones, files that are read back, and labels found by Bayes' rule."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_models.data.audio import read_wave
from gen_models.data.mu_law import mu_law_decode, mu_law_encode
from gen_models.measures.sound import FLOOR, LabelByLikelihood, Sounds, spectrogram, write_sounds
from gen_models.measures.text import TokenLikelihood
from gen_models.models.sequences.wavenet import wavenet
from tests.measured import KEY, figures_of, split_of, trained_of

RATE = 8000


def test_a_tone_is_loudest_at_its_frequency_and_silence_is_the_floor():
    t = np.arange(1000) / RATE
    found = spectrogram(np.sin(2 * np.pi * 1000 * t) + 0.1 * np.sin(2 * np.pi * 3000 * t))
    assert found.shape == (65, 28)
    assert (found.argmax(0) == 16).all()  # bins are 62.5 Hz apart
    np.testing.assert_allclose(found[16], 0, atol=0.1)
    np.testing.assert_allclose(found[48], -20, atol=0.1)  # a tenth of the amplitude
    assert (spectrogram(np.zeros(200)) == FLOOR).all() and found.min() >= FLOOR
    with pytest.raises(ValueError, match="needs 128 samples or more, got 99"):
        spectrogram(np.zeros(99))


def test_sounds_are_read_back_with_pauses_between(tmp_path):
    sounds = np.array([[0.5, -1.0, 2.0], [0.25, 0.0, -0.125]])
    samples, rate = read_wave(write_sounds(sounds, tmp_path / "a.wav", 8))
    assert rate == 8
    assert samples.tolist() == [16384, -32768, 32767, 0, 0, 8192, 0, -4096, 0, 0]


@pytest.mark.slow
def test_samples_are_sounds_of_the_classes_in_turn(tmp_path):
    model = wavenet(16, features=4, skip_features=4, layers=2, classes=3)
    x = jnp.zeros((1, 4), jnp.int32)
    params, stats = jax.jit(model.init)(KEY, {"x": x, "y": x, "label": jnp.zeros(1, jnp.int32)})
    params = jax.tree.map(lambda p: p + jax.random.normal(jax.random.key(p.size), p.shape), params)
    trained = trained_of()._replace(model=model, params=params, stats=stats, num_classes=3)
    measure = Sounds(count=4, length=300, levels=16, conditional=True)
    samples = measure.sample(trained, KEY, 4)
    sample = jax.jit(lambda label: model.sample(params, stats, KEY, 4, length=300, label=label))
    codes = sample(jnp.array([0, 1, 2, 0]))
    np.testing.assert_array_equal(samples, mu_law_decode(codes, 16))
    codes = np.asarray(mu_law_encode(jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (5, 300)), jnp.float32), 16))
    label = np.array([2, 2, 0, 1, 0])
    measure.draw(trained, split_of({"x": codes, "y": codes, "label": label}), KEY, tmp_path)
    written, _ = read_wave(tmp_path / "data.wav")
    first = written.reshape(4, -1)[:, :300] / 2**15
    np.testing.assert_allclose(first, mu_law_decode(codes[[2, 3, 0, 4]], 16), atol=1e-4)  # labels 0, 1, 2, 0
    assert len(read_wave(tmp_path / "samples.wav")[0]) == 4 * (300 + 2000)
    for name in ("samples.png", "data.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 100 and np.asarray(image.convert("L")).std() > 10


def test_a_label_is_found_by_what_it_makes_likely():
    """Tokens that are mostly the label: of the four sequences one is nearer to another label than to its own."""

    def log_prob(params, stats, x, key, *, inputs, lengths, label):
        return jnp.where(x == label[:, None], 0.0, -1.0).sum(1)

    y = np.array([[0, 0, 1], [1, 1, 1], [2, 0, 2], [0, 1, 1]])
    split = split_of({"x": y, "y": y, "label": np.array([0, 1, 2, 0])})
    found = figures_of(LabelByLikelihood(), trained_of(num_classes=3, log_prob=log_prob), split)["label by likelihood"]
    assert found.value == 0.75 and found.spread == pytest.approx(0.25)
    assert found.note == "chance is 0.333"
    with pytest.raises(ValueError, match="these data have no classes"):
        figures_of(LabelByLikelihood(), trained_of(log_prob=log_prob), split)


def test_the_likelihood_of_a_told_model_is_that_given_its_label():
    def log_prob(params, stats, x, key, *, inputs, lengths, label):
        return -x.shape[1] * label.astype(jnp.float32)

    y = np.zeros((4, 5), np.int32)
    split = split_of({"x": y, "y": y, "label": np.array([0, 1, 2, 5])})
    assert figures_of(TokenLikelihood(conditional=True), trained_of(log_prob=log_prob), split)["nats/token"].value == 2
