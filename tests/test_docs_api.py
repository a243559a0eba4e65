"""The API's pages have every public name once, each says what it is, and each model is on a family's page."""

import ast
import importlib
import re

import pytest
from documents import ROOT

from tools import docs


def public_names():
    """Every public name, as the API pages have it: gen_models.vae, gen_models.nn.conv.conv, ...

    What is an object of two public names, as gm.Split is gm.measures.Split, is said once, with its package.
    """
    measures = {name for name, _ in docs.public_names("gen_models.measures")}
    for name, _ in docs.public_names("gen_models"):
        if name not in (*docs.PACKAGES, *docs.MODULES, *measures):
            yield f"gen_models.{name}"
    for package in docs.PACKAGES:
        loaded = importlib.import_module(f"gen_models.{package}")
        for name, _ in docs.public_names(f"gen_models.{package}"):
            value = getattr(loaded, name)
            if isinstance(value, type(loaded)):
                yield from (f"gen_models.{package}.{name}.{member}" for member in docs.members(value))
            else:
                yield f"gen_models.{package}.{name}"
    for module in docs.MODULES:
        loaded = importlib.import_module(f"gen_models.{module}")
        yield from (f"gen_models.{module}.{member}" for member in docs.members(loaded))


def test_the_api_has_every_public_name_once():
    text = "\n".join(docs.api_pages().values())
    documented = re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: (\S+)$", text, re.M)
    twice = sorted(name for name in set(documented) if documented.count(name) > 1)
    assert not twice
    names = set(public_names())
    assert len(names) > 150 and names - set(documented) == set() and set(documented) - names == set()


@pytest.mark.parametrize("package", ["nn", "evaluation", "features"])
def test_a_package_of_modules_names_each_in_its_stub(package):
    modules = {path.stem for path in (ROOT / "gen_models" / package).glob("[!_]*.py")}
    assert modules == {name for name, _ in docs.public_names(f"gen_models.{package}")}


def functions(tree):
    """The public functions, classes and methods that stand in a module's text."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from functions(node)


def test_every_public_function_has_a_docstring():
    silent = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}"
        for file in sorted((ROOT / "gen_models").rglob("*.py"))
        for node in functions(ast.parse(file.read_text()))
        if not ast.get_docstring(node)
    ]
    assert not silent, "write docstrings"


def test_every_model_has_its_place_on_a_family_page():
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "families").glob("*.md"))
    made = [name for name, module in docs.public_names("gen_models") if module.startswith("models.")]
    assert len(made) > 15
    for name in made:
        assert f"`gm.{name}`" in text, f"no page of docs/families names gm.{name}"
    equations = [page for page in (ROOT / "docs" / "families").glob("*.md") if "$$" not in page.read_text()]
    assert not equations
