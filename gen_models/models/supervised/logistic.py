"""Logistic regression, of two classes, of several, and of several labels.

Bishop, Pattern Recognition and Machine Learning (2006), sections 4.3.2 and 4.3.4.
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.errors import unknown
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
    return classifier(
        network,
        shape,
        num_classes,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        penalty=penalty,
        answer=answer,
    )


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
