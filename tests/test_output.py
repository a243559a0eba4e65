"""What is printed: whatever the terminal, the pipe or the file says, and whatever characters are in it."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gen_models import plots
from gen_models.run import console, endings
from gen_models.run.terminal import Forgiving, terminal

ROOT = Path(__file__).parent.parent


def test_carriage_returns_of_scripts_with_windows_line_ends_are_no_part_of_words():
    assert endings.words_of(["--run-dir", "runs/x\r", "\r", ""]) == ["--run-dir", "runs/x", ""]


class _Failing(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text=""):
        raise OSError(self.number, os.strerror(self.number))

    flush = write


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.EBADF])
def test_printing_goes_on_whatever_the_file_says(number):
    file = Forgiving(_Failing(number))
    print("text", file=file, flush=True)
    Console(file=file, force_terminal=True).print("more")


def test_a_closed_file_and_an_encoding_that_lacks_characters_end_nothing(monkeypatch):
    closed, narrow = io.StringIO(), io.BytesIO()
    closed.close()
    print("text", file=Forgiving(closed), flush=True)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(narrow, "ascii"))
    with terminal():
        print("1 ± 2, \udcff")
    assert narrow.getvalue() == b"1 \\xb1 2, \\udcff\n" and sys.stdout.errors == "strict"


PROGRAM = """
import sys
from gen_models.run import cli
from gen_models.run.console import say

def main():
    for i in range(3000):
        say(f"line {i} of a run that prints more than a pipe holds, and goes on whatever becomes of what it prints")
    print("a warning", file=sys.stderr)
    open("done", "w").close()
    return 3

cli.guard(main)
"""


@pytest.mark.parametrize(
    "shell",
    [
        "{ %s; echo $? >status; } | head -c 1",
        "{ %s; echo $? >status; } 2>&1 | head -c 1",
        "%s >/dev/full 2>/dev/full; echo $? >status",
        "%s >&- 2>&- <&-; echo $? >status",
        "PYTHONIOENCODING=ascii COLUMNS=1 TERM=dumb LC_ALL=C %s >out; echo $? >status",
    ],
)
def test_a_command_ends_as_it_would_whatever_becomes_of_its_output(shell, tmp_path):
    command = f"PYTHONPATH={ROOT} {sys.executable} {tmp_path / 'program.py'}"
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(["bash", "-c", shell % command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "done").exists() and (tmp_path / "status").read_text() == "3\n", done.stderr
    assert "Exception ignored" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["runs/try [old]", "[/x]", "b[lr=1e-3]", "[bold]x", ":smile:", "\\[a]"])
def test_what_others_wrote_is_no_markup(text, capsys, monkeypatch):
    monkeypatch.setattr(console.console, "_width", 200)
    console.say("resuming from", Path(text))
    console.show_table(text, (f"name {text}", "x"), [(text, 1)], text)
    assert capsys.readouterr().out.count(text) == 5


def test_a_dumb_terminal_gets_lines_in_place_of_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(console, "console", Console(force_terminal=True, _environ={"TERM": "dumb"}))
    with console.show_progress(10, 0) as report:
        report(10, {"loss": 1.0})
    assert capsys.readouterr().out.startswith("step 10 of 10  loss 1")


@pytest.mark.parametrize("text", ["a$b$c", "$", "\\$x_1$", "_hidden", "^_{}", "名前", "\udcff", "a\x1bb"])
def test_texts_in_pictures_are_literal(text, tmp_path):
    """As matplotlib itself reads a text back that it was told not to take for a formula; warnings are errors."""
    with plots.drawing(tmp_path / "x.png") as canvas:
        shown = canvas.text(0, 0, plots.literal(text))
        plain, is_formula = shown._preprocess_math(shown.get_text())
    assert not is_formula and plain.strip() == "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )
    rows = [{"step": step, "seconds": 1.0, f"{text}/loss": 1.0} for step in (1, 2)]
    plots.curves(rows, tmp_path / "curves.png", title=text)
    plots.lines({text: [1.0, 2.0]}, tmp_path / "lines.png", x=text, y=text, title=text)
