"""The public names: what the stubs say is what one gets, it is imported when it is used, and it says what it is."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import gen_models as gm

ROOT = Path(__file__).parent.parent
PACKAGES = ("gen_models", "gen_models.measures")
CONSTANTS = {  # objects with no docstring
    *("ACTIVATIONS", "ENLARGEMENTS", "LIKELIHOODS", "NIST_CURVES", "PRIORS"),
    *("INCIDENTAL", "TRACED", "Batch", "Key", "Measure", "Optimizer"),
}


def stub(package):
    """Public name -> (module, the name there; "" where the module itself is meant), as `__init__.pyi` says."""
    path = ROOT / package.replace(".", "/") / "__init__.pyi"
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, f"{path}:{node.lineno}: a type checker takes `as {alias.name}` only"
                module = ".".join(filter(None, (package, node.module)))
                found[alias.name] = (module, alias.name) if node.module else (f"{module}.{alias.name}", "")
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_the_object_of_its_module(package):
    got = importlib.import_module(package)
    for name, (module, there) in stub(package).items():
        owner = importlib.import_module(module)
        assert getattr(got, name) is (getattr(owner, there) if there else owner), f"{package}.{name}"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_names_are_those_of_the_stub_in_order(package):
    names = stub(package)
    assert sorted(dir(importlib.import_module(package))) == sorted(names)
    lines = (ROOT / package.replace(".", "/") / "__init__.pyi").read_text().splitlines()
    imports = [line for line in lines if line.startswith("from ")]
    assert len(imports) == len(set(imports)) == len(names), "a name stands in the stub twice"


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no_such_model"):
        gm.no_such_model  # noqa: B018


def test_importing_the_namespace_and_its_measures_imports_no_jax():
    program = (
        "import sys, gen_models as gm\n"
        "loaded = {'jax', 'numpy', 'flax', 'matplotlib'} & {*sys.modules}\n"
        "assert not loaded, loaded\n"
        "gm.measures, gm.RunConfig, gm.Experiment, gm.TRACED, dir(gm), gm.launch\n"
        "assert 'jax' not in sys.modules, 'jax after names that need none'\n"
        "assert gm.Model.__name__ == 'Model' and 'jax' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_says_what_it_is(package):
    """A docstring of its own: that of the class of an object, or one that a dataclass wrote, says nothing."""
    silent = []
    for name in stub(package):
        value = getattr(importlib.import_module(package), name)
        if name in CONSTANTS:
            continue
        written = value.__doc__ if inspect.ismodule(value) else vars(value).get("__doc__") or value.__doc__
        if not written or not written.strip() or written.startswith(f"{name}("):
            silent.append(name)
    assert not silent, f"write docstrings for {', '.join(silent)}"
