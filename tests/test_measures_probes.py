"""Probes of codes against scikit-learn, the squared error in NumPy, and pictures of units of linear models."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from gen_models.data.splits import Splits
from gen_models.measures import LinearProbe, NearestNeighbours, ReconstructionError, Split, UnitPictures
from gen_models.measures.probes import SupportVectorMachine, classes_of_neighbours
from tests.measured import KEY, caught, figures_of, streamed, trained_of

K = 3
MAP = np.random.default_rng(5).normal(size=(6, 4)).astype(np.float32)
BACK = np.random.default_rng(6).normal(size=(4, 6)).astype(np.float32)


def classed(count, seed):
    """Images whose classes a linear map tells apart, but for some."""
    rng = np.random.default_rng(seed)
    y = rng.integers(K, size=count).astype(np.int32)
    x = rng.normal(size=(count, 2, 3, 1)).astype(np.float32)
    x[np.arange(count), 0, y] += 1.5
    return {"x": x, "y": y}


TRAIN, TEST = classed(200, 0), classed(90, 1)
DATA = Splits.of_arrays(TRAIN, TEST, name="toy", examples="images", num_classes=K)
SPLIT = Split(DATA, DATA.test, "test")
LINEAR = trained_of(
    params={"encoder": MAP, "mixed": BACK},
    num_classes=K,
    encode=lambda params, stats, x, key=None: x.reshape(len(x), 6) @ params["encoder"],
    decode=lambda params, stats, z: (z @ params["mixed"]).reshape(-1, 2, 3, 1),
)
TUPLE = trained_of(params=LINEAR.params, num_classes=K, encode=lambda *a: (LINEAR.model.encode(*a), None))


def codes_of(arrays):
    return arrays["x"].reshape(-1, 6).astype(np.float64) @ MAP


@pytest.mark.parametrize("trained", [LINEAR, TUPLE])
def test_the_linear_probe_is_scikit_learns_of_standardised_codes(trained):
    scaler = StandardScaler().fit(codes_of(TRAIN))
    theirs = LogisticRegression(max_iter=1000).fit(scaler.transform(codes_of(TRAIN)), TRAIN["y"])
    expected = theirs.score(scaler.transform(codes_of(TEST)), TEST["y"])
    figure = figures_of(LinearProbe(), trained, SPLIT)["linear probe accuracy"]
    assert figure.value == pytest.approx(expected) and 0.5 < expected < 1
    assert figure.spread == pytest.approx(np.sqrt(expected * (1 - expected) / 90)) and figure.better == "maximize"
    few = figures_of(LinearProbe(examples=20), trained, SPLIT)["linear probe accuracy"]
    assert few.note == f"fitted to 20 training codes of {MAP.shape[1]} numbers" and few.value != figure.value


def test_the_linear_machine_is_scikit_learns_of_standardised_codes():
    scaler = StandardScaler().fit(codes_of(TRAIN))
    theirs = LinearSVC(C=1 / MAP.shape[1], tol=1e-9, max_iter=100_000, random_state=0)
    theirs.fit(scaler.transform(codes_of(TRAIN)), TRAIN["y"])
    expected = theirs.score(scaler.transform(codes_of(TEST)), TEST["y"])
    figure = figures_of(LinearProbe(machine=True), LINEAR, SPLIT)["linear machine accuracy"]
    assert figure.value == pytest.approx(expected) and 0.5 < expected < 1
    own = SupportVectorMachine(1 / MAP.shape[1]).fit(scaler.transform(codes_of(TRAIN)), TRAIN["y"])
    np.testing.assert_allclose(own.weights[:-1], theirs.coef_.T, atol=1e-4)
    np.testing.assert_allclose(own.weights[-1], theirs.intercept_, atol=1e-4)


@pytest.mark.parametrize("count", [1, 5])
def test_neighbours_are_scikit_learns(count):
    theirs = KNeighborsClassifier(count).fit(codes_of(TRAIN), TRAIN["y"])
    figure = figures_of(NearestNeighbours(count), LINEAR, SPLIT)["neighbours' accuracy"]
    assert figure.value == pytest.approx(theirs.score(codes_of(TEST), TEST["y"]))
    far = codes_of(TRAIN) + 1000, codes_of(TEST) + 1000  # and far from 0, where squares lose digits
    found = classes_of_neighbours(far[1], far[0], TRAIN["y"], K, count, size=40)
    np.testing.assert_array_equal(found, theirs.predict(codes_of(TEST)))


def test_of_equally_common_classes_the_first_is_taken():
    codes = np.array([[0.0], [1.0], [2.0], [3.0]])
    found = classes_of_neighbours(np.array([[0.1], [2.9]]), codes, np.array([1, 0, 2, 2]), K, 2)
    assert found.tolist() == [0, 2]


@pytest.mark.parametrize("how", [lambda split: split, streamed])
def test_the_squared_error_is_that_of_each_example(how):
    x = TEST["x"].reshape(90, 6).astype(np.float64)
    each = ((codes_of(TEST) @ BACK - x) ** 2).sum(1)
    figure = figures_of(ReconstructionError(), LINEAR, how(SPLIT))["squared error"]
    assert figure.value == pytest.approx(each.mean(), rel=1e-5) and figure.unit == "squared/image"
    assert figure.spread == pytest.approx(each.std(ddof=1) / np.sqrt(90), rel=1e-4)


def test_pictures_of_units_are_the_weights_and_the_columns_of_a_linear_model(tmp_path, monkeypatch):
    seen = caught(monkeypatch, "image_grid")
    UnitPictures(count=3).draw(LINEAR, SPLIT, KEY, tmp_path)
    (weights, _), (units, _) = (args for args, _ in seen)
    expected = MAP.T[:3].reshape(3, 2, 3, 1)
    scale = np.abs(expected).max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(weights, 0.5 + expected / (2 * scale), rtol=1e-5)
    deviation = codes_of(TEST).std(0)
    columns = (2 * deviation[:, None] * BACK)[:3].reshape(3, 2, 3, 1)
    scale = np.abs(columns).max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(units, 0.5 + columns / (2 * scale), rtol=1e-3, atol=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {"weights.png", "code_units.png"}


def test_without_classes_there_are_no_figures_and_bad_values_are_named(monkeypatch):
    unlabelled = LINEAR._replace(num_classes=None)
    assert not figures_of(LinearProbe(), unlabelled, SPLIT) and not figures_of(NearestNeighbours(), unlabelled, SPLIT)
    with pytest.raises(ValueError, match="neighbours must be 1 or more, got 0"):
        NearestNeighbours(0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'gen_models\[probes\]'"):
        LinearProbe()
