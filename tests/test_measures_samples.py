"""Samples, completions, covered modes and costs: of models whose samples and operations are known."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.data.synthetic import grid_centres
from gen_models.measures import Completions, Flops, GridCoverage, Parameters, Samples, SamplingTime
from tests.measured import KEY, caught, figures_of, split_of, trained_of


def paint(params, stats, key, n, label=None, given=None, mask=None):
    """Images of random levels 0 to 3; of the label alone, or as given where the mask is true."""
    x = jax.random.randint(key, (n, 4, 4, 1), 0, 4)
    x = x if label is None else jnp.broadcast_to(jnp.asarray(label)[:, None, None, None], x.shape)
    return x if given is None else jnp.where(mask[..., None], given, x)


def test_samples_of_classes_in_turn_and_of_a_given_class(tmp_path, monkeypatch):
    trained, measure = trained_of(num_classes=3, sample=paint), Samples(count=7, levels=4, conditional=True)
    assert measure.sample(trained, KEY, 7)[:, 0, 0, 0].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert measure.sample(trained, KEY, 2, label=jnp.array([2, 2]))[:, 0, 0, 0].tolist() == [2, 2]
    free = Samples(levels=4).sample(trained, KEY, 5)
    np.testing.assert_array_equal(free, paint(None, None, KEY, 5))
    grids = caught(monkeypatch, "image_grid")
    measure.draw(trained, split_of({"x": np.zeros((1, 2))}), KEY, tmp_path)
    np.testing.assert_allclose(grids[0][0][0][:, 0, 0, 0], np.array([0, 1, 2, 0, 1, 2, 0]) / 3)
    assert (tmp_path / "samples.png").exists()


@pytest.mark.parametrize("conditional", [False, True])
def test_completions_keep_the_upper_half(conditional, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.integers(4, size=(6, 4, 4, 1)).astype(np.float32), np.array([3, 0, 1, 2, 3, 1])
    grids = caught(monkeypatch, "image_grid")
    measure = Completions(levels=4, conditional=conditional, count=3, times=2)
    measure.draw(trained_of(sample=paint), split_of({"x": x, "y": y}), KEY, tmp_path)
    (grid, path), options = grids[0]
    assert (path, options["columns"]) == (tmp_path / "completions.png", 8), "twice four columns a line"
    shown, picked = grid.reshape(3, 4, 4, 4, 1) * 3, x[[0, 2, 5]]
    np.testing.assert_allclose(shown[:, 0], picked)
    np.testing.assert_allclose(shown[:, :, :2], np.repeat(picked[:, None, :2], 4, 1))
    assert (shown[:, 1, 2:] == 0).all()
    if conditional:
        np.testing.assert_allclose(shown[:, 2:, 2:], y[[0, 2, 5]].reshape(3, 1, 1, 1, 1) + np.zeros((3, 2, 2, 4, 1)))
    else:
        assert (shown[:, 2, 2:] != shown[:, 3, 2:]).any(), "the completions differ"


def test_coverage_of_planted_samples(tmp_path):
    """Four of nine modes evenly, two samples of ten far from all: what is left of log 9 is log 9 - log 4."""
    centres = np.asarray(grid_centres(3, 2.0))
    planted = jnp.asarray(np.concatenate([centres[[0, 3, 4, 8] * 2], [[9.0, 9.0], [1.0, 1.0]]]), jnp.float32)
    trained = trained_of(sample=lambda params, stats, key, n: planted[:n])
    measure = GridCoverage(count=10, side=3)
    found = figures_of(measure, trained, split_of({"x": np.zeros((1, 2))}))
    assert (found["modes covered"].value, found["modes covered"].unit) == (4, "of 9")
    assert found["high-quality samples"].value == pytest.approx(80)
    assert found["reverse KL"].value == pytest.approx(np.log(9) - np.log(4), rel=1e-6)
    measure.draw(trained, split_of({"x": np.zeros((1, 2))}), KEY, tmp_path)
    assert (tmp_path / "samples.png").exists()


def test_what_a_dense_layer_costs():
    split = split_of({"x": np.zeros((3, 20), np.float32)})
    params = {"kernel": jnp.ones((20, 30)), "bias": jnp.ones(30)}  # XLA leaves out what it knows to be 0
    trained = trained_of(params, apply=lambda p, stats, x: x @ p["kernel"] + p["bias"])
    assert figures_of(Parameters(), trained, split)["parameters"].value == 20 * 30 + 30
    found = figures_of(Flops(), trained, split)["FLOPs"]
    assert (found.value, found.unit) == (2 * 20 * 30 + 30, "per image")


def test_operations_of_a_model_that_reads_tokens():
    """Its examples are integers, which index a table."""
    split = split_of({"x": np.zeros((3, 7), np.int32)})
    trained = trained_of(jnp.ones((11, 4)), apply=lambda p, stats, x: p[x].reshape(len(x), -1) @ jnp.ones((28, 2)))
    assert figures_of(Flops(), trained, split)["FLOPs"].value >= 2 * 28 * 2


def test_sampling_takes_time():
    labels = []

    def sample(params, stats, key, n, label=None):
        labels.append(label)
        return jax.random.normal(key, (n, 100))

    split = split_of({"x": np.zeros(2)})
    for conditional in (False, True):
        trained = trained_of(num_classes=2, sample=partial(sample))
        found = figures_of(SamplingTime(count=4, conditional=conditional), trained, split)["sampling"]
        assert 0 < found.value < 10
        assert found.note == "4 images, compiled"
    assert labels[0] is None
    assert (len(labels), labels[1].shape) == (2, (4,)), "compiled once each"
