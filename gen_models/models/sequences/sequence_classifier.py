"""A small causal network that reads tokens and answers at the last one: an LSTM or convolutions, then attention or not.

Tokens are embedded, with a learned vector for each position; a mixer (LSTM, causal convolutions or none) reads the
sequence; causal attention (Vaswani et al., Attention Is All You Need, 2017, section 3.2), added to what it reads, may
follow; the last position's features make the logits. What attention is for: the state that an LSTM carries, and what a
convolution's window sees, are of fixed size, and a position that attends can fetch from any other one (Bahdanau et al.,
Neural Machine Translation by Jointly Learning to Align and Translate, 2015).
"""

from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array

from gen_models.core import Model
from gen_models.errors import unknown
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.causal_attention import CausalAttention
from gen_models.nn.conv import Conv
from gen_models.nn.recurrent import LSTM

MIXERS = ("none", "lstm", "conv")


def sequence_classifier(
    *,
    length: int,
    vocabulary: int,
    num_classes: int,
    features: int = 32,
    mixer: Literal["none", "lstm", "conv"] = "lstm",
    layers: int = 1,
    window: int = 3,
    attention: bool = True,
    heads: int = 1,
    label_smoothing: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier of sequences [B, length] of integers below `vocabulary`, by what comes last.

    Args:
      length: tokens of a sequence.
      vocabulary: different tokens.
      num_classes: K; labels are integers in [0, K).
      features: width of everything.
      mixer: what reads the sequence first.
      layers: of the mixer; each convolution adds its output, behind a ReLU, to its input.
      window: tokens that a convolution sees: its own and those before it.
      attention: whether attention follows.
      heads: of attention; they divide `features`.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and softmax stay float32.

    Raises:
      ValueError: a size is not positive, the mixer is unknown, `heads` does not divide `features`, or as `classifier`.
    """
    check_sizes(length=length, vocabulary=vocabulary, features=features, layers=layers, window=window, heads=heads)
    if mixer not in MIXERS:
        raise unknown("mixer", mixer, MIXERS)
    check_divides("heads", heads, features=features)
    network = _Network(
        vocabulary=vocabulary,
        num_classes=num_classes,
        features=features,
        mixer=mixer,
        layers=layers,
        window=window,
        attention=attention,
        heads=heads,
        dtype=dtype,
    )
    return classifier(network, (length,), num_classes, label_smoothing=label_smoothing, tokens=vocabulary)


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    num_classes: int
    features: int
    mixer: str
    layers: int
    window: int
    attention: bool
    heads: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, T] -> [B, K]
        tokens = x.astype(jnp.int32)
        h = nn.Embed(self.vocabulary, self.features, dtype=self.dtype, name="tokens")(tokens)
        h += nn.Embed(x.shape[1], self.features, dtype=self.dtype, name="positions")(jnp.arange(x.shape[1]))
        for i in range(self.layers if self.mixer != "none" else 0):
            if self.mixer == "lstm":
                h, _ = LSTM(self.features, dtype=self.dtype, name=f"lstm_{i}")(h)
            else:
                conv = Conv(self.features, (self.window,), padding="CAUSAL", dtype=self.dtype, name=f"conv_{i}")
                h += nn.relu(conv(h))
        if self.attention:
            attend = CausalAttention(
                heads=self.heads,
                key_features=self.features,
                value_features=self.features,
                out_features=self.features,
                dtype=self.dtype,
                name="attention",
            )
            h += attend(h[:, None])[:, 0]  # a sequence is an image of one row
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h[:, -1]).astype(jnp.float32)
