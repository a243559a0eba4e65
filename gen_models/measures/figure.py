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
