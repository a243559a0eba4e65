"""Beam search over a small tree of tokens whose probabilities depend on all that came before."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.nn.beam_search import beam_search, length_penalty, repeated

V, LENGTH, BATCH, STOP = 3, 4, 2, 2
NODES = sum(V**t for t in range(LENGTH))
LOGITS = np.random.default_rng(0).normal(size=(BATCH, NODES, V)).astype(np.float32) * 1.5
LOG_P = np.float64(LOGITS) - np.log(np.exp(np.float64(LOGITS)).sum(-1, keepdims=True))


@partial(jax.jit, static_argnames=("beams", "stop"))
def _search(logits, beams, stop, alpha=0.0):
    """The cache is the node of the tree: a hypothesis that is given another's goes astray."""
    tree = repeated(logits, beams)

    def step(token, node, t):
        node = jnp.where(t == 0, 0, V * node + token + 1)
        return jnp.take_along_axis(tree, node[:, None, None], 1)[:, 0], node

    cache = jnp.zeros(len(logits), jnp.int32)
    return beam_search(step, cache, len(logits), beams=beams, length=LENGTH, start=0, stop=stop, alpha=alpha)


def _log_prob(example, tokens):
    """Of tokens up to and with the last of them."""
    node, total = 0, 0.0
    for token in tokens:
        total += LOG_P[example, node, token]
        node = V * node + token + 1
    return total


def _outcomes(stop):
    """All sequences of LENGTH tokens, or shorter ones that end with `stop`."""
    every = itertools.product(range(V), repeat=LENGTH)
    return sorted({sequence[: sequence.index(stop) + 1] if stop in sequence else sequence for sequence in every})


def _filled(sequence):
    return [*sequence, *[STOP] * (LENGTH - len(sequence))]


def _by_lists(example, beams, alpha):
    """The search as its file says it, in Python's lists: [(score, tokens)], the best first."""
    rank = lambda log_p, tokens: log_p / ((5 + len(tokens)) / 6) ** alpha  # noqa: E731
    going, finished = [()], []
    for _ in range(LENGTH):
        extended = [(*tokens, token) for tokens in going for token in range(V)]
        extended.sort(key=lambda tokens: -_log_prob(example, tokens))
        finished += [tokens for tokens in extended[:beams] if tokens[-1] == STOP]
        going = [tokens for tokens in extended if tokens[-1] != STOP][:beams]
    found = sorted(finished, key=lambda tokens: -rank(_log_prob(example, tokens), tokens))[:beams]
    found += going
    return sorted(((rank(_log_prob(example, tokens), tokens), tokens) for tokens in found), reverse=True)[:beams]


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("stop", [None, STOP])
def test_a_search_of_full_width_is_exhaustive(stop, alpha):
    outcomes = _outcomes(stop)
    beams = _search(LOGITS, V**LENGTH, stop, alpha)
    for example in range(BATCH):
        log_p = np.array([_log_prob(example, sequence) for sequence in outcomes])
        np.testing.assert_allclose(np.exp(log_p).sum(), 1)
        score = log_p / ((5 + np.array(list(map(len, outcomes)))) / 6) ** alpha
        order, count = np.argsort(-score), len(outcomes)
        np.testing.assert_array_equal(beams.tokens[example, :count], [_filled(outcomes[i]) for i in order])
        np.testing.assert_allclose(beams.log_probs[example, :count], log_p[order], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(beams.scores[example, :count], score[order], rtol=1e-5, atol=1e-5)
        assert (beams.log_probs[example, count:] == -np.inf).all()


@pytest.mark.parametrize(("beams", "alpha"), [(1, 0.0), (1, 5.0), (2, 0.0), (3, 0.6), (5, 2.0)])
def test_a_narrow_search_is_that_of_lists(beams, alpha):
    found = _search(LOGITS, beams, STOP, alpha)
    for example in range(BATCH):
        expected = _by_lists(example, beams, alpha)
        assert found.tokens[example].tolist() == [_filled(tokens) for _, tokens in expected]
        np.testing.assert_allclose(found.scores[example], [score for score, _ in expected], rtol=1e-5)


def test_a_width_of_one_takes_the_most_probable_token_each_time():
    for example in range(BATCH):
        tokens, node = [], 0
        while len(tokens) < LENGTH and STOP not in tokens:
            tokens.append(int(LOG_P[example, node].argmax()))
            node = V * node + tokens[-1] + 1
        assert _search(LOGITS, 1, STOP).tokens[example, 0].tolist() == _filled(tokens)


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_a_sure_hypothesis_is_not_lost_to_improbable_ones_that_end_early(beams):
    """Each step of the best sequence but the last has an end beside it, and K of them come before its own."""
    sure = np.tile(np.float32([6, -1, 0]), (1, NODES, 1))
    sure[:, sum(V**t for t in range(LENGTH - 1)) :] = [0, -1, 6]
    found = _search(sure, beams, STOP)
    assert found.tokens[0, 0].tolist() == [0, 0, 0, STOP]
    assert np.exp(found.log_probs[0, 0]) > 0.98


@pytest.mark.slow
def test_the_length_penalty_is_published_and_longer_hypotheses_win_by_it():
    np.testing.assert_allclose(length_penalty(jnp.array([1, 7]), 0.5), [1, 2**0.5], rtol=1e-6)
    lengths = []
    for alpha in (0.0, 20.0):
        best = np.asarray(_search(LOGITS, 9, STOP, alpha).tokens[:, 0])
        lengths.append(np.minimum((best != STOP).sum(1) + 1, LENGTH).mean())
    assert lengths[0] < lengths[1] == LENGTH


def test_a_search_has_a_beam_and_a_token():
    for beams, length in ((0, 3), (2, 0)):
        with pytest.raises(ValueError, match=f"got beams={beams}, length={length}"):
            beam_search(lambda *a: a, (), 1, beams=beams, length=length, start=0)
