"""Answers count once, and outlive torn lines, full disks and what is no answer."""

import os
import re

import pytest
from rating_server import lines
from rating_session import FullDisk, given, opened

from tools.rating_page import answers

pytest_plugins = ["rating_fixtures"]


def test_the_first_answer_to_a_question_counts_once(small):
    folder, found = small
    one, other = found.questions[:2]
    with opened(small) as kept:
        assert kept.keep(given(one, answer="fake")) == (True, 1)
        assert kept.keep(given(one, answer="fake")) == (False, 1)
        assert kept.keep(given(one, answer="real")) == (False, 1)
        assert kept.keep(given(one, rater="  Ada ")) == (False, 1)
        assert kept.keep(given(one, rater="Bo")) == (True, 1) and kept.keep(given(other)) == (True, 2)
        assert kept.answered("Ada") == {one.id, other.id} and kept.answered("Cy") == set()
    with opened(small) as kept:
        assert kept.keep(given(one)) == (False, 2)
    stored, warnings = answers.read(folder, found)
    assert [(a.rater, a.question, a.answer) for a in stored] == [
        ("Ada", one.id, "fake"),
        ("Bo", one.id, "real"),
        ("Ada", other.id, "real"),
    ]
    assert warnings == [] and len(lines(folder)) == 3
    assert (
        all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", a.at) for a in stored) and stored[0].milliseconds == 812.5
    )


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_torn_last_line_is_left_out_and_spoils_no_other(small, cut):
    folder, found = small
    with opened(small) as kept:
        for question in found.questions[:3]:
            kept.keep(given(question))
    path = folder / "answers.jsonl"
    os.truncate(path, path.stat().st_size - cut)
    whole = 3 if cut == 1 else 2  # without its line break alone, the last one is whole
    warned = []
    with opened(small, warned.append) as kept:
        assert len(kept.answered("Ada")) == whole
        kept.keep(given(found.questions[5]))
        kept.keep(given(found.questions[2]))
    assert len(warned) == 3 - whole and all("line 3 of" in line and "torn" in line for line in warned)
    stored, warnings = answers.read(folder, found)
    assert {a.question for a in stored} == {found.questions[i].id for i in (0, 1, 2, 5)}
    assert len(warnings) == 3 - whole


def test_lines_of_other_kinds_are_left_out_with_their_numbers(small):
    folder, found = small
    with opened(small) as kept:
        kept.keep(given(found.questions[0]))
    with (folder / "answers.jsonl").open("ab") as file:
        for line in (b"\xff\xfe", b"[1]", b'{"question": "gone"}', b"[" * 100_000, b""):
            file.write(line + b"\n")
    stored, warnings = answers.read(folder, found)
    assert len(stored) == 1 and [re.search(r"line (\d+)", line)[1] for line in warnings] == ["2", "3", "4", "5"]


@pytest.mark.parametrize("room", [0, 1, 50])
def test_an_answer_that_a_full_disk_refuses_is_not_kept_and_may_come_again(small, room):
    folder, found = small
    one, other = found.questions[:2]
    with opened(small) as kept:
        kept.keep(given(other))
        disk = kept._file = FullDisk(kept._file, room)
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                kept.keep(given(one))
        assert kept.answered("Ada") == {other.id}
        disk.room = 10**6
        assert kept.keep(given(one)) == (True, 2)
    stored, _ = answers.read(folder, found)
    assert [a.question for a in stored] == [other.id, one.id]


def test_two_processes_do_not_serve_one_session(small):
    with opened(small), pytest.raises(ValueError, match="is served by another process"), opened(small):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "0" * 16}, "no such question"),
        ({"question": ["x"]}, "no such question"),
        ({"answer": "left"}, "an answer is one of fake, real"),
        ({"milliseconds": -1}, "milliseconds must be a number"),
        ({"milliseconds": float("nan")}, "milliseconds must be a number"),
        ({"milliseconds": True}, "milliseconds must be a number"),
        ({"shown": "500"}, "shown must be a number"),
        ({"rater": ""}, "a name has from 1 to 40 characters"),
        ({"rater": "x" * 41}, "a name has from 1 to 40 characters"),
        ({"rater": "a\u202eb"}, "a name has from 1 to 40 characters"),
        ({"rater": None}, "a rater's name must be text"),
    ],
)
def test_what_is_no_answer_is_refused_and_nothing_is_written(small, change, message):
    with opened(small) as kept, pytest.raises(ValueError, match=message):
        kept.keep(given(small[1].questions[0]) | change)
    assert (small[0] / "answers.jsonl").read_bytes() == b""
