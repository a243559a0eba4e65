"""What Orbax and TensorStore say beside what they raise: kept off the terminal, and the first line of an error."""

import gc
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def not_about_merging(record: logging.LogRecord) -> bool:
    """Orbax warns at every save that it has no files of several hosts to merge, in a format that has none."""
    return "Skipping merge of OCDBT" not in str(record.msg)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the pages of messages off the terminal that Orbax's threads write when a file cannot be read or written.

    What matters is raised in the thread that asked. After an OSError the messages stay off until the process ends:
    other arrays of the same save are still being written then, by threads of TensorStore that nobody can wait for, as
    Orbax has closed the loop of events that was to hear of them.
    """
    before, loggers = sys.unraisablehook, [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]

    def hook(unraisable: Any) -> None:
        if not re.search("Event loop is closed|Encountered error while reading array", str(unraisable.exc_value)):
            before(unraisable)

    sys.unraisablehook = hook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    stay = False
    try:
        yield
    except OSError:
        stay = True
        raise
    finally:
        if not stay:
            sys.unraisablehook = before
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def reading() -> Iterator[None]:
    """Keep quiet about what Orbax leaves behind where a checkpoint cannot be read; the error itself is raised."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of tasks that were never awaited
        try:
            yield
        except BaseException:
            gc.collect()  # such tasks warn when they are collected: let them do it here
            raise


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line that it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
