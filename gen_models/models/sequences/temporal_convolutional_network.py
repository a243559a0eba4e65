"""A temporal convolutional network that reads vectors and answers at a sequence's end or at each of its steps.

Bai, Kolter & Koltun, An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling
(2018). Sequences x [B, T, F] go through the residual blocks of `gen_models.nn.temporal.TemporalConvolutions`, and a
linear map makes the answers; what is at step t depends on what came up to t alone:

    h = blocks(x);   answer_t = W h_t + b

An answer at the end of sequences of one length is computed from the steps alone that it depends on. Beside theirs:
kernels begin by LeCun's rule, not with deviation 0.01, and dropout drops units, not whole channels of a sequence. Of
tokens: `temporal_convolutions`; the same with states instead of windows: `recurrent_network`.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.core import Model
from gen_models.models.inputs import images
from gen_models.models.sequences.answers import HEADS, check_answers, checked_lengths, scored
from gen_models.models.sizes import check_sizes
from gen_models.models.supervised.heads import Answer
from gen_models.nn.dropout import check_dropout
from gen_models.nn.temporal import TemporalConvolutions


def temporal_convolutional_network(
    shape: Sequence[int],
    outputs: int,
    *,
    answer: Answer = "classes",
    at: Literal["end", "each"] = "end",
    features: int = 24,
    layers: int = 8,
    window: int = 7,
    growth: int = 2,
    weight_norm: bool = True,
    dropout: float | Array = 0.0,
    dtype: DTypeLike | None = None,
) -> Model:
    """A model of answers to sequences x [B, T, F]: a classifier, a tagger, or a regression.

    Its functions:
      loss: the mean over a batch's answers, as that of `recurrent_network`, from the same batches: "x", "y", and
        "length" where sequences are padded.
      apply(params, stats, x, lengths=None): logits [..., K], or the answers' means [..., D]; [...] is [B] at the end
        and [B, T] at each step. `deviations=True` gives the pair of means and standard deviations of "normal" answers.

    Args:
      shape: (T, F).
      outputs: K classes or D numbers.
      answer: what an answer is: one of K classes, D numbers, D independent normal distributions, or another head of
        `supervised/heads.py`.
      at: whether there is one answer, at a sequence's end, or one at each step.
      features: of each block.
      layers: blocks, each of two convolutions with dilation 1, growth, growth^2, ...
      window: taps of each convolution. An answer sees `temporal_receptive_field(layers, window, growth)` steps.
      growth: of the dilation, from a block to the next; 1: no block is dilated.
      weight_norm: whether kernels are weight-normalised.
      dropout: probability with which a unit is dropped in training, behind each convolution; may be traced.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters and losses stay float32.

    Raises:
      ValueError: a size is not positive, fewer than two classes, an unknown word, or `dropout` outside of [0, 1); a
        batch of another shape or without answers, and outside of `jit` a label of no class.
    """
    shape = check_answers(shape, outputs, answer, at)
    check_sizes(features=features, layers=layers, window=window, growth=growth)
    check_dropout(dropout)
    head = HEADS[answer](outputs)
    blocks = {
        "features": (features,) * layers,
        "window": window,
        "growth": growth,
        "weight_norm": weight_norm,
        "dropout": dropout,
    }
    network = _Network(width=head.width, at=at, blocks=blocks, dtype=dtype)

    def init(key, batch):
        images(batch, shape)  # a batch of another shape is refused here, before anything is compiled
        return network.init(key, jnp.zeros((1, 1, shape[1]), jnp.float32))["params"], {}

    def apply(
        params, stats, x: Float[Array, "b t f"], lengths: Int[Array, " b"] | None = None, *, deviations: bool = False
    ) -> Any:
        """Logits, or means of the answers; with `deviations`, means and standard deviations."""
        spread = head.deviations
        if deviations and spread is None:
            raise ValueError("these answers have no standard deviations: they are those of answer='normal'")
        x = images({"x": x}, shape)
        found = network.apply({"params": params}, x, None if lengths is None else checked_lengths(lengths, len(x)))
        return (head.predicted(found), spread(found)) if deviations and spread else head.predicted(found)

    def loss(params, stats, batch, key, *, step, train=True):
        """The mean over answers; dropout where `train`."""

        def read(x, lengths):
            lengths = None if lengths is None else checked_lengths(lengths, len(x))
            rngs = {"dropout": key} if train else None
            return network.apply({"params": params}, x, lengths, train, rngs=rngs), None

        value, metrics, _ = scored(head, at, batch, shape, read)
        return value, (stats, metrics)

    return Model(init=init, loss=loss, apply=apply)


class _Network(nn.Module, kw_only=True):
    width: int  # of an answer
    at: str
    blocks: Any
    dtype: DTypeLike | None

    @nn.compact
    def __call__(self, x, lengths=None, train=False):
        """[B, T, F] -> [B, D] or [B, T, D]. Padding stands behind a sequence's end, where no answer sees it."""
        blocks = TemporalConvolutions(**self.blocks, dtype=self.dtype, name="blocks")
        if self.at == "end" and lengths is None:
            h = blocks.last(x, train)
        else:
            h = blocks(x, train)
            if self.at == "end":
                h = h[jnp.arange(len(h)), jnp.maximum(lengths, 1) - 1]
        return nn.Dense(self.width, dtype=self.dtype, name="outputs")(h).astype(jnp.float32)
