"""Interleaved rounds and the ratios of their times. Imports no JAX.

Absolute times say little on a machine whose speed changes from minute to minute. Within a round the contenders run one
after another, so that what slows one slows the others too, and the ratio of their times stays.
"""

import math
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from . import Contender

WARM_UP = 3  # calls before the first round: compilation, then allocations


def measure(
    contenders: Mapping[str, Contender],
    rounds: int,
    *,
    seconds: float = 0.3,
    settle: bool = True,
    warm_up: bool = True,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    after_round: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds a training step, one number a round for each contender.

    Args:
      contenders: by name.
      rounds: in each, every contender has one turn, in random order.
      seconds: how long a turn lasts, by what the contender's last call of the warm-up took; at least one call.
      settle: a turn begins with a call that is not timed, as caches and waking threads are left from the one before.
      warm_up: calls go before the first round; without them a turn is one call.
      seed: of the order.
      clock: in seconds.
      after_round: called after each round.

    Raises:
      ValueError: a loss is not finite: such a step's time means nothing.
    """
    draw, calls = random.Random(seed), {}
    for name, contender in contenders.items():
        took = 0.0
        for _ in range(0 if not warm_up else WARM_UP if settle else 1):
            start = clock()
            contender.run()
            took = clock() - start
        calls[name] = max(1, math.ceil(seconds / took)) if took > 0 else 1
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name in draw.sample(list(contenders), len(contenders)):
            contender = contenders[name]
            if settle:
                contender.run()
            start = clock()
            for _ in range(calls[name]):
                loss = contender.run()
            times[name].append((clock() - start) / (calls[name] * contender.steps))
            if not math.isfinite(float(loss)):
                raise ValueError(f"{name} diverged: its loss is {float(loss)}, and the time of such steps says nothing")
        after_round()
    return times


def rows(
    case: str,
    times: Mapping[str, list[float]],
    machine: Mapping[str, Any],
    derived: Mapping[str, tuple[Any, Any]] | None = None,
) -> list[dict[str, Any]]:
    """A row for each contender that the first, which is ours, is compared with, then one for each entry of `derived`.

    "ratio" is the median over rounds of (time of "against") / (time of ours): above 1, ours is faster. "ratio_low" and
    "ratio_high" are its quartiles; "median_ms" and "against_ms" are medians, in milliseconds a training step. An entry
    of `derived` is (ratio, seconds of the other), in each round.
    """
    ours, *others = times
    ratios = {other: (np.asarray(times[other]) / np.asarray(times[ours]), times[other]) for other in others}
    found = []
    for other, (each, seconds) in {**ratios, **(derived or {})}.items():
        low, middle, high = (float(q) for q in np.quantile(each, (0.25, 0.5, 0.75)))
        found.append(
            {
                "name": case,
                "median_ms": float(np.median(times[ours])) * 1e3,
                "against": other,
                "ratio": middle,
                "rounds": len(each),
                "ratio_low": low,
                "ratio_high": high,
                "against_ms": float(np.median(seconds)) * 1e3,
                "machine": dict(machine),
            }
        )
    return found
