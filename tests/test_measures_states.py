"""How far back gradients reach: against powers of a spectral radius, and matrices whose eigenvalues are known."""

import jax
import numpy as np
import pytest

from gen_models.measures.states import StateGradients, spectral_radius
from gen_models.models.sequences.recurrent_network import recurrent_network
from tests.measured import KEY, caught, figures_of, split_of, trained_of

STEPS = 12


def _data():
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(20, STEPS, 2)).astype(np.float32), "y": rng.normal(size=20).astype(np.float32)}


def test_figures_and_picture_of_a_linear_network_are_powers_of_its_radius(tmp_path, monkeypatch):
    """At the end its matrix is another: an example's gradients are its own, and their norms fall as r^k."""
    shape = {"answer": "numbers", "cell": "elman", "activation": "linear", "features": 4}
    model = recurrent_network((STEPS, 2), 1, radius=0.7, **shape)
    params, _ = jax.jit(model.init)(KEY, _data())
    params["layers"]["elman_0"]["recurrent_kernel"] *= 1.1 / 0.7
    trained = trained_of()._replace(model=model, params=params, stats={})
    measure, split = StateGradients(examples=10), split_of(_data())
    found = figures_of(measure, trained, split)
    for when, radius in (("start", 0.7), ("end", 1.1)):
        assert found[f"spectral radius at the {when}"].value == pytest.approx(radius, rel=1e-5)
        ratio = found[f"first / last state's gradient at the {when}"]
        assert ratio.value == pytest.approx(radius ** (STEPS - 1), rel=1e-4)
        assert "11 steps apart" in ratio.note
    seen = caught(monkeypatch, "lines")
    measure.draw(trained, split, KEY, tmp_path)
    ((lines, path), _) = seen[0]
    assert path == tmp_path / "state_gradients.png" and path.stat().st_size > 0
    batch = split.some(10)
    residual = np.asarray(model.apply(params, {}, batch["x"]))[:, 0] - batch["y"]
    last = np.abs(2 * residual).mean() * np.linalg.norm(params["outputs"]["kernel"])  # d (W h + b - y)^2 / dh
    np.testing.assert_allclose(lines["at the end"], last * 1.1 ** np.arange(STEPS), rtol=1e-4)


@pytest.mark.slow
def test_a_model_with_a_carry_and_two_states_has_its_gradients_too():
    model = recurrent_network((4, 2), 1, answer="numbers", features=3, truncated=True, window=2)
    data = {name: value[:, :4] if name == "x" else value for name, value in _data().items()}
    params, _ = jax.jit(model.init)(KEY, data)
    trained = trained_of()._replace(model=model, params=params, stats={})
    assert figures_of(StateGradients(5), trained, split_of(data))["first / last state's gradient at the end"].value == 0


def test_the_radius_is_that_of_the_candidates_matrix():
    rng = np.random.default_rng(0)
    for gates, index in ((1, 0), (3, 2), (4, 2)):
        kernel = rng.normal(size=(3, 3 * gates))
        block = np.array([[0, -2.0, 0], [2, 0, 0], [0, 0, 1]])  # eigenvalues 2i, -2i and 1
        kernel[:, 3 * index : 3 * index + 3] = block
        later = {"recurrent_kernel": 9 * np.ones((3, 3 * gates))}
        assert spectral_radius({"l_1": later, "l_0": {"recurrent_kernel": kernel}}) == pytest.approx(2)
    with pytest.raises(ValueError, match="no recurrent kernel"):
        spectral_radius({"dense": {"kernel": np.eye(2)}})
