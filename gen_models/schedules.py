"""Learning-rate schedules by name: the rate as a function of the number of updates done.

tx = optimizer("adamw", schedule("cosine", 1e-3, 10_000, warmup_steps=500))
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gen_models.errors import unknown

Scalar = float | Float[Array, ""]

# name -> the options that this schedule takes
_OPTIONS: dict[str, tuple[str, ...]] = {
    "constant": (),
    "cosine": ("end_fraction",),
    "linear": ("end_fraction",),
    "exponential": ("decay_rate",),
    "piecewise": ("boundaries", "decay_rate"),
}


def schedule(
    name: str = "constant",
    peak: Scalar = 1e-3,
    steps: int = 1,
    *,
    warmup_steps: int = 0,
    end_fraction: float = 0.0,
    decay_rate: float = 0.1,
    boundaries: Sequence[int] = (),
) -> optax.Schedule:
    """A learning rate as a function of the number of updates done.

    It takes a step as an int or as a scalar array of any numbers, such as the uint32 counters of other libraries.

    With T = steps - warmup_steps and t the steps since the warm-up:

    - "constant": peak;
    - "cosine": peak * (end + (1 - end) * (1 + cos(pi t / T)) / 2), where end is `end_fraction` (Loshchilov & Hutter,
      SGDR, 2017, eq. 5);
    - "linear": peak * (1 + (end - 1) * t / T);
    - "exponential": peak * decay_rate^(t / T);
    - "piecewise": peak, times `decay_rate` from each of `boundaries` on (steps of the whole run, warm-up included).

    After `steps` updates the cosine and the line stay at their end; the exponential goes on falling. The warm-up is a
    line in front of any of them: step s has the rate peak * (s + 1) / (warmup_steps + 1), so that the first update
    counts and the peak falls on step `warmup_steps`.

    Args:
      name: see above.
      peak: the highest rate; may be traced.
      steps: updates in the run, warm-up included.
      warmup_steps: updates before the peak.
      end_fraction: final rate over peak, for cosine and linear.
      decay_rate: factor, for exponential (over the whole run) and piecewise (at each boundary).
      boundaries: rising steps, for piecewise.

    Raises:
      ValueError: an unknown name, a value out of its range, or an option given that this schedule does not take.
    """
    _check_options(name, end_fraction, decay_rate, boundaries)
    if not 0 <= warmup_steps < steps:
        raise ValueError(f"warmup_steps must be 0 or more and below steps={steps}, got {warmup_steps}")
    if isinstance(peak, (int, float)) and not 0 <= peak < math.inf:
        raise ValueError(f"peak must be finite and at least 0, got {peak}")
    if list(boundaries) != sorted(set(boundaries)) or (len(boundaries) and boundaries[0] < warmup_steps):
        raise ValueError(f"boundaries must rise and not lie in the warm-up of {warmup_steps} steps, got {boundaries}")
    span = steps - warmup_steps

    def rate(step):
        # A float before anything is taken from it: a difference of unsigned steps would wrap around below 0.
        step = jnp.asarray(step).astype(jnp.float32)
        t = step - warmup_steps
        done = jnp.clip(t / span, 0.0, 1.0)
        if name == "cosine":
            fraction = end_fraction + (1 - end_fraction) * (1 + jnp.cos(math.pi * done)) / 2
        elif name == "linear":
            fraction = 1 + (end_fraction - 1) * done
        elif name == "exponential":
            fraction = decay_rate ** (t / span)
        elif name == "piecewise":
            fraction = decay_rate ** jnp.sum(step >= jnp.asarray(boundaries, jnp.float32))
        else:
            fraction = jnp.ones([])
        return peak * jnp.where(t < 0, (step + 1) / (warmup_steps + 1), fraction)

    return rate


def _check_options(name: str, end_fraction: float, decay_rate: float, boundaries: Sequence[int]) -> None:
    """Refuses an unknown schedule, an option that it does not take, and fractions out of their range."""
    if name not in _OPTIONS:
        raise unknown("schedule", name, _OPTIONS)
    given = {"end_fraction": end_fraction != 0.0, "decay_rate": decay_rate != 0.1, "boundaries": len(boundaries) > 0}
    for option, changed in given.items():
        if changed and option not in _OPTIONS[name]:
            takes = ", ".join(_OPTIONS[name]) or "none"
            raise ValueError(f"schedule {name!r} takes no {option}: its options are {takes}")
    if not 0 <= end_fraction <= 1:
        raise ValueError(f"end_fraction must be within 0 and 1, got {end_fraction}")
    if not 0 < decay_rate <= 1:
        raise ValueError(f"decay_rate must be above 0 and at most 1, got {decay_rate}")
