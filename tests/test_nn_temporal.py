"""Causal convolutions against XLA's, sums by hand, and themselves step by step; temporal networks' receptive fields."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.sequences.temporal_convolutions import temporal_receptive_field
from gen_models.nn.devices import plain
from gen_models.nn.temporal import (
    CausalConv,
    CausalEmbed,
    TemporalConvolutions,
    causal_conv,
    causal_conv_step,
    remembered,
)

RNG = np.random.default_rng(0)
B, T, C = 2, 11, 3


def _normal(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def _in_steps(step, x, cache):
    """Outputs [B, T, ...] of steps, by one scan."""

    def one(cache, told):
        y, cache = step(told[0], cache, told[1])
        return cache, y

    return jax.lax.scan(one, cache, (x.swapaxes(0, 1), jnp.arange(x.shape[1])))[1].swapaxes(0, 1)


@pytest.mark.parametrize(
    ("window", "dilation"),
    [(3, 2), *(pytest.param(*sizes, marks=pytest.mark.slow) for sizes in ((2, 4), (1, 3), (4, 8)))],
)
def test_a_convolution_is_xlas_and_the_sum_by_hand_whole_and_in_steps(window, dilation):
    x, kernel = _normal(B, T, C), _normal(window, C, 5)
    y = causal_conv(x, kernel, dilation=dilation)
    by_hand = np.zeros((B, T, 5))
    for t in range(T):
        for u in range(window):
            if (s := t - (window - 1 - u) * dilation) >= 0:
                by_hand[:, t] += np.float64(x[:, s]) @ np.float64(kernel[u])
    np.testing.assert_allclose(y, by_hand, rtol=1e-5, atol=1e-5)

    def loss(x, kernel):
        return jnp.square(causal_conv(x, kernel, dilation=dilation) - 1).sum()

    with plain():
        xlas = causal_conv(x, kernel, dilation=dilation)
        their_gradients = jax.grad(loss, (0, 1))(x, kernel)
    np.testing.assert_allclose(y, xlas, rtol=1e-5, atol=1e-5)
    for a, b in zip(jax.grad(loss, (0, 1))(x, kernel), their_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    step = lambda x, buffer, t: causal_conv_step(x, kernel, buffer, t, dilation=dilation)  # noqa: E731
    steps = _in_steps(step, x, jnp.zeros((B, (window - 1) * dilation + 1, C)))
    np.testing.assert_allclose(steps, y, rtol=1e-5, atol=1e-5)


def test_half_precision_is_rounded_once():
    x, kernel = _normal(B, T, C).astype(jnp.bfloat16), _normal(2, C, 4).astype(jnp.bfloat16)
    exact = causal_conv(x.astype(jnp.float32), kernel.astype(jnp.float32), dilation=2)
    y = causal_conv(x, kernel, dilation=2)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, exact.astype(jnp.bfloat16))
    last, _ = causal_conv_step(x[:, -1], kernel, x[:, -4:-1], 3, dilation=2)  # x_1 of steps 0 to 2 stands in place 1
    np.testing.assert_array_equal(last, exact[:, -1].astype(jnp.bfloat16))


def test_a_ring_buffer_holds_what_its_window_still_sees():
    x = jnp.arange(1.0, 12)[None, :, None]
    buffer, seen = jnp.zeros((1, 7, 1)), []
    for t in range(11):
        one, buffer = remembered(x[:, t], buffer, t, window=4, dilation=2)
        seen.append(one[0, :, 0].tolist())
    assert seen[0] == [0, 0, 0, 1] and seen[5] == [0, 2, 4, 6] and seen[10] == [5, 7, 9, 11]
    assert sorted(buffer.ravel().tolist()) == [5, 6, 7, 8, 9, 10, 11]


def test_weight_norm_is_scale_times_direction_and_begins_as_the_kernel():
    x = _normal(B, T, C)
    normal, as_is = CausalConv(4, 3, dilation=2, weight_norm=True), CausalConv(4, 3, dilation=2)
    params = normal.init(jax.random.key(0), x)
    np.testing.assert_allclose(
        normal.apply(params, x), as_is.apply(as_is.init(jax.random.key(0), x), x), rtol=1e-5, atol=1e-6
    )
    longer = {"params": params["params"] | {"kernel": 7 * params["params"]["kernel"]}}
    np.testing.assert_allclose(normal.apply(longer, x), normal.apply(params, x), rtol=1e-4, atol=1e-5)
    scaled = {"params": params["params"] | {"scale": 3 * params["params"]["scale"]}}
    np.testing.assert_allclose(normal.apply(scaled, x), 3 * normal.apply(params, x), rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda p: jnp.square(normal.apply(p, x)).sum())(params)["params"]
    across = (gradient["kernel"] * params["params"]["kernel"]).sum((0, 1))  # orthogonal to the direction itself
    np.testing.assert_allclose(across, 0, atol=1e-3)
    steps = _in_steps(partial(normal.apply, params, method="step"), x, jnp.zeros((B, 5, C)))
    np.testing.assert_allclose(steps, normal.apply(params, x), rtol=1e-5, atol=1e-6)


def test_an_embedding_is_the_convolution_of_one_hot_tokens():
    tokens = jnp.asarray(RNG.integers(4, size=(B, T)))
    embed = CausalEmbed(4, 5, 3)
    params = embed.init(jax.random.key(0), tokens)
    table = params["params"]["embedding"]
    assert table.shape == (4, 15)
    kernel = table.reshape(4, 3, 5).swapaxes(0, 1)  # [k, V, C]
    y = embed.apply(params, tokens)
    np.testing.assert_allclose(y, causal_conv(jax.nn.one_hot(tokens, 4), kernel), rtol=1e-5, atol=1e-6)
    steps = _in_steps(partial(embed.apply, params, method="step"), tokens, jnp.zeros((B, 3, 15)))
    np.testing.assert_allclose(steps, y, rtol=1e-5, atol=1e-6)
    assert np.isnan(embed.apply(params, tokens.at[0, 4].set(4))[0, 4]).all()


def _moved(params):
    return jax.tree.map(lambda x: x + 0.3 * jax.random.normal(jax.random.key(x.size), x.shape), params)


@pytest.mark.parametrize(
    ("growth", "field"), [(2, 13), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 9), (3, 17)))]
)
def test_blocks_in_steps_are_the_whole_and_see_what_is_predicted(growth, field):
    """Each step of the receptive field and none beyond it, by gradients; the residual widens where widths differ."""
    x = _normal(B, 20, C)
    blocks = TemporalConvolutions((5, 4), 3, growth=growth)
    params = _moved(jax.jit(blocks.init)(jax.random.key(0), x))
    y, steps = (
        jax.jit(lambda x: (blocks.apply(params, x), _in_steps(partial(blocks.apply, params, method="step"), x, cache)))(
            x
        )
        if (cache := blocks.empty(B, C))
        else None
    )
    assert y.shape == (B, 20, 4)
    np.testing.assert_allclose(steps, y, rtol=1e-4, atol=1e-5)
    assert temporal_receptive_field(2, 3, growth) == field
    gradients = jax.jit(jax.vmap(jax.grad(lambda x: blocks.apply(params, x[None])[0, -1].sum())))(_normal(32, 20, C))
    seen = np.abs(gradients).max((0, 2)) > 0  # of any of 32 sequences, as rectifiers are shut for some
    assert seen.tolist() == [False] * (20 - field) + [True] * field


def test_dropout_is_for_training_alone_and_may_be_traced():
    x = _normal(B, 4, C)
    params = TemporalConvolutions((4,), 2).init(jax.random.key(0), x)

    @jax.jit
    def outputs(rate, key):
        blocks = TemporalConvolutions((4,), 2, dropout=rate)
        return blocks.apply(params, x, True, rngs={"dropout": key}), blocks.apply(params, x)

    (first, plain_), (second, _) = (outputs(0.5, jax.random.key(i)) for i in range(2))
    assert (np.asarray(first) != np.asarray(second)).any()
    for trained, untrained in (outputs(0.0, jax.random.key(0)), (plain_, outputs(0.9, jax.random.key(0))[1])):
        np.testing.assert_allclose(trained, untrained, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    x = _normal(B, T, C)
    for call, said in (
        (lambda: causal_conv(x, _normal(2, C, 4), dilation=0), "dilation must be 1 or more, got 0"),
        (lambda: causal_conv(x, _normal(2, 4, 4)), r"it needs \[k, 3, C'\]"),
        (lambda: causal_conv_step(x[:, 0], _normal(3, C, 4), _normal(B, 3, C), 0, dilation=2), "a buffer of 5 steps"),
        (lambda: temporal_receptive_field(0), "sizes must be positive, got layers=0"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
