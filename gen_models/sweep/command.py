"""`python -m experiments.NAME sweep`: from options to runs, a table and a report. Imports no JAX."""

import argparse
import importlib
import shlex
import shutil
import tempfile
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gen_models.run import console
from gen_models.run.config import CANNOT_WRITE, FINISHED, INTERRUPTED, Experiment, InputError, Stopped
from gen_models.run.endings import signals
from gen_models.sweep import plan as plans
from gen_models.sweep import tuning
from gen_models.sweep.budget import by_the_clock
from gen_models.sweep.collect import collect
from gen_models.sweep.crew import Died
from gen_models.sweep.endings import Ending, ended_before
from gen_models.sweep.options import read
from gen_models.sweep.plan import Plan, PlannedRun
from gen_models.sweep.planning import go_on, of_other_lengths, plan_of, refuse_other_configs
from gen_models.sweep.runner import Runner
from gen_models.sweep.search import Objective
from gen_models.sweep.space import Space

FAILED = 1  # exit status: some runs failed, for a reason other than divergence


def sweep(experiment: Experiment, words: Sequence[str]) -> int:
    """What `python -m experiments.NAME sweep WORDS` does; returns the exit status.

    Raises:
      InputError: an option is wrong; it is said before anything is compiled or written.
      Stopped: the folder cannot be written.
    """
    options, rest = read(experiment, words)
    plan = plan_of(experiment, options, rest)
    asked = f"{experiment.command} sweep {shlex.join(words)}"
    plan = plan._replace(command=f"{plan.command}; {asked}" if options.add_seeds and plan.command else asked)
    if options.budget is not None and options.budget[1] == "seconds":
        with signals():
            plan = by_the_clock(experiment, plan, float(options.budget[0]))
    refuse_other_configs(experiment, plan)
    space = tuning.space_asked(options, plan)
    longer = of_other_lengths(experiment, plan)
    if options.dry_run:
        return dry_run(experiment, plan, options, {request.folder for request in longer})
    go_on(longer, bool(options.halving) or tuning.is_search(options))
    return execute(experiment, plan, options, space)


def dry_run(
    experiment: Experiment, plan: Plan, options: argparse.Namespace, longer: Collection[Path] = frozenset()
) -> int:
    """Print the runs, their groups and, after a few steps of each, how long it would take. Nothing is kept.

    Runs whose folders are in `longer` would go on although they have ended; all of their steps are counted.
    """
    left = [run for run in plan.runs() if run.folder in longer or ended_before(run.folder) is None]
    groups: dict[str, list[PlannedRun]] = {}
    for run in left:
        groups.setdefault(plans.group_of(run.config), []).append(run)
    lines = []
    total = 0.0
    with (
        tempfile.TemporaryDirectory() as folder,
        Runner(experiment, Path(folder), options.execution, options.workers, console.say) as runner,
    ):
        for runs in groups.values():
            choice = runner.estimated(runs)
            step = choice.seconds[choice.how]
            seconds = step * runs[0].config.steps * len(runs)
            total += seconds
            labels = ", ".join(dict.fromkeys(run.label for run in runs))
            lines.append((labels, len(runs), choice.how, f"{1e3 * step:.3g}", f"{seconds:.0f}"))
    console.show_table(
        f"{len(left)} runs to train of {len(plan.runs())}, in {len(groups)} groups that share a program each",
        ("rows", "runs", "execution", "ms a step", "s of training"),
        lines,
        f"{plan.budget}. About {total:,.0f} s of training at the speed of a few steps; compilation, evaluation and "
        "pictures take time besides",
    )
    return FINISHED


def execute(experiment: Experiment, plan: Plan, options: argparse.Namespace, space: Space | None) -> int:
    """Train what is missing; then show the table and write `results.csv` and the reports."""
    runs, fresh = plan.runs(), not plan.folder.exists()
    done = sum(ended_before(run.folder) is not None for run in runs)
    others = {path.parent for path in plan.folder.glob("*/*/config.json")} - {run.folder for run in runs}
    if others and space is None:
        console.say(f"{plan.folder} holds {len(others)} other runs too, which the table and the report leave out")
    about = f", {done} of them done before" if done else ""
    console.say(f"{len(runs)} runs in {len(plan.rows)} rows{about}: {plan.budget}")
    trials = 0 if space is None else (options.random or options.bayes) * len(plan.seeds)
    with signals():
        try:
            with Runner(
                experiment,
                plan.folder,
                options.execution,
                options.workers,
                console.say,
                options.launcher,
                len(runs) - done + trials,
                options.slurm,
            ) as runner:
                objective = _checked(plan, options, runner, fresh)
                plans.save(plan)
                runner.keeps = True
                plan, endings = _trained(plan, options, space, objective, runner)
            show(collect(experiment, plan, endings, runner.groups, runner.costs), plan.folder)
            plans.save(plan, complete=all(run.folder in endings for run in plan.runs()))
        except KeyboardInterrupt:
            console.say("interrupted and saved; the same command goes on")
            return INTERRUPTED
        except OSError as error:
            told = f"{error}; the runs that ended are kept in {plan.folder}"
            raise Stopped(f"{told}. The same command goes on once this is mended", CANNOT_WRITE) from error
    return FAILED if any(ending.status == "failed" for ending in endings.values()) else FINISHED


def _checked(plan: Plan, options: argparse.Namespace, runner: Runner, fresh: bool) -> Objective | None:
    """Build every config that is to be trained; returns by what rows are judged, where they are.

    Raises:
      InputError: a config cannot be built; a folder that was not there before is removed again, unless a worker died:
        its log says why.
    """
    judged = options.halving or tuning.is_search(options)
    try:
        left = [run for run in plan.runs() if ended_before(run.folder) is None]
        runner.check(left or plan.runs()[:1] if judged else left)  # the objective is told by any config
        return tuning.objective_of(options, runner) if judged else None
    except InputError as error:
        if fresh and not isinstance(error, Died):  # nothing but the workers' logs is this process's
            shutil.rmtree(plan.folder / "logs", ignore_errors=True)
            with suppress(OSError):
                plan.folder.rmdir()
        raise


def _trained(
    plan: Plan, options: argparse.Namespace, space: Space | None, objective: Objective | None, runner: Runner
) -> tuple[Plan, dict[Path, Ending]]:
    """Train what is missing, as the options say; returns the plan, a search's trials included, and the endings."""
    if space is not None and objective is not None:
        return tuning.searching(plan, tuning.search_of(options, plan, space, objective), runner)
    if options.halving and objective is not None:
        return plan, tuning.halving(plan, options.halving, objective, runner)
    return plan, runner.train(plan.runs())


def show(study: Any, folder: Path) -> None:
    """Print the table, and write the files."""
    # Imported here, as matplotlib takes a third of a second: `sweep --help` does without it.
    report = importlib.import_module("gen_models.sweep.report.report")
    table = importlib.import_module("gen_models.sweep.report.table")
    table.show(study)
    table.write_csv(study, folder / "results.csv")
    report.write_report(study, folder)
    console.say(f"{folder / 'results.csv'}, {folder / 'report.md'}, {folder / 'report.html'}")
