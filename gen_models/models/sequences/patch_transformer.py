"""A transformer of patches: Nie et al., A Time Series is Worth 64 Words (PatchTST, 2023).

Each column is a series of its own, with the same network for all. It is made to mean 0 and deviation 1 over the rows
that are read, cut into patches of P rows every S rows (the last row is repeated S times first), which an affine map and
a learned position make vectors; a transformer's encoder (Vaswani et al., 2017, layer norms first) reads these, and one
affine map of all of its outputs gives the H rows that follow, to which mean and deviation are given back. How we
differ: layer norms in place of batch norms, and mean and deviation without learned scales.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sequences.forecaster import forecaster
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.nn.attention import Attention
from gen_models.nn.dropout import Dropout, check_dropout


def patch_transformer(
    shape: Sequence[int],
    horizon: int,
    *,
    patch: int = 16,
    stride: int = 8,
    features: int = 16,
    layers: int = 3,
    heads: int = 4,
    dropout: float | Array = 0.3,
    quantiles: Sequence[float] | None = None,
    dtype: DTypeLike | None = None,
) -> Model:
    """A transformer's encoder as a model of the rows that follow; its functions are those of `forecaster`.

    The default sizes but for the width of the MLP, 4 times the features here and 8 times there, are those of the paper
    for small data.

    Args:
      shape: (L, F).
      horizon: H.
      patch: P, rows of a patch, at most L.
      stride: S, rows from one patch to the next.
      features: width of the stream.
      layers: how many, each of attention and an MLP.
      heads: of each attention; a divisor of `features`.
      dropout: probability with which a unit is dropped in training; may be traced.
      quantiles: levels, where intervals are wanted.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, the heads do not divide the features, the patch is longer than what is read,
        `dropout` is outside of [0, 1), or as `forecaster`.
    """
    check_sizes(patch=patch, stride=stride, features=features, layers=layers, heads=heads)
    check_divides("heads", heads, features=features)
    check_dropout(dropout)
    if len(tuple(shape)) == 2 and patch > shape[0]:
        raise ValueError(f"patch={patch} is longer than the {shape[0]} rows that are read: take a shorter one")
    sizes: dict[str, Any] = {"patch": patch, "stride": stride, "features": features, "layers": layers, "heads": heads}
    network = partial(_Network, horizon=horizon, **sizes, dropout=dropout, dtype=dtype)
    return forecaster(network, shape, horizon, quantiles)


class _Network(nn.Module, kw_only=True):
    outputs: int
    horizon: int
    patch: int
    stride: int
    features: int
    layers: int
    heads: int
    dropout: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, train=False):  # [B, L, F] -> [B, H, F, Q]
        batch, rows, columns = x.shape
        mean = x.mean(1, keepdims=True)
        deviation = jnp.sqrt(x.var(1, keepdims=True) + 1e-5)
        alone = ((x - mean) / deviation).swapaxes(1, 2).reshape(batch * columns, rows)
        alone = jnp.pad(alone, ((0, 0), (0, self.stride)), mode="edge")
        starts = jnp.arange(0, alone.shape[1] - self.patch + 1, self.stride)
        h = nn.Dense(self.features, dtype=self.dtype, name="patches")(
            alone[:, starts[:, None] + jnp.arange(self.patch)]
        )
        h = h + self.param("positions", nn.initializers.normal(0.02), (len(starts), self.features), jnp.float32).astype(
            h.dtype
        )
        h = self._encoded(Dropout()(h, self.dropout, train), train).reshape(batch * columns, -1)
        h = Dropout()(h, self.dropout, train)
        y = nn.Dense(self.horizon * self.outputs, dtype=self.dtype, name="outputs")(h)
        y = y.reshape(batch, columns, self.horizon, self.outputs).swapaxes(1, 2).astype(jnp.float32)
        return y * deviation[..., None] + mean[..., None]

    def _encoded(self, h, train):
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        drop = lambda h: Dropout()(h, self.dropout, train)  # noqa: E731
        for layer in range(self.layers):
            attend = Attention(heads=self.heads, features=self.features, dtype=self.dtype, name=f"attention_{layer}")
            a, _ = attend(norm(name=f"before_attention_{layer}")(h))
            h = h + drop(a)
            m = nn.Dense(4 * self.features, dtype=self.dtype, name=f"mlp_in_{layer}")(
                norm(name=f"before_mlp_{layer}")(h)
            )
            h = h + drop(nn.Dense(self.features, dtype=self.dtype, name=f"mlp_out_{layer}")(nn.gelu(m)))
        return norm(name="last")(h)
