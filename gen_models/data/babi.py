"""Stories with questions, the bAbI tasks: `babi:PATH?task=1&memory=50`.

Weston et al., Towards AI-Complete Question Answering: A Set of Prerequisite Toy Tasks (2015). PATH is the archive
(`.tar.gz`) or a folder with the files `qaN_NAME_train.txt` and `qaN_NAME_test.txt` of each task N, 1 to 20. A line is a
number and a sentence; a question has its answer and the numbers of the sentences that it follows from behind it,
between tabs; the number 1 begins a story. `task` is a number, or "all" for all tasks of the folder together.

An example is a question with the sentences of its story before it: `{"x": int32 [1 + M, W], "y": int32 []}`. Row 0 of x
is the question, row 1 the newest sentence, and so on back to at most `memory` of them, the newest; words are numbered
from 1 and filled up with 0. y is the token of the answer, a word of the same vocabulary; a list ("apple,football") is
one word, as in Sukhbaatar et al. (2015). Words are in lower case, without full stops and question marks. The vocabulary
is that of both parts, so that every answer is a token.
"""

import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gen_models.data.dataset import Arrays, Origin
from gen_models.data.names import shown
from gen_models.data.sentences import PADDING, Words

MEMORY = 50  # sentences of a story that are kept, as Sukhbaatar et al. do
TASKS = 20
_FILE = re.compile(r"qa(\d+)_.*_(train|test)\.txt$")


class Question(NamedTuple):
    """A question, the sentences before it from the oldest on, and its answer, all in words."""

    story: tuple[tuple[str, ...], ...]
    question: tuple[str, ...]
    answer: str


def babi_origin(path: Path, options: Mapping[str, str]) -> Origin:
    """The splits of a task, in memory.

    Raises:
      ValueError: no such file, an archive that is damaged, bad options, no files of that task, or a line that is none.
    """
    task, memory = options.get("task", "1"), options.get("memory", str(MEMORY))
    if task != "all" and (not task.isdecimal() or not 1 <= int(task) <= TASKS):
        raise ValueError(f"task={task} of babi must be 1 to {TASKS}, or all")
    if not memory.isdecimal() or int(memory) < 1:
        raise ValueError(f"memory={memory} of babi must be 1 or more sentences")
    found: dict[str, list[Question]] = {"train": [], "test": []}
    for name, text in sorted(_files(path, task)):
        _, split = _named(name)
        found[split] += read_questions(text, name)
    for split, questions in found.items():
        if not questions:
            raise ValueError(f"babi:{shown(path)} has no qa{task}_..._{split}.txt: give the archive or its folder")
    return origin_of_questions(found, memory=int(memory), note=f"bAbI, task {task}, CC BY 3.0")


def origin_of_questions(
    parts: Mapping[str, Sequence[Question]], *, memory: int = MEMORY, note: str = "stories"
) -> Origin:
    """The splits of questions, `train` and `test`, by the vocabulary of both."""
    everyone = [question for questions in parts.values() for question in questions]
    words = {word for one in everyone for sentence in (*one.story, one.question) for word in sentence}
    symbols = ("<padding>", *sorted(words | {one.answer for one in everyone}))
    longest = max(len(sentence) for one in everyone for sentence in (*one.story[-memory:], one.question))
    rows = 1 + max(1, *(min(memory, len(one.story)) for one in everyone))
    splits: dict[str, Any] = {
        split: partial(dict, as_arrays(questions, symbols, (rows, longest))) for split, questions in parts.items()
    }
    return Origin(splits, len(symbols), note, kind="stories", meaning=Words(symbols, symbols), check=_check)


def as_arrays(questions: Sequence[Question], symbols: Sequence[str], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """{"x": int32 [N, *shape], "y": int32 [N]} of questions whose words are among the symbols; older sentences than
    fit are left out."""
    ids = {word: index for index, word in enumerate(symbols)}
    x = np.full((len(questions), *shape), PADDING, np.int32)
    for rows, one in zip(x, questions, strict=True):
        for row, sentence in zip(rows, (one.question, *reversed(one.story)), strict=False):
            row[: len(sentence)] = [ids[word] for word in sentence]
    return {"x": x, "y": np.array([ids[one.answer] for one in questions], np.int32)}


def read_questions(text: str, name: str = "the file") -> list[Question]:
    """The questions of a file's text, each with what its story told before it.

    Raises:
      ValueError: a line that is none, or a first line that begins no story.
    """
    found: list[Question] = []
    story: list[tuple[str, ...]] | None = None
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        index, _, rest = line.partition(" ")
        told, *answer = rest.split("\t")
        if index == "1":
            story = []
        if not index.isdecimal() or not told.strip() or story is None:
            raise ValueError(f"{name}, line {number}: a number and a sentence are needed, from 1 on, got {line!r}")
        if answer:
            found.append(Question(tuple(story), in_words(told), answer[0].strip().lower()))
        else:
            story.append(in_words(told))
    return found


def in_words(sentence: str) -> tuple[str, ...]:
    """Its words in lower case, without the signs at its end."""
    return tuple(re.sub(r"[.?!]", " ", sentence).lower().split())


def _named(name: str) -> tuple[str, str]:
    """The task and the part of a file of that name; two empty words of any other."""
    match = _FILE.search(name)
    return (match[1], match[2]) if match else ("", "")


def _files(path: Path, task: str) -> Iterator[tuple[str, str]]:
    """Names and texts of the task's files."""

    def wanted(name: str) -> bool:
        number = _named(Path(name).name)[0]
        return bool(number) and (task == "all" or number == str(int(task)))

    if path.is_dir():
        for one in sorted(path.rglob("qa*.txt")):
            if wanted(one.name):
                try:
                    text = one.read_text(encoding="utf-8")
                except UnicodeDecodeError as error:
                    raise ValueError(f"{shown(one)} is not UTF-8 at byte {error.start}: get it again") from None
                yield one.name, text
        return
    if not path.is_file():
        raise ValueError(f"babi:{path}: there is no such file or folder")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if wanted(member.name) and (file := archive.extractfile(member)) is not None:
                    yield Path(member.name).name, file.read().decode()
    except (tarfile.TarError, EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{shown(path)} is no archive of bAbI, or a damaged one ({error}): get it again") from None


def _check(arrays: Arrays, name: str, origin: Origin) -> dict[str, np.ndarray]:
    return dict(arrays)
