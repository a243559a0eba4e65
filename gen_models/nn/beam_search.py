"""Beam search: the most probable sequences that a model of tokens has, as far as K hypotheses at a time can tell.

Sutskever et al., Sequence to Sequence Learning with Neural Networks (2014), section 3.2; ranked at the end, where asked
for, with the length penalty of Wu et al., Google's Neural Machine Translation System (2016), eq. 14:

    s(y) = log p(y) / lp(y),   lp(y) = ((5 + |y|) / 6)^alpha,   |y| with the token that ends it

Each of K hypotheses is extended by every token. Of the K most probable extensions those that end are finished, of which
the K with the highest scores are kept; the K most probable that do not end go on. At the last step those that go on are
ranked with the finished: what is cut there is an outcome as well. So a width of 1 without a length penalty is the
greedy choice of each token, and one of all sequences is an exhaustive search. Nothing else is pruned. In particular a
search is not over once K hypotheses have finished: where a network is sure, K improbable ones that end early come
first.

The search is one scan; what a network keeps of each hypothesis is gathered along with it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int


class Beams(NamedTuple):
    """Hypotheses of each example, the best first; those beyond the number of outcomes have log-probability -inf."""

    tokens: Int[Array, "b k t"]  # all are the stop token behind the first of these
    log_probs: Float[Array, "b k"]  # nats, up to and with the stop token
    scores: Float[Array, "b k"]  # the log-probabilities over the length penalty


class _Going(NamedTuple):
    """Hypotheses that have not ended: the last token of each is what the network reads next."""

    tokens: Array  # [B, K, T]
    last: Array  # [B, K]
    log_probs: Array  # [B, K]
    cache: Any  # [B K, ...] on every leaf


def length_penalty(length: Int[Array, "*n"] | int, alpha: float | Array) -> Float[Array, "*n"]:
    """Wu et al. (2016), eq. 14: ((5 + length) / 6)^alpha, 1 at alpha = 0."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** jnp.asarray(alpha, jnp.float32)


def repeated(tree: Any, beams: int) -> Any:
    """[B, ...] -> [B K, ...] on every leaf: the K copies of an example stand side by side."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), tree)


def beam_search(
    step: Callable[[Array, Any, Array], tuple[Array, Any]],
    cache: Any,
    batch: int,
    *,
    beams: int,
    length: int,
    start: int,
    stop: int | None = None,
    alpha: float | Array = 0.0,
) -> Beams:
    """The K best hypotheses of each example.

    Args:
      step: (token [B K], cache, t) -> (logits [B K, V], cache): the t-th token is read, and the next one is predicted.
        What it knows of an example besides the cache must be `repeated` K times.
      cache: what is kept of no token, [B, ...] on every leaf.
      batch: B.
      beams: K.
      length: T, the most tokens of a hypothesis.
      start: the token that is read first.
      stop: the token that ends a hypothesis; None: all have T tokens.
      alpha: of the length penalty; 0: none. May be traced.

    Raises:
      ValueError: `beams` or `length` is below 1.
    """
    if beams < 1 or length < 1:
        raise ValueError(f"a search has 1 beam and 1 token or more, got beams={beams}, length={length}")
    fill = 0 if stop is None else stop
    nothing = jnp.full((batch, beams, length), fill, jnp.int32)
    none = jnp.full((batch, beams), -jnp.inf, jnp.float32)
    # One hypothesis at first: K equal ones would stay equal.
    going = _Going(nothing, jnp.full((batch, beams), start, jnp.int32), none.at[:, 0].set(0), repeated(cache, beams))

    def one(carry: tuple[_Going, Beams], t: Array) -> tuple[tuple[_Going, Beams], None]:
        going, finished = carry
        logits, cache = step(going.last.reshape(-1), going.cache, t)
        beam, token, log_probs = _extensions(going.log_probs, logits)
        ends = jnp.zeros(token.shape, bool) if stop is None else token == stop
        tokens = _chosen(going.tokens, beam).at[:, :, t].set(token)
        ended = jnp.where(ends, log_probs, -jnp.inf)[:, :beams]
        score = ended / length_penalty(t + 1, alpha)
        finished = _best(finished, Beams(tokens[:, :beams], ended, score))
        kept, on = lax.top_k(jnp.where(ends, -jnp.inf, log_probs), beams)
        cache = jax.tree.map(lambda leaf: _reordered(leaf, _chosen(beam, on)), cache)
        return (_Going(_chosen(tokens, on), _chosen(token, on), kept, cache), finished), None

    (going, finished), _ = lax.scan(one, (going, Beams(nothing, none, none)), jnp.arange(length))
    cut = going.log_probs
    return _best(finished, Beams(going.tokens, cut, cut / length_penalty(length, alpha)))


def _extensions(log_probs: Array, logits: Array) -> tuple[Array, Array, Array]:
    """The 2 K most probable extensions of K hypotheses: which one each extends, by which token, and log p; [B, 2 K].

    No more than K of them end, one of each hypothesis, so that K that do not are always among them.
    """
    batch, beams = log_probs.shape
    vocabulary = logits.shape[-1]
    each = log_probs[..., None] + jax.nn.log_softmax(logits.astype(jnp.float32)).reshape(batch, beams, vocabulary)
    values, index = lax.top_k(each.reshape(batch, -1), min(2, vocabulary) * beams)
    return index // vocabulary, index % vocabulary, values


def _chosen(values: Array, index: Array) -> Array:
    """[B, N, ...] at [B, M] -> [B, M, ...]."""
    return jnp.take_along_axis(values, index.reshape(*index.shape, *[1] * (values.ndim - 2)), 1)


def _reordered(leaf: Array, beam: Array) -> Array:
    """[B K, ...], of each example's hypotheses those at [B, K]."""
    return _chosen(leaf.reshape(*beam.shape, *leaf.shape[1:]), beam).reshape(leaf.shape)


def _best(first: Beams, second: Beams) -> Beams:
    """The K of the highest scores among both."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], 1), first, second)
    index = lax.top_k(both.scores, first.scores.shape[1])[1]
    return jax.tree.map(lambda values: _chosen(values, index), both)
