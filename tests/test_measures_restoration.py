"""Damage of images, and figures of restored ones: closed forms, and scikit-image's metrics and restorers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.measure import block_reduce
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gen_models.data.splits import Splits
from gen_models.measures import Restoration, Restorers, Split, bicubic, biharmonic, non_local_means, total_variation
from gen_models.measures.restoration import Restorer, hidden_by
from gen_models.nn.corruptions import gaussian
from gen_models.nn.image_damage import coarse, missing_square
from tests.measured import KEY, caught, figures_of, trained_of

H, W, N = 12, 14, 8
RNG = np.random.default_rng(0)
X = RNG.uniform(0.2, 0.8, size=(N, H, W, 1)).astype(np.float32)
DATA = Splits.of_arrays({"x": X[::-1].copy()}, {"x": X}, name="toy", examples="images")
SPLIT = Split(DATA, DATA.test, "test")
UNCHANGED = trained_of(
    encode=lambda params, stats, x, key=None: x.reshape(len(x), H * W),
    decode=lambda params, stats, z: z.reshape(-1, H, W, 1),
)
GREY = trained_of(encode=UNCHANGED.model.encode, decode=lambda *args: 0 * UNCHANGED.model.decode(*args) + 0.5)


def test_one_square_of_each_image_is_missing_and_every_place_may_be():
    side, count = 3, 2000
    x = jnp.ones((count, 5, 6, 2))
    missing = np.asarray(missing_square(side, 0.25)(x, KEY) == 0.25)
    assert (missing[..., 0] == missing[..., 1]).all() and (missing[..., 0].sum((1, 2)) == side**2).all()
    rows, columns = missing[..., 0].any(2).argmax(1), missing[..., 0].any(1).argmax(1)
    assert all(missing[i, r : r + side, c : c + side].all() for i, (r, c) in enumerate(zip(rows, columns, strict=True)))
    places = np.bincount(rows * 4 + columns, minlength=12)
    assert ((places - count / 12) ** 2 / (count / 12)).sum() < 31.3  # chi-square of 11 degrees of freedom at 0.001


def test_blocks_have_their_means():
    x = RNG.normal(size=(2, 6, 9, 2)).astype(np.float32)
    made = coarse(3)(x, KEY)
    np.testing.assert_allclose(made[:, ::3, ::3], block_reduce(x, (1, 3, 3, 1), np.mean), atol=1e-6)
    np.testing.assert_allclose(made, np.asarray(made[:, ::3, ::3]).repeat(3, 1).repeat(3, 2), atol=0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: missing_square(0), "must be 1 or more, got 0"),
        (lambda: missing_square(7)(jnp.zeros((1, 6, 9, 1)), KEY), "7 pixels does not fit into images of 6x9"),
        (lambda: coarse(1), "must be 2 or more, got 1"),
        (lambda: coarse(4)(jnp.zeros((1, 8, 6, 1)), KEY), "factor=4 does not divide the sides of images of 8x6"),
    ],
)
def test_damage_that_does_not_fit_is_an_error(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_what_is_hidden_is_what_black_and_white_have_in_common():
    square, noise = missing_square(4), gaussian(0.3)
    damaged = np.asarray(square(jnp.asarray(X), KEY))
    np.testing.assert_array_equal(hidden_by(square, jnp.asarray(X), KEY), damaged != X)
    assert not hidden_by(noise, jnp.asarray(X), KEY).any()


def _expected(images):
    """Figures of images [N, H, W, 1] by scikit-image."""
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": -1}
    alike = [structural_similarity(x, y, data_range=1.0, **options) for x, y in zip(X, images, strict=True)]
    return peak_signal_noise_ratio(X, images, data_range=1.0), np.mean(alike), np.std(alike, ddof=1) / np.sqrt(N)


@pytest.mark.parametrize("trained", [UNCHANGED, GREY])
def test_figures_are_scikit_images_of_the_model_and_of_the_damage(trained):
    found = figures_of(Restoration(coarse(2)), trained, SPLIT)
    damaged = block_reduce(X, (1, 2, 2, 1), np.mean).repeat(2, 1).repeat(2, 2)
    made = damaged if trained is UNCHANGED else np.full_like(X, 0.5)
    for of, images in (("", made), (", damaged image", damaged)):
        decibels, alike, error = _expected(images)
        assert found[f"PSNR{of}"].value == pytest.approx(decibels, rel=1e-5)
        assert found[f"SSIM{of}"].value == pytest.approx(alike, abs=1e-5)
        assert found[f"SSIM{of}"].spread == pytest.approx(error, rel=1e-3)
    # A spread of decibels is that of the error: in first order, of the error shifted by its standard error.
    errors = ((made - X) ** 2).mean((1, 2, 3))
    shifted = -10 * np.log10(errors.mean() - 1e-3 * errors.std(ddof=1) / np.sqrt(N))
    assert found["PSNR"].spread == pytest.approx((shifted - found["PSNR"].value) / 1e-3, rel=1e-2)


def test_where_it_is_known_what_is_hidden_all_else_stays():
    found = figures_of(Restoration(missing_square(4, 0.1), known=True), GREY, SPLIT)
    filled = figures_of(Restoration(missing_square(4, 0.5)), GREY, SPLIT)
    assert found["PSNR"].value == pytest.approx(filled["PSNR, damaged image"].value, rel=1e-6)
    assert found["PSNR"].value > max(found["PSNR, damaged image"].value, filled["PSNR"].value)


def _unit(name, settings, scale):
    return Restorer(name, settings, lambda image, hidden, setting: scale(image, setting))


def test_every_measure_sees_the_same_damage_however_many_images_it_takes():
    damage = gaussian(0.05)
    nothing = _unit("nothing", (0.0,), lambda image, setting: image)
    whole = figures_of(Restorers(damage, (nothing,), examples=0), UNCHANGED, SPLIT)
    model = figures_of(Restoration(damage), UNCHANGED, SPLIT)
    assert whole["PSNR, nothing"].value == model["PSNR"].value == model["PSNR, damaged image"].value
    few = figures_of(Restorers(damage, (nothing,), examples=3), UNCHANGED, SPLIT)["PSNR, nothing"]
    first = figures_of(Restoration(damage), UNCHANGED, SPLIT.first(3))["PSNR"]
    assert few.value == first.value and few.measured_on == "toy, test, 3 images"


def test_the_setting_is_the_best_for_training_images():
    halved = _unit("doubled", (1.0, 2.0, 3.0), lambda image, setting: image * setting)
    found = figures_of(Restorers(_half, (halved,), tuned_on=4), UNCHANGED, SPLIT)
    assert found["PSNR, doubled"].note.endswith("setting 2, the best of 3 for 4 training images")
    assert np.isposinf(found["PSNR, doubled"].value) and found["SSIM, doubled"].value == pytest.approx(1)


def _half(x, key):
    return x / 2


RAMP = (0.1 + 0.04 * np.arange(H)[:, None] + 0.02 * np.arange(W)[None, :])[..., None]
HOLE = np.zeros((H, W), bool)
HOLE[3:8, 4:9] = True


def test_biharmonic_surfaces_over_a_hole_in_a_plane_are_the_plane():
    damaged = np.where(HOLE[..., None], 0.5, RAMP)
    np.testing.assert_allclose(biharmonic().restore(damaged, HOLE, 0.0).reshape(H, W, 1), RAMP, atol=1e-6)


def test_splines_find_a_plane_again_away_from_the_border():
    damaged = np.asarray(coarse(2)(jnp.asarray(RAMP[None], jnp.float32), KEY))[0]
    restored = bicubic(2).restore(damaged, HOLE, 2.0).reshape(H, W, 1)
    np.testing.assert_allclose(restored[4:-4, 4:-4], RAMP[4:-4, 4:-4], atol=5e-3)
    assert np.abs(damaged - RAMP)[4:-4, 4:-4].min() > 9e-3


@pytest.mark.parametrize("make", [total_variation, non_local_means])
def test_restorers_take_noise_off_flat_images(make):
    steps = np.where(np.arange(W) < W // 2, 0.2, 0.8) * np.ones((H, 1))
    noisy = steps[..., None] + 0.1 * np.random.default_rng(1).normal(size=(H, W, 1))
    errors = [np.abs(make().restore(noisy, HOLE, s).reshape(H, W) - steps).mean() for s in make().settings]
    assert min(errors) < 0.5 * np.abs(noisy[..., 0] - steps).mean()


def test_the_picture_has_clean_damaged_restored_and_ours(tmp_path, monkeypatch):
    seen = caught(monkeypatch, "image_grid")
    doubled = _unit("doubled", (2.0,), lambda image, setting: image * setting)
    Restorers(_half, (doubled,), count=3).draw(GREY, SPLIT, KEY, tmp_path)
    (images, path), options = seen[0]
    assert path.name == "restorations.png" and options["columns"] == 3 and path.exists()
    clean = X[[0, 3, 7]]
    np.testing.assert_allclose(images, np.concatenate([clean, clean / 2, clean, np.full_like(clean, 0.5)]), rtol=1e-6)


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'gen_models\[restoration\]'"):
        Restorers(_half, (biharmonic(),))


def test_damage_runs_under_jit_and_vmap_alike():
    square = missing_square(5)
    keys = jax.random.split(KEY, N)
    alone = jnp.stack([square(x[None], key)[0] for x, key in zip(X, keys, strict=True)])
    np.testing.assert_array_equal(jax.jit(jax.vmap(lambda x, key: square(x[None], key)[0]))(X, keys), alone)
