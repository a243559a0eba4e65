"""The perceptron: Rosenblatt, The perceptron: a probabilistic model for information storage (1958).

f(x) = x w + b says 1 where it is positive. With `optax.sgd(1.0)` and batches of one example, a step of its loss is the
perceptron's rule: where y, as 1 or -1, and f(x) do not agree, w <- w + y x and b <- b + y; else nothing changes. From
zeros, and of examples that a hyperplane through (x, 1) parts with the margin gamma, |(x, 1)| <= R, it makes at most
(R / gamma)^2 mistakes, in whatever order they come (Novikoff, On convergence proofs on perceptrons, 1962).
"""

from collections.abc import Sequence

from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sizes import check_each
from gen_models.models.supervised.classification import classifier
from gen_models.models.supervised.logistic import Linear


def perceptron(shape: Sequence[int] = (2,), *, dtype: DTypeLike | None = None) -> Model:
    """A classifier of two classes, labels 0 and 1, whose `apply(params, stats, x)` is f(x), [B]; zero at first.

    Args:
      shape: of one example in `batch["x"]`; it is flattened.
      dtype: of the computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive.
    """
    check_each(shape=shape)
    return classifier(Linear(outputs=1, dtype=dtype), shape, 1, answer="margin")
