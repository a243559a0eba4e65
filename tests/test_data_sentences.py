"""Labelled sentences: words and back, folds that partition, a test file beside; generated reviews whose labels hold."""

import gzip
from itertools import pairwise

import numpy as np
import pytest

from gen_models.data.reviews import BAD, GOOD, LENGTH, NEGATIONS, generated_reviews, review_words
from gen_models.data.sentences import UNKNOWN
from gen_models.data.sources import load

TRAIN = "1 a good film\n0 a bad bad film\n\n1 good\n2 what ?\n"


def _file(folder, name="some.train.txt", text=TRAIN):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize("name", ["some.train.txt", "some.train.txt.gz"])
def test_words_are_numbered_by_how_often_they_come_in_training(tmp_path, name):
    path = _file(tmp_path, name)
    _file(tmp_path, name.replace("train", "test"), "0 a terrible film film film film\n1 good\n")
    train, test = (load(f"sentences:{path}", split, validation=0) for split in ("train", "test"))
    words = train.meaning
    assert words.symbols == ("<padding>", "<unknown>", "a", "bad", "film", "good", "?", "what")
    assert (train.num_classes, words.classes, train.shape) == (3, ("0", "1", "2"), (6,))
    assert [words.decode(x) for x in train.arrays["x"]] == ["a good film", "a bad bad film", "good", "what ?"]
    np.testing.assert_array_equal(train.arrays["y"], [1, 0, 1, 2])
    assert words.decode(test.arrays["x"][0]) == "a <unknown> film film film film"
    np.testing.assert_array_equal(words.encode("a terrible film"), test.arrays["x"][0, :3])
    rare = load(f"sentences:{path}?min_count=2&length=2", "train", validation=0)
    assert rare.meaning.symbols[2:] == ("a", "bad", "film", "good") and rare.shape == (2,)
    assert rare.arrays["x"][3].tolist() == [UNKNOWN, UNKNOWN]


def test_ten_folds_are_a_partition(tmp_path):
    lines = [f"{n % 3} word{n} more" for n in range(47)]
    path = _file(tmp_path, "all.txt", "\n".join(lines))
    seen = []
    for fold in range(10):
        parts = [load(f"sentences:{path}?fold={fold}", split, validation=0) for split in ("train", "test")]
        known, tested = ([part.meaning.decode(x) for x in part.arrays["x"]] for part in parts)
        assert len(known) + len(tested) == 47 and len(tested) in (4, 5)
        assert {words.split()[0] for words in tested} == {"<unknown>"}  # no word of theirs but "more" is elsewhere
        seen += [int(y) for y in parts[1].arrays["y"]]
        assert f"fold {fold} of 10" in parts[0].note
    assert np.bincount(seen).tolist() == [16, 16, 15]


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.txt", "1\n0 word\n", "", "line 1: a label, a blank and a sentence are needed, got '1'"),
        ("a.txt", "1 word\n", "", "has 1 sentences, and two or more are needed"),
        ("a.txt", TRAIN, "?fold=10", "fold=10 of sentences must be 0 to 9"),
        ("a.txt", TRAIN, "?fold=x", "fold=x of sentences must be a whole number"),
        ("a.txt", TRAIN, "?length=0", "length=0 of sentences must be 1 or more"),
        ("a.txt", TRAIN, "?encoding=martian", "encoding=martian of sentences is none that Python knows"),
        ("a.txt", TRAIN, "?folds=1", "unknown option of sentences:PATH 'folds'"),
        ("a.train.txt", TRAIN, "?fold=1", "a.test.txt is the test part: leave fold out"),
        ("none.txt", None, "", "there is no such file"),
    ],
)
def test_what_are_no_sentences(tmp_path, name, text, options, message):
    if text is not None:
        _file(tmp_path, name, text)
    _file(tmp_path, "a.test.txt")
    with pytest.raises(ValueError, match=message):
        load(f"sentences:{tmp_path / name}{options}")


def test_a_file_of_another_encoding_says_so(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("0 caf\xe9\n1 bar\n0 caf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"is not utf-8 at byte 5: name another, as in \?encoding=latin-1"):
        load(f"sentences:{path}")
    assert "café" in load(f"sentences:{path}?encoding=latin-1", "train", validation=0).meaning.symbols


def _opinion(clause):
    """Of the words of a clause: its adjective's, turned round by each negation."""
    good = clause[-1] in GOOD
    assert good or clause[-1] in BAD
    return good ^ (sum(word in NEGATIONS for word in clause) % 2 == 1)


def test_reviews_say_what_their_label_says_and_their_words_alone_do_not():
    found, symbols = generated_reviews(2000, 3), review_words()
    counts = np.zeros((len(symbols), 2))
    for x, y in zip(found["x"], found["y"], strict=True):
        words = [symbols[token] for token in x if token]
        clauses, joints, clause = [], [], []
        for word in words:
            if word in ("and", "but"):
                joints.append(word)
                clauses.append(clause)
                clause = []
            else:
                clause.append(word)
        opinions = [_opinion(clause) for clause in [*clauses, clause]]
        assert opinions[-1] == y and len(words) <= LENGTH
        assert [a == b for a, b in pairwise(opinions)] == [joint == "and" for joint in joints]
        np.add.at(counts, (x[x > 0], y), 1)
    assert abs(found["y"].mean() - 0.5) < 0.05
    shares = counts[:, 1][counts.sum(1) > 0] / counts.sum(1)[counts.sum(1) > 0]
    assert np.abs(shares - 0.5).max() < 0.1  # no word tells more than a coin
