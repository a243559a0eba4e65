"""The best state so far by what evaluations on held-out data say, and when to stop looking for a better one."""

import math
from collections.abc import Mapping
from typing import Any

from gen_models.training.checkpoint import Checkpoints


class Best:
    """Follows one metric of a run's evaluations: `fit` tells it of each, and keeps what it knows beside every state.

    So a run that was killed finds it as it was at the checkpoint from which it goes on. States that were saved here
    after that checkpoint are removed then, and those that it may come back to are kept: what is here is always the best
    of the steps that were taken. It is for one host.

    Args:
      metric: its name in what `evaluate` gives, such as "validation/elbo".
      better: "maximize" or "minimize"; a value that is not finite is never a new best.
      checkpoints: where the best state is kept, with `keep=1`.
      patience: how many evaluations without a new best end the training; 0: none do.
    """

    def __init__(self, metric: str, better: str, checkpoints: Checkpoints, patience: int = 0) -> None:
        if patience < 0:
            raise ValueError(f"patience must not be negative, got {patience}")
        self.metric, self.checkpoints = metric, checkpoints
        self.step: int | None = None  # of the best state; None: there is none yet
        self.value = math.nan
        self.since = 0  # evaluations after it
        self._taken: int | None = None  # the step of the last evaluation
        self._sign, self._patience = -1.0 if better == "maximize" else 1.0, patience
        self._asked = frozenset(checkpoints.protected)
        self._saved: int | None = None  # of the notes that a run may come back to

    @property
    def exhausted(self) -> bool:
        """Whether there was no new best for so long that training is to stop."""
        return 0 < self._patience <= self.since

    def open(self) -> dict[str, Any]:
        """What is known, as JSON holds it, to be kept beside a state; `resume` takes it.

        Waits for the best state, so that no state is saved that names one which a kill could still lose.

        Raises:
          OSError: the best state cannot be saved.
        """
        self.checkpoints.wait()
        value = self.value if math.isfinite(self.value) else None
        known = {"metric": self.metric, "step": self.step, "value": value, "since": self.since, "taken": self._taken}
        return {"best": known}

    def resume(self, notes: Mapping[str, Any], done: int) -> None:
        """Go on from step `done`, beside whose state `notes` were kept; from nothing if they are of another metric."""
        known = notes.get("best") or {}
        known = known if known.get("metric") == self.metric else {}
        self.step, self.since, self._taken = known.get("step"), int(known.get("since", 0)), known.get("taken")
        self.value = math.nan if known.get("value") is None else float(known["value"])
        self._protect(self.step)
        self.checkpoints.remove_after(done)

    def take(self, step: int, state: Any, values: Mapping[str, float]) -> None:
        """Learn what an evaluation gave, and save the state if it is the best; each step counts once.

        Raises:
          ValueError: it gave no such metric.
          OSError: the state cannot be saved.
        """
        if self.metric not in values:
            given = ", ".join(sorted(values)) or "nothing"
            raise ValueError(f"the evaluation gave no {self.metric!r}: it gave {given}")
        value = float(values[self.metric])
        if step == self._taken:  # again, as what came after it failed
            return
        if math.isfinite(value) and not self._sign * value >= self._sign * self.value:  # also where that is NaN
            self.checkpoints.save(step, state, {"metric": self.metric, "value": value})
            self.step, self.value, self.since = step, value, 0
        else:
            self.since += 1
        self._taken = step

    def kept(self) -> None:
        """The notes of `open` are being saved, and those before them have been."""
        self._protect(self.step)
        self.checkpoints.remove_old()

    def _protect(self, step: int | None) -> None:
        """A run may come back to the notes of before, or to these: the states that they name stay."""
        named = {one for one in (self._saved, step) if one is not None}
        self.checkpoints.protected = set(self._asked | named)
        self._saved = step
