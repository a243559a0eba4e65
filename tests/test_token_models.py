"""What every autoregressive model of tokens must satisfy: causality, normalisation, and a sampler that is the model.

A model joins with an entry in MODELS.
"""

import itertools
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from gen_models.models.sequences import token_model as token_model_file
from gen_models.models.sequences.ngram import ngram
from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from gen_models.models.sequences.temporal_convolutions import temporal_convolutions
from gen_models.models.sequences.transformer import transformer
from gen_models.models.sequences.wavenet import wavenet
from gen_models.models.sequences.windowed_mlp import windowed_mlp

LENGTH, V = 5, 3
_SMALL = {"features": 8, "layers": 2}
_GPT = {**_SMALL, "heads": 2}


def _counted(vocabulary):
    """A text for what is fitted by counting."""
    tokens = np.random.default_rng(5).integers(vocabulary, size=(4, 13)) ** 2 % vocabulary
    return {"x": tokens[:, :-1], "y": tokens[:, 1:]}


MODELS = {  # name -> (vocabulary, context) -> model
    "transformer": lambda v, n: transformer(v, context=n, **_GPT),
    "transformer, untied, with biases": lambda v, n: transformer(v, context=n, **_GPT, tied=False, use_bias=True),
    "transformer, rotary": lambda v, n: transformer(v, context=n, **_GPT, positions="rotary", tied=False),
    "transformer, sinusoidal": lambda v, n: transformer(v, context=n, **_GPT, positions="sinusoidal", tied=False),
    "transformer, no positions": lambda v, n: transformer(v, context=n, **_GPT, positions="none", tied=False),
    "lstm": lambda v, n: recurrent_language_model(v, **_SMALL),
    "gru, residual, layer norm": lambda v, n: recurrent_language_model(
        v, cell="gru", **_SMALL, residual=True, layer_norm=True
    ),
    "elman": lambda v, n: recurrent_language_model(v, cell="elman", **_SMALL, embedding=4),
    "trigram, kneser-ney": lambda v, n: ngram(v, _counted(v), order=3),
    "trigram, add k": lambda v, n: ngram(v, _counted(v), order=3, smoothing="add_k", k=0.5),
    "unigram": lambda v, n: ngram(v, _counted(v), order=1),
    "windowed mlp": lambda v, n: windowed_mlp(v, context=3, embedding=4, features=8, direct=True),
    "wavenet": lambda v, n: wavenet(v, features=4, skip_features=8, layers=2, cycles=2, start=0),
    "wavenet, window of 3": lambda v, n: wavenet(v, features=4, skip_features=8, layers=2, window=3, start=0),
    "temporal convolutions": lambda v, n: temporal_convolutions(v, **_SMALL, window=2),
    "temporal convolutions, plain": lambda v, n: temporal_convolutions(v, **_SMALL, embedding=5, weight_norm=False),
}
# Of the default suite: attention with a cache, a state, and what keeps the last tokens and statistics.
QUICK = ("transformer, rotary", "lstm", "trigram, kneser-ney")
# A tied row is an output too; others see the last tokens alone, and have tests of how many in files of their own.
FINITE = ("trigram, kneser-ney", "trigram, add k", "unigram", "windowed mlp")
EVERY = [name for name in MODELS if name not in ("transformer", *FINITE)]


def _marked(names):
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names]


each = pytest.mark.parametrize("name", _marked(MODELS))


def _holding(model, stats):
    """The model with these statistics in the place of those that it is given."""

    def held(operation):
        return lambda params, _, *args, **options: operation(params, stats, *args, **options)

    names = ("loss", "apply", "sample", "log_prob") if stats else ()
    return replace(model, **{name: held(getattr(model, name)) for name in names})


@cache
def _made(name, vocabulary=V, context=LENGTH):
    """The model and parameters that are nowhere near zero."""
    model = MODELS[name](vocabulary, context)
    x = jnp.zeros((2, context), jnp.int32)
    params, stats = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": x})
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(leaf.dtype), params)
    return _holding(model, stats), params


def _all(length, vocabulary=V):
    return jnp.array(list(itertools.product(range(vocabulary), repeat=length)))


@pytest.mark.slow_cases("transformer, rotary", "trigram, kneser-ney")
@each
def test_probabilities_of_all_sequences_sum_to_one(name):
    """Of every length, and given a first token."""
    model, params = _made(name)
    log_prob = jax.jit(partial(model.log_prob, params, {}))
    for length in (1, LENGTH):
        log_p = np.asarray(log_prob(_all(length)), np.float64)
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=1e-5)
        assert log_p.std() > 0.1
    first, rest = jnp.full((V**3, 1), 2), _all(3)
    given = log_prob(rest, inputs=jnp.concatenate([first, rest[:, :-1]], 1))
    np.testing.assert_allclose(np.exp(np.float64(given)).sum(), 1, atol=1e-5)


@pytest.mark.slow_cases("lstm")
@pytest.mark.parametrize("name", _marked(EVERY))
def test_an_output_depends_on_all_tokens_up_to_its_own_and_on_no_other(name):
    """Each token stands once, so that the gradient of an embedding is that of a position."""
    length = 6
    model, params = _made(name, length, length)
    tokens = jnp.array([[3, 1, 5, 0, 2, 4]])

    def outputs(embedding):
        return model.apply({**params, "tokens": {"embedding": embedding}}, {}, tokens)[0]

    jacobian = jax.jit(jax.jacrev(outputs))(params["tokens"]["embedding"])  # [T, V, V, C]
    seen = np.abs(np.asarray(jacobian)).sum((1, 3))[:, tokens[0]]  # [T, T]: an output of a position
    assert (np.triu(seen, 1) == 0).all() and (seen[np.tril_indices(length)] > 0).all()


@pytest.mark.slow_cases("lstm", "trigram, kneser-ney")
@each
def test_cached_logits_are_those_of_the_whole_and_samplers_agree(name):
    model, params = _made(name)
    sample = partial(jax.jit(model.sample, static_argnums=(3,), static_argnames=("length", "method", "top_k", "stop")))
    how = {"length": LENGTH, "temperature": 3.0, "top_k": 2, "top_p": 0.95}
    ragged = {"prompt": jnp.array([[1, 2, 0], [2, 0, 0], [0, 0, 0]] * 4), "prompt_lengths": jnp.array([3, 1, 0] * 4)}
    for prompt in ({}, {"prompt": jnp.array([2, 1])}, ragged):
        cached, naive = (
            sample(params, {}, jax.random.key(1), 12, **how, **prompt, method=method) for method in ("cached", "naive")
        )
        np.testing.assert_array_equal(cached, naive)
        assert cached.shape == (12, LENGTH) and len(np.unique(np.asarray(cached), axis=0)) > 4
    np.testing.assert_array_equal(cached[0::3, :3], jnp.broadcast_to(ragged["prompt"][0], (4, 3)))
    np.testing.assert_array_equal(cached[1::3, 0], np.full(4, 2))


@pytest.mark.slow_cases("transformer, rotary", "trigram, kneser-ney")
@each
def test_samples_have_the_models_probabilities(name):
    model, params = _made(name)
    length, count = 3, 4000
    drawn = jax.jit(model.sample, static_argnums=3, static_argnames="length")(
        params, {}, jax.random.key(3), count, length=length
    )
    seen = np.bincount(np.asarray(drawn) @ V ** np.arange(length)[::-1], minlength=V**length)
    expected = count * np.exp(np.float64(jax.jit(partial(model.log_prob, params, {}))(_all(length))))
    assert expected.min() > 1 or (expected < 5).mean() < 0.5
    rare = expected < 5
    seen, expected = (np.append(x[~rare], x[rare].sum()) for x in (seen, expected))
    kept = expected > 0
    assert chisquare(seen[kept], expected[kept] * seen[kept].sum() / expected[kept].sum()).pvalue > 1e-3


@pytest.mark.slow_cases("transformer, rotary", "trigram, kneser-ney")
@each
def test_padding_changes_nothing(name):
    """Neither the loss, nor its gradient, nor probabilities, whatever stands behind the length."""
    model, params = _made(name)
    rng = np.random.default_rng(1)
    x, y = (jnp.asarray(rng.integers(V, size=(4, LENGTH))) for _ in range(2))
    lengths = jnp.array([5, 3, 1, 4])
    behind = jnp.arange(LENGTH) >= lengths[:, None]
    key, carry = (
        jax.random.key(0),
        {"carry": model.init_carry(params, {"x": x, "y": y})} if model.has("init_carry") else {},
    )

    @jax.jit
    def both(params, x, y):
        batch = {"x": x, "y": y, "length": lengths}
        loss = lambda params: model.loss(params, {}, batch, key, step=0, **carry)[0]  # noqa: E731
        return jax.value_and_grad(loss)(params), model.log_prob(params, {}, y, inputs=x, lengths=lengths)

    plain = both(params, x, y)
    for spoiled in (lambda tokens: 2 - tokens, lambda tokens: 0 * tokens - 1):
        padded = both(params, *(jnp.where(behind, spoiled(tokens), tokens) for tokens in (x, y)))
        for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(padded), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain[0][0], -plain[1].sum() / x.size, rtol=1e-5)
    log_prob = jax.jit(lambda y, x: model.log_prob(params, {}, y, inputs=x))
    alone = [log_prob(y[i : i + 1, :n], x[i : i + 1, :n])[0] for i, n in enumerate([5, 3, 1, 4])]
    np.testing.assert_allclose(plain[1], jnp.stack(alone), rtol=1e-5)


def test_tokens_beyond_the_context_are_drawn_given_the_last_ones_alone():
    """At temperature 0: those up to the context are as ever; each later one is the most probable after its window."""
    model, params = _made("transformer, rotary")
    length = LENGTH + 4
    sample = partial(model.sample, params, {}, jax.random.key(0), 6, prompt=jnp.array([1, 0, 2]), temperature=0.0)
    tokens = np.asarray(sample(length=length))
    np.testing.assert_array_equal(tokens[:, :LENGTH], sample(length=LENGTH))
    read = np.concatenate([np.zeros((6, 1), int), tokens], 1)  # the start token is read first
    for t in range(LENGTH, length):
        logits = model.apply(params, {}, jnp.asarray(read[:, t - LENGTH + 1 : t + 1]))[:, -1]
        np.testing.assert_array_equal(tokens[:, t], logits.argmax(-1))


def test_after_stop_all_is_stop_but_not_in_the_prompt():
    model, params = _made("lstm")
    tokens = np.asarray(model.sample(params, {}, jax.random.key(0), 60, length=8, prompt=jnp.array([1, 1]), stop=1))
    assert (tokens[:, :2] == 1).all()
    drawn = tokens[:, 2:]
    first = np.where((drawn == 1).any(1), (drawn == 1).argmax(1), drawn.shape[1])
    behind = np.arange(drawn.shape[1]) > first[:, None]
    assert (drawn[behind] == 1).all() and 0 < behind.mean() < 1


@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_said_before_anything_is_computed():
    model, params = _made("transformer")
    x = jnp.zeros((2, LENGTH), jnp.int32)
    sample = partial(model.sample, params, {}, jax.random.key(0), 2)
    for call, said in (
        (lambda: model.log_prob(params, {}, x + 3), "tokens are 0 to 2, got 3"),
        (lambda: model.log_prob(params, {}, x * 1.0), r"x must be tokens, integers \[B, T\], got float32 \[2, 5\]"),
        (lambda: model.apply(params, {}, jnp.zeros((2, 6), jnp.int32)), "reads 5 tokens at once, got 6"),
        (lambda: sample(prompt=jnp.zeros(6, jnp.int32)), "the prompt has 6 tokens, and length=5 is less"),
        (lambda: sample(prompt=jnp.array([7])), "tokens are 0 to 2, got 7"),
        (lambda: sample(top_k=4), "top_k must be a whole number from 1 to the vocabulary's 3, or None, got 4"),
        (lambda: sample(top_p=0.0), "top_p must be a probability above 0"),
        (lambda: sample(method="beam"), "method of sampling"),
        (
            lambda: _made("lstm")[0].sample(_made("lstm")[1], {}, jax.random.key(0), 2),
            "any length: say which by length=",
        ),
        (lambda: transformer(3, positions="absolute"), "kind of positions"),
        (lambda: transformer(3, features=6, heads=2, positions="rotary"), "6 over 2 heads is odd"),
        (lambda: transformer(3, start=3), "start must be a token from 0 to 2, got 3"),
        (lambda: recurrent_language_model(3, cell="rnn"), "cell"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
    for wrong in (9, -1):
        inside = jax.jit(partial(model.log_prob, params, {}))
        assert np.isnan(inside(x.at[0, 2].set(wrong)))[0] and not np.isnan(inside(x)).any()
        assert np.isnan(inside(x, inputs=x.at[0, 2].set(wrong)))[0]
        with pytest.raises(ValueError, match=f"tokens are 0 to 2, got {wrong}"):
            model.apply(params, {}, x.at[0, 2].set(wrong))


def test_tokens_are_the_same_however_many_are_drawn_noise_for_at_once(monkeypatch):
    """One at a time, all at once, and in blocks that do not divide the length."""
    x = jnp.zeros((1, 7), jnp.int32)
    model = recurrent_language_model(5, features=4, start=0)
    params, stats = jax.jit(model.init)(jax.random.key(0), {"x": x, "y": x})
    found = []
    for noise in (1, 3 * 2 * 5, 10_000):  # numbers; 2 texts of 5 tokens need 10 for each token
        monkeypatch.setattr(token_model_file, "NOISE", noise)
        sample = jax.jit(lambda key: model.sample(params, stats, key, 2, length=7, prompt=x[0, :1]))
        found.append(np.asarray(sample(jax.random.key(1))))
    assert found[0].shape == (2, 7) and len(np.unique(found[0])) > 2
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
