"""Runs that start from another run's weights: what is taken, what is said, and nothing of the source afterwards."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state
from gen_models.run import cli, config
from gen_models.run.experiments import find
from gen_models.run.restore import load_run
from gen_models.run.start import init_from, source
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.checksums import named_leaves
from gen_models.training.parallel import data_mesh, shardings

SMALL = find("small", Path(__file__).parent / "stand_in" / "small.py")


def train(folder, *words):
    return cli.main(SMALL, ["--steps", "6", "--checkpoint-every", "3", "--run-dir", str(folder), *words])


def equal(a, b):
    a, b = named_leaves(a), named_leaves(b)
    assert a.keys() == b.keys()
    for name, leaf in a.items():
        np.testing.assert_array_equal(leaf, b[name], err_msg=name)


def state_of(width=3, *, seed=0, ema=False, tx=None, more=()):
    def init(key, batch):
        params = {"a": {"kernel": jax.random.normal(key, (width, 400))}, "b/c": [jnp.full(2, float(seed))]}
        return params | {name: jnp.zeros(4) for name in more}, {"mean": jnp.full(2, seed + 0.5)}

    model = Model(init, lambda *a, **k: None)
    return init_state(model, tx or optax.adam(1e-3), jax.random.key(seed), {}, ema=ema)


def saved(folder, state, step=7):
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(step, state)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train(folder, "--seed", "3") == config.FINISHED
    return folder


@pytest.mark.parametrize("how", ["packed", "cut over devices"])
def test_weights_are_taken_by_name_and_shape_and_all_else_is_fresh(how, tmp_path, capsys):
    there = state_of(8, seed=1)
    if how != "packed":
        places = shardings(jax.eval_shape(lambda: there), data_mesh(), shard_parameters=True)
        there = jax.device_put(there, places)
    saved(tmp_path / "s", there)
    here = state_of(8, seed=2)
    got = init_from(here, tmp_path / "s")
    equal((got.params, got.stats), (there.params, there.stats))
    equal((got.step, got.opt_state), (here.step, here.opt_state))
    assert jax.random.key_data(got.key).tolist() == jax.random.key_data(here.key).tolist() and got.ema is None
    said = capsys.readouterr().out
    assert "/7, parameters: 3 of this model's 3 arrays are taken: params/a/kernel [8, 400]" in said
    assert "not taken" not in said


def test_what_does_not_fit_is_named_and_stays_fresh(tmp_path, capsys):
    saved(tmp_path / "s", state_of(5, seed=1, more=("old",)))
    here = state_of(3, seed=2, more=("new",))
    got = init_from(here, tmp_path / "s")
    assert got.params["b/c"][0].tolist() == [1.0, 1.0] and got.stats["mean"].tolist() == [1.5, 1.5]
    equal(got.params["a"], here.params["a"])
    said = capsys.readouterr().out
    assert "2 of this model's 4 arrays are taken: params/b/c/0 [2], stats/mean [2]" in said
    assert "not taken: params/a/kernel is [3, 400] here and [5, 400] there; only here: params/new [4]" in said
    assert "only there: params/old [4]" in said


def test_the_average_is_taken_where_the_source_keeps_one_and_begins_as_a_copy(tmp_path, capsys):
    there = state_of(seed=1, ema=True)
    there = there._replace(ema=jax.tree.map(lambda x: x + 1, there.params))
    got = init_from(state_of(seed=2, ema=True), saved(tmp_path / "s", there))
    equal(got.params, there.ema)
    equal(got.ema, there.ema)
    assert all(a is not b for a, b in zip(jax.tree.leaves(got.ema), jax.tree.leaves(got.params), strict=True))
    assert "averaged parameters" in capsys.readouterr().out


def test_an_optimizer_that_keeps_a_copy_of_the_parameters_starts_with_the_new_ones(tmp_path):
    folder, there = saved(tmp_path / "s", state_of(seed=1)), state_of(seed=1)
    copies = optax.GradientTransformation(lambda params: jax.tree.map(jnp.copy, params), lambda g, s, p: (g, s))
    got = init_from(state_of(seed=2, tx=copies), folder, copies)
    equal(got.opt_state["all"], there.params)
    two = {"a": copies, "b/c": copies}
    players = state_of(seed=2)._replace(opt_state={name: copies.init(state_of(seed=2).params[name]) for name in two})
    equal(init_from(players, folder, two).opt_state, there.params)


def test_each_leaf_stays_where_the_fresh_one_is(tmp_path):
    folder = saved(tmp_path / "s", state_of(8, seed=1))
    places = shardings(jax.eval_shape(lambda: state_of(8)), data_mesh(), shard_parameters=True)
    got = init_from(jax.device_put(state_of(8, seed=2), places), folder, optax.adam(1e-3))
    for leaf, place in zip(jax.tree.leaves(got), jax.tree.leaves(places), strict=True):
        assert leaf.sharding.is_equivalent_to(place, leaf.ndim)
    equal(jax.device_get(got.params), state_of(8, seed=1).params)


def test_a_damaged_checkpoint_is_passed_over_and_bits_are_compared(tmp_path, capsys):
    folder = saved(saved(tmp_path / "s", state_of(seed=1), 1), state_of(seed=4), 2)
    (folder / "2" / "leaves" / "metadata").write_bytes(b"nonsense")
    assert source(folder, state_of()).step == 1
    assert "2 is damaged" in capsys.readouterr().out
    file = max((folder / "1" / "packed" / "float32").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="1 is damaged"):
        init_from(state_of(), folder)


def test_a_run_starts_from_another_of_other_shapes_and_without_its_code_and_data(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "source")
    saved_config = json.loads((tmp_path / "source" / "config.json").read_text())
    saved_config |= {"experiment": "gone", "file": "/nowhere/gone.py"}
    saved_config["config"]["dataset"] = "npz:/nowhere/gone.npz"
    (tmp_path / "source" / "config.json").write_text(json.dumps(saved_config))
    words = ["--init-from", str(tmp_path / "source"), "--head", "other"]
    assert train(tmp_path / "r", *words) == config.FINISHED
    said = capsys.readouterr().out
    assert (
        "source/checkpoints/6, parameters: 2 of this model's 3 arrays are taken: params/walk/w [3], stats/seen []"
        in said
    )
    assert "only here: params/other/kernel [2, 2]; only there: params/head/kernel [2, 2]" in said
    kept = json.loads((tmp_path / "r" / "init_from.json").read_text())
    recorded = json.loads((tmp_path / "r" / "config.json").read_text())["config"]["init_from"]
    assert recorded == str(tmp_path / "source") and kept["states"] == f"{recorded}/checkpoints" and kept["step"] == 6
    with Checkpoints(tmp_path / "source" / "checkpoints") as checkpoints:
        assert checkpoints.described(6)["digest"] == kept["digest"]
    # It walked on from where the source ended.
    assert np.all(load_run(tmp_path / "r").state.params["walk"]["w"] > load_run(trained).state.params["walk"]["w"])
    # Another start is another run; and this one goes on, in the same bits, when its source is gone.
    assert train(tmp_path / "r", "--init-from", str(trained), "--head", "other") == config.BAD_INPUT
    assert "init_from" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "source")
    shutil.copytree(tmp_path / "r", tmp_path / "killed")
    (tmp_path / "killed" / "result.json").unlink()
    shutil.rmtree(tmp_path / "killed" / "checkpoints" / "6")
    assert train(tmp_path / "killed", *words) == config.FINISHED
    states = [load_run(tmp_path / name).state for name in ("killed", "r")]
    equal(*(state._replace(key=jax.random.key_data(state.key)) for state in states))


def test_a_run_that_is_killed_at_once_begins_again_without_its_source(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "source")
    words = ["--init-from", str(tmp_path / "source")]
    assert train(tmp_path / "whole", *words) == config.FINISHED
    monkeypatch.setattr("gen_models.run.train.fit", _killed)
    with pytest.raises(SystemError):
        train(tmp_path / "r", *words)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "source")
    assert train(tmp_path / "r", *words) == config.FINISHED
    equal(load_run(tmp_path / "r").state.params, load_run(tmp_path / "whole").state.params)


def _killed(*_, **__):
    raise SystemError


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "holds neither a run nor checkpoints: give a run's directory"),
        ("r", "is the run itself: leave it out to go on with it"),
        ("untrained", "it has no checkpoint: train that run first"),
        ("another", "no array of it fits this model. not taken: params/walk/w is [3] here and [5] there"),
    ],
)
def test_what_cannot_be_started_from_is_refused_before_anything_is_made(name, message, tmp_path, capsys, trained):
    if name == "untrained":
        shutil.copytree(trained, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    if name == "another":
        model = Model(lambda key, batch: ({"walk": {"w": jnp.zeros(5)}}, {}), lambda *a, **k: None)
        saved(tmp_path / name, init_state(model, optax.sgd(1.0), jax.random.key(0), {}))
    assert train(tmp_path / "r", "--init-from", str(tmp_path / name)) == config.BAD_INPUT
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_one_checkpoint_of_a_run_may_be_named(trained):
    like = load_run(trained).state
    assert source(trained, like).step == source(trained / "checkpoints", like).step == 6
    assert source(trained / "checkpoints" / "3", like).step == 3
