"""What every model of the zoo keeps: one trace, gradients of its own, a falling loss, the same under any wrapper."""

from collections.abc import Mapping

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from zoo import ZOO

from gen_models.core import init_state, make_train_step

SIZE = 16  # eight devices with two examples each: a pack of the packed GAN
ALL = pytest.mark.parametrize("name", ZOO)


def _losses(model):
    return model.loss if isinstance(model.loss, Mapping) else {"": model.loss}


def _same_for_each_player(model, tx):
    return {player: tx for player in model.loss} if isinstance(model.loss, Mapping) else tx


def _numbers(tree):
    """The tree with its typed keys as integers, so that NumPy can compare it."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)


def _assert_close(a, b, *, rtol=1e-4, atol=1e-5):
    chex.assert_trees_all_close(_numbers(a), _numbers(b), rtol=rtol, atol=atol)


@ALL
def test_one_trace_and_donated_buffers(name):
    entry = ZOO[name]()
    state = init_state(entry.model, entry.tx, jax.random.key(0), entry.batch(jax.random.key(1), SIZE), ema=True)
    buffers = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(_numbers(state)) if x.size]
    assert len(set(buffers)) == len(buffers)  # an alias would be donated twice
    chex.clear_trace_counter()
    step = chex.assert_max_traces(make_train_step(entry.model.loss, entry.tx, ema_decay=0.9), n=1)
    step = jax.jit(step, donate_argnums=0)
    for i in range(4):
        state, metrics = step(state, entry.batch(jax.random.key(i), SIZE))
    assert int(state.step) == 4
    chex.assert_tree_all_finite((state.params, state.stats, state.ema, metrics))
    assert all(m.shape == () for m in metrics.values())


@ALL
def test_each_player_has_gradients_of_its_own_parameters_alone(name):
    entry = ZOO[name]()
    batch = entry.batch(jax.random.key(1), SIZE)
    params, stats = entry.model.init(jax.random.key(0), batch)
    players = _losses(entry.model)
    for player, loss in players.items():
        grads, _ = jax.grad(loss, has_aux=True)(params, stats, batch, jax.random.key(2), step=jnp.array(0))
        chex.assert_tree_all_finite(grads)
        # a tensor without any gradient is one that the loss forgot
        for path, g in jax.tree.leaves_with_path(grads if player == "" else grads[player]):
            assert jnp.abs(g).max() > 0, (player, path)
        for other in set(players) - {player}:
            assert all((g == 0).all() for g in jax.tree.leaves(grads[other])), (player, other)


@ALL
def test_the_loss_falls(name):
    """Each player's, with the others frozen."""
    entry = ZOO[name]()
    batch = entry.batch(jax.random.key(1), 64)
    for player, loss in _losses(entry.model).items():
        tx = entry.tx
        if player:
            tx = {other: entry.tx[other] if other == player else optax.set_to_zero() for other in entry.model.loss}
        state = init_state(entry.model, tx, jax.random.key(0), batch)
        step = make_train_step(entry.model.loss, tx)
        trained = jax.jit(lambda s, step=step: jax.lax.scan(lambda s, _: (step(s, batch)[0], None), s, None, 60)[0])(
            state
        )

        def value(state, loss=loss):
            return jax.vmap(lambda key: loss(state.params, state.stats, batch, key, step=state.step)[0])(
                jax.random.split(jax.random.key(5), 8)
            ).mean()

        assert value(trained) < value(state) - 0.02, player


@ALL
def test_deterministic_is_said_truly(name):
    entry = ZOO[name]()
    batch = entry.batch(jax.random.key(1), SIZE)
    params, stats = entry.model.init(jax.random.key(0), batch)
    values = [
        [
            loss(params, stats, batch, jax.random.key(key), step=jnp.array(0))[0]
            for loss in _losses(entry.model).values()
        ]
        for key in (0, 1)
    ]
    assert np.array_equal(*values) == entry.deterministic


@ALL
def test_evaluation_leaves_the_statistics_alone(name):
    entry = ZOO[name]()
    batch = entry.batch(jax.random.key(1), SIZE)
    params, stats = entry.model.init(jax.random.key(0), batch)
    for loss in _losses(entry.model).values():
        _, (after, _) = loss(params, stats, batch, jax.random.key(2), step=jnp.array(0), train=False)
        chex.assert_trees_all_equal(after, stats)


@ALL
def test_vmap_over_seeds_is_one_run_after_another(name):
    entry = ZOO[name]()
    tx = _same_for_each_player(entry.model, optax.sgd(0.1))
    batch = entry.batch(jax.random.key(1), SIZE)
    step = make_train_step(entry.model.loss, tx)

    def run(key):
        state = init_state(entry.model, tx, key, batch)
        return jax.lax.scan(lambda s, _: step(s, batch), state, None, 3)

    keys = jax.random.split(jax.random.key(7), 2)
    together = jax.jit(jax.vmap(run))(keys)
    run = jax.jit(run)
    _assert_close(together, jax.tree.map(lambda *x: jnp.stack(x), *[run(key) for key in keys]))


@ALL
def test_a_scan_over_steps_is_a_loop(name):
    entry = ZOO[name]()
    batches = [entry.batch(jax.random.key(i), SIZE) for i in range(3)]
    step = make_train_step(entry.model.loss, entry.tx)
    state = init_state(entry.model, entry.tx, jax.random.key(0), batches[0], ema=True)
    scanned, _ = jax.jit(lambda s, b: jax.lax.scan(step, s, b))(state, jax.tree.map(lambda *x: jnp.stack(x), *batches))
    step = jax.jit(step)
    for batch in batches:
        state, _ = step(state, batch)
    _assert_close(scanned, state)


@ALL
def test_pmap_shard_map_and_vmap_with_an_axis_agree(name):
    """Over eight devices, with SGD: Adam would hide gradients that are eight times too large."""
    entry = ZOO[name](axis_name="devices")
    tx = _same_for_each_player(entry.model, optax.sgd(0.1))
    batch = entry.batch(jax.random.key(1), SIZE)
    whole = ZOO[name]()  # the same model without the axis
    state = init_state(whole.model, tx, jax.random.key(0), batch)
    step = make_train_step(entry.model.loss, tx, axis_name="devices")
    mesh = jax.make_mesh((8,), ("devices",), axis_types=(AxisType.Auto,))
    cut = jax.tree.map(lambda x: x.reshape(8, -1, *x.shape[1:]), batch)

    pmapped = jax.pmap(step, "devices", in_axes=(None, 0), out_axes=None)
    vmapped = jax.jit(jax.vmap(step, in_axes=(None, 0), out_axes=None, axis_name="devices"))
    sharded = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P("devices")), out_specs=P(), check_vma=False))
    expected = vmapped(*vmapped(state, cut)[:1], cut)
    for other, data in ((pmapped, cut), (sharded, batch)):
        _assert_close(jax.device_get(_numbers(other(other(state, data)[0], data))), _numbers(expected))
    if entry.deterministic:
        plain = jax.jit(make_train_step(whole.model.loss, tx))
        _assert_close(expected, plain(plain(state, batch)[0], batch))
