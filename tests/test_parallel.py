"""Many trainings in one program are the trainings one by one."""

import jax
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.models.gan import gan
from gen_models.parallel import train_many


@pytest.mark.parametrize("members", [1, 3, 16])  # on one device, on three, and two a device on eight
def test_members_train_as_if_alone(members):
    model = gan((2,), generator_hidden=(8,), discriminator_hidden=(8,), packing=2)
    tx = {player: optax.sgd(0.1) for player in model.loss}
    x = np.random.default_rng(0).normal(size=(members, 12, 2)).astype(np.float32)
    states = [init_state(model, tx, jax.random.key(i), {"image": x[0]}) for i in range(members)]
    step = make_train_step(model.loss, tx)
    together, place = train_many(step, members)
    stacked = place(jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *states))
    assert len(stacked.step.sharding.device_set) == min(members, 8)
    alone, together = jax.jit(step), jax.jit(together)
    for _ in range(3):
        stacked, metrics = together(stacked, {"image": x})
        states, own = zip(*[alone(state, {"image": x[i]}) for i, state in enumerate(states)], strict=True)
    for i in range(members):
        got = jax.tree.map(lambda leaf, i=i: leaf[i], (stacked.params, stacked.stats, metrics))
        want = (states[i].params, states[i].stats, own[i])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)


def test_members_below_one_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        train_many(lambda state, batch: (state, {}), 0)
