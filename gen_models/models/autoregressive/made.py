"""MADE: a multilayer perceptron whose masks make each output depend on earlier inputs alone.

Germain et al., MADE: Masked Autoencoder for Distribution Estimation (2015). A unit k of layer l has a degree m^l(k):
the number of inputs, in their order, that it may depend on. Masks follow from degrees (eq. 12 and 13), those of direct
connections from inputs to outputs too. Several mask sets make training connectivity-agnostic, an order for each makes
it order-agnostic.

    log p(x) = sum over d of log p(x_d | x_<d),    "<" in the order of a mask set

Training goes through the K mask sets in turn, as in the paper. Differs from it: where it averages conditionals over the
mask sets, the model here is the mixture of the K distributions, whose likelihood is exact and which can be sampled.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Int

from gen_models.core import Model
from gen_models.models.autoregressive.binary_model import binary_model
from gen_models.models.autoregressive.in_order import OneByOne, image_size
from gen_models.models.sizes import check_each
from gen_models.nn.dropout import Dropout, check_dropout


def made(
    shape: Sequence[int] = (28, 28, 1),
    hidden: Sequence[int] = (1000,),
    *,
    masks: int = 1,
    natural_order: bool = True,
    direct: bool = True,
    dropout: float | Array = 0.0,
    mask_seed: int = 0,
    activation: Callable[[Array], Array] = jax.nn.relu,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of binary images [B, *shape]; its functions are those of `binary_model`, whose members are mask sets.

    Args:
      shape: (height, width, channels).
      hidden: widths of the hidden layers.
      masks: K, the number of mask sets.
      natural_order: pixels in raster order in every mask set; else each has an order of its own.
      direct: connect inputs to outputs directly as well.
      dropout: probability of dropping a hidden unit in training; may be traced.
      mask_seed: of degrees and orders, which belong to the model: parameters are of use with their own masks alone.
      activation: after each hidden layer.
      dtype: of the products, such as `jnp.bfloat16`; sums, parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, there is no hidden layer, or the dropout rate is outside [0, 1).
    """
    check_each(hidden=hidden)
    size = image_size(shape, masks=masks)
    if not hidden:
        raise ValueError("MADE needs a hidden layer, got hidden=(): fvsbn is the model without")
    check_dropout(dropout)
    degrees = draw_degrees(size, hidden, masks, natural_order, mask_seed)
    hidden_names = [f"hidden_{i}" for i in range(len(hidden))]

    def init(key):
        params = {}
        widths = [size, *hidden, size]
        names = [*hidden_names, "outputs"]
        keys = jax.random.split(key, len(names))
        for own, name, fan_in, width in zip(keys, names, widths, widths[1:], strict=False):
            scale = math.sqrt((2 if name in hidden_names else 1) / fan_in)
            kernel = scale * jax.random.normal(own, (fan_in, width), jnp.float32)
            params[name] = {"kernel": kernel, "bias": jnp.zeros(width, jnp.float32)}
        if direct:
            params["direct"] = {"kernel": jnp.zeros((size, size), jnp.float32)}
        return params

    def kernels(params, index) -> "_Kernels":
        of = [jnp.asarray(degree)[index] for degree in degrees]
        masked = [
            params[name]["kernel"] * (before[:, None] <= after)  # eq. 12
            for name, before, after in zip(hidden_names, of, of[1:-1], strict=False)
        ]
        outputs = params["outputs"]["kernel"] * (of[-2][:, None] < of[-1])  # eq. 13
        directly = params["direct"]["kernel"] * (of[0][:, None] < of[-1]) if direct else None
        return jax.tree.map(lambda w: w if dtype is None else w.astype(dtype), _Kernels(masked, outputs, directly))

    def product(x, kernel):
        return jnp.matmul(x.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)

    def drop(h, key, layer):
        return (
            h
            if key is None
            else Dropout().apply({}, h, dropout, True, rngs={"dropout": jax.random.fold_in(key, layer)})
        )

    def logits(params, x, index, key):
        w, h = kernels(params, index), x
        for layer, name in enumerate(hidden_names):
            h = drop(activation(product(h, w.hidden[layer]) + params[name]["bias"]), key, layer)
        y = product(h, w.outputs) + params["outputs"]["bias"]
        return y if w.direct is None else y + product(x, w.direct)

    def one_by_one(params, index, n):
        """The first layer's sums are kept, and those of direct connections; of the outputs only one is computed."""
        w = kernels(params, index)
        columns, first = w.outputs.T, jnp.broadcast_to(params["hidden_0"]["bias"], (n, hidden[0]))

        def logit(sums, d):
            h = activation(sums[0])
            for kernel, name in zip(w.hidden[1:], hidden_names[1:], strict=True):
                h = activation(product(h, kernel) + params[name]["bias"])
            y = product(h, columns[d]) + params["outputs"]["bias"][d]
            return y if w.direct is None else y + sums[1][:, d]

        def update(sums, d, x):
            rows = [w.hidden[0][d]] if w.direct is None else [w.hidden[0][d], w.direct[d]]
            return [total + x[:, None] * row for total, row in zip(sums, rows, strict=True)]

        return OneByOne([first] if w.direct is None else [first, jnp.zeros((n, size), jnp.float32)], logit, update)

    return binary_model(shape, np.argsort(degrees[0]), init, logits, one_by_one)


def draw_degrees(
    size: int, hidden: Sequence[int], masks: int, natural_order: bool, seed: int
) -> list[Int[np.ndarray, "masks width"]]:
    """Degrees of inputs, of each hidden layer and of outputs, for each mask set; an input's is its place, from 1.

    A hidden unit's is uniform from the least degree of the layer before to D - 1: above, it would see what no
    output may.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    sets = []
    for _ in range(masks):
        places = np.arange(size) if natural_order else generator.permutation(size)
        layers = [places + 1]
        for width in hidden:
            layers.append(generator.integers(layers[-1].min(), max(size - 1, 1), width, endpoint=True))
        sets.append([*layers, places + 1])
    return [np.stack(layer).astype(np.int32) for layer in zip(*sets, strict=True)]


class _Kernels(NamedTuple):
    """Masked, in the dtype of the products."""

    hidden: list[Array]
    outputs: Array
    direct: Array | None
