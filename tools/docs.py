"""Build the documentation as a folder of pages that need no network: `python -m tools.docs --out site`.

The pages are `docs/*.md`. Two parts are made of the code: the API, from the public names and their docstrings, and each
ablation, from its own. Warnings are errors, dead links among them. Needs an extra: pip install 'gen_models[docs]'.
"""

import argparse
import ast
import importlib
import inspect
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from gen_models.run import cli
from gen_models.run.console import say

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 20_000_000  # bytes that the site may have
# Page -> its title and the modules whose public names it has; "" is what no other page has.
PAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "core": ("The core and training", ("core", "training", "export")),
    "models": ("Models", ("models",)),
    "data": ("Data", ("data",)),
    "optimizers": ("Optimizers and schedules", ("optimizers", "schedules")),
    "experiments": ("Experiments and runs", ("run",)),
    "rest": ("Other names", ("",)),
}
# Each has a stub of its own.
PACKAGES = {
    "measures": "Measures",
    "nn": "Layers",
    "evaluation": "Evaluation",
    "features": "Extractors of features",
    "diagnosis": "Diagnosis",
}
MODULES = {  # whose functions are all public
    "distributions": "Distributions",
    "metrics": "Metrics",
    "classification_metrics": "Metrics of classifiers",
    "ranking_metrics": "Metrics of scores",
    "plots": "Plots",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse, build, and say where the site is; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("site"), help="the site's folder (default: site)")
    options = parser.parse_args(arguments)
    if not (ROOT / "docs" / "conf.py").exists():
        raise ValueError(f"{ROOT} has no docs: the documentation is built in a checkout")
    if options.out.exists() and any(options.out.iterdir()) and not (options.out / "objects.inv").exists():
        raise ValueError(f"--out: {options.out} is not empty and holds no site: choose another")
    try:
        build = importlib.import_module("sphinx.cmd.build").build_main
    except ImportError as error:
        raise ImportError("the documentation needs an extra: pip install 'gen_models[docs]'") from error
    with tempfile.TemporaryDirectory(prefix="gen_models_docs_") as folder:
        pages = write_pages(Path(folder))
        status = build(["-q", "-W", "--keep-going", "-b", "html", str(pages), str(options.out)])
    if status:
        return status
    shutil.rmtree(options.out / ".doctrees", ignore_errors=True)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    if size > LARGEST:
        raise ValueError(f"the site has {size:,} bytes, more than {LARGEST:,}: its pictures are too large")
    say(f"{size / 1e6:.1f} MB:", options.out / "index.html")
    return 0


def write_pages(folder: Path) -> Path:
    """All pages as sources, those that are made of the code as well, beside copies of what they include."""
    for name in ("docs", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("_build", "__pycache__"))
    for name in ("CONTRIBUTING.md", "ARCHITECTURE.md"):
        shutil.copy(ROOT / name, folder)
    docs = folder / "docs"
    (docs / "api").mkdir()
    for name, text in api_pages().items():
        (docs / "api" / f"{name}.md").write_text(text)
    with (docs / "ablations.md").open("a") as file:
        file.write("\n".join(ablation_sections()))
    return docs


def ablation_sections() -> Iterator[str]:
    """A section for each ablation: its docstring, whose indented lines are commands and tables."""
    for path in sorted((ROOT / "experiments" / "ablations").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text()))
        if text and path.stem != "__init__":
            question, _, rest = text.partition("\n")
            yield f"\n## `ablations.{path.stem}`\n\n**{question.strip()}**\n{_markdown(rest)}\n"


def _markdown(text: str) -> str:
    """A docstring's text for Markdown: indented blocks as they are, and what Markdown would read as marks escaped."""
    lines, inside = [], False
    for line in text.splitlines():
        indented = line.startswith("    ")
        if indented and not inside:
            lines.append("```text")
        elif not indented and inside and line.strip():
            lines.append("```\n")
        inside = indented or (inside and not line.strip())
        lines.append(line.removeprefix("    ") if inside else line.replace("*", "\\*").replace("<", "\\<"))
    return "\n".join([*lines, "```"] if inside else lines)


def api_pages() -> dict[str, str]:
    """Page -> its Markdown, for every public name; and the page `index`, which lists them."""
    names, pages = dict(public_names("gen_models")), {}
    taken = {*PACKAGES, *MODULES, *(name for package in PACKAGES for name, _ in public_names(f"gen_models.{package}"))}
    for page, (title, prefixes) in PAGES.items():
        own = [name for name, module in names.items() if name not in taken and module.startswith(prefixes)]
        taken |= set(own)
        if own:
            pages[page] = _page(title, "gen_models", own)
    for package, title in PACKAGES.items():
        pages[package] = _package_page(title, f"gen_models.{package}")
    for module, title in MODULES.items():
        loaded = importlib.import_module(f"gen_models.{module}")
        pages[module] = _page(title, f"gen_models.{module}", members(loaded), _first_line(loaded))
    entries = "\n".join(pages)
    pages["index"] = (
        f"# API\n\nAll public names, with their docstrings.\n\n```{{toctree}}\n:maxdepth: 2\n\n{entries}\n```\n"
    )
    return pages


def public_names(package: str) -> Iterator[tuple[str, str]]:
    """(name, module below the package) of each name in a package's stub, in its order."""
    stub = Path(importlib.import_module(package).__file__ or "").with_suffix(".pyi")
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, node.module or alias.name


def members(module: ModuleType) -> list[str]:
    """The public functions and classes that a module, or one of the modules of a package, defines, in their order."""
    own = [
        (value.__module__, inspect.getsourcelines(value)[1], name)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value)))
        and f"{getattr(value, '__module__', None)}.".startswith(f"{module.__name__}.")
    ]
    return [name for *_, name in sorted(own)]


def _package_page(title: str, package: str) -> str:
    """A package's public names; of those that are modules, their functions and classes."""
    parts, own = [], []
    for name, _ in public_names(package):
        value = getattr(importlib.import_module(package), name)
        if inspect.ismodule(value):
            parts.append(_page(name, value.__name__, members(value), _first_line(value)).replace("# ", "## ", 1))
        else:
            own.append(name)
    return "\n".join([_page(title, package, own), *parts])


def _page(title: str, module: str, names: Sequence[str], about: str = "") -> str:
    """A title, and a directive of autodoc for each name."""
    blocks = []
    for name in names:
        value = getattr(importlib.import_module(module), name)
        if inspect.isclass(value):
            kind, options = "autoclass", "   :members:\n"
        elif callable(value) and not isinstance(value, type):
            kind, options = "autofunction", ""
        else:
            kind, options = "py:data", f"\n   {_comment_above(module, name)}\n"
        blocks.append(f"```{{eval-rst}}\n.. {kind}:: {module}.{name}\n{options}```\n")
    return "\n".join([f"# {title}\n", *([about + "\n"] if about else []), *blocks])


def _comment_above(package: str, name: str) -> str:
    """What is said above, or behind, the assignment of a public name that is neither a function nor a class."""
    inside = dict(public_names(package))[name]
    lines = Path(importlib.import_module(f"{package}.{inside}").__file__ or "").read_text().splitlines()
    at = next(index for index, line in enumerate(lines) if line.startswith((f"{name} ", f"{name}:")))
    said: list[str] = []
    for line in reversed(lines[:at]):
        if not line.startswith("#"):
            break
        said.insert(0, line.removeprefix("#").strip())
    return " ".join(said) or lines[at].partition("#")[2].strip() or f"`{lines[at].partition('=')[0].strip()}`"


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ").replace("<", "\\<")


if __name__ == "__main__":
    cli.guard(main)
