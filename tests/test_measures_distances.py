"""Distances of samples whose distribution is known, of a memoriser and of noise, in features that are pixels."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data.splits import Splits
from gen_models.evaluation.frechet import frechet_distance, moments
from gen_models.features.extractor import NetworkExtractor
from gen_models.measures import Distances, Split
from gen_models.measures.feature_sets import feature_sets, samples_of, spread_over
from tests.measured import KEY, caught, figures_of, streamed, trained_of

H, W, D = 2, 3, 6
RNG = np.random.default_rng(0)
SCALE = 0.03


def normal(count):
    """Images around 1/2 whose pixels are independent; of three classes, which move the first pixel."""
    y = RNG.integers(3, size=count).astype(np.int32)
    x = 0.5 + SCALE * RNG.standard_normal((count, H, W, 1)).astype(np.float32)
    x[:, 0, 0, 0] += 0.25 * (y - 1)
    return {"x": np.clip(x, 0, 1), "y": y}


def unit(batch, key=None):
    """The images as they are."""
    return batch


TRAIN, TEST = normal(900), normal(300)
DATA = Splits.of_arrays(TRAIN, TEST, name="toy", examples="images", num_classes=3, transform=unit)
SPLIT = Split(DATA, DATA.test, "test")


def pixels(params, images):
    """The pixels, and probabilities of classes by the first one."""
    first = images[:, 0, 0, 0]
    logits = -jnp.square((first[:, None] - jnp.array([0.25, 0.5, 0.75])) / SCALE) / 2
    return images.reshape(len(images), -1), jax.nn.softmax(logits)


def sampler(shift=0.0, classes=3):
    """A model of the data's own distribution, all of whose pixels are moved by a number."""

    def sample(params, stats, key, n):
        label_key, noise_key = jax.random.split(key)
        x = 0.5 + shift + SCALE * jax.random.normal(noise_key, (n, H, W, 1))
        return x.at[:, 0, 0, 0].add(0.25 * (jax.random.randint(label_key, (n,), 0, classes) - 1))

    return trained_of(sample=sample, num_classes=3)


def memoriser(params, stats, key, n):
    """Training examples."""
    return jnp.asarray(TRAIN["x"])[jax.random.randint(key, (n,), 0, len(TRAIN["x"]))]


EXTRACTOR = NetworkExtractor("pixels", pixels, jnp.float32(1), (H, W, 1))
MEASURE = Distances(EXTRACTOR, samples=300, neighbours=3, at_once=64, count=4)
SETS = ("", ", held-out examples", ", memoriser", ", noise")


@pytest.fixture(scope="module")
def good():
    return figures_of(MEASURE, sampler(), SPLIT)


def test_every_figure_of_samples_stands_beside_the_floor_a_memoriser_and_noise(good):
    alone = [name for name in good if "," not in name]
    assert len(alone) == 10 and len(good) == 4 * len(alone)
    assert {f"{name}{of}" for name in alone for of in SETS} == set(good)
    for figure in good.values():
        assert figure.measured_on == "toy, 300 images of each set, 900 training images"
        assert "6 features of pixels, weights" in figure.note and figure.note.endswith("no resizing")


def test_samples_of_the_datas_distribution_are_as_good_as_held_out_examples(good):
    # Of n samples of D dimensions d^2 is about 2 tr(S) / n beyond what covariances add: of the order of this.
    total = D * SCALE**2 + 0.25**2 * 2 / 3
    for of in SETS[:2]:
        assert 0 < good[f"FD pixels{of}"].value < 10 * total / 300
        kernel = good[f"KD pixels{of}"]
        assert abs(kernel.value) < 4 * kernel.spread
        assert abs(good[f"density by pixels{of}"].value - 1) < 0.15
        assert good[f"coverage by pixels{of}"].value > 0.75
        assert good[f"classes covered by pixels{of}"].value == 3
        assert good[f"class divergence by pixels{of}"].value < 0.03
    near = good["authenticity by pixels"], good["authenticity by pixels, held-out examples"]
    assert abs(near[0].value - near[1].value) < 4 * np.hypot(near[0].spread, near[1].spread)


def test_a_memoriser_is_near_and_never_authentic_and_noise_is_far(good):
    assert good["authenticity by pixels, memoriser"].value == 0
    assert good["FD pixels, memoriser"].value < 10 * good["FD pixels, held-out examples"].value
    assert good["authenticity by pixels, noise"].value > 0.9
    assert good["precision by pixels, noise"].value < 0.1
    # pixels of 1/12 in place of SCALE^2, all but the first; its class moves it as well
    rest = (D - 1) * (np.sqrt(1 / 12) - SCALE) ** 2
    first = (np.sqrt(1 / 12) - np.sqrt(SCALE**2 + 0.25**2 * 2 / 3)) ** 2
    assert good["FD pixels, noise"].value == pytest.approx(rest + first, rel=0.1)


def test_moving_all_pixels_adds_the_square_of_the_move(good):
    moved = figures_of(MEASURE, sampler(shift=0.1), SPLIT)
    assert moved["FD pixels"].value - good["FD pixels"].value == pytest.approx(D * 0.1**2, rel=0.1)
    for of in SETS[1:]:  # which do not depend on the model
        assert moved[f"FD pixels{of}"] == good[f"FD pixels{of}"]


def test_missing_classes_are_counted_and_cost_recall():
    found = figures_of(MEASURE, sampler(classes=2), SPLIT)
    assert found["classes covered by pixels"].value == 2 and found["classes covered by pixels, noise"].value == 3
    assert found["class divergence by pixels"].value == pytest.approx(np.log(1.5), abs=0.05)
    assert found["recall by pixels"].value < found["recall by pixels, held-out examples"].value - 0.2
    assert found["pixels score"].value < 2.05 < 2.5 < found["pixels score, held-out examples"].value


def test_figures_are_the_functions_of_the_sets_features(good):
    count = {"count": 300, "at_once": 64}
    sets = feature_sets(EXTRACTOR, sampler(), SPLIT, KEY, **count)
    for name, found in sets.compared.items():
        distance = frechet_distance(moments(found.features), moments(sets.reference.features))
        assert good[f"FD pixels{', ' if name else ''}{name}"].value == distance
    known = {row.tobytes() for row in TRAIN["x"].reshape(-1, D)}
    reference = {row.tobytes() for row in sets.reference.features}
    assert len(reference) == 300 and reference <= known
    assert {row.tobytes() for row in sets.compared["memoriser"].features} <= known
    np.testing.assert_array_equal(sets.compared["held-out examples"].features, TEST["x"].reshape(-1, D))
    assert sets.compared["noise"].features.min() < 0.01 and sets.compared["noise"].features.max() > 0.99


def test_streamed_data_have_the_same_figures(good):
    apart = replace(DATA, train=streamed(replace(SPLIT, dataset=DATA.train)).dataset)
    data = replace(apart, test=streamed(SPLIT).dataset, held_out=None)
    assert figures_of(MEASURE, sampler(), Split(data, data.test, "test")) == good


def test_samples_may_be_compared_with_images_as_they_are():
    def inverted(batch, key):
        return {**batch, "x": 1 - batch["x"]}

    data = Splits.of_arrays(TRAIN, TEST, name="toy", examples="images", transform=inverted, how="inverted")
    split = Split(data, data.test, "test")
    for unchanged, sign in ((True, 1), (False, -1)):
        sets = feature_sets(EXTRACTOR, sampler(), split, KEY, count=300, unchanged=unchanged)
        expected = 0.5 + sign * (TEST["x"].reshape(-1, D) - 0.5)
        np.testing.assert_allclose(sets.compared["held-out examples"].features, expected, atol=1e-6)
        np.testing.assert_allclose(sets.training.features, 0.5 + sign * (TRAIN["x"].reshape(-1, D) - 0.5), atol=1e-6)
        where = figures_of(replace(MEASURE, unchanged=unchanged), sampler(), split)["FD pixels"].measured_on
        assert where.endswith("images, as they are" if unchanged else "images, inverted")


def test_what_was_trained_on_is_compared_with_its_other_half():
    alone = Splits.of_arrays(TRAIN, TRAIN, name="toy", examples="images", num_classes=3, transform=unit)
    sets = feature_sets(EXTRACTOR, sampler(), Split(alone, alone.test, "train"), KEY, count=600)
    others = sets.compared["other training examples"].features
    assert len(others) == len(sets.reference.features) == len(sets.compared[""].features) == 450
    assert not {row.tobytes() for row in others} & {row.tobytes() for row in sets.reference.features}
    found = figures_of(MEASURE, sampler(), Split(alone, alone.test, "train"))
    assert "FD pixels, other training examples" in found
    assert "authenticity by pixels, other training examples" not in found and "authenticity by pixels" in found


@pytest.mark.parametrize("levels", [2, 5])
def test_levels_are_brought_to_the_unit_interval(levels):
    def sample(params, stats, key, n):
        return jnp.broadcast_to(jnp.arange(H * W).reshape(H, W, 1) % levels, (n, H, W, 1))

    (found,) = samples_of(trained_of(sample=sample), KEY, 3, levels, False, 4)
    np.testing.assert_allclose(found[2].ravel(), np.arange(H * W) % levels / (levels - 1))


def test_a_conditional_model_draws_the_classes_in_turn():
    def sample(params, stats, key, n, label):
        return jnp.broadcast_to((label / 4)[:, None, None, None], (n, H, W, 1))

    found = np.concatenate(list(samples_of(trained_of(sample=sample, num_classes=3), KEY, 10, 2, True, 4)))
    np.testing.assert_allclose(found[:, 0, 0, 0], np.arange(10) % 3 / 4)


def test_only_the_original_network_gives_a_fid():
    original = NetworkExtractor("inception", pixels, jnp.float32(1), (H, W, 1))
    found = figures_of(replace(MEASURE, extractor=original), sampler(), SPLIT)
    assert {"FID", "KID", "Inception score", "FID, noise"} <= set(found)
    other = figures_of(MEASURE, sampler(), SPLIT)
    assert not [name for name in other if "FID" in name or "KID" in name or "nception" in name]
    assert found["FID"].value == other["FD pixels"].value


def test_a_sample_is_shown_beside_its_nearest_training_examples(monkeypatch, tmp_path):
    grids = caught(monkeypatch, "image_grid")
    MEASURE.draw(trained_of(sample=memoriser), SPLIT, KEY, tmp_path)
    ((rows, path), options), *_ = grids
    rows = np.asarray(rows).reshape(4, 6, H * W)
    assert path == tmp_path / "neighbours_pixels.png" and path.exists() and options["columns"] == 6
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])  # a copy is its own neighbour
    known = TRAIN["x"].reshape(-1, D).astype(np.float64)
    for row in rows:
        distances = np.sort(np.square(known - row[0]).sum(1))[:5]
        np.testing.assert_allclose(np.square(row[1:].astype(np.float64) - row[0]).sum(1), distances, atol=1e-7)


class Counting(NetworkExtractor):
    """Counts the images that it is given."""

    seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return super().__call__(images)


def test_features_of_data_are_kept_for_the_same_images_network_and_weights(good, tmp_path):
    def found(weight=1.0, data=DATA, shift=0.0):
        extractor = Counting("pixels", pixels, jnp.float32(weight), (H, W, 1))
        measure = replace(MEASURE, extractor=extractor, folder=tmp_path / "kept")
        return figures_of(measure, sampler(shift), Split(data, data.test, "test")), extractor.seen

    own = 300 + 300  # samples and noise
    assert found() == (good, own + 900 + 300)
    assert found() == (good, own) and len(list((tmp_path / "kept").iterdir())) == 2
    assert found(shift=0.1)[1] == own
    assert found(weight=2.0)[1] == own + 900 + 300  # other weights
    other = {**TRAIN, "x": TRAIN["x"] + 1e-3 * (np.arange(900) == 899)[:, None, None, None].astype(np.float32)}
    data = Splits.of_arrays(other, TEST, name="toy", examples="images", num_classes=3, transform=unit)
    assert found(data=data)[1] == own + 900  # one other pixel
    for file in (tmp_path / "kept").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    assert found() == (good, own + 900 + 300)  # damaged
    assert found() == (good, own)


def test_examples_are_spread_over_the_whole_split():
    some = spread_over(SPLIT, 100)
    np.testing.assert_array_equal(some.dataset.arrays["y"], TEST["y"][::3])
    assert spread_over(SPLIT, 0) is SPLIT and len(spread_over(streamed(SPLIT), 7)) == 7


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Distances(EXTRACTOR, samples=0), "positive, got samples=0"),
        (lambda: Distances(EXTRACTOR, levels=1), "levels 2 or more"),
        (lambda: figures_of(Distances(EXTRACTOR, samples=5), sampler(), SPLIT), "5 neighbours need 6 images"),
        (lambda: figures_of(MEASURE, trained_of(), SPLIT), "the model draws none"),
        (lambda: figures_of(MEASURE, sampler(jnp.nan), SPLIT), "values from nan"),
    ],
)
def test_what_cannot_be_compared_is_an_error(make, words):
    with pytest.raises(ValueError, match=words):
        make()
