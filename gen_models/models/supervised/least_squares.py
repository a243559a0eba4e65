"""Linear least squares in closed form, by stable factorisations in float64 on the host, with standard errors.

With X [N, D], a column of ones in front of it (unless `intercept` is false), and Y [N, K], the coefficients minimise

    |Y - X W - b|^2 + ridge |W|^2                       (b is not penalised)

by Householder's QR of the columns, each divided by a power of two near its norm; a ridge is rows sqrt(ridge) I below
the others (Golub & Van Loan, Matrix Computations (2013), sections 5.3 and 6.1.4). The normal equations X'X, whose
condition is the square of that of X, are never formed. Coefficients and residuals are then refined together (Bjoerck,
1967), by residuals of twice the precision (Ogita, Rump & Oishi, Accurate Sum and Dot Product, 2005), so that they are
those of the numbers as they are given, to about the last digit where QR leaves half of them. Without a ridge and with
normal errors of one deviation (Seber & Lee, Linear Regression Analysis (2003), sections 3.3, 4.2, 5.2 and 5.3):

    s^2 = |residuals|^2 / (N - P)         P coefficients
    standard errors                       s sqrt(diag((X'X)^-1)), by the rows of R^-1
    the mean at x, 1 - alpha              x'w +- t s sqrt(x' (X'X)^-1 x)
    a new y at x                          x'w +- t s sqrt(1 + x' (X'X)^-1 x)

Where powers of x are no float64, their rounding alone would cost what their condition is, 10^15 of degree 10 on
[-9, -3]. So polynomials are then fitted in polynomials that are orthogonal on the data (Forsythe, 1957: a recurrence
of three terms), and their coefficients are taken to powers of x in rational arithmetic, which rounds once.
"""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

Numbers = Float[np.ndarray, "..."]
Given = Real[np.ndarray, "..."]  # whose shape is checked, with an error that says what is wanted


class LeastSquares(NamedTuple):
    """Coefficients and what is known of their errors, all in float64; errors are NaN of a ridge, which is biased."""

    kernel: Float[np.ndarray, "d k"]  # W
    bias: Float[np.ndarray, "k"]  # b; 0 without an intercept
    kernel_errors: Float[np.ndarray, "d k"]  # standard errors of W
    bias_errors: Float[np.ndarray, "k"]  # and of b; 0 without an intercept
    deviation: Float[np.ndarray, "k"]  # s, the residual standard deviation, in the unit of y
    r2: Float[np.ndarray, "k"]  # share of the variance explained, NaN of equal y; without an intercept, of sums of y^2
    freedom: int  # N - P, degrees of freedom of the residuals
    root: Float[np.ndarray, "p p"]  # U with (X'X)^-1 = U U', of the columns (1, x) or x
    intercept: bool

    def predict(self, x: Real[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """x W + b."""
        return np.asarray(x, np.float64) @ self.kernel + self.bias

    def confidence_interval(self, x: Real[np.ndarray, "n d"], level: float = 0.95) -> tuple[Numbers, Numbers]:
        """Ends [N, K] of the interval that holds the mean of y at x with probability `level`, of normal errors.

        Raises:
          ValueError: the fit has a ridge or no degrees of freedom, or the level is not between 0 and 1.
        """
        return self._interval(x, level, 0.0)

    def prediction_interval(self, x: Real[np.ndarray, "n d"], level: float = 0.95) -> tuple[Numbers, Numbers]:
        """Ends [N, K] of the interval that holds a new y at x with probability `level`, of normal errors.

        Raises:
          ValueError: as `confidence_interval`.
        """
        return self._interval(x, level, 1.0)

    def _interval(self, x: Any, level: float, own: float) -> tuple[Numbers, Numbers]:
        if not 0 < level < 1:
            raise ValueError(f"a level is a probability between 0 and 1, got {level}")
        if not np.isfinite(self.deviation).all():
            raise ValueError("a ridge, or as many coefficients as examples, has no intervals: fit more examples, l2=0")
        x = np.asarray(x, np.float64)
        rows = np.concatenate([np.ones((len(x), 1)), x], 1) if self.intercept else x
        leverage = ((rows @ self.root) ** 2).sum(1)[:, None]  # x' (X'X)^-1 x
        half = stats.t.ppf((1 + level) / 2, self.freedom) * self.deviation * np.sqrt(own + leverage)
        middle = self.predict(x)
        return middle - half, middle + half


def least_squares(x: Given, y: Given, *, ridge: float = 0.0, intercept: bool = True) -> LeastSquares:
    """The least-squares fit of y by x; see the module's docstring.

    Args:
      x: [N, D], one example a row, of any real type.
      y: [N, K], as many targets; [N] is [N, 1].
      ridge: weight of |W|^2 beside the sum of squares; scikit-learn's alpha.
      intercept: whether there is a bias.

    Raises:
      ValueError: shapes that do not fit, numbers that are not finite, a negative ridge, fewer examples than
        coefficients, or columns that depend on each other while there is no ridge.
    """
    x, y = _checked(x, y)
    if not 0 <= ridge < np.inf:
        raise ValueError(f"a ridge is 0 or more and finite, got {ridge}")
    columns = np.concatenate([np.ones((len(x), 1)), x], 1) if intercept else x
    penalty = np.full(columns.shape[1], ridge)
    penalty[: int(intercept)] = 0
    coefficients, residual, root = _solved(columns, y, penalty)
    return _described(residual, y, coefficients, root, intercept, biased=ridge > 0)


def polynomial_least_squares(x: Given, y: Given, degree: int, *, intercept: bool = True) -> LeastSquares:
    """The least-squares polynomial of one variable: kernel row d - 1 is the coefficient of x^d, the bias that of x^0.

    `predict` of the result takes the powers x, ..., x^degree (`powers`), whose sum may cancel: of values at x, and not
    of coefficients, prefer `np.polynomial`'s fit in a scaled variable.

    Args:
      x: [N], one number an example.
      y: [N, K], targets; [N] is [N, 1].
      degree: the highest power, 1 or more.
      intercept: whether the polynomial has a constant; without one, powers are used as they are.

    Raises:
      ValueError: as `least_squares`; the degree is below 1; or x has too few different values for it.
    """
    if degree < 1:
        raise ValueError(f"a polynomial's degree is 1 or more, got {degree}")
    number, y = _checked(np.asarray(x).reshape(-1, 1), y)
    if len(np.unique(number)) < degree + int(intercept):
        raise ValueError(f"x has {len(np.unique(number))} different values, too few for degree {degree}: lower it")
    if not intercept or ((number == np.round(number)).all() and np.abs(number).max() ** degree <= 2**53):
        return least_squares(powers(number[:, 0], degree), y, intercept=intercept)
    values, in_powers = _orthogonal(number[:, 0], degree)
    fitted, residual, root = _solved(values, y, np.zeros(degree + 1))
    return _described(
        residual, y, _exact_product(in_powers, fitted), _exact_product(in_powers, root), True, biased=False
    )


def powers(x: Real[np.ndarray, "n"], degree: int) -> Float[np.ndarray, "n degree"]:
    """The columns x, x^2, ..., x^degree in float64."""
    return np.asarray(x, np.float64).reshape(-1, 1) ** np.arange(1, degree + 1)


def _checked(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    y = y[:, None] if y.ndim == 1 else y
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or 0 in x.shape or 0 in y.shape:
        raise ValueError(f"x must be [N, D] and y [N] or [N, K], got {list(x.shape)} and {list(y.shape)}")
    for name, values in (("x", x), ("y", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {int((~np.isfinite(values)).sum())} values that are not finite: repair them")
    return x, y


def _solved(columns: np.ndarray, y: np.ndarray, penalty: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients [P, K], residuals [N, K], and U [P, P] with (X'X + diag(penalty))^-1 = U U'."""
    count, width = columns.shape
    penalised = np.flatnonzero(penalty)
    extra = np.zeros((len(penalised), width))
    extra[np.arange(len(penalised)), penalised] = np.sqrt(penalty[penalised])
    rows = np.concatenate([columns, extra])
    if len(rows) < width:
        raise ValueError(f"{count} examples do not determine {width} coefficients: give more examples, or a ridge (l2)")
    norms = np.linalg.norm(rows, axis=0)
    scale = np.exp2(np.round(np.log2(np.where(norms > 0, norms, 1))))  # a division by a power of two rounds nothing
    rows = rows / scale
    q, r = np.linalg.qr(rows)
    values = np.linalg.svd(r, compute_uv=False)
    if values[-1] <= np.finfo(float).eps * len(rows) * values[0]:
        raise ValueError(
            f"the {width} columns (with that of the intercept) depend on each other: leave some out, or give a ridge "
            "(l2)"
        )
    target = np.concatenate([y, np.zeros((len(extra), y.shape[1]))])
    found = [_refined(rows, q, r, one) for one in target.T]
    coefficients, residual = (np.stack(part, 1) for part in zip(*found, strict=True))
    return coefficients / scale[:, None], residual[:count], np.linalg.inv(r) / scale[:, None]


def _refined(rows: np.ndarray, q: np.ndarray, r: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients [P] and residuals [N] of one target, by Bjoerck's refinement of rows c + e = y, rows' e = 0."""
    coefficients, residual = np.zeros(rows.shape[1]), np.zeros(len(y))
    for _ in range(4):  # the first is the plain solution by QR; each that follows adds the digits that QR has
        high, low = _products(rows, coefficients)
        left = _sum_of(np.concatenate([y[:, None], -residual[:, None], -high, -low], 1).T)
        slant = -_sum_of(np.concatenate(_products(rows.T, residual), 1).T)
        step = q.T @ left - np.linalg.solve(r.T, slant)
        coefficients = coefficients + np.linalg.solve(r, step)
        residual = residual + (left - q @ step)
    return coefficients, residual


def _products(matrix: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """matrix * vector, entry by entry, as rounded products and what rounding took (Dekker, 1971)."""

    def halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        large = 134217729.0 * values  # 2^27 + 1
        high = large - (large - values)
        return high, values - high

    product = matrix * vector
    (a, b), (c, d) = halves(matrix), halves(vector)
    return product, b * d - (((product - a * c) - b * c) - a * d)


def _sum_of(terms: np.ndarray) -> np.ndarray:
    """The sum over the first axis, in twice the precision, by pairs; each addition's error is kept (Knuth)."""
    high, low = terms, np.zeros_like(terms)
    while len(high) > 1:
        if len(high) % 2:
            high, low = (np.concatenate([part, np.zeros_like(part[:1])]) for part in (high, low))
        one, other = high[0::2], high[1::2]
        both = one + other
        own = both - one
        low = low[0::2] + low[1::2] + ((one - (both - own)) + (other - own))
        high = both
    return high[0] + low[0]


def _described(residual, y, coefficients, root, intercept: bool, *, biased: bool) -> LeastSquares:
    """The fit with its residuals' deviation and its errors."""
    freedom = len(y) - len(coefficients)
    squares = (residual**2).sum(0)
    deviation = np.full(y.shape[1], np.nan) if biased or freedom < 1 else np.sqrt(squares / freedom)
    errors = deviation * np.sqrt((root**2).sum(1))[:, None]
    total = ((y - y.mean(0)) ** 2).sum(0) if intercept else (y**2).sum(0)
    # The mean of equal numbers is rounded, so that their sum of squares need not be 0: they are told by comparison.
    nothing = (y == y[0]).all(0) if intercept else total == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(nothing, np.nan, 1 - squares / total)
    zero, first = np.zeros(y.shape[1]), int(intercept)
    return LeastSquares(
        kernel=coefficients[first:],
        bias=coefficients[0] if intercept else zero,
        kernel_errors=errors[first:],
        bias_errors=errors[0] if intercept else zero,
        deviation=deviation,
        r2=r2,
        freedom=freedom,
        root=root,
        intercept=intercept,
    )


def _orthogonal(x: np.ndarray, degree: int) -> tuple[np.ndarray, list[list[Fraction]]]:
    """Values [N, degree + 1] at x of polynomials that are orthogonal on x, and their coefficients in powers of x.

    They are p_0 = 1 and p_k+1 = (t - a_k) p_k - b_k p_k-1 with t = (x - centre) / width. The second result is
    [power][polynomial], exact for the rounded centre, width, a and b.
    """
    centre, width = (x.max() + x.min()) / 2, (x.max() - x.min()) / 2
    t = (x - centre) / width
    values = [np.ones_like(x)]
    shift, slope = Fraction(float(centre)), 1 / Fraction(float(width))
    exact = [[Fraction(1)] + [Fraction(0)] * degree]
    before, before_exact, b = np.zeros_like(x), [Fraction(0)] * (degree + 1), 0.0
    for _ in range(degree):
        now, now_exact = values[-1], exact[-1]
        norm = now @ now
        a = float((t * now) @ now / norm)
        following = (t - a) * now - b * before
        of_power = [
            slope * ((now_exact[k - 1] if k else 0) - shift * now_exact[k])
            - Fraction(a) * now_exact[k]
            - Fraction(b) * before_exact[k]
            for k in range(degree + 1)
        ]
        b = float(following @ following / norm)
        before, before_exact = now, now_exact
        values.append(following)
        exact.append(of_power)
    return np.stack(values, 1), [[polynomial[k] for polynomial in exact] for k in range(degree + 1)]


def _exact_product(left: list[list[Fraction]], right: np.ndarray) -> np.ndarray:
    """left @ right in rational arithmetic, rounded once."""
    columns = [[Fraction(float(value)) for value in column] for column in right.T]

    def entry(row: list[Fraction], column: list[Fraction]) -> float:
        return float(sum(one * other for one, other in zip(row, column, strict=True)))

    return np.array([[entry(row, column) for column in columns] for row in left])
