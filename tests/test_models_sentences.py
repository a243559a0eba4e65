"""Classifiers of sentences: against their equations by hand, padding that changes nothing, and order that does."""

from functools import partial

import jax
import numpy as np
import pytest

from gen_models.models.sequences.sentence_cnn import sentence_cnn
from gen_models.models.sequences.sentence_lstm import sentence_lstm
from gen_models.models.sequences.sentence_transformer import sentence_transformer

V, K, T = 7, 3, 6
KEY = jax.random.key(0)
MADE = {
    "cnn": partial(sentence_cnn, embedding=4, windows=(2, 3), features=5),
    "lstm": partial(sentence_lstm, embedding=4, features=5, layers=2),
    "transformer": partial(sentence_transformer, features=8, layers=2, heads=2),
}
each = pytest.mark.parametrize("name", MADE)
SENTENCES = np.array([[3, 1, 5, 0, 0, 0], [2, 6, 4, 1, 3, 5], [4, 0, 0, 0, 0, 0]], np.int32)


def _params(model, length=T):
    batch = {"x": np.ones((1, length), np.int32), "y": np.zeros(1, np.int32)}
    params, stats = jax.jit(model.init)(KEY, batch)
    assert stats == {}
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), params)


@pytest.mark.slow_cases("lstm", "transformer")
@each
def test_padding_changes_nothing(name):
    """A sentence's logits are the same however much padding is behind it, and beside whatever other sentence."""
    long, short = MADE[name](T, V, K), MADE[name](3, V, K)
    params = _params(long)
    apply = jax.jit(partial(long.apply, params, {}))
    logits = apply(SENTENCES)
    cut = jax.jit(partial(short.apply, params, {}))(SENTENCES[[0, 2], :3])
    np.testing.assert_allclose(cut, logits[np.array([0, 2])], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(apply(SENTENCES[::-1])[::-1], logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow_cases("lstm", "transformer")
@each
def test_the_order_of_words_counts_and_padding_learns_nothing(name):
    model = MADE[name](T, V, K)
    params = _params(model)
    turned = SENTENCES[1:2, ::-1]
    apply = jax.jit(partial(model.apply, params, {}))
    assert np.abs(apply(turned) - apply(SENTENCES[1:2])).max() > 1e-3
    batch = {"x": SENTENCES, "y": np.array([0, 1, 2], np.int32)}
    grads = jax.jit(jax.grad(lambda p: model.loss(p, {}, batch, KEY, step=0, train=False)[0]))(params)
    embedding = np.asarray(grads["words"]["embedding"]["embedding"])
    assert not embedding[0].any()
    assert np.abs(embedding[1:]).max(1).min() > 0


def test_the_cnn_is_its_equations_by_hand():
    model = MADE["cnn"](T, V, K, norm_bound=0.5)
    params = jax.device_get(_params(model))
    features = []
    for x in SENTENCES:
        words = params["words"]["embedding"]["embedding"][x[x > 0]]
        found = []
        for window in (2, 3):
            dense = params[f"window_{window}"]
            ends = np.zeros((window - 1, words.shape[1]))
            padded = np.concatenate([ends, words, ends])
            places = range(len(padded) - window + 1)
            outputs = [padded[i : i + window].ravel() @ dense["kernel"] + dense["bias"] for i in places]
            found.append(np.maximum(outputs, 0).max(0))
        features.append(np.concatenate(found))
    kernel = params["logits"]["kernel"]
    norms = np.linalg.norm(kernel, axis=0)
    assert norms.min() > 0.5  # so that the bound acts
    want = np.stack(features) @ (kernel * 0.5 / norms) + params["logits"]["bias"]
    np.testing.assert_allclose(jax.jit(partial(model.apply, params, {}))(SENTENCES), want, rtol=1e-4)


def test_the_transformer_attends_to_words_on_both_sides():
    """Each word that is changed, wherever it stands, changes the logits."""
    model = sentence_transformer(T, V, K, features=8, layers=1, heads=2)
    params = _params(model)
    base = jax.jit(partial(model.apply, params, {}))
    logits = base(SENTENCES[1:2])
    for place in range(T):
        changed = SENTENCES[1:2].copy()
        changed[0, place] = 1 + changed[0, place] % (V - 1)
        assert np.abs(base(changed) - logits).max() > 1e-4


@pytest.mark.slow_cases("lstm", "transformer")
@each
def test_a_sentence_without_words_has_logits_and_gradients(name):
    model = MADE[name](T, V, K)
    batch = {"x": np.zeros((2, T), np.int32), "y": np.array([0, 1], np.int32)}
    value, grads = jax.jit(jax.value_and_grad(lambda p: model.loss(p, {}, batch, KEY, step=0)[0]))(_params(model))
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sentence_cnn(0, V, K), "length=0"),
        (lambda: sentence_cnn(T, V, K, windows=()), "windows must be one or more"),
        (lambda: sentence_cnn(T, V, K, windows=(3, 0)), "windows"),
        (lambda: sentence_cnn(T, V, K, norm_bound=0.0), "norm_bound must be positive, got 0"),
        (lambda: sentence_cnn(T, V, 1), "two classes or more"),
        (lambda: sentence_lstm(T, V, K, layers=0), "layers=0"),
        (lambda: sentence_transformer(T, V, K, features=6), "heads"),
    ],
)
def test_what_is_no_classifier_of_sentences(make, message):
    with pytest.raises(ValueError, match=message):
        make()
