"""A transformer decoder as a language model (GPT).

Vaswani et al., Attention Is All You Need (2017); as a decoder alone: Radford et al., Improving Language Understanding
by Generative Pre-Training (2018); layer norms before each branch: Radford et al., GPT-2 (2019), section 2.3. Layer l of
the stream h, which begins as the token's embedding and its position's, is

    a = h + attention(layer_norm(h));   h' = a + mlp(layer_norm(a))

with attention to the position itself and those before it; a last layer norm, and a product with the embeddings, give
the logits (Press & Wolf, Using the Output Embedding, 2017).

Positions are learned, sinusoidal, times 0.02, or rotary (Su et al., RoFormer, 2021); with rotary ones nothing is added
to the stream. Weights begin as GPT-2's: normal with standard deviation 0.02, divided by sqrt(2 layers) where a branch
joins the stream.
"""

from functools import partial
from typing import Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sequences.token_model import token_model
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.nn.attention import Attention, KeysValues, sinusoids
from gen_models.nn.dropout import Dropout, check_dropout

POSITIONS = ("learned", "sinusoidal", "rotary", "none")
DEVIATION = 0.02  # of weights at the start


def transformer(
    vocabulary: int,
    *,
    context: int = 64,
    features: int = 128,
    layers: int = 4,
    heads: int = 4,
    mlp_features: int | None = None,
    positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned",
    dropout: float | Array = 0.0,
    tied: bool = True,
    use_bias: bool = False,
    start: int = 0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of tokens 0 to vocabulary - 1; its functions are those of `token_model`.

    Args:
      vocabulary: different tokens.
      context: tokens that it sees at once.
      features: of the stream, a multiple of `heads`.
      layers: of attention and MLP.
      heads: of each attention.
      mlp_features: hidden units of the MLPs; None: 4 `features`.
      positions: how it is told the order; "none": only by what each position sees (Haviv et al., 2022).
      dropout: probability with which a unit is dropped in training, of the embeddings and of what each branch adds;
        may be traced.
      tied: whether the embeddings are the last layer's weights too.
      use_bias: whether linear maps and layer norms have biases.
      start: the token that a sequence begins after.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, softmax and losses stay float32.

    Raises:
      ValueError: a size is not positive, `heads` does not divide `features`, rotary positions of heads of an odd width,
        an unknown kind of positions, or `dropout` is not in [0, 1).
    """
    check_sizes(vocabulary=vocabulary, context=context, features=features, layers=layers, heads=heads)
    mlp_features = 4 * features if mlp_features is None else mlp_features
    check_sizes(mlp_features=mlp_features)
    check_divides("heads", heads, features=features)
    check_dropout(dropout)
    if positions not in POSITIONS:
        raise unknown("kind of positions", positions, POSITIONS)
    if positions == "rotary" and features // heads % 2:
        raise ValueError(f"rotary positions turn pairs of features: {features} over {heads} heads is odd")
    network = _Transformer(
        vocabulary=vocabulary,
        context=context,
        features=features,
        layers=layers,
        heads=heads,
        mlp_features=mlp_features,
        positions=positions,
        dropout=dropout,
        tied=tied,
        use_bias=use_bias,
        dtype=dtype,
    )
    return token_model(network, vocabulary, context=context, start=start)


class _Transformer(nn.Module, kw_only=True):
    vocabulary: int
    context: int
    features: int
    layers: int
    heads: int
    mlp_features: int
    positions: str
    dropout: float | Array
    tied: bool
    use_bias: bool
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, tokens, cache, lengths, train, t=0):  # [B, T] -> [B, T, V]
        init = nn.initializers.normal(DEVIATION)
        out_init = nn.initializers.normal(DEVIATION / np.sqrt(2 * self.layers))
        dense = partial(nn.Dense, use_bias=self.use_bias, kernel_init=init, dtype=self.dtype)
        norm = partial(nn.LayerNorm, use_bias=self.use_bias, epsilon=1e-5, dtype=self.dtype)
        attend = partial(Attention, heads=self.heads, features=self.features, causal=True, use_bias=self.use_bias)
        attend = partial(attend, rotary=self.positions == "rotary", kernel_init=init, out_init=out_init)

        embed = nn.Embed(self.vocabulary, self.features, embedding_init=init, dtype=self.dtype, name="tokens")
        h = embed(tokens)
        if self.positions in ("learned", "sinusoidal"):
            shape = (self.context, self.features)
            learned = self.positions == "learned"
            # Beside embeddings of this deviation sinusoids of size 1 would drown the tokens; the paper multiplies the
            # embeddings, which is the same but for the stream's scale, and that goes with the first layer norm.
            table = self.param("positions", init, shape, jnp.float32) if learned else DEVIATION * sinusoids(*shape)
            h += lax.dynamic_slice_in_dim(jnp.asarray(table), t, tokens.shape[1]).astype(h.dtype)
        h = Dropout()(h, self.dropout, train)
        kept = []
        for layer in range(self.layers):
            # Padding stands behind what counts, where causal attention does not look: no mask of it is needed.
            a, keys_values = attend(dtype=self.dtype, name=f"attention_{layer}")(
                norm(name=f"before_attention_{layer}")(h), cache=None if cache is None else cache[layer], t=t
            )
            kept.append(keys_values)
            h += Dropout()(a, self.dropout, train)
            m = dense(self.mlp_features, name=f"mlp_in_{layer}")(norm(name=f"before_mlp_{layer}")(h))
            m = dense(self.features, kernel_init=out_init, name=f"mlp_out_{layer}")(nn.gelu(m, approximate=False))
            h += Dropout()(m, self.dropout, train)
        h = norm(name="last")(h)
        if self.tied:
            logits = embed.attend(h)
        else:
            logits = dense(self.vocabulary, use_bias=False, name="logits")(h)
        return logits.astype(jnp.float32), None if cache is None else tuple(kept)

    def step(self, token, cache, t):
        logits, cache = self(token[:, None], cache, None, False, t)
        return logits[:, 0], cache

    def empty(self, batch, length):
        shape = (batch, self.heads, length, self.features // self.heads)
        dtype = jnp.float32 if self.dtype is None else self.dtype
        return tuple(KeysValues(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(self.layers))
