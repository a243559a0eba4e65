"""Gradient penalties: critics whose gradients are known, and second derivatives by differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.nn.conv import conv
from gen_models.nn.devices import plain
from gen_models.nn.gradient_penalties import dragan, r1, squared_gradient_norms, wasserstein_penalty

RNG = np.random.default_rng(0)
KEY = jax.random.key(0)
REAL, FAKE = (jnp.asarray(RNG.normal(size=(6, 2, 3)), jnp.float32) for _ in range(2))
W = jnp.asarray(RNG.normal(size=(2, 3)), jnp.float32)
NORM = float(jnp.sqrt((W**2).sum()))


def _linear(x):
    return (x * W).sum((1, 2)) + 3


def _quadratic(x):
    """With the gradient x."""
    return (x**2).sum((1, 2)) / 2


def test_a_linear_critic_has_one_gradient():
    for penalty, expected in (
        (wasserstein_penalty(10), 10 * (NORM - 1) ** 2),
        (wasserstein_penalty(2, one_sided=True), 2 * max(0, NORM - 1) ** 2),
        (r1(4), 2 * NORM**2),
        (dragan(3, norm=0.5), 3 * (NORM - 0.5) ** 2),
    ):
        np.testing.assert_allclose(penalty(_linear, REAL, FAKE, KEY), expected, rtol=1e-5)
        value, norm = penalty.measured(_linear, REAL, FAKE, KEY)
        np.testing.assert_allclose((value, norm), (expected, NORM), rtol=1e-5)
    gentle = lambda x: _linear(x) * 0.3 / NORM  # noqa: E731
    assert wasserstein_penalty(one_sided=True)(gentle, REAL, FAKE, KEY) == 0
    np.testing.assert_allclose(wasserstein_penalty(1)(gentle, REAL, FAKE, KEY), 0.7**2, rtol=1e-5)


def test_a_quadratic_critic_shows_where_the_gradient_is_taken():
    norms = np.sqrt(np.square(REAL).sum((1, 2)))
    np.testing.assert_allclose(squared_gradient_norms(_quadratic, REAL), norms**2, rtol=1e-5)
    np.testing.assert_allclose(r1(2)(_quadratic, REAL, FAKE, KEY), (norms**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        dragan(1, deviation=0.0)(_quadratic, REAL, FAKE, KEY), ((norms - 1) ** 2).mean(), rtol=1e-5
    )
    penalty = wasserstein_penalty(1)
    x = penalty.points(REAL, FAKE, KEY)
    share = (x - FAKE) / (REAL - FAKE)  # of real examples: one number for a whole example, other ones for others
    np.testing.assert_allclose(share, np.broadcast_to(share[:, :1, :1], share.shape), atol=1e-4)
    assert ((share > 0) & (share < 1)).all() and share[:, 0, 0].std() > 0.1
    expected = (np.sqrt(np.square(x).sum((1, 2))) - 1) ** 2
    np.testing.assert_allclose(penalty(_quadratic, REAL, FAKE, KEY), expected.mean(), rtol=1e-5)
    shares = wasserstein_penalty().points(jnp.ones((4000, 1)), jnp.zeros((4000, 1)), KEY)
    np.testing.assert_allclose(jnp.sort(shares[:, 0]), np.linspace(0, 1, 4000), atol=0.03)  # uniform


def test_dragans_noise_has_half_of_the_datas_deviation():
    real = 5 + 3 * jax.random.normal(KEY, (2000, 2))
    noise = dragan().points(real, real, jax.random.key(1)) - real
    np.testing.assert_allclose((noise.mean(), noise.std()), (0, real.std() / 2), atol=0.05)


def _small_network(params, x):
    h = conv(x, params["kernel"], strides=2)
    h = jax.nn.leaky_relu(h, 0.2).reshape(x.shape[0], -1)
    return jnp.tanh(h @ params["hidden"]) @ params["out"]


@pytest.mark.slow_cases("dragan", "wasserstein")
@pytest.mark.parametrize("penalty", [wasserstein_penalty(3), r1(5), dragan(2)], ids=["wasserstein", "r1", "dragan"])
def test_derivatives_by_parameters_are_differences(penalty):
    """Through convolutions whose gradients are written out, too: in float64 by XLA's, and theirs are the same."""
    draw = np.random.default_rng(1).normal
    params = {"kernel": draw(0, 0.3, (4, 4, 2, 3)), "hidden": draw(0, 0.5, (12, 4)), "out": draw(size=4)}
    real, fake = draw(size=(2, 3, 4, 4, 2))

    def value(params):
        return penalty(lambda x: _small_network(params, x), *map(jnp.asarray, (real, fake)), KEY)

    with jax.enable_x64(True), plain():
        params = jax.tree.map(jnp.asarray, params)
        gradient = jax.device_get(jax.grad(value)(params))
        value_of = jax.jit(value)
        for name, leaf in params.items():
            direction = draw(size=leaf.shape)
            ahead, behind = ({**params, name: leaf + s * 1e-6 * direction} for s in (1, -1))
            slope = (value_of(ahead) - value_of(behind)) / 2e-6
            np.testing.assert_allclose((gradient[name] * direction).sum(), slope, rtol=1e-5, atol=1e-7)
    real, fake, single = jax.tree.map(np.float32, (real, fake, jax.device_get(params)))
    ours = jax.jit(jax.grad(value))(single)
    with plain():
        theirs = jax.jit(jax.grad(value))(single)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), ours, theirs)


def test_a_critic_that_says_nothing_has_a_finite_derivative():
    def value(scale):
        return wasserstein_penalty(1)(lambda x: scale * _linear(x), REAL, FAKE, KEY)

    assert (float(value(0.0)), float(jax.grad(value)(0.0))) == (1.0, 0.0)


def test_weights_that_are_traced_and_impossible_ones():
    values = jax.vmap(lambda w: wasserstein_penalty(w)(_linear, REAL, FAKE, KEY))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(values[1], 2 * values[0])
    for make in (wasserstein_penalty, r1, dragan):
        with pytest.raises(ValueError, match=r"must not be negative, infinite or NaN, got \{'weight': -1.0"):
            make(-1.0)
    with pytest.raises(ValueError, match="deviation"):
        dragan(deviation=float("nan"))
