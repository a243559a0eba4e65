"""What a check finds, and what it is told: the types that all checks share. Imports no JAX.

A check is a function of what was logged and of what else is known of a run, which gives a finding or nothing. It knows
no model: it goes by metrics that are there, and says which it needs, so that what could not be looked at is known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from gen_models.diagnosis.history import History
from gen_models.measures.figure import Figure

Certainty = Literal["certain", "likely", "possible"]


class Finding(NamedTuple):
    """A failure that a check accuses a run of."""

    name: str  # of the failure, such as "mode collapse"
    step: int  # at which it was seen
    evidence: str  # the numbers that speak for it
    certainty: Certainty
    remedy: str  # what to try, the options of the experiment first

    @property
    def line(self) -> str:
        """The finding in one line."""
        return f"{self.name} ({self.certainty}) at step {self.step:,}: {self.evidence}. Remedy: {self.remedy}"


@dataclass(frozen=True)
class Facts:
    """What is known of a run beside what it logged; all of it may be unknown."""

    steps: int = 0  # that it is to take in all; 0: not known
    options: Mapping[str, Any] = field(default_factory=dict)  # name -> value of the config's fields, by dotted names
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # name -> the words that such a field may hold
    figures: Sequence[Figure] = ()  # of its result
    objective: tuple[str, str] | None = None  # the metric that it is judged by, and "maximize" or "minimize"
    ended: str = ""  # "finished", "diverged", "dropped"; "" where training goes on, or was interrupted
    ended_at: int = 0  # the step of then
    message: str = ""  # that was left when it ended otherwise
    adversarial: bool = True  # whether its samples are those of a generator that plays against a discriminator

    def half_done(self, step: int) -> bool:
        """Whether half of the steps are done, where their number is known, or training is over."""
        return bool(self.ended) or (self.steps > 0 and 2 * step >= self.steps)

    def option(self, name: str) -> str | None:
        """The dotted name of the config's field of this name, or else of its network's; None where there is none."""
        inner = (dotted for dotted in self.options if dotted.rpartition(".")[2] == name)
        return name if name in self.options else next(inner, None)

    def advice(self, *remedies: "Remedy | str") -> str:
        """The remedies as a sentence: those with an option of this run's experiment by that option, and first."""
        words = [remedy if isinstance(remedy, str) else remedy.said(self) for remedy in remedies]
        own = [word for word in words if word.startswith("--")]
        return "; ".join([*own, *(word for word in words if word and word not in own)])


class Remedy(NamedTuple):
    """A remedy that an option of the experiment may stand for."""

    option: str  # the field's name, or names that it may have, with bars between
    change: str  # "lower", "raise" or the value to set
    otherwise: str  # what to do where the experiment has no such option; "" for nothing

    def said(self, facts: Facts) -> str:
        """The option with the change; what to do otherwise; or nothing, where that is done already."""
        for name in filter(None, map(facts.option, self.option.split("|"))):
            value, words = facts.options[name], facts.choices.get(name, ())
            flag = f"--{name.replace('_', '-')}"
            if self.change in ("lower", "raise"):
                if isinstance(value, bool) or not isinstance(value, int | float):
                    continue
                if self.change == "raise":
                    return f"{flag} above {value:g}"
                least = 1 if isinstance(value, int) else 0  # of a count, and of a rate or weight
                return f"{flag} below {value:g}" if value > least else ""
            if _is_set(value, self.change):
                return ""
            if not words or self.change in words:
                return f"{flag} {self.change}"
        return self.otherwise


def _is_set(value: Any, change: str) -> bool:
    """Whether an option has this value, or as a number any but 0 and 1, which switch such options off."""
    if isinstance(value, int | float):
        return value not in (0, 1) or str(value) in (change, f"{change}.0")
    return str(value) == change


Look = Callable[[History, Facts], Finding | None]


@dataclass(frozen=True)
class Check:
    """One failure: what is looked at for it, and the function that looks."""

    name: str  # of the failure
    look: Look
    needs: str  # what must have been logged, in words
    sees: Callable[[History, Facts], bool]  # whether enough was
    while_training: bool = True  # whether `Watch` asks it: it does not accuse a training that is only young


def has(*names: str, rows: int) -> Callable[[History, Facts], bool]:
    """`Check.sees`: whether each of these metrics was logged so often."""
    return lambda history, facts: all(history.count(name) >= rows for name in names)
