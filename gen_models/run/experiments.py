"""Experiments by name: those of this project, wherever it is installed, and those of somebody's own. Imports no JAX.

This project's experiments and tools are the packages `gen_models.experiments` and `gen_models.tools`: in a wheel they
lie inside `gen_models`, in a checkout beside it. So a folder called `experiments` of somebody's own hides none of them.
"""

import importlib
import importlib.util
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from gen_models.errors import unknown
from gen_models.run.config import Experiment


def find(name: str, file: str | Path | None = None) -> Experiment:
    """The experiment that a name stands for: "vae", "experiments.vae", "ablations.activation"; or a file of one's own.

    Args:
      name: `Experiment.name`, or the path of a Python file.
      file: the file of an experiment of one's own, where the name is not its path.

    Raises:
      ValueError: there is no such experiment; the nearest name or the missing file is named.
    """
    if file is None and name.endswith(".py"):
        name, file = Path(name).stem, name
    module = _of_file(name, Path(file)) if file is not None and not name.startswith("experiments.") else _ours(name)
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment):
        raise ValueError(f"{module.__file__} has no EXPERIMENT: define one (gen_models.Experiment)")
    return experiment


def names() -> list[str]:
    """Names of this project's experiments: "vae", "ablations.activation", ..."""
    return _modules_of("experiments")


def tools() -> list[str]:
    """Names of this project's tools: "sample", "evaluate", ..."""
    return [name for name in _modules_of("tools") if "." not in name]


def package(name: str) -> ModuleType:
    """The package `gen_models.experiments` or `gen_models.tools`, for the names "experiments" and "tools"."""
    try:
        return importlib.import_module(f"gen_models.{name}")
    except ModuleNotFoundError:  # a checkout that is not installed: it lies beside gen_models
        folder = Path(__file__).resolve().parent.parent.parent / name
        return _load(f"gen_models.{name}", folder / "__init__.py", [str(folder)])


def _modules_of(name: str) -> list[str]:
    prefix = f"gen_models.{name}."
    found = pkgutil.walk_packages(package(name).__path__, prefix)
    return sorted(module.name.removeprefix(prefix) for module in found if not module.ispkg)


def _ours(name: str) -> ModuleType:
    short = name.removeprefix("experiments.")
    if short not in (known := names()):
        raise unknown("experiment", short, known)
    return importlib.import_module(f"gen_models.experiments.{short}")


def _of_file(name: str, file: Path) -> ModuleType:
    """A module of somebody's own project, which may import its neighbours as when it is run as a script."""
    for loaded in (sys.modules.get("__main__"), sys.modules.get(name)):
        if loaded is not None and Path(getattr(loaded, "__file__", None) or "/").resolve() == file.resolve():
            return loaded
    if not file.is_file():
        raise ValueError(f"the experiment's file {file} is not there: give its present path as --experiment FILE")
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    return _load(name, file, None)


def _load(name: str, file: Path, search: list[str] | None) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
