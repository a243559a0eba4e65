"""One step over many devices is the step on one; many trainings in one program are the trainings one by one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.models.adversarial.gan import gan
from gen_models.models.supervised.mlp import mlp
from gen_models.training.parallel import compile_step, data_mesh, local, shardings, train_many

SGD = optax.sgd(0.1, momentum=0.9)


def _numbers(tree):
    """The tree on the host, its typed keys as integers."""
    return jax.device_get(
        jax.tree.map(lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, tree)
    )


def test_a_state_cut_over_devices_trains_as_a_whole_one():
    """Parameters, moments and average: each device holds an eighth of every leaf that is not small."""
    model = mlp((8, 8, 1), 10, hidden=(64, 64), norm="batch")
    rng = np.random.default_rng(0)
    batch = {"x": rng.normal(size=(16, 8, 8, 1)).astype(np.float32), "y": rng.integers(10, size=16)}
    step = make_train_step(model.loss, SGD, ema_decay=0.9)
    mesh = data_mesh()

    def init():
        return init_state(model, SGD, jax.random.key(0), batch, ema=True)

    whole, one = init(), jax.jit(step)
    # Made in pieces: no device ever holds it whole.
    cut = jax.jit(init, out_shardings=shardings(jax.eval_shape(init), mesh, shard_parameters=True))()
    program = compile_step(step, shard_parameters=True)
    for _ in range(3):
        whole, metrics = one(whole, batch)
        cut, its_metrics = program(cut, batch)
    large = [x for x in jax.tree.leaves((cut.params, cut.opt_state, cut.ema)) if x.size >= 2**10]
    assert len(large) == 2 * 3 and all(x.addressable_data(0).size == x.size // 8 for x in large)
    gathered = local(cut)
    assert all(len(x.devices()) == 1 for x in jax.tree.leaves(gathered))
    chex.assert_trees_all_close(_numbers((gathered, its_metrics)), _numbers((whole, metrics)), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("unchecked")
def test_compiling_refuses_what_cannot_be():
    step = make_train_step(lambda *a, **k: None, SGD)
    with pytest.raises(ValueError, match="unknown way to compile a step 'shardmap': did you mean 'shard_map'"):
        compile_step(step, "shardmap")
    with pytest.raises(ValueError, match="shard_parameters needs how=\"jit\", got 'pmap'"):
        compile_step(step, "pmap", shard_parameters=True)
    with pytest.raises(ValueError, match="8 devices do not divide the batch of 12 examples"):
        compile_step(step)(None, {"x": np.zeros((12, 2))})
    with pytest.raises(ValueError, match="a mesh of 9 devices was asked for, but there are 8"):
        data_mesh(9)


# On one device, on three, and two a device on eight.
@pytest.mark.parametrize(
    "members", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(16, marks=pytest.mark.slow)]
)
def test_members_train_as_if_alone(members):
    model = gan((2,), generator_hidden=(8,), discriminator_hidden=(8,), packing=2)
    tx = {player: optax.sgd(0.1) for player in model.loss}
    x = np.random.default_rng(0).normal(size=(members, 12, 2)).astype(np.float32)
    states = [init_state(model, tx, jax.random.key(i), {"x": x[0]}) for i in range(members)]
    step = make_train_step(model.loss, tx)
    together, place = train_many(step, members)
    stacked = place(jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *states))
    assert len(stacked.step.sharding.device_set) == min(members, 8)
    alone, together = jax.jit(step), jax.jit(together)
    for _ in range(3):
        stacked, metrics = together(stacked, {"x": x})
        states, own = zip(*[alone(state, {"x": x[i]}) for i, state in enumerate(states)], strict=True)
    for i in range(members):
        got = jax.tree.map(lambda leaf, i=i: leaf[i], (stacked.params, stacked.stats, metrics))
        want = (states[i].params, states[i].stats, own[i])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


def test_members_below_one_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        train_many(lambda state, batch: (state, {}), 0)
