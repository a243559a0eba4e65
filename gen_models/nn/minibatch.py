"""Features of an example that say how it differs from its neighbours in the batch: a generator cannot repeat itself.

A discriminator with one of them judges real and generated examples in batches of their own, and an example's logit
depends on all of its batch. Under `pmap` and `shard_map` each device compares the examples that it has, under `jit` the
whole batch is compared, however many devices hold it. The sums of `MinibatchDiscrimination` grow with the batch, so
that logits of another batch size than training's, one example alone among them, are not comparable with training's.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gen_models.nn.normalised_weights import Dense, Weights


class MinibatchDiscrimination(nn.Module):
    """Salimans et al., Improved Techniques for Training GANs (2016), section 3.2, with its tensor T [A, kernels, size].

    M_i = f(x_i) T, c_b(x_i, x_j) = exp(-|M_ib - M_jb|_1), o(x_i)_b = sum over j of c_b(x_i, x_j), itself included. What
    comes out is [f, o].

    Args:
      kernels: B of the paper, features that are added.
      size: C of the paper, entries that a kernel compares.
    """

    kernels: int
    size: int
    weights: Weights = "plain"
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, f: Float[Array, "n a"], train: bool = False) -> Float[Array, "n f"]:
        """f with the `kernels` sums beside it."""
        make = Dense(self.kernels * self.size, self.weights, False, self.kernel_init, self.dtype, name="tensor")
        m = make(f, train).astype(jnp.float32).reshape(-1, self.kernels, self.size)
        distance = jnp.abs(m[:, None] - m[None]).sum(-1)  # [n, n, kernels]
        return jnp.concatenate([f, jnp.exp(-distance).sum(1).astype(f.dtype)], -1)


def minibatch_deviation(h: Float[Array, "n *space c"]) -> Float[Array, "n *space d"]:
    """h with one more map, which is the same number everywhere: how much the batch's examples differ.

    Karras et al., Progressive Growing of GANs (2018), section 3: the standard deviation over the batch of each feature
    at each position, and the mean of all of these. (Their code cuts the batch into groups of 4.)
    """
    values = h.astype(jnp.float32)
    # The root's derivative is infinite at 0, where a feature is the same in the whole batch, as behind a ReLU.
    deviation = jnp.sqrt(values.var(0) + 1e-8).mean()
    return jnp.concatenate([h, jnp.full((*h.shape[:-1], 1), deviation.astype(h.dtype))], -1)
