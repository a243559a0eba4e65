"""Memory networks: a direct computation in NumPy, what the order of sentences and padding change, linear start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.sequences.memory_network import memory_network, position_weights

KEY = jax.random.key(0)
V, ROWS, WORDS, D, HOPS = 9, 5, 4, 6, 2
SIZES = {"features": D, "hops": HOPS}
X = np.array(
    [
        [[1, 2, 0, 0], [3, 4, 5, 0], [6, 0, 0, 0], [7, 8, 1, 2], [3, 3, 1, 0]],
        [[4, 0, 0, 0], [1, 2, 3, 4], [8, 7, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
        [[5, 1, 2, 3], [0, 0, 0, 0], [2, 7, 0, 0], [4, 1, 0, 0], [0, 0, 0, 0]],  # an empty one shifts the times
    ],
    np.int32,
)
BATCH = {"x": X, "y": np.array([3, 1, 8], np.int32)}


def _params():
    rng = np.random.default_rng(0)
    shapes = {"words": (V, HOPS + 1, D), "times": (ROWS - 1, HOPS + 1, D)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _by_hand(params, rows, *, position_encoding=True, linear=False):
    """Logits and p of one story, sentence by sentence and word by word, as the paper writes it."""

    def embedded(sentence, table):
        words, total = [token for token in sentence if token], np.zeros(D)
        for j, token in enumerate(words, 1):
            for k in range(1, D + 1):
                weight = (1 - j / len(words)) - (k / D) * (1 - 2 * j / len(words)) if position_encoding else 1
                total[k - 1] += weight * np.float64(params["words"][token, table, k - 1])
        return total

    u, found = embedded(rows[0], 0), []
    for hop in range(HOPS):
        present = [i for i in range(1, ROWS) if any(rows[i])]
        memory, output = (
            {i: embedded(rows[i], hop + more) + params["times"][i - 1, hop + more] for i in present} for more in (0, 1)
        )
        scores = np.array([u @ memory[i] for i in present])
        p = scores if linear else np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
        u = u + sum(share * output[i] for share, i in zip(p, present, strict=True))
        found.append([dict(zip(present, p, strict=True)).get(i, 0) for i in range(1, ROWS)])
    return np.float64(params["words"][:, -1]) @ u, found


@pytest.mark.parametrize("position_encoding", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_answers_and_what_is_looked_at_are_those_of_a_direct_computation(position_encoding):
    """And of the linear start, the loss up to the step at which the softmax comes in."""
    model = memory_network((ROWS, WORDS), V, **SIZES, position_encoding=position_encoding, linear_steps=3)
    params = _params()
    assert jax.tree.map(jnp.shape, jax.eval_shape(model.init, KEY, BATCH)[0]) == jax.tree.map(jnp.shape, params)

    @jax.jit
    def everything(step):
        found = model.apply(params, {}, X, attended=True)
        trained = model.loss(params, {}, BATCH, KEY, step=step, train=True)[0]
        return found, trained, model.loss(params, {}, BATCH, KEY, step=step, train=False)[0]

    (logits, p), begun, evaluated = everything(2)
    _, later, _ = everything(3)
    how = {"position_encoding": position_encoding}
    for row, each, shares in zip(X, logits, p, strict=True):
        expected, wanted = _by_hand(params, row, **how)
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(shares, wanted, rtol=1e-4, atol=1e-6)
    assert not np.asarray(p)[1, :, 2:].any() and not np.asarray(p)[2, :, [0, 3]].any()  # exactly 0 of padding
    np.testing.assert_allclose(np.asarray(p).sum(-1), 1, rtol=1e-5)

    def nats(linear):
        logits = np.array([_by_hand(params, row, **how, linear=linear)[0] for row in X])
        return (np.logaddexp.reduce(logits, 1) - logits[np.arange(len(X)), BATCH["y"]]).mean()

    np.testing.assert_allclose(begun, nats(True), rtol=1e-4)
    np.testing.assert_allclose([later, evaluated], nats(False), rtol=1e-4)


def test_order_is_known_by_times_and_places_alone_and_padding_changes_nothing():
    """Sentences in another order are the same where times are; words in another order where they are not weighed."""
    params = _params()
    no_times = params | {"times": np.zeros_like(params["times"])}
    bag, placed = (memory_network((ROWS, WORDS), V, **SIZES, position_encoding=on) for on in (False, True))
    turned = X.copy()
    turned[:, 1:] = X[:, [3, 1, 4, 2]]
    mixed = X.copy()
    mixed[0, 1, :3], mixed[0, 3] = [5, 3, 4], [2, 1, 8, 7]
    more = np.zeros((3, ROWS + 2, WORDS + 1), np.int32)
    more[:, :ROWS, :WORDS] = X
    longer = params | {"times": np.concatenate([params["times"], np.ones((2, HOPS + 1, D), np.float32)])}
    wide = memory_network((ROWS + 2, WORDS + 1), V, **SIZES)

    @jax.jit
    def found():
        placed_of = lambda params, x: placed.apply(params, {}, x)  # noqa: E731
        bags = bag.apply(params, {}, X), bag.apply(params, {}, mixed)
        times = [placed_of(one, x) for one in (no_times, params) for x in (X, turned)]
        return bags, times, placed_of(params, mixed), wide.apply(longer, {}, more)

    bags, (still, moved, told, told_turned), places, padded = found()
    np.testing.assert_allclose(*bags, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(still, moved, rtol=1e-4, atol=1e-4)
    assert np.abs(told - told_turned).max(1).min() > 1e-2  # each story has sentences that changed their times
    assert np.abs(places - told)[0].max() > 1e-2
    np.testing.assert_allclose(padded, told, rtol=1e-4, atol=1e-4)


def test_places_weigh_words_as_the_paper_has_it():
    """Of d = 2 features the last weighs j / J, the first 1 / 2 at each place; a sentence of one word has both."""
    weights = jax.jit(position_weights, static_argnums=1)(jnp.array([[4, 5, 6, 7], [4, 0, 0, 0]]), 2)
    np.testing.assert_allclose(weights[0, :, 1], [0.25, 0.5, 0.75, 1], rtol=1e-6)
    np.testing.assert_allclose(weights[0, :, 0], 0.5, rtol=1e-6)
    np.testing.assert_allclose(weights[1], [[0.5, 1], [0, 0], [0, 0], [0, 0]], rtol=1e-6)


def test_a_story_without_sentences_is_answered_by_the_question_alone():
    params, x = _params(), np.concatenate([X[:1, :1], np.zeros((1, ROWS - 1, WORDS), np.int32)], 1)
    model = memory_network((ROWS, WORDS), V, **SIZES)
    logits, p = jax.jit(lambda x: model.apply(params, {}, x, attended=True))(x)
    weights = jax.jit(position_weights, static_argnums=1)(x[0, 0], D)
    question = (weights * params["words"][x[0, 0], 0]).sum(0)
    np.testing.assert_allclose(logits[0], params["words"][:, -1] @ question, rtol=1e-5, atol=1e-5)
    assert not np.asarray(p).any()


@pytest.mark.usefixtures("unchecked")
def test_what_does_not_fit_is_refused():
    for call, said in (
        (lambda: memory_network((1, 4), 5), r"a story's shape is \(1 \+ sentences, words\), got shape=\(1, 4\)"),
        (lambda: memory_network((4,), 5), r"got shape=\(4,\)"),
        (lambda: memory_network((3, 4), 5, hops=0), "sizes must be positive, got hops=0"),
        (lambda: memory_network((3, 4), 5, linear_steps=-1), "linear_steps must be 0 or more, got -1"),
        (lambda: memory_network((2, 1), 5).apply({}, {}, np.full((1, 2, 1), 5)), "tokens"),
    ):
        with pytest.raises(ValueError, match=said):
            call()
