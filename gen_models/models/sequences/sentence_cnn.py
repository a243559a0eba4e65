"""A classifier of sentences by convolutions over words and the maximum over time.

Kim, Convolutional Neural Networks for Sentence Classification (2014), with random embeddings ("CNN-rand"). Of words
x_1 ... x_n with k features each, window h and filter w,

    c_i = relu(w . x_(i:i+h-1) + b),   c = max over i of c_i

for several windows and many filters; dropout, then the logits. The window moves over the ends too, by h - 1 words, as
if zeros stood there. Columns of the last layer are bounded: a filter's weights of a class w with |w| > s count as
s w / |w| (section 2.1; the paper rescales them after a step, we where they are used).

The convolutions of a window of h words are one product of the words' features, h times side by side.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike

from gen_models.core import Model
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import classifier
from gen_models.nn.dropout import Dropout
from gen_models.nn.word_features import WordFeatures


def sentence_cnn(
    length: int,
    vocabulary: int,
    num_classes: int,
    *,
    embedding: int = 300,
    windows: Sequence[int] = (3, 4, 5),
    features: int = 100,
    dropout: float | Array = 0.5,
    norm_bound: float | Array = 3.0,
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
      windows: words that each convolution sees.
      features: filters of each window.
      dropout: probability with which a maximum is dropped in training; may be traced.
      norm_bound: s, the largest norm of a class's weights; may be traced.
      label_smoothing: share of the target that is spread evenly over the classes; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and softmax stay float32.

    Raises:
      ValueError: a size is not positive, there is no window, `norm_bound` is not positive, or as `classifier`.
    """
    check_sizes(length=length, vocabulary=vocabulary, embedding=embedding, features=features)
    check_each(windows=windows)
    if not windows:
        raise ValueError("windows must be one or more numbers of words, got windows=()")
    if isinstance(norm_bound, int | float) and not norm_bound > 0:
        raise ValueError(f"norm_bound must be positive, got {norm_bound}")
    network = _Network(
        vocabulary=vocabulary,
        num_classes=num_classes,
        embedding=embedding,
        windows=tuple(windows),
        features=features,
        norm_bound=norm_bound,
        dtype=dtype,
    )
    return classifier(
        network, (length,), num_classes, dropout=dropout, label_smoothing=label_smoothing, tokens=vocabulary
    )


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    num_classes: int
    embedding: int
    windows: tuple[int, ...]
    features: int
    norm_bound: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, dropout, train):  # [B, T] -> [B, K]
        init = nn.initializers.uniform(0.5)  # from 0 to 0.5, of which 0.25 is taken: the paper's from -0.25 to 0.25
        h, words = WordFeatures(
            vocabulary=self.vocabulary,
            features=self.embedding,
            embedding_init=lambda key, shape, dtype: init(key, shape, dtype) - 0.25,
            dtype=self.dtype,
            name="words",
        )(x)
        found = [self._maxima(h, words, window) for window in self.windows]
        h = Dropout()(jnp.concatenate(found, -1), dropout, train)
        # What the layer "logits" reads is what has an affine function, its bounded weights: features of the classifier.
        return _Bounded(self.num_classes, self.norm_bound, dtype=self.dtype, name="logits")(h).astype(jnp.float32)

    def _maxima(self, h, words, window):
        """[B, features]: of each filter of a window, its largest output over the sentence."""
        ends = window - 1
        padded = jnp.pad(h, ((0, 0), (ends, ends), (0, 0)))
        places = h.shape[1] + ends
        side_by_side = jnp.concatenate([padded[:, i : i + places] for i in range(window)], -1)
        c = nn.relu(nn.Dense(self.features, dtype=self.dtype, name=f"window_{window}")(side_by_side))
        # Of windows none of whose words is there, but those of a sentence without words, the outputs do not count.
        count = jnp.maximum(words.sum(1), 1)
        return jnp.where((jnp.arange(places) < (count + ends)[:, None])[..., None], c, 0).max(1)


class _Bounded(nn.Module):
    """A dense layer, each column of whose weights counts as one of a norm of at most the bound."""

    features: int
    bound: float | Array
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x):
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        norms = jnp.sqrt(jnp.square(kernel).sum(0) + 1e-12)
        kernel = kernel * jnp.minimum(1, self.bound / norms)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return x @ kernel + bias
