"""Gaussian discriminant analysis: p(x | y) normal, with one covariance for all classes or one for each.

With one covariance, differences of log p(x, y) between classes are affine in x: Fisher's linear discriminant (1936),
and of the same form as softmax regression, its discriminative twin; with one for each class they are quadratic. Bishop,
Pattern Recognition and Machine Learning (2006), sections 4.2.1 and 4.2.2. The fit of one covariance is that of
scikit-learn's LinearDiscriminantAnalysis (solver "lsqr").
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sizes import check_each
from gen_models.models.supervised.generative_classifier import Density, Fitted, classes_of, generative_classifier

COVARIANCES = ("shared", "own")


def gaussian_discriminant(
    shape: Sequence[int],
    num_classes: int,
    *,
    covariance: Literal["shared", "own"] = "shared",
    fitted: Fitted | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """p(x, y) with normal p(x | y); what its functions are is said at `generative_classifier`.

    The parameters are "mean" [K, D] and "whitening" [D, D] or [K, D, D]: I + A with A the parameter's lower triangle is
    the inverse of Cholesky's factor of the covariance, so that (I + A)(x - mean) is white.

    Args:
      shape: of one example, which is flattened to D numbers.
      num_classes: K.
      covariance: "shared" by the classes (linear discriminants), or each class has its "own" (quadratic ones).
      fitted: what `fit_discriminant` gives with the same covariance; None: zeros, to be trained.
      dtype: of the computations, such as `jnp.bfloat16`; parameters and log-probabilities stay float32.

    Raises:
      ValueError: a size is not positive, an unknown covariance, or as `generative_classifier`.
    """
    check_each(shape=shape)
    if covariance not in COVARIANCES:
        raise unknown("covariance", covariance, COVARIANCES)
    dimensions = math.prod(shape)
    kind = jnp.float32 if dtype is None else dtype

    def whitening(params):
        """[K or 1, D, D]."""
        return jnp.eye(dimensions) + jnp.tril(params["whitening"]).reshape(-1, dimensions, dimensions)

    def log_density(params, x):
        matrices = whitening(params)
        away = (x[:, None] - params["mean"]).astype(kind)  # [B, K, D]
        along = "bkd,ked->bke" if covariance == "own" else "bkd,ed->bke"
        matrix = matrices if covariance == "own" else matrices[0]
        white = jnp.einsum(along, away, matrix.astype(kind), preferred_element_type=jnp.float32)
        volume = jnp.log(jnp.abs(jnp.diagonal(matrices, axis1=1, axis2=2))).sum(-1)  # [K or 1]
        return -0.5 * (white**2).sum(-1) + volume - 0.5 * dimensions * math.log(2 * math.pi)

    def draw(params, key, labels):
        noise = jax.random.normal(key, (len(labels), dimensions), jnp.float32)
        matrices = jnp.broadcast_to(whitening(params), (num_classes, dimensions, dimensions))
        away = jax.vmap(lambda a, e: jax.scipy.linalg.solve_triangular(a, e, lower=True))(matrices[labels], noise)
        return (params["mean"][labels] + away).astype(jnp.float32)

    several = (num_classes,) if covariance == "own" else ()
    start = {"mean": (num_classes, dimensions), "whitening": (*several, dimensions, dimensions)}
    return generative_classifier(Density(start, log_density, draw, lambda x: True), shape, num_classes, fitted)


def fit_discriminant(
    arrays: Mapping[str, Any],
    num_classes: int,
    *,
    covariance: Literal["shared", "own"] = "shared",
    unbiased: bool = False,
    ridge: float = 0.0,
) -> Fitted:
    """The parameters of `gaussian_discriminant` in closed form, in float64 on the host.

    Args:
      arrays: "x" [N, ...] and "y" [N], as `splits.train.arrays` has them.
      num_classes: K; each class needs an example.
      covariance: as in `gaussian_discriminant`.
      unbiased: whether sums of squares are divided by N - K (of a class n - 1) and not by N (n), the maximum of the
        likelihood.
      ridge: what is added to the covariance's diagonal, as a share of its mean.

    Raises:
      ValueError: an unknown covariance, a class without examples, an x that is not finite, a negative ridge, or too few
        examples for a covariance that can be inverted.
    """
    if covariance not in COVARIANCES:
        raise unknown("covariance", covariance, COVARIANCES)
    if not 0 <= ridge < math.inf:
        raise ValueError(f"a ridge is 0 or more and finite, got {ridge}")
    x, marks, prior = classes_of(arrays, num_classes)
    count = marks.sum(0)
    mean = marks.T @ x / count[:, None]
    away = x - marks @ mean
    if covariance == "shared":
        found = _whitening(away, len(x) - unbiased * num_classes, ridge)
    else:
        found = np.stack([_whitening(away[own > 0], own.sum() - unbiased, ridge) for own in marks.T])
    return {"prior": prior, "mean": mean, "whitening": found}


def _whitening(away: np.ndarray, divisor: float, ridge: float) -> np.ndarray:
    """The inverse of Cholesky's factor of the covariance of rows about their means, less the identity."""
    matrix = away.T @ away / max(divisor, 1)
    matrix = matrix + ridge * np.trace(matrix) / len(matrix) * np.eye(len(matrix))
    scale = np.sqrt(np.diagonal(matrix))
    remedy = "give more examples or a ridge, or leave columns out"
    if divisor < 1 or not (scale > 0).all():
        raise ValueError(f"{len(away)} examples have no covariance that can be inverted: {remedy}")
    alike = matrix / np.outer(scale, scale)
    if np.linalg.eigvalsh(alike)[0] < 1e-12 * len(matrix):
        raise ValueError(f"the columns of {len(away)} examples depend on each other: {remedy}")
    inverse = np.linalg.inv(np.linalg.cholesky(alike)) / scale
    return inverse - np.eye(len(matrix))
