"""Rows that train equally long: by steps, by examples or by the clock. Imports no JAX."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gen_models.run import console
from gen_models.run.config import Experiment, InputError
from gen_models.sweep import plan as plans
from gen_models.sweep.plan import Plan, Row
from gen_models.sweep.runner import Runner


def of_equal_budget(rows: Sequence[Row], budget: Sequence[str] | None) -> tuple[tuple[Row, ...], str]:
    """Rows whose steps fit the budget, and the budget in words.

    Args:
      rows: with the steps of their variants.
      budget: a whole number above 0 and its unit, "steps", "examples" or "seconds"; None: the rows stay as they are.

    Raises:
      InputError: the budget is less than one batch of some row.
    """
    if budget is not None:
        number, unit = int(budget[0]), budget[1]
        if unit == "seconds":  # how many steps these are is measured later: `by_the_clock`
            return tuple(rows), f"{number:,} seconds of training each"
        each = [number if unit == "steps" else number // row.config.batch_size for row in rows]
        if min(each) < 1:
            raise InputError(f"--budget {number} {unit} is less than one batch")
        rows = [_with_steps(row, steps) for row, steps in zip(rows, each, strict=True)]
    return tuple(rows), in_words(rows)


def in_words(rows: Sequence[Row]) -> str:
    """How long each row trains, such as "5,000 steps each of 128 examples"."""
    steps = {row.config.steps for row in rows}
    sizes = {row.config.batch_size for row in rows}
    examples = {row.config.steps * row.config.batch_size for row in rows}
    if len(steps) == 1:
        words = f"{steps.pop():,} steps each"
        return words + (f" of {sizes.pop():,} examples" if len(sizes) == 1 else ", of batches that differ")
    if max(examples) - min(examples) <= max(sizes):
        return f"{max(examples):,} examples each"
    return "not equal: " + ", ".join(f"{row.label} {row.config.steps:,} steps" for row in rows)


def by_the_clock(experiment: Experiment, plan: Plan, seconds: float) -> Plan:
    """The plan with as many steps for each row as fit in the seconds, by the speed of a few steps of a run by itself.

    They are kept in `sweep.json`: the same command goes on with the same steps, whatever the machine does then.
    """
    if (plan.folder / "sweep.json").exists():
        old = plans.saved(plan.folder, type(plan.rows[0].config))
        known = {row.label: row.config.steps for row in old.rows}
        if old.budget.startswith(f"{plan.budget}, ") and set(known) >= {row.label for row in plan.rows}:
            rows = tuple(_with_steps(row, known[row.label]) for row in plan.rows)
            return plan._replace(rows=rows, budget=old.budget)
    steps: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Runner(experiment, Path(folder), "one", 1, console.say) as runner,
    ):
        for row in plan.rows:
            group = plans.group_of(row.config)
            if group not in steps:
                choice = runner.estimated([plans.planned(plan.folder, row, plan.seeds[0])])
                steps[group] = max(1, int(seconds / choice.seconds["one"]))
    rows = tuple(_with_steps(row, steps[plans.group_of(row.config)]) for row in plan.rows)
    each = ", ".join(f"{row.label} {row.config.steps:,}" for row in rows)
    return plan._replace(rows=rows, budget=f"{plan.budget}, at the speed of a few steps: {each} steps")


def _with_steps(row: Row, steps: int) -> Row:
    return row._replace(config=dataclasses.replace(row.config, steps=steps))
