"""ImageGPT: a transformer decoder over an image's pixels.

Chen et al., Generative Pretraining from Pixels (2020), section 3.2: layer l of the stream h is

    n = layer_norm(h);   a = h + attention(n);   h' = a + mlp(layer_norm(a))

with attention (Vaswani et al., 2017) to the positions before and the position itself; the input at a position is the
embedding of the pixel before it in raster order, plus a learned embedding of the position; a last layer norm and a
linear map, zero at first, give the logits. The paper's small model: 24 layers, 512 features, 8 heads.

Differs from the paper: a pixel with several channels is one position, not one of 512 colours of a palette. The stream
depends on earlier pixels, and a small layer with masks for the colours, after the transformer, adds the pixel's own
earlier channels (R -> G -> B). The first position's embedding stands for a start token: the two would always be added.
Labels are an embedding that is added to all positions. Dropout on the embeddings and on what each branch adds to the
stream, not on the attention's weights.
"""

from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.autoregressive.pixel_model import pixel_model
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.nn.causal_attention import CausalAttention, Previous, WithinPixel, at_position, level_weights
from gen_models.nn.dropout import Dropout, check_dropout
from gen_models.nn.heads import categorical


def image_gpt(
    shape: Sequence[int] = (28, 28, 1),
    levels: int = 2,
    *,
    features: int = 64,
    layers: int = 8,
    heads: int = 2,
    mlp_features: int | None = None,
    head_features: int | None = None,
    dropout: float | Array = 0.0,
    classes: int | None = None,
    chunk: int | None = 256,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of images of integers 0 to levels - 1; its functions are those of `pixel_model`.

    Args:
      shape: (height, width, channels).
      levels: values of a channel.
      features: of the stream, a multiple of `heads`.
      layers: of attention and MLP.
      heads: of each attention.
      mlp_features: hidden units of the MLPs; None: 4 `features`, as in the paper.
      head_features: for several channels, hidden units of the layer that adds the pixel's own; a multiple of the
        channels. None: `features`, or a little more.
      dropout: probability with which a unit is dropped in training; may be traced.
      classes: of labels to condition on; None: unconditional.
      chunk: queries that attention computes at a time for whole images: less memory, not another result. None: all.
      dtype: of the network's computations, such as `jnp.bfloat16`; the stream, parameters, softmax, losses and
        statistics stay float32.

    Raises:
      ValueError: a size is not positive, `heads` does not divide `features`, the channels do not divide
        `head_features`, or `dropout` is not in [0, 1).
    """
    check_sizes(shape=shape, features=features, layers=layers, heads=heads, chunk=chunk)
    mlp_features = 4 * features if mlp_features is None else mlp_features
    head_features = -(-features // shape[-1]) * shape[-1] if head_features is None else head_features
    check_sizes(mlp_features=mlp_features, head_features=head_features)
    check_divides("heads", heads, features=features)
    check_divides("channels", shape[-1], head_features=head_features)
    check_dropout(dropout)
    head = categorical(shape[-1], levels)
    network = _ImageGPT(
        features=features,
        layers=layers,
        heads=heads,
        mlp_features=mlp_features,
        head_features=head_features,
        outputs=head.outputs,
        levels=levels,
        dropout=dropout,
        classes=classes,
        chunk=chunk,
        dtype=dtype,
    )
    return pixel_model(network, head, shape, levels, classes=classes)


class _ImageGPT(nn.Module, kw_only=True):
    features: int
    layers: int
    heads: int
    mlp_features: int
    head_features: int
    outputs: int
    levels: int
    dropout: float | Array
    classes: int | None
    chunk: int | None
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, label, at, train):  # [B, H, W, C] -> [B, H, W, outputs]
        size, init = x.shape[1:3], nn.initializers.normal(0.02)
        out_init = nn.initializers.normal(0.02 / np.sqrt(2 * self.layers))  # GPT-2's: the stream keeps its scale
        dense = partial(nn.Dense, kernel_init=init, dtype=self.dtype)
        norm = partial(nn.LayerNorm, dtype=self.dtype)

        first = at_position(np.arange(size[0] * size[1]).reshape(*size, 1), at) == 0
        previous = level_weights(Previous(of_image=True)(x, at), self.levels)
        h = jnp.where(first, 0, dense(self.features, use_bias=False, name="levels")(previous))
        h += at_position(self.param("positions", init, (*size, self.features), jnp.float32), at)
        if self.classes is not None:
            h += nn.Embed(self.classes, self.features, embedding_init=init, name="label")(label)[:, None, None]
        h = Dropout()(h, self.dropout, train)
        for layer in range(self.layers):
            attend = CausalAttention(
                heads=self.heads,
                key_features=self.features,
                value_features=self.features,
                out_features=self.features,
                chunk=self.chunk,
                kernel_init=init,
                out_init=out_init,
                dtype=self.dtype,
                name=f"attention_{layer}",
            )
            a = attend(norm(name=f"before_attention_{layer}")(h), at)
            h += Dropout()(a, self.dropout, train)
            m = dense(self.mlp_features, name=f"mlp_in_{layer}")(norm(name=f"before_mlp_{layer}")(h))
            m = dense(self.features, kernel_init=out_init, name=f"mlp_out_{layer}")(nn.gelu(m))
            h += Dropout()(m, self.dropout, train)
        head = WithinPixel(
            outputs=self.outputs,
            hidden=self.head_features,
            levels=self.levels,
            by_channel=True,
            kernel_init=nn.initializers.zeros,
            dtype=self.dtype,
            name="head",
        )
        return head(norm(name="last")(h), x, at)
