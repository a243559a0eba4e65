"""Rows judged by the validation split: searches, whose points Optuna draws, and successive halving. Imports no JAX."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from gen_models.run.config import InputError
from gen_models.run.directory import Run
from gen_models.sweep import plan as plans
from gen_models.sweep import search as searches
from gen_models.sweep.budget import in_words
from gen_models.sweep.collect import record_of
from gen_models.sweep.endings import Ending, ended_before
from gen_models.sweep.options import is_search
from gen_models.sweep.plan import Plan, PlannedRun, Row
from gen_models.sweep.planning import grid_fields, validate
from gen_models.sweep.report.study import RunRecord
from gen_models.sweep.runner import Runner
from gen_models.sweep.search import Objective, Search
from gen_models.sweep.space import Space, space_of


def space_asked(options: argparse.Namespace, plan: Plan) -> Space | None:
    """The fields that a search draws; None where there is no search.

    Raises:
      InputError: a field is unknown or has no range; or halving is asked for, of rows with different numbers of steps.
    """
    if options.halving and len(steps := {row.config.steps for row in plan.rows}) > 1:
        raise InputError(f"--halving needs rows of as many steps each: they have {sorted(steps)}; give --steps")
    if options.halving and any(row.config.early_stopping for row in plan.rows):
        raise InputError("--halving says itself how far each row is trained: leave out --early-stopping")
    if not is_search(options) or options.add_seeds is not None:
        return None
    config = plan.rows[0].config
    space = space_of(config, options.search, grid_fields(config))
    if "steps" in space:
        raise InputError("--search steps: rows of other lengths are no fair comparison; leave it out")
    return space


def search_of(options: argparse.Namespace, plan: Plan, space: Space, objective: Objective) -> Search:
    """What is searched: points of the space around the plan's only row."""
    kind, row = "random" if options.random else "bayes", plan.rows[0]
    return Search(kind, options.random or options.bayes, space, objective, options.storage, row.variant, row.config)


def objective_of(options: argparse.Namespace, runner: Runner) -> Objective:
    """The metric by which rows are judged: as asked for, else as the runner's workers say after `Runner.check`.

    Raises:
      InputError: neither names one.
    """
    found = runner.objective if options.objective is None else tuple(options.objective)
    if found is None:
        raise InputError(
            "name what to judge by: --objective METRIC maximize, a metric of the validation split; with --train-split "
            "train+validation there is none"
        )
    return found


def searching(plan: Plan, search: Search, runner: Runner) -> tuple[Plan, dict[Path, Ending]]:
    """Train the plan's row and the search's trials; returns the plan with them as rows, the best first."""
    endings = runner.train(plan.runs())
    failed: set[str] = set()  # trials that the same command tries again another time
    while rows := [r for r in searches.rows(search, plan.folder, runner.at_once) if r.label not in failed]:
        for row in rows:
            validate(row)
        runs = [plans.planned(plan.folder, row, seed) for seed in plan.seeds for row in rows]
        endings |= runner.train(runs)
        for row in rows:
            own = _records(runs, row, endings)
            if any(record.status == "failed" for record in own):
                failed.add(row.label)
            else:
                searches.tell(search, plan.folder, row, [_score(one, search) for one in own])
    every = (*plan.rows, *searches.all_rows(search, plan.folder))
    plan = plan._replace(rows=every, budget=in_words(every))
    plans.save(plan)
    endings |= {run.folder: ending for run in plan.runs() if (ending := ended_before(run.folder)) is not None}
    return plan, endings


def _score(record: RunRecord, search: Search) -> float:
    """By what a run of a trial is judged: the value at the state that is measured."""
    return searches.score(record, search.objective, best=search.config.early_stopping > 0)


def halving(plan: Plan, eta: int, objective: Objective, runner: Runner) -> dict[Path, Ending]:
    """Successive halving (Jamieson & Talwalkar 2016): rounds of `eta` times as many steps for 1/`eta` of the rows.

    The base always goes on, so that the others can be compared with it. A row that is dropped says so, and after how
    many steps; schedules are those of whole runs.
    """
    whole, rows, endings = plan.rows[0].config.steps, list(plan.rows), dict[Path, Ending]()
    rounds = max(0, math.floor(math.log(len(rows), eta) + 1e-9))
    for number in range(rounds, 0, -1):
        until = max(1, whole // eta**number)
        runs = [plans.planned(plan.folder, row, seed) for seed in plan.seeds for row in rows]
        endings |= runner.train(runs, until)
        ranked, failed = _ranked(rows, runs, endings, objective, until)
        best = ranked[: -(-len(plan.rows) // eta ** (rounds - number + 1))]
        keep = {row.label for row in best} | {plan.base} | failed
        for rank, row in enumerate(ranked, 1):
            if row.label not in keep:
                message = f"dropped after {until:,} of {whole:,} steps: {rank} of {len(rows)} by {objective[0]}"
                endings |= _drop(row, runs, until, message)
        rows = [row for row in rows if row.label in keep]
    return endings | runner.train([plans.planned(plan.folder, row, seed) for seed in plan.seeds for row in rows])


def _ranked(
    rows: Sequence[Row], runs: Sequence[PlannedRun], endings: dict[Path, Ending], objective: Objective, until: int
) -> tuple[list[Row], set[str]]:
    """The rows by their means over seeds at the step `until`, the best first, and the labels of those that failed.

    A row with a failed run is not dropped, as a failure (a machine out of memory, say) does not tell how good the row
    is: the same command trains that run again another time.
    """
    scores: dict[str, float] = {}
    failed: set[str] = set()
    for row in rows:
        own = _records(runs, row, endings)
        scores[row.label] = sum(searches.score(record, objective, until) for record in own) / len(own)
        if any(record.status == "failed" for record in own):
            failed.add(row.label)
    sign = -1 if objective[1] == "maximize" else 1
    return sorted(rows, key=lambda r: (math.isnan(scores[r.label]), sign * scores[r.label])), failed


def _records(runs: Sequence[PlannedRun], row: Row, endings: dict[Path, Ending]) -> list[RunRecord]:
    return [record_of(run, endings.get(run.folder)) for run in runs if run.label == row.label]


def _drop(row: Row, runs: Sequence[PlannedRun], until: int, message: str) -> dict[Path, Ending]:
    """Write into the row's runs that they were dropped; those that have ended stay as they are."""
    dropped = [run for run in runs if run.label == row.label and ended_before(run.folder) is None]
    for run in dropped:
        Run(run.folder).stop("dropped", until, message)
    return {run.folder: Ending("dropped", message) for run in dropped}
