"""Active units, mutual information and KL by dimension of codes whose joint distribution with x is normal."""

import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.measures.latent_use import LatentUse
from tests.measured import KEY, caught, figures_of, split_of, trained_of

SIGMA = 0.4


def code_of(scale, sigma):
    """q(z|x) = N(scale x, sigma), dimension by dimension."""
    scale, log_sigma = jnp.asarray(scale), jnp.log(jnp.asarray(sigma))
    return lambda params, stats, x, **label: (x * scale, jnp.broadcast_to(log_sigma, x.shape))


def test_mutual_information_is_that_of_a_linear_channel():
    """I = sum_j log(1 + scale_j^2 / sigma_j^2) / 2 for x ~ N(0, 1); the aggregate over 5,000 examples knows x well."""
    x = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
    found = figures_of(LatentUse(), trained_of(encode=code_of((1.0, 0.5), (SIGMA, 1.0))), split_of({"x": x}))
    exact = 0.5 * np.log(1 + 1 / SIGMA**2) + 0.5 * np.log(1 + 0.25)
    information = found["mutual information"]
    assert information.value == pytest.approx(exact, abs=4 * information.spread + 0.03)
    assert information.spread < 0.05 and information.unit == "nats/image" and "at most 8.52" in information.note
    assert found["active units"].value == 2


def test_a_collapsed_posterior_has_no_active_unit_and_tells_nothing():
    x = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    found = figures_of(
        LatentUse(draws=200), trained_of(encode=code_of((0.0, 0.05, 0.2), (1.0, 1.0, 1.0))), split_of({"x": x})
    )
    assert found["active units"].value == 1  # 0.05^2 is below the threshold, 0.2^2 above
    nothing = figures_of(LatentUse(), trained_of(encode=code_of((0.0,) * 3, (1.0,) * 3)), split_of({"x": x}))
    assert nothing["mutual information"].value == pytest.approx(0, abs=1e-6)


def test_mutual_information_is_never_more_than_the_examples_can_be_told_apart():
    x = np.arange(16, dtype=np.float32)[:, None]
    found = figures_of(LatentUse(), trained_of(encode=code_of((100.0,), (0.01,))), split_of({"x": x}))
    assert found["mutual information"].value == pytest.approx(np.log(16), rel=1e-6)


def test_kl_by_dimension_is_drawn_the_largest_first(tmp_path, monkeypatch):
    x = np.random.default_rng(1).normal(size=(300, 2)).astype(np.float32)
    drawn = caught(monkeypatch, "lines")
    LatentUse().draw(trained_of(encode=code_of((0.1, 1.0), (1.0, SIGMA))), split_of({"x": x}), KEY, tmp_path)
    (series, path), _ = drawn[0]
    second, first = (
        0.5 * ((x[:, j] * m) ** 2 + s**2 - 1).mean() - np.log(s) for j, (m, s) in enumerate(((0.1, 1), (1, SIGMA)))
    )
    np.testing.assert_allclose(series["KL"], [first, second], rtol=1e-4)
    assert path == tmp_path / "kl_by_dimension.png"


def test_a_conditional_model_is_told_the_class():
    x, y = np.zeros((8, 1), np.float32), np.arange(8) % 4
    encode = lambda params, stats, x, label: (label[:, None].astype(float), jnp.full(x.shape, -9.0))  # noqa: E731
    found = figures_of(
        LatentUse(conditional=True), trained_of(encode=encode), split_of({"x": x, "y": y}, num_classes=4)
    )
    assert found["mutual information"].value == pytest.approx(np.log(4), abs=1e-5)
