"""Names of files in messages, whatever bytes are in them."""

import os
from collections.abc import Sequence
from pathlib import PurePath


def shown(path: str | PurePath) -> str:
    """A path or a name that can be printed in one line: bytes that are not UTF-8, and line breaks, as escapes."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names in a row, at most `most` of them: "a.png, b.png, c.png and 4 more"."""
    first = ", ".join(shown(name) for name in names[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most:,} more"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun: "1 file", "2 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
