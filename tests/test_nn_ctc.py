"""Connectionist temporal classification against PyTorch's loss and against the sum over all paths."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gen_models.nn.ctc import ctc_beam_search, ctc_greedy, ctc_log_prob

THEIRS = Path(__file__).parent / "fixtures" / "ctc_torch.npz"  # made by make_ctc_torch.py beside it
T, K = 5, 3  # steps, outputs: two labels and the blank


def outputs(seed, batch=4):
    """Logits, and lengths of which the first is the whole."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, batch).astype(np.int32)
    lengths[0] = T
    return rng.normal(0, 2, (batch, T, K)).astype(np.float32), lengths


def meant(path):
    """The labels that a path stands for: repeats merged, blanks removed."""
    return tuple(label for label, _ in itertools.groupby(path) if label != K - 1)


def by_paths(logits, length):
    """Labels -> their probability, as the sum over all K^length paths."""
    p = np.exp(logits[:length].astype(np.float64))
    p /= p.sum(1, keepdims=True)
    found = {}
    for path in itertools.product(range(K), repeat=int(length)):
        found[meant(path)] = found.get(meant(path), 0) + np.prod([p[t, k] for t, k in enumerate(path)])
    return found


def test_the_loss_and_its_gradient_are_those_of_pytorch():
    theirs = dict(np.load(THEIRS))
    given = [theirs[name] for name in ("lengths", "labels", "counts")]
    log_p = jax.jit(ctc_log_prob)(theirs["logits"], *given)
    np.testing.assert_allclose(-log_p, theirs["losses"], rtol=1e-5)
    assert np.isinf(theirs["losses"][-1]) and np.isinf(log_p[-1])
    found = jax.jit(jax.grad(lambda logits: -ctc_log_prob(logits, *given)[:5].sum()))(theirs["logits"])
    np.testing.assert_allclose(found[:5], theirs["gradients"], atol=1e-5)
    assert (np.asarray(found[5]) == 0).all()


def test_the_probability_of_labels_is_that_of_their_paths_and_all_sum_to_one():
    logits, lengths = outputs(0)
    every = [labels for size in range(T + 1) for labels in itertools.product(range(K - 1), repeat=size)]
    labels = np.array([[*one, *[7] * (T - len(one))] for one in every], np.int32)  # what is behind is not read
    counts = np.array([len(one) for one in every], np.int32)
    several = jax.jit(jax.vmap(ctc_log_prob, (None, None, 0, 0)))
    tiled = (np.repeat(labels[:, None], 4, 1), np.repeat(counts[:, None], 4, 1))
    found = np.exp(np.asarray(several(logits, lengths, *tiled), np.float64))  # [labels, B]
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)
    for row, length in enumerate(lengths):
        wanted = by_paths(logits[row], length)
        np.testing.assert_allclose(found[:, row], [wanted.get(one, 0) for one in every], rtol=1e-4, atol=1e-12)


def test_a_search_with_all_prefixes_is_exact_and_a_narrow_one_a_bound():
    logits, lengths = outputs(1, 8)
    search = jax.jit(ctc_beam_search, static_argnames=("beams", "longest"))
    found = search(logits, lengths, beams=64, longest=T)
    narrow = search(logits, lengths, beams=3, longest=T)
    for row, length in enumerate(lengths):
        wanted = sorted(by_paths(logits[row], length).items(), key=lambda pair: -pair[1])
        count = int(np.isfinite(found.log_probs[row]).sum())
        assert count == len(wanted)
        got = {
            tuple(labels[:n].tolist()): float(np.exp(value))
            for labels, n, value in zip(*(np.asarray(part[row][:count]) for part in found), strict=True)
        }
        assert got == pytest.approx(dict(wanted), rel=1e-4)
        assert (np.diff(found.log_probs[row][:count]) <= 1e-6).all()
        for labels, n, value in zip(*(np.asarray(part[row]) for part in narrow), strict=True):
            if np.isfinite(value):
                assert np.exp(value) <= dict(wanted)[tuple(labels[:n].tolist())] * (1 + 1e-4)
        assert (np.asarray(found.labels[row]) == -1).sum() == found.labels[row].size - int(found.counts[row].sum())


def test_the_best_labels_may_not_be_those_of_the_best_path():
    """Graves' example: the blank is likeliest at each of two steps, and yet "0" has more probability than nothing."""
    logits = jnp.log(jnp.array([[[0.4, 1e-9, 0.6], [0.4, 1e-9, 0.6]]]))
    both = jax.jit(lambda *given: (ctc_greedy(*given), ctc_beam_search(*given, beams=3, longest=2)))
    greedy, found = both(logits, jnp.array([2]))
    assert int(greedy[1][0]) == 0
    assert found.labels[0, 0].tolist() == [0, -1]
    assert float(jnp.exp(found.log_probs[0, 0])) == pytest.approx(0.64)  # 1 - 0.6^2


@pytest.mark.slow
def test_the_greedy_choice_is_the_best_path_and_padding_changes_nothing():
    logits, lengths = outputs(2, 8)
    labels, counts = jax.jit(ctc_greedy)(logits, lengths)
    for row, length in enumerate(lengths):
        path = meant(logits[row, :length].argmax(-1))
        assert tuple(labels[row, : counts[row]].tolist()) == path and (labels[row, counts[row] :] == -1).all()
    other = np.where(np.arange(T)[:, None] < lengths[:, None, None], logits, 9 * logits + 1)
    np.testing.assert_array_equal(ctc_greedy(other, lengths)[0], labels)
    for one, two in zip(*(ctc_beam_search(x, lengths, beams=4, longest=3) for x in (logits, other)), strict=True):
        np.testing.assert_array_equal(one, two)
    given = (lengths, np.zeros((8, 1), np.int32), np.ones(8, np.int32))
    np.testing.assert_allclose(ctc_log_prob(other, *given), ctc_log_prob(logits, *given), rtol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_what_is_refused():
    logits, lengths = outputs(0)
    with pytest.raises(ValueError, match=r"logits must be \[B, T, K\]"):
        ctc_greedy(logits[0], lengths)
    with pytest.raises(ValueError, match=r"lengths must be \[4\] integers, got \(3,\)"):
        ctc_beam_search(logits, lengths[:3])
    with pytest.raises(ValueError, match="beams and longest must be 1 or more, got beams=0"):
        ctc_beam_search(logits, lengths, beams=0)
    with pytest.raises(ValueError, match=r"labels must be \[4, N\] and counts \[4\]"):
        ctc_log_prob(logits, lengths, np.zeros((3, 2), np.int32), lengths)
