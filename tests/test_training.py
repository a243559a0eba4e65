"""`fit`: the same bits however it is cut, and a clean end whatever happens."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state, make_train_step
from gen_models.data import Batches, in_memory, load, streamed
from gen_models.models.supervised.cnn import cnn
from gen_models.models.supervised.logistic import logistic_regression
from gen_models.nn.devices import plain
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.loop import fit, is_finite
from gen_models.training.parallel import data_mesh, local

DATA = {"x": np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)}
TX = optax.adam(1e-2)


def _loss(params, stats, batch, key, *, step, train=True):
    noise = 0.1 * jax.random.normal(key, batch["x"].shape)
    error = batch["x"] + noise - jnp.tanh(params["kernel"] @ batch["x"].T).T
    return (error**2).mean(), ({"seen": stats["seen"] + 1}, {"bias": error.mean()})


MODEL = Model(
    lambda key, batch: ({"kernel": jax.random.normal(key, (3, 3))}, {"seen": jnp.zeros([], jnp.int32)}), _loss
)


def _state(ema=True):
    return init_state(MODEL, TX, jax.random.key(1), {"x": DATA["x"][:1]}, ema=ema)


def _batches():
    return in_memory(DATA, 8, seed=3)


def _equal(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def _run(**options):
    step = make_train_step(MODEL.loss, TX, ema_decay=0.9)
    return fit(step, _state(), _batches(), **{"steps": 50, "key": jax.random.key(2), **options})


def test_equals_a_plain_loop_of_steps():
    batches, step = _batches(), jax.jit(make_train_step(MODEL.loss, TX, ema_decay=0.9))
    state = _state()
    for k in range(50):
        row = jax.tree.map(lambda r: r[0], batches.rows(k, 1))
        state, _ = step(state, batches.make(batches.data, row, jax.random.fold_in(jax.random.key(2), k)))
    out = _run()
    assert out.status == "finished" and out.step == 50
    for a, b in zip(jax.tree.leaves(out.state.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
    assert int(out.state.stats["seen"]) == 50


@pytest.mark.parametrize("cut", [{"evaluate": lambda s: {}, "evaluate_every": 7}, {"checkpoint_every": 3}])
def test_how_steps_are_grouped_changes_no_bit(cut):
    _equal(_run(**cut).state, _run().state)


def test_one_trace_for_1000_steps_and_none_on_resume(tmp_path):
    traces = []

    def counted(*args, **kwargs):
        traces.append(1)
        return _loss(*args, **kwargs)

    step, batches = make_train_step(counted, TX, ema_decay=0.9), _batches()
    with Checkpoints(tmp_path) as checkpoints:
        options = {"key": jax.random.key(2), "checkpoints": checkpoints}
        fit(step, _state(), batches, steps=1000, **options)
        assert len(traces) == 1
        state = checkpoints.restore(jax.eval_shape(_state))
        out = fit(step, state, batches, steps=1100, **options)
        assert out.step == 1100 and len(traces) == 1


def test_resumed_run_is_bit_equal(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        _run(steps=23, checkpoints=checkpoints)
        state = checkpoints.restore(jax.eval_shape(_state))
    step = make_train_step(MODEL.loss, TX, ema_decay=0.9)
    resumed = fit(step, state, _batches(), steps=50, key=jax.random.key(2))
    _equal(resumed.state, _run().state)


def test_batches_from_disk_train_as_those_in_memory_and_resume_in_the_middle_of_an_epoch():
    dataset = load("digits", "train[:40]")
    model = logistic_regression(dataset.shape, 10)
    step = make_train_step(model.loss, TX)

    def start():
        return init_state(model, TX, jax.random.key(1), {"x": np.zeros((1, *dataset.shape), np.float32)})

    def run(source, state, steps):
        return fit(step, state, source, steps=steps, key=jax.random.key(2), steps_per_call=1).state

    whole = run(in_memory(dataset, 8, seed=3), start(), 13)
    _equal(run(streamed(dataset, 8, seed=3), start(), 13), whole)
    _equal(run(streamed(dataset, 8, seed=3), run(streamed(dataset, 8, seed=3), start(), 7), 13), whole)


def test_vmapped_state_trains_like_each_alone():
    step = make_train_step(MODEL.loss, TX, ema_decay=0.9)
    joint = in_memory(DATA, 16, seed=3)

    def make(data, row, key):
        return jax.tree.map(lambda x: x.reshape(2, 8, *x.shape[1:]), joint.make(data, row, key))

    def init(key):
        return init_state(MODEL, TX, key, {"x": DATA["x"][:1]}, ema=True)

    keys = jax.random.split(jax.random.key(5), 2)
    options = {"steps": 20, "key": jax.random.key(2)}
    logged = []
    together = fit(
        jax.vmap(step),
        jax.vmap(init)(keys),
        joint._replace(make=make),
        log=lambda *a: logged.append(a),
        log_every=10,
        **options,
    )
    alone = fit(step, init(keys[1]), joint._replace(make=lambda *a: jax.tree.map(lambda x: x[1], make(*a))), **options)
    np.testing.assert_allclose(together.state.params["kernel"][1], alone.state.params["kernel"], rtol=1e-5, atol=1e-6)
    assert [step for step, _ in logged] == [10, 20]


@pytest.mark.slow_cases("automatic", "mesh")
@pytest.mark.parametrize("how", ["automatic", "mesh", "shard_parameters"])
def test_a_batch_cut_over_devices_trains_as_on_one(how, monkeypatch):
    """Convolutions choose two of the eight devices by themselves: as many as there are cores, here said to be two."""
    monkeypatch.setattr("gen_models.training.program.cores", lambda: 2)
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(64, 8, 8, 1)).astype(np.float32), "y": rng.integers(3, size=64)}
    model, tx = cnn((8, 8, 1), 3, channels=(16, 32), strides=(1, 2), dropout=0.0), optax.sgd(0.05, momentum=0.9)
    step, batches = make_train_step(model.loss, tx), in_memory(data, 8, seed=3)
    row = jax.tree.map(lambda x: x[0], batches.rows(0, 1))
    state = jax.jit(lambda key: init_state(model, tx, key, batches.make(batches.data, row, key)))(jax.random.key(0))
    key = jax.random.key(2)

    with plain():  # and then nothing is cut
        alone = fit(step, jax.tree.map(jnp.copy, state), batches, steps=6, key=key)
    options = {
        "automatic": {},
        "mesh": {"mesh": data_mesh(4)},
        "shard_parameters": {"mesh": data_mesh(), "shard_parameters": True},
    }[how]
    together = fit(step, state, batches, steps=6, key=key, **options)
    devices = {"automatic": 2, "mesh": 4, "shard_parameters": 8}[how]
    kernel = together.state.params["Conv_1"]["kernel"]
    assert len(alone.state.params["Conv_1"]["kernel"].devices()) == 1 and len(kernel.devices()) == devices
    assert kernel.addressable_data(0).size == kernel.size // (8 if how == "shard_parameters" else 1)
    # One that goes on from there is cut again: each device would else take whole steps, the same as the others.
    further = fit(step, jax.tree.map(jnp.copy, together.state), batches, steps=7, key=key, **options)
    assert further.state.params["Conv_1"]["kernel"].devices() == kernel.devices()
    whole = fit(step, local(jax.tree.map(jnp.copy, together.state)), batches, steps=7, key=key, **options)
    _equal(further.state, whole.state)
    for a, b in zip(*(jax.tree.leaves((s.state.params, s.state.stats)) for s in (alone, together)), strict=True):
        np.testing.assert_allclose(jax.device_get(a), jax.device_get(b), rtol=2e-3, atol=1e-4)


def test_devices_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="3 devices do not divide the batch of 8 examples"):
        _run(mesh=data_mesh(3))
    with pytest.raises(ValueError, match="shard_parameters needs a mesh"):
        _run(shard_parameters=True)


def test_logged_windows_are_means_of_the_steps():
    losses, logged = {}, {}
    _run(
        report=lambda step, metrics: losses.__setitem__(step, metrics["loss"]),
        steps_per_call=1,
        log=logged.__setitem__,
        log_every=10,
    )
    assert sorted(losses) == list(range(1, 51)) and sorted(logged) == [10, 20, 30, 40, 50]
    for step, row in logged.items():
        np.testing.assert_allclose(
            row["train/loss"], np.mean([losses[s] for s in range(step - 9, step + 1)]), rtol=1e-12
        )


def _poisoned(at: int) -> Batches:
    """Batches whose images are NaN in the step `at`."""
    batches = _batches()

    def make(data, row, key):
        batch = batches.make(data, row["rows"], key)
        return batch | {"x": jnp.where(row["bad"], jnp.nan, batch["x"])}

    def rows(step, count):
        return {"rows": batches.rows(step, count), "bad": np.arange(step, step + count) == at}

    return batches._replace(make=make, rows=rows)


def test_a_window_that_was_open_at_a_save_goes_on_after_it(tmp_path):
    """Windows of 7 steps, saves every 10: a resumed run logs the rows of one that never stopped."""
    rows, again = [], []
    with Checkpoints(tmp_path, keep=9) as checkpoints:
        options = {"log_every": 7, "checkpoint_every": 10, "checkpoints": checkpoints}
        _run(log=lambda step, values: rows.append((step, values)), **options)
        state = checkpoints.restore(jax.eval_shape(_state), 20)
        step = make_train_step(MODEL.loss, TX, ema_decay=0.9)
        log = {"log": lambda step, values: again.append((step, values)), "log_every": 7}
        fit(step, state, _batches(), steps=50, key=jax.random.key(2), **{**options, **log})
    assert again == [row for row in rows if row[0] > 20] and again[0][0] == 21


def test_nan_stops_at_its_step_and_keeps_the_last_good_checkpoint(tmp_path):
    step = make_train_step(MODEL.loss, TX)
    with Checkpoints(tmp_path) as checkpoints:
        out = fit(
            step,
            _state(False),
            _poisoned(25),
            steps=50,
            key=jax.random.key(2),
            checkpoints=checkpoints,
            checkpoint_every=10,
        )
        assert (out.status, out.step, out.checkpoint) == ("diverged", 26, checkpoints.path(20))
        assert checkpoints.latest() == 20
        assert np.isfinite(checkpoints.restore(jax.eval_shape(lambda: _state(False))).params["kernel"]).all()


def test_a_loss_that_explodes_is_divergence():
    step = make_train_step(MODEL.loss, optax.sgd(1e6))
    state = init_state(MODEL, optax.sgd(1e6), jax.random.key(1), {"x": DATA["x"][:1]})
    loss = make_train_step(lambda *a, **k: (1e9 * _loss(*a, **k)[0], _loss(*a, **k)[1]), optax.sgd(1e6))
    assert fit(loss, state, _batches(), steps=50, key=jax.random.key(2)).step == 1
    state = init_state(MODEL, optax.sgd(1e6), jax.random.key(1), {"x": DATA["x"][:1]})
    assert fit(step, state, _batches(), steps=5, key=jax.random.key(2), diverged_above=1e30).status == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_the_rest_is_bit_equal(tmp_path, number):
    def kill(step, metrics):
        if step == 5:
            os.kill(os.getpid(), number)

    with Checkpoints(tmp_path) as checkpoints:
        out = _run(checkpoints=checkpoints, checkpoint_every=0, report=kill, steps_per_call=1)
        assert out.status == "interrupted" and 5 <= out.step < 50 and checkpoints.latest() == out.step
        state = checkpoints.restore(jax.eval_shape(_state))
    step = make_train_step(MODEL.loss, TX, ema_decay=0.9)
    _equal(
        fit(step, state, _batches(), steps=50, key=jax.random.key(2), steps_per_call=1).state,
        _run(steps_per_call=1).state,
    )


def test_a_step_that_changes_the_state_is_refused_before_compilation():
    def loss(params, stats, batch, key, *, step, train=True):
        return params["kernel"].sum(), ({"seen": jnp.zeros(2)}, {})

    with pytest.raises(ValueError, match="seen"):
        fit(make_train_step(loss, TX), _state(False), _batches(), steps=5, key=jax.random.key(2))


def test_negative_intervals_are_refused():
    with pytest.raises(ValueError, match="log_every"):
        _run(log_every=-1)


def test_a_state_is_finite_where_all_of_it_is_and_a_stacked_one_where_some_is():
    state = _state()
    kernel = state.params["kernel"].at[0, 0].set(jnp.inf)
    assert is_finite(state) and not is_finite(state._replace(params={"kernel": kernel}))
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), state, state._replace(params={"kernel": kernel}))
    assert is_finite(stacked)
    assert not is_finite(stacked._replace(params={"kernel": jnp.full((2, 3, 3), jnp.nan)}))


def test_streamed_examples_are_read_for_one_step_a_call_whatever_stands_beside_them_on_the_device():
    """As in a stack, whose keys are in `data`: rows for 64 steps would hold the examples themselves."""
    asked, batches = [], _batches()

    def rows(step, count, part=None):
        asked.append(count)
        return batches.rows(step, count, part)

    step = make_train_step(MODEL.loss, TX)
    fit(step, _state(ema=False), batches._replace(rows=rows, streamed=True), steps=20, key=jax.random.key(2))
    assert max(asked) == 1
