"""Log-probabilities, Kullback-Leibler divergences, entropies, mutual information in nats, and samples.

The leading axis is the batch and stays; all other axes are one event and are summed, so `[B, ...]` gives `[B]`.
Scales are given as log sigma and probabilities as logits, which no parameter value can make invalid. Half precision is
taken to float32 first: what comes out is float32, or float64 where something of it goes in.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float, Int, Real

_LOG_2PI = math.log(2 * math.pi)


def bernoulli_log_prob(
    x: Float[Array, "b *event"], logits: Float[Array, "b *event"], where: Bool[Array, "b *event"] | None = None
) -> Float[Array, "b"]:
    """log p(x) of independent binary variables, [B] nats; exact and with exact gradients at any finite logit.

    For x within (0, 1) this is minus the cross-entropy, which is not the logarithm of a normalised density.

    Args:
      x: the variables, 0 or 1.
      logits: of each.
      where: which of them count; None: all.

    Raises:
      ValueError: the shapes differ.
    """
    for name, other in (("logits", logits), ("where", x if where is None else where)):
        if jnp.shape(x) != jnp.shape(other):
            raise ValueError(f"x has the shape {jnp.shape(x)}, but {name} {jnp.shape(other)}: they must be equal")
    x, logits = _wide(x, logits)
    if where is None:
        return _sum_of(_bernoulli, x, logits)
    return _sum_of(lambda x, logits, where: jnp.where(where, _bernoulli(x, logits), 0), x, logits, where)


@jax.custom_jvp
def _bernoulli(x: Array, logits: Array) -> Array:
    """log p of each variable: not x l - log(1 + e^l), which cancels for large l; one logarithm, where two would do."""
    return jnp.where(logits > 0, (x - 1) * logits, x * logits) - jnp.log1p(jnp.exp(-jnp.abs(logits)))


@_bernoulli.defjvp
def _bernoulli_jvp(primals, tangents):  # not x - sigmoid(l), which cancels too; nor through |l|, which has a kink at 0
    (x, logits), (x_tangent, tangent) = primals, tangents
    slope = x * jax.nn.sigmoid(-logits) - (1 - x) * jax.nn.sigmoid(logits)
    return _bernoulli(x, logits), x_tangent * logits + tangent * slope


def bernoulli_entropy(logits: Float[Array, "b *event"]) -> Float[Array, "b"]:
    """Entropy of independent binary variables, [B] nats."""
    (logits,) = _wide(logits)
    return _sum_of(_entropy, logits)


@jax.custom_jvp
def _entropy(logits: Array) -> Array:
    """Of each variable, from terms that are both positive: log(1 + e^-|l|) + |l| sigmoid(-|l|); 0 at infinite ones."""
    size = jnp.minimum(jnp.abs(logits), jnp.finfo(logits.dtype).max)
    return jnp.log1p(jnp.exp(-size)) + size * jax.nn.sigmoid(-size)


@_entropy.defjvp
def _entropy_jvp(primals, tangents):
    (logits,), (tangent,) = primals, tangents
    size = jnp.minimum(jnp.abs(logits), jnp.finfo(logits.dtype).max)
    return _entropy(logits), -tangent * jnp.sign(logits) * size * jax.nn.sigmoid(size) * jax.nn.sigmoid(-size)


def categorical_log_prob(labels: Int[Array, "b *event"], logits: Float[Array, "b *event k"]) -> Float[Array, "b"]:
    """log p(labels) of independent categorical variables over the last axis of `logits`, [B] nats.

    A label outside 0..K-1 gives NaN rather than another class's probability.

    Raises:
      ValueError: `logits` is not the shape of `labels` plus one axis.
    """
    if jnp.shape(labels) != jnp.shape(logits)[:-1]:
        raise ValueError(
            f"labels have the shape {jnp.shape(labels)}, but logits {jnp.shape(logits)}: "
            "logits need the labels' axes and one more, over the classes"
        )
    log_p = _log_softmax(*_wide(logits))
    classes = logits.shape[-1]
    picked = jnp.take_along_axis(log_p, jnp.clip(labels, 0, classes - 1)[..., None], axis=-1)[..., 0]
    return _sum_event(jnp.where((labels >= 0) & (labels < classes), picked, jnp.nan))


def categorical_entropy(logits: Float[Array, "b *event k"]) -> Float[Array, "b"]:
    """Entropy of independent categorical variables, [B] nats; a logit of -inf is a class of probability 0."""
    log_p = _log_softmax(*_wide(logits))
    p = jnp.exp(log_p)
    return -_sum_event((p * jnp.where(p > 0, log_p, 0.0)).sum(-1))


def _log_softmax(logits: Array) -> Array:
    """As `jax.nn.log_softmax`, with the digits of the likeliest class: -log(1 + the others), not of a sum near 1."""
    most = jnp.argmax(logits, -1, keepdims=True)
    above = logits - jnp.take_along_axis(logits, most, -1)
    others = jnp.where(jnp.arange(logits.shape[-1]) == most, 0, jnp.exp(above)).sum(-1, keepdims=True)
    return above - jnp.log1p(others)


def categorical_kl(logits: Float[Array, "b *event k"], logits_p: Float[Array, "*prior k"]) -> Float[Array, "b"]:
    """KL(q || p) of independent categorical variables, [B] nats; `logits_p` may broadcast against `logits` of q.

    Infinite where q has a class that p has not.
    """
    log_q, log_p = jax.nn.log_softmax(logits), jax.nn.log_softmax(logits_p)
    q = jnp.exp(log_q)
    return _sum_event((q * jnp.where(q > 0, log_q - log_p, 0.0)).sum(-1))


def multinomial_log_prob(counts: Real[Array, "b *event k"], logits: Float[Array, "b *event k"]) -> Float[Array, "b"]:
    """log p(counts) of independent multinomial variables over the last axis, [B] nats.

    The number of trials is the counts' sum. Counts that are negative or no whole numbers give NaN; a class that was
    drawn and has a logit of -inf gives -inf.

    Raises:
      ValueError: the shapes differ.
    """
    if jnp.shape(counts) != jnp.shape(logits):
        raise ValueError(
            f"counts have the shape {jnp.shape(counts)}, but logits {jnp.shape(logits)}: they must be equal"
        )
    counts, logits = _wide(counts, logits)
    log_p = _log_softmax(logits)
    ways = gammaln(counts.sum(-1) + 1) - gammaln(counts + 1).sum(-1)
    value = ways + jnp.where(counts > 0, counts * log_p, 0.0).sum(-1)
    valid = ((counts >= 0) & (counts == jnp.round(counts))).all(-1)
    return _sum_event(jnp.where(valid, value, jnp.nan))


def multinomial_entropy(logits: Float[Array, "b *event k"], trials: int) -> Float[Array, "b"]:
    """Entropy of independent multinomial variables of `trials` draws, [B] nats, exact; time and memory grow as trials.

    log n! comes off a sum over counts: H = -log n! + n H(p) + sum_k E[log c_k!], where c_k is binomial.

    Raises:
      ValueError: `trials` is below 1.
    """
    if trials < 1:
        raise ValueError(f"trials must be 1 or more, got {trials}")
    (logits,) = _wide(logits)
    log_p = _log_softmax(logits)
    log_rest = jnp.log(-jnp.expm1(jnp.minimum(log_p, 0.0)))  # log(1 - p), -inf where a class is certain
    count = jnp.arange(trials + 1, dtype=logits.dtype)
    factorials = gammaln(count + 1)

    def times(count, log):  # 0 log 0 is 0
        return jnp.where(count > 0, count * jnp.where(count > 0, log[..., None], 0.0), 0.0)

    ways = factorials[-1] - factorials - factorials[::-1]
    binomial = jnp.exp(ways + times(count, log_p) + times(trials - count, log_rest))
    expected = (binomial * factorials).sum(-1)  # [..., K]
    p = jnp.exp(log_p)
    own = -(p * jnp.where(p > 0, log_p, 0.0)).sum(-1)
    return _sum_event(trials * own - factorials[-1] + expected.sum(-1))


def bernoulli_sample(key: Any, logits: Float[Array, "*event"]) -> Float[Array, "*event"]:
    """0 or 1 for each logit; to draw n times, give logits [n, ...]."""
    (logits,) = _wide(logits)
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)


def categorical_sample(key: Any, logits: Float[Array, "*event k"]) -> Int[Array, "*event"]:
    """A class in 0..K-1 for each row of logits; a logit of -inf is never drawn."""
    (logits,) = _wide(logits)
    return jax.random.categorical(key, logits)


def multinomial_sample(key: Any, logits: Float[Array, "*event k"], trials: int) -> Float[Array, "*event k"]:
    """How often each class comes in `trials` draws.

    Raises:
      ValueError: `trials` is below 1.
    """
    if trials < 1:
        raise ValueError(f"trials must be 1 or more, got {trials}")
    (logits,) = _wide(logits)
    return jax.random.multinomial(key, jnp.full(logits.shape[:-1], float(trials)), jax.nn.softmax(logits))


def normal_sample(
    key: Any, mu: Float[Array, "*event"], log_sigma: Float[Array, "*event"] | float = 0.0
) -> Float[Array, "*event"]:
    """mu + sigma e with e standard normal: gradients reach both (Kingma & Welling, 2014, section 2.4)."""
    mu, log_sigma = _wide(mu, log_sigma)
    shape = jnp.broadcast_shapes(mu.shape, log_sigma.shape)
    return mu + jnp.exp(log_sigma) * jax.random.normal(key, shape, mu.dtype)


def normal_log_prob(
    x: Float[Array, "b *event"],
    mu: Float[Array, "*params"] | float = 0.0,
    log_sigma: Float[Array, "*params"] | float = 0.0,
) -> Float[Array, "b"]:
    """log density of a diagonal normal, [B] nats; `mu` and `log_sigma` may broadcast against x, standard by default.

    Raises:
      ValueError: the parameters do not broadcast to x's shape.
    """
    shapes = jnp.shape(x), jnp.shape(mu), jnp.shape(log_sigma)
    if jnp.broadcast_shapes(*shapes) != shapes[0]:
        raise ValueError(f"mu {shapes[1]} and log_sigma {shapes[2]} do not broadcast to the shape of x {shapes[0]}")

    def each(x, mu, log_sigma):
        return -0.5 * (((x - mu) * _inverse(log_sigma)) ** 2 + _LOG_2PI) - log_sigma

    return _sum_of(each, *_wide(x, mu, log_sigma))


def normal_entropy(log_sigma: Float[Array, "b *event"]) -> Float[Array, "b"]:
    """Differential entropy of a diagonal normal, [B] nats."""
    (log_sigma,) = _wide(log_sigma)
    return _sum_event(log_sigma + 0.5 * (1 + _LOG_2PI))


def normal_kl(
    mu: Float[Array, "b *event"],
    log_sigma: Float[Array, "b *event"],
    mu_p: Float[Array, "*prior"] | float = 0.0,
    log_sigma_p: Float[Array, "*prior"] | float = 0.0,
) -> Float[Array, "b"]:
    """KL(N(mu, sigma) || N(mu_p, sigma_p)) of diagonal normals, [B] nats; to the standard normal by default.

    Kingma & Welling (2014), appendix B, is the default case. The prior's parameters may broadcast.
    """
    mu, log_sigma, mu_p, log_sigma_p = _wide(mu, log_sigma, mu_p, log_sigma_p)
    log_ratio = log_sigma - log_sigma_p
    distance = (mu - mu_p) * _inverse(log_sigma_p)
    # expm1 keeps the digits where q is close to p and the KL close to 0
    return _sum_event(0.5 * (jnp.expm1(2 * log_ratio) + distance**2) - log_ratio)


def gaussian_kl(
    mu: Float[Array, "*b d"],
    covariance: Float[Array, "*b d d"],
    mu_p: Float[Array, "*b d"],
    covariance_p: Float[Array, "*b d d"],
) -> Float[Array, "*b"]:
    """KL(N(mu, covariance) || N(mu_p, covariance_p)) with full covariances, [B] nats.

    Without a batch axis it gives a scalar. NaN where a covariance is not positive definite.
    """
    mu, covariance, mu_p, covariance_p = _wide(mu, covariance, mu_p, covariance_p)
    chol, chol_p = jnp.linalg.cholesky(covariance), jnp.linalg.cholesky(covariance_p)
    ratio = solve_triangular(chol_p, chol, lower=True)  # its squared norm is tr(covariance_p^-1 covariance)
    distance = solve_triangular(chol_p, (mu_p - mu)[..., None], lower=True)[..., 0]
    log_det = jnp.log(jnp.diagonal(ratio, axis1=-2, axis2=-1)).sum(-1)  # half of log |covariance| / |covariance_p|
    return 0.5 * ((ratio**2).sum((-2, -1)) + (distance**2).sum(-1) - mu.shape[-1]) - log_det


def mutual_information(joint: Real[Array, "x y"]) -> Float[Array, ""]:
    """Mutual information of two discrete variables, nats, from their table of probabilities or of counts.

    From counts it is the plug-in estimate, which is biased upwards by about (x - 1)(y - 1) / 2n. A table with a
    negative entry, or without a positive one, is no distribution and gives NaN.

    Raises:
      ValueError: `joint` is not a table.
    """
    if jnp.ndim(joint) != 2:
        raise ValueError(f"joint must be a table with two axes, got the shape {jnp.shape(joint)}")
    joint = jnp.asarray(joint, jnp.result_type(float))
    p = joint / joint.sum()
    independent = p.sum(1, keepdims=True) * p.sum(0, keepdims=True)
    seen = p > 0
    terms = jnp.where(seen, p * jnp.log(jnp.where(seen, p, 1.0) / jnp.where(seen, independent, 1.0)), 0.0)
    return jnp.where((joint >= 0).all() & (joint.sum() > 0), terms.sum(), jnp.nan)


def _wide(*values: Any) -> tuple[Array, ...]:
    """All in one dtype, float32 at least: half precision would lose the digits before anything is summed."""
    dtype = jnp.promote_types(jnp.result_type(*values), jnp.float32)
    return tuple(jnp.asarray(value, dtype) for value in values)


def _inverse(log_sigma: Array) -> Array:
    """1 / sigma; the largest number in place of infinity, as a distance of 0 times infinity would be NaN."""
    return jnp.exp(jnp.minimum(-log_sigma, math.floor(math.log(jnp.finfo(log_sigma.dtype).max))))


def _sum_event(values: Array) -> Array:
    return values.sum(axis=tuple(range(1, values.ndim)))


def _sum_of(each: Callable[..., Array], *values: Any) -> Array:
    """Sum of an elementwise function over all axes but the first.

    As a matrix: XLA:CPU computes the function inside the sum's loop, and with vector instructions only where the sum is
    over one axis. `python -m tools.benchmark bernoulli` has the ratio, with the figure in docs/speed.md.
    """
    return each(*(value.reshape(value.shape[0], -1) for value in jnp.broadcast_arrays(*values))).sum(1)
