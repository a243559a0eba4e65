"""Principal components beside a code, against scikit-learn, and the map of both."""

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from gen_models.data.dataset import Classes
from gen_models.measures import NearestNeighbours, PrincipalMap
from gen_models.measures.maps import principal_axes
from tests.measured import KEY, caught, figures_of, trained_of
from tests.test_measures_probes import DATA, SPLIT, TEST, TRAIN, K

PLANE = np.random.default_rng(5).normal(size=(6, 2)).astype(np.float32)
FLAT = trained_of(num_classes=K, encode=lambda params, stats, x, key=None: x.reshape(len(x), 6) @ PLANE)
FITTED = PCA(2).fit(TRAIN["x"].reshape(-1, 6).astype(np.float64))


def test_figures_are_scikit_learns_of_as_many_components_as_the_code_has():
    known, queries = (part["x"].reshape(-1, 6).astype(np.float64) for part in (TRAIN, TEST))
    found = figures_of(PrincipalMap(), FLAT, SPLIT)
    error = ((FITTED.inverse_transform(FITTED.transform(queries)) - queries) ** 2).sum(1)
    figure = found["squared error, principal components"]
    assert figure.value == pytest.approx(error.mean(), rel=1e-6) and figure.unit == "squared/image"
    neighbours = KNeighborsClassifier(5).fit(FITTED.transform(known), TRAIN["y"])
    share = neighbours.score(FITTED.transform(queries), TEST["y"])
    assert found["neighbours' accuracy, principal components"].value == pytest.approx(share) and share > 0.4
    # Of a code that is the projection itself, the neighbours are the same.
    axes = FITTED.components_.T.astype(np.float32)
    own = trained_of(num_classes=K, encode=lambda params, stats, x, key=None: x.reshape(len(x), 6) @ axes)
    assert figures_of(NearestNeighbours(), own, SPLIT)["neighbours' accuracy"].value == pytest.approx(share)


def test_axes_span_what_scikit_learns_do():
    mean, axes = principal_axes(TRAIN["x"].reshape(-1, 6).astype(np.float64), 2)
    np.testing.assert_allclose(mean, FITTED.mean_)
    np.testing.assert_allclose(np.abs(axes.T @ FITTED.components_.T), np.eye(2), atol=1e-8)


def test_the_map_shows_both_planes_with_the_names_of_classes(tmp_path, monkeypatch):
    seen = caught(monkeypatch, "classes")
    PrincipalMap(shown=50).draw(FLAT, SPLIT, KEY, tmp_path)
    (panels, labels, path, names), _ = seen[0]
    np.testing.assert_allclose(panels["code of the autoencoder"], TEST["x"][:50].reshape(50, 6) @ PLANE, rtol=1e-5)
    projected = FITTED.transform(TEST["x"][:50].reshape(50, 6).astype(np.float64))
    np.testing.assert_allclose(np.abs(panels["principal components"]), np.abs(projected), atol=1e-6)
    assert labels.tolist() == TEST["y"][:50].tolist() and list(names) == ["0", "1", "2"]
    with Image.open(path) as picture:
        assert picture.size[0] > 2 * 400
    named = type(SPLIT)(DATA, type(DATA.test)(**vars(DATA.test) | {"meaning": Classes(("a", "b", "c"))}), "test")
    PrincipalMap().draw(FLAT, named, KEY, tmp_path)
    assert list(seen[1][0][3]) == ["a", "b", "c"]


def test_a_code_of_other_dimensions_has_no_map(tmp_path):
    deep = FLAT._replace(model=trained_of(encode=lambda params, stats, x, key=None: x.reshape(len(x), 6)).model)
    PrincipalMap().draw(deep, SPLIT, KEY, tmp_path)
    assert not list(tmp_path.iterdir())
    assert "6 components" in figures_of(PrincipalMap(), deep, SPLIT)["squared error, principal components"].note
