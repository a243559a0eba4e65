"""Measures of classifiers and of regression against scikit-learn, and of layers against gradients written out."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics

from gen_models.core import Model
from gen_models.data.dataset import Classes
from gen_models.data.splits import Splits
from gen_models.measures import Accuracy, Confusion, Gradients, RegressionErrors, Split, Units, ValidationAccuracy
from gen_models.measures import predicted as predicted_of
from tests.measured import KEY, caught, figures_of, split_of, streamed, trained_of

K = 4


def scored(count, seed=0):
    """Images whose first K pixels are the logits, and labels that they find more often than not."""
    rng = np.random.default_rng(seed)
    y = rng.integers(K, size=count).astype(np.int32)
    x = rng.normal(size=(count, 3, 3, 1)).astype(np.float32)
    x.reshape(count, 9)[np.arange(count), y] += 1.5
    return {"x": x, "y": y}


def logits_of(arrays):
    return arrays["x"].reshape(len(arrays["x"]), 9)[:, :K].astype(np.float64)


CLASSIFIER = trained_of(apply=lambda params, stats, x: x.reshape(len(x), 9)[:, :K])


@pytest.mark.slow_cases("<lambda>")
@pytest.mark.parametrize("how", [lambda split: split, streamed])
def test_accuracy_and_cross_entropy_are_scikit_learns(how):
    arrays = scored(703)  # the second batch is filled up
    split = how(split_of(arrays, num_classes=K))
    logits, labels = predicted_of(CLASSIFIER, split)
    np.testing.assert_allclose(logits, logits_of(arrays))
    np.testing.assert_array_equal(labels, arrays["y"])
    found = figures_of(Accuracy(), CLASSIFIER, split)
    guess = logits_of(arrays).argmax(1)
    accuracy = sklearn.metrics.accuracy_score(arrays["y"], guess)
    assert found["accuracy"].value == pytest.approx(accuracy, rel=1e-6)
    error = scipy.stats.sem(guess == arrays["y"], ddof=0)
    assert found["accuracy"].spread == pytest.approx(error, rel=1e-5)
    probabilities = scipy.special.softmax(logits_of(arrays), 1)
    expected = sklearn.metrics.log_loss(arrays["y"], probabilities)
    assert found["cross-entropy"].value == pytest.approx(expected, rel=1e-5)
    balanced = sklearn.metrics.balanced_accuracy_score(arrays["y"], guess)
    assert found["balanced accuracy"].value == pytest.approx(balanced, rel=1e-6)
    assert (found["cross-entropy"].unit, found["accuracy"].note) == ("nats/image", "the spread is over images")
    assert Accuracy.headline == ("accuracy", "maximize")
    assert figures_of(Accuracy("chance: 0.25"), CLASSIFIER, split)["accuracy"].note == "chance: 0.25"


def test_calibration_of_probabilities_that_are_planted():
    """Sure at 0.9 in 60 of 100 examples that are right in 45, at 0.7 in 40 that are right in 36: 0.6 0.15 + 0.4 0.2."""
    sure, right = np.repeat([0.9, 0.7], [60, 40]), np.r_[np.arange(60) < 45, np.arange(40) < 36]
    x = np.zeros((100, 3, 3, 1), np.float32)
    x.reshape(100, 9)[:, :K] = np.log(np.concatenate([sure[:, None], np.repeat((1 - sure[:, None]) / 3, 3, 1)], 1))
    split = split_of({"x": x, "y": np.where(right, 0, 2)}, num_classes=K)
    found = figures_of(Accuracy(), CLASSIFIER, split)
    assert found["calibration error"].value == pytest.approx(0.6 * 0.15 + 0.4 * 0.2, rel=1e-4)
    assert found["accuracy"].value == pytest.approx(0.81)


def test_the_validation_accuracy_is_that_of_the_held_out_part():
    parts = scored(90, 1), scored(50, 2), scored(70, 3)
    data = Splits.of_arrays(*parts, name="toy", num_classes=K)
    (found,) = ValidationAccuracy().figures(CLASSIFIER, Split(data, data.test, "test"), KEY)
    held_out = parts[2]
    expected = sklearn.metrics.accuracy_score(held_out["y"], logits_of(held_out).argmax(1))
    assert (found.value, found.measured_on) == (pytest.approx(expected), "toy, validation, 70 examples")


def test_the_confusion_matrix_and_the_surest_mistakes(tmp_path, monkeypatch):
    arrays = scored(520)
    matrices, captioned = caught(monkeypatch, "matrix"), caught(monkeypatch, "captioned")
    Confusion(mistakes=5).draw(CLASSIFIER, split_of(arrays, num_classes=K), KEY, tmp_path)
    logits, y = logits_of(arrays), arrays["y"]
    guess = logits.argmax(1)
    np.testing.assert_array_equal(matrices[0][0][0], sklearn.metrics.confusion_matrix(y, guess))
    wrong = np.flatnonzero(guess != y)
    surest = wrong[np.argsort(-scipy.special.softmax(logits, 1).max(1)[wrong])][:5]
    images, titles, path = captioned[0][0]
    np.testing.assert_array_equal(images, arrays["x"][surest])
    assert titles == [f"{y[i]}, taken for {guess[i]}" for i in surest]
    assert path.exists() and (tmp_path / "confusion.png").exists()


def test_classes_that_have_names_are_called_by_them(tmp_path, monkeypatch):
    arrays, names = scored(60), tuple("abcdefghij"[:K])
    matrices, captioned = caught(monkeypatch, "matrix"), caught(monkeypatch, "captioned")
    split = split_of(arrays, num_classes=K)
    split = replace(split, dataset=replace(split.dataset, meaning=Classes(names)))
    Confusion(mistakes=1).draw(CLASSIFIER, split, KEY, tmp_path)
    assert matrices[0][0][2] == names
    logits, y = logits_of(arrays), arrays["y"]
    wrong = np.flatnonzero(logits.argmax(1) != y)
    surest = wrong[scipy.special.softmax(logits, 1).max(1)[wrong].argmax()]
    assert captioned[0][0][1] == [f"{names[y[surest]]}\ntaken for {names[logits[surest].argmax()]}"]


def test_there_is_no_picture_of_mistakes_where_there_is_none(tmp_path):
    arrays = scored(30)
    right = arrays | {"y": logits_of(arrays).argmax(1)}
    Confusion().draw(CLASSIFIER, split_of(right, num_classes=K), KEY, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]


@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_errors_of_regression_are_scikit_learns(outputs, tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(603, 5)).astype(np.float32)
    weight = rng.normal(size=(5, outputs or 1)).astype(np.float32)
    y = (x @ weight + rng.normal(size=(603, outputs or 1)) * 0.7).astype(np.float32)
    y = y[:, 0] if outputs is None else y
    split = split_of({"x": x, "y": y})
    trained = trained_of(jnp.asarray(weight), apply=lambda params, stats, x: x @ params)
    found = figures_of(RegressionErrors("km"), trained, split)
    truth, predicted = y.reshape(603, -1), x @ weight
    squared = sklearn.metrics.mean_squared_error(truth, predicted)
    assert found["RMSE"].value == pytest.approx(np.sqrt(squared), rel=1e-5)
    assert found["MAE"].value == pytest.approx(sklearn.metrics.mean_absolute_error(truth, predicted), rel=1e-5)
    explained = sklearn.metrics.r2_score(truth, predicted, multioutput="variance_weighted")
    assert found["R2"].value == pytest.approx(explained, rel=1e-5)
    error = scipy.stats.sem(((truth - predicted) ** 2).mean(1)) / (2 * np.sqrt(squared))
    assert found["RMSE"].spread == pytest.approx(error, rel=1e-4)
    ways = {name: (figure.unit, figure.better) for name, figure in found.items()}
    assert ways == {"RMSE": ("km", "minimize"), "MAE": ("km", "minimize"), "R2": ("", "maximize")}
    RegressionErrors().draw(trained, split, KEY, tmp_path)
    assert (tmp_path / "predictions.png").exists()


def test_regression_without_error_and_without_variance():
    split = split_of({"x": np.ones((3, 2), np.float32), "y": np.full(3, 2.0, np.float32)})
    found = figures_of(RegressionErrors(), trained_of(apply=lambda params, stats, x: x.sum(1)), split)
    assert (found["RMSE"].value, found["RMSE"].spread) == (0, 0)
    assert np.isnan(found["R2"].value) and found["R2"].note == "undefined: all targets are equal, and have no variance"
    # The mean of 0.1 in float64, three times, is not 0.1: their variance is no 0.
    tenths = {"x": np.zeros((3, 2), np.float32), "y": np.full(3, 0.1)}
    found = figures_of(RegressionErrors(), trained_of(apply=lambda params, stats, x: x.sum(1)), split_of(tenths))
    assert np.isnan(found["R2"].value)
    one = {"x": np.zeros((1, 2), np.float32), "y": np.ones(1)}
    found = figures_of(RegressionErrors(), trained_of(apply=lambda params, stats, x: x.sum(1)), split_of(one))
    assert np.isnan(found["R2"].value) and found["R2"].note == "undefined: one example has no variance"


def _network(layers):
    """A product of matrices, whose start is drawn from the key and whose loss is noisy."""

    def init(key, batch):
        keys = jax.random.split(key, layers)
        return {f"conv_{i}": {"kernel": jax.random.normal(keys[i], (3, 3))} for i in range(layers)}, {}

    def loss(params, stats, batch, key, *, step, train=True):
        x = batch["x"]
        for i in range(layers):
            x = x @ params[f"conv_{i}"]["kernel"]
        noise = jax.random.uniform(key)
        return noise * (x.sum(1) ** 2).mean(), (stats, {})

    return Model(init, loss)


def test_gradients_at_the_start_and_the_end(tmp_path):
    """d/dA m(x A B) and d/dB, of m(u) = c mean (sum u)^2: 2 c / N x' s (B 1)' and 2 c / N (x A)' s 1'."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    data = Splits.of_arrays({"x": x}, {"x": x[:5] + 9}, name="toy", examples="images")
    a, b = rng.normal(size=(2, 3, 3))
    end = {"conv_0": {"kernel": jnp.float32(a)}, "conv_1": {"kernel": jnp.float32(b)}}
    model = _network(2)
    trained, split = trained_of()._replace(model=model, params=end), Split(data, data.test, "test")
    measure = Gradients(examples=30)
    found = figures_of(measure, trained, split)
    init_key, key = jax.random.split(KEY)
    start = model.init(init_key, None)[0]
    noise = float(jax.random.uniform(key))
    for when, params in (("start", start), ("end", end)):
        a, b = (np.asarray(params[f"conv_{i}"]["kernel"], np.float64) for i in range(2))
        u = x[:30]  # of the training part, though the split is the test's
        s = (u @ a @ b).sum(1)
        first = np.linalg.norm(2 * noise / 30 * np.outer(u.T @ s, b.sum(1)))
        last = np.linalg.norm(2 * noise / 30 * np.outer((u @ a).T @ s, np.ones(3)))
        assert found[f"gradient at the {when}"].value == pytest.approx(first, rel=1e-4)
        assert found[f"first / last gradient at the {when}"].value == pytest.approx(first / last, rel=1e-4)
    assert found["gradient at the end"].measured_on == "toy, 30 training images"
    measure.draw(trained, split, KEY, tmp_path)
    assert (tmp_path / "gradients.png").exists()
    assert Gradients.reads_traced


def test_gradients_of_a_network_of_one_layer_and_of_a_dead_one():
    split = split_of({"x": np.ones((4, 3), np.float32)})
    for layers, ratio in ((1, 1.0), (2, float("nan"))):
        end = jax.tree.map(jnp.zeros_like, _network(layers).init(KEY, None)[0])
        if layers == 1:
            end = jax.tree.map(jnp.ones_like, end)
        trained = trained_of()._replace(model=_network(layers), params=end)
        found = figures_of(Gradients(examples=4), trained, split)["first / last gradient at the end"]
        assert found.value == ratio or (np.isnan(found.value) and np.isnan(ratio))


def test_units_over_all_images_of_a_split(tmp_path, monkeypatch):
    """300 images, the last one alone alive in unit 1: copies of it, which fill up the second batch, do not count."""
    x = np.zeros((300, 2, 2, 3), np.float32)
    x[:, 0, 0, 0] = 1
    x[-1, :, :, 1] = 1
    split = split_of({"x": x})

    def encode(params, stats, x, key=None):
        return {"early": (x, (x > 0) * 1.0), "late": (jnp.ones_like(x[..., :1]), jnp.full_like(x[..., :1], 1e-4))}

    trained = trained_of(encode=encode)
    found = figures_of(Units(), trained, split)
    assert found["dead units"].value == 1 / 4, "one of the early layer's three, and none of the late layer's"
    active = 300 + 4
    assert found["flat activations"].value == pytest.approx((300 * 12 - active + 300 * 4) / (300 * 16), rel=1e-6)
    lines = caught(monkeypatch, "lines")
    Units().draw(trained, split, KEY, tmp_path)
    shares = {name: [float(each) for each in values] for name, values in lines[0][0][0].items()}
    assert shares["dead units"] == [pytest.approx(1 / 3), 0]
    assert shares["flat activations"] == [pytest.approx(1 - active / 3600), 1]
    assert lines[0][1]["y"] == "share, test split"
    assert (tmp_path / "units.png").exists()
