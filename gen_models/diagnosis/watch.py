"""Warnings on the way: `fit(..., watch=Watch())` looks at the rows that are logged, and says a thing once."""

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gen_models.diagnosis.checks import CHECKS
from gen_models.diagnosis.finding import Check, Facts, Finding
from gen_models.diagnosis.history import History

MORE = 0.02  # share of rows that must have come since the checks looked last: their time grows with the number of rows


class TrainingWarning(UserWarning):
    """Training goes wrong, by what it logs."""


def warned(finding: Finding) -> None:
    """Python's own warning of a finding."""
    warnings.warn(finding.line, TrainingWarning, stacklevel=2)


class Watch:
    """Tells of what goes wrong during a training, each failure once; costs no work on the device.

    A row costs about 1 ms of processor time in the first hundred, and 0.1 ms as a mean over 10,000, with what a DCGAN
    logs (one core of 2 of an Intel Xeon, shared).

    Args:
      tell: called with each `Finding`; None: `warnings.warn`, with `TrainingWarning`.
      facts: what is known of the training beside what it logs; its number of steps comes from `fit`.
      checks: what is looked for; those alone that are good for a training under way.
      history: rows of before, of a run that goes on: what they show is not said again.
    """

    def __init__(
        self,
        tell: Callable[[Finding], None] | None = None,
        *,
        facts: Facts | None = None,
        checks: Sequence[Check] = CHECKS,
        history: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        self._tell = warned if tell is None else tell
        self._facts = facts or Facts()
        self._checks = [check for check in checks if check.while_training]
        self._history = History()
        self._rows, self._looked_at = 0, 0
        self._said: set[str] = set()
        for row in history:
            self._take(int(row["step"]), row)
        if self._rows:
            self._said = {finding.name for finding in self._found()}

    def expect(self, steps: int) -> None:
        """Know how many steps are to be taken; `fit` says so."""
        self._facts = replace(self._facts, steps=steps)

    def __call__(self, step: int, values: Mapping[str, Any]) -> None:
        """Take what was logged at a step, as `fit`'s `log` gets it, and tell what it shows."""
        self._take(step, values)
        if self._rows < self._looked_at + max(1, math.floor(MORE * self._rows)):
            return
        self._looked_at = self._rows
        for finding in self._found():
            self._said.add(finding.name)
            self._tell(finding)

    def _take(self, step: int, values: Mapping[str, Any]) -> None:
        self._history.add(step, values)
        self._rows += 1

    def _found(self) -> list[Finding]:
        """What the checks find that was not said yet."""
        found = []
        for check in self._checks:
            if check.name not in self._said and check.sees(self._history, self._facts):
                finding = check.look(self._history, self._facts)
                if finding is not None and finding.name not in self._said:
                    found.append(finding)
        return found
