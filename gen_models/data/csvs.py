"""CSV files as programs write them: which bytes are text, what separates values, and which comma is a decimal point."""

import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

from gen_models.data.names import shown

SEPARATORS = (";", "\t", "|", ",")  # the first by which all of the first lines have as many values, and several
SAMPLE = 20  # lines that tell
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and values, without spaces around them, of each line that is not empty.

    UTF-8 with or without a mark at its beginning, UTF-16 with one, and gzip are read. Where values are separated by
    something other than commas, a column of numbers with decimal commas gets decimal points.

    Raises:
      ValueError: the file is no such text.
    """
    text = _text(path)
    try:
        separator = _separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        rows = [(reader.line_num, [word.strip() for word in row]) for row in reader if row]
    except csv.Error as error:
        raise ValueError(f"{shown(path)} is no CSV file ({error}): convert it") from None
    return rows if separator == "," else _with_points(rows)


def is_number(word: str) -> bool:
    """Whether a word is a number, perhaps infinite."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _text(path: Path) -> str:
    raw = path.read_bytes()
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError(f"{shown(path)} is a workbook or an archive, and no text: save it as CSV")
    try:
        raw = gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw
        text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{shown(path)} is a truncated or corrupt gzip file ({error}): get it again") from None
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} is {raw[error.start]:#04x}"
        raise ValueError(
            f"{shown(path)} is no CSV file in UTF-8 ({byte}): save it as UTF-8, which spreadsheets call CSV UTF-8"
        ) from None
    if "\0" in text:
        raise ValueError(f"{shown(path)} is no CSV file (it holds zero bytes): convert it")
    return text


def _separator(text: str) -> str:
    """What separates the values of a text."""
    for separator in SEPARATORS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lengths = {len(row) for row in itertools.islice((row for row in reader if row), SAMPLE)}
        if len(lengths) == 1 and min(lengths) > 1:
            return separator
    return ","


def _with_points(rows: Sequence[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Decimal commas as points, in the columns whose every value (but words without digits) is a number with either."""
    width = max((len(row) for _, row in rows), default=0)
    for column in range(width):
        cells = [row[column] for _, row in rows if column < len(row) and any(c.isdigit() for c in row[column])]
        if cells and rows[0][1][column : column + 1] == cells[:1] and not _is_either(cells[0]):
            del cells[0]  # the column's name
        if any(_DECIMAL_COMMA.fullmatch(cell) for cell in cells) and all(map(_is_either, cells)):
            for _, row in rows:
                if column < len(row) and _DECIMAL_COMMA.fullmatch(row[column]):
                    row[column] = row[column].replace(",", ".")
    return list(rows)


def _is_either(word: str) -> bool:
    """Whether a word is a number, with a decimal point or comma."""
    return bool(_DECIMAL_COMMA.fullmatch(word)) or is_number(word)
