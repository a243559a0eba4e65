"""Connectionist temporal classification: how probable labels are, given outputs at more steps than there are labels.

Graves et al., Connectionist Temporal Classification (2006). At each of T steps there is a probability of each of K
labels and of the blank, which is the last output. A path names one of them at each step; it stands for the labels that
are left when repeats are merged and blanks are then removed. The probability of labels is that of all their paths:

    p(l | x) = sum over paths that stand for l of prod_t p_t(path_t)

It is computed exactly, by their forward recursion (eq. 6 to 8; `optax.ctc_loss`). Equal labels side by side need a
blank between, so that labels with r such repeats have a path only if there are T >= |l| + r steps.

The most probable path is found at once (`ctc_greedy`); the most probable labels are sought by prefix beam search
(Graves & Jaitly, Towards End-to-End Speech Recognition with Recurrent Neural Networks, 2014, algorithm 1). Of each
prefix l there are two sums over paths, those that end in a blank, b, and those that do not, n:

    b_t(l) = (b + n)_(t-1)(l) p_t(blank)
    n_t(l) = n_(t-1)(l) p_t(last of l) + [paths from the prefix l' with l = l' + c] p_t(c) ((b + n)_(t-1)(l'), or
             b_(t-1)(l') where l' ends in c as well)
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

NOTHING = -1  # what fills up labels behind their count


def ctc_log_prob(
    logits: Float[Array, "b t k"],
    lengths: Int[Array, " b"],
    labels: Int[Array, "b n"],
    counts: Int[Array, " b"],
) -> Float[Array, " b"]:
    """log p(labels | outputs) in nats, exact; -inf where there are too few steps for them.

    Args:
      logits: of K - 1 labels, then of the blank.
      lengths: how many of the T steps count.
      labels: from 0 to K - 2; what stands behind `counts` is not read.
      counts: how many labels there are, from 0 on.

    Raises:
      ValueError: shapes do not fit.
    """
    _check(logits, lengths)
    if labels.ndim != 2 or len(labels) != len(logits) or counts.shape != lengths.shape:
        raise ValueError(f"labels must be [{len(logits)}, N] and counts [{len(logits)}], got {labels.shape} and "
                         f"{counts.shape}")  # fmt: skip
    steps = (jnp.arange(logits.shape[1]) >= lengths[:, None]).astype(jnp.float32)
    padding = jnp.arange(labels.shape[1]) >= counts[:, None]
    known = jnp.where(padding, 0, labels)
    value = -optax.ctc_loss(
        logits.astype(jnp.float32), steps, known, padding.astype(jnp.float32), blank_id=logits.shape[-1] - 1
    )
    repeats = ((known[:, 1:] == known[:, :-1]) & ~padding[:, 1:]).sum(1)
    return jnp.where(lengths >= counts + repeats, value, -jnp.inf)


def ctc_greedy(logits: Float[Array, "b t k"], lengths: Int[Array, " b"]) -> tuple[Int[Array, "b t"], Int[Array, " b"]]:
    """The labels of the most probable path, filled up with -1, and how many there are.

    Raises:
      ValueError: shapes do not fit.
    """
    _check(logits, lengths)
    path = logits.argmax(-1).astype(jnp.int32)
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=NOTHING)
    inside = jnp.arange(path.shape[1]) < lengths[:, None]
    kept = (path != before) & (path != logits.shape[-1] - 1) & inside
    order = jnp.argsort(~kept, axis=1, stable=True)  # those that are kept first, in their order
    counts = kept.sum(1).astype(jnp.int32)
    found = jnp.take_along_axis(path, order, 1)
    return jnp.where(jnp.arange(path.shape[1]) < counts[:, None], found, NOTHING), counts


class Prefixes(NamedTuple):
    """Labels that a beam search found, the most probable first."""

    labels: Int[Array, "b beams n"]  # filled up with -1
    counts: Int[Array, "b beams"]
    log_probs: Float[Array, "b beams"]  # nats; -inf where fewer than `beams` were found


class _Beam(NamedTuple):
    """The prefixes of one sequence: distinct, and of their paths the two sums of probabilities, as logarithms."""

    labels: Array  # [K, N]
    counts: Array  # [K]
    blank: Array  # [K]: paths that end in the blank
    label: Array  # [K]: paths that end in the prefix's last label


def ctc_beam_search(
    logits: Float[Array, "b t k"], lengths: Int[Array, " b"], *, beams: int = 8, longest: int = 16
) -> Prefixes:
    """The most probable labels by prefix beam search, of which `beams` are kept at each step; compiled, without a loop.

    With as many beams as there are prefixes it is exhaustive, and the probabilities are exact; else they are those of
    the paths that were not given up, which is a lower bound.

    Args:
      logits: of K - 1 labels, then of the blank.
      lengths: how many of the T steps count.
      beams: prefixes that are kept.
      longest: N, labels of the longest prefix; longer ones are not sought.

    Raises:
      ValueError: shapes do not fit, or a number is below 1.
    """
    _check(logits, lengths)
    if beams < 1 or longest < 1:
        raise ValueError(f"beams and longest must be 1 or more, got {beams=}, {longest=}")
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
    return jax.vmap(lambda one, length: _search(one, length, beams, longest))(log_p, lengths)


def _search(log_p: Array, length: Array, beams: int, longest: int) -> Prefixes:
    """The search of one sequence [T, K]."""
    none = jnp.full(beams, -jnp.inf)
    empty = _Beam(jnp.full((beams, longest), NOTHING, jnp.int32), jnp.zeros(beams, jnp.int32), none.at[0].set(0), none)

    def step(beam: _Beam, at: Any) -> tuple[_Beam, None]:
        index, now = at
        moved = _extended(beam, now)
        return jax.tree.map(lambda new, old: jnp.where(index < length, new, old), moved, beam), None

    beam, _ = lax.scan(step, empty, (jnp.arange(len(log_p)), log_p))
    total = jnp.logaddexp(beam.blank, beam.label)
    order = jnp.argsort(-total, stable=True)
    return Prefixes(beam.labels[order], beam.counts[order], total[order])


def _extended(beam: _Beam, log_p: Array) -> _Beam:
    """The most probable prefixes after one step more, of those that stay and of those that get a label more."""
    beams, longest = beam.labels.shape
    classes = len(log_p) - 1
    total = jnp.logaddexp(beam.blank, beam.label)
    rows, each = jnp.arange(beams), jnp.arange(classes)
    last = jnp.where(beam.counts > 0, beam.labels[rows, jnp.maximum(beam.counts, 1) - 1], NOTHING)
    # Prefixes that grow by each label: [K, classes]. A label after itself needs a blank between.
    grown = jnp.where(each == last[:, None], beam.blank[:, None], total[:, None]) + log_p[:classes]
    grown = jnp.where((beam.counts < longest)[:, None], grown, -jnp.inf)
    # Prefix j may be prefix i and a label: then i's paths that grow so belong to j, and are no prefix of their own.
    within = jnp.arange(longest) < beam.counts[:, None, None]  # of i
    same = ((beam.labels[:, None] == beam.labels[None]) | ~within).all(-1)
    parent = same & (beam.counts[None] == beam.counts[:, None] + 1) & jnp.isfinite(total)[:, None]
    from_parent = jnp.where(parent, grown[:, jnp.maximum(last, 0)], -jnp.inf)  # [i, j]
    taken = (parent[:, :, None] & (each == last[None, :, None])).any(1)
    grown = jnp.where(taken, -jnp.inf, grown)
    stays_label = jnp.where(last >= 0, beam.label + log_p[jnp.maximum(last, 0)], -jnp.inf)
    stays_label = jnp.logaddexp(stays_label, jax.nn.logsumexp(from_parent, axis=0))
    stays_blank = total + log_p[classes]
    scores = jnp.concatenate([jnp.logaddexp(stays_blank, stays_label), grown.ravel()])
    best, chosen = lax.top_k(scores, beams)
    stays, source = chosen < beams, jnp.where(chosen < beams, chosen, (chosen - beams) // classes)
    added = (chosen - beams) % classes
    labels, counts = beam.labels[source], beam.counts[source]
    ends = (jnp.arange(longest) == counts[:, None]) & ~stays[:, None]
    return _Beam(
        jnp.where(ends, added[:, None], labels),
        counts + ~stays,
        jnp.where(stays, stays_blank[source], -jnp.inf),
        jnp.where(stays, stays_label[source], best),
    )


def _check(logits: Any, lengths: Any) -> None:
    if jnp.ndim(logits) != 3 or logits.shape[1] < 1 or logits.shape[-1] < 2:
        raise ValueError(f"logits must be [B, T, K] of one label or more and the blank, got {jnp.shape(logits)}")
    if jnp.shape(lengths) != (len(logits),) or not jnp.issubdtype(jnp.result_type(lengths), jnp.integer):
        raise ValueError(f"lengths must be [{len(logits)}] integers, got {jnp.shape(lengths)}")
