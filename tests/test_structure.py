"""Imports go one way, layers know nothing of what lies above them, and experiments declare parts: read from the source.

A circle is sought among whole files, imports inside functions included: one that is put off is a circle all the same.
What stands under `if TYPE_CHECKING:` is not imported, and `importlib.import_module` is how the command line waits for
JAX.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPERIMENTS = sorted(path for path in (ROOT / "experiments").rglob("*.py") if path.name != "__init__.py")
# folder of gen_models -> what nothing in it may import
LAYERS = {
    "nn": ("models", "data", "evaluation", "measures", "run", "training", "sweep"),
    "models": ("data", "evaluation", "measures", "run", "training", "sweep"),
    "data": ("models", "evaluation", "measures", "run", "training", "sweep"),
    "training": ("run", "measures", "sweep"),
    "diagnosis": ("models", "data", "run", "training", "sweep"),
    "measures": ("sweep",),
    "evaluation": ("run", "measures", "training", "sweep", "diagnosis"),
    "features": ("data", "evaluation", "run", "measures", "training", "sweep"),
}
# Modules that need JAX; no other module of the same folder may import it.
WITH_JAX = {
    "run": {
        *("job", "train", "restore", "choices", "extractors", "own_classifier", "compared"),
        *("kept_stats", "best", "start", "room", "diagnosing", "predicting", "operations"),
    },
    "sweep": {"worker", "group", "stacked", "measure"},
}
LONGEST = 30  # lines of a function in an experiment, its docstring included


def module_name(path: Path, root: Path) -> str:
    """`gen_models.data` of `gen_models/data/__init__.py`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache
def modules(root: Path) -> dict[str, Path]:
    """Name -> file of all modules of the package."""
    return {module_name(path, root): path for path in sorted((root / "gen_models").rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    """Whether this is `if TYPE_CHECKING:`, under either of its names."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """All import statements that are ever executed."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif is_type_checking(node):
            for other in node.orelse:  # type: ignore[attr-defined]
                yield from imports(ast.Module([other], []))
        else:
            yield from imports(node)


def imported(name: str, root: Path) -> dict[str, int]:
    """The modules of the package that a module imports, and the line on which it does so first."""
    known, path = modules(root), modules(root)[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: dict[str, int] = {}
    for node in imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # A name that is no module is an object of the package itself.
            targets = [one if (one := f"{base}.{alias.name}") in known else base for alias in node.names]
        for target in targets:
            if target in known:
                found.setdefault(target, node.lineno)
    return found


def circles(root: Path) -> list[list[str]]:
    """Circles of imports, each as the modules along it: at least one where there are any."""
    edges = {name: list(imported(name, root)) for name in modules(root)}
    done: set[str] = set()
    found: list[list[str]] = []

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append([*path[path.index(name) :], name])
        elif name not in done:
            for other in edges[name]:
                visit(other, [*path, name])
            done.add(name)

    for name in edges:
        visit(name, [])
    return found


def package(tmp_path: Path, files: dict[str, str]) -> Path:
    """A package of these modules, to test the test."""
    for name, text in {"__init__": "", **files}.items():
        path = tmp_path / "gen_models" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_the_search_finds_circles(tmp_path):
    late = "def f():\n    from gen_models import a\n"
    root = package(
        tmp_path, {"a": "from .folder.b import f", "folder/__init__": "", "folder/b": late, "c": "import json"}
    )
    assert circles(root) == [["gen_models.a", "gen_models.folder.b", "gen_models.a"]]


def test_the_search_passes_over_what_is_never_imported(tmp_path):
    hints = "import typing\nif typing.TYPE_CHECKING:\n    from gen_models import a\nelse:\n    import gen_models.c\n"
    asked = 'import importlib\ndef f():\n    importlib.import_module("gen_models.a")\n'
    root = package(tmp_path, {"a": "from gen_models.b import f", "b": hints, "c": asked})
    assert circles(root) == []
    assert list(imported("gen_models.b", root)) == ["gen_models.c"]


def test_no_modules_import_each_other():
    found = [" -> ".join(circle) for circle in circles(ROOT)]
    assert not found, "circles of imports, move what both need into a file of its own:\n" + "\n".join(found)


@pytest.mark.parametrize("folder", LAYERS)
def test_layers_import_nothing_from_above(folder):
    found = [
        f"{modules(ROOT)[name].relative_to(ROOT)}:{line} imports {target}, but gen_models/{folder} must not"
        for name in modules(ROOT)
        if f"{name}.".startswith(f"gen_models.{folder}.")
        for target, line in imported(name, ROOT).items()
        if target.split(".")[1:2] and target.split(".")[1] in LAYERS[folder]
    ]
    assert not found, "\n".join(found)


def test_the_library_does_not_import_its_own_namespace():
    """Its names are imported when they are used, so that a circle through it would not be seen here."""
    found = [name for name in modules(ROOT) if "gen_models" in imported(name, ROOT)]
    assert not found, f"import what is needed from its own module, not from gen_models: {', '.join(found)}"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: str(path.relative_to(ROOT / "experiments")))
def test_experiments_declare_parts(path):
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    wrong = []
    for function in functions:
        length = function.end_lineno - function.lineno + 1
        if length > LONGEST:
            wrong.append(f"{function.name} has {length} lines, and at most {LONGEST} are read at one glance")
        for node in ast.walk(function):
            if node is not function and isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
                wrong.append(f"line {node.lineno}: {function.name} holds a function; give it a name of its own outside")
            if isinstance(node, ast.Import | ast.ImportFrom):
                wrong.append(
                    f"line {node.lineno}: {function.name} imports; import at the top, `gm` waits for JAX itself"
                )
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        held = [node.lineno for node in ast.walk(kind) if isinstance(node, ast.Lambda)]
        wrong += [f"line {line}: the class {kind.name} holds a lambda" for line in held]
    names = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}
    if "EXPERIMENT" not in names:
        wrong.append("there is no EXPERIMENT at its end")
    assert not wrong, f"{path.relative_to(ROOT)}: " + "; ".join(wrong)


def test_the_command_line_and_experiments_wait_for_jax():
    """`--help` and a mistyped option are answered within a second."""
    light = [
        name
        for folder, heavy in WITH_JAX.items()
        for name in modules(ROOT)
        if name.startswith(f"gen_models.{folder}.") and not name.startswith("gen_models.sweep.report.")
        if name.rpartition(".")[2] not in heavy
    ]
    program = f"""
import importlib, sys
from gen_models.run import experiments
steps = [(name, lambda name=name: importlib.import_module(name)) for name in {light!r}]
steps += [(name, lambda name=name: experiments.find(name)) for name in experiments.names()]
for name, step in steps:
    step()
    if "jax" in sys.modules:
        sys.exit(f"importing {{name}} imports JAX: name it in WITH_JAX if it must, or import when needed")
print(len(steps))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(light) + len(EXPERIMENTS)
