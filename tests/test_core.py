"""`make_train_step` against the updates written out by hand, for one player and for two."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from gen_models.core import AbsentOperation, Model, init_state, make_train_step
from gen_models.training.checkpoint import Checkpoints
from gen_models.training.parallel import compile_step

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
BATCH = {"x": X, "y": (X @ np.array([1.0, -2.0, 0.5]) + 0.3).astype(np.float32)}


def _init(key, batch):
    return {"w": jax.random.normal(key, (3,)), "b": jnp.zeros([])}, {"seen": jnp.zeros([])}


def _regression(params, stats, batch, key, *, step, train=True):
    residual = batch["x"] @ params["w"] + params["b"] - batch["y"]
    return 0.5 * (residual**2).mean(), ({"seen": stats["seen"] + 1}, {"bias": residual.mean()})


def _noisy(params, stats, batch, key, *, step, train=True):
    batch = batch | {"y": batch["y"] + jax.random.normal(key, batch["y"].shape)}
    return _regression(params, stats, batch, key, step=step)


REGRESSION = Model(_init, _regression)
NOISY = Model(_init, _noisy)


def _first(params, stats, batch, key, *, step, train=True):
    """A game over f = u v - u + v^2: the first player goes down f in u, the second up in v."""
    u, v = params["first"]["u"], params["second"]["v"]
    return u * v - u + v**2, (stats, {})


def _second(params, stats, batch, key, *, step, train=True):
    value, aux = _first(params, stats, batch, key, step=step)
    return -value, aux


def _game_init(key, batch):
    return {"first": {"u": jnp.array(2.0)}, "second": {"v": jnp.array(3.0)}}, {}


GAME = Model(_game_init, {"first": _first, "second": _second})


def _numpy_gradient(w, b, x, y):
    residual = x @ w + b - y
    return x.T @ residual / len(y), residual.mean(), 0.5 * (residual**2).mean()


def _run(model, tx, steps, state=None, **keywords):
    state = init_state(model, tx, jax.random.key(0), BATCH) if state is None else state
    step = jax.jit(make_train_step(model.loss, tx, **keywords))
    for _ in range(steps):
        state, metrics = step(state, BATCH)
    return state, metrics


def _equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_one_player_is_gradient_descent_in_numpy():
    tx = optax.sgd(0.1)
    state = init_state(REGRESSION, tx, jax.random.key(0), BATCH)
    w, b = np.asarray(state.params["w"], np.float64), 0.0
    state, metrics = _run(REGRESSION, tx, 5, state)
    for _ in range(5):
        w_grad, b_grad, value = _numpy_gradient(w, b, BATCH["x"], BATCH["y"])
        w, b = w - 0.1 * w_grad, b - 0.1 * b_grad
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-5)
    np.testing.assert_allclose(state.params["b"], b, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)  # of the parameters before the last update
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt((w_grad**2).sum() + b_grad**2), rtol=1e-4)
    np.testing.assert_allclose(metrics["bias"], b_grad, rtol=1e-4, atol=1e-6)
    assert int(state.step) == 5
    assert float(state.stats["seen"]) == 5


def test_an_optimizer_with_memory_is_the_one_in_a_plain_loop():
    tx = optax.adamw(0.05, weight_decay=0.1)
    state = init_state(REGRESSION, tx, jax.random.key(0), BATCH)
    params, opt_state = state.params, tx.init(state.params)
    for _ in range(4):
        grads = jax.grad(lambda p: _regression(p, {"seen": 0}, BATCH, None, step=0)[0])(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
    state, _ = _run(REGRESSION, tx, 4, state)
    np.testing.assert_allclose(state.params["w"], params["w"], rtol=1e-5)


def test_two_players_move_in_turn_each_seeing_the_one_before_updated():
    u, v = 2.0, 3.0
    for _ in range(3):
        u -= 0.1 * (v - 1)
        v += 0.2 * (u + 2 * v)  # with the new u
    state, metrics = _run(GAME, {"first": optax.sgd(0.1), "second": optax.sgd(0.2)}, 3)
    np.testing.assert_allclose(state.params["first"]["u"], u, rtol=1e-5)
    np.testing.assert_allclose(state.params["second"]["v"], v, rtol=1e-5)
    assert set(metrics) == {"first/loss", "first/grad_norm", "second/loss", "second/grad_norm"}


def test_the_order_of_play_is_the_mappings():
    u, v = 2.0, 3.0
    v += 0.2 * (u + 2 * v)
    u -= 0.1 * (v - 1)  # with the new v
    state, _ = _run(
        Model(_game_init, {"second": _second, "first": _first}), {"first": optax.sgd(0.1), "second": optax.sgd(0.2)}, 1
    )
    np.testing.assert_allclose(state.params["first"]["u"], u, rtol=1e-6)
    np.testing.assert_allclose(state.params["second"]["v"], v, rtol=1e-6)


def test_a_critic_that_moves_more_often_is_a_masked_optimizer():
    """n_critic = 3: the second player moves at each third step alone, and its optimizer's state with it."""
    lazy = optax.conditionally_mask(optax.adam(0.1), lambda step: step % 3 == 2)
    tx = {"first": optax.sgd(0.01), "second": lazy}
    state = init_state(GAME, tx, jax.random.key(0), BATCH)
    step = jax.jit(make_train_step(GAME.loss, tx))
    moved = []
    for _ in range(6):
        old, (state, _) = state, step(state, BATCH)
        moved.append(bool(old.params["second"]["v"] != state.params["second"]["v"]))
        assert old.params["first"]["u"] != state.params["first"]["u"]
    assert moved == [False, False, True] * 2
    counts = [x for x in jax.tree.leaves(state.opt_state["second"]) if x.dtype == jnp.int32]
    assert sorted(int(c) for c in counts) == [2, 6]  # Adam's own updates, and the steps


def test_step_k_draws_the_same_after_a_resume():
    tx = optax.sgd(0.1)
    whole, _ = _run(NOISY, tx, 4)
    half, _ = _run(NOISY, tx, 2)
    kept = jax.device_get(half._replace(key=jax.random.key_data(half.key)))  # all that a checkpoint has
    again = jax.tree.map(jnp.asarray, kept)
    resumed, _ = _run(NOISY, tx, 2, again._replace(key=jax.random.wrap_key_data(again.key)))
    assert _equal(whole.params, resumed.params)


def test_each_step_and_each_player_draws_its_own():
    def draw(params, stats, batch, key, *, step, train=True):
        return 0.0 * sum(jax.tree.leaves(params)), (stats, {"draw": jax.random.normal(key, ())})

    model = Model(_game_init, {"first": draw, "second": draw})
    tx = {"first": optax.sgd(0.1), "second": optax.sgd(0.1)}
    state, step = init_state(model, tx, jax.random.key(0), BATCH), jax.jit(make_train_step(model.loss, tx))
    draws = set()
    for _ in range(3):
        state, metrics = step(state, BATCH)
        draws |= {float(metrics["first/draw"]), float(metrics["second/draw"])}
    assert len(draws) == 6


def test_the_loss_sees_the_step():
    def loss(params, stats, batch, key, *, step, train=True):
        return step * params["b"], (stats, {})

    state, _ = _run(Model(_init, loss), optax.sgd(1.0), 4)
    assert float(state.params["b"]) == -(0 + 1 + 2 + 3)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_parts_are_the_whole_batch(parts):
    tx = optax.sgd(0.1)
    whole, whole_metrics = _run(REGRESSION, tx, 3)
    parted, parted_metrics = _run(REGRESSION, tx, 3, accumulate=parts)
    np.testing.assert_allclose(parted.params["w"], whole.params["w"], rtol=1e-5)
    for name in whole_metrics:
        np.testing.assert_allclose(parted_metrics[name], whole_metrics[name], rtol=1e-4, atol=1e-6)
    assert float(parted.stats["seen"]) == 3 * parts  # stats go from part to part


def test_accumulated_parts_draw_differently():
    def draw(params, stats, batch, key, *, step, train=True):
        return 0.0 * params["b"], ({"seen": stats["seen"] * 10 + jax.random.randint(key, (), 0, 10)}, {})

    state, _ = _run(Model(_init, draw), optax.sgd(0.1), 1, accumulate=8)
    digits = f"{int(state.stats['seen']):08d}"
    assert len(set(digits)) > 3, digits


def test_a_learning_rate_may_be_traced():
    def final(rate):
        tx = optax.sgd(rate)
        state = init_state(REGRESSION, tx, jax.random.key(0), BATCH)
        return make_train_step(REGRESSION.loss, tx)(state, BATCH)[0].params["w"]

    rates = jnp.array([0.1, 0.3])
    together = jax.jit(jax.vmap(final))(rates)
    for rate, w in zip([0.1, 0.3], together, strict=True):
        np.testing.assert_allclose(w, _run(REGRESSION, optax.sgd(rate), 1)[0].params["w"], rtol=1e-6)


def test_eight_devices_are_one():
    """pmap, shard_map and a vmap with an axis: gradients, stats and metrics are means over the devices."""
    tx = optax.sgd(0.1)
    whole = _run(REGRESSION, tx, 3)
    step = make_train_step(REGRESSION.loss, tx, axis_name="devices")
    mesh = jax.make_mesh((8,), ("devices",), axis_types=(AxisType.Auto,))
    cut = jax.tree.map(lambda x: x[:, None], BATCH)
    steps = {
        "pmap": (jax.pmap(step, "devices", in_axes=(None, 0), out_axes=None), cut),
        "vmap": (jax.jit(jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="devices")), cut),
        "shard_map": (
            jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P(), check_vma=False)),
            BATCH,
        ),
    }
    for name, (mapped, batch) in steps.items():
        state = init_state(REGRESSION, tx, jax.random.key(0), BATCH)
        for _ in range(3):
            state, metrics = mapped(state, batch)
        np.testing.assert_allclose(state.params["w"], whole[0].params["w"], rtol=1e-5, err_msg=name)
        assert float(state.stats["seen"]) == 3
        for key, value in metrics.items():
            np.testing.assert_allclose(value, whole[1][key], rtol=1e-4, atol=1e-6, err_msg=name)


def test_devices_draw_differently():
    def draw(params, stats, batch, key, *, step, train=True):
        value = jax.random.normal(key, ())
        return 0.0 * params["b"], (stats, {"mean": value, "square": value**2})

    step = make_train_step(draw, optax.sgd(0.1), axis_name="devices")
    state = init_state(Model(_init, draw), optax.sgd(0.1), jax.random.key(0), BATCH)
    cut = jax.tree.map(lambda x: x[:, None], BATCH)
    _, metrics = jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="devices")(state, cut)
    assert metrics["square"] - metrics["mean"] ** 2 > 0.1  # their variance: 0 if all drew the same


def test_wrong_players_are_refused():
    with pytest.raises(ValueError, match=r"players \['first', 'second'\].*\['first', 'third'\]"):
        make_train_step(GAME.loss, {"first": optax.sgd(0.1), "third": optax.sgd(0.1)})
    with pytest.raises(ValueError, match="a single transformation"):
        init_state(GAME, optax.sgd(0.1), jax.random.key(0), BATCH)
    lost = Model(_game_init, {"first": _first, "third": _second})
    with pytest.raises(ValueError, match="'third' owns no parameters"):
        init_state(lost, {"first": optax.sgd(0.1), "third": optax.sgd(0.1)}, jax.random.key(0), BATCH)


def test_impossible_parts_are_refused():
    with pytest.raises(ValueError, match="accumulate must be 1 or more, got 0"):
        make_train_step(REGRESSION.loss, optax.sgd(0.1), accumulate=0)
    with pytest.raises(ValueError, match="accumulate=3 does not divide the batch of 8"):
        _run(REGRESSION, optax.sgd(0.1), 1, accumulate=3)


def test_an_empty_batch_is_refused():
    state = init_state(REGRESSION, optax.sgd(0.1), jax.random.key(0), BATCH)
    with pytest.raises(ValueError, match="the batch has no examples"):
        make_train_step(REGRESSION.loss, optax.sgd(0.1))(state, {"x": X[:0], "y": BATCH["y"][:0]})


def test_a_model_is_equal_to_itself_alone_and_names_the_operations_that_it_lacks():
    model, twin = (Model(_init, _regression, apply=len) for _ in range(2))
    assert {model: 1}[model] == 1 and model == model and model != twin
    with pytest.raises(AbsentOperation, match=r"no operation 'sample': it has init, loss, apply$"):
        model.sample({}, {}, jax.random.key(0), 4)
    more = dataclasses.replace(model, sample=max)
    assert more.has("sample") and more.has("apply") and not more.has("encode") and not model.has("sample")
    with pytest.raises(ValueError, match=r"no operation 'encode': it has init, loss, apply, sample$"):
        more.encode({}, {}, X)
    with pytest.raises(ValueError, match="unknown operation of a model 'samples': did you mean 'sample'"):
        model.has("samples")
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.apply = max


def test_initialisation_sees_the_values_of_the_first_batch():
    """A scale and a shift that make the first batch normalised (Kingma & Dhariwal, Glow, 2018, section 3.1)."""

    def init(key, batch):
        return {"shift": batch["x"].mean(0), "scale": batch["x"].std(0)}, {}

    def loss(params, stats, batch, key, *, step, train=True):
        z = (batch["x"] - params["shift"]) / params["scale"]
        return 0.5 * (z**2).mean(), (stats, {"mean": z.mean(0), "deviation": z.std(0)})

    tx = optax.sgd(0.1)
    state = jax.jit(lambda batch: init_state(Model(init, loss), tx, jax.random.key(0), batch))(BATCH)
    _, metrics = make_train_step(loss, tx)(state, BATCH)
    np.testing.assert_allclose(metrics["mean"], 0, atol=1e-6)
    np.testing.assert_allclose(metrics["deviation"], 1, rtol=1e-5)


def _critic(params, stats, batch, key, *, step, train=True):
    noise = params["actor"]["u"] * jax.random.normal(key, batch["y"].shape)
    residual = batch["x"] @ params["critic"]["w"] - batch["y"] + noise
    return (residual**2).mean(), ({"seen": stats["seen"] + batch["y"].mean()}, {"bias": residual.mean()})


def _actor(params, stats, batch, key, *, step, train=True):
    return (batch["x"] @ params["critic"]["w"] - params["actor"]["u"]).var() + params["actor"]["u"] ** 2, (stats, {})


def _contest_init(key, batch):
    return {"critic": {"w": jnp.ones(3)}, "actor": {"u": jnp.float32(0.5)}}, {"seen": jnp.zeros([])}


CONTEST = Model(_contest_init, {"critic": _critic, "actor": _actor})
CONTEST_TX = {"critic": optax.sgd(0.1, momentum=0.9), "actor": optax.sgd(0.05)}


def test_a_player_that_repeats_is_a_loop_of_updates_on_parts_of_the_batch():
    """Four updates of the critic, then one of the actor on the first part; two steps, as momentum goes on."""
    state = init_state(CONTEST, CONTEST_TX, jax.random.key(0), BATCH)
    params, stats, opt_state = state.params, state.stats, state.opt_state
    step = jax.jit(make_train_step(CONTEST.loss, CONTEST_TX, repeats={"critic": 4}))
    for k in range(2):
        state, metrics = step(state, BATCH)
        key, seen = jax.random.fold_in(state.key, k), []
        for index, (player, loss) in enumerate(CONTEST.loss.items()):
            for i in range(4 if player == "critic" else 1):
                part = jax.tree.map(lambda x, i=i: x[i::4], BATCH)
                own = jax.random.fold_in(key, index)
                own = jax.random.fold_in(own, i) if player == "critic" else own
                (value, (stats, out)), grads = jax.value_and_grad(loss, has_aux=True)(params, stats, part, own, step=k)
                updates, new = CONTEST_TX[player].update(grads[player], opt_state[player])
                params = {**params, player: optax.apply_updates(params[player], updates)}
                opt_state = {**opt_state, player: new}
                seen.append({"loss": value, **out, "grad_norm": optax.tree.norm(grads[player])})
        critic = jax.tree.map(lambda *values: np.mean(values), *seen[:4])
        expected = {f"critic/{name}": value for name, value in critic.items()}
        expected |= {f"actor/{name}": value for name, value in seen[4].items()}
        chex.assert_trees_all_close(metrics, expected, rtol=1e-5)
    chex.assert_trees_all_close((state.params, state.stats, state.opt_state), (params, stats, opt_state), rtol=1e-5)


def test_repeats_of_one_change_nothing():
    plain, _ = _run(CONTEST, CONTEST_TX, 2)
    ones, _ = _run(CONTEST, CONTEST_TX, 2, repeats={"critic": 1})
    assert _equal(plain.params, ones.params) and _equal(plain.opt_state, ones.opt_state)


def test_repeats_keep_one_trace_donate_and_resume_in_the_same_bits(tmp_path):
    def step(state, batch):
        return make_train_step(CONTEST.loss, CONTEST_TX, repeats={"critic": 2}, accumulate=2)(state, batch)

    step = jax.jit(chex.assert_max_traces(step, n=1), donate_argnums=0)

    def start():
        return init_state(CONTEST, CONTEST_TX, jax.random.key(0), BATCH)

    first = start()
    state, _ = step(first, BATCH)
    assert first.params["critic"]["w"].is_deleted()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        again = checkpoints.restore(jax.eval_shape(start))
    (state, _), (again, _) = step(state, BATCH), step(again, BATCH)
    assert _equal((state.params, state.opt_state, state.stats), (again.params, again.opt_state, again.stats))


def test_repeats_see_the_same_examples_however_the_batch_is_cut():
    """Without noise: eight devices under jit, pmap and shard_map, and parts that are accumulated, are one device."""
    rng = np.random.default_rng(1)
    batch = {"x": rng.normal(size=(48, 3)).astype(np.float32), "y": rng.normal(size=48).astype(np.float32)}

    def quiet(params, stats, batch, key, *, step, train=True):
        residual = batch["x"] @ params["critic"]["w"] - batch["y"] * params["actor"]["u"]
        return (residual**2).mean(), (stats, {"bias": residual.mean()})

    loss = {"critic": quiet, "actor": quiet}
    model = Model(_contest_init, loss)
    state = init_state(model, CONTEST_TX, jax.random.key(0), batch)
    whole = jax.device_get(jax.jit(make_train_step(loss, CONTEST_TX, repeats={"critic": 3}))(state, batch))
    for how in ("jit", "pmap", "shard_map"):
        axis_name = None if how == "jit" else "data"
        step = make_train_step(loss, CONTEST_TX, repeats={"critic": 3}, axis_name=axis_name)
        state, metrics = compile_step(step, how)(init_state(model, CONTEST_TX, jax.random.key(0), batch), batch)
        got = jax.device_get((state.params, state.opt_state, metrics))
        chex.assert_trees_all_close(got, (whole[0].params, whole[0].opt_state, whole[1]), rtol=1e-4)
    parted = make_train_step(loss, CONTEST_TX, repeats={"critic": 3}, accumulate=4)
    state, _ = jax.jit(parted)(init_state(model, CONTEST_TX, jax.random.key(0), batch), batch)
    chex.assert_trees_all_close(state.params, whole[0].params, rtol=1e-4)


def test_impossible_repeats_are_refused():
    with pytest.raises(ValueError, match=r"repeats names the player 'critik', but they are \['actor', 'critic'\]"):
        make_train_step(CONTEST.loss, CONTEST_TX, repeats={"critik": 5})
    with pytest.raises(ValueError, match="repeats names the player 'critic', but a single loss has none"):
        make_train_step(REGRESSION.loss, optax.sgd(0.1), repeats={"critic": 5})
    with pytest.raises(ValueError, match="repeats must be 1 or more, got critic: 0"):
        make_train_step(CONTEST.loss, CONTEST_TX, repeats={"critic": 0})
    with pytest.raises(ValueError, match="repeats cuts the batch into 5 parts, which do not divide its 8 examples"):
        _run(CONTEST, CONTEST_TX, 1, repeats={"critic": 5})
