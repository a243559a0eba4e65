"""A classifier of sentences by a bidirectional LSTM and the maximum over time.

Conneau et al., Supervised Learning of Universal Sentence Representations (2017), section 3.2.1 ("BiLSTM-max"): layers
read the words' features forward and backward (Schuster & Paliwal, 1997; Hochreiter & Schmidhuber, 1997), and each of
the outputs' features counts by its largest value over the sentence.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sizes import check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.dropout import Dropout
from gen_models.nn.recurrent import LSTM, Bidirectional
from gen_models.nn.word_features import WordFeatures


def sentence_lstm(
    length: int,
    vocabulary: int,
    num_classes: int,
    *,
    embedding: int = 100,
    features: int = 100,
    layers: int = 1,
    dropout: float | Array = 0.5,
    label_smoothing: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier of sentences [B, length] of integers below `vocabulary`, of which 0 is padding.

    Its functions are those of `models.supervised.classification.classifier`.

    Args:
      length: T, words of a sentence, padding among them.
      vocabulary: V, different tokens.
      num_classes: K; labels are integers in [0, K).
      embedding: features of a word.
      features: of each direction of each layer.
      layers: how many, one above another.
      dropout: probability with which a unit is dropped in training, before each layer and before the logits.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and softmax stay float32.

    Raises:
      ValueError: a size is not positive, or as `classifier`.
    """
    check_sizes(length=length, vocabulary=vocabulary, embedding=embedding, features=features, layers=layers)
    network = _Network(
        vocabulary=vocabulary,
        num_classes=num_classes,
        embedding=embedding,
        features=features,
        layers=layers,
        dtype=dtype,
    )
    return classifier(
        network, (length,), num_classes, dropout=dropout, label_smoothing=label_smoothing, tokens=vocabulary
    )


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    num_classes: int
    embedding: int
    features: int
    layers: int
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, T] -> [B, K]
        h, words = WordFeatures(vocabulary=self.vocabulary, features=self.embedding, dtype=self.dtype, name="words")(x)
        lengths = words.sum(1)
        for index in range(self.layers):
            there, back = (
                LSTM(self.features, reverse=reverse, dtype=self.dtype, name=f"{name}_{index}")
                for name, reverse in (("forward", False), ("backward", True))
            )
            h, _ = Bidirectional(there, back, name=f"both_{index}")(Dropout()(h, dropout, train), lengths=lengths)
        # Outputs of LSTMs are above -1; of a sentence without words all features are -1.
        h = jnp.where(words[..., None], h, -1).max(1)
        h = Dropout()(h, dropout, train)
        return nn.Dense(self.num_classes, dtype=self.dtype, name="logits")(h).astype(jnp.float32)
