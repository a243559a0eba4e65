"""What a measure says. Imports no JAX."""

from typing import Literal, NamedTuple


class Figure(NamedTuple):
    """One measured number: its value, unit, what it was measured on, and which way is better."""

    name: str
    value: float
    unit: str
    measured_on: str  # data set, split, number of examples or draws
    spread: float | None = None  # standard error over examples
    note: str = ""  # what it is a bound on, how many samples, what it may not be compared with
    better: Literal["maximize", "minimize"] | None = None  # which way is better, where one is


AVERAGED = "averaged parameters"  # in the note of what was measured of them


def with_note(figure: Figure, more: str) -> Figure:
    """The figure, with more in its note."""
    return figure._replace(note=f"{figure.note}; {more}" if figure.note else more)


def without_note(figure: Figure, part: str) -> Figure:
    """The figure as it was before `with_note`; one without that part as it is."""
    return figure._replace(note="; ".join(each for each in figure.note.split("; ") if each != part))
