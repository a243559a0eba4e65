"""Linear regression as a model: fitted in closed form by `init`, or by gradient through the ordinary training step.

The prediction is x W + b. With D outputs the loss is the mean squared error over examples and outputs,

    1 / (N D) |Y - X W - b|^2 + l2 / 2 |W|^2,

whose minimum is that of `least_squares` with the ridge N D l2 / 2 (scikit-learn's alpha). Its Hessian by (b, W) of one
output is 2 / N [1 X]'[1 X] (+ l2), which is what the speed of gradient methods depends on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.models.inputs import field, host_rows
from gen_models.models.sizes import check_each, check_numbers
from gen_models.models.supervised.classification import classifier
from gen_models.models.supervised.heads import head_of
from gen_models.models.supervised.least_squares import LeastSquares, least_squares
from gen_models.models.supervised.logistic import Linear, starting_at


def linear_regression(
    shape: Sequence[int] = (1,),
    outputs: int = 1,
    *,
    l2: float | Array = 0.0,
    fitted: LeastSquares | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of y [B, D], or [B] of one output, whose `apply(params, stats, x)` is [B, D].

    Args:
      shape: of one example in `batch["x"]`; it is flattened.
      outputs: D.
      l2: weight of |W|^2 / 2, the bias left free; may be traced.
      fitted: what `init` starts from, such as `fit_linear(arrays)`: then nothing is left to train. None: zeros.
      dtype: of the computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, `l2` is negative, or `fitted` is of other sizes.
    """
    check_each(shape=shape)
    check_numbers(l2=l2)
    sizes = (int(np.prod(tuple(shape))), outputs)
    if fitted is not None and fitted.kernel.shape != sizes:
        raise ValueError(f"fitted has coefficients {fitted.kernel.shape}, and the model takes {sizes}: fit others")

    def penalty(params):
        return 0.5 * l2 * jnp.sum(params["logits"]["kernel"] ** 2)

    network = Linear(outputs=head_of("numbers", outputs).width, dtype=dtype)
    model = classifier(network, shape, outputs, penalty=penalty, answer="numbers")
    if fitted is None:
        return model

    return starting_at(model, {"logits": {"kernel": fitted.kernel, "bias": fitted.bias}})


def fit_linear(arrays: Mapping[str, Any], *, l2: float = 0.0) -> LeastSquares:
    """The closed form of `linear_regression` with the same `l2` on all examples of a data set, in float64 on the host.

    Args:
      arrays: "x" [N, ...], which is flattened, and "y" [N] or [N, D], as `splits.train.arrays` has them.
      l2: as in `linear_regression`.

    Raises:
      ValueError: a field is absent, or as `least_squares`.
    """
    check_numbers(l2=l2)
    x = host_rows(arrays)
    y = np.asarray(field(arrays, "y", "name the targets 'y'"))
    y = y.reshape(len(y), -1)
    return least_squares(x, y, ridge=y.size * l2 / 2)
