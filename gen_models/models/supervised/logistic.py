"""Logistic regression, of two classes, of several, and of several labels.

Bishop, Pattern Recognition and Machine Learning (2006), sections 4.3.2 and 4.3.4.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array
from scipy import optimize, special

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.inputs import host_labels, host_rows, labels_of
from gen_models.models.sizes import check_numbers
from gen_models.models.supervised.classification import classifier
from gen_models.models.supervised.heads import head_of

ANSWERS = ("classes", "binary", "labels")


def logistic_regression(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    l2: float | Array = 0.0,
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    answer: Literal["classes", "binary", "labels"] = "classes",
    fitted: Mapping[str, Any] | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """log p(y = k | x) = log softmax(x W + b)_k, with W and b zero at first: the loss is convex.

    Args:
      shape: of one example in `batch["x"]`; it is flattened.
      num_classes: K; labels are integers in [0, K). With another answer, how many labels: 1 of "binary".
      l2: adds l2 / 2 * |W|^2 to the mean cross-entropy, the biases left free; scikit-learn's C is 1 / (l2 * examples).
        May be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      class_weights: of the K classes in the training loss, such as `balanced_weights` gives; None: all weigh alike.
      answer: "classes" as above; "binary", p(y = 1 | x) = sigmoid(x w + b); "labels", the same for each of K labels.
      fitted: what `init` starts from, such as `fit_logistic(arrays, K)`; None: zeros.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, `num_classes` is below 2, `answer` is another, or `l2` or `label_smoothing` is
        out of range.
    """
    if isinstance(l2, int | float) and l2 < 0:
        raise ValueError(f"l2 must be 0 or more, got {l2}")

    def penalty(params):
        return 0.5 * l2 * jnp.sum(params["logits"]["kernel"] ** 2)

    if answer not in ANSWERS:
        raise unknown("kind of answer of logistic regression", answer, ANSWERS)
    network = Linear(outputs=head_of(answer, num_classes).width, dtype=dtype)
    model = classifier(
        network,
        shape,
        num_classes,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        penalty=penalty,
        answer=answer,
    )
    return model if fitted is None else starting_at(model, fitted)


def starting_at(model: Model, params: Mapping[str, Any]) -> Model:
    """The model, whose `init` gives these parameters in float32; ValueError where they are not of its own shapes."""

    def init(key, batch):
        fresh, stats = model.init(key, batch)
        own = jax.tree.map(jnp.shape, fresh)
        if jax.tree.map(np.shape, dict(params)) != own:
            raise ValueError(f"fitted has {jax.tree.map(np.shape, dict(params))}, and the model {own}: fit its data")
        return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), dict(params)), stats

    return dataclasses.replace(model, init=init)


def fit_logistic(
    arrays: Mapping[str, Any], num_classes: int = 2, *, l2: float = 0.0, iterations: int = 1000
) -> dict[str, dict[str, np.ndarray]]:
    """The parameters at the minimum of `logistic_regression`'s loss on all examples, by L-BFGS in float64 on the host.

    Of classes that a hyperplane parts and `l2` = 0 there is no minimum, and what the last iteration has is returned.

    Args:
      arrays: "x" [N, ...], which is flattened, and "y" [N], labels in [0, K).
      num_classes: K.
      l2: as in `logistic_regression`.
      iterations: of L-BFGS at most.

    Raises:
      ValueError: a field is absent, x is not finite, labels are no classes, these are fewer than two, or `l2` is
        negative.
    """
    check_numbers(l2=l2)
    head_of("classes", num_classes)
    x = host_rows(arrays)
    labels = host_labels(labels_of(arrays), len(x), num_classes)
    marks, width = np.eye(num_classes)[labels], x.shape[1]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(width + 1, num_classes)
        logits = x @ weights[1:] + weights[0]
        logits = logits - special.logsumexp(logits, axis=1, keepdims=True)
        value = -(marks * logits).sum() / len(x) + l2 / 2 * (weights[1:] ** 2).sum()
        slope = (np.exp(logits) - marks) / len(x)
        return value, np.concatenate([slope.sum(0, keepdims=True), x.T @ slope + l2 * weights[1:]]).ravel()

    options = {"maxiter": iterations, "gtol": 1e-9, "ftol": 1e-15}
    found = optimize.minimize(loss, np.zeros((width + 1) * num_classes), jac=True, method="L-BFGS-B", options=options)
    weights = found.x.reshape(width + 1, num_classes)
    return {"logits": {"kernel": weights[1:], "bias": weights[0]}}


class Linear(nn.Module, kw_only=True):
    """One affine map of the flattened input, zero at first."""

    outputs: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):
        """[B, *shape] -> [B, outputs]."""
        del dropout, train  # it has neither
        x = x.reshape(x.shape[0], -1)
        dense = nn.Dense(self.outputs, kernel_init=nn.initializers.zeros, dtype=self.dtype, name="logits")
        return dense(x).astype(jnp.float32)
