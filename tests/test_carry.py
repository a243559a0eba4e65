"""A state kept for each example between steps: truncated backpropagation through time, against unrolled networks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state, make_train_step
from gen_models.data import Batches
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.loop import fit
from gen_models.training.parallel import compile_step, data_mesh, train_many

B, WINDOW, WINDOWS, HIDDEN = 16, 4, 3, 5
_RNG = np.random.default_rng(0)
X, Y = (_RNG.normal(size=(B, WINDOWS * WINDOW)).astype(np.float32) for _ in range(2))
TX = optax.sgd(0.05, momentum=0.9)
FROZEN = optax.set_to_zero()


def _init(key, batch):
    first, second, third, fourth = jax.random.split(key, 4)
    return {
        "input": jax.random.normal(first, (HIDDEN,)),
        "hidden": jax.random.normal(second, (HIDDEN, HIDDEN)) / HIDDEN**0.5,
        "output": jax.random.normal(third, (HIDDEN,)),
        "start": jax.random.normal(fourth, (HIDDEN,)),
    }, {}


def _init_carry(params, batch):
    return {"h": jnp.broadcast_to(params["start"], (len(batch["x"]), HIDDEN))}


def _squared_errors(params, h, x, y):
    """Elman (1990), step by step: [B, T] errors and the last state."""
    errors = []
    for t in range(x.shape[1]):
        h = jnp.tanh(x[:, t, None] * params["input"] + h @ params["hidden"])
        errors.append((h @ params["output"] - y[:, t]) ** 2)
    return jnp.stack(errors, 1), h


def _loss(params, stats, batch, key, *, step, train=True, carry):
    errors, h = _squared_errors(params, carry["h"], batch["x"], batch["y"])
    return errors.mean(), (stats, {"first": errors[:, 0].mean()}, {"h": h})


MODEL = Model(_init, _loss, init_carry=_init_carry)


def _window(k, **more):
    cut = slice(k % WINDOWS * WINDOW, (k % WINDOWS + 1) * WINDOW)
    return {"x": X[:, cut], "y": Y[:, cut], **more}


def _start(tx=TX, seed=0):
    return init_state(MODEL, tx, jax.random.key(seed), _window(0), ema=True)


def _step(tx=TX, **options):
    return make_train_step(MODEL.loss, tx, ema_decay=0.9, init_carry=MODEL.init_carry, **options)


def _trained(step, state, steps=5):
    """Over all windows and again from the first one on, at which every second example starts anew."""
    for k in range(steps):
        state, metrics = step(state, _window(k, start=np.arange(B) % 2 == k % 2))
    return state, metrics


def _numbers(tree):
    return jax.device_get(
        jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    )


def _assert_close(a, b):
    chex.assert_trees_all_close(_numbers(a), _numbers(b), rtol=1e-4, atol=1e-5)


def _assert_equal(a, b):
    chex.assert_trees_all_equal(_numbers(a), _numbers(b))


def test_losses_of_windows_are_those_of_the_unrolled_network():
    state, step, losses = _start(FROZEN), jax.jit(_step(FROZEN)), []
    params = state.params
    for k in range(WINDOWS):
        state, metrics = step(state, _window(k))
        losses.append(float(metrics["loss"]))
    errors, h = _squared_errors(params, _init_carry(params, {"x": X})["h"], X, Y)
    np.testing.assert_allclose(losses, errors.reshape(B, WINDOWS, WINDOW).mean((0, 2)), rtol=1e-5)
    np.testing.assert_allclose(state.carry["h"], h, rtol=1e-5, atol=1e-6)


def test_one_window_that_covers_all_has_the_gradient_of_full_backpropagation():
    """That of the initial state too, where a sequence starts."""
    tx = optax.sgd(1.0)
    whole = {"x": X, "y": Y, "start": np.ones(B, bool)}
    state = init_state(MODEL, tx, jax.random.key(0), whole)
    after, _ = jax.jit(make_train_step(MODEL.loss, tx, init_carry=_init_carry))(state, whole)
    unrolled = jax.jit(jax.grad(lambda p: _squared_errors(p, _init_carry(p, whole)["h"], X, Y)[0].mean()))(state.params)
    moved = jax.tree.map(lambda old, new: old - new, state.params, after.params)
    chex.assert_trees_all_close(moved, unrolled, rtol=1e-4, atol=1e-5)
    assert jnp.abs(unrolled["start"]).max() > 1e-3


def test_gradients_stop_at_the_step_before():
    tx = optax.sgd(1.0)
    state = init_state(MODEL, tx, jax.random.key(0), _window(0))
    step = make_train_step(MODEL.loss, tx, init_carry=_init_carry)
    after, _ = step(state, _window(1))
    truncated = jax.grad(lambda p: _squared_errors(p, state.carry["h"], *map(_window(1).get, "xy"))[0].mean())
    moved = jax.tree.map(lambda old, new: old - new, state.params, after.params)
    chex.assert_trees_all_close(moved, truncated(state.params), rtol=1e-4, atol=1e-5)
    assert (moved["start"] == 0).all()
    into_the_past = jax.grad(lambda carry: step(state._replace(carry=carry), _window(1))[1]["loss"])(state.carry)
    assert (into_the_past["h"] == 0).all()


def test_an_example_that_starts_has_the_initial_state_of_today_and_the_others_go_on():
    start = np.arange(B) % 3 == 0
    state, _ = jax.jit(_step())(_start(), _window(0))
    after, metrics = jax.jit(_step())(state, _window(1, start=start))
    begun = np.where(start[:, None], state.params["start"], state.carry["h"])
    errors, h = _squared_errors(state.params, begun, *map(_window(1).get, "xy"))
    np.testing.assert_allclose(metrics["loss"], errors.mean(), rtol=1e-5)
    np.testing.assert_allclose(after.carry["h"], h, rtol=1e-5, atol=1e-6)
    assert np.abs(state.carry["h"] - state.params["start"]).min(1).max() > 1e-3  # there was something to reset


def test_accumulated_parts_keep_each_example_its_carry():
    _assert_close(_trained(jax.jit(_step(accumulate=4)), _start()), _trained(jax.jit(_step()), _start()))


@pytest.mark.slow_cases("pmap")
@pytest.mark.parametrize("how", ["jit", "pmap", "shard_map"])
def test_eight_devices_however_compiled_are_one_and_each_holds_its_examples_carry(how):
    whole = _trained(jax.jit(_step()), _start())
    step = compile_step(_step(axis_name=None if how == "jit" else "data"), how)
    cut = _trained(step, _start())
    _assert_close(cut, whole)
    if how != "pmap":  # whose state is put together again after each step
        assert cut[0].carry["h"].addressable_data(0).shape == (B // 8, HIDDEN)
        assert cut[0].params["hidden"].addressable_data(0).shape == (HIDDEN, HIDDEN)


def test_members_train_as_if_alone():
    together, place = train_many(_step(), 2)
    stacked = place(jax.tree.map(lambda *leaves: jnp.stack(leaves), _start(seed=0), _start(seed=1)))
    window = jax.tree.map(lambda x: np.stack([x, x[::-1]]), _window(0, start=np.arange(B) < 3))
    stacked, _ = jax.jit(together)(stacked, window)
    for i in range(2):
        alone, _ = jax.jit(_step())(_start(seed=i), jax.tree.map(lambda x, i=i: x[i], window))
        _assert_close(jax.tree.map(lambda x, i=i: x[i], stacked), alone)


def _batches():
    """The windows in turn; each fourth example starts anew at the first."""
    data = jax.tree.map(
        lambda *windows: jnp.stack(windows), *[_window(k, start=(np.arange(B) % 4 == 0) & (k == 0)) for k in range(3)]
    )

    def rows(step, count):
        return np.arange(step, step + count, dtype=np.int32) % WINDOWS

    def make(data, row, key):
        return jax.tree.map(lambda x: x[row], data)

    return Batches(data, rows, make, WINDOWS, B)


def test_the_loop_traces_once_resumes_in_the_same_bits_and_cuts_the_carry_over_a_mesh(tmp_path):
    traces = []

    def counted(*args, **keywords):
        traces.append(1)
        return _loss(*args, **keywords)

    step, key, batches = (
        make_train_step(counted, TX, ema_decay=0.9, init_carry=_init_carry),
        jax.random.key(2),
        _batches(),
    )
    whole = fit(step, _start(), batches, steps=9, key=key)
    with Checkpoints(tmp_path / "one") as checkpoints:
        fit(step, _start(), batches, steps=4, key=key, checkpoints=checkpoints)
        restored = checkpoints.restore(jax.eval_shape(_start))
    assert int(restored.step) == 4 and restored.carry["h"].shape == (B, HIDDEN)
    _assert_equal(fit(step, restored, batches, steps=9, key=key).state, whole.state)
    assert len(traces) == 1

    mesh = {"mesh": data_mesh(4), "key": key}
    cut = fit(step, _start(), batches, steps=9, **mesh).state
    assert cut.carry["h"].addressable_data(0).shape == (B // 4, HIDDEN)
    _assert_close(cut, whole.state)
    with Checkpoints(tmp_path / "four") as checkpoints:
        fit(step, _start(), batches, steps=4, checkpoints=checkpoints, **mesh)
        restored = checkpoints.restore(jax.eval_shape(_start))
    _assert_equal(fit(step, restored, batches, steps=9, **mesh).state, cut)
    further = fit(step, cut, batches, steps=10, key=key).state  # without the mesh: on one device, the carry as well
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(further)} == {1}


def test_buffers_are_donated_also_of_a_carry_that_holds_one_array_twice():
    """As an LSTM's initial state may: a buffer that is donated must not be shared."""

    def init_carry(params, batch):
        zeros = jnp.zeros((len(batch["x"]), HIDDEN))
        return zeros, zeros

    def loss(params, stats, batch, key, *, step, train=True, carry):
        value, (stats, metrics, new) = _loss(params, stats, batch, key, step=step, carry={"h": carry[0]})
        return value, (stats, metrics, (new["h"], carry[1] + 1))

    state = init_state(Model(_init, loss, init_carry=init_carry), TX, jax.random.key(0), _window(0))
    step = jax.jit(make_train_step(loss, TX, init_carry=init_carry), donate_argnums=0)
    after, _ = step(state, _window(0))
    assert state.carry[0].is_deleted() and float(after.carry[1][0, 0]) == 1


def test_a_model_without_a_carry_may_give_its_absent_one():
    def loss(params, stats, batch, key, *, step, train=True):
        return _squared_errors(params, params["start"], batch["x"], batch["y"])[0].mean(), (stats, {})

    model = Model(_init, loss)
    state = init_state(model, TX, jax.random.key(0), _window(0))
    state, _ = make_train_step(model.loss, TX, init_carry=model.init_carry)(state, _window(0))
    assert state.carry is None


def test_what_does_not_fit_together_is_refused():
    players, tx = {"a": _loss, "b": _loss}, {"a": TX, "b": TX}
    with pytest.raises(ValueError, match="a model with a carry has one player, which takes one update a step"):
        make_train_step(players, tx, init_carry=_init_carry)
    with pytest.raises(ValueError, match="a model with a carry has one player"):
        make_train_step({"a": _loss}, {"a": TX}, init_carry=_init_carry, repeats={"a": 2})
    with pytest.raises(ValueError, match="a model with a carry has one player"):
        init_state(Model(_init, players, init_carry=_init_carry), tx, jax.random.key(0), _window(0))
    with pytest.raises(ValueError, match="the state has a carry and the step has none: give init_carry"):
        make_train_step(_loss, TX)(_start(), _window(0))
    with pytest.raises(ValueError, match="the step has a carry and the state has none"):
        _step()(_start()._replace(carry=None), _window(0))
    small = jax.tree.map(lambda x: x[:8], _window(0))
    with pytest.raises(ValueError, match=r"the carry\['h'\] is \[16, 5\], but the batch has 8 examples"):
        _step()(_start(), small)
    with pytest.raises(ValueError, match=r'"start" must be \[16\], one for each example, got \[16, 4\]'):
        _step()(_start(), _window(0, start=np.zeros((B, WINDOW), bool)))
