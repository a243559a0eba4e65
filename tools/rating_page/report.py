"""What raters said, in tables: error rates, preferences and strengths, each with two 95% intervals."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from gen_models.evaluation.ratings import Share, bradley_terry, error_rates, share, unbeaten_set
from gen_models.run.console import say, show_table

from .answers import Answer
from .plan import REAL, Plan

COLUMNS = ("share", "95%, over judgements", "95%, over raters", "count", "time")
FEW = 10  # raters below which intervals over raters are too narrow to be read alone


def show(plan: Plan, answers: Sequence[Answer]) -> None:
    """Print the report of a session.

    Raises:
      ValueError: there is no answer yet.
    """
    if not answers:
        raise ValueError("no answer has been given yet: open the page and give some")
    raters = {answer.rater for answer in answers}
    asked = len(raters) * len(plan.questions)
    say(f"{_counted(len(raters), 'rater')}, {len(answers):,} of {asked:,} answers, {_exposure(plan)}")
    (_show_errors if plan.asked.task == REAL else _show_preferences)(plan, answers)
    say("time: the median from when the images were shown to the answer")
    if 1 < len(raters) < FEW:
        say(f"with {len(raters)} raters the intervals over raters are too narrow: of both go by the wider one")


def _exposure(plan: Plan) -> str:
    return f"images shown for {plan.asked.show_ms} ms" if plan.asked.show_ms else "images shown until the answer"


def _columns(plan: Plan, answers: Sequence[Answer]) -> dict[str, Any]:
    """The answers as arrays [N]."""
    questions = {question.id: question for question in plan.questions}
    numbers = {name: number for number, name in enumerate(sorted({answer.rater for answer in answers}))}
    asked = [questions[answer.question] for answer in answers]
    return {
        "rater": np.array([numbers[answer.rater] for answer in answers]),
        "source": np.array([question.of for question in asked]),
        "real": np.array([question.real for question in asked]),
        "said": np.array([answer.answer for answer in answers]),
        "seconds": np.array([answer.milliseconds / 1000 for answer in answers]),
    }


def _show_errors(plan: Plan, answers: Sequence[Answer]) -> None:
    found = _columns(plan, answers)
    for number, name in enumerate(plan.names):
        own = found["source"][:, 0] == number
        if not own.any():
            say(f"{name}: no image has been judged yet")
            continue
        real, said = found["real"][own], found["said"][own] == "real"
        rates = error_rates(real, said, found["rater"][own], seed=plan.asked.seed)
        seconds = found["seconds"][own]
        kinds = [
            ("fakes as real", rates.fakes_as_real, seconds[~real]),
            ("reals as fake", rates.reals_as_fake, seconds[real]),
            ("all errors", rates.error, seconds),
        ]
        rows = [(title, *_cells(rate, times)) for title, rate, times in kinds]
        show_table(name, ("", *COLUMNS), rows, f"real images: {plan.reals[number]}")
    say("fakes as real: generated images that were taken for real ones; errors of 50% are those of guessing")


def _cells(rate: Share | None, seconds: np.ndarray) -> tuple[str, ...]:
    if rate is None:
        return ("none yet", "", "", "0", "")
    by_rater = "one rater" if rate.by_rater is None else _percent(*rate.by_rater)
    time = f"{np.median(seconds):.2f} s"
    return (f"{rate.share:.1%}", _percent(*rate.interval), by_rater, f"{rate.held} of {rate.total}", time)


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.1f} to {high:.1%}"


def _show_preferences(plan: Plan, answers: Sequence[Answer]) -> None:
    found = _columns(plan, answers)
    right = found["said"] == "right"
    rows_of = np.arange(len(right))
    winners, losers = found["source"][rows_of, right * 1], found["source"][rows_of, ~right * 1]
    rows = []
    for one, other in combinations(range(len(plan.names)), 2):
        met = (np.minimum(winners, losers) == one) & (np.maximum(winners, losers) == other)
        rate = share(winners[met] == one, found["rater"][met], seed=plan.asked.seed) if met.any() else None
        rows.append((f"{plan.names[one]} over {plan.names[other]}", *_cells(rate, found["seconds"][met])))
    where = f"real images: {plan.reals[0]}" if plan.reals else ""
    show_table("Preferences", ("", *COLUMNS), rows, where)
    if len(plan.names) > 2:
        _show_strengths(plan, winners, losers, found["rater"])


def _show_strengths(plan: Plan, winners: np.ndarray, losers: np.ndarray, raters: np.ndarray) -> None:
    wins = np.zeros((len(plan.names), len(plan.names)), np.int64)
    np.add.at(wins, (winners, losers), 1)
    if (unbeaten := unbeaten_set(wins)) is not None:
        names = ", ".join(plan.names[one] for one in unbeaten)
        say(
            f"no strengths of Bradley and Terry: they would be infinite, as none of the others was preferred to {names}"
        )
        return
    found = bradley_terry(winners, losers, raters, len(plan.names))
    rows = []
    for one in np.argsort(-found.strengths):
        by_rater = "one rater" if found.by_rater is None else _range(found.by_rater[one])
        rows.append((plan.names[one], _signed(found.strengths[one]), _range(found.intervals[one]), by_rater))
    caption = "log-strengths, whose mean is 0: a difference of 1 is preferred 73 times of 100"
    show_table("Strengths (Bradley and Terry)", ("", "log-strength", *COLUMNS[1:3]), rows, caption)


def _range(interval: np.ndarray) -> str:
    return f"{_signed(interval[0])} to {_signed(interval[1])}"


def _signed(value: float) -> str:
    return f"{round(float(value), 2) + 0.0:+.2f}"  # 0.0 has no minus


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
