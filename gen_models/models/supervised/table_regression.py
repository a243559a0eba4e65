"""A number of a row: a linear model, or a multilayer perceptron, trained on the standardised target by squared error.

With y' = (y - centre) / scale, the loss is the mean of (f(x) - y')^2, and the prediction centre + scale f(x) is in y's
own unit: so neither the learning rate nor a penalty depends on that unit. Without hidden layers and with a penalty it
is ridge regression (Hoerl & Kennard, 1970); the network is that of `mlp`.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.models.inputs import field, images
from gen_models.models.sizes import check_each
from gen_models.models.supervised.mlp import _MLP


def table_regression(
    shape: Sequence[int],
    *,
    centre: float = 0.0,
    scale: float = 1.0,
    hidden: Sequence[int] = (64, 64),
    dropout: float | Array = 0.0,
    l2: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """`apply(params, stats, x)` is the prediction [B] of the number y [B], in its unit.

    The loss reads `batch["x"]` float32 [B, *shape] and `batch["y"]` float32 [B]; its metric "squared_error" is without
    the penalty, in units of `scale` squared. `apply` and evaluation drop nothing.

    Args:
      shape: of one example; it is flattened.
      centre: of the target, such as its mean over the rows for training.
      scale: of the target, such as its standard deviation there.
      hidden: widths of the hidden layers; none: a linear model.
      dropout: probability with which a hidden unit is dropped in training; may be traced.
      l2: adds l2 |W|^2 of the last layer to the loss, its bias left free; for a linear model on the standardised target
        scikit-learn's alpha of Ridge is l2 times the number of examples. May be traced.
      dtype: of the network's computations; parameters and losses stay float32.

    Raises:
      ValueError: a size, the scale or a rate is out of range; when called, a batch of other shapes.
    """
    check_each(shape=shape, hidden=hidden)
    shape = tuple(shape)
    if not (math.isfinite(centre) and math.isfinite(scale) and scale > 0):
        raise ValueError(f"centre must be finite and scale above 0, got {centre=}, {scale=}")
    if isinstance(dropout, int | float) and not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    if isinstance(l2, int | float) and l2 < 0:
        raise ValueError(f"l2 must be 0 or more, got {l2}")
    network = _MLP(
        hidden=tuple(hidden), num_classes=1, activation=jax.nn.relu, batch_norm=False, axis_name=None, dtype=dtype
    )

    def init(key, batch):
        images(batch, shape)
        return network.init(key, jnp.zeros((1, *shape), jnp.float32), 0.0, train=False)["params"], {}

    def standardised(params, x, key=None):
        rngs = {} if key is None else {"dropout": key}
        found: Any = network.apply({"params": params}, x, dropout, train=key is not None, rngs=rngs)
        return found[:, 0]

    def apply(params, stats, x):
        return centre + scale * standardised(params, images({"x": x}, shape))

    def loss(params, stats, batch, key, *, step, train=True):
        x = images(batch, shape)
        y = field(batch, "y", "the number that is to be predicted, as 'y'")
        if y.shape != x.shape[:1]:
            raise ValueError(f"'y' must be [{len(x)}], one number a row, got {list(y.shape)}")
        error = standardised(params, x, key if train else None) - (jnp.asarray(y, jnp.float32) - centre) / scale
        squared = (error**2).mean()
        penalty = l2 * (params["logits"]["kernel"] ** 2).sum()
        return (squared + penalty).astype(jnp.float32), (stats, {"squared_error": squared})

    return Model(init, loss, apply=apply)
