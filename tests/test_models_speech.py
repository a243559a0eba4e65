"""The speech recogniser: padding, joined frames, labels found after training; utterances, edits and their measure."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gen_models as gm
from gen_models.data.utterances import utterances
from gen_models.measures.transcription import LabelErrors
from gen_models.metrics import edit_distance
from gen_models.models.sequences.speech_recogniser import speech_recogniser
from gen_models.nn.ctc import ctc_log_prob
from tests.measured import KEY, figures_of, split_of, trained_of
from tests.zoo import heard


@pytest.mark.slow
def test_labels_are_heard_after_training_and_padding_changes_nothing():
    model, tx = speech_recogniser((7, 2), 2, features=8, layers=1, joined=1), optax.adam(0.03)
    state = gm.init_state(model, tx, KEY, heard(0, 2))
    step = jax.jit(gm.make_train_step(model.loss, tx))
    for seed in range(150):
        state, metrics = step(state, heard(seed, 32))
    assert metrics["loss"] < 0.3
    batch = heard(999, 50)
    x, length = batch["x"], batch["length"]
    params = state.params
    ways = lambda *given: (model.decode(params, {}, *given), model.decode(params, {}, *given, beams=4, all_beams=True))  # noqa: E731
    decode = jax.jit(ways)
    (labels, counts), beam = decode(x, length)
    said = [row[:count].tolist() for row, count in zip(batch["y"], batch["count"], strict=True)]
    for found, many in ((np.asarray(labels), counts), (np.asarray(beam.labels[:, 0]), beam.counts[:, 0])):
        right = [row[:count].tolist() == one for row, count, one in zip(found, many, said, strict=True)]
        assert np.mean(right) > 0.9
    other = np.where(np.arange(7)[:, None] < length[:, None, None], x, 50).astype(np.float32)
    for one, two in zip(jax.tree.leaves(decode(other, length)), jax.tree.leaves(((labels, counts), beam)), strict=True):
        np.testing.assert_array_equal(one, two)

    @jax.jit
    def three(batch):
        told = {"inputs": batch["x"], "lengths": batch["length"], "counts": batch["count"]}
        logits = model.apply(params, {}, batch["x"], batch["length"])
        loss = model.loss(params, {}, batch, KEY, step=0, train=False)[0]
        wanted = ctc_log_prob(logits, batch["length"], batch["y"], batch["count"])
        return model.log_prob(params, {}, batch["y"], **told), wanted, loss

    log_p, wanted, loss = three(batch)
    np.testing.assert_allclose(log_p, wanted, rtol=1e-5)
    np.testing.assert_allclose(loss, -log_p.mean(), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("unchecked")
def test_joined_frames_and_what_is_refused():
    model = speech_recogniser((7, 2), 2, features=3, joined=3)
    x = heard(0, 4)["x"]
    params, _ = model.init(KEY, {"x": x})
    short = np.array([7, 4, 3, 1])
    assert model.apply(params, {}, x, short).shape == (4, 3, 3)
    other = np.where(np.arange(7)[:, None] < short[:, None, None], x, 9).astype(np.float32)
    np.testing.assert_array_equal(model.apply(params, {}, x, short), model.apply(params, {}, other, short))
    good = heard(0, 4)
    for changed, message in (
        ({"y": good["y"][:, 0]}, r"'y' must be labels, integers \[4, N\], got int32 \[4\]"),
        ({"y": good["y"].astype(np.float32)}, "'y' must be labels, integers .* got float32"),
        ({"y": np.full((4, 2), 2)}, "labels must be from 0 to 1, got 2"),
        ({"count": good["count"][:2]}, r"'count' must be \[4\] integers"),
        ({"length": good["length"][:2]}, r"lengths must be \[4\] integers"),
        ({"x": x[:, :-1]}, "built for images of shape"),
    ):
        with pytest.raises(ValueError, match=message):
            model.loss(params, {}, good | changed, KEY, step=0)
    ignored = good | {"y": np.where(np.arange(2) < good["count"][:, None], good["y"], 77)}  # behind the count
    assert np.isfinite(model.loss(params, {}, ignored, KEY, step=0)[0])
    with pytest.raises(ValueError, match="no 'y', only"):
        model.loss(params, {}, {"x": x}, KEY, step=0)
    for wrong, message in (
        ({"shape": (7,)}, "a sequence's shape is"),
        ({"classes": 0}, "sizes must be positive, got classes=0"),
        ({"cell": "elman"}, "elman"),
        ({"dropout": 1.0}, "dropout"),
    ):
        with pytest.raises(ValueError, match=message):
            speech_recogniser(**({"shape": (7, 2), "classes": 2} | wrong))


def test_utterances_are_recordings_of_one_speaker_with_gaps():
    rng = np.random.default_rng(0)
    x = rng.integers(100, 9000, (12, 30)).astype(np.int16)
    labels, speakers, lengths = np.arange(12) % 4, np.arange(12) // 6, rng.integers(10, 31, 12)
    how = {"speakers": speakers, "words": (1, 3), "gap": (2, 5)}
    found = utterances(x, labels, lengths, 50, 7, **how)
    assert found["x"].shape == (50, 3 * 30 + 4 * 5) and found["x"].dtype == np.int16
    assert set(found["count"]) == {1, 2, 3}
    of = {tuple(x[i, : lengths[i]].tolist()): i for i in range(12)}
    for sound, length, said, count in zip(*(found[name] for name in ("x", "length", "y", "count")), strict=True):
        pieces = [tuple(group) for loud, group in itertools.groupby(sound[:length].tolist(), lambda s: s != 0) if loud]
        gaps = [
            len(list(group)) for loud, group in itertools.groupby(sound[:length].tolist(), lambda s: s != 0) if not loud
        ]
        which = [of[piece] for piece in pieces]
        assert len(which) == count and (labels[which] == said[:count]).all() and (said[count:] == 0).all()
        assert len(set(speakers[which])) == 1
        assert len(gaps) == count + 1 and min(gaps) >= 2 and max(gaps) <= 5
        assert (sound[length:] == 0).all()
    again = utterances(x, labels, lengths, 50, 7, **how)
    assert all((again[name] == found[name]).all() for name in found)
    noisy = utterances(x, labels, lengths, 50, 7, **how, noise=0.01)["x"][0]
    assert 50 < np.abs(noisy[: found["length"][0]][found["x"][0][: found["length"][0]] == 0]).max() < 2000


@pytest.mark.usefixtures("unchecked")
def test_utterances_that_are_refused():
    x, ones = np.ones((3, 5), np.int16), np.ones(3, int)
    for change, message in (
        ({"x": x.astype(np.float32)}, "recordings must be int16"),
        ({"labels": ones[:2]}, r"labels must be \[3\]"),
        ({"speakers": ones[:1]}, r"speakers must be \[3\]"),
        ({"lengths": 6 * ones}, "lengths must be from 1 to 5, got 6 to 6"),
        ({"words": (0, 2)}, "words must rise from 1 or more"),
        ({"gap": (5, 2)}, "gap from 0 or more"),
        ({"count": 0}, "count must be 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            utterances(**({"x": x, "labels": ones, "lengths": ones, "count": 2} | change))


def by_search(first, second):
    """The edit distance as the depth at which a search over all single edits finds the second sequence."""
    seen, border, depth = {first}, {first}, 0
    while second not in seen:
        found = set()
        for word in border:
            for i in range(len(word) + 1):
                found |= {word[:i] + letter + word[i + cut :] for letter in ("", "a", "b") for cut in (0, 1)}
        border, depth = found - seen, depth + 1
        seen |= border
    return depth


def test_edits_are_the_fewest_that_there_are():
    words = ["".join(word) for size in range(4) for word in itertools.product("ab", repeat=size)]
    rng = np.random.default_rng(0)
    for first, second in rng.choice(words, (60, 2)):
        assert edit_distance(first, second) == by_search(str(first), str(second))
    assert edit_distance("kitten", "sitting") == 3 and edit_distance([1, 2], []) == 2


def test_the_label_error_rate_is_edits_over_labels(tmp_path):
    """A model that hears what its x says, which is wrong in three places."""

    def decode(params, stats, x, lengths=None, *, beams=None):
        heard = x.astype(jnp.int32)
        return jnp.where(heard == 9, -1, heard if beams is None else 0), None

    def log_prob(params, stats, y, key, *, inputs, lengths, counts):
        return -2.0 * counts.astype(jnp.float32)

    arrays = {
        "x": np.array([[1, 2, 9], [1, 9, 9], [3, 4, 5], [9, 9, 9]], np.float32),
        "y": np.array([[1, 2], [1, 2], [3, 5], [4, 0]]),
        "count": np.array([2, 2, 2, 1]),
        "length": np.array([3, 3, 3, 3]),
    }
    trained = trained_of(num_classes=6, decode=decode, log_prob=log_prob)
    found = figures_of(LabelErrors(beams=2), trained, split_of(arrays))
    assert found["label error rate"].value == pytest.approx(3 / 7) and found["heard right"].value == 0.25
    edits, counts = np.array([0, 1, 1, 1]), np.array([2, 2, 2, 1])
    spread = (edits - 3 / 7 * counts).std(ddof=1) / (counts.mean() * 2)
    assert found["label error rate"].spread == pytest.approx(spread)
    assert found["label error rate, 2 beams"].value == pytest.approx((2 + 2 + 3 + 1) / 7)
    assert found["nats/utterance"].value == pytest.approx(2 * 7 / 4)
    LabelErrors().draw(trained, split_of(arrays), KEY, tmp_path)
    text = (tmp_path / "transcripts.txt").read_text()
    assert "said   4\nheard  (nothing)" in text and text.index("said   4") < text.index("said   1 2\nheard  1 2")
