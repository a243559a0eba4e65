"""How far the dimensions of a code follow single factors of variation: three scores, of which 1 is the best.

The factors are K independent uniform variables with finitely many values, of which each combination has a code in D
dimensions, here a mean of q(z|x). Their sizes are known: K integers, each of 2 or more.

- The mutual information gap of Chen et al., Isolating Sources of Disentanglement in VAEs (2018), section 4.1, eq. 6:

      MIG = 1/K sum_k 1/H(v_k) (I(z_j(k); v_k) - max_{j != j(k)} I(z_j; v_k)),  j(k) = argmax_j I(z_j; v_k)

  The information is not that of draws from q(z|x), as there, but of the codes themselves, cut into 20 bins of equal
  width between a dimension's least and largest value, as in Locatello et al., Challenging Common Assumptions in the
  Unsupervised Learning of Disentangled Representations (2019).
- The score of Higgins et al., beta-VAE (2017), section 3: the accuracy of a linear classifier that is told the mean
  absolute difference of the codes of pairs which share one factor, and says which factor that is.
- The score of Kim & Mnih, Disentangling by Factorising (2018), section 4: one factor is fixed, and the dimension that
  varies least, as a share of its variance over all data, votes for it; the score is the share of votes on which the
  classifier by majority is right.

The numbers of examples are those of Locatello et al.: 10,000 to learn a classifier, 5,000 others to judge it, each of
64 pairs or codes. Chance is 1/K for the last two; a code that tells nothing has no gap. A code may tell all factors and
score low, as each is wanted along an axis of its own: a perfect code that is rotated is perfect no more.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gen_models.core import Key
from gen_models.distributions import mutual_information

Encode = Callable[[Array], Array]  # indices of factors int32 [N, K] -> codes float32 [N, D]

_AT_ONCE = 250  # examples of a classifier that are drawn at a time, so that few codes are in memory


class InformationGap(NamedTuple):
    """What `mutual_information_gap` gives."""

    score: Float[Array, ""]  # the mean over the factors, between 0 and 1
    each: Float[Array, "k"]  # the gap of each factor, as a share of its entropy
    information: Float[Array, "d k"]  # of each dimension about each factor, nats


def mutual_information_gap(
    codes: Float[Array, "n d"], factors: Int[Array, "n k"], sizes: Sequence[int], *, bins: int = 20
) -> InformationGap:
    """The mutual information gap of codes, and the information in each dimension; see the module's docstring.

    The entropies are those of the factors that are given, which need not be uniform. The information is the plug-in
    estimate, biased upwards by about (bins - 1) (size - 1) / 2n nats.

    Args:
      codes: of each example; where one is not finite, the score is NaN.
      factors: the index of each factor's value, from 0 on.
      sizes: the number of values of each factor.
      bins: into which each dimension of the codes is cut.

    Raises:
      ValueError: codes and factors have different lengths, a factor has fewer than two values, or there are fewer than
        two bins.
    """
    _check(sizes)
    if codes.shape[0] != factors.shape[0] or factors.shape[1] != len(sizes):
        raise ValueError(f"codes {codes.shape} and factors {factors.shape} must be [N, D] and [N, {len(sizes)}]")
    if bins < 2:
        raise ValueError(f"bins must be 2 or more, got {bins}")
    most = max(sizes)  # values that a factor has not are never seen, and change nothing
    about = jax.vmap(jax.vmap(partial(_information, bins=bins, size=most), in_axes=(None, 1)), in_axes=(1, None))
    information = about(_binned(codes, bins), factors)
    shares = jax.vmap(partial(jnp.bincount, length=most), in_axes=1)(factors) / len(factors)
    ordered = jnp.sort(information, 0)
    second = ordered[-2] if len(ordered) > 1 else jnp.zeros_like(ordered[-1])
    finite = jnp.isfinite(codes).all()
    each = jnp.where(finite, (ordered[-1] - second) / jax.scipy.special.entr(shares).sum(1), jnp.nan)
    return InformationGap(each.mean(), each, jnp.where(finite, information, jnp.nan))


def _binned(codes: Array, bins: int) -> Array:
    """The bin of each code in its dimension, int32 [N, D]; all of a dimension that does not vary are in the first."""
    low, high = codes.min(0), codes.max(0)
    width = jnp.where(high > low, high - low, 1.0)
    return jnp.clip(jnp.nan_to_num((codes - low) / width) * bins, 0, bins - 1).astype(jnp.int32)


def _information(code: Array, factor: Array, *, bins: int, size: int) -> Array:
    """Mutual information in nats of two variables of these numbers of values, from [N] of each."""
    counts = jnp.bincount(code * size + factor, length=bins * size)
    return mutual_information(counts.reshape(bins, size))


def beta_vae_score(
    encode: Encode, sizes: Sequence[int], key: Key, *, train: int = 10_000, test: int = 5_000, pairs: int = 64
) -> Float[Array, ""]:
    """Accuracy of a linear classifier of the factor that pairs share, on `test` examples (Higgins et al., 2017).

    Args:
      encode: indices of factors [N, K] -> codes [N, D]; it is traced.
      sizes: the number of values of each factor.
      key: the randomness of the pairs.
      train: examples from which the classifier is learnt.
      test: other examples, on which it is judged.
      pairs: of codes whose absolute differences are averaged to an example.

    Raises:
      ValueError: there are fewer than two factors, one has fewer than two values, or a number is not positive.
    """
    _check_classes(sizes, train=train, test=test, pairs=pairs)

    def example(key):
        drawn, shared = _drawn(key, 2 * pairs, sizes)
        left, right = jnp.split(drawn, 2)
        right = jnp.where(jnp.arange(len(sizes)) == shared, left, right)
        return jnp.abs(encode(left) - encode(right)).mean(0), shared

    differences, shared = _examples(example, key, train + test)
    weights, biases = softmax_regression(differences[:train], shared[:train], len(sizes))
    guess = (differences[train:] @ weights + biases).argmax(-1)
    return _unless_broken((guess == shared[train:]).mean(), differences)


def factor_vae_score(
    encode: Encode,
    sizes: Sequence[int],
    key: Key,
    *,
    train: int = 10_000,
    test: int = 5_000,
    draws: int = 64,
    reference: int = 10_000,
    least: float | Float[Array, ""] = 0.05,
) -> Float[Array, ""]:
    """Accuracy of the factor that votes of the least varying dimension name, on `test` votes (Kim & Mnih, 2018).

    Args:
      encode: indices of factors [N, K] -> codes [N, D]; it is traced.
      sizes: the number of values of each factor.
      key: the randomness of the codes.
      train: votes by which each dimension gets the factor that it stands for, the one it votes for most often.
      test: other votes, on which that is judged.
      draws: codes of one vote, which share one factor's value.
      reference: codes that give each dimension's variance over all data.
      least: the standard deviation over all data below which a dimension is dead, and does not vote. Where all are, the
        score is 0. The standard deviation of the prior is 1, and that of a dimension without information near 0.

    Raises:
      ValueError: as `beta_vae_score`.
    """
    _check_classes(sizes, train=train, test=test, draws=draws - 1, reference=reference - 1)
    spread_key, key = jax.random.split(key)
    variance = encode(_drawn(spread_key, reference, sizes)[0]).var(0, ddof=1)
    alive = jnp.sqrt(variance) >= least
    safe = jnp.where(alive, variance, 1.0)

    def vote(key):
        drawn, fixed = _drawn(key, draws, sizes)
        codes = encode(jnp.where(jnp.arange(len(sizes)) == fixed, drawn[:1], drawn))
        share = codes.var(0, ddof=1) / safe
        return jnp.where(alive, share, jnp.inf).argmin(), fixed

    voter, fixed = _examples(vote, key, train + test)
    counts = jnp.zeros((len(variance), len(sizes)), jnp.int32).at[voter[:train], fixed[:train]].add(1)
    right = counts.argmax(1)[voter[train:]] == fixed[train:]
    return _unless_broken(jnp.where(alive.any(), right.mean(), 0.0), variance)


def softmax_regression(
    x: Float[Array, "n d"], y: Int[Array, "n"], classes: int, *, ridge: float | Float[Array, ""] = 1.0, steps: int = 500
) -> tuple[Float[Array, "d classes"], Float[Array, "classes"]]:
    """Weights and biases of a linear classifier: the least of sum_n -log p(y_n | x_n) + ridge |weights|^2 / 2.

    That is the objective of scikit-learn's `LogisticRegression(C=1 / ridge)`, which Locatello et al. use. Each step
    solves a quadratic that lies above the objective: half of the Gram matrix of (x, 1) bounds the Hessian everywhere
    (Bohning, Multinomial Logistic Regression Algorithm, 1992), so that no step size is to be found; steps are
    accelerated (Nesterov, 1983), anew wherever one leads uphill (O'Donoghue & Candes, 2015, the gradient scheme).

    Args:
      x: the features.
      y: the class of each example, 0 to classes - 1.
      classes: their number.
      ridge: weight of the penalty, above 0; may be traced.
      steps: of the solver.
    """
    x = jnp.concatenate([x, jnp.ones_like(x[:, :1])], 1)
    penalty = jnp.full((x.shape[1], 1), ridge, x.dtype).at[-1].set(0.0)  # none on the biases
    bound = jax.scipy.linalg.cho_factor(0.5 * x.T @ x + jnp.diag(penalty[:, 0]))
    truth = jax.nn.one_hot(y, classes, dtype=x.dtype)

    def step(state, _):
        now, before, count = state
        following = (1 + jnp.sqrt(1 + 4 * count**2)) / 2
        ahead = now + (count - 1) / following * (now - before)
        slope = x.T @ (jax.nn.softmax(x @ ahead) - truth) + penalty * ahead
        new = ahead - jax.scipy.linalg.cho_solve(bound, slope)
        uphill = (slope * (new - now)).sum() > 0
        return (new, now, jnp.where(uphill, 1.0, following)), None

    start = jnp.zeros((x.shape[1], classes), x.dtype)
    (solved, _, _), _ = jax.lax.scan(step, (start, start, jnp.ones((), x.dtype)), length=steps)
    return solved[:-1], solved[-1]


def _examples(example: Callable[[Key], tuple[Array, Array]], key: Key, count: int) -> tuple[Array, Array]:
    """`count` examples, each with a key of its own."""
    return jax.lax.map(example, jax.random.split(key, count), batch_size=min(_AT_ONCE, count))


def _drawn(key: Key, count: int, sizes: Sequence[int]) -> tuple[Array, Array]:
    """Uniform indices of factors, int32 [count, K], and a uniform one of the factors: int32 [], below K.

    All are of one draw of uniform numbers, which are at most 1 - 2^-23, so that their products stay below the sizes:
    the scores compile and run in half of the time that they take with `randint` for each.
    """
    uniform = jax.random.uniform(key, (count * len(sizes) + 1,), jnp.float32)
    of = (uniform[1:].reshape(count, len(sizes)) * jnp.array(sizes, jnp.float32)).astype(jnp.int32)
    return of, (uniform[0] * len(sizes)).astype(jnp.int32)


def _unless_broken(score: Array, codes: Array) -> Array:
    """The score, or NaN where what it was made of is not finite."""
    return jnp.where(jnp.isfinite(codes).all(), score, jnp.nan)


def _check(sizes: Sequence[int]) -> None:
    if not sizes or min(sizes) < 2:
        raise ValueError(f"each factor needs two values or more, got sizes={tuple(sizes)}: leave constant factors out")


def _check_classes(sizes: Sequence[int], **numbers: int) -> None:
    _check(sizes)
    if len(sizes) < 2:
        raise ValueError(f"one factor cannot be confused with another, got sizes={tuple(sizes)}: give two or more")
    for name, number in numbers.items():
        if number < 1:
            low = 2 if name in ("draws", "reference") else 1
            raise ValueError(f"{name} must be {low} or more, got {number + low - 1}")
