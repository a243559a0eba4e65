"""The mean of the parameters against the weighted mean written out, and batch norm's statistics that go with it."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state, make_train_step
from gen_models.core.step import _share_of_newest as share_of_newest
from gen_models.data import in_memory, load
from gen_models.data.report import DataAbsent
from gen_models.evaluation.batch_norm import estimated
from gen_models.metrics import accuracy
from gen_models.models.supervised.mlp import mlp
from gen_models.run import cli
from gen_models.run.experiments import find
from gen_models.run.job import keys, make_job
from gen_models.run.kept_stats import FILE
from gen_models.run.restore import load_run
from gen_models.run.tiny import tiny_config
from gen_models.training.loop import fit
from tests.zoo import ZOO

TX = optax.sgd(1.0)
STEPS = 40


def _walking_init(key, batch):
    return {"w": jnp.full(3, 1e3), "b": jnp.zeros([])}, {}


def _walking_loss(params, stats, batch, key, *, step, train=True):
    """Its gradient is noise, so that the parameters walk at random."""
    noise = jax.random.normal(key, (4,))
    return params["w"] @ noise[:3] + params["b"] * noise[3], (stats, {})


WALK = Model(_walking_init, _walking_loss)
BATCH = {"x": np.zeros((2, 1), np.float32)}


START = jax.jit(lambda ema: init_state(WALK, TX, jax.random.key(0), BATCH, ema=ema), static_argnames="ema")


def _walked(decay, steps=STEPS, state=None, step=None):
    """The states of steps 1 to `steps` of a random walk."""
    state = START(ema=True) if state is None else state
    step = jax.jit(make_train_step(WALK.loss, TX, ema_decay=decay)) if step is None else step
    states = []
    for _ in range(steps):
        state, _ = step(state, BATCH)
        states.append(state)
    return states


@pytest.mark.parametrize("decay", [0.0, 0.9999, jnp.float32(0.9)])
def test_the_average_is_the_normalised_weighted_mean_of_the_steps(decay):
    """The fresh parameters, 1,000, weigh nothing: sum_s d^(t-s) p_s / sum_s d^(t-s) over s = 1 to t."""
    states = _walked(decay)
    path = np.stack([np.asarray(state.params["w"], np.float64) for state in states])
    for t, state in enumerate(states, 1):
        weights = float(decay) ** np.arange(t - 1, -1, -1.0)
        expected = (weights[:, None] * path[:t]).sum(0) / weights.sum()
        np.testing.assert_allclose(state.ema["w"], expected, rtol=3e-7)
    np.testing.assert_array_equal(states[0].ema["w"], states[0].params["w"])
    if float(decay) == 0:
        np.testing.assert_array_equal(states[-1].ema["w"], states[-1].params["w"])


def test_the_average_only_looks_on_and_is_resumed_in_the_same_bits():
    step = jax.jit(make_train_step(WALK.loss, TX, ema_decay=0.99))
    unbroken = _walked(0.99, step=step)[-1]
    kept = jax.device_get(_walked(0.99, 7, step=step)[-1]._replace(key=None))
    kept = jax.tree.map(jnp.asarray, kept)._replace(key=unbroken.key)
    resumed = _walked(0.99, STEPS - 7, kept, step)[-1]
    np.testing.assert_array_equal(resumed.ema["w"], unbroken.ema["w"])
    without = _walked(0.0, state=START(ema=False), step=jax.jit(make_train_step(WALK.loss, TX)))[-1]
    assert without.ema is None
    np.testing.assert_array_equal(without.params["w"], unbroken.params["w"])


@pytest.mark.parametrize("decay", [0.5, 0.99, 0.9999, 1 - 1e-6])
def test_the_newest_ones_share_keeps_its_digits(decay):
    """In float32, from the first step to the millionth, against float64's expm1; also where the decay is traced."""
    steps = np.unique(np.round(10 ** np.linspace(0, 6, 200))).astype(np.int32)
    found = jax.jit(jax.vmap(lambda t: share_of_newest(decay, t - 1)))(steps)
    exact = np.expm1(np.log(decay)) / np.expm1(steps * np.log(decay))
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert found[0] == 1
    rounded = np.float32(decay)  # a traced decay is float32, and exact for what it is
    traced = jax.jit(jax.vmap(lambda t, d: share_of_newest(d, t - 1), (0, None)))(steps, rounded)
    log = np.log1p(np.float64(rounded) - 1)
    np.testing.assert_allclose(traced, np.expm1(log) / np.expm1(steps * log), rtol=1e-6)


def test_parameters_that_stay_are_their_own_average():
    """As a sum of two products, rounded weights of 0.9999 and 1e-4 would lose 2 in 10,000 of them."""
    still = Model(lambda key, batch: ({"w": jnp.float32(0.7)}, {}), lambda p, s, b, k, *, step: (0.0 * p["w"], (s, {})))
    state = init_state(still, TX, jax.random.key(0), BATCH, ema=True)
    step = make_train_step(still.loss, TX, ema_decay=0.9999)
    state = jax.jit(lambda state: jax.lax.fori_loop(0, 20_000, lambda _, s: step(s, BATCH)[0], state))(state)
    assert float(state.ema["w"]) == np.float32(0.7)


def test_the_average_starts_as_a_copy_and_keeps_its_dtype():
    """Buffers that are donated must not be shared."""
    half = Model(lambda key, batch: ({"w": jnp.ones(3, jnp.bfloat16)}, {}), WALK.loss)
    state = init_state(half, TX, jax.random.key(0), BATCH, ema=True)
    np.testing.assert_array_equal(state.ema["w"], state.params["w"])
    assert state.ema["w"].unsafe_buffer_pointer() != state.params["w"].unsafe_buffer_pointer()
    still = lambda params, stats, batch, key, *, step: (0.0 * params["w"].sum(), (stats, {}))  # noqa: E731
    state, _ = make_train_step(still, TX, ema_decay=0.9)(state, BATCH)
    assert state.ema["w"].dtype == jnp.bfloat16


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match="ema_decay must be 0 or more and less than 1"):
        make_train_step(WALK.loss, TX, ema_decay=decay)


@pytest.mark.slow_cases("gan")
@pytest.mark.parametrize("name", ["cnn", "gan", pytest.param("residual_cnn", marks=pytest.mark.slow)])
def test_a_batchs_own_statistics_are_those_that_training_reads(name):
    """A loss in evaluation mode with them is the loss in training mode, whatever the running averages were."""
    entry = ZOO[name]()
    model, batch = entry.model, entry.batch(0, 16)
    losses = model.loss if isinstance(model.loss, dict) else {"all": model.loss}

    @jax.jit
    def both(key):
        params, stats = model.init(key, batch)
        unlike = jax.tree.map(lambda leaf: leaf + 5, stats)
        own = model.batch_stats(params, unlike, batch, key)
        return [
            [loss(params, stats, batch, key, step=0, train=train)[0] for loss in losses.values()]
            for stats, train in ((unlike, True), (own, False), (unlike, False))
        ]

    trained, evaluated, wrong = map(np.asarray, both(jax.random.key(1)))
    np.testing.assert_allclose(evaluated, trained, rtol=1e-5)
    assert (abs(wrong - trained) > 1e-3).all()


@pytest.mark.slow
def test_every_model_with_statistics_can_estimate_them():
    """A model that forgets `batch_stats` would be evaluated with statistics that do not fit its averaged parameters."""
    for name, make in ZOO.items():
        model, batch = (entry := make()).model, entry.batch(0, 4)
        params, stats = jax.eval_shape(model.init, jax.random.key(0), batch)
        if jax.tree.leaves(stats):
            found = jax.eval_shape(model.batch_stats, params, stats, batch, jax.random.key(0))
            assert jax.tree.map(lambda leaf: leaf.shape, found) == jax.tree.map(lambda leaf: leaf.shape, stats), name


def test_statistics_are_the_mean_over_batches_and_nothing_of_those_before_is_left():
    entry = ZOO["mlp"]()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 6, 6, 1)).astype(np.float32)
    batches = in_memory({"x": x, "y": np.zeros(50, np.int32)}, 16, seed=3)
    params, stats = jax.jit(entry.model.init)(jax.random.key(0), entry.batch(0, 4))
    found = estimated(entry.model, params, jax.tree.map(lambda leaf: leaf * np.nan, stats), batches)
    hidden = x.reshape(50, 36).astype(np.float64) @ np.asarray(params["Dense_0"]["kernel"], np.float64)
    of_batches = [hidden[batches.rows(step, 1)[0]] for step in range(3)]  # an epoch, which drops two examples
    for name, function in (("mean", np.mean), ("var", np.var)):
        expected = np.mean([function(each, axis=0) for each in of_batches], axis=0)
        np.testing.assert_allclose(found["BatchNorm_0"][name], expected, rtol=1e-5, atol=1e-6)
    some = estimated(entry.model, params, stats, batches, examples=17)
    for name, function in (("mean", np.mean), ("var", np.var)):
        expected = np.mean([function(each, axis=0) for each in of_batches[:2]], axis=0)
        np.testing.assert_allclose(some["BatchNorm_0"][name], expected, rtol=1e-5, atol=1e-6)


def test_other_statistics_stay_in_their_bits():
    """Such as a codebook, and what counts its uses."""
    book = {"codes": jnp.asarray(np.random.default_rng(0).normal(size=7), jnp.float32), "uses": jnp.arange(3)}

    def batch_stats(params, stats, batch, key):
        return stats | {"mean": batch["x"].mean() + jax.random.normal(key)}

    model = Model(WALK.init, WALK.loss, batch_stats=batch_stats)
    batches = in_memory({"x": np.arange(12.0, dtype=np.float32)}, 4)
    found = estimated(model, {}, book | {"mean": jnp.float32(7)}, batches)
    assert found["uses"].dtype == book["uses"].dtype
    for name, value in book.items():
        np.testing.assert_array_equal(found[name], value)
    assert found["mean"] != 7
    again = estimated(model, {}, book | {"mean": jnp.float32(np.nan)}, batches)
    assert found["mean"] == again["mean"], "its noise is the same in each call"


def test_an_averaged_network_with_batch_norm_needs_statistics_of_its_own():
    """On real digits, early in training: with the last network's statistics the average is worse than that network."""
    train, test = load("digits", "train"), load("digits", "test")
    model, tx = mlp(train.shape, 10, hidden=(32, 32), norm="batch"), optax.sgd(0.3, momentum=0.9)
    batches = in_memory(train, 32)
    first = batches.make(batches.data, batches.rows(0, 1)[0], None)
    state = jax.jit(lambda batch: init_state(model, tx, jax.random.key(0), batch, ema=True))(first)
    step = make_train_step(model.loss, tx, ema_decay=0.98)
    state = fit(step, state, batches, steps=60, key=jax.random.key(1)).state
    x, y = test.arrays["x"] / np.float32(16), test.arrays["y"]

    right = jax.jit(lambda params, stats: accuracy(model.apply(params, stats, x), y))
    own = right(state.ema, estimated(model, state.ema, state.stats, batches))
    assert own > right(state.ema, state.stats) + 0.01
    assert own >= right(state.params, state.stats)


def test_a_job_estimates_statistics_once_compiled_and_the_same_for_the_same_state():
    experiment = find("classifier")
    config = replace(tiny_config(experiment, "cnn"), ema_decay=0.9)
    job, traces = make_job(experiment, config), []

    def counted(*arguments):
        traces.append(0)
        return own.batch_stats(*arguments)

    state = job.initial(0)
    assert job.estimates_stats(state)
    expected = job.trained(state)
    own = job.model
    object.__setattr__(job, "model", replace(own, batch_stats=counted))
    for seed in (0, 1):
        state = job.initial(0)._replace(key=jax.random.key(seed))  # the run's noise is none of the statistics'
        found = job.trained(state)
        jax.tree.map(np.testing.assert_array_equal, found.stats, expected.stats)
    assert len(traces) == 1 and found.averaged
    raw = job.trained(state._replace(ema=None))
    assert raw.stats is state.stats and not raw.averaged


@pytest.mark.slow
def test_a_run_keeps_its_statistics_for_those_who_have_no_data(tmp_path, monkeypatch):
    """A GAN with batch norm: figures say what they are of, and samples are drawn in the same bits without data."""
    experiment, folder = find("gan_grid"), tmp_path / "run"
    words = ["gan", "--steps", "4", "--batch-size", "8", "--points", "400", "--samples", "40", "--ema-decay", "0.9"]
    words += ["--generator-hidden", "8", "8", "--discriminator-hidden", "6", "--run-dir", str(folder)]
    assert cli.main(experiment, words) == 0
    notes = {one["name"]: one["note"] for one in json.loads((folder / "result.json").read_text())["figures"]}
    assert {name for name, note in notes.items() if "averaged parameters" in note} == set(notes) - {"parameters"}
    *_, job, state = load_run(folder)
    kept, drawn = job.trained(state), job.sampler().sample(job.trained(state), keys(0).samples, 5)
    anew = replace(job, kept=None)
    jax.tree.map(np.testing.assert_array_equal, kept.stats, anew.trained(state).stats)

    monkeypatch.setattr("gen_models.data.synthetic.gaussian_grid", _gone)
    monkeypatch.setattr(experiment.data.__module__ + ".gm.gaussian_grid", _gone, raising=False)
    without = load_run(folder, with_data=False)
    found = without.job.sampler().sample(without.job.trained(without.state), keys(0).samples, 5)
    np.testing.assert_array_equal(found, drawn)
    earlier = without.state._replace(step=without.state.step - 1)
    with pytest.raises(DataAbsent, match="gaussian_grid"):
        without.job.trained(earlier)

    cut = tmp_path / "cut"
    shutil.copytree(folder, cut)
    (cut / FILE).write_bytes((folder / FILE).read_bytes()[:100])
    with pytest.raises(ValueError, match=f"{FILE} is damaged .*: remove it"):
        load_run(cut)


def _gone(*_, **__):
    raise OSError("the data are not there")
