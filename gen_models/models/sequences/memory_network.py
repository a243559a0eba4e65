"""An end-to-end memory network: it answers a question about sentences by looking among them several times.

Sukhbaatar, Szlam, Weston & Fergus, End-To-End Memory Networks (2015). A sentence x_i of words x_ij is, in an embedding
of d features, the sum of its words, weighed by position (section 4.1, "PE"), and a vector for its time (T_i, for the
i-th sentence counted from the newest):

    m_i = sum_j l_j * A x_ij + T_A(i),   l_kj = (1 - j / J) - (k / d) (1 - 2 j / J)        (J words, j and k from 1)

c_i is the same by another embedding C, and the question u by B. In a hop the network looks at the sentences that are
like the question, and adds what it finds:

    p_i = softmax_i(u . m_i),   o = sum_i p_i c_i,   u' = u + o                            (equations 1 to 4)

Embeddings are tied between neighbours ("adjacent", section 2.2): hop k + 1 has A = C of hop k, T_A likewise, B = A of
the first, and the answer is a word, by the C of the last: logits = C u. So K hops have K + 1 tables.

"Linear start" (section 4.2) omits the softmax of p in the first `linear_steps` steps of training, p_i = u . m_i; in
theirs, until the loss on validation data stops falling. Padding (token 0) is nothing: its embedding is 0, and sentences
of padding alone are not looked at, where their code gives them the logit 0. Their 10 % of empty memories, which shift
the times of those before them, are a transform of the data: `gm.with_empty_sentences`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gen_models.core import Model
from gen_models.models.inputs import images, known
from gen_models.models.sizes import check_each, check_sizes
from gen_models.models.supervised.classification import classifier


def memory_network(
    shape: Sequence[int],
    vocabulary: int,
    *,
    features: int = 20,
    hops: int = 3,
    position_encoding: bool = True,
    linear_steps: int = 0,
    deviation: float = 0.1,
    dtype: DTypeLike | None = None,
) -> Model:
    """A classifier of questions about sentences, x [B, 1 + M, W] of integers below `vocabulary`, of which 0 is padding.

    Row 0 of an x is the question, row i the i-th sentence, counted from the newest. The answer y, [B], is a token. Its
    loss is that of `models.supervised.classification.classifier` with as many classes as tokens, and

      apply(params, stats, x, attended=False): logits [B, V]; with `attended` also p [B, hops, M], what each hop looks
        at, which is 0 of rows that are padding.

    Args:
      shape: (1 + M, W), rows and words.
      vocabulary: V, different tokens.
      features: d of each embedding.
      hops: K, how often the sentences are looked at.
      position_encoding: whether words are weighed by their positions; else a sentence is the sum of its words.
      linear_steps: first training steps in which p has no softmax; evaluation always has.
      deviation: of the normal distribution by which all embeddings begin.
      dtype: of the network's computations, such as `jnp.bfloat16`; parameters, losses and softmax stay float32.

    Raises:
      ValueError: a size is not positive, the shape has no row for a sentence, `linear_steps` is negative, or as
        `classifier`.
    """
    check_each(shape=shape)
    if len(shape) != 2 or shape[0] < 2:
        raise ValueError(f"a story's shape is (1 + sentences, words), got shape={tuple(shape)}")
    shape = tuple(shape)
    check_sizes(vocabulary=vocabulary, features=features, hops=hops)
    if linear_steps < 0:
        raise ValueError(f"linear_steps must be 0 or more, got {linear_steps}")
    sizes: dict[str, Any] = {"vocabulary": vocabulary, "features": features, "hops": hops, "dtype": dtype}
    sizes |= {"position_encoding": position_encoding, "deviation": deviation}
    network = _Network(**sizes)
    made = classifier(network, shape, vocabulary, tokens=vocabulary)
    linear = classifier(_Network(**sizes, linear=True), shape, vocabulary, tokens=vocabulary)
    whole: Any = made.loss
    begun: Any = linear.loss

    def loss(params, stats, batch, key, *, step, train=True):
        """Mean cross-entropy in nats."""

        def by(one):
            return lambda params: one(params, stats, batch, key, step=step, train=train)

        if not (train and linear_steps):
            return by(whole)(params)
        if known(step):  # outside of `jit`, where bad labels and tokens are errors: `cond` would trace them
            return by(begun if step < linear_steps else whole)(params)
        return jax.lax.cond(step < linear_steps, by(begun), by(whole), params)

    def apply(params, stats, x: Int[Array, "b rows words"], *, attended: bool = False) -> Any:
        """Logits [B, V]; with `attended`, also what each hop looks at."""
        logits = made.apply(params, stats, x)
        if not attended:
            return logits
        _, kept = network.apply({"params": params}, images({"x": x}, shape), mutable=["intermediates"])
        return logits, jnp.stack(kept["intermediates"]["attended"], 1)

    return Model(made.init, loss, apply=apply)


def position_weights(words: Int[Array, "... w"], features: int) -> Float[Array, "... w d"]:
    """The weights l_kj of position encoding for sentences of tokens, of J words each; 0 of padding, which is behind."""
    count = (words != 0).sum(-1)[..., None, None]
    j = jnp.arange(1, words.shape[-1] + 1, dtype=jnp.float32)[:, None] / jnp.maximum(count, 1)
    k = jnp.arange(1, features + 1, dtype=jnp.float32) / features
    return jnp.where(words[..., None] != 0, (1 - j) - k * (1 - 2 * j), 0)


class _Network(nn.Module, kw_only=True):
    vocabulary: int
    features: int
    hops: int
    position_encoding: bool
    deviation: float
    dtype: DTypeLike | None
    linear: bool = False

    @nn.compact
    def __call__(self, x, dropout=0.0, train=False):  # [B, 1 + M, W] -> [B, V]
        x = x.astype(jnp.int32)
        init, tables = nn.initializers.normal(self.deviation), self.hops + 1
        words, times = nn.dtypes.promote_dtype(
            self.param("words", init, (self.vocabulary, tables, self.features), jnp.float32),
            self.param("times", init, (x.shape[1] - 1, tables, self.features), jnp.float32),
            dtype=self.dtype,
        )
        if self.position_encoding:
            weights = position_weights(x, self.features).astype(words.dtype)
        else:
            weights = jnp.broadcast_to((x != 0)[..., None], (*x.shape, self.features)).astype(words.dtype)
        # One look-up for all tables: [B, 1 + M, W, K + 1, d] -> [B, 1 + M, K + 1, d]
        sentences = (words[x] * weights[..., None, :]).sum(2)
        memories, u = sentences[:, 1:] + times, sentences[:, 0, 0]
        told = (x[:, 1:] != 0).any(-1)
        for hop in range(self.hops):
            likeness = jnp.einsum("bd,bmd->bm", u, memories[:, :, hop]).astype(jnp.float32)
            if self.linear:
                p = jnp.where(told, likeness, 0)
            else:  # padding has exactly 0, also where a story has no sentence at all
                p = jnp.where(told, nn.softmax(jnp.where(told, likeness, -1e30)), 0)
            self.sow("intermediates", "attended", p)
            u = u + jnp.einsum("bm,bmd->bd", p.astype(u.dtype), memories[:, :, hop + 1])
        return (u @ words[:, -1].T).astype(jnp.float32)
