"""Mu-law codes against a table by hand, exact round trips, the bound on the error, and the tokens of sounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data.mu_law import mu_law_decode, mu_law_encode, mu_law_tokens

LEVELS = (2, 3, 256, 65536)
# Where 255 |x| + 1 is 2^k the curve is k / 8, so that the code is floor(127.5 (1 + k / 8) + 1/2).
BY_HAND = {0: 128, 1: 143, 2: 159, 3: 175, 4: 191, 5: 207, 6: 223, 7: 239, 8: 255}


def test_codes_are_those_of_the_curve_by_hand():
    x = jnp.array([(2**k - 1) / 255 for k in BY_HAND])
    np.testing.assert_array_equal(mu_law_encode(x), list(BY_HAND.values()))
    # Of the negative ones floor(127.5 (1 - k / 8) + 1/2).
    np.testing.assert_array_equal(mu_law_encode(-x), [128, 112, 96, 80, 64, 48, 32, 16, 0])
    # Codes 0, 51, 102, 153, 204, 255 stand for y = -1, -0.6, ..., 1: of 256^0.2 = 3.0314331.
    root = 256**0.2
    expected = np.array([-255, 1 - root**3, 1 - root, root - 1, root**3 - 1, 255]) / 255
    np.testing.assert_allclose(mu_law_decode(jnp.arange(0, 256, 51)), expected, rtol=2e-6)


@pytest.mark.slow_cases("2", "256", "65536")
@pytest.mark.parametrize("levels", LEVELS)
def test_round_trips_are_exact_and_errors_bounded(levels):
    codes = jnp.arange(levels)
    x = mu_law_decode(codes, levels)
    assert x.dtype == jnp.float32 and x[0] == -1 and x[-1] == 1
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(mu_law_encode(x, levels), codes)
    np.testing.assert_array_equal(x, -x[::-1])
    samples = np.sort(np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32) ** 5)  # most are quiet
    found = mu_law_encode(jnp.asarray(samples), levels)
    assert (np.diff(found) >= 0).all() and found.min() >= 0 and found.max() < levels
    mu = levels - 1
    bound = (np.abs(samples) + 1 / mu) * np.expm1(np.log1p(mu) / mu)
    error = np.abs(np.asarray(mu_law_decode(found, levels)) - samples)
    assert (error <= bound * (1 + 1e-4) + 1e-6).all()
    assert (error > bound / 4).any()  # it is no looser than a factor


def test_int16_samples_of_a_file_are_read_and_stay_in_range():
    x = jnp.asarray(np.arange(-(2**15), 2**15), jnp.float32) / 2**15
    codes = mu_law_encode(x)
    assert codes[0] == 0 and codes[-1] == 255 and len(np.unique(codes)) == 256
    assert mu_law_encode(jnp.array([1.0, -1.0, 0.5], jnp.bfloat16)).tolist()[:2] == [255, 0]


def test_what_is_no_sample_or_code_is_refused_and_marked_inside_of_jit():
    for call, said in (
        (lambda: mu_law_encode(jnp.array([0.5, 1.5])), r"samples in \[-1, 1\], got 1.5: divide them"),
        (lambda: mu_law_encode(jnp.array([jnp.nan])), "got nan"),
        (lambda: mu_law_decode(jnp.array([3, 256])), "codes from 0 to 255, got 256"),
        (lambda: mu_law_decode(jnp.array([-1]), 16), "codes from 0 to 15, got -1"),
        (lambda: mu_law_encode(jnp.array([0.5]), 1), "levels must be a whole number from 2 to 65,536, got 1"),
        (lambda: mu_law_tokens(2**17), "got 131072"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    assert jax.jit(mu_law_encode)(jnp.array([0.5, 1.5, jnp.nan, -1.0])).tolist()[1:] == [-1, -1, 0]
    assert np.isnan(jax.jit(mu_law_decode)(jnp.array([-1, 0, 255, 256]))).tolist() == [True, False, False, True]


@pytest.mark.usefixtures("unchecked")
def test_numbers_of_another_type_are_refused():
    for call, said in (
        (lambda: mu_law_encode(jnp.array([3])), "needs floats in .*, got int32: to_waveform"),
        (lambda: mu_law_decode(jnp.array([0.5])), "needs integers from 0 to 255, got float32"),
        (lambda: mu_law_encode(jnp.array([0.5]), 8.0), "got 8.0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()


def test_tokens_of_sounds_follow_silence():
    rng = np.random.default_rng(0)
    sounds = {"x": rng.integers(-(2**15), 2**15, (3, 5)).astype(np.int16), "y": np.array([2, 0, 1])}
    batch = jax.jit(mu_law_tokens(16))({**sounds, "length": np.array([5, 2, 3])}, jax.random.key(0))
    assert set(batch) == {"x", "y", "label", "length"}
    np.testing.assert_array_equal(batch["label"], sounds["y"])
    np.testing.assert_array_equal(batch["y"], mu_law_encode(jnp.asarray(sounds["x"] / np.float32(2**15)), 16))
    np.testing.assert_array_equal(batch["x"][:, 1:], batch["y"][:, :-1])
    assert (batch["x"][:, 0] == mu_law_encode(jnp.zeros(1), 16)[0]).all()
    with pytest.raises(ValueError, match=r"needs sounds \[B, T\], got \[5\]"):
        mu_law_tokens()({"x": sounds["x"][0]}, None)
    with pytest.raises(ValueError, match="to_waveform needs int16"):
        mu_law_tokens()({"x": np.zeros((2, 3), np.float32)}, None)
