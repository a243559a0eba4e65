"""Transforms against NumPy, and their distributions against what the papers say."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data import transforms as t

KEY = jax.random.key(0)
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 7, 6, 3)).astype(np.uint8)
BATCH = {"x": jnp.asarray(PIXELS), "y": jnp.arange(8), "index": jnp.arange(8, dtype=jnp.int32)}
ALL = {
    "to_unit": t.to_unit,
    "to_symmetric": t.to_symmetric,
    "binarise_dynamic": t.binarise_dynamic,
    "binarise_fixed": t.binarise_fixed(0),
    "quantise": t.quantise(4),
    "dequantise": t.dequantise,
    "random_flip": t.random_flip,
    "random_shift": t.random_shift(2),
    "random_crop": t.random_crop(2),
    "cutout": t.cutout(3),
}


def test_ranges():
    chex.assert_trees_all_close(t.to_unit(BATCH)["x"], PIXELS / 255.0, atol=1e-7)
    chex.assert_trees_all_close(t.to_symmetric(BATCH)["x"], PIXELS / 127.5 - 1.0, atol=1e-6)
    digits = {"x": jnp.arange(17, dtype=jnp.uint8).reshape(1, 17, 1, 1), "levels": 17}
    chex.assert_trees_all_close(t.to_unit(digits)["x"].ravel(), np.arange(17) / 16, atol=1e-7)
    symmetric = t.to_symmetric(digits)["x"]
    assert (symmetric.min(), symmetric.max()) == (-1, 1)


def test_dequantise_is_uniform_within_its_level_and_below_one():
    digits = jnp.tile(jnp.arange(17, dtype=jnp.uint8), 500).reshape(500, 17, 1, 1)
    out = np.asarray(t.dequantise({"x": digits, "levels": 17}, KEY)["x"])
    assert out.max() < 1.0 and out.min() >= 0.0
    np.testing.assert_array_equal(np.floor(out * 17 + 1e-5), digits)
    noise = (out * 17 - np.asarray(digits)).ravel()
    assert abs(noise.mean() - 0.5) < 4 / np.sqrt(12 * noise.size)
    assert abs(noise.var() - 1 / 12) < 4 * np.sqrt(1 / 180 / noise.size)
    white = jnp.full((64, 64, 64, 1), 255, jnp.uint8)  # 255 + u rounds up to 256 for the largest u
    assert t.dequantise({"x": white}, KEY)["x"].max() < 1.0


@pytest.mark.parametrize("levels", [2, 17, 47, 251, 256])
def test_dequantised_pixels_stay_within_their_level(levels, monkeypatch):
    """Also the least and the largest noise: 254 + u rounds to 255 for 3 of a million u, and x / 47 to below x / 47."""
    pixels = jnp.arange(levels, dtype=jnp.uint8).reshape(1, -1, 1, 1)
    for noise in (0.0, 1.0 - 2.0**-23, 1.0 - 2.0**-24):
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype=None, noise=noise: jnp.full(shape, noise))
        out = np.asarray(t.dequantise({"x": pixels, "levels": levels}, KEY)["x"]).ravel()
        assert out.dtype == np.float32
        np.testing.assert_array_equal(np.floor(np.float64(out) * levels), np.arange(levels))
        np.testing.assert_array_equal(np.floor(out * np.float32(levels)), np.arange(levels))


def test_quantising_keeps_the_order_and_fills_all_levels_evenly():
    ramp = {"x": jnp.arange(256, dtype=jnp.uint8).reshape(1, 256, 1, 1)}
    for levels in (2, 3, 8, 256):
        out = np.asarray(t.quantise(levels)(ramp)["x"]).ravel()
        counts = np.bincount(out, minlength=levels)
        assert out.dtype == np.int32 and (np.diff(out) >= 0).all() and counts.max() - counts.min() <= 1
    digits = {"x": jnp.arange(16, dtype=jnp.uint8).reshape(1, 16, 1, 1), "levels": 16}
    np.testing.assert_array_equal(t.quantise(4)(digits)["x"].ravel(), np.arange(16) // 4)
    with pytest.raises(ValueError, match="16 levels cannot be cut into 17"):
        t.quantise(17)(digits)
    with pytest.raises(ValueError, match="got levels=1"):
        t.quantise(1)
    with pytest.raises(ValueError, match="needs uint8 pixels, got float32"):
        t.quantise(2)(t.to_unit(ramp))


def test_dynamic_binarisation_is_bernoulli_and_fresh():
    images = jnp.broadcast_to(jnp.arange(0, 256, 51, dtype=jnp.uint8).reshape(1, 1, 6, 1), (100, 100, 6, 1))
    first, second = (t.binarise_dynamic({"x": images}, jax.random.key(k))["x"] for k in (0, 1))
    assert set(np.unique(first)) == {0.0, 1.0} and first.dtype == jnp.float32
    p = np.arange(6) / 5
    np.testing.assert_array_less(abs(first.mean((0, 1, 3)) - p), 4 * np.sqrt(p * (1 - p) / 1e4) + 1e-9)
    agree = (first == second).mean((0, 1, 3))  # independent draws agree with probability p^2 + (1 - p)^2
    np.testing.assert_allclose(agree, p**2 + (1 - p) ** 2, atol=0.03)


def test_fixed_binarisation_depends_on_seed_and_index_alone():
    fixed = t.binarise_fixed(3)
    whole = fixed(BATCH, KEY)["x"]
    chex.assert_trees_all_equal(whole, fixed(BATCH, jax.random.key(9))["x"])
    order = jnp.array([5, 0, 3])
    part = {"x": BATCH["x"][order], "index": order}
    chex.assert_trees_all_equal(fixed(part, KEY)["x"], whole[order])
    assert (t.binarise_fixed(4)(BATCH, KEY)["x"] != whole).any()
    same = {"x": jnp.full((2, 20, 20, 1), 128, jnp.uint8), "index": jnp.arange(2)}
    draws = fixed(same)["x"]
    assert 0.3 < (draws[0] != draws[1]).mean() < 0.7, "different rows draw independently"
    with pytest.raises(ValueError, match="index"):
        fixed({"x": BATCH["x"]}, KEY)


def test_fixed_binarisation_is_the_same_under_every_setting_of_jax():
    """The bits are those of `jax.random.bernoulli` as it is by default, of which the README's figures are."""
    fixed = t.binarise_fixed(3)
    keys = [jax.random.fold_in(jax.random.key(3, impl="threefry2x32"), i) for i in range(8)]
    want = jnp.stack([jax.random.bernoulli(key, p) for key, p in zip(keys, PIXELS / np.float32(255), strict=True)])
    draws = []
    for partitionable in (True, False):
        with jax.threefry_partitionable(partitionable):
            draws.append(jax.jit(lambda batch: fixed(batch)["x"])(BATCH))
            draws.append(fixed(BATCH)["x"])
    with jax.default_prng_impl("rbg"):
        draws.append(fixed(BATCH)["x"])
    for drawn in draws:
        np.testing.assert_array_equal(drawn, want)


def test_images_of_two_levels_keep_them():
    pixels = jnp.asarray(PIXELS % 2)
    batch = {"x": pixels, "levels": 2, "index": jnp.arange(8)}
    for transform in (t.to_unit, t.binarise_dynamic, t.binarise_fixed(0), t.quantise(2)):
        np.testing.assert_array_equal(transform(batch, KEY)["x"], pixels)
    np.testing.assert_array_equal(t.to_symmetric(batch)["x"], 2.0 * pixels - 1)
    np.testing.assert_array_equal(np.floor(2 * t.dequantise(batch, KEY)["x"]), pixels)


@pytest.mark.parametrize("name", ["to_unit", "to_symmetric", "binarise_dynamic", "binarise_fixed"])
def test_pixels_beyond_their_range_are_refused_or_nan(name):
    transform = ALL[name]
    floats = {"x": jnp.array([0.5, 1.5]).reshape(2, 1, 1, 1), "index": jnp.arange(2)}
    levels = {"x": jnp.array([1, 2], jnp.uint8).reshape(2, 1, 1, 1), "index": jnp.arange(2), "levels": 2}
    with pytest.raises(ValueError, match=f"{name} needs float pixels between 0 and 1, got values from 1.5 to 1.5"):
        transform(floats, KEY)
    with pytest.raises(ValueError, match=f"{name} needs pixels from 0 to 1, as the data have 2 levels, got values"):
        transform(levels, KEY)
    for batch, has in ((floats, {}), (levels, {"levels": 2})):
        traced = {key: value for key, value in batch.items() if key != "levels"}
        out = jax.jit(lambda batch, has=has: transform(batch | has, KEY)["x"])(traced)
        assert np.isnan(out).ravel().tolist() == [False, True]


def test_flip_mirrors_whole_images_half_the_time():
    images = jnp.tile(jnp.asarray(PIXELS[:1]), (1000, 1, 1, 1))
    out = np.asarray(t.random_flip({"x": images}, KEY)["x"])
    flipped = (out == PIXELS[0, :, ::-1]).all((1, 2, 3))
    kept = (out == PIXELS[0]).all((1, 2, 3))
    assert (flipped ^ kept).all() and abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)


@pytest.mark.parametrize("make", [t.random_shift, t.random_crop])
def test_shifts_are_uniform_over_all_windows(make):
    m, count = 2, 5000
    image = np.pad(PIXELS[0], ((m, m), (m, m), (0, 0)))
    windows = {image[i : i + 7, j : j + 6].tobytes(): (i, j) for i in range(5) for j in range(5)}
    out = np.asarray(make(m)({"x": jnp.tile(jnp.asarray(PIXELS[:1]), (count, 1, 1, 1))}, KEY)["x"])
    seen = [windows[x.tobytes()] for x in out]  # a KeyError: not a window
    counts = np.bincount([i * 5 + j for i, j in seen], minlength=25)
    chi2 = ((counts - count / 25) ** 2 / (count / 25)).sum()
    assert chi2 < 51.2  # 24 degrees of freedom, p = 0.001


def test_cutout_is_one_square_with_its_centre_anywhere():
    size, count, n = 3, 4000, 7
    out = np.asarray(t.cutout(size)({"x": jnp.ones((count, n, n, 1))}, KEY)["x"])[..., 0]
    hole = out == 0
    rows, columns = hole.any(2), hole.any(1)
    np.testing.assert_array_equal(hole, rows[:, :, None] & columns[:, None, :])
    assert set(np.unique(rows.sum(1))) == {2, 3}  # two where it is clipped by the border
    covered = hole.any(2).mean(0)  # a row is covered by size of the n centres, by one less at each border
    np.testing.assert_allclose(covered, np.array([2, 3, 3, 3, 3, 3, 2]) / n, atol=4 * 0.5 / np.sqrt(count))


def test_compose_gives_each_its_own_key():
    def noise(batch, key):
        return {**batch, "x": batch["x"] + jax.random.normal(key, (2, 3, 3, 1))}

    both = t.compose(noise, noise)({"x": jnp.zeros((2, 3, 3, 1))}, KEY)["x"]
    parts = [jax.random.normal(jax.random.fold_in(KEY, i), (2, 3, 3, 1)) for i in range(2)]
    chex.assert_trees_all_close(both, parts[0] + parts[1])
    assert (parts[0] != parts[1]).all()


@pytest.mark.slow_cases("cutout", "random_shift")
@pytest.mark.parametrize("name", ALL)
def test_scan_and_vmap_agree_with_single_calls(name):
    transform = ALL[name]

    @jax.jit
    def three_ways(batch, keys):
        single = [transform(batch, key) for key in keys]
        _, scanned = jax.lax.scan(lambda c, key: (c, transform(batch, key)), 0, keys)
        return jax.tree.map(lambda *x: jnp.stack(x), *single), scanned, jax.vmap(lambda k: transform(batch, k))(keys)

    single, scanned, mapped = three_ways(BATCH, jax.random.split(KEY, 2))
    assert set(single) == set(BATCH) and single["x"].shape == (2, *PIXELS.shape)
    chex.assert_trees_all_close(scanned, single, atol=1e-6)
    chex.assert_trees_all_close(mapped, single, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_wrong_dtype_raises_when_traced(name, dtype):
    batch = {**BATCH, "x": jax.ShapeDtypeStruct((8, 7, 6, 3), dtype)}
    with pytest.raises(ValueError, match="uint8"):
        jax.eval_shape(ALL[name], batch, KEY)


def test_what_is_no_image_is_refused_by_its_dtype_and_shape():
    tokens = {"x": jnp.zeros((4, 7), jnp.int32)}
    for name, transform in ALL.items():
        if name != "quantise" and name != "dequantise":
            with pytest.raises(ValueError, match=r"needs uint8 or float pixels, got int32 \[4, 7\]: it is for images"):
                transform(tokens, KEY)
    with pytest.raises(ValueError, match="as batch\\['x'\\], but the batch has only index, y"):
        t.to_unit({"y": jnp.zeros(3), "index": jnp.zeros(3)})
    for name, field in (("boxes", jnp.zeros((8, 2, 4))), ("mask", BATCH["x"][..., 0]), ("y", BATCH["x"])):
        with pytest.raises(ValueError, match=f"random_flip moves x alone, but {name} would stay"):
            t.random_flip({**BATCH, name: field}, KEY)


def test_neighbours_are_stacked_as_channels():
    """Every image once, with its own label and position; under `jit` the same."""
    batch = BATCH | {"x": BATCH["x"][:6, :, :, :1], "y": BATCH["y"][:6], "index": BATCH["index"][:6], "levels": 256}
    stacked = t.stack_channels(3)(batch, KEY)
    expected = np.stack([PIXELS[3 * i : 3 * i + 3, :, :, 0].transpose(1, 2, 0) for i in range(2)])
    np.testing.assert_array_equal(stacked["x"], expected)
    np.testing.assert_array_equal(stacked["y"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(stacked["index"], stacked["y"])
    assert stacked["levels"] == 256
    both = t.compose(t.to_unit, t.stack_channels(2))
    np.testing.assert_array_equal(jax.jit(both)(batch, KEY)["x"], both(batch, KEY)["x"])
    for wrong in (BATCH, batch | {"x": batch["x"][:4], "y": batch["y"][:4]}):
        with pytest.raises(ValueError, match="needs a multiple of 3 images of one channel, got uint8"):
            t.stack_channels(3)(wrong, KEY)
    with pytest.raises(ValueError, match="a count of 1 or more, got 0"):
        t.stack_channels(0)


def test_on_another_field():
    pair = {**BATCH, "y": BATCH["x"][::-1]}
    out = t.on("y", t.to_unit)(pair, KEY)
    chex.assert_trees_all_equal(out["x"], pair["x"])
    chex.assert_trees_all_equal(out["y"], t.to_unit({"x": pair["y"]})["x"])
    with pytest.raises(ValueError, match="no 'z' to transform, only index, x, y"):
        t.on("z", t.to_unit)(pair, KEY)


def test_waveforms_and_columns():
    sound = np.array([[-(2**15), 0, 2**15 - 1]], np.int16)
    np.testing.assert_array_equal(t.to_waveform({"x": jnp.asarray(sound)})["x"], sound / np.float32(2**15))
    with pytest.raises(ValueError, match=r"int16 samples of sound, got uint8 \[8, 7, 6, 3\]"):
        t.to_waveform(BATCH)
    table = np.array([[1.0, 2.0], [np.nan, 6.0]], np.float32)
    out = t.standardise([1.0, 4.0], [2.0, 2.0])({"x": jnp.asarray(table)})["x"]
    np.testing.assert_array_equal(out, [[0, -1], [0, 1]])
    with pytest.raises(ValueError, match="needs 2 columns of floats, got float32"):
        t.standardise([1.0, 4.0], [2.0, 2.0])({"x": jnp.zeros((3, 4))})


def test_refused():
    with pytest.raises(ValueError, match="float32"):
        t.dequantise({"x": jnp.zeros((1, 2, 2, 1))}, KEY)
    with pytest.raises(ValueError, match=r"\[B, H, W, C\]"):
        t.random_flip({"x": jnp.zeros((4, 2))}, KEY)
    for make in (t.random_shift, t.random_crop, t.cutout):
        with pytest.raises(ValueError, match="1 or more, got 0"):
            make(0)
