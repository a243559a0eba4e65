"""Tables with fixed splits are read and laid side by side, and copies of a model learn a split each, as if alone."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.uci_regression import side_by_side
from gen_models.core import init_state, make_train_step
from gen_models.data.uci import fixed_splits
from gen_models.measures import Split
from gen_models.models.adversarial.gan import gan
from gen_models.models.side_by_side import copies
from gen_models.models.supervised.mlp import mlp
from gen_models.run.experiments import find
from gen_models.run.job import make_job
from gen_models.run.tiny import tiny_config


def test_each_member_trains_as_if_it_were_alone():
    """Parameters after three steps of Adam, predictions and the loss; a member's data do not reach the other."""
    draw = np.random.default_rng(0)
    batch = {"x": draw.normal(size=(8, 2, 3)).astype(np.float32), "y": draw.normal(size=(8, 2)).astype(np.float32)}
    alone = mlp((3,), 1, hidden=(4,), answer="numbers")
    both, tx, key = copies(alone, 2, own_data=True), optax.adam(0.1), jax.random.key(3)
    step = make_train_step(both.loss, tx)
    state = init_state(both, tx, key, batch)

    @jax.jit
    def three(state, batch):
        for _ in range(3):
            state, metrics = step(state, batch)
        return state, metrics

    after, _ = three(state, batch)
    own_step = make_train_step(alone.loss, tx)
    predicted = both.apply(after.params, after.stats, batch["x"])
    assert predicted.shape == (8, 2, 1)
    for member in range(2):
        own = {name: values[:, member] for name, values in batch.items()}
        params = jax.tree.map(lambda leaf, m=member: leaf[m], state.params)
        start = init_state(alone, tx, key, own)._replace(params=params)
        for _ in range(3):
            start, _ = own_step(start, own)
        found = jax.tree.map(lambda leaf, m=member: leaf[m], after.params)
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(start.params), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(predicted[:, member], alone.apply(found, {}, own["x"]), rtol=1e-5, atol=1e-6)
    assert not np.allclose(*jax.tree.leaves(state.params)[-1])  # members start differently


def test_other_batches_and_models_are_refused():
    model = copies(mlp((3,), 1, hidden=(), answer="numbers"), 2, own_data=True)
    with pytest.raises(ValueError, match=r"x must be \[B, 2, ...\], a part for each of 2 copies, got \[8, 3\]"):
        model.init(jax.random.key(0), {"x": jnp.ones((8, 3))})
    with pytest.raises(ValueError, match="has several players or a carry"):
        copies(gan((2,)), 2, own_data=True)
    with pytest.raises(ValueError, match="count=0"):
        copies(mlp((3,), 2), 0, own_data=True)


@pytest.fixture
def folder(tmp_path):
    table = np.arange(18.0).reshape(6, 3) ** 1.5
    np.savetxt(tmp_path / "data.txt", table)
    np.savetxt(tmp_path / "index_features.txt", [0, 2], "%d")
    np.savetxt(tmp_path / "index_target.txt", [1], "%d")
    for k, (train, test) in enumerate((([0, 1, 2, 3], [4, 5]), ([5, 3, 1, 0], [2, 4]))):
        np.savetxt(tmp_path / f"index_train_{k}.txt", train, "%d")
        np.savetxt(tmp_path / f"index_test_{k}.txt", test, "%d")
    return tmp_path, table


def test_fixed_splits_are_read_and_standardised_by_their_own_training_part(folder):
    path, table = folder
    found = fixed_splits(path)
    np.testing.assert_allclose(found.x, table[:, [0, 2]])
    np.testing.assert_allclose(found.y, table[:, 1])
    assert found.train.tolist() == [[0, 1, 2, 3], [5, 3, 1, 0]] and found.test.tolist() == [[4, 5], [2, 4]]
    train, test = (side_by_side(found, found.train, rows) for rows in (found.train, found.test))
    assert train["x"].shape == (4, 2, 2) and test["y"].shape == (2, 2)
    np.testing.assert_allclose(train["x"].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(train["y"].std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(test["y"] * test["scale"] + test["mean"], found.y[found.test].T, rtol=1e-5)


def test_folders_of_another_layout_are_refused(folder):
    path, _ = folder
    with pytest.raises(ValueError, match=r"data.txt is not there: give a folder with data.txt"):
        fixed_splits(path / "nowhere")
    np.savetxt(path / "index_test_0.txt", [0, 5], "%d")
    with pytest.raises(ValueError, match="split 0 has rows in both of its parts"):
        fixed_splits(path)
    np.savetxt(path / "index_test_0.txt", [4, 6], "%d")
    with pytest.raises(ValueError, match="must hold whole numbers from 0 to 5"):
        fixed_splits(path)
    np.savetxt(path / "index_test_0.txt", [4], "%d")
    with pytest.raises(ValueError, match="the test parts have different sizes"):
        fixed_splits(path)
    (path / "data.txt").write_text("1 2 three\n")
    with pytest.raises(ValueError, match="holds no table of numbers"):
        fixed_splits(path)


@pytest.mark.slow
def test_monte_carlo_dropout_is_measured_beside_the_network():
    """Of an untrained one: figures of the passes are near those without dropout, and validation says a deviation."""
    experiment = find("uci_regression")
    config = replace(tiny_config(experiment, "friedman"), passes=60, measured="validation")
    job = make_job(experiment, config)
    split = Split(job.data, job.data.test, "test")
    trained = job.trained(job.initial(0))
    values = {f.name: f.value for one in job.measures for f in one.figures(trained, split, jax.random.key(0))}
    assert values["RMSE, dropout"] == pytest.approx(values["RMSE"], rel=0.02)
    # Untrained, what is left of a normal target is about its own deviation, 1 in its unit.
    assert 0.7 < values["best deviation"] < 2 and -8 < values["log-likelihood, dropout"] < -3
    assert experiment.measures(replace(config, passes=0)) == job.measures[:2]
