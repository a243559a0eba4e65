"""Short-time Fourier transforms against SciPy's, and back; mel filters by their definition; sounds from magnitudes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from gen_models.data.spectrograms import (
    griffin_lim,
    istft,
    log_mel,
    log_mel_features,
    mel,
    mel_filters,
    spectrogram,
    stft,
)

SIZES = [(32, 8, 200), (32, 16, 197), (30, 7, 113), (64, 16, 33)]  # window, hop, samples: the last is below a window


@pytest.mark.parametrize(("window", "hop", "length"), SIZES)
def test_frames_are_those_of_scipy_and_lead_back(window, hop, length):
    x = np.random.default_rng(length).normal(size=(2, length)).astype(np.float32)
    found = np.asarray(stft(x, window=window, hop=hop))
    w = scipy.signal.get_window("hann", window)
    theirs = scipy.signal.ShortTimeFFT(w, hop, fs=1, phase_shift=None)
    wanted = np.stack([theirs.stft(one, p0=0, p1=1 - (-length // hop)) for one in x.astype(np.float64)]).swapaxes(1, 2)
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    np.testing.assert_allclose(istft(found, length, window=window, hop=hop), x, atol=2e-5)
    np.testing.assert_allclose(spectrogram(x, window=window, hop=hop), np.abs(wanted) ** 2, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(spectrogram(x, window=window, hop=hop, power=1), np.abs(wanted), atol=2e-5, rtol=1e-4)


def test_frames_are_those_of_the_older_function_of_scipy_but_for_its_factor():
    x = np.random.default_rng(0).normal(size=199).astype(np.float32)
    _, _, theirs = scipy.signal.stft(x, nperseg=32, noverlap=24, boundary="zeros", padded=False)
    found = np.asarray(stft(x, window=32, hop=8))[:25] / scipy.signal.get_window("hann", 32).sum()
    np.testing.assert_allclose(found, theirs.T, atol=1e-6)


def test_what_is_no_spectrogram_of_a_sound_goes_to_the_nearest_one():
    """The sound is the solution of least squares, which NumPy finds by the matrix of `stft`."""
    rng = np.random.default_rng(0)
    window, hop, length = 8, 4, 16
    basis = np.asarray(stft(np.eye(length, dtype=np.float32), window=window, hop=hop)).reshape(length, -1)
    wanted = rng.normal(size=(5, 5)) + 1j * rng.normal(size=(5, 5))
    wanted[:, [0, -1]] = wanted[:, [0, -1]].real  # bins without an imaginary part
    weigh = np.tile(np.sqrt([1, 2, 2, 2, 1]), 5)  # the bins between stand for two of the whole transform
    system = np.concatenate([(basis * weigh).real, (basis * weigh).imag], 1).T
    right = np.concatenate([wanted.ravel().real * weigh, wanted.ravel().imag * weigh])
    best = np.linalg.lstsq(system, right, rcond=None)[0]
    np.testing.assert_allclose(istft(jnp.asarray(wanted), length, window=window, hop=hop), best, atol=1e-5)


def test_mel_filters_are_triangles_that_sum_to_one():
    assert mel(1000) == pytest.approx(1000, abs=0.02) and mel(0) == 0  # the scale is made so that both are alike there
    filters = mel_filters(20, rate=8000, window=512, low=100, high=3500)
    assert filters.shape == (257, 20) and filters.dtype == np.float32
    bins = np.arange(257) * 8000 / 512
    tops = bins[filters.argmax(0)]
    np.testing.assert_allclose(np.diff(mel(tops)), np.diff(mel([100, 3500]))[0] / 21, atol=25)
    between = (bins > tops[0]) & (bins < tops[-1])
    np.testing.assert_allclose(filters[between].sum(1), 1, atol=1e-6)
    assert (filters[(bins <= 100) | (bins >= 3500)] == 0).all()
    assert ((filters > 0).sum(1) <= 2).all()


def test_a_tone_is_in_its_filter_and_twice_the_sound_has_four_times_the_energy():
    t = np.arange(2000) / 8000
    tone = (0.3 * np.sin(2 * np.pi * 1200 * t)).astype(np.float32)
    found = np.asarray(log_mel(tone, rate=8000, count=20))[2:-2]
    filters = mel_filters(20, rate=8000)
    assert (found.argmax(1) == filters[round(1200 * 256 / 8000)].argmax()).all()
    once, twice = (np.asarray(log_mel(x, rate=8000, count=20, floor=1e-12))[2:-2] for x in (tone, 2 * tone))
    np.testing.assert_allclose(twice - once, np.log(4), atol=1e-3)
    assert (np.asarray(log_mel(0 * tone, rate=8000)) == np.float32(np.log(1e-6))).all()


def test_features_are_normalised_and_do_not_see_what_is_behind_the_end():
    rng = np.random.default_rng(0)
    x, lengths = rng.integers(-9000, 9000, (2, 1000)).astype(np.int16), np.array([1000, 600])
    transform = jax.jit(log_mel_features(rate=8000, count=10, window=128, hop=64))
    batch = transform({"x": x, "length": lengths, "y": np.array([3, 4])})
    assert batch["x"].shape == (2, 16, 10) and batch["length"].tolist() == [16, 10] and batch["y"].tolist() == [3, 4]
    for row, count in zip(np.asarray(batch["x"]), (16, 10), strict=True):
        np.testing.assert_allclose(row[:count].mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(row[:count].std(0), 1, atol=0.02)
        assert (row[count:] == 0).all()
    other = x.copy()
    other[1, 600:] = 77
    np.testing.assert_array_equal(transform({"x": other, "length": lengths, "y": lengths})["x"], batch["x"])
    quiet = transform({"x": (x // 100).astype(np.int16), "length": lengths, "y": lengths})["x"]
    assert np.abs(quiet - batch["x"]).max() < 0.5  # loudness is gone, but for rounding and the floor


def test_phases_are_found_for_magnitudes():
    t = np.arange(1024) / 8000
    x = (np.sin(2 * np.pi * (300 + 2000 * t) * t) * np.hanning(1024)).astype(np.float32)
    wanted = spectrogram(x, window=128, hop=32, power=1)

    def distance(iterations):
        found = griffin_lim(wanted, 1024, jax.random.key(0), window=128, hop=32, iterations=iterations)
        again = spectrogram(found, window=128, hop=32, power=1)
        return float(jnp.linalg.norm(again - wanted) / jnp.linalg.norm(wanted))

    few, more, many = distance(1), distance(10), distance(100)
    assert many <= more <= few and many < 0.1 < few


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    x = np.zeros(100, np.float32)
    for how in ({"window": 31}, {"window": 0}, {"hop": 0}, {"window": 16, "hop": 17}, {"window": 16.0}):
        with pytest.raises(ValueError, match="window must be even"):
            stft(x, **how)
    with pytest.raises(ValueError, match=r"floats \[..., T\], got int16 \[100\]: to_waveform"):
        stft(x.astype(np.int16))
    with pytest.raises(ValueError, match="hop=20 is above half of window=32"):
        istft(np.zeros((5, 17), np.complex64), 100, window=32, hop=20)
    with pytest.raises(ValueError, match=r"have frames \[..., 14, 17\], got \[5, 17\]"):
        istft(np.zeros((5, 17), np.complex64), 100, window=32, hop=8)
    with pytest.raises(ValueError, match="of 90 mel filters lie between bins of window=64: take fewer"):
        mel_filters(90, rate=8000, window=64)
    with pytest.raises(ValueError, match="0 <= low < high <= rate / 2"):
        mel_filters(9, rate=8000, high=5000)
    with pytest.raises(ValueError, match="floor must be above 0"):
        log_mel(x, rate=8000, floor=0)
    with pytest.raises(ValueError, match="iterations must be 1 or more"):
        griffin_lim(np.zeros((2, 9), np.float32), 16, jax.random.key(0), iterations=0)
    with pytest.raises(ValueError, match=r"needs sounds \[B, T\], got \[100\]"):
        log_mel_features(rate=8000)({"x": x.astype(np.int16)})
