"""NIST's Statistical Reference Datasets for regression: data, start values and certified results, read from a folder.

https://www.itl.nist.gov/div898/strd (public domain). Linear sets are pairs of CSV files, `norris.csv` with y in front
and `norris_compare.csv` with the columns NIST-Beta, NIST-SE, NIST-RSD and NIST-RSquare; nonlinear sets are NIST's own
`.dat`. Numbers of linear sets are kept as the decimals that they are: float64 holds few of them exactly.
"""

import csv
import re
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

# name -> degree of the polynomial in the first variable; 0: all variables as they are
LINEAR = {
    "norris": 1,
    "pontius": 2,
    "noint1": 0,
    "noint2": 0,
    "filip": 10,
    "longley": 0,
    "wampler1": 5,
    "wampler2": 5,
    "wampler3": 5,
    "wampler4": 5,
    "wampler5": 5,
}
NO_INTERCEPT = ("noint1", "noint2")


class LinearSet(NamedTuple):
    """A linear set: the numbers as they are printed, and what NIST certifies, as the file has it."""

    name: str
    degree: int  # of the polynomial in x; 0: several variables
    intercept: bool
    y: tuple[Fraction, ...]
    x: tuple[tuple[Fraction, ...], ...]  # one row an example; one number where it is a polynomial
    coefficients: tuple[str, ...]  # certified, the intercept first; the file rounds them to 3 to 10 digits
    errors: tuple[str, ...]  # certified standard deviations of them
    deviation: str  # certified residual standard deviation

    def columns(self) -> list[list[Fraction]]:
        """The rows of the design, powers and the intercept's ones included, in exact numbers."""
        first = [Fraction(1)] if self.intercept else []
        if self.degree:
            return [first + [row[0] ** power for power in range(1, self.degree + 1)] for row in self.x]
        return [first + list(row) for row in self.x]


class NonlinearSet(NamedTuple):
    """A nonlinear set: data, two starts, and certified parameters with their standard deviations, in float64."""

    name: str
    y: Float[np.ndarray, "n"]
    x: Float[np.ndarray, "n d"]
    starts: Float[np.ndarray, "2 p"]
    parameters: Float[np.ndarray, "p"]
    errors: Float[np.ndarray, "p"]
    squares: float  # residual sum of squares


def nist_names(folder: str | Path) -> tuple[str, ...]:
    """The sets of a folder, linear ones in NIST's order or nonlinear ones by their names.

    Raises:
      ValueError: it has none.
    """
    linear = tuple(name for name in LINEAR if (Path(folder) / f"{name}_compare.csv").is_file())
    found = linear or tuple(sorted(path.stem for path in Path(folder).glob("*.dat")))
    if not found:
        raise ValueError(f"{folder} has no sets of NIST: give the folder with norris.csv or with Misra1a.dat")
    return found


def nist_linear(folder: str | Path, name: str) -> LinearSet:
    """One of the 11 linear sets.

    Raises:
      ValueError: an unknown name, or the folder lacks its files.
    """
    if name not in LINEAR:
        raise ValueError(f"unknown linear set of NIST {name!r}: known are {', '.join(LINEAR)}")
    rows, certified = (_csv(Path(folder) / f"{name}{ending}.csv") for ending in ("", "_compare"))
    degree = LINEAR[name]
    numbers = [[Fraction(word) for word in row.values()] for row in rows]
    x = tuple(tuple(row[1:2] if degree else row[1:]) for row in numbers)
    return LinearSet(
        name=name,
        degree=degree,
        intercept=name not in NO_INTERCEPT,
        y=tuple(row[0] for row in numbers),
        x=x,
        coefficients=tuple(row["NIST-Beta"] for row in certified),
        errors=tuple(row["NIST-SE"] for row in certified),
        deviation=certified[0]["NIST-RSD"],
    )


def nist_nonlinear(folder: str | Path, name: str) -> NonlinearSet:
    """One of the nonlinear sets, `name`.dat of the folder.

    Raises:
      ValueError: there is no such file, or it is not of NIST's form.
    """
    path = Path(folder) / f"{name}.dat"
    if not path.is_file():
        raise ValueError(f"{path} is not there: give the folder with NIST's nonlinear sets")
    text = path.read_text(encoding="latin-1")
    rows = re.findall(r"^\s*b\d+\s*=((?:\s+\S+){4})\s*$", text, re.M)
    squares = re.search(r"Residual Sum of Squares:\s+(\S+)", text)
    head, _, data = text.rpartition("Data:")
    if not rows or squares is None or not head:
        raise ValueError(f"{path} has no start values, certified values or data: get it from NIST again")
    table = np.array([[float(word) for word in row.split()] for row in rows])
    lines = data.splitlines()[1:]
    points = np.array([[float(word) for word in line.split()] for line in lines if line.strip()])
    return NonlinearSet(
        name, points[:, 0], points[:, 1:], table[:, :2].T, table[:, 2], table[:, 3], float(squares.group(1))
    )


def certified_digits(found: float, certified: float, most: float = 15.0) -> float:
    """-log10 of the relative error (absolute where 0 is certified): about how many digits agree, from 0 to `most`.

    McCullough, Assessing the Reliability of Statistical Software (1998), eq. 1; NaN where `found` is.
    """
    error = abs(found - certified) / (abs(certified) or 1.0)
    return float(np.clip(-np.log10(error), 0, most)) if error else most


def printed_as(exact: float, printed: str) -> bool:
    """Whether a number is what is printed, to within one unit of its last digit."""
    digits, _, power = printed.upper().partition("E")
    places = len(digits.partition(".")[2])
    unit = 10.0 ** (int(power or 0) - places)
    return abs(exact - float(printed)) <= 1.001 * unit


def _csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise ValueError(f"{path} is not there: give the folder with NIST's linear sets")
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [row for row in csv.DictReader(file) if any(row.values())]
