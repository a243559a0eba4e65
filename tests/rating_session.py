"""What the tests of `tools.rate` do with a session of judging images: begin it, answer, and look at its files."""

import importlib.util

import numpy as np
import pytest
from PIL import Image
from tool_runs import run_tool

from tools import rate
from tools.rating_page import answers, session


def begun(out, *words):
    """The plan of a session that the command line begins, or goes on with."""
    options = rate._parser().parse_intermixed_args([*map(str, words), "--out", str(out)])
    return session.opened(out, rate.asked(options), options)


def said(monkeypatch, capsys, *words):
    """(exit status, standard output, standard error) of the tool."""
    return run_tool(rate, monkeypatch, *words), *capsys.readouterr()


def given(question, rater="Ada", answer="real", **more):
    """An answer as the page sends it."""
    return {"rater": rater, "question": question.id, "answer": answer, "milliseconds": 812.5, "shown": 500} | more


def shown(out, name):
    return np.asarray(Image.open(session.image_file(out, name)))


def files(folder):
    return {path.name: np.asarray(Image.open(path)).tobytes() for path in folder.iterdir()}


def opened(small, warn=None):
    return answers.opened(*small, warn or pytest.fail)


# A server in a process of its own

waitress = pytest.mark.skipif(
    not importlib.util.find_spec("waitress"), reason="needs waitress: pip install 'gen_models[rate]'"
)


class FullDisk:
    """A file that takes some bytes, and then no more until there is room."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, content):
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        taken = self.file.write(content[: self.room])
        self.room -= taken
        return taken

    def fileno(self):
        return self.file.fileno()
