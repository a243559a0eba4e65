"""Multilayer perceptron: hidden layers of affine map, batch norm, activation, dropout.

Weights start truncated normal with the variance of He et al., Delving Deep into Rectifiers (2015), eq. 10, which suits
the rectifier: 2 / fan-in; those of the logits have variance 1 / fan-in. Batch norm: Ioffe & Szegedy (2015), algorithm
1; the layer before it has no bias, which the norm would remove.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sizes import check_each
from gen_models.models.supervised.classification import classifier
from gen_models.models.supervised.heads import Answer, head_of
from gen_models.nn.dropout import Dropout


def mlp(
    shape: Sequence[int] = (28, 28, 1),
    num_classes: int = 10,
    *,
    hidden: Sequence[int] = (256, 128, 64),
    activation: Callable[[Array], Array] = jax.nn.relu,
    dropout: float | Array = 0.0,
    norm: Literal["none", "batch"] = "none",
    label_smoothing: float | Array = 0.0,
    class_weights: Sequence[float] | None = None,
    answer: Answer = "classes",
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A network for arrays of any shape, which it flattens: a classifier, or what another `answer` makes of it.

    Args:
      shape: of one example in `batch["x"]`.
      num_classes: K; labels are integers in [0, K). With another answer, how many numbers or labels: 1 of "binary".
      hidden: widths of the hidden layers.
      activation: applied elementwise after each of them.
      dropout: probability with which a hidden unit is dropped in training; may be traced.
      norm: "batch" puts batch norm between each hidden layer's affine map and its activation; "none" does not.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      class_weights: of the K classes in the training loss, such as `balanced_weights` gives; None: all weigh alike.
      answer: what is predicted, which the loss, the labels and the metrics follow: see `heads.py`.
      axis_name: mapped axis over which batch norm's statistics are averaged as well (`pmap`, `shard_map`).
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and statistics stay float32.

    Raises:
      ValueError: a size is not positive, `num_classes` is below 2, `norm` or `answer` is unknown, or a rate is
        outside [0, 1).
    """
    check_each(hidden=hidden)
    hidden = tuple(hidden)
    if norm not in ("none", "batch"):
        raise unknown("norm", norm, ("none", "batch"))
    network = _MLP(
        hidden=hidden,
        num_classes=head_of(answer, num_classes).width,
        activation=activation,
        batch_norm=norm == "batch",
        axis_name=axis_name,
        dtype=dtype,
    )
    return classifier(
        network,
        shape,
        num_classes,
        dropout=dropout,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        answer=answer,
    )


class _MLP(nn.Module, kw_only=True):
    hidden: tuple[int, ...]
    num_classes: int
    activation: Callable
    batch_norm: bool
    axis_name: str | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, *shape] -> [B, K]
        h = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            kernel_init = nn.initializers.he_normal()
            h = nn.Dense(width, use_bias=not self.batch_norm, kernel_init=kernel_init, dtype=self.dtype)(h)
            if self.batch_norm:
                h = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, dtype=self.dtype)(h)
            h = Dropout()(self.activation(h), dropout, train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h).astype(jnp.float32)
