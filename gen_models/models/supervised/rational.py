"""Linear least squares in rational arithmetic: exact, slow, and what the fast forms are held against."""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

Rows = list[list[Fraction]]


class ExactFit(NamedTuple):
    """Exact coefficients of the columns, and squares of what are roots: no rounding but that of the last conversion."""

    coefficients: tuple[Fraction, ...]
    variances: tuple[Fraction, ...]  # squares of the standard errors
    variance: Fraction  # s^2: the sum of squared residuals over N - P


def rational_least_squares(columns: Sequence[Sequence[Fraction]], y: Sequence[Fraction]) -> ExactFit:
    """The solution of the normal equations by Gaussian elimination in rational numbers, of N rows and P columns.

    Args:
      columns: N rows of P numbers, that of an intercept among them; `Fraction("0.1")` is one tenth, which no float is.
      y: N targets.

    Raises:
      ValueError: there are no more rows than columns, rows of several lengths, or columns that depend on each other.
    """
    width = len(columns[0]) if columns else 0
    if len(columns) != len(y) or len(columns) <= width or width == 0:
        raise ValueError(f"{len(y)} targets and {len(columns)} rows of {width} columns: give more rows than columns")
    if any(len(row) != width for row in columns):
        raise ValueError(f"each row must have {width} numbers, as the first has, one for each column")
    products = [[sum(row[i] * row[j] for row in columns) for j in range(width)] for i in range(width)]
    slants = [sum(row[i] * target for row, target in zip(columns, y, strict=True)) for i in range(width)]
    identity = [[Fraction(int(i == j)) for j in range(width)] for i in range(width)]
    system = [[*map(Fraction, products[i]), Fraction(slants[i]), *identity[i]] for i in range(width)]
    solved = _eliminated(system)
    coefficients = tuple(row[width] for row in solved)
    fitted = [sum(a * b for a, b in zip(row, coefficients, strict=True)) for row in columns]
    squares = sum(((target - one) ** 2 for target, one in zip(y, fitted, strict=True)), Fraction(0))
    variance = squares / (len(y) - width)
    return ExactFit(coefficients, tuple(variance * solved[i][width + 1 + i] for i in range(width)), variance)


def _eliminated(system: Rows) -> Rows:
    """The rows with the identity in front, by Gauss and Jordan; the first columns are square."""
    for i in range(len(system)):
        pivot = next((row for row in range(i, len(system)) if system[row][i] != 0), None)
        if pivot is None:
            raise ValueError("the columns depend on each other: leave some out")
        system[i], system[pivot] = system[pivot], system[i]
        first = system[i][i]
        system[i] = [value / first for value in system[i]]
        for row in range(len(system)):
            factor = system[row][i]
            if row != i and factor:
                system[row] = [one - factor * other for one, other in zip(system[row], system[i], strict=True)]
    return system
