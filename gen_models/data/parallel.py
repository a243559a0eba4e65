"""Sentences in two languages: `parallel:PATH?from=de&to=en&units=4000&length=40&test=test_2016_flickr`.

PATH is a folder of text files PART.LANGUAGE (each with `.gz` or not), line n of one language the translation of line n
of the other: `train.de` and `train.en`, the test part, whose name begins with `test` (where there are several, `test`
says which), and where there are some `validation` (or `valid`, `val`, `dev`), else a tenth of `train` is held out.

Each language has an own vocabulary of `units` tokens by byte-pair encoding (`byte_pairs.py`, extra `text`), learned
from its file for training alone; token 0 is the end. A pair of which either side, with its end, has more than `length`
tokens is left out, of every part, and counted; so is one of which a side is empty. Without `length`, it is that of the
longest pair of the parts that are not trained on, so that none of these is left out.

An example is a source and its target, as models of a target given a source read them:

    {"source": int32 [T], "source_length": int32 [], "x": int32 [T], "y": int32 [T], "length": int32 []}

x begins with the end, y[t] is the token that follows x[t], and the last that counts is the end; behind it both are 0.
The source has no end, and `source_length` tokens of it count.
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.byte_pairs import END, decoded, encoded, learned_units, pieces, unit_count
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.names import counted, listed, shown

UNITS = 4000
SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev")}


class Languages(NamedTuple):
    """Two languages with their units: what is read, and what it is translated to."""

    languages: tuple[str, str]
    units: tuple[str, str]  # the JSON of each language's (`byte_pairs.py`)

    @property
    def sizes(self) -> tuple[int, int]:
        """The number of tokens of either vocabulary."""
        return unit_count(self.units[0]), unit_count(self.units[1])

    @property
    def ends(self) -> tuple[int, int]:
        """The token that ends a text of either."""
        return END, END

    def encode(self, text: str, side: int = 0) -> np.ndarray:
        """The tokens int32 [T] of a text, by default of the language that is read, without an end."""
        return encoded([text], self.units[side])[0]

    def decode(self, tokens: Any, side: int = 1) -> str:
        """The text of tokens [T] up to the first end, by default of the language that is translated to."""
        return decoded(tokens, self.units[side])

    def pieces(self, tokens: Any, side: int = 1) -> list[str]:
        """The text of each token up to the first end."""
        return pieces(tokens, self.units[side])


def parallel_origin(path: Path, options: Mapping[str, str]) -> Origin:
    """The splits of a folder of parallel texts, in memory.

    Raises:
      ValueError: `tokenizers` is not installed, no such folder, bad options, a part that is missing, damaged or no
        UTF-8, languages of different numbers of lines, or a part of which nothing is left.
    """
    if "from" not in options or "to" not in options:
        raise ValueError(f"parallel:{shown(path)} needs its two languages, as in ?from=de&to=en")
    languages = (options["from"], options["to"])
    if languages[0] == languages[1]:
        raise ValueError(f"from={languages[0]} and to={languages[1]} of parallel are one language: name two")
    length, count = _whole(options, "length"), _whole(options, "units")
    stems = _stems(path, languages, options.get("test"))
    texts, empty = {}, 0
    for split, stem in stems.items():
        sides = [read_lines(_file(path, stem, language)) for language in languages]
        if len(sides[0]) != len(sides[1]):
            names = " and ".join(f"{stem}.{language}" for language in languages)
            raise ValueError(
                f"{names} of {shown(path)} have {len(sides[0]):,} and {len(sides[1]):,} lines: each must be the other's"
            )
        both = [pair for pair in zip(*sides, strict=True) if all(pair)]
        empty += len(sides[0]) - len(both)
        texts[split] = both
    return origin_of_pairs(
        texts,
        languages,
        units=UNITS if count is None else count,
        length=length,
        note=f"{languages[0]} to {languages[1]} of {shown(path)}, {stems['test']}",
        passed_over=(f"{counted(empty, 'pair')} with an empty side",) if empty else (),
    )


def origin_of_pairs(
    texts: Mapping[str, Sequence[tuple[str, str]]],
    languages: tuple[str, str],
    *,
    units: int = UNITS,
    length: int | None = None,
    note: str = "pairs of sentences",
    passed_over: tuple[str, ...] = (),
) -> Origin:
    """The splits of pairs of sentences by part, of which units are learned from `train`.

    Raises:
      ValueError: as `parallel_origin`.
    """
    learned = tuple(learned_units([pair[side] for pair in texts["train"]], units) for side in (0, 1))
    meaning = Languages(languages, (learned[0], learned[1]))
    tokens = {
        split: [encoded([pair[side] for pair in both], learned[side]) for side in (0, 1)]
        for split, both in texts.items()
    }
    counts = {
        split: np.array([max(len(source), len(target) + 1) for source, target in zip(*sides, strict=True)])
        for split, sides in tokens.items()
    }
    if length is None:
        length = max(int(most.max(initial=1)) for split, most in counts.items() if split != "train")
    made, left_out = {}, []
    for split, sides in tokens.items():
        fits = np.flatnonzero(counts[split] <= length)
        if not len(fits):
            raise ValueError(f"no pair of {split} has {length} tokens or fewer: raise length")
        made[split] = _arrays([[side[index] for index in fits] for side in sides], length)
        if fewer := len(counts[split]) - len(fits):
            left_out.append(f"{counted(fewer, 'pair')} of {split} of more than {length} tokens")
    return Origin(
        {split: partial(dict, found) for split, found in made.items()},
        None,
        note,
        kind="parallel",
        meaning=meaning,
        check=_check,
        passed_over=(*passed_over, *left_out),
    )


def _arrays(sides: Sequence[Sequence[np.ndarray]], length: int) -> dict[str, np.ndarray]:
    """Sources and targets, filled up with ends."""
    source, target = (np.full((len(sides[0]), size), END, np.int32) for size in (length, length + 1))
    for row, (read, asked) in enumerate(zip(*sides, strict=True)):
        source[row, : len(read)] = read
        target[row, 1 : len(asked) + 1] = asked
    read_counts, asked_counts = (np.array([len(one) for one in side], np.int32) for side in sides)
    found = {"source": source, "source_length": read_counts, "x": target[:, :-1], "y": target[:, 1:]}
    return found | {"length": asked_counts + 1}


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text, without blanks around them.

    Raises:
      ValueError: the file is damaged or no UTF-8.
    """
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{shown(path)} is a truncated or corrupt gzip file ({error}): get it again") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown(path)} is not UTF-8 at byte {error.start}: convert it") from None
    return [line.strip() for line in text.removesuffix("\n").split("\n")]


def _stems(path: Path, languages: tuple[str, str], test: str | None) -> dict[str, str]:
    """Split -> the name of its files without language, such as test_2016_flickr."""
    if not path.is_dir():
        raise ValueError(f"parallel:{path}: there is no such folder")
    ends = [f".{languages[0]}.gz", f".{languages[0]}"]
    there = {file.name.removesuffix(end) for file in path.iterdir() for end in ends if file.name.endswith(end)}
    found = {split: stem for split, stems in SPLITS.items() for stem in stems if stem in there}
    tests = sorted(stem for stem in there if stem.startswith("test"))
    if test is not None and test not in there:
        raise ValueError(f"test={test} of parallel: there is no {test}{ends[1]} in {shown(path)}, only {listed(tests)}")
    if "train" not in found or not tests:
        lacks = "train" if "train" not in found else "test"
        raise ValueError(f"parallel:{shown(path)} lacks {lacks}{ends[1]} (or the same with .gz): add it")
    if test is None and len(tests) > 1:
        raise ValueError(f"parallel:{shown(path)} has {len(tests)} test parts: name one, as in &test={tests[0]}")
    found["test"] = test or tests[0]
    for stem in found.values():
        _file(path, stem, languages[1])
    return found


def _file(path: Path, stem: str, language: str) -> Path:
    for end in (".gz", ""):
        if (file := path / f"{stem}.{language}{end}").is_file():
            return file
    raise ValueError(f"parallel:{shown(path)} lacks {stem}.{language} (or the same with .gz): add it")


def _whole(options: Mapping[str, str], name: str) -> int | None:
    text = options.get(name)
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text} of parallel must be a whole number of 1 or more")
    return int(text)


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
