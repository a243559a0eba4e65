"""Naive Bayes: the entries of x are independent given the class. Fitted in closed form, by counts and moments.

- "gaussian": p(x_d | y) normal with a mean and a deviation of its own for each class;
- "linear": the same with deviations that the classes share, so that log p(x, y) - log p(x, y') is affine in x: the twin
  of logistic regression in Ng & Jordan (2002);
- "bernoulli": x_d is 0 or 1, p(x_d = 1 | y) = (n_yd + alpha) / (n_y + 2 alpha);
- "categorical": x_d is 0 to V - 1, p(x_d = v | y) = (n_ydv + alpha) / (n_y + V alpha);
- "multinomial": x are counts of D words in n draws, p(x | n, y) is multinomial with
  p_yd = (n_yd + alpha) / (n_y + D alpha).

alpha = 1 is Laplace's rule of succession. McCallum & Nigam, A Comparison of Event Models for Naive Bayes Text
Classification (1998); Bishop, Pattern Recognition and Machine Learning (2006), section 8.2.2. The fits are those of
scikit-learn's GaussianNB, BernoulliNB, CategoricalNB and MultinomialNB.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import within_levels
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.generative_classifier import Density, Fitted, classes_of, generative_classifier

Kind = Literal["gaussian", "linear", "bernoulli", "categorical", "multinomial"]


def naive_bayes(
    shape: Sequence[int],
    num_classes: int,
    *,
    kind: Kind = "gaussian",
    values: int = 2,
    fitted: Fitted | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """p(x, y) with independent entries of x; what its functions are is said at `generative_classifier`.

    `sample` of "multinomial" takes `total`, the number of draws in an example.

    Args:
      shape: of one example, which is flattened.
      num_classes: K.
      kind: see the module's docstring.
      values: V, of "categorical".
      fitted: what `fit_naive_bayes` gives with the same kind and values; None: zeros, to be trained.
      dtype: of the computations, such as `jnp.bfloat16`; parameters and log-probabilities stay float32.

    Raises:
      ValueError: a size is not positive, an unknown kind, or as `generative_classifier`.
    """
    check_each(shape=shape)
    check_sizes(values=values)
    if kind not in _DENSITIES:
        raise unknown("kind of naive Bayes", kind, tuple(_DENSITIES))
    dimensions = math.prod(shape)
    density = _DENSITIES[kind](num_classes, dimensions, values, jnp.float32 if dtype is None else dtype)
    return generative_classifier(density, shape, num_classes, fitted)


def fit_naive_bayes(
    arrays: Mapping[str, Any],
    num_classes: int,
    *,
    kind: Kind = "gaussian",
    values: int = 2,
    alpha: float = 1.0,
    smoothing: float = 1e-9,
) -> Fitted:
    """The parameters of `naive_bayes` in closed form, in float64 on the host.

    Args:
      arrays: "x" [N, ...] and "y" [N], as `splits.train.arrays` has them.
      num_classes: K; each class needs an example.
      kind: as in `naive_bayes`.
      values: V, of "categorical".
      alpha: what is added to each count.
      smoothing: of normal entries, what is added to all variances, as a share of the largest variance of an entry of x.

    Raises:
      ValueError: an unknown kind, a class without examples, an x that is not finite or not of the kind, or a smoothing
        that is not positive.
    """
    if kind not in _DENSITIES:
        raise unknown("kind of naive Bayes", kind, tuple(_DENSITIES))
    if not (alpha > 0 and smoothing > 0):
        raise ValueError(
            f"alpha and smoothing must be positive, or what was not seen is impossible: {alpha}, {smoothing}"
        )
    x, marks, prior = classes_of(arrays, num_classes)
    count = marks.sum(0)[:, None]
    if kind in ("gaussian", "linear"):
        mean = marks.T @ x / count
        squares = marks.T @ (x - marks @ mean) ** 2
        variance = squares / count if kind == "gaussian" else squares.sum(0, keepdims=True) / len(x)
        variance += smoothing * max(float(x.var(0).max()), np.finfo(float).tiny)
        return {"prior": prior, "mean": mean, "log_deviation": 0.5 * np.log(variance)}
    whole = (x == np.round(x)) & (x >= 0)
    most = {"bernoulli": 2, "categorical": values, "multinomial": np.inf}[kind]
    strange = x[~(whole & (x < most))]
    if len(strange):
        limit = "on" if kind == "multinomial" else f"to {most - 1}"
        raise ValueError(f"{kind} naive Bayes takes whole numbers from 0 {limit}, got {strange[0]:g}")
    if kind == "bernoulli":
        hits = marks.T @ x
        return {"prior": prior, "logits": np.log(hits + alpha) - np.log(count - hits + alpha)}
    if kind == "categorical":
        hits = np.stack([marks.T @ (x == v) for v in range(values)], -1)
        return {"prior": prior, "logits": np.log(hits + alpha) - np.log(count[..., None] + values * alpha)}
    hits = marks.T @ x + alpha
    return {"prior": prior, "logits": np.log(hits) - np.log(hits.sum(1, keepdims=True))}


def _gaussian(classes: int, dimensions: int, values: int, kind: DTypeLike) -> Density:
    def log_density(params, x):
        mean, log_deviation = (params[name].astype(kind) for name in ("mean", "log_deviation"))
        z = (x[:, None].astype(kind) - mean) * jnp.exp(-log_deviation)
        terms = -0.5 * z**2 - log_deviation - 0.5 * math.log(2 * math.pi)
        return terms.sum(-1, dtype=jnp.float32)

    def draw(params, key, labels):
        noise = jax.random.normal(key, (len(labels), dimensions), jnp.float32)
        return params["mean"][labels] + jnp.exp(params["log_deviation"][labels]) * noise

    start = {name: (classes, dimensions) for name in ("mean", "log_deviation")}
    return Density(start, log_density, draw, lambda x: True)


def _linear(classes: int, dimensions: int, values: int, kind: DTypeLike) -> Density:
    each = _gaussian(classes, dimensions, values, kind)

    def draw(params, key, labels):
        deviations = jnp.broadcast_to(params["log_deviation"], (classes, dimensions))
        return each.draw({"mean": params["mean"], "log_deviation": deviations}, key, labels)

    return Density({"mean": (classes, dimensions), "log_deviation": (1, dimensions)}, each.log_density, draw, each.fits)


def _bernoulli(classes: int, dimensions: int, values: int, kind: DTypeLike) -> Density:
    def log_density(params, x):
        yes, no = (jax.nn.log_sigmoid(sign * params["logits"]).astype(kind) for sign in (1, -1))
        x = x.astype(kind)
        return jnp.matmul(x, yes.T, preferred_element_type=jnp.float32) + jnp.matmul(
            1 - x, no.T, preferred_element_type=jnp.float32
        )

    def draw(params, key, labels):
        return jax.random.bernoulli(key, jax.nn.sigmoid(params["logits"][labels])).astype(jnp.float32)

    return Density(
        {"logits": (classes, dimensions)}, log_density, draw, lambda x: within_levels(x, 2, "entries", BINARY)
    )


def _categorical(classes: int, dimensions: int, values: int, kind: DTypeLike) -> Density:
    def log_density(params, x):
        log_p = jax.nn.log_softmax(params["logits"]).astype(kind)
        marks = jax.nn.one_hot(x.astype(jnp.int32), values, dtype=kind)
        return jnp.einsum("bdv,kdv->bk", marks, log_p, preferred_element_type=jnp.float32)

    def draw(params, key, labels):
        return jax.random.categorical(key, params["logits"][labels]).astype(jnp.float32)

    def fits(x):
        return within_levels(x, values, "entries", "give as many values as they have")

    return Density({"logits": (classes, dimensions, values)}, log_density, draw, fits)


def _multinomial(classes: int, dimensions: int, values: int, kind: DTypeLike) -> Density:
    def log_density(params, x):
        log_p = jax.nn.log_softmax(params["logits"]).astype(kind)
        ways = gammaln(x.sum(1) + 1) - gammaln(x + 1).sum(1)
        return jnp.matmul(x.astype(kind), log_p.T, preferred_element_type=jnp.float32) + ways[:, None]

    def draw(params, key, labels, *, total):
        words = jax.random.categorical(key, params["logits"][labels][:, None], shape=(len(labels), total))
        return jax.nn.one_hot(words, dimensions).sum(1)

    def fits(x):
        return within_levels(x, 2**24, "counts", "give counts of words")

    return Density({"logits": (classes, dimensions)}, log_density, draw, fits)


BINARY = "x > 0.5 makes such entries"
_DENSITIES: Mapping[str, Callable[[int, int, int, Any], Density]] = {
    "gaussian": _gaussian,
    "linear": _linear,
    "bernoulli": _bernoulli,
    "categorical": _categorical,
    "multinomial": _multinomial,
}
