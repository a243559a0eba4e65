"""What `tools/accelerator_check.py` checks, in the order of worth. Imports no JAX.

A check is a module of this package with `run(subjects, report)`, which gives each thing that it finds to the report.
It runs in a process of its own: a crash, a hang or memory that is full ends one check and not all of them, and none is
measured in what another has left behind.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Status = Literal["ok", "failed", "measured", "left out"]


class Check(NamedTuple):
    """One kind of thing that is checked."""

    module: str  # of this package
    about: str
    share: float  # of the time; what one check leaves is there for those behind it


CHECKS: dict[str, Check] = {
    "equality": Check(
        "equality", "a step under jit, pmap and shard_map is that of plain XLA on one CPU device, float32", 0.27
    ),
    "one_trace": Check("loop", "the loop traces a step once, however often it calls it", 0.06),
    "bfloat16": Check("half", "a step in bfloat16 has float32's loss and direction", 0.10),
    "resume": Check("resume", "a run that is killed and started again ends in the same bits", 0.14),
    "samplers": Check("samplers", "cached samplers draw what naive ones draw", 0.12),
    "exports": Check("exports", "an exported sampler draws what the model draws", 0.07),
    "speed": Check("speed", "time and memory of a step, and its share of what the device can do", 0.14),
    "against": Check("against", "a step's time against the same update by hand, plain XLA and PyTorch", 0.10),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found out."""

    check: str
    subject: str  # "vae", "vae conv": what was checked
    status: Status
    said: str  # in words, for the table
    numbers: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class Report:
    """Gives each finding away as soon as it is there, and says when the time is used up."""

    def __init__(self, check: str, seconds: float, platform: str, give: Callable[[Finding], None]) -> None:
        self.platform = platform  # "cpu", "gpu", "tpu": the default backend of JAX here
        self._check, self._give = check, give
        self._ends, self._longest = time.monotonic() + seconds, 0.0

    def of_each(
        self,
        subjects: Iterable[str],
        function: Callable[[str], Iterable[tuple[Status, str, dict]]],
        concerns: Callable[[str], bool] = lambda subject: True,
    ) -> None:
        """Call `function` for each subject, which yields (status, words, numbers); what it raises is a failure.

        Subjects that it does not concern are passed over. One is left out where the longest one so far would take more
        time than there is; the first never is.
        """
        for subject in subjects:
            if not _or_true(concerns, subject):
                continue
            if self._longest and time.monotonic() + self._longest > self._ends:
                self._give(Finding(self._check, subject, "left out", "no time was left"))
                continue
            begun = mark = time.monotonic()
            for status, said, numbers in _or_failure(function, subject):
                now = time.monotonic()
                self._give(Finding(self._check, subject, status, said, numbers, round(now - mark, 2)))
                mark = now
            self._longest = max(self._longest, time.monotonic() - begun)


def _or_true(concerns: Callable[[str], bool], subject: str) -> bool:
    """What it says; True where it raises, as the check itself will then, and tell."""
    try:
        return concerns(subject)
    except Exception:
        return True


def _or_failure(
    function: Callable[[str], Iterable[tuple[Status, str, dict]]], subject: str
) -> Iterator[tuple[Status, str, dict]]:
    """What the function yields, and a failure in the place of what it raises: other subjects are checked too."""
    try:
        yield from function(subject)
    except Exception as error:
        yield "failed", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", {}
