"""The sequence classifier: its attention by hand, what each mixer sees, learning to recall, errors; and the task."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_models.core import init_state, make_train_step
from gen_models.data.synthetic import associative_recall, recall_chance
from gen_models.models.sequences.sequence_classifier import sequence_classifier

SIZES = dict(length=7, vocabulary=9, num_classes=3, features=6)
TOKENS = np.random.default_rng(0).integers(9, size=(4, 7)).astype(np.int32)
BATCH = {"x": TOKENS, "y": np.array([0, 1, 2, 0], np.int32)}
KEY = jax.random.key(0)


@pytest.mark.slow
def test_attention_alone_by_hand():
    model = sequence_classifier(**SIZES, mixer="none", heads=2)
    params, stats = model.init(KEY, BATCH)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    h = p["tokens"]["embedding"][TOKENS] + p["positions"]["embedding"]
    q, k, v = (
        h @ p["attention"][name]["kernel"] + p["attention"][name].get("bias", 0) for name in ("query", "key", "value")
    )
    mixed = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = np.einsum("bd,bjd->bj", q[:, -1, head], k[..., head]) / np.sqrt(3)  # of the last position
        weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        mixed.append(np.einsum("bj,bjd->bd", weights, v[..., head]))
    out = np.concatenate(mixed, -1) @ p["attention"]["out"]["kernel"] + p["attention"]["out"]["bias"]
    expected = (h[:, -1] + out) @ p["logits"]["kernel"] + p["logits"]["bias"]
    np.testing.assert_allclose(model.apply(params, stats, TOKENS), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow_cases("arguments0-1", "arguments2-7", "arguments3-7")
@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (dict(mixer="none", attention=False), 1),
        (dict(mixer="conv", layers=2, window=2, attention=False), 3),
        (dict(mixer="conv", layers=1, window=3, attention=True), 7),
        (dict(mixer="lstm", attention=False), 7),
        (dict(mixer="none", attention=True), 7),
    ],
)
def test_what_the_answer_depends_on(arguments, seen):
    """The last tokens, as many as windows reach; an LSTM and attention reach all."""
    model = sequence_classifier(**SIZES, **arguments)
    params, stats = model.init(KEY, BATCH)
    params = jax.tree.map(lambda x: x + 0.3 * np.random.default_rng(1).normal(size=x.shape).astype(x.dtype), params)
    changed = np.stack([np.where(np.arange(7) == i, (TOKENS[0] + 1) % 9, TOKENS[0]) for i in range(7)])
    logits = model.apply(params, stats, np.concatenate([TOKENS[:1], changed]))
    moved = np.abs(logits[1:] - logits[0]).max(-1) > 1e-6
    assert moved.tolist() == [i >= 7 - seen for i in range(7)]


@pytest.mark.slow
def test_convolutions_and_attention_learn_to_recall():
    sizes = dict(pairs=3, keys=4, values=3)
    data = associative_recall(2000, **sizes)
    model = sequence_classifier(length=7, vocabulary=7, num_classes=3, features=16, mixer="conv", window=2)
    tx = optax.adam(1e-2)
    step = jax.jit(make_train_step(model.loss, tx))
    state = init_state(model, tx, KEY, jax.tree.map(lambda x: x[:1], data))
    for i in range(200):
        rows = np.random.default_rng(i).integers(2000, size=64)
        state, _ = step(state, jax.tree.map(lambda x, rows=rows: x[rows], data))
    test = associative_recall(500, seed=1, **sizes)
    right = (model.apply(state.params, state.stats, test["x"]).argmax(-1) == test["y"]).mean()
    assert right > 0.95 > recall_chance(3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(features=0), "features=0"),
        (dict(mixer="lstn"), "unknown mixer 'lstn': did you mean 'lstm'"),
        (dict(heads=4), "4 heads must divide features=6"),
        (dict(num_classes=1), "num_classes=1"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sequence_classifier(**(SIZES | arguments))


def test_recall_asks_for_a_key_that_came():
    data = associative_recall(300, seed=3, pairs=4, keys=6, values=5)
    keys, values, asked = data["x"][:, 0:-1:2], data["x"][:, 1::2] - 6, data["x"][:, -1]
    assert data["x"].shape == (300, 9) and data["x"].dtype == np.int32
    for k, v, q, answer in zip(keys, values, asked, data["y"], strict=True):
        assert len({*k.tolist()}) == 4 and k.max() < 6 and v.min() >= 0 and v.max() < 5
        assert v[k.tolist().index(q)] == answer
    again = associative_recall(300, seed=3, pairs=4, keys=6, values=5)
    assert all(jnp.array_equal(data[name], again[name]) for name in data)
    with pytest.raises(ValueError, match="keys=3"):
        associative_recall(pairs=4, keys=3)


@pytest.mark.parametrize(("pairs", "values"), [(1, 5), (2, 2), (3, 4), (5, 3)])
def test_chance_without_pairing_is_that_of_all_cases(pairs, values):
    commonest = [np.bincount(drawn).max() for drawn in itertools.product(range(values), repeat=pairs)]
    assert recall_chance(pairs, values) == pytest.approx(np.mean(commonest) / pairs)
