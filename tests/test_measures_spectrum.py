"""Spectra in closed form: patterns whose power is known, and what untrained decoders make."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import fft

from gen_models.data.splits import Splits
from gen_models.measures import Checkerboard, Split
from gen_models.measures.spectrum import harmonics, middle, peak, radial, spectrum
from gen_models.nn.autoencoding import Decoder, resized, transposed, transposed_with
from tests.measured import KEY, figures_of, trained_of

SIDE, AMPLITUDE = 16, 0.1
NOISE = np.random.default_rng(0).normal(scale=0.1, size=(20, SIDE, SIDE, 1)).astype(np.float32)
BOARD = AMPLITUDE * (-1.0) ** np.add.outer(np.arange(SIDE), np.arange(SIDE))[None, :, :, None]
STRIPES = np.broadcast_to(AMPLITUDE * np.cos(np.pi / 2 * np.arange(SIDE))[None, None, :, None], (1, SIDE, SIDE, 1))
# With x goes 1 - x, so that the mean power of a pattern and x together is the sum of both: the products cancel.
BOTH = np.concatenate([0.5 + NOISE, 0.5 - NOISE])


def test_the_spectrum_is_scipys_and_its_sum_is_the_variance():
    images = np.random.default_rng(1).random((3, 9, 12, 2)).astype(np.float32)
    centred = images - images.mean((1, 2), keepdims=True)
    expected = (np.abs(fft.fft2(centred, axes=(1, 2))) ** 2).mean((0, 3)) / (9 * 12)
    np.testing.assert_allclose(spectrum(images), expected, atol=1e-6)
    assert spectrum(images).sum() == pytest.approx(images.var((1, 2)).mean() * 9 * 12, rel=1e-5)
    np.testing.assert_allclose(spectrum(images, 4), spectrum(images[:, :8]), atol=1e-12)  # 8 and 12 are multiples of 4


def test_a_checkerboard_has_its_power_at_one_frequency():
    expected = np.zeros((SIDE, SIDE))
    expected[SIDE // 2, SIDE // 2] = AMPLITUDE**2 * SIDE**2
    np.testing.assert_allclose(spectrum(0.5 + BOARD), expected, atol=1e-12)


@pytest.mark.parametrize(("period", "count", "shorter"), [(2, 3, ()), (4, 12, (2,)), (8, 48, (2, 4)), (3, 8, ())])
def test_harmonics_are_those_of_every_pattern_of_that_period(period, count, shorter):
    at = harmonics((48, 48), period)
    assert at.sum() == count
    pattern = np.random.default_rng(2).random((1, period, period, 1))
    power = spectrum(np.tile(pattern, (1, 48 // period, 48 // period, 1)))
    elsewhere = ~(at | np.any([harmonics((48, 48), each) for each in (period, *shorter)], 0))
    assert power[elsewhere].max() < 1e-20 < power[at].min()


def _figures(model, **options):
    data = Splits.of_arrays({"x": BOTH}, {"x": BOTH}, name="toy", examples="images")
    trained = trained_of(sample=lambda params, stats, key, n: jnp.asarray(model, jnp.float32)[:n])
    return figures_of(Checkerboard(count=len(BOTH), **options), trained, Split(data, data.test, "test"))


@pytest.mark.parametrize(("pattern", "period", "added"), [(BOARD, 2, SIDE**2), (STRIPES, 4, SIDE**2 / 2)])
def test_an_added_pattern_has_the_excess_that_its_amplitude_says(pattern, period, added):
    """a^2 N at one harmonic of a checkerboard; of a cosine half of it, which both of its frequencies share."""
    own = spectrum(BOTH)
    at = harmonics(own.shape, period)
    excess = spectrum(np.asarray(0.5 + pattern)) * at
    assert excess.sum() == pytest.approx(AMPLITUDE**2 * added)
    found = _figures(BOTH + pattern)
    power = 10 * np.log10(1 + AMPLITUDE**2 * added / own[at].sum())
    assert found[f"power at period {period}"].value == pytest.approx(power, rel=1e-3) and power > 1
    board = (10 * np.log10(1 + excess[at] / own[at])).mean()
    assert found[f"checkerboard at period {period}"].value == pytest.approx(board, rel=1e-3) and board > 1
    other = {2: 4, 4: 2}[period]
    assert found[f"power at period {other}"].value == pytest.approx(0, abs=1e-4)
    assert found[f"checkerboard at period {other}"].value == pytest.approx(0, abs=1e-4)


def test_blur_lowers_the_power_and_makes_no_checkerboard():
    """As a factor on the spectrum that falls by as many decibels with each step: it has no peak."""
    steps = np.minimum(np.arange(32), 32 - np.arange(32))
    falling = 10 ** (-0.1 * np.add.outer(steps, steps))
    assert peak(falling, 4) == pytest.approx(0, abs=0.7)  # but where it is folded, at 1/2 and on the axes
    assert peak(np.ones((32, 32)), 2) == 0
    found = _figures(0.5 + 0.1 * (BOTH - 0.5))
    assert found["power at period 2"].value == pytest.approx(-20, abs=0.01)
    assert found["checkerboard at period 2"].value == pytest.approx(0, abs=0.01)


@pytest.mark.slow
def test_untrained_transposed_convolutions_make_checkerboards_and_resized_ones_do_not():
    """Odena et al. (2016): before a network has learnt anything, its layers show; a mean over starts, in decibels."""
    z = jax.random.normal(KEY, (32, 4))

    def peaks(enlarged):
        decoder = Decoder(shape=(16, 16, 1), channels=(8,), enlarged=enlarged)
        make = jax.jit(jax.vmap(lambda key: decoder.apply(decoder.init(key, z), z)))
        return np.mean([peak(spectrum(each), 2) for each in np.asarray(make(jax.random.split(KEY, 8)))])

    three, four, copied = (peaks(enlarged) for enlarged in (transposed_with(3), transposed, resized))
    assert min(three, four) > 4 > 0 > copied


def test_the_radial_spectrum_is_a_mean_over_rings():
    power = np.random.default_rng(3).random((8, 12))
    rings: dict[int, list[float]] = {}
    for u in range(8):
        for v in range(12):
            away = np.hypot((u if u <= 4 else u - 8) * 12 / 8, v if v <= 6 else v - 12)
            rings.setdefault(round(away), []).append(power[u, v])
    np.testing.assert_allclose(radial(power), [np.mean(rings[r]) for r in range(7)])


def test_pictures_show_both_spectra_and_the_middles(tmp_path):
    data = Splits.of_arrays({"x": BOTH}, {"x": BOTH}, name="toy", examples="images")
    trained = trained_of(sample=lambda params, stats, key, n: jnp.zeros((n, SIDE, SIDE, 1)))  # which has no power
    Checkerboard(crops=3, side=4).draw(trained, Split(data, data.test, "test"), KEY, tmp_path)
    with Image.open(tmp_path / "crops.png") as crops:
        assert crops.size == (2 + 3 * 34, 2 + 2 * 34)
        assert not np.asarray(crops)[36:].reshape(-1, crops.size[0])[0, 2:34].any()
    assert (tmp_path / "spectra.png").stat().st_size > 1000
    np.testing.assert_array_equal(middle(BOTH, 4), BOTH[:, 6:10, 6:10])


def test_what_it_cannot_measure_is_refused():
    with pytest.raises(ValueError, match="periods must be pixels, 2 or more"):
        Checkerboard(periods=(1,))
    with pytest.raises(ValueError, match="count must be 1 or more, got 0"):
        Checkerboard(count=0)
    with pytest.raises(ValueError, match="images of 2x2 pixels have no period of 4"):
        spectrum(BOTH[:, :2, :2], 4)
    with pytest.raises(ValueError, match="a period of 3 does not divide"):
        harmonics((8, 8), 3)
    with pytest.raises(ValueError, match="too small for a period of 4"):
        peak(np.ones((4, 4)), 4)
