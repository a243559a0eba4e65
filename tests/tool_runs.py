"""Tools that tests start as the command line does, in this process."""

import sys
from types import ModuleType

import pytest

from gen_models.run import cli


def run_tool(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """The exit status of a tool that is given these words."""
    monkeypatch.setattr(sys, "argv", [tool.__name__, *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        cli.guard(tool.main)
    return stopped.value.code
