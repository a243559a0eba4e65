"""From options to the runs of a sweep. Imports no JAX."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gen_models.errors import unknown
from gen_models.run import arguments, console
from gen_models.run.config import INCIDENTAL, Experiment, InputError
from gen_models.run.directory import Request, check_run, open_run, steps_before
from gen_models.run.fields import field_names, names_marked, value_of
from gen_models.sweep import plan as plans
from gen_models.sweep.budget import of_equal_budget
from gen_models.sweep.endings import ended_before
from gen_models.sweep.options import FREE, is_search, parser
from gen_models.sweep.plan import Plan, Row

SEEDS = 3  # runs of each row, unless --seeds says how many


def plan_of(experiment: Experiment, options: argparse.Namespace, rest: Sequence[str]) -> Plan:
    """The runs that the options ask for.

    Args:
      experiment: whose runs.
      options: as `options.read` gives them.
      rest: the other words: fields of every run.

    Raises:
      InputError: an option or a field is wrong.
    """
    folder = experiment.folder if options.run_dir is None else Path(options.run_dir)
    if options.add_seeds is not None:
        return _longer(experiment, options, rest, folder)
    variants = _variants(experiment, options)
    points = _points(experiment, variants, options, rest)
    flags = {variant: _flags(experiment.variants[variant]) for variant in variants}
    rows = plans.rows_of(
        variants, points, lambda variant, words: arguments.parse(experiment, variant, [*rest, *words]), flags
    )
    rows, budget = of_equal_budget(rows, options.budget)
    for row in rows:
        validate(row)
    labels = [row.label for row in rows]
    base = labels[0] if options.base is None else options.base
    if base not in labels:
        raise InputError(unknown("row", base, labels))
    seeds = tuple(range(SEEDS if options.seeds is None else options.seeds))
    return Plan(experiment.name, folder, rows, seeds, base, budget, "")


def validate(row: Row) -> None:
    """Raises InputError for a row's config that cannot be trained in a sweep."""
    try:
        arguments.validate(row.config)
    except ValueError as error:
        raise InputError(f"{row.label}: {error}") from error
    alone = [name for name in ("coordinator", "processes", "process_id") if getattr(row.config, name) is not None]
    if alone:
        raise InputError(f"--{alone[0].replace('_', '-')} is for one run over several hosts: a sweep has --launcher")


def refuse_other_configs(experiment: Experiment, plan: Plan) -> None:
    """Raises InputError where a directory of the plan holds another run."""
    for run in plan.runs():
        try:
            check_run(Request(experiment, run.variant, run.config, run.folder))
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from error


def of_other_lengths(experiment: Experiment, plan: Plan) -> list[Request]:
    """The plan's runs that are there and were asked for with fewer steps, or another `--early-stopping`."""
    asked = [Request(experiment, run.variant, run.config, run.folder) for run in plan.runs()]
    return [request for request in asked if steps_before(request) is not None]


def go_on(asked: Sequence[Request], judged: bool) -> None:
    """Have runs go on for longer, each from where it is: a result that it has stays beside it.

    Args:
      asked: what `of_other_lengths` gave.
      judged: whether the sweep is a search or successive halving, whose rows were chosen by runs of as many steps.

    Raises:
      InputError: the sweep is such a one; or a run is in use by another process, or cannot be written.
    """
    if asked and judged:
        raise InputError(
            f"{asked[0].folder} was trained for {steps_before(asked[0])} steps, and rows that are judged must all be "
            "of as many: choose another --run-dir, or repeat the old --steps and --early-stopping"
        )
    for request in asked:
        try:
            with open_run(request):
                pass
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from error
    if asked:
        console.say(f"{len(asked)} runs go on for longer; results that they have stay there as result_at_STEP.json")


def _variants(experiment: Experiment, options: argparse.Namespace) -> list[str]:
    """The variants asked for; a search has one, by default the first."""
    swept = list(experiment.swept or experiment.variants)
    asked = list(dict.fromkeys(options.variants))
    if strange := [name for name in asked if name not in experiment.variants]:
        raise InputError(unknown("variant", strange[0], experiment.variants))
    if is_search(options) and len(asked) > 1:
        if asked != swept:
            raise InputError("--random and --bayes search around one variant: give one to --variants")
        return asked[:1]
    return asked


def _points(
    experiment: Experiment, variants: Sequence[str], options: argparse.Namespace, rest: Sequence[str]
) -> list[dict[str, str]]:
    """The points of --grid, whose fields every variant must have."""
    fields = {variant: grid_fields(experiment.variants[variant]) for variant in variants}
    points = plans.grid_points(options.grid, list(dict.fromkeys(name for own in fields.values() for name in own)))
    for name in points[0]:
        if lacking := [variant for variant, own in fields.items() if name not in own]:
            raise InputError(f"the variant {lacking[0]} has no field {name}: leave it out, with --variants")
    if options.budget and ("steps" in points[0] or any(word.startswith("--steps") for word in rest)):
        raise InputError("--budget says how many steps there are: leave out --steps, and steps in --grid")
    return points


def grid_fields(config: Any) -> list[str]:
    """Dotted names of the fields that rows may differ in: those that shape a result, but for the seed."""
    incidental = names_marked(config, INCIDENTAL)
    return [name for name in field_names(config) if name != "seed" and name not in incidental]


def _flags(config: Any) -> list[str]:
    """Dotted names of the fields that are true or false."""
    return [name for name in field_names(config) if isinstance(value_of(config, name), bool)]


def _longer(experiment: Experiment, options: argparse.Namespace, rest: Sequence[str], folder: Path) -> Plan:
    """The sweep in the folder with more seeds; while runs of it are missing, the sweep as it is."""
    untouched = parser(experiment).parse_args([])
    named = [name for name, value in vars(options).items() if name not in FREE and value != getattr(untouched, name)]
    if rest or named:
        which = rest[0] if rest else f"--{named[0].replace('_', '-')}"
        raise InputError(f"--add-seeds goes on with the sweep in the folder, which says what it is: leave out {which}")
    plan = plans.saved(folder, experiment.config_class)
    if not plans.is_complete(folder):
        console.say("the sweep in the folder is not complete and is finished first: then ask for more seeds again")
        return plan
    dropped = {run.label for run in plan.runs() if (ended := ended_before(run.folder)) and ended.status == "dropped"}
    if dropped:
        console.say(f"rows that successive halving dropped get no more seeds: {', '.join(sorted(dropped))}")
        plan = plan._replace(rows=tuple(row for row in plan.rows if row.label not in dropped))
    more = range(max(plan.seeds) + 1, max(plan.seeds) + 1 + options.add_seeds)
    return plan._replace(seeds=(*plan.seeds, *more))
