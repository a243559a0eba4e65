"""How the runs of a sweep end. Imports no JAX."""

from pathlib import Path
from typing import NamedTuple

from gen_models.run import directory

BY_ANOTHER = "by another process"  # the message of a run that another process has ended


class Ending(NamedTuple):
    """How a run ended, in this process or before."""

    status: str  # "finished", "diverged", "dropped" (by successive halving), "failed", "paused"
    message: str = ""


def ended_before(folder: Path) -> Ending | None:
    """The ending of a run that need not be trained, else None; a run that failed is tried again."""
    if (folder / "result.json").exists():
        return Ending("finished")
    stopped = directory.Run(folder).stopped()
    if stopped is None or stopped["status"] not in ("diverged", "dropped"):
        return None
    return Ending(stopped["status"], stopped["message"])
