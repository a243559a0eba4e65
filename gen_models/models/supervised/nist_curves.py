"""The curves f(b, x) of NIST's 27 nonlinear regressions, as their files have them: https://www.itl.nist.gov/div898/strd.

b is [P], x is [N, D], and f is [N]. Nelson's target is log y.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def _saturating(b: Any, x: Any) -> Array:
    return b[0] * (1 - jnp.exp(-b[1] * x[:, 0]))


def _chwirut(b: Any, x: Any) -> Array:
    return jnp.exp(-b[0] * x[:, 0]) / (b[1] + b[2] * x[:, 0])


def _two_peaks(b: Any, x: Any) -> Array:
    t = x[:, 0]
    first, second = (b[i] * jnp.exp(-(((t - b[i + 1]) / b[i + 2]) ** 2)) for i in (2, 5))
    return b[0] * jnp.exp(-b[1] * t) + first + second


def _cubic_over_cubic(b: Any, x: Any) -> Array:
    t = x[:, 0]
    return (b[0] + b[1] * t + b[2] * t**2 + b[3] * t**3) / (1 + b[4] * t + b[5] * t**2 + b[6] * t**3)


def _decays(b: Any, x: Any) -> Array:
    t = x[:, 0]
    return sum((b[i] * jnp.exp(-b[i + 1] * t) for i in (0, 2, 4)), jnp.zeros_like(t))


def _enso(b: Any, x: Any) -> Array:
    t = 2 * jnp.pi * x[:, 0]
    waves = ((12.0, b[1], b[2]), (b[3], b[4], b[5]), (b[6], b[7], b[8]))
    return b[0] + sum((c * jnp.cos(t / period) + s * jnp.sin(t / period) for period, c, s in waves), jnp.zeros_like(t))


def _roszman(b: Any, x: Any) -> Array:
    return b[0] - b[1] * x[:, 0] - jnp.arctan(b[2] / (x[:, 0] - b[3])) / jnp.pi


NIST_CURVES: Mapping[str, Callable[[Any, Any], Array]] = {
    "Bennett5": lambda b, x: b[0] * (b[1] + x[:, 0]) ** (-1 / b[2]),
    "BoxBOD": _saturating,
    "Chwirut1": _chwirut,
    "Chwirut2": _chwirut,
    "DanWood": lambda b, x: b[0] * x[:, 0] ** b[1],
    "ENSO": _enso,
    "Eckerle4": lambda b, x: b[0] / b[1] * jnp.exp(-0.5 * ((x[:, 0] - b[2]) / b[1]) ** 2),
    "Gauss1": _two_peaks,
    "Gauss2": _two_peaks,
    "Gauss3": _two_peaks,
    "Hahn1": _cubic_over_cubic,
    "Kirby2": lambda b, x: (b[0] + b[1] * x[:, 0] + b[2] * x[:, 0] ** 2) / (1 + b[3] * x[:, 0] + b[4] * x[:, 0] ** 2),
    "Lanczos1": _decays,
    "Lanczos2": _decays,
    "Lanczos3": _decays,
    "MGH09": lambda b, x: b[0] * (x[:, 0] ** 2 + x[:, 0] * b[1]) / (x[:, 0] ** 2 + x[:, 0] * b[2] + b[3]),
    "MGH10": lambda b, x: b[0] * jnp.exp(b[1] / (x[:, 0] + b[2])),
    "MGH17": lambda b, x: b[0] + b[1] * jnp.exp(-x[:, 0] * b[3]) + b[2] * jnp.exp(-x[:, 0] * b[4]),
    "Misra1a": _saturating,
    "Misra1b": lambda b, x: b[0] * (1 - (1 + b[1] * x[:, 0] / 2) ** -2),
    "Misra1c": lambda b, x: b[0] * (1 - (1 + 2 * b[1] * x[:, 0]) ** -0.5),
    "Misra1d": lambda b, x: b[0] * b[1] * x[:, 0] / (1 + b[1] * x[:, 0]),
    "Nelson": lambda b, x: b[0] - b[1] * x[:, 0] * jnp.exp(-b[2] * x[:, 1]),
    "Rat42": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x[:, 0])),
    "Rat43": lambda b, x: b[0] / (1 + jnp.exp(b[1] - b[2] * x[:, 0])) ** (1 / b[3]),
    "Roszman1": _roszman,
    "Thurber": _cubic_over_cubic,
}
