"""Anomalies by the error of reconstruction: scikit-learn's area, its error by enumeration, and the data of the use."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gen_models.data.splits import Splits
from gen_models.measures import AnomalyDetection, Split
from gen_models.measures.anomaly import delong_error
from gen_models.run.experiments import find
from tests.measured import KEY, caught, figures_of, streamed, trained_of

K, N = 3, 60
RNG = np.random.default_rng(0)
LABELS = (np.arange(N) % (K + 1)).astype(np.int32)  # those of class K are of other data
X = RNG.normal(size=(N, 2, 3, 1)) * (1 + 0.3 * LABELS[:, None, None, None])
X = (np.round(4 * X) / 4).astype(np.float32)  # quarters, whose errors are exact and often equal
TRAIN = {"x": X[:20], "y": LABELS[:20] % K}
DATA = Splits.of_arrays(TRAIN, TRAIN, name="toy", examples="images", num_classes=K)
TEST = replace(DATA.test, arrays={"x": X, "y": LABELS}, num_classes=K + 1, split="test")
SPLIT = Split(replace(DATA, test=TEST), TEST, "test")
# The error of what is made again of a code, here of its sign: (|x| - 1)^2, summed.
SIGNS = trained_of(
    num_classes=K,
    encode=lambda params, stats, x, key=None: jnp.sign(x).reshape(len(x), 6),
    decode=lambda params, stats, z: z.reshape(-1, 2, 3, 1),
)
ERRORS = ((np.sign(X) - X) ** 2).sum((1, 2, 3))


@pytest.mark.parametrize("how", [lambda split: split, streamed])
@pytest.mark.parametrize(("normal", "anomalous"), [(1, LABELS != 1), (None, LABELS == K)])
def test_the_area_is_scikit_learns_of_the_squared_errors(normal, anomalous, how):
    figure = figures_of(AnomalyDetection(normal), SIGNS, how(SPLIT))["AUROC"]
    assert figure.value == pytest.approx(roc_auc_score(anomalous, ERRORS), abs=1e-6) and 0.1 < figure.value < 0.9
    assert figure.spread == pytest.approx(delong_error(ERRORS, anomalous), rel=1e-4)
    assert figure.better == "maximize"


def test_the_error_is_delongs_by_all_pairs():
    positive = LABELS == K
    pairs = (ERRORS[positive][:, None] > ERRORS[~positive]) + 0.5 * (ERRORS[positive][:, None] == ERRORS[~positive])
    expected = pairs.mean(1).var(ddof=1) / positive.sum() + pairs.mean(0).var(ddof=1) / (~positive).sum()
    assert delong_error(ERRORS, positive) == pytest.approx(np.sqrt(expected))
    assert delong_error(np.arange(6.0), np.arange(6) > 2) == 0  # all pairs are in order
    assert np.isnan(delong_error(np.arange(3.0), np.arange(3) > 1))


def test_the_error_is_the_spread_of_areas_over_samples():
    """Of scores of two normal distributions, drawn often."""
    rng, positive = np.random.default_rng(1), np.arange(120) < 40
    drawn = rng.normal(size=(400, 120)) + positive
    areas = [roc_auc_score(positive, scores) for scores in drawn]
    errors = [delong_error(scores, positive) for scores in drawn]
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.12)


def test_without_both_kinds_there_is_no_figure_and_without_labels_an_error(tmp_path):
    for normal in (None, K + 5):
        measure, none = AnomalyDetection(normal), Split(DATA, DATA.test, "train")
        assert not figures_of(measure, SIGNS, none)
        measure.draw(SIGNS, none, KEY, tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="the data have no labels: choose another --dataset"):
        figures_of(AnomalyDetection(), SIGNS._replace(num_classes=None), SPLIT)


def test_the_picture_has_the_worst_mistakes(tmp_path, monkeypatch):
    seen = caught(monkeypatch, "image_grid")
    AnomalyDetection(1, count=4).draw(SIGNS, SPLIT, KEY, tmp_path)
    (images, path), options = seen[0]
    assert path.name == "anomalies.png" and options["columns"] == 4
    rows = images.reshape(4, 4, 2, 3, 1)
    np.testing.assert_array_equal(rows[1::2], np.sign(rows[::2]))
    errors = ((rows[1::2] - rows[::2]) ** 2).sum((2, 3, 4))
    np.testing.assert_array_equal(errors[0], np.sort(ERRORS[LABELS == 1])[::-1][:4])
    np.testing.assert_array_equal(errors[1], np.sort(ERRORS[LABELS != 1])[:4])


USES = find("autoencoder_uses")


def _data(variant, **changes):
    config = USES.variants[variant]
    return USES.data(replace(config, dataset="digits", use=replace(config.use, **changes)))


def test_one_class_is_trained_on_and_all_are_measured():
    whole, data = _data("denoising"), _data("anomaly", normal_class=3)
    assert set(data.train.arrays["y"]) == {3} and len(data.train) == (whole.train.arrays["y"] == 3).sum()
    assert len(data.test) == len(whole.test) and data.num_classes == 10
    assert f"{(whole.train.arrays['y'] != 3).sum():,} examples of train" in data.train.passed_over[-1]
    with pytest.raises(ValueError, match=r"use\.normal_class=10: 'digits', train, has no such class"):
        _data("anomaly", normal_class=10)


def test_anomalies_of_other_data_have_a_class_of_their_own():
    data, own = _data("novelty", against="fashion_mnist_bundled"), _data("denoising")
    assert len(data.test) == 297 + 2000 and data.test.num_classes == 11 and data.num_classes == 10
    np.testing.assert_array_equal(data.test.arrays["x"][:297], own.test.arrays["x"])
    assert set(data.test.arrays["y"][297:]) == {10} and data.test.arrays["x"].max() == 16  # of 17 levels
    assert len(data.held_out) == len(own.held_out) + 1000 and len(data.train) == len(own.train)
    assert data.test.name == "digits and fashion_mnist_bundled"


def test_what_is_measured_in_place_of_a_held_out_part_has_anomalies_too():
    config = replace(USES.variants["mnist_novelty"], dataset="digits")
    data = USES.data(config)
    assert data.held_out is data.test and len(data.test) == 297 + 2000 and data.held_out_word == "test"
