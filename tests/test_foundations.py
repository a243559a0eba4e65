"""Closed forms of the foundations: normalisations, bias and variance, regularisers, sawteeth, many dimensions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from gen_models.core import Model
from gen_models.evaluation import high_dimensions as high
from gen_models.evaluation.bias_variance import decompose, of_least_squares
from gen_models.models.adversarial.gan import gan
from gen_models.models.regularised import early_stopped, noisy_inputs, penalised
from gen_models.models.supervised.fully_connected import fully_connected, sawtooth_params
from gen_models.models.supervised.normalised import log_normalised, normalised

RNG = np.random.default_rng(0)


def test_normalisations_and_their_slopes_are_the_docstrings():
    z = np.array([[0.7, 2.0, 0.4], [1.5, 0.2, 0.9]], np.float32)
    total = z.sum(1, keepdims=True)
    p = scipy.special.softmax(z, 1)
    one = np.eye(3)[[1, 1]]
    expected = {
        "softmax": (p, p - one),
        "plain": (z / total, 1 / total - one / z),
        "absolute": (z / total, 1 / total - one / z),
        "squares": (z**2 / (z**2).sum(1, keepdims=True), 2 * z / (z**2).sum(1, keepdims=True) - 2 * one / z),
    }
    slopes = jax.jit(jax.grad(lambda z, name: -log_normalised(z, name)[:, 1].sum()), static_argnums=1)
    for name, (shares, slope) in expected.items():
        np.testing.assert_allclose(np.exp(log_normalised(z, name)), shares, rtol=1e-5)
        np.testing.assert_allclose(slopes(z, name), slope, rtol=1e-4, atol=1e-6)
    soft = np.log1p(np.exp(z.astype(np.float64)))
    np.testing.assert_allclose(np.exp(log_normalised(z, "softplus")), soft / soft.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(log_normalised(z + 5, "softmax"), log_normalised(z, "softmax"), atol=1e-5)
    for name in ("plain", "absolute", "squares"):
        np.testing.assert_allclose(log_normalised(5 * z, name), log_normalised(z, name), atol=1e-5)
    assert np.isnan(log_normalised(np.array([[-1.0, 3.0]]), "plain")).all()
    assert np.isfinite(log_normalised(np.array([[-1.0, 3.0]]), "absolute")).all()


def test_a_normalised_classifier_has_the_loss_of_its_probabilities():
    model = normalised(fully_connected((3,), 4, hidden=()), 4, "softmax")
    batch = {"x": RNG.normal(size=(5, 3)).astype(np.float32), "y": np.array([0, 3, 1, 1, 2], np.int32)}
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    log_p = np.asarray(model.apply(params, stats, batch["x"]))
    value, (_, metrics) = model.loss(params, stats, batch, jax.random.key(0), step=0)
    assert float(value) == pytest.approx(-log_p[range(5), batch["y"]].mean(), rel=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx((log_p.argmax(1) == batch["y"]).mean())


def test_bias_and_variance_of_least_squares():
    """In closed form against 4,000 data sets, and the variance at the inputs themselves, sigma^2 p / m."""
    x, at, sigma = np.linspace(-1, 1, 12), np.linspace(-0.9, 0.9, 7), 0.4
    features, points = (np.vander(each, 4) for each in (x, at))
    own = of_least_squares(features, np.sin(4 * x), features, np.sin(4 * x), sigma=sigma)
    assert own.variance == pytest.approx(sigma**2 * 4 / 12)
    for ridge in (0.0, 0.5):
        exact = of_least_squares(features, np.sin(4 * x), points, np.sin(4 * at), sigma=sigma, ridge=ridge)
        y = np.sin(4 * x) + sigma * RNG.standard_normal((4000, 12))
        fits = np.linalg.solve(features.T @ features + ridge * np.eye(4), features.T @ y.T)
        found = decompose((points @ fits).T, np.sin(4 * at))
        assert found.variance == pytest.approx(exact.variance, rel=0.05)
        assert found.bias_squared == pytest.approx(exact.bias_squared, rel=0.05)
    few = [decompose(RNG.standard_normal((5, 9)), np.zeros(9)).bias_squared for _ in range(2000)]
    assert abs(np.mean(few)) < 4 * np.std(few) / np.sqrt(2000)  # unbiased: five sets alone would give 1/5


def test_penalties_are_those_of_kernels_and_of_training_alone():
    own = fully_connected((2,), 1, hidden=(3,), answer="numbers")
    batch = {"x": RNG.normal(size=(4, 2)).astype(np.float32), "y": np.ones(4, np.float32)}
    params = jax.tree.map(lambda leaf: leaf + 0.1, jax.jit(own.init)(jax.random.key(0), batch)[0])
    model, key = penalised(own, l1=0.5, l2=0.25), jax.random.key(0)
    plain = float(own.loss(params, {}, batch, key, step=0)[0])
    kernels = np.concatenate([np.ravel(params[layer]["kernel"]) for layer in ("Dense_0", "logits")])
    expected = plain + 0.5 * np.abs(kernels).sum() + 0.125 * (kernels**2).sum()
    assert float(model.loss(params, {}, batch, key, step=0)[0]) == pytest.approx(expected, rel=1e-5)
    assert float(model.loss(params, {}, batch, key, step=0, train=False)[0]) == pytest.approx(plain, rel=1e-5)
    noisy = noisy_inputs(own, 0.3)
    assert float(noisy.loss(params, {}, batch, key, step=0)[0]) != pytest.approx(plain, rel=1e-5)
    assert float(noisy.loss(params, {}, batch, key, step=0, train=False)[0]) == pytest.approx(plain, rel=1e-5)


def test_early_stopping_keeps_the_parameters_of_the_least_held_out_loss():
    """A line through 0 is moved by hand past the slope that the held-out point asks for."""
    model = early_stopped(fully_connected((1,), 1, hidden=(), answer="numbers"))
    one = np.ones((1, 1), np.float32)
    batch = {"x": one, "y": 5 * one, "held_x": one, "held_y": 2 * one}
    params, stats = model.init(jax.random.key(0), batch)
    step = jax.jit(lambda params, stats: model.loss(params, stats, batch, jax.random.key(0), step=0)[1][0])
    for slope in (0.0, 1.5, 1.9, 2.5, 4.0, 1.0):
        params = {"logits": {"kernel": jnp.full((1, 1), slope), "bias": jnp.zeros(1)}}
        stats = step(params, stats)
    assert float(stats["cost"]) == pytest.approx(0.01, rel=1e-3)
    assert float(model.apply(params, stats, one)[0, 0]) == pytest.approx(1.9, rel=1e-6)

    def counted(params, stats, batch, key, *, step, train=True):
        return ((params * batch["x"] - batch["y"]) ** 2).mean(), ({"steps": stats["steps"] + train}, {})

    counting = Model(lambda key, batch: (jnp.zeros(()), {"steps": 0}), counted, apply=lambda p, s, x: (p, s["steps"]))
    stopped = early_stopped(counting)
    _, stats = stopped.init(None, batch)
    for slope in (0.0, 1.9, 4.0, 5.0):
        _, (stats, _) = stopped.loss(jnp.asarray(slope), stats, batch, None, step=0)
    assert stats["own"] == {"steps": 4}
    assert stopped.apply(None, stats, one) == (pytest.approx(1.9), 1)  # the statistics, too, are those of that step
    with pytest.raises(ValueError, match="early stopping needs held-out examples"):
        model.init(jax.random.key(0), {"x": one, "y": one})


def test_layers_of_two_units_are_a_sawtooth():
    x = np.linspace(0, 1, 257, dtype=np.float32)
    for layers in (1, 3, 5):
        model = fully_connected((1,), 1, hidden=(2,) * layers, answer="numbers")
        teeth = 2 ** (layers - 1)
        expected = 1 - np.abs(x * teeth % 1 * 2 - 1)
        np.testing.assert_allclose(model.apply(sawtooth_params(layers), {}, x[:, None])[:, 0], expected, atol=1e-6)


def test_silvermans_table():
    """Density Estimation (1986), table 4.2, which has three digits."""
    printed = [4, 19, 67, 223, 768, 2790, 10700, 43700, 187000, 842000]
    found = [high.examples_needed(size) for size in range(1, 11)]
    assert [float(f"{each:.3g}") for each in found] == printed


def test_a_density_error_is_that_of_simulation():
    count, size, bandwidth = 50, 2, 0.6
    x = RNG.standard_normal((20_000, count, size))
    estimate = scipy.stats.norm(0, bandwidth).pdf(x).prod(-1).mean(1)
    truth = (2 * np.pi) ** (-size / 2)
    simulated = ((estimate - truth) ** 2).mean() / truth**2
    assert high.density_error(size, count, bandwidth) == pytest.approx(simulated, rel=0.05)


def test_volumes_and_norms():
    assert high.ball_in_cube(2) == pytest.approx(np.pi / 4)
    assert high.ball_in_cube(3) == pytest.approx(np.pi / 6)
    assert high.shell_of_ball(3, 0.5) == pytest.approx(7 / 8)
    for size in (1, 4, 100):
        mean, deviation = high.norm_of_normal(size)
        assert (mean, deviation) == pytest.approx((scipy.stats.chi(size).mean(), scipy.stats.chi(size).std()))
        radius = np.linspace(0, 1, 20_001)
        by_parts = np.trapezoid((1 - radius**size) ** 30, radius)  # the mean of R is the integral of P(R > r)
        assert high.nearest_distance(size, 30) == pytest.approx(by_parts, rel=1e-3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: log_normalised(np.ones((1, 2)), "soft"), "did you mean 'softmax'"),
        (lambda: normalised(fully_connected(), 2, "soft"), "did you mean 'softmax'"),
        (lambda: decompose(np.ones((1, 3)), np.ones(3)), "2 or more data sets"),
        (lambda: of_least_squares(np.ones((3, 1)), np.ones(3), np.ones((2, 1)), np.ones(2), sigma=-1.0), "sigma=-1.0"),
        (lambda: penalised(fully_connected(), l1=-1.0), "l1 must not be negative"),
        (lambda: noisy_inputs(gan(), 0.1), "several players"),
        (lambda: sawtooth_params(0), "layers=0"),
        (lambda: high.ball_in_cube(0), "dimensions=0"),
        (lambda: high.shell_of_ball(2, 1.5), "thickness must be in"),
        (lambda: high.density_error(1, 5, 0.0), "bandwidth must be positive"),
        (lambda: high.examples_needed(1, 0.0), "error must be positive"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
