"""How a command ends: the one place that turns whatever was raised into an exit status and one line. Imports no JAX.

Three kinds of errors come here. What is wrong with the input, the environment or the data, and memory that ran out, is
said in one line, with a status of its own. A signal or Ctrl-C ends in one line too. All else is a mistake in code, ours
or that of somebody's own experiment, and keeps its traceback. `GEN_MODELS_TRACEBACK=1` shows the traceback of the first
two as well.
"""

import contextlib
import csv
import errno
import lzma
import os
import signal
import struct
import sys
import sysconfig
import tarfile
import threading
import time
import traceback
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from opcode import opmap
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple

from gen_models.machine import stopping_signals
from gen_models.run.config import (
    BAD_DATA,
    BAD_INPUT,
    CANNOT_WRITE,
    FINISHED,
    INTERRUPTED,
    OUT_OF_MEMORY,
    InputError,
    Stopped,
)
from gen_models.run.terminal import terminal

GOES_ON = "interrupted: the same command goes on from the last checkpoint"
SHOWN_BY = "GEN_MODELS_TRACEBACK"  # the environment variable that shows tracebacks of errors of one line
LONGEST = 900  # characters of a line
REPEATS_SECONDS = 10.0  # in which a second signal is taken for an echo of the first, as of a terminal that is closed
AGAIN_SECONDS = 0.05  # after which an interrupt that was lost comes again

_KINDS = (
    ValueError,
    OSError,
    ImportError,
    MemoryError,
    RecursionError,
    OverflowError,
    EOFError,
    struct.error,
    csv.Error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)
_NAMES = {  # of packages that need not be loaded, or there
    "PIL.Image.DecompressionBombError",
    "_pickle.UnpicklingError",
    "sqlite3.Error",
    "google.protobuf.message.DecodeError",
}


class Ending(NamedTuple):
    """How a command ends."""

    status: int  # one of `config.py`'s
    line: str


def ending_of(error: BaseException) -> Ending | None:
    """The exit status and the line for an error; None where it is a mistake in code, which keeps its traceback."""
    if _was_interrupted(error):
        return Ending(INTERRUPTED, GOES_ON)
    if isinstance(error, InputError):
        return Ending(BAD_INPUT, _on_one_line(str(error)))
    if isinstance(error, Stopped):
        return Ending(error.status, _on_one_line(str(error)))
    if is_memory(error):
        return Ending(OUT_OF_MEMORY, _memory_line(error))
    if _is_of_ours_missing(error) or not _is_outside(error):
        return None
    return Ending(BAD_INPUT, _line(error))


def message_of(error: BaseException) -> str:
    """The line for an error; of a mistake in code, its kind and message."""
    ending = ending_of(error)
    return f"{type(error).__name__}: {_on_one_line(str(error))}" if ending is None else ending.line


@contextlib.contextmanager
def about_input() -> Iterator[None]:
    """What the block raises about input, environment or data becomes an InputError, or Stopped where memory ran out.

    Mistakes in code, and what is one of the two already, go through.
    """
    try:
        yield
    except (InputError, Stopped):
        raise
    except Exception as error:
        raise _said(error) from error


def in_training(error: Exception, kept: str) -> Exception:
    """The error that ends a run whose directory is open: `Stopped` with a line, or, of a mistake in code, itself.

    Args:
      error: what was raised.
      kept: what is saved and what to do, such as "runs/vae/base/0/checkpoints/400 is complete".
    """
    if isinstance(error, InputError | Stopped):
        return error
    goes_on = f"{kept}. The same command goes on from there"
    if is_memory(error):
        return Stopped(f"{_memory_line(error)}; {kept}", OUT_OF_MEMORY)
    if _is_outside(error) and _passed_through(error, "gen_models.data"):
        return Stopped(f"the data cannot be read: {_line(error)}; {goes_on} once they are mended", BAD_DATA)
    if isinstance(error, OSError):
        return Stopped(f"{_line(error)}; {goes_on} once this is mended", CANNOT_WRITE)
    if isinstance(error, ImportError) and not _is_of_ours_missing(error):
        return Stopped(f"{_line(error)}; {goes_on} once it is installed", BAD_INPUT)
    error.add_note(f"{goes_on} once the code is mended")
    return error


def guarded(command: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Run a command and return its exit status, whatever is raised; mistakes in code are raised with their traceback.

    Nothing that is printed ends it (`terminal`), and a SIGTERM, or a SIGHUP that is not ignored, ends it as Ctrl-C
    does. `interrupted` is the line that is then said.
    """
    with terminal():
        try:
            with signals():
                return command() or FINISHED
        except (Exception, KeyboardInterrupt) as error:
            ending = ending_of(error)
            if ending is None:
                raise
            if os.environ.get(SHOWN_BY, "0") not in ("", "0"):
                traceback.print_exception(error)
            if ending.status == INTERRUPTED:
                print(f"\n{interrupted}", file=sys.stderr)
                return ending.status
            return complain(ending.line, ending.status)


def complain(line: object, status: int = BAD_INPUT) -> int:
    """Print an error in one line; returns its exit status."""
    print(f"error: {_on_one_line(str(line))}", file=sys.stderr)
    return status


def warn(line: str) -> None:
    """Print what the user should know, and what ends nothing, in one line."""
    print(f"warning: {_on_one_line(line)}", file=sys.stderr)


@lru_cache
def warn_once(line: str) -> None:
    """`warn`, unless this process has said the line before."""
    warn(line)


def words_of(arguments: Sequence[str]) -> list[str]:
    """The words of a command line without the carriage returns that a script with Windows' line ends leaves."""
    stripped = [word.rstrip("\r") for word in arguments]
    return [word for word, given in zip(stripped, arguments, strict=True) if word or not given]


@contextlib.contextmanager
def signals() -> Iterator[None]:
    """In the block, the first of `stopping_signals` interrupts as Ctrl-C does; `fit` has handlers of its own.

    A hook for what cannot be raised that the block has left in place, as `checkpoint.quiet` does where threads go on
    after an error, stays there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came, last, over = -REPEATS_SECONDS, int(signal.SIGINT), False
    again: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal came, last
        before, came, last = came, time.monotonic(), number
        if came - before >= REPEATS_SECONDS:  # else what follows is an echo, and must not cut short what saves
            raise KeyboardInterrupt

    def lost(unraisable: Any) -> None:
        """An interrupt that came while Python or JAX collected garbage, where no error is passed on, comes again."""
        nonlocal came, last
        if over or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return unraisable_before(unraisable)
        came, number, last = -REPEATS_SECONDS, last, int(signal.SIGINT)
        again.append(threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)))
        again[-1].daemon = True
        again[-1].start()

    unraisable_before, sys.unraisablehook = sys.unraisablehook, lost
    handlers = {number: signal.signal(number, interrupt) for number in stopping_signals()}
    try:
        yield
    finally:
        for timer in again:
            timer.cancel()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        over = True
        if sys.unraisablehook is lost:
            sys.unraisablehook = unraisable_before


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, the system's or a device's."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_xla = type(error).__name__ in ("XlaRuntimeError", "JaxRuntimeError") and "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError) or of_xla


def _was_interrupted(error: BaseException | None) -> bool:
    """Whether an interrupt is what was raised, or led to it: importing a module may make another error of one.

    Errors may have led to each other in a circle: an error in a module that is imported when it is used is raised again
    while its import is tried anew.
    """
    seen = set[int]()
    while error is not None and not isinstance(error, KeyboardInterrupt) and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def _said(error: Exception) -> Exception:
    """The error, as `InputError` or `Stopped` where it has a line."""
    ending = ending_of(error)
    if ending is None:
        return error
    return InputError(ending.line) if ending.status == BAD_INPUT else Stopped(ending.line, ending.status)


def _memory_line(error: BaseException) -> str:
    about = f" ({text})" if (text := _on_one_line(str(error))) else ""
    if _passed_through(error, "gen_models.data") and not _passed_through(error, "gen_models.training"):
        return f"memory ran out where the data are read{about}: give fewer or smaller examples, or free some memory"
    return (
        f"memory ran out{about}: lower --batch-size or raise --accumulate (batch_size=, accumulate= in the library), "
        "or make the network smaller"
    )


def _is_outside(error: BaseException) -> bool:
    """Whether input, environment or data raise such errors, and mistakes in code seldom do."""
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    return isinstance(error, _KINDS) or bool(names & _NAMES)


def _is_of_ours_missing(error: BaseException) -> bool:
    """Whether a module or a name of this package could not be imported, which is a mistake in code."""
    return isinstance(error, ImportError) and (error.name or "").split(".")[0] == "gen_models"


def _line(error: BaseException) -> str:
    """The message; where no code of this project or the user's wrote it, with its kind and the line that got it."""
    text = _on_one_line(str(error))
    steps = list(_steps(error.__traceback__))
    if not steps or (isinstance(error, OSError) and error.filename is not None):
        return text or type(error).__name__
    last = steps[-1]
    written = last.tb_frame.f_code.co_code[last.tb_lasti] == opmap["RAISE_VARARGS"]
    if text and written and _is_own(last):
        return text
    place = next((step for step in reversed(steps) if _is_own(step)), last)
    where = f"{place.tb_frame.f_code.co_filename}, line {place.tb_lineno}"
    remedy = ", which is not installed" if isinstance(error, ModuleNotFoundError) else ""
    kind = type(error).__name__
    return f"{kind}{': ' if text else ''}{text}{remedy} ({where}; {SHOWN_BY}=1 shows how it came there)"


def _steps(start: TracebackType | None) -> Iterator[TracebackType]:
    """A traceback's entries, the innermost last."""
    while start is not None:
        yield start
        start = start.tb_next


def _passed_through(error: BaseException, package: str) -> bool:
    """Whether a function of the package was under way."""
    names = (str(step.tb_frame.f_globals.get("__name__")) for step in _steps(error.__traceback__))
    return any(name == package or name.startswith(f"{package}.") for name in names)


def _is_own(step: TracebackType) -> bool:
    """Whether the code is this project's or the user's: neither Python's nor another package's."""
    file = step.tb_frame.f_code.co_filename
    if Path(file).is_relative_to(Path(__file__).parent.parent):
        return True
    paths = sysconfig.get_paths()
    foreign = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not file.startswith("<") and not any(Path(file).is_relative_to(folder) for folder in foreign)


def _on_one_line(text: str) -> str:
    """The text without line breaks; characters that a terminal would obey, and halves of characters, are escaped."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
