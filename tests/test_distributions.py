"""Log-probabilities, divergences and entropies against SciPy, numeric integration, and sums over all outcomes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from gen_models import distributions as d
from tests.checked import unchecked

RNG = np.random.default_rng(0)
EVENT = (3, 2)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def test_bernoulli_log_prob():
    logits, x = normal(4, *EVENT), RNG.integers(0, 2, (4, *EVENT)).astype(np.float32)
    expected = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x).sum((1, 2))
    np.testing.assert_allclose(d.bernoulli_log_prob(x, logits), expected, rtol=1e-5)


@pytest.mark.parametrize("logit", [0.0, 1.0, 30.0, 200.0, 1e4, 1e30])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("x", [0.0, 1.0])
def test_bernoulli_is_exact_at_large_logits(logit, sign, x):
    logit = sign * logit
    value, grad = jax.value_and_grad(lambda logits: d.bernoulli_log_prob(jnp.full((1, 1), x), logits).sum())(
        jnp.full((1, 1), logit)
    )
    np.testing.assert_allclose(value, scipy.special.log_expit(logit if x else -logit), rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(grad, x - scipy.special.expit(logit), rtol=1e-5, atol=1e-7)


def test_categorical_log_prob():
    logits, labels = normal(5, *EVENT, 4), RNG.integers(0, 4, (5, *EVENT))
    log_p = scipy.special.log_softmax(logits, axis=-1)
    expected = [sum(log_p[b, i, j, labels[b, i, j]] for i in range(3) for j in range(2)) for b in range(5)]
    np.testing.assert_allclose(d.categorical_log_prob(labels, logits), expected, rtol=1e-5)


def test_a_label_that_is_no_class_gives_nan():
    out = d.categorical_log_prob(jnp.array([0, 2, 3, -1]), jnp.zeros((4, 3)))
    np.testing.assert_array_equal(np.isnan(out), [False, False, True, True])


def test_normal_log_prob():
    x, mu, log_sigma = normal(4, *EVENT), normal(4, *EVENT), normal(4, *EVENT)
    expected = scipy.stats.norm(mu, np.exp(log_sigma)).logpdf(x).sum((1, 2))
    np.testing.assert_allclose(d.normal_log_prob(x, mu, log_sigma), expected, rtol=1e-5)
    np.testing.assert_allclose(d.normal_log_prob(x), scipy.stats.norm.logpdf(x).sum((1, 2)), rtol=1e-5)
    shared = scipy.stats.norm(mu[0], np.exp(0.3)).logpdf(x).sum((1, 2))
    np.testing.assert_allclose(d.normal_log_prob(x, mu[0], 0.3), shared, rtol=1e-5)


def test_the_batch_axis_stays():
    x = normal(7)
    assert d.normal_log_prob(x).shape == d.bernoulli_log_prob(x, x).shape == d.normal_entropy(x).shape == (7,)


def integrated_kl(mu, sigma, mu_p, sigma_p):
    q, p = scipy.stats.norm(mu, sigma), scipy.stats.norm(mu_p, sigma_p)
    span = mu - 12 * sigma, mu + 12 * sigma
    return scipy.integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), *span)[0]


@pytest.mark.parametrize(("mu", "sigma", "mu_p", "sigma_p"), [(0.7, 0.5, 0.0, 1.0), (-1.0, 2.0, 0.5, 0.8)])
def test_normal_kl_is_the_integral(mu, sigma, mu_p, sigma_p):
    ours = d.normal_kl(jnp.array([[mu]]), jnp.log(jnp.array([[sigma]])), mu_p, np.log(sigma_p))
    np.testing.assert_allclose(ours, integrated_kl(mu, sigma, mu_p, sigma_p), rtol=1e-5)
    if (mu_p, sigma_p) == (0.0, 1.0):
        np.testing.assert_allclose(d.normal_kl(jnp.array([[mu]]), jnp.log(jnp.array([[sigma]]))), ours)


def test_normal_kl_sums_the_event_and_keeps_its_digits_near_zero():
    mu, log_sigma = normal(4, *EVENT), normal(4, *EVENT)
    one = [
        sum(integrated_kl(m, np.exp(s), 0, 1) for m, s in zip(mu[b].flat, log_sigma[b].flat, strict=True))
        for b in range(2)
    ]
    np.testing.assert_allclose(d.normal_kl(mu, log_sigma)[:2], one, rtol=1e-4)
    tiny = jnp.full((1, 1), 3e-4)  # KL(N(0, e^s) || N(0, 1)) = s^2 + O(s^3), of which e^2s - 1 would leave no digit
    np.testing.assert_allclose(d.normal_kl(jnp.zeros((1, 1)), tiny), 9e-8, rtol=2e-3)


def test_gaussian_kl():
    a, b = RNG.normal(size=(2, 3, 4, 4))
    cov_q, cov_p = a @ a.swapaxes(1, 2) + np.eye(4), b @ b.swapaxes(1, 2) + np.eye(4)
    mu_q, mu_p = RNG.normal(size=(2, 3, 4))
    expected = [
        0.5
        * (
            np.trace(np.linalg.solve(cov_p[i], cov_q[i]))
            + (mu_p[i] - mu_q[i]) @ np.linalg.solve(cov_p[i], mu_p[i] - mu_q[i])
            - 4
            + np.linalg.slogdet(cov_p[i])[1]
            - np.linalg.slogdet(cov_q[i])[1]
        )
        for i in range(3)
    ]
    args = [jnp.asarray(v, jnp.float32) for v in (mu_q, cov_q, mu_p, cov_p)]
    np.testing.assert_allclose(d.gaussian_kl(*args), expected, rtol=1e-4)
    assert np.isnan(d.gaussian_kl(args[0][0], -args[1][0], args[2][0], args[3][0]))


def test_gaussian_kl_is_the_expected_log_ratio():
    cov_q, cov_p = np.array([[2.0, 0.8], [0.8, 1.0]]), np.array([[1.0, -0.3], [-0.3, 0.5]])
    mu_q, mu_p = np.array([0.5, -1.0]), np.zeros(2)
    q, p = scipy.stats.multivariate_normal(mu_q, cov_q), scipy.stats.multivariate_normal(mu_p, cov_p)
    z = q.rvs(20000, random_state=0)
    ratio = q.logpdf(z) - p.logpdf(z)
    ours = float(d.gaussian_kl(*(jnp.asarray(v, jnp.float32) for v in (mu_q, cov_q, mu_p, cov_p))))
    assert abs(ours - ratio.mean()) < 4 * ratio.std() / np.sqrt(len(z))  # four standard errors


def test_gaussian_kl_agrees_with_the_diagonal_one():
    mu, s, mu_p, s_p = normal(4, 5, 3)
    diagonal = d.gaussian_kl(mu, jax.vmap(jnp.diag)(jnp.exp(2 * s)), mu_p, jax.vmap(jnp.diag)(jnp.exp(2 * s_p)))
    np.testing.assert_allclose(diagonal, d.normal_kl(mu, s, mu_p, s_p), rtol=1e-4)


def test_entropies():
    logits = normal(4, *EVENT)
    bernoulli = scipy.stats.bernoulli(scipy.special.expit(logits)).entropy().sum((1, 2))
    np.testing.assert_allclose(d.bernoulli_entropy(logits), bernoulli, rtol=1e-5)
    np.testing.assert_allclose(
        d.normal_entropy(logits), scipy.stats.norm(0, np.exp(logits)).entropy().sum((1, 2)), 1e-5
    )
    logits = normal(4, 3, 5)
    categorical = scipy.stats.entropy(scipy.special.softmax(logits, -1), axis=-1).sum(1)
    np.testing.assert_allclose(d.categorical_entropy(logits), categorical, rtol=1e-5)


def test_entropies_and_kls_at_certainty():
    certain = jnp.array([[0.0, -jnp.inf, -jnp.inf]])
    assert d.categorical_entropy(certain) == 0
    assert d.categorical_kl(certain, jnp.zeros((1, 3))) == pytest.approx(np.log(3))
    assert d.categorical_kl(jnp.zeros((1, 3)), certain) == np.inf
    extreme = jnp.array([[500.0, 0.0, -500.0]])
    assert np.isfinite(jax.grad(lambda logits: d.categorical_entropy(logits).sum())(extreme)).all()
    np.testing.assert_allclose(d.bernoulli_entropy(jnp.array([[1e4], [-1e4], [0.0]])), [0, 0, np.log(2)], rtol=1e-6)


def test_categorical_kl():
    q, p = normal(4, 3, 5), normal(4, 3, 5)
    expected = scipy.stats.entropy(scipy.special.softmax(q, -1), scipy.special.softmax(p, -1), axis=-1).sum(1)
    np.testing.assert_allclose(d.categorical_kl(q, p), expected, rtol=1e-4)
    np.testing.assert_allclose(d.categorical_kl(q, q), 0, atol=1e-6)
    uniform = 3 * np.log(5) - d.categorical_entropy(q)
    np.testing.assert_allclose(d.categorical_kl(q, jnp.zeros(5)), uniform, rtol=1e-4)


def test_mutual_information():
    joint = RNG.random((3, 4))
    joint[0, 1] = 0
    p = joint / joint.sum()
    expected = scipy.stats.entropy(p.sum(0)) + scipy.stats.entropy(p.sum(1)) - scipy.stats.entropy(p.ravel())
    np.testing.assert_allclose(d.mutual_information(joint), expected, rtol=1e-4)
    np.testing.assert_allclose(d.mutual_information(np.outer([1, 2, 3], [4, 5])), 0, atol=1e-6)  # independent, counts
    np.testing.assert_allclose(d.mutual_information(np.eye(4)), np.log(4), rtol=1e-6)  # one tells the other
    np.testing.assert_allclose(d.mutual_information(np.eye(4) * np.array([1, 0, 1, 0])), np.log(2), rtol=1e-6)
    assert np.isnan(d.mutual_information(np.zeros((2, 2)))) and np.isnan(d.mutual_information(np.eye(2) - 0.1))


@pytest.mark.usefixtures("unchecked")
def test_shapes_that_would_broadcast_silently_are_refused():
    with pytest.raises(ValueError, match=r"x has the shape \(4, 1\), but logits \(4, 3\)"):
        d.bernoulli_log_prob(jnp.zeros((4, 1)), jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="do not broadcast to the shape of x"):
        d.normal_log_prob(jnp.zeros((4, 1)), jnp.zeros((4, 3)))
    with pytest.raises(ValueError, match="logits need the labels' axes and one more"):
        d.categorical_log_prob(jnp.zeros((4,), int), jnp.zeros((4, 2, 3)))
    with pytest.raises(ValueError, match="table with two axes"):
        d.mutual_information(jnp.zeros(3))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("logit", [0.0, 1e-3, 1.0, 8.0, 20.0, 50.0, 1e4, np.inf])
@pytest.mark.parametrize("sign", [-1, 1])
def test_entropies_keep_their_digits_where_an_outcome_is_nearly_certain(logit, sign, dtype):
    """Against log-domain sums in float64; also half precision, whose numbers are exact and whose logarithms are not."""
    logits = jnp.full((1, 1), sign * logit, dtype)
    exact = np.float64(logits)[0, 0]
    p, q = scipy.special.expit(exact), scipy.special.expit(-exact)
    finite = np.clip(exact, -1e300, 1e300)
    want = -(p * scipy.special.log_expit(finite) + q * scipy.special.log_expit(-finite))
    got, slope = jax.value_and_grad(lambda x: d.bernoulli_entropy(x).sum())(logits)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-37)
    np.testing.assert_allclose(
        np.float64(slope), -finite * p * q, rtol=0.02 if dtype != jnp.float32 else 1e-5, atol=1e-7
    )
    if np.isfinite(logit):
        both = jnp.stack([logits, jnp.zeros_like(logits)], -1)
        np.testing.assert_allclose(d.categorical_entropy(both), want, rtol=2e-6, atol=1e-37)


def test_the_likeliest_class_keeps_its_digits():
    logits = RNG.normal(size=(5, 4)).astype(np.float32) * 3
    logits[:, 2] += 20
    labels = np.full(5, 2)
    want = scipy.special.log_softmax(np.float64(logits), -1)[:, 2]
    np.testing.assert_allclose(d.categorical_log_prob(labels, logits), want, rtol=1e-5)
    gradient = jax.grad(lambda x: d.categorical_log_prob(labels, x).sum())(logits)
    np.testing.assert_allclose(gradient, np.eye(4)[labels] - scipy.special.softmax(np.float64(logits), -1), atol=1e-6)
    ties = jax.grad(lambda x: d.categorical_log_prob(jnp.array([0]), x).sum())(jnp.zeros((1, 3)))
    np.testing.assert_allclose(ties, [[2 / 3, -1 / 3, -1 / 3]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_is_taken_to_single_first(dtype):
    x, mu, log_sigma = (jnp.asarray(normal(4, *EVENT), dtype) for _ in range(3))
    labels = jnp.zeros((4, 3), jnp.int32)
    bits = (x > 0).astype(dtype)
    for function, *arguments in (
        (d.bernoulli_log_prob, bits, mu),
        (d.normal_log_prob, x, mu, log_sigma),
        (d.normal_entropy, log_sigma),
        (d.normal_kl, mu, log_sigma),
        (d.categorical_log_prob, labels, mu),
        (d.categorical_entropy, mu),
    ):
        single = [a.astype(jnp.float32) if jnp.issubdtype(a.dtype, jnp.floating) else a for a in arguments]
        got = function(*arguments)
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, function(*single))


@pytest.mark.parametrize("log_sigma", [-50.0, -100.0, 50.0])
def test_scales_beyond_float32s_inverses_are_no_nan(log_sigma):
    at, scale = jnp.zeros((1, 1)), jnp.full((1, 1), log_sigma)
    want = -0.5 * np.log(2 * np.pi) - log_sigma
    np.testing.assert_allclose(d.normal_log_prob(at, at, scale), want, rtol=1e-6)
    np.testing.assert_allclose(d.normal_kl(at, scale, 0.0, log_sigma), 0, atol=1e-6)
    if log_sigma < 0:
        np.testing.assert_allclose(d.normal_kl(at, scale), -0.5 - log_sigma, rtol=1e-6)


def test_a_part_of_the_variables_counts_alone():
    x, logits = RNG.integers(0, 2, (4, *EVENT)).astype(np.float32), 50 * normal(4, *EVENT)
    where = RNG.integers(0, 2, (4, *EVENT)).astype(bool)
    each = np.where(x == 1, scipy.special.log_expit(np.float64(logits)), scipy.special.log_expit(-np.float64(logits)))
    np.testing.assert_allclose(d.bernoulli_log_prob(x, logits, where), (each * where).sum((1, 2)), rtol=1e-5)
    with unchecked(), pytest.raises(ValueError, match=r"but where \(4, 2\)"):
        d.bernoulli_log_prob(x, logits, where[:, 0])


def test_multinomial_against_scipy():
    logits, trials = normal(4, 3), 7
    p = scipy.special.softmax(logits.astype(np.float64), 1)
    counts = RNG.multinomial(trials, p)
    ours = d.multinomial_log_prob(counts, logits)
    expected = [scipy.stats.multinomial(trials, own / own.sum()).logpmf(c) for own, c in zip(p, counts, strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=2e-5)
    entropy = [scipy.stats.multinomial(trials, own / own.sum()).entropy() for own in p]
    np.testing.assert_allclose(d.multinomial_entropy(logits, trials), entropy, rtol=2e-5)
    one = d.multinomial_log_prob(np.eye(3)[[0, 2, 1, 0]], logits)  # a single trial is a categorical variable
    np.testing.assert_allclose(one, d.categorical_log_prob(np.array([0, 2, 1, 0]), logits), rtol=1e-5)
    np.testing.assert_allclose(d.multinomial_entropy(logits, 1), d.categorical_entropy(logits), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_multinomial_at_the_edges():
    certain = jnp.array([[0.0, -jnp.inf]])
    np.testing.assert_allclose(d.multinomial_log_prob(jnp.array([[3.0, 0.0]]), certain), 0, atol=1e-6)
    assert d.multinomial_log_prob(jnp.array([[2.0, 1.0]]), certain)[0] == -jnp.inf
    np.testing.assert_allclose(d.multinomial_entropy(certain, 5), 0, atol=1e-5)
    assert np.isnan(d.multinomial_log_prob(jnp.array([[1.5, 0.5]]), jnp.zeros((1, 2)))).all()
    assert np.isnan(d.multinomial_log_prob(jnp.array([[-1.0, 2.0]]), jnp.zeros((1, 2)))).all()
    with pytest.raises(ValueError, match="they must be equal"):
        d.multinomial_log_prob(jnp.ones((2, 3)), jnp.ones((2, 2)))
    with pytest.raises(ValueError, match="trials must be 1 or more, got 0"):
        d.multinomial_entropy(jnp.ones((1, 2)), 0)


def test_samples_are_drawn_from_their_distributions():
    """Tests of fit at a level of 1e-4, of one seed: chi-squared of counts, Kolmogorov-Smirnov of normals."""
    keys = jax.random.split(jax.random.key(0), 4)
    n, logits = 4000, jnp.array([0.5, -1.0, 1.5])
    p = scipy.special.softmax(np.asarray(logits, np.float64))
    ones = np.asarray(d.bernoulli_sample(keys[0], jnp.full(n, -1.0))).sum()
    assert scipy.stats.binomtest(int(ones), n, scipy.special.expit(-1.0)).pvalue > 1e-4
    drawn = np.asarray(d.categorical_sample(keys[1], jnp.tile(logits, (n, 1))))
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=3), n * p).pvalue > 1e-4
    counts = np.asarray(d.multinomial_sample(keys[2], jnp.tile(logits, (n // 4, 1)), 4))
    assert (counts.sum(1) == 4).all()
    for count in range(3):  # each is binomial
        expected = scipy.stats.binom(4, p[count]).pmf(range(5)) * len(counts)
        assert scipy.stats.chisquare(np.bincount(counts[:, count].astype(int), minlength=5), expected).pvalue > 1e-4
    normals = np.asarray(d.normal_sample(keys[3], jnp.full(n, 2.0), -0.5))
    assert scipy.stats.kstest(normals, scipy.stats.norm(2, np.exp(-0.5)).cdf).pvalue > 1e-4
