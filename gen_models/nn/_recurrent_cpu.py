"""The loop over a sequence's steps, its gradient written out for CPUs: see `gen_models/nn/recurrent.py`.

x W for all steps is one product before the loop; the custom gradient's loop computes only the gradients of the gates,
and the parameters' gradients are one product each, over all steps, after it; a matrix that a product needs transposed
is transposed in memory first. What the backward pass reads is kept one array for each gate: XLA:CPU makes slow loops of
slices and concatenations.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array

from gen_models.nn._cells import Cell, Weights
from gen_models.nn.devices import DATA_AXIS

# How an argument is cut: [T, B, ...] and [B, ...] over the batch, or not at all.
TIME, BATCH, ALL = PartitionSpec(None, DATA_AXIS), PartitionSpec(DATA_AXIS), PartitionSpec()


def transposed(matrix: Array) -> Array:
    """In memory, by a barrier: XLA:CPU's product with a transposition inside takes half as long again."""
    return lax.optimization_barrier(matrix.T)


def cut(f: Callable[..., Any], mesh: Mesh | None, inputs: Any, outputs: Any) -> Callable[..., Any]:
    """f over each device's part of its arguments, cut as `inputs` and `outputs` say; without a mesh f itself."""
    if mesh is None:
        return f
    return jax.shard_map(f, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)


def product(x: Array, kernel: Array, carry: tuple[Array, ...]) -> Array:
    """x @ kernel in the kernel's dtype, summed in that of the carry."""
    return jnp.dot(x.astype(kernel.dtype), kernel, preferred_element_type=carry[0].dtype)


def forward(cell: Cell, reverse, x, weights: Weights, carry, mask):
    """All h [T, B, H], the last carry, and what the backward pass reads of each step."""
    z = product(x, weights.kernel, carry)

    def step(carry, now):
        z, mask = now
        new, saved = cell.forward(z, product(carry[0], weights.recurrent_kernel, carry), weights, carry)
        if mask is not None:
            new = tuple(jnp.where(mask, n, c) for n, c in zip(new, carry, strict=True))
        return new, (new[0], saved)

    last, (h, saved) = lax.scan(step, carry, (z, mask), reverse=reverse)
    return h, last, saved


def _backward(cell: Cell, reverse, x, weights: Weights, first, mask, h, saved, dh, dcarry):
    """Gradients with respect to x, weights and the first carry."""
    before = jnp.concatenate([h[1:], first[0][None]] if reverse else [first[0][None], h[:-1]])
    back = transposed(weights.recurrent_kernel)

    def step(dcarry, now):
        dh, mask, *rest = now
        dcarry = (dcarry[0] + dh, *dcarry[1:])
        passed = None
        if mask is not None:
            passed = [jnp.where(mask, 0, d) for d in dcarry]
            dcarry = [jnp.where(mask, d, 0) for d in dcarry]
        dz, da, dcarry = cell.backward(*rest, dcarry)
        dcarry = (dcarry[0] + (dz if da is None else da) @ back, *dcarry[1:])
        if passed is not None:
            dcarry = tuple(d + p for d, p in zip(dcarry, passed, strict=True))
        return dcarry, (dz, da)

    dcarry, (dz, da) = lax.scan(step, dcarry, (dh, mask, saved, before, h), reverse=not reverse)
    dz = dz.reshape(-1, dz.shape[-1])
    da = dz if da is None else da.reshape(dz.shape)
    ones = jnp.ones(dz.shape[0], dz.dtype)  # a product is a faster sum over rows
    dweights = Weights(
        transposed(x.reshape(-1, x.shape[-1])) @ dz,
        transposed(before.reshape(-1, before.shape[-1])) @ da,
        ones @ dz,
        ones @ da[:, -h.shape[-1] :] if cell.second_bias else None,
    )
    return (dz @ transposed(weights.kernel)).reshape(x.shape), dweights, dcarry


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def loop(cell: Cell, reverse, mesh, x, weights: Weights, carry, mask):
    """All h and the last carry. What only a backward pass reads, XLA removes where there is none."""
    return _loop_forward(cell, reverse, mesh, x, weights, carry, mask)[0]


def _loop_forward(cell, reverse, mesh, x, weights, carry, mask):
    each = cut(partial(forward, cell, reverse), mesh, (TIME, ALL, BATCH, TIME), (TIME, BATCH, TIME))
    h, last, saved = each(x, weights, carry, mask)
    return (h, last), (x, weights, carry, mask, h, saved)


def _loop_backward(cell, reverse, mesh, kept, gradients):
    def backward(*arguments):
        dx, dweights, dcarry = _backward(cell, reverse, *arguments)
        return dx, dweights if mesh is None else lax.psum(dweights, DATA_AXIS), dcarry

    inputs = (TIME, ALL, BATCH, TIME, TIME, TIME, TIME, BATCH)
    return *cut(backward, mesh, inputs, (TIME, ALL, BATCH))(*kept, *gradients), None


loop.defvjp(_loop_forward, _loop_backward)
