"""Beam search and samples of every model of a target given a source, against all targets there are."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare
from tiny_seq2seq_models import GIVEN, LENGTH, SOURCES, STOP, V, all_targets, each, log_probs_of_all, made


@pytest.mark.slow_cases("bahdanau")
@each
def test_a_beam_of_all_targets_is_the_exhaustive_search(name):
    """Of those that end before the last token the probability is that of all that begin like them."""
    model, params = made(name)
    search = jax.jit(
        lambda: model.decode(params, {}, model.encode(params, {}, **GIVEN), length=LENGTH, beams=V**LENGTH)
    )
    beams = search()
    every = np.asarray(all_targets(LENGTH))
    behind = np.cumsum(every == STOP, 1) - (every == STOP) > 0
    outcomes, which = np.unique(np.where(behind, STOP, every), axis=0, return_inverse=True)
    for example, log_p in enumerate(log_probs_of_all(name)):
        p = np.bincount(which.ravel(), np.exp(log_p), len(outcomes))
        order = np.argsort(-p)
        np.testing.assert_array_equal(beams.tokens[example, : len(order)], outcomes[order])
        np.testing.assert_allclose(beams.log_probs[example, : len(order)], np.log(p[order]), rtol=1e-4, atol=1e-5)
        assert (beams.log_probs[example, len(order) :] == -np.inf).all()


@pytest.mark.slow_cases("bahdanau")
@each
def test_a_beams_log_probability_is_that_of_its_tokens_and_a_width_of_one_is_greedy(name):
    model, params = made(name)

    @jax.jit
    def found():
        beams = model.decode(params, {}, model.encode(params, {}, **GIVEN), length=LENGTH, beams=2)
        tokens = beams.tokens.reshape(6, LENGTH)
        lengths = jnp.minimum((jnp.cumsum(tokens == STOP, 1) == 0).sum(1) + 1, LENGTH)
        given = {key: jnp.repeat(value, 2, axis=0) for key, value in GIVEN.items()}
        sample = partial(model.sample, params, {}, jax.random.key(0), 3, **GIVEN, length=LENGTH)
        one = [sample(method="beam", beams=1), sample(method="greedy"), sample(method="naive", temperature=0.0)]
        best = sample(method="beam", beams=2)
        return beams, model.log_prob(params, {}, tokens, lengths=lengths, **given), one, best

    beams, log_p, (one, greedy, naive), best = found()
    np.testing.assert_allclose(beams.log_probs.ravel(), log_p, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(one, greedy)
    np.testing.assert_array_equal(one, naive)
    np.testing.assert_array_equal(best, beams.tokens[:, 0])


@pytest.mark.slow_cases("transformer")
@each
def test_cached_samples_are_those_of_the_whole_network(name):
    model, params = made(name)
    given = {key: jnp.tile(value, (8, *[1] * (value.ndim - 1))) for key, value in GIVEN.items()}
    how = {"length": LENGTH, "temperature": 5.0, "top_p": 0.99}
    sample = jax.jit(partial(model.sample, params, {}, n=24, **given, **how), static_argnames="method")
    cached, naive = (sample(jax.random.key(1), method=method) for method in ("cached", "naive"))
    np.testing.assert_array_equal(cached, naive)
    tokens = np.asarray(cached)
    assert len(np.unique(tokens, axis=0)) > 6 and (tokens == STOP).any()
    assert (tokens[:, 1:][tokens[:, :-1] == STOP] == STOP).all()


@pytest.mark.parametrize("name", ["bahdanau"])
def test_samples_have_the_models_probabilities(name):
    model, params = made(name)
    count = 4000
    drawn = jax.jit(model.sample, static_argnums=3, static_argnames="length")(
        params, {}, jax.random.key(3), count, source=SOURCES[0], length=LENGTH
    )
    every, weights = np.asarray(all_targets(LENGTH)), V ** np.arange(LENGTH)[::-1]
    behind = np.cumsum(every == STOP, 1) - (every == STOP) > 0
    outcome = np.where(behind, STOP, every) @ weights
    expected = count * np.bincount(outcome, np.exp(log_probs_of_all(name)[0]), V**LENGTH)
    seen = np.bincount(np.asarray(drawn) @ weights, minlength=V**LENGTH)
    rare = expected < 5
    assert (seen[expected == 0] == 0).all() and rare.mean() < 0.9
    seen, expected = (np.append(x[~rare], x[rare].sum()) for x in (seen, expected))
    kept = expected > 0
    assert chisquare(seen[kept], expected[kept] * seen[kept].sum() / expected[kept].sum()).pvalue > 1e-3
