"""Tiny models of a target given a source, and their probabilities of all targets.

A model joins with an entry in MODELS.
"""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.sequences.recurrent_seq2seq import recurrent_seq2seq
from gen_models.models.sequences.transformer_seq2seq import transformer_seq2seq

LENGTH, V, SOURCE_V, STOP = 4, 3, 5, 2
GPT = {"features": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "tied": False}
MODELS = {  # name -> (vocabulary, options) -> model
    "lstm": lambda v, **how: recurrent_seq2seq(v, features=6, attention=False, **how),
    "lstm, deep, reversed": lambda v, **how: recurrent_seq2seq(
        v, features=6, layers=2, attention=False, reverse_source=True, **how
    ),
    "bahdanau": lambda v, **how: recurrent_seq2seq(v, features=6, embedding=4, attention_features=3, **how),
    "bahdanau, gru, deep": lambda v, **how: recurrent_seq2seq(v, cell="gru", features=6, layers=2, **how),
    "transformer": lambda v, **how: transformer_seq2seq(v, **GPT, **how),
    "transformer, as published": lambda v, **how: transformer_seq2seq(
        v, **GPT | {"tied": True, "decoder_layers": 2}, norm_first=False, use_bias=True, **how
    ),
    "transformer, rotary": lambda v, **how: transformer_seq2seq(v, **GPT, positions="rotary", **how),
}
QUICK = ("bahdanau", "transformer")  # of the default suite: states that attend, and a cache


def marked(names):
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


each = pytest.mark.parametrize("name", marked(MODELS))
SOURCES = jnp.array([[1, 4, 0, 2], [3, 0, 0, 0], [2, 2, 4, 0]])
SOURCE_LENGTHS = jnp.array([4, 1, 3])
GIVEN = {"source": SOURCES, "source_lengths": SOURCE_LENGTHS}


def moved(model, batch):
    """Parameters that are nowhere near zero."""
    params, stats = jax.jit(model.init)(jax.random.key(0), batch)
    assert stats == {}
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.5 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)


@cache
def made(name, vocabulary=V, source_vocabulary=SOURCE_V):
    model = MODELS[name](vocabulary, source_vocabulary=source_vocabulary, start=0, stop=STOP)
    x = jnp.zeros((2, LENGTH), jnp.int32)
    return model, moved(model, {"source": x, "x": x, "y": x})


def all_targets(length):
    return jnp.array(list(itertools.product(range(V), repeat=length)))


@cache
def log_probs_of_all(name):
    """log p of all sequences given each source, [3, V^T], by one program."""
    model, params = made(name)
    every = all_targets(LENGTH)

    @jax.jit
    def of(source, length):
        alike = jnp.broadcast_to(source, (len(every), len(source)))
        return model.log_prob(params, {}, every, source=alike, source_lengths=jnp.full(len(every), length))

    return np.stack([of(*one) for one in zip(SOURCES, SOURCE_LENGTHS, strict=True)]).astype(np.float64)
