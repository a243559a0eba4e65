"""Nonlinear regression: y = f(b, x) + e of few parameters b, by least squares with exact Jacobians in float64.

The minimum of |y - f(b, x)|^2 is sought by MINPACK's Levenberg-Marquardt (More, 1978), which SciPy's `least_squares`
has, with the Jacobian that JAX differentiates. As it stops where the sum of squares no longer falls, which is flat to
half of the digits, Gauss and Newton's steps then follow, which make J'r 0. Standard errors are those of the tangent
plane at the minimum, s sqrt(diag((J'J)^-1)), as statistics programs give them (Seber & Wild, Nonlinear Regression
(1989), section 5.1).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real
from scipy import optimize

from gen_models.core import Model
from gen_models.models.inputs import field, images
from gen_models.models.sizes import check_each

Curve = Callable[[Any, Any], Array]  # (b [P], x [N, D]) -> [N], of JAX's operations


class NonlinearFit(NamedTuple):
    """A minimum of the sum of squares, in float64."""

    parameters: Float[np.ndarray, "p"]
    errors: Float[np.ndarray, "p"]  # standard errors; NaN where the Jacobian has not full rank
    squares: float  # sum of squared residuals
    deviation: float  # residual standard deviation
    evaluations: int  # of f
    converged: bool  # whether a tolerance ended the search, and not the number of evaluations


def nonlinear_least_squares(
    curve: Curve,
    x: Real[np.ndarray, "n d"],
    y: Real[np.ndarray, "n"],
    start: Sequence[float] | Real[np.ndarray, "p"],
    *,
    evaluations: int = 20_000,
) -> NonlinearFit:
    """The minimum that is found from `start`, on the host in float64, whatever `jax_enable_x64` says.

    Args:
      curve: f(b, x), of JAX's operations.
      x: one example a row.
      y: as many targets.
      start: where the search begins.
      evaluations: of f at most.

    Raises:
      ValueError: shapes that do not fit, numbers that are not finite, fewer examples than parameters, or an f that is
        not finite at the start.
    """
    start, x, y = (np.asarray(each, np.float64) for each in (start, x, y))
    if x.ndim != 2 or y.shape != x.shape[:1] or start.ndim != 1 or not start.size:
        shapes = f"{list(x.shape)}, {list(y.shape)} and {list(start.shape)}"
        raise ValueError(f"x must be [N, D], y [N], and the start [P] with P of 1 or more, got {shapes}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x or y holds NaN or infinity: repair it")
    if len(y) < len(start):
        raise ValueError(f"{len(y)} examples do not determine {len(start)} parameters: give more examples")
    # An experiment calls its model again while its step is traced, where nothing else would be computed.
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        inputs, targets = jnp.asarray(x, jnp.float64), jnp.asarray(y, jnp.float64)

        def residual(b):
            return curve(b, inputs) - targets

        values = jax.jit(residual)
        slopes = jax.jit(jax.jacfwd(residual))

        def called(b):
            return np.asarray(values(b), np.float64)

        def jacobian(b):
            return np.asarray(slopes(b), np.float64)

        if not np.isfinite(called(start)).all():
            raise ValueError(f"the curve is not finite at the start {start}: give another")
        found = optimize.least_squares(
            called,
            start,
            jac=jacobian,
            method="lm",
            x_scale="jac",
            ftol=1e-15,
            xtol=1e-15,
            gtol=1e-15,
            max_nfev=evaluations,
        )
        best = _polished(called, jacobian, found.x)
        slope, squares = jacobian(best), float((called(best) ** 2).sum())
    freedom = len(y) - len(start)
    deviation = float(np.sqrt(squares / freedom)) if freedom else float("nan")
    scale = np.linalg.norm(slope, axis=0)
    scale[scale == 0] = 1
    _, singular, axes = np.linalg.svd(slope / scale, full_matrices=False)
    errors = np.full(len(start), np.nan)
    # Rounding leaves a singular value that should be 0 at about this much, and errors of 10^13 behind it.
    if singular[-1] > np.finfo(float).eps * len(y) * singular[0]:
        errors = deviation * np.sqrt(((axes.T / singular) ** 2).sum(1)) / scale
    return NonlinearFit(best, errors, squares, deviation, int(found.nfev), found.status > 0)


def _polished(called: Callable[..., Any], jacobian: Callable[..., Any], b: np.ndarray, steps: int = 10) -> np.ndarray:
    """b after steps of Gauss and Newton, as long as they shrink and the sum of squares does not rise."""
    squares, last = (called(b) ** 2).sum(), np.inf
    for _ in range(steps):
        slope = jacobian(b)
        scale = np.linalg.norm(slope, axis=0)
        scale[scale == 0] = 1
        step = -np.linalg.lstsq(slope / scale, called(b), rcond=None)[0]
        after, size = b + step / scale, float(np.linalg.norm(step))
        if not size < last or not (called(after) ** 2).sum() <= squares * (1 + 1e-12):
            break
        b, last = after, size
    return b


def nonlinear_regression(
    curve: Curve, start: Sequence[float] | Real[np.ndarray, "p"], shape: Sequence[int] = (1,)
) -> Model:
    """A model of y [B] by f(b, x), whose loss is the mean squared error; `apply(params, stats, x)` is f, [B].

    Its parameters {"b"} start at `start`: at a guess, to be trained by gradient, or at `nonlinear_least_squares`'
    `parameters`, where nothing is left to train. In float32.

    Args:
      curve: f(b, x) with x [B, D], of JAX's operations.
      start: [P], the first parameters.
      shape: (D,).

    Raises:
      ValueError: a size is not positive, or the start is no list of finite numbers.
    """
    check_each(shape=shape)
    first = np.asarray(start, np.float32)
    if first.ndim != 1 or not first.size or not np.isfinite(first).all():
        raise ValueError(f"a start is one or more finite numbers, got {start}")

    def init(key, batch):
        images(batch, shape)
        return {"b": jnp.asarray(first)}, {}

    def apply(params, stats, x):
        """f(b, x), [B]."""
        return curve(params["b"], images({"x": x}, shape)).astype(jnp.float32)

    def loss(params, stats, batch, key, *, step, train=True):
        """Mean squared error."""
        y = field(batch, "y", "the numbers that are to be predicted, as 'y'")
        found = apply(params, stats, batch["x"])
        if y.shape != found.shape:
            raise ValueError(f"'y' must be [{len(found)}] numbers, got {list(y.shape)}")
        value = ((found - y) ** 2).mean()
        return value, (stats, {"mean_squared_error": value})

    return Model(init, loss, apply=apply)
