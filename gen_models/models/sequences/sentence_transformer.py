"""A classifier of sentences by a transformer's encoder and the mean over words.

Vaswani et al., Attention Is All You Need (2017): each word attends to all words of the sentence, before and behind it.
Layer norms stand before each branch (Xiong et al., On Layer Normalization in the Transformer Architecture, 2020):

    a = h + attention(layer_norm(h));   h' = a + mlp(layer_norm(a))

The stream h begins as the word's embedding and its position's sinusoids; the mean over words of its last layer norm is
what the logits are made of.
"""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sizes import check_divides, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.attention import Attention, sinusoids
from gen_models.nn.dropout import Dropout
from gen_models.nn.word_features import WordFeatures, mean_of_words


def sentence_transformer(
    length: int,
    vocabulary: int,
    num_classes: int,
    *,
    features: int = 64,
    layers: int = 2,
    heads: int = 4,
    dropout: float | Array = 0.1,
    label_smoothing: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier of sentences [B, length] of integers below `vocabulary`, of which 0 is padding.

    Its functions are those of `models.supervised.classification.classifier`.

    Args:
      length: T, words of a sentence, padding among them.
      vocabulary: V, different tokens.
      num_classes: K; labels are integers in [0, K).
      features: of the stream, a multiple of `heads`.
      layers: of attention and MLP.
      heads: of each attention.
      dropout: probability with which a unit is dropped in training, of the embeddings, of what each branch adds and
        before the logits; may be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and softmax stay float32.

    Raises:
      ValueError: a size is not positive, `heads` does not divide `features`, or as `classifier`.
    """
    check_sizes(length=length, vocabulary=vocabulary, features=features, layers=layers, heads=heads)
    check_divides("heads", heads, features=features)
    network = _Network(
        vocabulary=vocabulary, num_classes=num_classes, features=features, layers=layers, heads=heads, dtype=dtype
    )
    return classifier(
        network, (length,), num_classes, dropout=dropout, label_smoothing=label_smoothing, tokens=vocabulary
    )


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    num_classes: int
    features: int
    layers: int
    heads: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, T] -> [B, K]
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        drop = lambda h: Dropout()(h, dropout, train)  # noqa: E731
        h, words = WordFeatures(vocabulary=self.vocabulary, features=self.features, dtype=self.dtype, name="words")(x)
        h = drop(h + jnp.asarray(sinusoids(x.shape[1], self.features)).astype(h.dtype))
        for layer in range(self.layers):
            attend = Attention(heads=self.heads, features=self.features, dtype=self.dtype, name=f"attention_{layer}")
            a, _ = attend(norm(name=f"before_attention_{layer}")(h), lengths=words.sum(1))
            h += drop(a)
            m = nn.Dense(4 * self.features, dtype=self.dtype, name=f"mlp_in_{layer}")(
                norm(name=f"before_mlp_{layer}")(h)
            )
            h += drop(nn.Dense(self.features, dtype=self.dtype, name=f"mlp_out_{layer}")(nn.gelu(m, approximate=False)))
        h = drop(mean_of_words(norm(name="last")(h), words))
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h).astype(jnp.float32)
