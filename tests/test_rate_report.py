"""The report on judged images: error rates, preferences and strengths with their intervals."""

import re
from collections import Counter
from pathlib import Path

import pytest
from rating_session import begun, given, opened, said

from gen_models.run.config import BAD_INPUT
from gen_models.run.console import console
from tools.rating_page import answers, report

pytest_plugins = ["rating_fixtures"]
ROOT = Path(__file__).parent.parent


def test_error_rates_are_reported_with_their_intervals(small, monkeypatch, capsys):
    folder, found = small
    with opened(small) as kept:
        for rater, wrong in (("Ada", 5), ("Bo", 2)):
            for real in (False, True):
                for number, question in enumerate(q for q in found.questions if q.real == real):
                    right = number >= (wrong if real else 2 * wrong)
                    word = ("fake", "real")[question.real == right]
                    kept.keep(given(question, rater, word, milliseconds=1000 + 100 * real))
    with (folder / "answers.jsonl").open("ab") as file:
        file.write(b'{"rater": "Cy"')
    monkeypatch.setattr(console, "width", 200)
    status, out, error = said(monkeypatch, capsys, "--out", folder, "--report")
    assert status == 0 and "warning: line 81 of" in error and "torn" in error
    assert "2 raters, 80 of 80 answers, images shown for 500 ms" in out
    rows = {
        cells[0]: cells[1:]
        for line in out.splitlines()
        if len(cells := re.split(r"\s*[│┃|]\s*", line.strip("│ "))) == 6
    }
    assert rows["fakes as real"] == [
        "35.0%",
        "22.1 to 50.5%",
        "20.0 to 50.0%",
        "14 of 40",
        "1.00 s",
    ]
    assert rows["reals as fake"][:1] == ["17.5%"]
    assert rows["reals as fake"][3:] == ["7 of 40", "1.10 s"]
    assert "with 2 raters the intervals over raters are too narrow" in out
    assert rows["all errors"][0] == "26.2%" and rows["all errors"][3:] == ["21 of 80", "1.05 s"]


def test_preferences_and_strengths_are_those_that_were_given(folders, tmp_path, monkeypatch, capsys):
    """alpha wins all but 3 of 10 against beta, and so on; the sides on which they stand do not matter."""
    names = ("alpha", "beta", "gamma")
    found = begun(tmp_path, *(folders[name] for name in names), "--task", "prefer", "--images", 10)
    won = {(0, 1): 7, (0, 2): 9, (1, 2): 6}
    met = Counter()
    with answers.opened(tmp_path, found, pytest.fail) as kept:
        for question in found.questions:
            pair = tuple(sorted(question.of))
            winner = pair[met[pair] >= won[pair]]
            met[pair] += 1
            kept.keep(given(question, answer=("left", "right")[question.of.index(winner)]))
    monkeypatch.setattr(console, "width", 200)
    status, out, _ = said(monkeypatch, capsys, "--out", tmp_path, "--report")
    assert status == 0 and "images shown until the answer" in out
    for pair, count in won.items():
        row = next(line for line in out.splitlines() if f"{names[pair[0]]} over {names[pair[1]]}" in line)
        assert f"{count}0.0%" in row and f"{count} of 10" in row and "one rater" in row
    after = out.partition("Strengths")[2]
    assert after.index("alpha") < after.index("beta") < after.index("gamma") and "+" in after


def test_strengths_that_would_be_infinite_are_named(folders, tmp_path, capsys):
    names = ("alpha", "beta", "gamma")
    found = begun(tmp_path, *(folders[name] for name in names), "--task", "prefer", "--images", 2)
    every = [answers.Answer("Ada", q.id, ("left", "right")[q.of[1] < q.of[0]], 1.0, 1.0) for q in found.questions]
    report.show(found, every)
    assert "none of the others was preferred to alpha" in " ".join(capsys.readouterr().out.split())


def test_a_report_of_nothing_is_one_line(small, monkeypatch, capsys):
    status, _, error = said(monkeypatch, capsys, "--out", small[0], "--report")
    assert status == BAD_INPUT and "no answer has been given yet" in error


def test_a_report_of_some_answers_says_what_is_missing(small, capsys):
    _, found = small
    question = next(q for q in found.questions if q.real)
    report.show(found, [answers.Answer("Ada", question.id, "fake", 1.0, 1.0)])
    assert "none yet" in capsys.readouterr().out
