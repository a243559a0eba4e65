"""How large activations and gradients are, layer by layer: what a start keeps, lets vanish or lets explode.

He et al., Delving Deep into Rectifiers (2015), section 2.2: with z_l = W_l h_(l-1), kernels of variance s and n_in
inputs, E[z_l^2] = n_in s E[h_(l-1)^2], and E[h_l^2] is E[z_l^2] without an activation, half of it with the rectifier.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gen_models.core import Key, Model, Params, Stats


class Signals(NamedTuple):
    """Root mean squares by layer, of each copy."""

    activations: dict[str, Float[Array, "layers copies"]]  # over examples and units of each hidden layer
    gradients: dict[str, Float[Array, "layers_and_last copies"]]  # of the loss by each kernel, over its entries


@partial(jax.jit, static_argnums=0)
def of_copies(model: Model, params: Params, stats: Stats, batch: Mapping[str, Any], key: Key) -> Signals:
    """The signals of `side_by_side({name: copies(fully_connected(...), count), ...})` on a batch."""
    found = model.apply(params, stats, batch["x"], layers=True)
    loss: Any = model.loss
    slopes = jax.grad(lambda params: loss(params, stats, batch, key, step=0)[0])(params)
    activations = {
        name: jnp.stack([_size(h, (0, 2)) for h in hidden]) if hidden else jnp.zeros((0, answer.shape[1]))
        for name, (answer, hidden) in found.items()
    }
    gradients = {}
    for name, own in slopes.items():
        layers = [*(f"Dense_{i}" for i in range(len(own) - 1)), "logits"]
        gradients[name] = jnp.stack([_size(own[layer]["kernel"], (1, 2)) for layer in layers])
    return Signals(activations, gradients)


def _size(values: Array, axes: tuple[int, int]) -> Array:
    return jnp.sqrt((values**2).mean(axes))
