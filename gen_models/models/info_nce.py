"""InfoNCE: a bound on mutual information, by a critic that tells which y belongs to an x.

Van den Oord et al., Representation Learning with Contrastive Predictive Coding (2018), eq. 4, as a bound in Poole et
al., On Variational Bounds of Mutual Information (2019), eq. 10: with N pairs in a batch and scores f(x_i, y_j),

    I(x; y) >= mean_i [ f(x_i, y_i) - log (1/N) sum_j exp f(x_i, y_j) ],   which is at most log N

Our critic is separable, f(x, y) = g(x) . h(y), of two multilayer perceptrons.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from gen_models.core import Model
from gen_models.models.inputs import field, images
from gen_models.models.sizes import check_each, check_sizes


def info_nce_bound(scores: Float[Array, "n n"]) -> Float[Array, ""]:
    """The bound in nats from scores [i, j] of x_i with y_j; those of pairs stand on the diagonal. At most log n."""
    return jnp.diagonal(jax.nn.log_softmax(scores, -1)).mean() + jnp.log(len(scores))


def info_nce(
    shape: Sequence[int], shape_y: Sequence[int], *, hidden: Sequence[int] = (128,), features: int = 32
) -> Model:
    """The critic, of pairs `batch["x"]` [B, *shape] and `batch["y"]` [B, *shape_y].

    Its loss is minus the bound in nats; metric: "bound". `apply(params, stats, x, y)` gives the scores [B, B].
    The bound depends on the batch's size, so that micro-batches and devices, which cut a batch, change what is trained.

    Args:
      shape: of one x.
      shape_y: of one y.
      hidden: widths of the hidden layers of both perceptrons.
      features: of g(x) and h(y).

    Raises:
      ValueError: a size is not positive; a batch of other shapes, or with fewer y than x.
    """
    check_sizes(features=features)
    check_each(shape=shape, shape_y=shape_y, hidden=hidden)
    shape, shape_y = tuple(shape), tuple(shape_y)
    network = _Critic(tuple(hidden), features)

    def pairs(x, y):
        """x and y as vectors."""
        x, y = images({"x": x}, shape), images({"x": y}, shape_y)
        if len(x) != len(y):
            raise ValueError(f"each x needs its y, got {len(x)} and {len(y)}")
        return x.reshape(len(x), -1), y.reshape(len(y), -1)

    def of_batch(batch):
        return pairs(images(batch, shape), field(batch, "y", "name what is paired with x 'y'"))

    def init(key, batch):
        return network.init(key, *(part[:1] for part in of_batch(batch)))["params"], {}

    def apply(params, stats, x, y):
        """Scores [B, B]: row i of x_i, column j of y_j."""
        return network.apply({"params": params}, *pairs(x, y))

    def loss(params, stats, batch, key, *, step, train=True):
        """Minus the bound."""
        scores: Any = network.apply({"params": params}, *of_batch(batch))
        bound = info_nce_bound(scores)
        return -bound, (stats, {"bound": bound})

    return Model(init, loss, apply=apply)


class _Critic(nn.Module):
    hidden: tuple[int, ...]
    features: int

    @nn.compact
    def __call__(self, x, y):  # [B, D], [B, E] -> [B, B]
        found = []
        for h in (x, y):
            for width in self.hidden:
                h = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal())(h))
            found.append(nn.Dense(self.features)(h))
        return found[0] @ found[1].T
