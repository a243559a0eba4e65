"""Each optimizer against its paper's update, written out in NumPy; schedules against closed forms."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.optimizers import (
    OPTIMIZERS,
    adagrad,
    adam,
    adamw,
    clipped_weights,
    injected,
    momentum,
    nesterov,
    not_bias_or_scale,
    optimizer,
    rmsprop,
    set_learning_rate,
    sgd,
)
from gen_models.schedules import schedule

START = np.array([[1.0, -2.0], [0.5, 3.0]])
CURVATURE = np.array([[3.0, 0.5], [1.0, 2.0]])
STEPS, RATE = 12, 0.1


def gradient(p):
    """Of a sum of quadratics and quartics, so that it is never proportional to the parameters."""
    return CURVATURE * p + 0.1 * p**3


def run(tx, steps=STEPS, start=START, grad=gradient, dtype=jnp.float32):
    """Parameters after each step, [steps, ...]; the leaf is a kernel, on which decay acts."""
    params = {"kernel": jnp.asarray(start, dtype)}
    state, out = tx.init(params), []
    update = jax.jit(tx.update)
    for _ in range(steps):
        updates, state = update(jax.tree.map(grad, params), state, params)
        params = optax.apply_updates(params, updates)
        out.append(np.asarray(params["kernel"]))
    return np.stack(out)


def follows(make, paper, rtol=1e-9):
    """In float64 the parameters after every step are the paper's; in float32 they are, but for its rounding."""
    assert np.abs(np.diff(paper, axis=0)).max() > 1e-2  # the steps went somewhere
    with jax.enable_x64(True):
        np.testing.assert_allclose(run(make(), dtype=jnp.float64), np.stack(paper), rtol=rtol, atol=rtol)
    np.testing.assert_allclose(run(make()), np.stack(paper), rtol=1e-4, atol=2e-5)


def test_sgd():
    p, paper = START, []
    for _ in range(STEPS):
        p = p - RATE * gradient(p)
        paper.append(p)
    follows(lambda: sgd(RATE), paper)


def test_momentum_is_polyaks_heavy_ball():
    p, previous, paper = START, START, []
    for _ in range(STEPS):  # Polyak (1964): x_{k+1} = x_k - alpha f'(x_k) + beta (x_k - x_{k-1})
        p, previous = p - RATE * gradient(p) + 0.8 * (p - previous), p
        paper.append(p)
    follows(lambda: momentum(RATE, 0.8), paper)


def test_nesterov_is_sutskevers_form_seen_from_the_lookahead():
    theta, v, paper = START, np.zeros_like(START), []
    for _ in range(STEPS):  # Sutskever et al. (2013), eq. 3 and 4
        v = 0.8 * v - RATE * gradient(theta + 0.8 * v)
        theta = theta + v
        paper.append(theta + 0.8 * v)
    follows(lambda: nesterov(RATE, 0.8), paper)
    np.testing.assert_array_equal(run(nesterov(RATE, 0.8)), run(momentum(RATE, 0.8, nesterov=True)))


def test_adagrad():
    p, total, paper = START, 0.0, []
    for _ in range(STEPS):  # Duchi et al. (2011), figure 1, diagonal, delta -> 0
        g = gradient(p)
        total = total + g**2
        p = p - RATE * g / np.sqrt(total)
        paper.append(p)
    follows(lambda: adagrad(RATE, eps=1e-20), paper)


def test_adagrad_epsilon_and_accumulator_are_under_the_root():
    g = 1e-3
    step = run(adagrad(1.0, initial_accumulator=2e-6, eps=1e-6), steps=1, grad=lambda p: 0 * p + g) - START
    np.testing.assert_allclose(step[0], -g / math.sqrt(2e-6 + g**2 + 1e-6), rtol=1e-3)
    assert np.all(run(adagrad(1.0, eps=0.0), steps=1, grad=lambda p: 0 * p) == START.astype(np.float32))


def test_rmsprop():
    p, mean_square, paper = START, 0.0, []
    for _ in range(STEPS):  # Tieleman & Hinton (2012), lecture 6e
        g = gradient(p)
        mean_square = 0.9 * mean_square + 0.1 * g**2
        p = p - RATE * g / np.sqrt(mean_square)
        paper.append(p)
    follows(lambda: rmsprop(RATE, eps=1e-20), paper)
    np.testing.assert_allclose(run(rmsprop(RATE)), np.stack(paper), rtol=1e-4, atol=2e-5)  # the default eps is small


def test_rmsprop_centered_with_momentum_is_graves():
    p, n, m, step, paper = START, 0.0, 0.0, 0.0, []
    for _ in range(STEPS):  # Graves (2013), eq. 38 to 41
        g = gradient(p)
        n = 0.95 * n + 0.05 * g**2
        m = 0.95 * m + 0.05 * g
        step = 0.9 * step - 0.01 * g / np.sqrt(n - m**2 + 1e-4)
        p = p + step
        paper.append(p)
    follows(lambda: rmsprop(0.01, decay=0.95, eps=1e-4, momentum=0.9, centered=True), paper)


@pytest.mark.parametrize("compiled", [False, True])
def test_centered_rmsprop_survives_a_constant_gradient(compiled):
    """float32 rounds the variance of large constant gradients below -eps; optax's own then gives NaN."""
    grads = jnp.asarray(1000 * np.random.default_rng(0).normal(size=(200, 50)), jnp.float32)

    def last(tx):
        state, update = tx.init(grads), jax.jit(tx.update) if compiled else tx.update
        for _ in range(150):
            updates, state = update(grads, state, grads)
        return np.asarray(updates)

    assert np.isnan(last(optax.rmsprop(RATE, centered=True))).any()
    assert np.isfinite(last(rmsprop(RATE, centered=True))).all()


def numpy_adam(weight_decay=0.0, b1=0.9, b2=0.999, eps=1e-8):
    p, m, v, paper = START, 0.0, 0.0, []
    for t in range(1, STEPS + 1):  # Kingma & Ba (2015), algorithm 1
        g = gradient(p)
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        # Loshchilov & Hutter (2019), algorithm 2, line 12, with lambda = RATE * weight_decay and eta_t = 1
        p = p - (RATE * m_hat / (np.sqrt(v_hat) + eps) + RATE * weight_decay * p)
        paper.append(p)
    return paper


def test_adam():
    follows(lambda: adam(RATE), numpy_adam())
    follows(lambda: adam(RATE, b1=0.5, b2=0.9, eps=0.3), numpy_adam(b1=0.5, b2=0.9, eps=0.3))


def test_adamw():
    follows(lambda: adamw(RATE, weight_decay=0.5), numpy_adam(0.5))
    follows(lambda: adamw(RATE), numpy_adam(0.01))
    follows(lambda: optimizer("adam", RATE, weight_decay=0.5), numpy_adam(0.5))
    assert np.abs(run(adamw(RATE, weight_decay=0.5)) - run(adam(RATE, l2=0.5))).max() > 0.1  # decoupled is not L2


def test_decoupled_decay_follows_the_schedule():
    rates = [0.3, 0.03]
    tx = adamw(lambda step: jnp.asarray(rates)[step], weight_decay=0.5)
    out = run(tx, steps=2, grad=jnp.zeros_like)  # no gradient: the decay alone
    np.testing.assert_allclose(out[0], START * (1 - 0.3 * 0.5), rtol=1e-6)
    np.testing.assert_allclose(out[1], out[0] * (1 - 0.03 * 0.5), rtol=1e-6)


def test_penalties_are_the_gradient_of_the_penalised_objective():
    def penalty(p):
        return 0.3 * jnp.abs(p).sum() + 0.7 / 2 * (p**2).sum()

    np.testing.assert_allclose(
        run(sgd(RATE, l1=0.3, l2=0.7)), run(sgd(RATE), grad=lambda p: gradient(p) + jax.grad(penalty)(p)), rtol=1e-5
    )


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_clipping_bounds_the_whole_penalised_gradient(scale):
    params = {"a": {"kernel": jnp.asarray(START)}, "b": {"kernel": jnp.asarray(2 * START)}}
    grads = jax.tree.map(lambda p: scale * gradient(p), params)
    tx = sgd(1.0, clip_norm=6.0, l2=0.5)
    updates, _ = tx.update(grads, tx.init(params), params)
    whole = jax.tree.map(lambda g, p: np.asarray(g + 0.5 * p), grads, params)
    norm = math.sqrt(sum((g**2).sum() for g in jax.tree.leaves(whole)))
    assert (norm > 6) == (scale > 0.1)
    expected = jax.tree.map(lambda g: -g * min(1, 6 / norm), whole)
    chex.assert_trees_all_close(updates, expected, rtol=1e-5)


def test_penalties_and_decay_leave_biases_and_scales_alone():
    params = {
        "dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)},
        "norm": {"scale": jnp.ones((1, 2)), "bias": jnp.ones((1, 2))},  # kept off by name
        "log_sigma": jnp.ones(2),  # kept off by its one dimension
        "embedding": jnp.ones((3, 2)),
    }
    assert not_bias_or_scale(params) == {
        "dense": {"kernel": True, "bias": False},
        "norm": {"scale": False, "bias": False},
        "log_sigma": False,
        "embedding": True,
    }
    zero = jax.tree.map(jnp.zeros_like, params)
    for options in ({"l1": 0.1}, {"l2": 0.1}, {"weight_decay": 0.1}):
        tx = optimizer("sgd", 1.0, **options)
        updates, _ = tx.update(zero, tx.init(params), params)
        moved = jax.tree.map(lambda u: bool((u == np.float32(-0.1)).all()), updates)
        assert moved == not_bias_or_scale(params)
        assert not jax.tree.reduce(lambda a, u: a + float(jnp.abs(u).sum()), updates["norm"], 0.0)
    tx = optimizer("sgd", 1.0, weight_decay=0.1, mask=lambda params: jax.tree.map(lambda _: True, params))
    updates, _ = tx.update(zero, tx.init(params), params)
    assert all((u == np.float32(-0.1)).all() for u in jax.tree.leaves(updates))


def test_names_and_functions_are_the_same():
    for name, function in OPTIMIZERS.items():
        np.testing.assert_array_equal(run(optimizer(name, RATE), 3), run(function(RATE), 3))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimizer("adamm"), "unknown optimizer 'adamm': did you mean 'adam'"),
        (lambda: optimizer("sgd", b1=0.5), "sgd takes no option 'b1': its own are none"),
        (lambda: optimizer("adam", beta1=0.5), "adam takes no option 'beta1': its own are b1, b2, eps"),
        (lambda: optimizer("adam", -1.0), "learning_rate must be finite and at least 0, got -1.0"),
        (lambda: optimizer("adam", math.nan), "learning_rate must be finite"),
        (lambda: optimizer("adam", b1=1.0), "b1 must be at least 0 and below 1, got 1.0"),
        (lambda: optimizer("sgd", clip_norm=0.0), "clip_norm must be above 0, or None"),
        (lambda: optimizer("sgd", l2=-0.1), "l2 must be finite and at least 0"),
        (lambda: injected("adam", schedule()), "injected takes a learning rate, not the schedule"),
        (lambda: schedule("cosin"), "unknown schedule 'cosin': did you mean 'cosine'"),
        (lambda: schedule("cosine", steps=10, warmup_steps=10), "warmup_steps must be 0 or more and below steps=10"),
        (lambda: schedule("constant", end_fraction=0.1), "schedule 'constant' takes no end_fraction"),
        (lambda: schedule("cosine", boundaries=[1]), "schedule 'cosine' takes no boundaries: its options are end"),
        (lambda: schedule("piecewise", steps=9, boundaries=[5, 3]), "boundaries must rise"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        call()


def rates(s, steps):
    return np.asarray(jax.vmap(s)(jnp.arange(steps)))


def test_schedules_match_their_closed_forms():
    t = np.arange(12)
    done = np.minimum(t / 10, 1)
    np.testing.assert_allclose(rates(schedule("constant", 0.2, 10), 12), 0.2)
    cosine = 0.2 * (0.1 + 0.9 * (1 + np.cos(np.pi * done)) / 2)
    np.testing.assert_allclose(rates(schedule("cosine", 0.2, 10, end_fraction=0.1), 12), cosine, rtol=1e-5)
    np.testing.assert_allclose(rates(optax.cosine_decay_schedule(0.2, 10, 0.1), 12), cosine, rtol=1e-5)
    linear = rates(schedule("linear", 0.2, 10), 12)
    np.testing.assert_allclose(linear, 0.2 * (1 - done), atol=1e-8)
    np.testing.assert_allclose(rates(schedule("exponential", 0.2, 10, decay_rate=0.3), 12), 0.2 * 0.3 ** (t / 10), 1e-5)
    piecewise = schedule("piecewise", 0.2, 10, boundaries=(3, 7), decay_rate=0.5)
    np.testing.assert_allclose(rates(piecewise, 12), [0.2] * 3 + [0.1] * 4 + [0.05] * 5, rtol=1e-6)


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "exponential", "piecewise"])
def test_warm_up_in_front_of_any_schedule(name):
    options = {"boundaries": (12,)} if name == "piecewise" else {}
    later = {"boundaries": (8,)} if name == "piecewise" else {}
    warmed = rates(schedule(name, 0.2, 20, warmup_steps=4, **options), 20)
    np.testing.assert_allclose(warmed[:5], 0.2 * np.arange(1, 6) / 5, rtol=1e-6)
    np.testing.assert_allclose(warmed[4:], rates(schedule(name, 0.2, 16, **later), 16), rtol=1e-6)
    assert warmed.argmax() == 4


@pytest.mark.parametrize("name", ["constant", "cosine", "linear", "exponential", "piecewise"])
def test_a_step_may_be_of_any_type(name):
    """Unsigned ones too, whose difference from the warm-up would wrap around; also far beyond the end."""
    options = {"boundaries": (9,)} if name == "piecewise" else {}
    rate = schedule(name, 0.2, 12, warmup_steps=4, **options)
    for step in (0, 3, 4, 9, 12, 1000):
        expected = float(rate(step))
        assert np.isfinite(expected) and 0 <= expected <= 0.2 * (1 + 1e-6)
        for kind in (np.int32, np.uint8 if step < 256 else np.uint16, np.uint32, jnp.int32, jnp.uint32, jnp.float32):
            assert float(rate(kind(step))) == expected, kind
        assert float(jax.jit(rate)(jnp.uint32(step))) == pytest.approx(expected, rel=1e-6)
    if name in ("cosine", "linear"):
        assert float(rate(1000)) == float(rate(12))


def test_a_schedule_starts_at_step_zero():
    seen = run(sgd(schedule("linear", 1.0, 4)), steps=5, grad=jnp.ones_like)
    np.testing.assert_allclose(-np.diff(np.concatenate([START[None], seen]), axis=0)[:, 0, 0], [1, 0.75, 0.5, 0.25, 0])


def test_one_trace_serves_every_injected_rate():
    tx = injected("adam", RATE, clip_norm=1.0)

    @jax.jit
    @chex.assert_max_traces(1)
    def step(params, state):
        updates, state = tx.update(jax.tree.map(gradient, params), state, params)
        return optax.apply_updates(params, updates), state

    for rate in (0.1, 0.01):
        params = {"kernel": jnp.asarray(START, jnp.float32)}
        state = set_learning_rate(tx.init(params), rate)
        for _ in range(3):
            params, state = step(params, state)
        np.testing.assert_allclose(params["kernel"], run(adam(rate, clip_norm=1.0), 3)[-1], rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_vmap_over_rates_equals_sequential_runs(name):
    rates = np.array([0.1, 0.03, 0.01], np.float32)
    params = {"kernel": jnp.asarray(START, jnp.float32)}

    def train(tx, state):
        def body(carry, _):
            params, state = carry
            updates, state = tx.update(jax.tree.map(gradient, params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, state), length=4)[0][0]["kernel"]

    sequential = np.stack([run(optimizer(name, float(rate), l1=0.1, weight_decay=0.1), 4)[-1] for rate in rates])
    tx = injected(name, l1=0.1, weight_decay=0.1)
    states = jax.vmap(lambda rate: set_learning_rate(tx.init(params), rate))(rates)
    np.testing.assert_allclose(jax.vmap(lambda state: train(tx, state))(states), sequential, rtol=1e-5)

    def traced(rate, decay):  # every float traced, the transformation built inside
        tx = optimizer(name, rate, l1=rate / rate * 0.1, weight_decay=decay, clip_norm=1e6 * rate)
        return train(tx, tx.init(params))

    np.testing.assert_allclose(jax.vmap(traced)(rates, jnp.full(3, 0.1)), sequential, rtol=1e-5)


def test_a_traced_peak_reaches_the_schedule():
    peaks = np.array([0.1, 0.2], np.float32)
    both = jax.vmap(lambda peak: schedule("cosine", peak, 10, warmup_steps=2)(5))(peaks)
    np.testing.assert_allclose(
        both, [float(schedule("cosine", p, 10, warmup_steps=2)(5)) for p in (0.1, 0.2)], rtol=1e-6
    )


def test_clipped_weights_stay_within_the_bound_and_move_as_the_wrapped_rule_says():
    """Arjovsky et al. (2017), algorithm 1: w = clip(w + rate RMSProp(w, g), -c, c); to the last bit inside."""
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(0, 0.01, (50, 40)), jnp.float32), "bias": jnp.full(40, 0.5)}
    plain = rmsprop(1e-3)
    tx = clipped_weights(plain, 0.01)
    state, its = tx.init(params), plain.init(params)
    for _ in range(3):
        grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
        updates, its = plain.update(grads, its, params)
        unclipped = optax.apply_updates(params, updates)
        expected = jax.tree.map(lambda p, u: np.clip(p + u, -0.01, 0.01), params, updates)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        inside = np.abs(unclipped["kernel"]) <= np.float32(0.01)
        assert 0.1 < inside.mean() < 0.9
        np.testing.assert_array_equal(params["kernel"][inside], unclipped["kernel"][inside])
        chex.assert_trees_all_close(
            params, expected, rtol=0, atol=6e-8
        )  # the bias comes from 0.5, and is rounded there
        assert all(0.00999 < float(jnp.abs(p).max()) <= np.float32(0.01) for p in jax.tree.leaves(params))
    chex.assert_trees_all_close(state, its, rtol=1e-5)
    for c in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="c must be positive and finite"):
            clipped_weights(plain, c)
    with pytest.raises(ValueError, match="clipped weights need the parameters"):
        tx.update(grads, state)
