"""Text as sequences of tokens: `tokens:PATH?length=128&unit=characters&documents=file`.

PATH is a text file (`.gz` or not), whose last tenth is `test`, or a folder with `train.txt`, `test.txt` and perhaps
`validation.txt` (each with `.gz` or without).

- `unit=characters`: UTF-8; the vocabulary is all characters of all splits, sorted. A mark at the file's beginning is no
  character, and a line ends with a newline, also where the file has a carriage return before it. `unit=bytes`: 256
  tokens, which are the file's bytes.
- `documents=file`: window i is the tokens i * length to (i + 1) * length, and what does not fill one is dropped.
- `documents=lines`: each line is a document, and windows hold tokens of one document alone; `length` defaults to the
  longest. A line begins after, and ends with, the token of the newline. What is behind the end is padded with newlines,
  and `length` tells how many tokens count. A tenth of the lines, drawn by a fixed permutation, is `test`.

An example is `{"x": int32 [T], "y": int32 [T]}`, y[t] the token that follows x[t], and `start`, whether no window of
the document goes before it: `batches(..., contiguous=True)` is what that is for. Tokens are never cast to float.
"""

import gzip
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.access import Example, tenth, within
from gen_models.data.dataset import Arrays, Origin
from gen_models.data.names import counted
from gen_models.errors import unknown

UNITS = ("characters", "bytes")
DOCUMENTS = ("file", "lines")
LENGTH = 128  # tokens of a window


class Vocabulary(NamedTuple):
    """The text of each token: characters, or bytes as the characters of Latin-1."""

    symbols: tuple[str, ...]
    unit: str

    def encode(self, text: str) -> np.ndarray:
        """The tokens int32 [T] of a text.

        Raises:
          ValueError: a character that is not in the vocabulary.
        """
        if self.unit == "bytes":
            return np.frombuffer(text.encode(), np.uint8).astype(np.int32)
        ids = {symbol: index for index, symbol in enumerate(self.symbols)}
        for symbol in text:
            if symbol not in ids:
                raise ValueError(f"{symbol!r} is none of the {len(ids)} characters of the vocabulary: leave it out")
        return np.array([ids[symbol] for symbol in text], np.int32)

    def decode(self, tokens: Any) -> str:
        """The text of tokens [T]; of bytes, what is no UTF-8 becomes U+FFFD."""
        tokens = np.asarray(tokens)
        if self.unit == "bytes":
            return tokens.astype(np.uint8).tobytes().decode(errors="replace")
        return "".join(self.symbols[int(token)] for token in tokens)


class Windows:
    """Windows of one long document, as a random-access source; the tokens may be a file that is mapped, not read."""

    def __init__(self, tokens: np.ndarray, length: int):
        self.tokens, self.length = tokens, length

    def __len__(self) -> int:
        return max(0, (len(self.tokens) - 1) // self.length)

    def __getitem__(self, index: int) -> Example:
        start = index * self.length
        window = self.tokens[start : start + self.length + 1].astype(np.int32)
        return {"x": window[:-1], "y": window[1:], "start": np.bool_(index == 0)}


class Lines:
    """Windows of many short documents, each of which begins after, and ends with, the token `end`."""

    def __init__(self, tokens: np.ndarray, ends: np.ndarray, documents: np.ndarray, length: int):
        # `ends` has the position in `tokens` of each document's last token; the first lies behind the last token of the
        # document before. `documents` says which documents this split has, and in which order.
        begins = np.concatenate([[0], ends[:-1] + 1])[documents]
        counts = ends[documents] + 1 - begins
        self.tokens, self.length, self.end = tokens, length, int(tokens[ends[0]])
        each = -(-counts // length)  # windows of each document, rounded up
        # For each window: which document it is of, and where in that document it begins. cumsum(each) - each is the
        # number of windows before a document's first one.
        self.document = np.repeat(np.arange(len(documents)), each)
        self.offset = length * (np.arange(len(self.document)) - np.repeat(np.cumsum(each) - each, each))
        self.begins, self.counts = begins, counts

    def __len__(self) -> int:
        return len(self.document)

    def __getitem__(self, index: int) -> Example:
        document, offset = self.document[index], int(self.offset[index])
        begin, count = self.begins[document], min(self.length, int(self.counts[document]) - offset)
        window = np.full(self.length + 1, self.end, np.int32)
        first = begin + offset - 1  # the position of x[0], the token before the first that is predicted
        if offset:  # else x[0] is `end`, as a document begins after one
            window[0] = self.tokens[first]
        window[1 : count + 1] = self.tokens[first + 1 : first + 1 + count]
        return {"x": window[:-1], "y": window[1:], "length": np.int32(count), "start": np.bool_(offset == 0)}


def tokens_origin(path: Path, options: Mapping[str, str], limit: int) -> Origin:
    """The splits of a text; those of at most `limit` bytes are in memory.

    Raises:
      ValueError: no such file, bad options, a file that is damaged or not UTF-8, or a text shorter than a window.
    """
    unit, documents = options.get("unit", "characters"), options.get("documents", "file")
    for what, value, known in (("unit", unit, UNITS), ("documents", documents, DOCUMENTS)):
        if value not in known:
            raise unknown(f"{what} of tokens", value, known)
    length = _length(options.get("length"))
    files = _files(path)
    texts = {split: _read(file, unit) for split, file in files.items()}
    passed_over = []
    if unit == "characters":
        cut = {split: _without_returns(text) for split, text in texts.items()}
        fewer = sum(len(texts[split]) - len(text) for split, text in cut.items())
        passed_over += [f"{counted(fewer, 'carriage return')} before newlines"] if fewer else []
        texts = cut
    vocabulary = Vocabulary(tuple(map(chr, range(256))), unit) if unit == "bytes" else _characters(texts)
    if unit == "characters":
        points = np.array([ord(symbol) for symbol in vocabulary.symbols], np.uint32)
        texts = {split: np.searchsorted(points, text).astype(np.int32) for split, text in texts.items()}
    if documents == "lines":
        if "\n" not in vocabulary.symbols:
            raise ValueError(f"{path} has no line that ends: documents=lines needs one document a line")
        newline = vocabulary.symbols.index("\n")
        empty = sum(_empty_lines(text, newline) for text in texts.values())
        passed_over += [f"{counted(empty, 'empty line')}"] if empty else []
        sources = _lines(texts, newline, length)
    else:
        sources = _windows(texts, length or LENGTH)
    for split, source in sources.items():
        if not len(source):
            raise ValueError(
                f"{files.get(split, path)} has fewer than {length or LENGTH} + 1 tokens for {split}: lower length"
            )
    note = f"{unit} of {path}" + ("" if len(files) > 1 else "; test split by us")
    splits = {split: partial(within, limit, source) for split, source in sources.items()}
    size = len(vocabulary.symbols)
    return Origin(
        splits,
        size,
        note,
        kind="tokens",
        meaning=vocabulary,
        check=_check,
        passed_over=tuple(passed_over),
        drawn=() if len(files) > 1 else ("test",),
    )


def _windows(texts: Mapping[str, np.ndarray], length: int) -> dict[str, Any]:
    """Split -> windows of its text; the last tenth of a lone text is `test`."""
    if len(texts) > 1:
        return {split: Windows(text, length) for split, text in texts.items()}
    (text,) = texts.values()
    cut = round(0.9 * len(text))
    return {"train": Windows(text[:cut], length), "test": Windows(text[cut:], length)}


def _lines(texts: Mapping[str, np.ndarray], newline: int, length: int | None) -> dict[str, Any]:
    """Split -> windows of its lines; a tenth of the lines of a lone text is `test`."""
    ends, tokens = {}, {}
    for split, text in texts.items():
        text = text if text[-1] == newline else np.append(text, text.dtype.type(newline))
        before = np.concatenate([[newline], text[:-1]])
        text = text[(text != newline) | (before != newline)]  # a newline behind a newline ends an empty line: left out
        tokens[split], ends[split] = text, np.flatnonzero(text == newline)
    longest = max(int(np.diff(end, prepend=-1).max()) for end in ends.values())
    found = {}
    for split in texts:
        total = len(ends[split])
        if len(texts) > 1:
            found[split] = Lines(tokens[split], ends[split], np.arange(total), length or longest)
        else:
            for drawn in ("train", "test"):
                found[drawn] = Lines(tokens[split], ends[split], tenth(total, drawn), length or longest)
    return found


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise ValueError(f"tokens:{path}: there is no such file or folder")
    names = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
    found = {
        split: path / f"{stem}{end}"
        for split, stems in names.items()
        for stem in stems
        for end in (".txt.gz", ".txt")
        if (path / f"{stem}{end}").is_file()
    }
    if not {"train", "test"} <= set(found):
        raise ValueError(
            f"tokens:{path} lacks train.txt or test.txt (or the same with .gz): add them, or give one file"
        )
    return found


def _read(path: Path, unit: str) -> np.ndarray:
    """Bytes as uint8, mapped from the disk where the file is not compressed; characters as uint32 code points."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b" or path.suffix == ".gz"
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty: get it again")
    if unit == "bytes" and not compressed:
        return np.memmap(path, np.uint8, "r")
    raw = path.read_bytes()
    try:
        raw = gzip.decompress(raw) if compressed else raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is a truncated or corrupt gzip file ({error}): get it again") from None
    if unit == "bytes":
        return np.frombuffer(raw, np.uint8)
    if b"\0" in raw:
        raise ValueError(f"{path} is no text (it holds zero bytes, as archives do): unpack it, or add ?unit=bytes")
    try:
        return np.frombuffer(raw.decode("utf-8-sig").encode("utf-32-le"), "<u4")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 at byte {error.start}: convert it, or add ?unit=bytes") from None


def _without_returns(text: np.ndarray) -> np.ndarray:
    """Code points without the carriage returns that stand before newlines."""
    returns = (text[:-1] == ord("\r")) & (text[1:] == ord("\n"))
    return text[np.append(~returns, True)] if returns.any() else text


def _empty_lines(text: np.ndarray, newline: int) -> int:
    """How many newlines of a text end an empty line."""
    ends = text == newline
    return int((ends[1:] & ends[:-1]).sum()) + int(ends[0])


def _characters(texts: Mapping[str, np.ndarray]) -> Vocabulary:
    """The vocabulary of all characters of all splits, sorted."""
    points = np.unique(np.concatenate([np.unique(text) for text in texts.values()]))
    return Vocabulary(tuple(chr(point) for point in points), "characters")


def _length(text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"length={text} of tokens must be a whole number of 1 or more")
    return int(text)


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    """The arrays, whose tokens must be in the vocabulary."""
    size = origin.num_classes or 0
    for field in ("x", "y"):
        ids = arrays[field]
        if ids.min() < 0 or ids.max() >= size:
            raise ValueError(f"{name}: tokens must be 0 to {size - 1}, got {ids.min()} to {ids.max()}")
    return dict(arrays)
