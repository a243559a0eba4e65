"""Noise of known powers, masks that take it out, and the measure of both."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.signal

import gen_models as gm
from gen_models.data.audio import read_wave
from gen_models.data.noise import coloured_noise, noisy
from gen_models.data.spectrograms import istft, stft
from gen_models.measures.denoising import Denoising
from gen_models.metrics import signal_to_noise
from gen_models.models.sequences.mask_network import mask_network
from tests.measured import KEY, figures_of, split_of, trained_of

T, HOW = 256, {"window": 32, "hop": 16}


def network(features=8):
    return mask_network(T, partial(stft, **HOW), partial(istft, length=T, **HOW), 17, features=features, hop=16)


def tones(count):
    """Sounds int16 [count, T] of low tones."""
    rng = np.random.default_rng(0)
    pitch, phase = rng.uniform(0.2, 0.6, (count, 1)), rng.uniform(0, 6, (count, 1))
    return (9000 * np.sin(pitch * np.arange(T) + phase)).astype(np.int16)


def test_noise_has_the_power_that_is_asked_for_and_ends_with_the_sound():
    x, lengths = tones(6), np.array([T, T, 100, 100, 7, T])
    batch = jax.jit(noisy(3.0, 3.0))({"x": x, "length": lengths, "label": lengths}, KEY)
    np.testing.assert_allclose(signal_to_noise(batch["x"], batch["y"]), 3.0, atol=1e-3)
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(batch["y"][row, :length], x[row, :length] / 2**15)
        assert (np.asarray(batch["x"])[row, length:] == 0).all() and (np.asarray(batch["y"])[row, length:] == 0).all()
    wide = noisy(-5.0, 10.0)({"x": tones(200)}, KEY)
    ratios = np.asarray(signal_to_noise(wide["x"], wide["y"]))
    assert -5 <= ratios.min() < -4 and 9 < ratios.max() <= 10 and abs(ratios.mean() - 2.5) < 1
    silent = noisy(0.0, 0.0)({"x": 0 * x}, KEY)
    assert np.isfinite(silent["x"]).all() and np.abs(silent["x"]).max() < 1e-3


def test_pink_noise_falls_by_three_decibels_an_octave():
    """SciPy's estimate of the power at each frequency."""
    for colour, slope in (("white", 0.0), ("pink", -1.0)):
        noise = np.asarray(coloured_noise(KEY, (20, 4096), colour), np.float64)
        assert noise.std() == pytest.approx(1, abs=0.02)
        frequency, power = scipy.signal.welch(noise, nperseg=512)
        inner = slice(4, 250)
        found = np.polyfit(np.log(frequency[inner]), np.log(power.mean(0)[inner]), 1)[0]
        assert found == pytest.approx(slope, abs=0.05)


@pytest.mark.slow
def test_a_trained_mask_takes_noise_out_and_padding_changes_nothing(tmp_path):
    model, tx = network(), optax.adam(0.02)
    x, transform = tones(64), noisy(0.0, 5.0)
    batch = transform({"x": x}, KEY)
    state = gm.init_state(model, tx, KEY, batch)
    step = jax.jit(lambda state, key: gm.make_train_step(model.loss, tx)(state, transform({"x": x}, key)))
    for seed in range(60):
        state, metrics = step(state, jax.random.key(seed))
    assert metrics["improvement"] > 4
    fresh = {**transform({"x": x}, jax.random.key(999)), "length": np.full(64, 100)}
    trained = trained_of(params=state.params, apply=model.apply)
    unpadded = split_of({name: np.asarray(fresh[name]) for name in ("x", "y")})
    found = figures_of(Denoising(**HOW), trained, unpadded)
    before, after, known = (found[f"signal-to-noise ratio{end}"].value for end in (" before", "", " by Wiener's mask"))
    theirs = scipy.signal.ShortTimeFFT(scipy.signal.get_window("hann", 32), 16, fs=1, phase_shift=None)
    spectra = [theirs.stft(np.asarray(part, np.float64)) for part in (fresh["y"], fresh["x"] - fresh["y"], fresh["x"])]
    mask = abs(spectra[0]) ** 2 / (abs(spectra[0]) ** 2 + abs(spectra[1]) ** 2)
    wiener = theirs.istft(mask * spectra[2], k1=T)
    wanted = 10 * np.log10((fresh["y"] ** 2).sum(1) / ((wiener - fresh["y"]) ** 2).sum(1)).mean()
    assert known == pytest.approx(float(wanted), abs=0.01)
    assert 0 <= before <= 5 and before + 4 < after
    assert found["improvement"].value == pytest.approx(after - before, abs=1e-4)
    apply = jax.jit(partial(model.apply, state.params, {}))
    other = np.where(np.arange(T) < 100, fresh["x"], 5).astype(np.float32)
    cleaned = apply(fresh["x"], fresh["length"])
    np.testing.assert_array_equal(cleaned, apply(other, fresh["length"]))
    assert (np.asarray(cleaned)[:, 100:] == 0).all()
    Denoising(rate=8000, shown=2, **HOW).draw(trained, unpadded, KEY, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"noisy.wav", "denoised.wav", "clean.wav", "denoised.png"}
    written = read_wave(tmp_path / "clean.wav")[0][:T] / 2**15
    np.testing.assert_allclose(written, fresh["y"][0], atol=1e-4)


def test_the_loss_is_minus_the_ratio_in_decibels():
    model = network(2)
    batch = noisy(1.0, 1.0)({"x": tones(3)}, KEY)
    params, _ = model.init(KEY, batch)
    flat = jax.tree.map(jnp.zeros_like, params)  # a mask of a half everywhere: half of the noisy sound
    value, (_, metrics) = jax.jit(partial(model.loss, step=0, train=False))(flat, {}, batch, KEY)
    wanted = np.asarray(signal_to_noise(batch["x"] / 2, batch["y"]))
    assert float(value) == pytest.approx(-wanted.mean(), abs=1e-3)
    assert float(metrics["improvement"]) == pytest.approx(wanted.mean() - 1, abs=1e-3)


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    model, x = network(2), jnp.zeros((2, T))
    params, _ = model.init(KEY, {"x": x})
    with pytest.raises(ValueError, match="built for images of shape"):
        model.loss(params, {}, {"x": x[:, 1:], "y": x}, KEY, step=0)
    with pytest.raises(ValueError, match="no 'y', only"):
        model.loss(params, {}, {"x": x}, KEY, step=0)
    with pytest.raises(ValueError, match="'y' must be the clean sounds"):
        model.loss(params, {}, {"x": x, "y": x[:1]}, KEY, step=0)
    for make, message in (
        (lambda: noisy(3.0, 1.0), "drawn from low to high"),
        (lambda: noisy(0.0, 1.0, colour="blue"), "blue"),
        (lambda: coloured_noise(KEY, (4,), "blue"), "blue"),
        (lambda: noisy(0.0, 1.0)({"x": tones(1)[0]}, KEY), r"noisy needs sounds \[B, T\]"),
        (lambda: noisy(0.0, 1.0)({"x": x}, KEY), "int16"),
        (lambda: mask_network(T, stft, istft, 17, cell="elman"), "elman"),
        (lambda: mask_network(0, stft, istft, 17), "sizes must be positive, got length=0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
