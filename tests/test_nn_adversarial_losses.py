"""Losses of two players: closed forms of values and gradients, and what the best discriminator reaches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from gen_models.nn import adversarial_losses
from gen_models.nn.adversarial_losses import (
    feature_matching,
    hinge,
    least_squares,
    minimax,
    non_saturating,
    wasserstein,
)

RNG = np.random.default_rng(0)
REAL, FAKE = (jnp.asarray(RNG.normal(0, 2, size=n), jnp.float32) for n in (5, 7))
# of 8 examples: counts at each of four points
P, Q = np.array([4, 3, 1, 0]), np.array([1, 1, 2, 4])
ON_REAL, ON_FAKE = np.repeat(np.arange(4), P), np.repeat(np.arange(4), Q)

LOSSES = {  # loss -> value and derivative for one real logit, for one fake one, and the generator's for one fake one
    "minimax": (
        minimax(),
        (lambda r: np.logaddexp(0, -r), lambda r: expit(r) - 1),
        (lambda f: np.logaddexp(0, f), lambda f: expit(f)),
        (lambda f: -np.logaddexp(0, f), lambda f: -expit(f)),
    ),
    "non_saturating": (
        non_saturating(0.1),
        (lambda r: 0.9 * np.logaddexp(0, -r) + 0.1 * np.logaddexp(0, r), lambda r: expit(r) - 0.9),
        (lambda f: np.logaddexp(0, f), lambda f: expit(f)),
        (lambda f: np.logaddexp(0, -f), lambda f: expit(f) - 1),
    ),
    "wasserstein": (
        wasserstein(),
        (lambda r: -r, lambda r: -np.ones_like(r)),
        (lambda f: f, lambda f: np.ones_like(f)),
        (lambda f: -f, lambda f: -np.ones_like(f)),
    ),
    "hinge": (
        hinge(),
        (lambda r: np.maximum(0, 1 - r), lambda r: -1.0 * (r < 1)),
        (lambda f: np.maximum(0, 1 + f), lambda f: 1.0 * (f > -1)),
        (lambda f: -f, lambda f: -np.ones_like(f)),
    ),
    "least_squares": (
        least_squares(-1, 1, 0.5),
        (lambda r: (r - 1) ** 2 / 2, lambda r: r - 1),
        (lambda f: (f + 1) ** 2 / 2, lambda f: f + 1),
        (lambda f: (f - 0.5) ** 2 / 2, lambda f: f - 0.5),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_gradients_are_closed_forms(name):
    loss, on_real, on_fake, generator = LOSSES[name]
    r, f = np.float64(REAL), np.float64(FAKE)
    value, (by_real, by_fake) = jax.value_and_grad(loss.discriminator, argnums=(0, 1))(REAL, FAKE)
    np.testing.assert_allclose(value, on_real[0](r).mean() + on_fake[0](f).mean(), rtol=1e-5)
    np.testing.assert_allclose(by_real, on_real[1](r) / len(r), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(by_fake, on_fake[1](f) / len(f), rtol=1e-4, atol=1e-7)
    value, gradient = jax.value_and_grad(loss.generator)(FAKE)
    np.testing.assert_allclose(value, generator[0](f).mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, generator[1](f) / len(f), rtol=1e-4, atol=1e-7)


def test_what_is_logged():
    for loss in (minimax(), non_saturating()):
        found = loss.metrics(REAL, FAKE)
        np.testing.assert_allclose(found["real_probability"], expit(np.float64(REAL)).mean(), rtol=1e-5)
        np.testing.assert_allclose(found["fake_probability"], expit(np.float64(FAKE)).mean(), rtol=1e-5)
    np.testing.assert_allclose(wasserstein().metrics(REAL, FAKE)["wasserstein"], REAL.mean() - FAKE.mean(), rtol=1e-5)
    assert hinge().metrics(REAL, FAKE) == least_squares().metrics(REAL, FAKE) == {}


def _loss_of_table(loss, table):
    return loss.discriminator(table[ON_REAL], table[ON_FAKE])


def test_the_best_discriminator_of_known_distributions():
    """Goodfellow et al., theorem 1: D* = p / (p + q), where the value is -log 4 + 2 JSD(p, q)."""
    best = P / (P + Q)
    m = (P + Q) / 16
    jsd = 0.5 * sum(w / 8 * np.log(w / 8 / m) for w, m in zip(P[:3], m[:3], strict=True))
    jsd += 0.5 * (Q / 8 * np.log(Q / 8 / m)).sum()
    table = jnp.asarray(np.log(best.clip(1e-12)) - np.log(1 - best), jnp.float32)  # logits of D* at each of four points
    np.testing.assert_allclose(-_loss_of_table(minimax(), table), -np.log(4) + 2 * jsd, rtol=1e-5)
    np.testing.assert_allclose(jax.grad(lambda table: _loss_of_table(minimax(), table))(table), 0, atol=1e-6)
    for _ in range(5):  # and it is the best
        moved = table + RNG.normal(0, 0.5, size=4)
        assert _loss_of_table(minimax(), moved) > _loss_of_table(minimax(), table)
    np.testing.assert_allclose(-minimax().discriminator(jnp.zeros(8), jnp.zeros(8)), -np.log(4), rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.4])
@pytest.mark.parametrize("make", [minimax, non_saturating])
def test_smoothing_draws_the_best_discriminator_to_its_share(make, smoothing):
    """Salimans et al. (2016), section 3.4: D* = (1 - s) p / (p + q), with a target of 1 - s for real examples."""
    best = (1 - smoothing) * P[:3] / (P + Q)[:3]
    table = jnp.asarray([*np.log(best / (1 - best)), -40], jnp.float32)
    gradient = jax.grad(lambda table, s: _loss_of_table(make(s), table))
    np.testing.assert_allclose(gradient(table, smoothing), 0, atol=1e-6)
    np.testing.assert_allclose(jax.jit(gradient)(table, smoothing), 0, atol=1e-6)  # a traced share


def test_the_best_discriminator_of_least_squares():
    """Mao et al. (2017), eq. 5: (b p + a q) / (p + q); then the generator's value is half Pearson's chi-squared."""
    table = jnp.asarray((P - Q) / (P + Q), jnp.float32)
    loss = least_squares(-1, 1, 0)
    np.testing.assert_allclose(jax.grad(lambda table: _loss_of_table(loss, table))(table), 0, atol=1e-6)
    p, q = P / 8, Q / 8
    both = loss.generator(table[ON_REAL]) + loss.generator(table[ON_FAKE])  # eq. 6: of data, too
    np.testing.assert_allclose(both, (((p + q) - 2 * q) ** 2 / (p + q)).sum() / 2, rtol=1e-5)


def test_the_best_critic_of_the_hinge_estimates_total_variation():
    """Lim & Ye (2017): where it is sign(p - q) the discriminator's loss is 2 - |p - q|_1, and no lower one is there."""
    table = jnp.asarray(np.sign(P - Q), jnp.float32)
    value = _loss_of_table(hinge(), table)
    np.testing.assert_allclose(value, 2 - np.abs(P - Q).sum() / 8, rtol=1e-6)
    for _ in range(5):
        assert _loss_of_table(hinge(), table + RNG.normal(0, 0.5, size=4)) > value


def test_features_with_the_same_means_match():
    features = jnp.asarray(RNG.normal(size=(6, 4)), jnp.float32)
    np.testing.assert_allclose(feature_matching(features, features[::-1]), 0, atol=1e-12)
    moved = features[:3] + jnp.array([0.0, 1.0, 2.0, 0.0])
    expected = np.square(np.mean(features, 0) - np.mean(moved, 0)).sum()
    np.testing.assert_allclose(feature_matching(features, moved), expected, rtol=1e-5)


def test_the_generators_gradients_at_the_logits():
    """d/dl log(1 - D) = -D and d/dl -log D = -(1 - D): of one sign; the first vanishes where D is sure of a fake."""
    logits = jnp.array([-30.0, -2.0, 0.0, 1.0, 30.0])
    saturating, other = (5 * jax.grad(loss.generator)(logits) for loss in (minimax(), non_saturating()))
    np.testing.assert_allclose(saturating, other * np.exp(logits), rtol=1e-4)
    assert saturating[2] == other[2]  # the same at the equilibrium, D = 1/2
    assert abs(saturating[0]) < 1e-12 and abs(other[0]) > 0.99
    sure = np.log1p(-expit(np.float64(logits[:-1]))).sum() / 5 - 30 / 5
    np.testing.assert_allclose(minimax().generator(logits), sure, rtol=1e-5)


def test_minimax_is_a_zero_sum_game():
    """The generator's gradient is minus the discriminator's, for the same fakes."""
    ours = jax.grad(minimax().generator)(FAKE)
    np.testing.assert_allclose(ours, -jax.grad(minimax().discriminator, argnums=1)(REAL, FAKE), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minimax(1.0), r"smoothing must be in \[0, 1\), got 1.0"),
        (lambda: non_saturating(-0.1), r"smoothing must be in \[0, 1\), got -0.1"),
        (lambda: least_squares(1.0, 1.0), "need different targets, got fake=1.0"),
        (lambda: least_squares(target=float("nan")), "targets must be finite, got {'target': nan}"),
    ],
)
def test_impossible_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_loss_is_tested():
    made = {
        name for name, value in vars(adversarial_losses).items() if getattr(value, "__module__", "").endswith("losses")
    }
    assert set(LOSSES) == {n for n in made if not n.startswith("_")} - {"AdversarialLoss", "feature_matching"}
