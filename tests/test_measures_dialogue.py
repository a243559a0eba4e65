"""Turns of a play, what a turn tells of the reply against sums by hand, and replies that are written."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from gen_models.data.tokens import Vocabulary, Windows
from gen_models.measures.dialogue import Replies, pairs_of
from gen_models.models.sequences.recurrent_language_model import recurrent_language_model
from tests.measured import KEY, figures_of, split_of, trained_of

PLAY = "A:\nab ba\n\nB:\nabba\n\nC:\ncc c\nc\n\nB:\nccc\n\nall leave\n\nA:\nab\n\nC:\nbb\n\n"
VOCABULARY = Vocabulary(tuple(sorted(set(PLAY))), "characters")


def _split():
    tokens = VOCABULARY.encode("\n" + PLAY)
    windows = Windows(tokens, 1)  # every token but the first is followed
    return split_of({name: np.stack([windows[i][name] for i in range(len(windows))]) for name in ("x", "y")})


def _nats(tokens):
    """A token that was there before costs 0.5, another 2."""
    return [0.5 if token in tokens[:i] else 2.0 for i, token in enumerate(tokens)]


def _log_prob(params, stats, x, *, lengths):
    before = jnp.tril(x[:, :, None] == x[:, None, :], -1).any(-1)
    return -jnp.where(jnp.arange(x.shape[1]) < lengths[:, None], jnp.where(before, 0.5, 2.0), 0).sum(1)


def test_turns_are_those_with_a_speaker_and_what_follows():
    found = pairs_of(PLAY)
    assert [(pair.turn, pair.speaker, pair.reply) for pair in found] == [
        ("A:\nab ba", "B", "abba"),
        ("B:\nabba", "C", "cc c\nc"),
        ("C:\ncc c\nc", "B", "ccc"),
        ("A:\nab", "C", "bb"),
    ]


def test_what_a_turn_tells_is_the_difference_to_anothers():
    found = figures_of(
        Replies(heard=4, replied=5), trained_of(log_prob=_log_prob)._replace(vocabulary=VOCABULARY), _split()
    )
    pairs = pairs_of(PLAY)

    def nats(pair, heard):
        before = f"{heard.turn[-4:]}\n\n{pair.speaker}:\n"
        return sum(_nats(before + pair.reply[:5])[len(before) :])

    counts = np.array([4, 5, 3, 2])
    own = np.array([nats(pair, pair) for pair in pairs])
    other = np.array([nats(pair, heard) for pair, heard in zip(pairs, pairs[2:] + pairs[:2], strict=True)])
    assert found["nats/character of replies"].value == pytest.approx(own.sum() / counts.sum())
    told = found["told by the turn before"]
    value = (other - own).sum() / counts.sum()
    assert told.value == pytest.approx(value) and value > 0
    spread = (other - own - value * counts).std(ddof=1) / (counts.mean() * 2)
    assert told.spread == pytest.approx(spread)
    assert told.measured_on.endswith("4 replies")


def test_replies_are_written_behind_turns(tmp_path):
    model = recurrent_language_model(len(VOCABULARY.symbols), features=4)
    x = jnp.zeros((1, 4), jnp.int32)
    params, stats = jax.jit(model.init)(KEY, {"x": x, "y": x})
    trained = trained_of()._replace(model=model, params=params, stats=stats, vocabulary=VOCABULARY)
    Replies(heard=6, replied=5, shown=2).draw(trained, _split(), KEY, tmp_path)
    first, last = (tmp_path / "dialogue.txt").read_text().split("\n" + "-" * 20 + "\n")[:2]
    for text, before, true in ((first, "\nab ba\n\nB:\n", "abba"), (last, "A:\nab\n\nC:\n", "bb")):
        assert text.startswith(f"{before}[model] ") and text.endswith(f"\n\n[play] {true}")
        reply = text[len(before) + len("[model] ") :].split("\n\n[play]")[0]
        assert len(reply) <= 5 and "\n\n" not in reply
    with Image.open(tmp_path / "dialogue.png") as image:
        assert image.size[0] > 300


def test_a_text_without_turns_is_refused():
    split = split_of({name: np.zeros((9, 1), np.int32) for name in ("x", "y")})
    with pytest.raises(ValueError, match="has no two turns with a reply"):
        list(Replies().figures(trained_of()._replace(vocabulary=VOCABULARY), split, KEY))
    with pytest.raises(ValueError, match="these data have no vocabulary"):
        list(Replies().figures(trained_of(), split, KEY))
