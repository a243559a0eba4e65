"""A fully connected network whose start and activation can be chosen, and whose layers can be looked at.

    h_0 = x,   z_l = W_l h_(l-1) + b_l,   h_l = f(z_l),   the last z is the answer

It is for studies of networks themselves: `mlp` is the classifier to use. Biases start at 0, kernels by name, where
n_in and n_out are a layer's widths:

    zeros        0
    small        normal, standard deviation 0.01 (the customary choice before 2010)
    lecun        normal, variance 1 / n_in (LeCun et al., Efficient BackProp, 1998, section 4.6)
    xavier       normal, variance 2 / (n_in + n_out) (Glorot & Bengio, 2010, eq. 16 as variance)
    he           normal, variance 2 / n_in (He et al., 2015, eq. 10)
    orthogonal   orthonormal rows or columns (Saxe et al., 2014), times sqrt(2) for the rectifier
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model, Params
from gen_models.errors import unknown
from gen_models.models.inputs import images
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.dropout import Dropout, check_dropout

Initialisation = Literal["zeros", "small", "lecun", "xavier", "he", "orthogonal"]
Activation = Literal["linear", "relu", "tanh", "sigmoid", "gelu"]
ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": jax.nn.gelu,
}


def _normal(variance: float, mode: Literal["fan_in", "fan_avg"]) -> Callable:
    return nn.initializers.variance_scaling(variance, mode, "normal")


def kernel_initialiser(name: Initialisation, activation: Activation = "relu") -> Callable:
    """The start of kernels by name: (key, shape, dtype) -> kernel [n_in, n_out]; the module's docstring has them.

    Raises:
      ValueError: the name is unknown.
    """
    kernels: Mapping[str, Callable] = {
        "zeros": nn.initializers.zeros,
        "small": nn.initializers.normal(0.01),
        "lecun": _normal(1.0, "fan_in"),
        "xavier": _normal(1.0, "fan_avg"),
        "he": _normal(2.0, "fan_in"),
        "orthogonal": nn.initializers.orthogonal(math.sqrt(2) if activation == "relu" else 1.0),
    }
    if name not in kernels:
        raise unknown("initialisation", name, kernels)
    return kernels[name]


def fully_connected(
    shape: Sequence[int] = (2,),
    outputs: int = 2,
    *,
    hidden: Sequence[int] = (64,),
    activation: Activation = "relu",
    initialisation: Initialisation = "he",
    answer: Literal["classes", "numbers"] = "classes",
    dropout: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """The network, for arrays `batch["x"]` [B, *shape], which it flattens.

    `apply(params, stats, x)` gives [B, outputs], and with `layers=True` a pair of that and the hidden layers' outputs,
    a list of [B, width]. Loss and metrics are those of `classifier` for that answer: of "numbers" the mean over the
    batch and the outputs of (apply(x) - y)^2, where y is [B, outputs], or [B] of one output.

    Args:
      shape: of one example.
      outputs: K classes or D numbers.
      hidden: widths of the hidden layers; () is an affine map.
      activation: f.
      initialisation: start of the kernels; that of the last layer is "lecun", but for "zeros" and "small".
      answer: what an answer is.
      dropout: probability with which a hidden unit is dropped in training; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, a name is unknown, classes are fewer than two, or dropout is not in [0, 1).
    """
    check_sizes(outputs=outputs)
    check_each(shape=shape, hidden=hidden)
    shape = tuple(shape)
    check_dropout(dropout)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    if answer not in ("classes", "numbers"):
        raise unknown("answer", answer, ("classes", "numbers"))
    kernel = kernel_initialiser(initialisation, activation)
    last = kernel if initialisation in ("zeros", "small") else kernel_initialiser("lecun")
    network = _Network(tuple(hidden), outputs, ACTIVATIONS[activation], kernel, last, dtype)

    model = classifier(network, shape, outputs, dropout=dropout, answer=answer)

    def apply(params, stats, x, *, layers=False):
        """The answer [B, outputs], with `layers` also the hidden layers' outputs."""
        given = images({"x": x}, shape)
        answered, found = network.apply({"params": params}, given, dropout, train=False, layers=True)
        return (answered, found) if layers else answered

    return Model(model.init, model.loss, apply=apply)


def sawtooth_params(layers: int) -> Params:
    """Parameters of `fully_connected((1,), 1, hidden=(2,) * layers, answer="numbers")` that make it a sawtooth.

    On [0, 1] it has exactly 2^(layers - 1) triangular teeth of height 1: each layer folds its input once more,
    t(x) = 2 r(x) - 4 r(x - 1/2) with the rectifier r (Telgarsky, Representation Benefits of Deep Feedforward Networks,
    2015). A network of one hidden layer needs 2^layers units for it: a unit for each of the 2^layers - 1 kinks, whose
    sums make slopes that are multiples of twice the sawtooth's own, and one more for the slope of the first piece.

    Raises:
      ValueError: `layers` is below 1.
    """
    check_sizes(layers=layers)
    bias, last = jnp.array([0.0, -0.5]), jnp.array([[2.0], [-4.0]])
    params = {
        f"Dense_{i}": {"kernel": jnp.ones((1, 2)) if i == 0 else last.repeat(2, 1), "bias": bias} for i in range(layers)
    }
    return {**params, "logits": {"kernel": last, "bias": jnp.zeros(1)}}


class _Network(nn.Module):
    hidden: tuple[int, ...]
    outputs: int
    activation: Callable
    kernel: Callable
    last: Callable
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train, layers=False):  # [B, *shape] -> [B, outputs]
        x, found = x.reshape(x.shape[0], -1), []
        for width in self.hidden:
            x = self.activation(nn.Dense(width, kernel_init=self.kernel, dtype=self.dtype)(x))
            found.append(x)
            x = Dropout()(x, dropout, train)
        answered = nn.Dense(self.outputs, kernel_init=self.last, dtype=self.dtype, name="logits")(x)
        answered = answered.astype(jnp.float32)
        return (answered, found) if layers else answered
