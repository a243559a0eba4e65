"""Sentences in two languages: byte pairs against those found by hand, texts that come back, folders that are none."""

import gzip
import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from gen_models.data.byte_pairs import BYTES, END, decoded, encoded, learned_units, pieces, unit_count
from gen_models.data.meanings import meaning_from_json, meaning_to_json
from gen_models.data.report import report_of, told
from gen_models.data.sources import load
from gen_models.data.splits import load_splits

pytest.importorskip("tokenizers")
DE = ["ein Hund", "ein Haus", "ein Mann läuft", "", "ein Hund läuft im Haus"]
EN = ["a dog", "a house", "a man runs", "nothing", "a dog runs in the house"]
OPTIONS = "?from=de&to=en&units=270"


def _folder(root, name="texts", *, end="", **parts):
    folder = root / name
    folder.mkdir()
    for part, (de, en) in (
        parts or {"train": (DE, EN), "val": ((DE[0], DE[4]), (EN[0], EN[4])), "test_2016": (DE[1:3], EN[1:3])}
    ).items():
        for language, lines in (("de", de), ("en", en)):
            raw = "".join(f"{line}\n" for line in lines).encode()
            (folder / f"{part}.{language}{end}").write_bytes(gzip.compress(raw) if end else raw)
    return folder


def _first_pair(texts):
    """The pair of neighbouring bytes that comes most often, of words that begin with a blank."""
    counts = Counter()
    for text in texts:
        for word in text.split():
            whole = f" {word}"
            counts.update(pairwise(whole))
    return counts.most_common(1)[0][0]


def test_the_first_unit_is_the_pair_that_comes_most_often():
    texts = ["low low low lower newest newest widest"]
    assert _first_pair(texts) == (" ", "l") or _first_pair(texts) == ("l", "o")
    one = json.loads(learned_units(texts, BYTES + 2))["model"]["merges"]
    assert ["".join(pair).replace("\u0120", " ") for pair in one] in ([" l"], ["lo"])
    assert unit_count(learned_units(texts, BYTES + 2)) == BYTES + 2
    assert learned_units(texts, 300) == learned_units(texts, 300)  # the same each time
    with pytest.raises(ValueError, match="257 units or more, the 256 bytes and the end, got 256"):
        learned_units(texts, 256)


def test_tokens_give_back_any_text_to_the_byte():
    units = learned_units(DE, 280)
    strange = ["ein Hund", "Ωmega — 日本", "two  blanks", "a\ttab", "", "é" * 5]
    tokens = encoded(strange, units)
    assert [decoded(row, units) for row in tokens] == strange
    assert all((row != END).all() for row in tokens)  # no text has the end
    assert decoded([*tokens[0], END, *tokens[1]], units) == "ein Hund"
    assert "".join(pieces(tokens[0], units)) == "_ein_Hund"
    assert len(tokens[0]) < len("ein Hund")  # units are longer than bytes
    assert "\ufffd" in decoded(encoded(["é"], units)[0][:2], units)  # half of a character


@pytest.mark.parametrize("end", ["", ".gz"])
def test_pairs_are_sources_and_targets(tmp_path, end):
    name = f"parallel:{_folder(tmp_path, end=end)}{OPTIONS}"
    splits = load_splits(name, kinds=("parallel",))
    meaning = splits.train.meaning
    assert [len(part) for part in (splits.train, splits.held_out, splits.test)] == [4, 2, 2]
    assert splits.held_out_word == "validation" and meaning.sizes == (270, 270) and splits.num_classes is None
    arrays = splits.train.arrays
    kept = [index for index, line in enumerate(DE) if line]
    for row, index in enumerate(kept):
        source, y = arrays["source"][row], arrays["y"][row]
        assert meaning.decode(source[: arrays["source_length"][row]], 0) == DE[index]
        assert meaning.decode(y) == EN[index]
        count = arrays["length"][row]
        assert y[count - 1] == END and (y[: count - 1] != END).all() and (y[count:] == END).all()
        assert arrays["x"][row, 0] == END and (arrays["x"][row, 1:] == y[:-1]).all()
        np.testing.assert_array_equal(meaning.encode(DE[index]), source[: arrays["source_length"][row]])
    assert "passed over: 1 pair with an empty side" in told(report_of(splits))
    assert "pairs of sentences of up to" in told(report_of(splits)) and "de (270 tokens)" in told(report_of(splits))
    # What is kept beside a run reads as this does; the units are those of the training part alone.
    assert meaning_from_json(json.loads(json.dumps(meaning_to_json(meaning)))) == meaning
    assert meaning.units == (
        learned_units([DE[index] for index in kept], 270),
        learned_units([EN[i] for i in kept], 270),
    )


def test_what_is_too_long_is_left_out_and_counted(tmp_path):
    folder = _folder(tmp_path)
    whole = load(f"parallel:{folder}{OPTIONS}", "train")
    longest = max(load(f"parallel:{folder}{OPTIONS}", part).arrays["length"].max() for part in ("validation", "test"))
    assert whole.shape[0] >= longest and len(load(f"parallel:{folder}{OPTIONS}", "test")) == 2
    short = load(f"parallel:{folder}{OPTIONS}&length=6", "train")
    assert short.shape == (6,) and 0 < len(short) < 4
    assert any(phrase.endswith("of train of more than 6 tokens") for phrase in short.passed_over)
    assert max(short.arrays["length"].max(), short.arrays["source_length"].max()) <= 6
    with pytest.raises(ValueError, match="no pair of train has 1 tokens or fewer: raise length"):
        load(f"parallel:{folder}{OPTIONS}&length=1", "train")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", r"needs its two languages, as in \?from=de&to=en"),
        ("?from=de", "needs its two languages"),
        ("?from=de&to=de", "are one language: name two"),
        ("?from=de&to=fr", "lacks train.fr"),
        ("?from=fr&to=en", "lacks train.fr"),
        ("?from=de&to=en&units=many", "units=many of parallel must be a whole number"),
        ("?from=de&to=en&units=10", "257 units or more"),
        ("?from=de&to=en&length=0", "length=0 of parallel must be a whole number of 1 or more"),
        ("?from=de&to=en&test=test_2018", "there is no test_2018.de in .*, only test_2016"),
        ("?from=de&to=en&lenght=3", "unknown option of parallel:PATH 'lenght'"),
    ],
)
def test_options_that_are_wrong(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        load(f"parallel:{_folder(tmp_path)}{options}")


def test_folders_that_are_none(tmp_path):
    wrong = [
        (tmp_path / "none", "there is no such folder"),
        (
            _folder(tmp_path, "uneven", train=(DE, EN[:2]), test=(DE, EN)),
            "have 5 and 2 lines: each must be the other's",
        ),
        (_folder(tmp_path, "untested", train=(DE, EN)), "lacks test.de"),
        (_folder(tmp_path, "two", train=(DE, EN), test_a=(DE, EN), test_b=(DE, EN)), "name one, as in &test=test_a"),
    ]
    for folder, message in wrong:
        with pytest.raises(ValueError, match=message):
            load(f"parallel:{folder}{OPTIONS}")
    latin = _folder(tmp_path, "latin")
    (latin / "train.de").write_bytes("läuft\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"train.de is not UTF-8 at byte 1: convert it"):
        load(f"parallel:{latin}{OPTIONS}")
    cut = _folder(tmp_path, "cut", end=".gz")
    (cut / "train.de.gz").write_bytes((cut / "train.de.gz").read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated or corrupt gzip"):
        load(f"parallel:{cut}{OPTIONS}")


@pytest.mark.slow
@pytest.mark.skipif("GEN_MODELS_DATA_DIR" not in os.environ, reason="needs Multi30k below GEN_MODELS_DATA_DIR")
def test_multi30k_is_read_whole():
    folder = Path(os.environ["GEN_MODELS_DATA_DIR"]) / "text" / "multi30k"
    splits = load_splits(f"parallel:{folder}?from=de&to=en&units=300")
    assert [len(part) for part in (splits.held_out, splits.test)] == [1014, 1000]  # without length none is left out
    lines = gzip.decompress((folder / "test_2016_flickr.en.gz").read_bytes()).decode().split("\n")
    meaning = splits.train.meaning
    assert [meaning.decode(row) for row in splits.test.arrays["y"]] == [line.strip() for line in lines[:1000]]
    left_out = [int(phrase.split()[0]) for phrase in splits.train.passed_over]
    assert len(splits.train) + sum(left_out) == 29_000
