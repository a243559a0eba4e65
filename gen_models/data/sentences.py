"""Labelled sentences as sequences of words: `sentences:PATH?min_count=1&length=40&fold=0&encoding=latin-1`.

PATH is a text file (`.gz` or not) with an example on each line: its label, a number from 0 on or a word, a blank, and
the sentence, whose words stand between blanks. Where its name has `train` in it and the file with `test` in that place
lies beside it, that one is `test`; else a tenth of the lines is, the `fold`-th of ten (0 to 9) of a fixed permutation,
so that cross-validation over ten folds is a sweep over `fold`.

The vocabulary is the words that come `min_count` times or more among the lines that are not `test`, by falling count.
Token 0 is padding, 1 is any other word. Sentences are filled up with padding to `length`, by default that of the
longest; of longer ones the beginning is kept. An example is `{"x": int32 [T], "y": int32 []}`.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.access import mixed
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.names import shown

PADDING, UNKNOWN = 0, 1
FOLDS = 10


class Words(NamedTuple):
    """The word of each token, and the names of the classes."""

    symbols: tuple[str, ...]
    classes: tuple[str, ...]

    def encode(self, text: str) -> np.ndarray:
        """The tokens int32 [T] of a sentence, whose words stand between blanks."""
        ids = {word: index for index, word in enumerate(self.symbols)}
        return np.array([ids.get(word, UNKNOWN) for word in text.split()], np.int32)

    def decode(self, tokens: Any) -> str:
        """The sentence of tokens [T], without padding."""
        return " ".join(self.symbols[int(token)] for token in np.asarray(tokens) if token != PADDING)


class Line(NamedTuple):
    """One labelled sentence."""

    label: str
    words: tuple[str, ...]


def sentences_origin(path: Path, options: Mapping[str, str]) -> Origin:
    """The splits of a file of labelled sentences, in memory.

    Raises:
      ValueError: no such file, bad options, a file that is damaged or of another encoding, or a line without a label
        and a word.
    """
    encoding = options.get("encoding", "utf-8")
    least, longest, fold = (_whole(options, name) for name in ("min_count", "length", "fold"))
    lines = read_lines(path, encoding)
    beside = _test_beside(path)
    if beside is not None:
        if fold is not None:
            raise ValueError(f"fold={fold} of sentences: {shown(beside)} is the test part: leave fold out")
        parts = {"train": lines, "test": read_lines(beside, encoding)}
    else:
        parts = _folded(lines, fold or 0)
    return origin_of_lines(
        parts,
        min_count=1 if least is None else least,
        length=longest,
        note=f"sentences of {shown(path)}" + ("" if beside else f"; test split by us, fold {fold or 0} of {FOLDS}"),
        drawn=() if beside else ("test",),
    )


def origin_of_lines(
    parts: Mapping[str, Sequence[Line]],
    *,
    min_count: int = 1,
    length: int | None = None,
    note: str = "sentences",
    drawn: tuple[str, ...] = (),
) -> Origin:
    """The splits of labelled sentences, `train` and `test`, by a vocabulary of `train`.

    Raises:
      ValueError: a number is not positive, or `test` has a label that `train` lacks.
    """
    for name, value in (("min_count", min_count), ("length", length)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} of sentences must be 1 or more")
    counts = Counter(word for line in parts["train"] for word in line.words)
    kept = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
    labels = sorted({line.label for line in parts["train"]}, key=lambda label: (len(label), label))
    for line in parts["test"]:
        if line.label not in labels:
            raise ValueError(f"the label {line.label!r} is of the test part alone: training knows {', '.join(labels)}")
    meaning = Words(("<padding>", "<unknown>", *kept), tuple(labels))
    ids = {word: index for index, word in enumerate(meaning.symbols)}
    size = length or max(len(line.words) for lines in parts.values() for line in lines)
    of_label = {label: index for index, label in enumerate(labels)}

    def arrays(lines: Sequence[Line]) -> dict[str, np.ndarray]:
        x = np.full((len(lines), size), PADDING, np.int32)
        for row, line in zip(x, lines, strict=True):
            found = [ids.get(word, UNKNOWN) for word in line.words[:size]]
            row[: len(found)] = found
        return {"x": x, "y": np.array([of_label[line.label] for line in lines], np.int32)}

    made = {split: arrays(lines) for split, lines in parts.items()}
    splits: dict[str, Any] = {split: partial(dict, found) for split, found in made.items()}
    return Origin(splits, len(labels), note, kind="sentences", meaning=meaning, check=_check, drawn=drawn)


def read_lines(path: Path, encoding: str = "utf-8") -> list[Line]:
    """The labelled sentences of a file, empty lines left out.

    Raises:
      ValueError: no such file or encoding, one that is damaged, or a line without a label and a word.
    """
    if not path.is_file():
        raise ValueError(f"sentences:{path}: there is no such file")
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(encoding)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{shown(path)} is a truncated or corrupt gzip file ({error}): get it again") from None
    except LookupError:
        raise ValueError(f"encoding={encoding} of sentences is none that Python knows, such as latin-1") from None
    except UnicodeDecodeError as error:
        where = f"{shown(path)} is not {encoding} at byte {error.start}"
        raise ValueError(f"{where}: name another, as in ?encoding=latin-1") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        label, *words = line.split() or [""]
        if label and not words:
            raise ValueError(f"{shown(path)}, line {number}: a label, a blank and a sentence are needed, got {line!r}")
        if label:
            found.append(Line(label, tuple(words)))
    if len(found) < 2:
        raise ValueError(f"{shown(path)} has {len(found)} sentences, and two or more are needed")
    return found


def _folded(lines: Sequence[Line], fold: int) -> dict[str, list[Line]]:
    """The `fold`-th tenth of a fixed permutation as `test`, and the rest in the permutation's order."""
    if fold >= FOLDS:
        raise ValueError(f"fold={fold} of sentences must be 0 to {FOLDS - 1}")
    order = mixed(len(lines))
    of_test = set(np.array_split(order, FOLDS)[fold].tolist())
    train = [lines[i] for i in order if i not in of_test]
    return {"train": train, "test": [lines[i] for i in order if i in of_test]}


def _test_beside(path: Path) -> Path | None:
    """The file whose name has "test" where this one's has "train", where it is there."""
    beside = path.with_name(path.name.replace("train", "test"))
    return beside if beside != path and beside.is_file() else None


def _whole(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise ValueError(f"{name}={text} of sentences must be a whole number")
    return int(text)


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
