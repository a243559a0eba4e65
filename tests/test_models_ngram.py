"""N-gram models against fractions by hand, the papers' equations in dictionaries, and counts of a cut text."""

import itertools
from collections import Counter, defaultdict
from fractions import Fraction
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.models.sequences.ngram import ngram
from gen_models.models.sequences.ngram_counts import closed_form_discounts, count_tokens

KEY = jax.random.key(0)
V = 9


def _text(length=400, vocabulary=5, seed=0):
    """A text whose tokens depend on the two before them, and of which later ones are rare."""
    rng = np.random.default_rng(seed)
    p = 0.6 ** np.arange(vocabulary)
    tokens = [1, 2]
    for _ in range(length - 2):
        likely = (tokens[-1] + 2 * tokens[-2]) % (vocabulary - 1)
        tokens.append(likely if rng.uniform() < 0.6 else rng.choice(vocabulary, p=p / p.sum()))
    return np.array(tokens)


def _whole(tokens):
    return {"x": tokens[None, :-1], "y": tokens[None, 1:]}


def _fitted(vocabulary, windows, **options):
    model = ngram(vocabulary, windows, **options)
    x = jnp.zeros((1, 3), jnp.int32)
    return model, *jax.jit(model.init)(KEY, {"x": x, "y": x})


def _behind(fitted, contexts):
    """p(w | h) of contexts [B, k], [B, V]."""
    model, params, stats = fitted
    return np.exp(np.float64(jax.jit(model.apply)(params, stats, jnp.asarray(contexts))[:, -1]))


def test_one_discount_by_hand():
    """The text b a b b a behind c, where c begins it and is never drawn: counted and divided on paper."""
    a, b, c = 0, 1, 2
    y = np.array([b, a, b, b, a])
    # Pairs: cb 1, ba 2, ab 1, bb 1; n_1 = 3, n_2 = 1, so D = 3 / 5. Alone: b stands after c, a and b, and a after b; of
    # the counts 3 and 1 no D follows, and it is 1 / 2.
    fitted = _fitted(3, {"x": np.array([[c, b, a, b, b]]), "y": y[None]}, order=2, discounts=1, start=c)
    np.testing.assert_allclose(jax.nn.sigmoid(fitted[1]["discounts"])[:, 0], [1 / 2, 3 / 5], rtol=1e-6)
    alone = {a: Fraction(5, 24), b: Fraction(17, 24), c: Fraction(2, 24)}
    expected = {
        (b, a): Fraction(11, 20),  # (2 - 3/5) / 3 + 2/5 * 5/24
        (b, b): Fraction(5, 12),
        (b, c): Fraction(1, 30),
        (a, b): Fraction(2, 5) + Fraction(3, 5) * alone[b],
        (a, a): Fraction(3, 5) * alone[a],
        (a, c): Fraction(3, 5) * alone[c],
        (c, b): Fraction(33, 40),
    }
    found = _behind(fitted, np.array([[a], [b], [c]]))
    for (h, w), p in expected.items():
        np.testing.assert_allclose(found[h, w], float(p), rtol=1e-6)
    apart = _fitted(3, {"x": np.array([[a]]), "y": np.array([[a]])}, order=2, start=a)
    np.testing.assert_allclose(_behind(apart, np.array([[c]]))[0], [2 / 3, 1 / 6, 1 / 6], rtol=1e-6)  # c was not seen


def _by_dictionaries(texts, vocabulary, order, start, number):
    """p(w | h) by the equations of Chen & Goodman (1999): a function of a context of n - 1 tokens and a token."""
    counts = {order: Counter()}
    for text in texts:
        padded = [start] * (order - 2) + list(text)
        counts[order].update(tuple(padded[i : i + order]) for i in range(len(padded) - order + 1))
    for m in range(order - 1, 0, -1):
        before = defaultdict(set)
        for gram in counts[m + 1]:
            before[gram[1:]].add(gram[0])
        counts[m] = {gram: len(tokens) for gram, tokens in before.items()}
    behind = {m: defaultdict(dict) for m in counts}
    for m, grams in counts.items():
        for gram, count in grams.items():
            behind[m][gram[:-1]][gram[-1]] = count

    @cache
    def discount(m, count):
        n = [None, *(sum(c == i for c in counts[m].values()) for i in range(1, 5))]
        if not all(n[1:] if number == 3 else n[1:3]):
            return min(count, number) / 2
        if number == 1:
            return n[1] / (n[1] + 2 * n[2])
        i = min(count, 3)
        return i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[i + 1] / n[i]

    def p(context, token):
        m = len(context) + 1
        lower = p(context[1:], token) if context else 1 / vocabulary
        seen = behind[m].get(context)
        if not seen:
            return lower
        total = sum(seen.values())
        freed = sum(discount(m, count) for count in seen.values())
        left = seen[token] - discount(m, seen[token]) if token in seen else 0
        return left / total + freed / total * lower

    return p


@pytest.mark.slow_cases("4-1")
@pytest.mark.parametrize(("order", "discounts"), [(3, 3), (4, 1)])
def test_all_contexts_are_those_of_the_equations(order, discounts):
    """Seen and unseen ones; the text determines the discounts of the longest contexts at least."""
    texts = [_text(300, V, seed) for seed in range(2)]
    windows = {name: np.stack([_whole(text)[name][0] for text in texts]) for name in ("x", "y")}
    fitted = _fitted(V, windows, order=order, discounts=discounts, start=0)
    amounts = np.asarray(jax.nn.sigmoid(fitted[1]["discounts"]) * np.arange(1, discounts + 1))
    assert np.abs(amounts[-1] - np.arange(1, discounts + 1) / 2).min() > 1e-3
    p = _by_dictionaries(texts, V, order, 0, discounts)
    contexts = np.array(list(itertools.product(range(V), repeat=order - 1)))
    probabilities = _behind(fitted, contexts)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    seen = 0
    for context, own in zip(contexts.tolist(), probabilities, strict=True):
        expected = [p(tuple(context), token) for token in range(V)]
        np.testing.assert_allclose(own, expected, rtol=2e-5)
        seen += any(tuple(context) == tuple(text[i : i + order - 1]) for text in texts for i in range(299))
    assert 20 < seen < len(contexts)


def test_discounts_are_those_of_chen_and_goodman_or_a_half_of_each_count():
    counts = np.repeat([1, 2, 3, 4, 9], [10, 5, 3, 2, 7])  # Y = 10 / 20
    np.testing.assert_allclose(closed_form_discounts(counts, 3), [1 / 2, 11 / 10, 5 / 3])
    np.testing.assert_allclose(closed_form_discounts(counts, 1), [1 / 2])
    np.testing.assert_allclose(closed_form_discounts(counts[counts != 4], 3), [0.5, 1, 1.5])  # no count of 4
    np.testing.assert_allclose(closed_form_discounts(counts[counts > 1], 1), [0.5])
    falling = np.repeat([1, 2, 3, 4], [9, 2, 9, 9])  # 2 - 3 * 9 / 13 * 9 / 2 is below 0
    np.testing.assert_allclose(closed_form_discounts(falling, 3), [0.5, 1, 1.5])


def test_order_one_without_smoothing_is_frequencies():
    text = _text()
    fitted = _fitted(6, _whole(text), order=1, smoothing="none")
    assert fitted[1] == {}
    expected = np.bincount(text[1:], minlength=6) / (len(text) - 1)
    np.testing.assert_allclose(_behind(fitted, np.array([[2], [4]])), [expected, expected], rtol=1e-6)
    assert expected[5] == 0


@pytest.mark.parametrize(("smoothing", "k"), [("none", 0.0), ("add_k", 0.25)])
def test_added_counts(smoothing, k):
    text = _text()
    options = {"k": k} if k else {}
    fitted = _fitted(5, _whole(text), order=3, smoothing=smoothing, **options)
    seen = Counter(zip(text, text[1:], text[2:], strict=False))
    seen[0, text[0], text[1]] += 1  # the token that begins a text stands before it
    contexts = np.array(list(itertools.product(range(5), repeat=2)))
    expected = np.array([[seen[a, b, w] + k for w in range(5)] for a, b in contexts])
    unseen = expected.sum(1) == 5 * k
    expected = np.where(unseen[:, None], 1 / 5, expected / np.where(unseen, 1, expected.sum(1))[:, None])
    assert 0 < unseen.sum() < 10
    np.testing.assert_allclose(_behind(fitted, contexts), expected, rtol=1e-5)


def test_counts_add_up():
    text = _text()
    counts = count_tokens(_whole(text), 5, 4, 0)
    assert len(counts.contexts) == 3 and len(counts.followers) == 4
    assert counts.followers[3]["count"].sum() == len(text) - 1
    for k in range(4):
        table = counts.followers[k]
        assert counts.totals(k).sum() == table["count"].sum() and counts.numbers(k).sum() == len(table["token"])
        assert table["first"][-1] == table["first"][-2] == len(table["token"])
        if k < 3:  # each pair behind a longer context is one token before a pair behind a shorter one
            assert table["count"].sum() == len(counts.followers[k + 1]["token"])
            assert len(counts.contexts[k]["token"]) == len(counts.followers[k + 1]["first"]) - 2


def _equal(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_windows_of_a_text_count_as_the_text_does():
    text = _text(7 * 30 + 1)
    count = partial(count_tokens, vocabulary=5, order=4, start=0)
    cut = {name: values.reshape(-1, 7) for name, values in _whole(text).items()}
    start = np.arange(30) == 0
    assert _equal(count(cut | {"start": start}), count(_whole(text)))
    assert not _equal(count(cut), count(_whole(text)))  # each a text of its own
    # Padded: behind each length stands what is not looked at.
    rows = np.full((60, 7), 3)
    rows[::2, :4], rows[1::2, :3] = cut["y"][:, :4], cut["y"][:, 4:]
    padded = {"x": np.concatenate([cut["x"][:, :1], cut["y"][:, 3:4]], 1).reshape(60, 1).repeat(7, 1), "y": rows}
    ragged = padded | {"length": np.tile([4, 3], 30), "start": np.arange(60) == 0}
    assert _equal(count(ragged), count(_whole(text)))
    # With a window missing, what is behind it is another text, of which the first token is known.
    at = next(i for i in range(10, 20) if cut["x"][i, 0] != cut["y"][i - 2, -1])
    kept = np.arange(30) != at - 1
    holed = {name: values[kept] for name, values in (cut | {"start": start}).items()}
    assert _equal(count(holed), count(holed | {"start": holed["start"] | (np.arange(29) == at - 1)}))


def test_a_token_depends_on_the_ones_of_its_order_and_on_no_other():
    model, params, stats = _fitted(5, _whole(_text(3000)), order=4)
    x = np.tile([3, 1, 0, 2, 1, 3, 0], (2, 1))
    x[1, 2] = 1
    one, other = jax.jit(model.apply)(params, stats, jnp.asarray(x))
    assert (one != other).any(-1).tolist() == [False, False, True, True, True, False, False]


def test_discounts_may_be_tuned_on_a_text_that_was_not_counted():
    """By gradients, past the closed form; on the counted text itself those of the longest contexts go to 0."""
    counted, other = _whole(_text(120)), _whole(_text(120, seed=1))
    model, params, stats = _fitted(5, counted, order=3)
    both = jax.jit(jax.value_and_grad(lambda p, batch: model.loss(p, stats, batch, KEY, step=0)[0]))
    assert (both(params, counted)[1]["discounts"][-1] > 0).all()
    tuned = params
    for _ in range(20):
        tuned = jax.tree.map(lambda p, g: p - 3 * g, tuned, both(tuned, other)[1])
    assert both(tuned, other)[0] < both(params, other)[0] - 0.001


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_counted_is_named():
    good = {"x": np.zeros((2, 3), int), "y": np.zeros((2, 3), int)}
    for windows, options, said in (
        (good, {"order": 0}, "order=0"),
        (good, {"smoothing": "kneser"}, "smoothing 'kneser': did you mean 'kneser_ney'"),
        (good, {"discounts": 2}, "discounts must be 3, or 1 of all counts, got 2"),
        (good, {"k": 0.0}, "k must be positive and finite, got 0.0: smoothing='none' adds nothing"),
        (good, {"start": 4}, "start must be a token from 0 to 3, got 4"),
        ({"x": good["x"]}, {}, "no 'y', only"),
        (good | {"y": good["y"] + 4}, {}, "tokens are 0 to 3, got 4 to 4"),
        (good | {"x": good["x"] * 1.0}, {}, r"'x' must be tokens, integers \[N, T\], got float64"),
        (good | {"y": good["y"][:, 1:]}, {}, r"is followed by one of 'y', got \(2, 3\) and \(2, 2\)"),
        (good | {"length": np.array([3])}, {}, "'length' must be one for each of 2 windows"),
    ):
        with pytest.raises(ValueError, match=said):
            ngram(4, windows, **options)
