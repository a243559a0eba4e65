"""Where a run was trained: versions, devices, commits and commands, an entry in `environment.json` for each start."""

import os
import platform
import subprocess
import sys
import time
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from gen_models.run.directory import Run, read_json, write_json

PACKAGES = ("gen_models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def record_environment(run: Run, step: int = 0, steps: int | None = None) -> None:
    """Add this start's versions, devices, commits, command and steps to `environment.json`. Imports JAX.

    Args:
      run: what is started.
      step: the step from which it goes on.
      steps: how many it is asked for.
    """
    import jax

    own = run.config().get("file")  # of an experiment of one's own
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "folder": _folder(),
        "from_step": step,
        "steps": steps,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [f"{d.platform}:{d.device_kind}" for d in jax.devices()],
        "commit": commit_of(Path(__file__)),
        **({} if own is None else {"experiment_commit": commit_of(Path(own))}),
        "versions": {name: _version(name) for name in PACKAGES},
    }
    write_json(run.folder / "environment.json", {"starts": [*_starts(run.folder / "environment.json"), entry]})


def _starts(path: Path) -> list[Any]:
    """The entries of earlier starts; a file that is damaged is put aside, as it is no reason not to train."""
    if not path.exists():
        return []
    try:
        return list(read_json(path)["starts"])
    except (ValueError, KeyError, TypeError):
        path.replace(path.with_name("environment.damaged.json"))
        return []


def _folder() -> str | None:
    """The folder in which the command was given; None where it is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


@lru_cache  # a version does not change while the process has the package loaded
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@lru_cache
def commit_of(file: Path) -> str | None:
    """The commit of the checkout that a file belongs to, with a + where files differ from it.

    None where there is no git or no checkout; and where git does not follow the file, as that of an installed package
    in somebody else's checkout.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # of a hook, say

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", *words]
        return subprocess.run(
            command, cwd=file.parent, env=clean, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
