"""The mean of the parameters against the weighted mean written out, and batch norm's statistics that go with it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import Model, init_state, make_train_step
from gen_models.core import _share_of_newest as share_of_newest

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


def _walked(decay, steps=STEPS, state=None, step=None):
    """The states of steps 1 to `steps` of a random walk."""
    state = init_state(WALK, TX, jax.random.key(0), BATCH, ema=True) if state is None else state
    step = jax.jit(make_train_step(WALK.loss, TX, ema_decay=decay)) if step is None else step
    states = []
    for _ in range(steps):
        state, _ = step(state, BATCH)
        states.append(state)
    return states


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.9999, jnp.float32(0.9)])
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
    without = init_state(WALK, TX, jax.random.key(0), BATCH)
    without = _walked(0.0, state=without, step=jax.jit(make_train_step(WALK.loss, TX)))[-1]
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
