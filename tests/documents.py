"""What the pages of the documentation hold: blocks, commands, links; and how their commands are run at tiny sizes.

A page is one program: its blocks are run in order, in one folder and one namespace. What is cut is listed here and in
`SMALLER` of `test_docs.py`: numbers of steps and the like on a command line (`CUT`), the sizes of the variants
(`Experiment.tiny`), and numbers in Python blocks. A line that is not run stands in `NOT_RUN` with the reason. A block
of Python whose first line is `# NAME.py` is a file of that name.
"""

import ast
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.run.config import Experiment
from gen_models.run.experiments import find
from gen_models.run.fields import field_names, value_of, with_values
from gen_models.run.tiny import tiny_config

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
LANGUAGES = ("python", "sh", "text", "none")  # text is what was printed, and none is neither code nor output

# Option -> its values at tiny sizes. Numbers of steps become fewer of their own, so that more stay more.
CUT = {
    "--seeds": ("2",),
    "--add-seeds": ("1",),
    "--n": ("4",),
    "--bayes": ("2",),
    "--random": ("2",),
    "--budget": ("48", "examples"),
    "--batch-size": ("16",),
}
STEPS = (
    "steps",
    "log_every",
    "evaluate_every",
    "checkpoint_every",
    "draw_every",
    "warmup_steps",
    "kl_warmup_steps",
)
EXAMPLE = "docs/start.md shows examples/capacity_vae.py as my_vae.py"

# Words of a command, in their order, -> why it is parsed and not run. An entry that no page has any more fails a test.
NOT_RUN = {
    "pip install": "needs a network",
    "python3 -m venv": "needs a network for what is installed next",
    "pre-commit": "needs a network",
    "python -m pytest": "is this suite",
    "ruff": "is run by .ci/run",
    "mypy": "is run by .ci/run",
    "python -m tools.docs": "is run by a test of its own",
    "python -m tools.prepare_data": "needs original files or a network; tests/test_data_tfds.py has small ones",
    "python -m tools.benchmark": "measures for half an hour; tests/test_benchmark.py has small cases",
    "python -m tools.accelerator_check": "measures for minutes; tests/test_accelerator_check.py has small sizes",
    "python -m tools.rate": "serves a page until Ctrl-C; tests/test_rate_server.py and test_rate_browser.py use it",
    "python -m tools.kill_check": "kills runs for minutes; tests/test_kill.py has small ones",
    "python -m tools.serve": "serves until a signal; tests/test_serve.py starts and stops it",
    "python -m tools.serve_check": "loads a service for half a minute; tests/test_serve.py does for seconds",
    "curl": "asks a service that is not run",
    "--launcher ray": "needs a cluster; tests/test_sweep_remote.py has one of this machine",
    "experiments.translation text_bahdanau": "needs texts of two languages; tests/test_data_parallel.py has small ones",
    "--dataset cifar10": "needs prepared files; tests/test_data_tfds.py has small ones",
    "--coordinator": "needs several hosts; tests/test_parallel.py has several processes",
    "--wandb": "needs an account",
}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    line: int  # of its first line of content, from 1
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name of the file that the block is; "" where it is none."""
        first = self.text.partition("\n")[0]
        return first.removeprefix("# ") if re.fullmatch(r"# \w+\.py", first) else ""


class Command(NamedTuple):
    """A command of a page, as words; `gen-models train NAME` and `gen-models TOOL` are as `python -m` has them."""

    page: Path
    line: int
    words: tuple[str, ...]
    settings: tuple[tuple[str, str], ...] = ()  # variables of the environment before it
    status: int = 0  # that it must end with, which its comment says: "# exit status 2: ..."

    @property
    def where(self) -> str:
        """The page and line, for messages."""
        return f"{self.page.relative_to(ROOT)}:{self.line}: {shlex.join(self.words)}"

    @property
    def experiment(self) -> str:
        """The experiment's name or file; "" for other commands."""
        if self.words[:2] == ("python", "-m") and self.words[2].startswith("experiments."):
            return self.words[2]
        is_file = self.words[0] == "python" and len(self.words) > 1 and self.words[1].endswith(".py")
        return self.words[1] if is_file else ""

    @property
    def tool(self) -> str:
        """The tool's name; "" for other commands."""
        ours = self.words[:2] == ("python", "-m") and self.words[2].startswith("tools.")
        return self.words[2].removeprefix("tools.") if ours else ""

    @property
    def options(self) -> tuple[str, ...]:
        """The words behind the experiment or the tool."""
        return self.words[2 if self.words[1].endswith(".py") else 3 :]

    @property
    def reason(self) -> str | None:
        """Why it is not run; None where it is."""
        found = [reason for words, reason in NOT_RUN.items() if is_within(words.split(), self.words)]
        return found[0] if found else None


def is_within(part: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the words of `part` follow each other somewhere in `words`."""
    return any(tuple(words[at : at + len(part)]) == tuple(part) for at in range(len(words)))


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, but for MyST's directives, such as `{include}`."""
    found, start, language, inside = [], 0, "", False
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if not line.startswith("```"):
            continue
        if inside and not language.startswith("{"):
            found.append(Block(page, start, language, "\n".join(lines[start - 1 : number - 1])))
        inside, language, start = not inside, line.removeprefix("```").strip(), number + 1
    assert not inside, f"{page}: the block of line {start} has no end"
    return found


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a block of a shell's lines."""
    lines = block.text.replace("\\\n", "  ").splitlines()
    for number, line in enumerate(lines, block.line):
        said = re.search(r"exit status (\d+)", line.partition(" # ")[2])
        for words in _split(shlex.split(line, comments=True)):
            yield _command(block.page, number, words, int(said[1]) if said else 0)


def _split(words: Sequence[str]) -> Iterator[list[str]]:
    """The commands between `&&`."""
    part: list[str] = []
    for word in (*words, "&&"):
        if word != "&&":
            part.append(word)
        elif part:
            yield part
            part = []


def _command(page: Path, line: int, words: list[str], status: int = 0) -> Command:
    settings = []
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        settings.append((name, value))
    words[0] = words[0].removeprefix(".venv/bin/")
    if words[0] == "gen-models" and len(words) > 2 and words[1] == "train":
        words = ["python", words[2], *words[3:]] if words[2].endswith(".py") else _as_module("experiments", words[1:])
    elif words[0] == "gen-models" and len(words) > 1 and words[1] not in ("list", "train"):
        words = _as_module("tools", words)
    return Command(page, line, tuple(words), tuple(settings), status)


def _as_module(package: str, words: Sequence[str]) -> list[str]:
    return ["python", "-m", f"{package}.{words[1]}", *words[2:]]


def inline_commands(page: Path) -> Iterator[Command]:
    """Commands that text has between backticks, and those of tables' columns that stand behind `experiments.`."""
    column = None
    for number, line in enumerate(_without_blocks(page).splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        headed = [index for index, cell in enumerate(cells) if "after `python -m experiments.`" in cell]
        column = headed[0] if headed else column if cells else None
        for index, text in enumerate(cells or [line]):
            for code in re.findall(r"`([^`]+)`", text):
                behind = index == column and not headed and not code.startswith("python")
                words = shlex.split(f"python -m experiments.{code}" if behind else code)
                is_module = words[:2] == ["python", "-m"] and len(words) > 2 and words[2] != "experiments."
                if is_module or words[:1] == ["gen-models"]:
                    yield _command(page, number, words)


def _without_blocks(page: Path) -> str:
    """The page's text, in which the lines of blocks are empty."""
    lines, inside = [], False
    for line in page.read_text().splitlines():
        fence = line.startswith("```")
        lines.append("" if inside or fence else line)
        inside = inside != fence
    return "\n".join(lines)


def docstring_commands(file: Path) -> Iterator[Command]:
    """The commands of the lines of a module's docstring."""
    for number, line in enumerate((ast.get_docstring(ast.parse(file.read_text())) or "").splitlines(), 1):
        if line.strip().startswith(("python -m", "python my_")):
            for words in _split(shlex.split(line, comments=True)):
                yield _command(file, number, words)


def fewer(steps: int) -> int:
    """So many steps as a tiny run takes in place of `steps`: more stay more, within reason."""
    return min(max(1, steps // 500), 24) if steps else 0


def tiny_experiment(name: str) -> Experiment:
    """An experiment all of whose variants have its tiny sizes and few steps; for the rest it is what the name says."""
    own = find(name)
    variants = {variant: _short(tiny_config(own, variant)) for variant in own.variants}
    return replace(own, variants=variants)


def _short(config: Any) -> Any:
    has = set(field_names(config)).intersection(STEPS)
    return with_values(config, {name: fewer(value_of(config, name)) for name in has})


def cut(words: Sequence[str]) -> list[str]:
    """The words of a command with fewer steps, seeds and samples; every option stays."""
    left, small = list(words), []
    while left:
        word = left.pop(0)
        small.append(word)
        if word in CUT:
            small += CUT[word]
            del left[: len(CUT[word])]
        elif word.removeprefix("--").replace("-", "_") in STEPS and word.startswith("--"):
            small.append(str(fewer(int(left.pop(0)))))
    return small
