"""Files that are written whole or not at all: whoever reads one sees the old content or the new, and never a part."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file open for binary writing, which becomes `path` when the block ends; an error leaves `path` as it was.

    The content is written to `.NAME.NUMBER` beside it, forced to the disk and renamed, so that a process that is killed
    leaves at most such a file behind. NUMBER begins with the process id and is drawn anew each time, as processes of
    several machines, which may have equal ids, may share the folder.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{int.from_bytes(os.urandom(4), 'big'):010d}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with whole_file(path) as file:
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of UTF-8 text whole or not at all."""
    write_bytes(path, text.encode())
