"""The documentation holds: what it shows runs, its links lead somewhere, and its site can be built.

`documents.py` says how a page is run and what of it is cut; `test_docs_api.py` has the pages that are made of the code.
"""

import argparse
import contextlib
import importlib
import importlib.util
import io
import re
import subprocess
import sys

import documents
import materials
import pytest
from documents import PAGES, ROOT, Block, Command
from saved import saved_run

from gen_models.run import cli, config, entry
from gen_models.run.experiments import find
from gen_models.sweep import options as sweep_options
from gen_models.sweep.planning import plan_of

# Page -> what stands in a Python block, and what the test has in its place: fewer steps, smaller images. As a fixture's
# run is of the digits' size, so are the samples of its exported program.
SMALLER = {
    "README.md": {"steps=500": "steps=3"},
    "docs/research.md": {"steps=500": "steps=3"},
    "docs/runs.md": {"reshape(8, 8, 28, 28)": "reshape(8, 8, 8, 8)", "reshape(8 * 28, 8 * 28)": "reshape(64, 64)"},
}
# Pages whose Python blocks the default suite runs; the slow one runs all.
QUICK = ("README.md", "docs/adding.md", "docs/data.md", "docs/measures.md")
FILES = [*sorted((ROOT / "tools").glob("*.py")), *sorted((ROOT / "experiments").rglob("*.py"))]
BUILDS = importlib.util.find_spec("sphinx") is not None


def name_of(page):
    return str(page.relative_to(ROOT))


def pages_with(language):
    return [page for page in PAGES if any(block.language == language for block in documents.blocks_of(page))]


class Parsed(Exception):
    """A tool's parser took the words."""


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder with small data of every kind, which no test changes."""
    folder = tmp_path_factory.mktemp("data")
    materials.write_all(folder)
    return folder


@pytest.fixture
def place(data, tmp_path, monkeypatch):
    """An empty folder to run in, but for data of every kind; what a page imports there is forgotten afterwards."""
    for path in data.iterdir():
        if path.suffix == ".py":
            (tmp_path / path.name).write_bytes(path.read_bytes())
        else:
            (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in [name for name, module in sys.modules.items() if name not in known and _lies_in(module, tmp_path)]:
        del sys.modules[name]


def _lies_in(module, folder):
    return str(getattr(module, "__file__", None) or "").startswith(str(folder))


def write_files(page, place):
    """The files that the page shows."""
    for block in documents.blocks_of(page):
        if block.file:
            (place / block.file).write_text(f"{block.text}\n")


def prepare(page, place, languages=("sh", "python")):
    """Files that the page shows, and runs of which it speaks and which no block of these languages makes."""
    write_files(page, place)
    text = "\n".join(block.text for block in documents.blocks_of(page) if block.language in languages)
    made = "sh" in languages and re.search(r"experiments\.vae +(#|$)", text, re.M)
    if "runs/vae/base/0" in text and not made:
        saved_run("vae", "base", place / "runs" / "vae" / "base" / "0")


def run_python(block: Block, namespace: dict):
    """Run a block in the page's namespace; returns what it printed."""
    text = block.text
    if block.file:
        return ""
    for shown, smaller in SMALLER.get(name_of(block.page), {}).items():
        text = text.replace(shown, smaller)
    code = compile("\n" * (block.line - 1) + text, str(block.page), "exec")  # so that a traceback has the page's lines
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, namespace)
    return said.getvalue()


def run_tool(name, words):
    """(exit status, what was said) of `python -m tools.NAME WORDS` in this process."""
    before = list(sys.argv)
    sys.argv = [name, *words]
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        try:
            cli.guard(importlib.import_module(f"tools.{name}").main)
        except SystemExit as stopped:
            return stopped.code, said.getvalue()
        finally:
            sys.argv = before
    raise AssertionError(f"{name} did not exit")


def run_command(command: Command):
    """(exit status, what was said) of a command at tiny sizes, in this process where it is ours."""
    words = documents.cut(command.options) if command.experiment or command.tool else list(command.words)
    if command.tool:
        return run_tool(command.tool, words)
    if not command.experiment and command.words[0] != "gen-models":
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        try:
            if command.experiment:
                return cli.main(documents.tiny_experiment(command.experiment), words), said.getvalue()
            entry.main(words[1:])
        except SystemExit as stopped:
            return stopped.code, said.getvalue()
    raise AssertionError(f"{command.where} did not exit")


def check_said(block: Block, said: str):
    """Each line of a page's output was printed, wherever a terminal broke it; * stands for what differs."""
    printed = "".join(said.split())
    for line in block.text.splitlines():
        wanted = ".*?".join(re.escape("".join(part.split())) for part in line.split("*"))
        assert re.search(wanted, printed), f"{name_of(block.page)}: not said: {line}\n\n{said}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_of_a_language_that_is_checked(page):
    for block in documents.blocks_of(page):
        assert block.language in documents.LANGUAGES, f"{page}:{block.line}: {block.language or 'no language'}"


def python_pages():
    """Pages with Python blocks, but for those that are slow and are run as they stand below."""
    for page in pages_with("python"):
        quick = name_of(page) in QUICK
        if quick or page not in pages_with("sh"):
            yield pytest.param(page, id=name_of(page), marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("page", list(python_pages()))
def test_python_blocks_run_in_order(page, place):
    """Each page is one program, and a block of output after a block of Python is what that prints."""
    prepare(page, place, ("python",))
    namespace, said = {"__name__": "page"}, None
    for block in documents.blocks_of(page):
        if block.language == "python":
            said = run_python(block, namespace)
        elif block.language == "text" and said is not None:
            check_said(block, said)
        else:
            said = None


def understand(command: Command, monkeypatch):
    """Have the command's own parser read its words, as they stand on the page; nothing is run.

    Raises whatever the parser does about an option, variant, experiment or tool that there is not.
    """
    if command.words[0] == "gen-models":
        known = ("list", "train", *(name for name in entry.tools()))
        assert len(command.words) == 1 or command.words[1] in known, f"{command.where}: no such command"
    elif command.experiment:
        if not command.experiment.isupper() and not command.experiment.endswith("NAME"):
            understand_experiment(find(command.experiment), list(command.options))
    elif command.tool:
        understand_tool(command, monkeypatch)
    else:
        assert command.reason or command.words[0] in ("cp", "ls", "mkdir"), f"{command.where}: an unknown command"


def understand_experiment(experiment, words):
    if "--help" in words:
        return
    unnamed = "sweep" if experiment.table else next(iter(experiment.variants))
    variant = words.pop(0) if words and not words[0].startswith("-") else unnamed
    if variant != "sweep":
        cli.request(experiment, variant, words)
        return
    options, rest = sweep_options.read(experiment, words)
    if options.add_seeds is None:  # else it is a sweep that is there
        plan_of(experiment, options, rest)


def understand_tool(command, monkeypatch):
    assert command.tool in entry.tools(), f"{command.where}: no such tool"
    if not command.options or "--help" in command.options:
        return
    module = importlib.import_module(f"tools.{command.tool}")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", [command.tool, *command.options])
        for name in ("parse_args", "parse_intermixed_args"):
            patch.setattr(argparse.ArgumentParser, name, then_stop(getattr(argparse.ArgumentParser, name)))
        # `memory` parses an experiment's words behind its own.
        patch.setattr("gen_models.run.job.make_job", then_stop(lambda *_: None))
        with pytest.raises(Parsed):
            module.main()


def then_stop(function):
    """The function, behind which nothing more is done; of a parser's, that options are written out too."""

    def stopping(*arguments, **named):
        function(*arguments, **named)
        if isinstance(arguments[0], argparse.ArgumentParser):
            given = {word.partition("=")[0] for word in sys.argv[1:] if word.startswith("--")}
            assert given <= set(arguments[0]._option_string_actions), f"written short: {given}"
        raise Parsed

    return stopping


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_is_understood(page, place, monkeypatch):
    """Those of blocks, of text and of tables, each by its own parser: an option that is no more is found here."""
    write_files(page, place)
    shown = [c for block in documents.blocks_of(page) if block.language == "sh" for c in documents.commands_of(block)]
    _understand_all([*shown, *documents.inline_commands(page)], monkeypatch)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_command_of_a_docstring_is_understood(file, place, monkeypatch):
    _understand_all(list(documents.docstring_commands(file)), monkeypatch)


def _understand_all(commands, monkeypatch):
    for command in commands:
        try:
            with contextlib.redirect_stderr(io.StringIO()) as said:
                understand(command, monkeypatch)
        except (SystemExit, Exception) as error:
            pytest.fail(f"{command.where}: {type(error).__name__}: {error} {said.getvalue()}")


@pytest.mark.parametrize("page", SMALLER)
def test_what_is_cut_is_still_on_its_page(page):
    program = "\n".join(block.text for block in documents.blocks_of(ROOT / page) if block.language == "python")
    for shown in SMALLER[page]:
        assert shown in program, f"{page} no longer has {shown!r}: mend SMALLER"


def test_what_is_not_run_is_still_on_a_page():
    commands = [
        command
        for page in PAGES
        for block in documents.blocks_of(page)
        if block.language == "sh"
        for command in documents.commands_of(block)
    ]
    for words in documents.NOT_RUN:
        used = [command for command in commands if documents.is_within(words.split(), command.words)]
        assert used, f"no page has {words!r} any more: take it out of NOT_RUN"


@pytest.mark.slow  # minutes: sweeps start processes
@pytest.mark.parametrize("page", pages_with("sh"), ids=name_of)
def test_a_page_runs_as_it_stands(page, place, monkeypatch):
    """All blocks in order at tiny sizes, in one folder, each command with the exit status that the page says."""
    prepare(page, place)
    namespace, said = {"__name__": "page"}, ""
    for block in documents.blocks_of(page):
        if block.language == "sh":
            said = "".join(_run(command, monkeypatch) for command in documents.commands_of(block))
        elif block.language == "python":
            said = run_python(block, namespace)
        elif block.language == "text":
            check_said(block, said)


def _run(command: Command, monkeypatch):
    if command.reason:
        return ""
    with monkeypatch.context() as patch:
        for name, value in command.settings:
            patch.setenv(name, value)
        status, said = run_command(command)
    assert status == command.status, f"{command.where}: {status}\n{said[-3000:]}"
    return said


LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
ROLE = re.compile(r"\{doc\}`([^`]+)`")


def anchors(page):
    """The anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#+ +(.*)$", documents._without_blocks(page), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_lead_to_files_and_headings(page):
    text = documents._without_blocks(page)
    for link in LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else (page.parent / path).resolve()
        assert target.exists(), f"{name_of(page)}: {link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{name_of(page)}: {link}: no such heading"
    for role in ROLE.findall(text):
        path = re.sub(r".*<(.*)>", r"\1", role)
        target = ROOT / "docs" / path.lstrip("/") if path.startswith("/") else page.parent / path
        assert target.with_suffix(".md").exists() or path.lstrip("/").startswith("api/"), (
            f"{name_of(page)}: {role} leads nowhere"
        )


def test_pages_are_in_the_table_of_contents():
    listed = re.findall(r"^[\w/]+$", (ROOT / "docs" / "index.md").read_text(), re.M)
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = str(page.relative_to(ROOT / "docs").with_suffix(""))
        assert name == "index" or name in listed, f"docs/index.md does not list {name}"


def test_the_readmes_figures_are_those_of_the_familys_pages():
    """Each number of the column "measured" stands on the page that the row links to, or with the ablations."""
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| [")]
    assert len(rows) == len(list((ROOT / "docs" / "families").glob("*.md")))
    for row in rows:
        family, _, measured, _ = [cell.strip() for cell in row.strip("|").split(" | ")][:4]
        page = ROOT / LINK.findall(family)[0]
        text = page.read_text() + (ROOT / "docs" / "ablations.md").read_text()
        for figure in re.findall(r"-?\d+\.\d+(?: ± \d+\.\d+)?", measured):
            assert re.search(rf"(?<![\d.]){re.escape(figure)}(?![\d.]*\d)", text), f"{figure} is not on {page.name}"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


@pytest.mark.slow  # 20 s, and .ci/run builds it too
@pytest.mark.skipif(not BUILDS, reason="the documentation's extra is not installed: pip install -e '.[docs]'")
def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "tools.docs", "--out", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == config.FINISHED, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").exists()
