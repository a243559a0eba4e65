"""Answers, one JSON object a line, each on the disk before the browser hears that it is kept."""

import contextlib
import json
import os
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from .plan import ANSWERS, Plan

try:
    import fcntl
except ImportError:  # Windows: two servers of one session are not kept apart
    fcntl = None  # type: ignore[assignment]

FILE = "answers.jsonl"
LONGEST_NAME = 40  # characters of a rater's name
LONGEST_TIME = 86_400_000.0  # milliseconds: a day


class Answer(NamedTuple):
    """What a rater said to a question."""

    rater: str
    question: str
    answer: str  # one of the task's words
    milliseconds: float  # from when the image was shown to the answer
    shown: float  # milliseconds for which it was shown, as the browser measured
    at: str = ""  # when it was kept, UTC


def rater_name(name: Any) -> str:
    """A rater's name with single spaces, in Unicode's composed form.

    Raises:
      ValueError: it is no text, empty, too long or holds what cannot be printed.
    """
    if not isinstance(name, str):
        raise ValueError("a rater's name must be text")
    found = " ".join(unicodedata.normalize("NFC", name).split())
    if not 1 <= len(found) <= LONGEST_NAME or not found.isprintable():
        raise ValueError(f"a name has from 1 to {LONGEST_NAME} characters that can be printed")
    return found


def checked(found: Any, plan: Plan, questions: Mapping[str, Any]) -> Answer:
    """An answer of JSON.

    Raises:
      ValueError: it is none to a question of the plan; the message says what is wrong.
    """
    if not isinstance(found, dict):
        raise ValueError("an answer must be a JSON object")
    words = ANSWERS[plan.asked.task]
    if not isinstance(found.get("question"), str) or found["question"] not in questions:
        raise ValueError("this session has no such question: reload the page")
    if found.get("answer") not in words:
        raise ValueError(f"an answer is one of {', '.join(words)}")
    taken, shown = (_milliseconds(found, name) for name in ("milliseconds", "shown"))
    named, at = rater_name(found.get("rater")), str(found.get("at", ""))
    return Answer(named, found["question"], found["answer"], taken, shown, at)


def _milliseconds(found: Mapping[str, Any], name: str) -> float:
    value = found.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= LONGEST_TIME:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of milliseconds from 0 to {LONGEST_TIME:g}")
    return float(value)  # type: ignore[arg-type]


def read(folder: Path, plan: Plan) -> tuple[list[Answer], list[str]]:
    """The answers that a session holds, the first of each rater to each question, and warnings about other lines."""
    try:
        content = (folder / FILE).read_bytes()
    except FileNotFoundError:
        return [], []
    questions = {question.id: question for question in plan.questions}
    found: dict[tuple[str, str], Answer] = {}
    warnings = []
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answer = checked(json.loads(line), plan, questions)
        except (ValueError, RecursionError) as error:
            torn = (
                "it is torn, as by a kill; its answer had not been said to be kept" if number == len(lines) else error
            )
            warnings.append(f"line {number} of {folder / FILE} is left out: {torn}")
            continue
        found.setdefault((answer.rater, answer.question), answer)
    return list(found.values()), warnings


class Answers:
    """The answers of a session that is served; methods may be called from several threads."""

    def __init__(self, file: FileIO, plan: Plan, kept: list[Answer], *, torn: bool):
        self._file, self._plan, self._torn = file, plan, torn
        self._questions = {question.id: question for question in plan.questions}
        self._lock = threading.Lock()
        self._kept = {(answer.rater, answer.question) for answer in kept}

    def keep(self, found: Any) -> tuple[bool, int]:
        """Write an answer to the disk; whether it is a new one, and how many this rater has given.

        The first answer to a question counts: another one, or the same once more, changes nothing.

        Raises:
          ValueError: it is no answer to a question of the plan.
          OSError: it cannot be written, and is not kept.
        """
        answer = checked(found, self._plan, self._questions)
        with self._lock:
            new = (answer.rater, answer.question) not in self._kept
            if new:
                self._write(answer._replace(at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())))
                self._kept.add((answer.rater, answer.question))
            return new, self._given(answer.rater)

    def _write(self, answer: Answer) -> None:
        line = json.dumps(answer._asdict(), ensure_ascii=True).encode() + b"\n"
        start = b"\n" if self._torn else b""  # what a kill or a full disk left of a line ends there
        self._torn, left = True, start + line
        while left:  # a disk that is almost full takes a part, and raises at the next one
            left = left[self._file.write(left) :]
        os.fsync(self._file.fileno())
        self._torn = False

    def answered(self, rater: str) -> set[str]:
        """The questions to which the rater's answers are kept."""
        with self._lock:
            return {question for who, question in self._kept if who == rater}

    def _given(self, rater: str) -> int:
        return sum(who == rater for who, _ in self._kept)


@contextlib.contextmanager
def opened(folder: Path, plan: Plan, warn: Callable[[str], None]) -> Iterator[Answers]:
    """A session's answers, to which this process alone adds some for as long as the block runs.

    Args:
      folder: of the session.
      plan: the session's.
      warn: is called with a line about each line of the file that is left out.

    Raises:
      ValueError: another process serves the session.
      OSError: the file cannot be written.
    """
    with (folder / FILE).open("ab", buffering=0) as file:
        _hold(file, folder)
        kept, warnings = read(folder, plan)
        for line in warnings:
            warn(line)
        content = (folder / FILE).read_bytes()
        yield Answers(file, plan, kept, torn=bool(content) and not content.endswith(b"\n"))


def _hold(file: FileIO, folder: Path) -> None:
    """Hold the file until the process ends, however it does; a file system without locks is taken as it is."""
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{folder} is served by another process: use its page, or another --out") from None
    except OSError:
        return
