"""Runs that are killed and started again end in the same bits.

The processes are those of `kill_check`. No JAX runs in this one, as one process alone may hold some accelerators.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from .. import kill_check
from . import Report, Status

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def run(subjects: Sequence[str], report: Report) -> None:
    """Check each subject of which `kill_check` has sizes."""
    known = [subject for subject in subjects if subject.partition(" ")[0] in kill_check.SIZES]
    report.of_each(known, partial(_check, report.platform == "gpu"))


def _check(on_gpu: bool, subject: str) -> Iterator[tuple[Status, str, dict]]:
    name, variant = kill_check.named(subject.replace(" ", ":"))
    words = [*kill_check.SIZES[name].split(), *kill_check.INTERVALS]
    difference, kills = None, 0
    # A GPU's kernels are chosen by their speed, anew in each process, and each has a rounding of its own. Where bits
    # differ, it is tried once more without such choices: that tells them from a fault of ours.
    for flag in ("", DETERMINISTIC)[: 1 + on_gpu]:
        with tempfile.TemporaryDirectory() as folder, _flag(flag):
            found = kill_check.kill_check(name, variant, words, Path(folder), steps=120, kills=2)
        kills += found.landed.total()
        said = f" with XLA_FLAGS={flag} alone; without it {difference}" if flag else ""
        if found.difference is None:
            yield "ok", f"killed {kills} times, the same bits{said}", {"kills": kills}
            return
        difference = found.difference
    yield "failed", f"killed {kills} times: {difference}", {"kills": kills}


@contextmanager
def _flag(flag: str) -> Iterator[None]:
    """XLA's flag in the environment of the processes that are started."""
    before = os.environ.get("XLA_FLAGS")
    os.environ["XLA_FLAGS"] = f"{before or ''} {flag}".strip()
    try:
        yield
    finally:
        os.environ.pop("XLA_FLAGS")
        if before is not None:
            os.environ["XLA_FLAGS"] = before
