"""Standard output and error as files that never end a command: whatever becomes of them, the command goes on.

The reader of a pipe goes away, the terminal is closed, the disk with the log is full, an encoding lacks a character, or
a daemon's files were closed from the start. Imports no JAX.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import Any

# The file will take nothing any more; after other errors, as of a full disk, it may again.
_GONE = {errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ENODEV, errno.ECONNRESET, errno.ESTALE}


class Forgiving:
    """A text file that drops what it cannot take; all but writing is the file's own."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write what can be written; returns the length of the text."""
        with self._forgiven():
            try:
                self._file.write(text)
            except UnicodeEncodeError:  # of a file whose way with such characters could not be changed
                self._file.write(text.encode("ascii", "backslashreplace").decode())
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with self._forgiven():
            self._file.flush()

    def close_quietly(self) -> None:
        """Flush; what cannot be written is dropped, or Python would end with a status of its own because of it."""
        self.flush()
        try:
            self._file.flush()
        except (OSError, ValueError):
            self._point_nowhere()
            with contextlib.suppress(OSError, ValueError):
                self._file.flush()

    @contextlib.contextmanager
    def _forgiven(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _GONE:
                self._point_nowhere()
        except ValueError:  # the file was closed
            pass

    def _point_nowhere(self) -> None:
        """Let the file's number stand for nowhere, so that what is buffered goes there too."""
        with contextlib.suppress(OSError, ValueError):
            _point_nowhere(self._file.fileno())


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """In the block, standard output and error are `Forgiving`, and show characters that they lack as escapes."""
    _open_closed()
    files = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    ways = {name: getattr(file, "errors", None) for name, file in files.items()}
    for name, file in files.items():
        _encode(file, "backslashreplace")
        setattr(sys, name, Forgiving(file))
    try:
        yield
    finally:
        for name, file in files.items():
            Forgiving(file).close_quietly()
            _encode(file, ways[name])
            setattr(sys, name, file)


def _encode(file: Any, errors: str | None) -> None:
    """Set what the file does with characters that its encoding lacks, where it can be set."""
    with contextlib.suppress(AttributeError, OSError, ValueError, TypeError):
        file.reconfigure(errors=errors)


def _open_closed() -> None:
    """Open nowhere for standard files that were closed, or the next file that is opened would get their numbers."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _point_nowhere(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process


def _point_nowhere(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    os.set_inheritable(number, True)
