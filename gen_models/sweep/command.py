"""`python -m experiments.NAME sweep`: from options to runs, a table and a report. Imports no JAX."""

import argparse
import dataclasses
import importlib.util
import math
import shlex
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gen_models.errors import unknown
from gen_models.run import cli, console
from gen_models.run import directory as runs
from gen_models.run.config import FINISHED, INTERRUPTED, Experiment, InputError
from gen_models.sweep import plan as plans
from gen_models.sweep import search as searches
from gen_models.sweep.collect import collect, member
from gen_models.sweep.plan import Plan, Row
from gen_models.sweep.runner import EXECUTIONS, STACKED, Ending, Runner, ended_before
from gen_models.sweep.search import Objective, Search

FAILED = 1  # exit status: some runs failed, for a reason other than divergence


def sweep(experiment: Experiment, words: Sequence[str]) -> int:
    """What `python -m experiments.NAME sweep WORDS` does; returns the exit status.

    Raises:
      InputError: an option is wrong; it is said before anything is compiled or written.
    """
    options, rest = parser(experiment).parse_known_args(list(words))
    needed = {"optuna": (options.random or options.bayes) and "sweep", "ray": options.launcher == "ray" and "ray"}
    for module, extra in (needed | {"submitit": options.launcher == "slurm" and "slurm"}).items():
        if extra and importlib.util.find_spec(module) is None:
            raise InputError(f"this needs {module}: pip install 'gen_models[{extra}]'")
    plan = _plan(experiment, options, rest)
    plan = plan._replace(command=shlex.join(["python", "-m", experiment.name, "sweep", *words]))
    if options.budget is not None and options.budget[1] == "seconds":
        plan = _by_the_clock(experiment, plan, float(options.budget[0]), options)
    _refuse_other_configs(experiment, plan)
    if options.dry_run:
        return dry_run(experiment, plan, options)
    return execute(experiment, plan, options, _search(experiment, options, plan))


def parser(experiment: Experiment) -> argparse.ArgumentParser:
    """The options of a sweep; all others are fields of every run."""
    swept = list(experiment.swept or experiment.variants)
    found = argparse.ArgumentParser(
        prog=f"python -m {experiment.name} sweep",
        description="Train variants, or the points of a grid, with several seeds each; then a table with intervals and "
        "a report. Runs that are finished are not repeated: the same command goes on after an interruption. Other "
        "options override that field of every run.",
        allow_abbrev=False,
    )
    found.add_argument("--seeds", type=int, help="runs of each row, with seeds 0 to N-1 (default: 3)", metavar="N")
    found.add_argument(
        "--add-seeds", type=int, help="N more seeds for the sweep in the folder, once it is complete", metavar="N"
    )
    found.add_argument("--variants", nargs="+", default=swept, help=f"default: {', '.join(swept)}", metavar="NAME")
    found.add_argument(
        "--grid", nargs="+", default=[], help="FIELD=VALUE,VALUE ...: every variant at every point", metavar="AXIS"
    )
    found.add_argument("--base", help="the row that the others are compared with (default: the first)", metavar="LABEL")
    found.add_argument(
        "--budget",
        nargs=2,
        help="the same for all: N steps, N examples, or N seconds of training at the speed of a few steps",
        metavar=("N", "UNIT"),
    )
    how = found.add_argument_group("search, by the validation split")
    which = how.add_mutually_exclusive_group()
    which.add_argument("--random", type=int, help="N points drawn from the fields' ranges", metavar="N")
    which.add_argument("--bayes", type=int, help="N points, each drawn by what those before it reached", metavar="N")
    how.add_argument(
        "--search",
        nargs="+",
        default=[],
        help="FIELD, FIELD=LOW,HIGH or FIELD=A,B,C (default: fields that have a range and are not 0)",
        metavar="FIELD",
    )
    how.add_argument(
        "--objective",
        nargs=2,
        help="a metric of metrics.jsonl, and maximize or minimize"
        + (f" (default: {' '.join(experiment.objective)})" if experiment.objective else ""),
        metavar=("METRIC", "WAY"),
    )
    how.add_argument("--storage", help="the search's database (default: SQLite, in the folder)", metavar="URL")
    how.add_argument(
        "--halving",
        type=int,
        help="successive halving: of the rows, only the best 1/ETA go on after each round of ETA times as many steps",
        metavar="ETA",
    )
    found.add_argument("--dry-run", action="store_true", help="say what would be trained, and how long it would take")
    found.add_argument(
        "--execution",
        choices=EXECUTIONS,
        default="auto",
        help="how runs are trained: processes pinned to a core each, one after another in one process, or stacked in "
        "one program (vmap, scan); auto measures and chooses",
    )
    found.add_argument("--workers", type=int, help="processes (default: one for each core)", metavar="N")
    found.add_argument(
        "--launcher",
        choices=("local", "ray", "slurm"),
        default="local",
        help="where runs are trained: here, as tasks of a Ray cluster, or as Slurm jobs (extras: ray, slurm)",
    )
    found.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        help="parameters of submitit's executor, such as slurm_partition=gpu timeout_min=60",
        metavar="NAME=VALUE",
    )
    found.add_argument("--run-dir", help="runs go to RUN_DIR/<row>/<seed>; by default under runs/<experiment>")
    return found


def _plan(experiment: Experiment, options: argparse.Namespace, rest: Sequence[str]) -> Plan:
    """The runs that the options ask for."""
    for name, low in (
        ("seeds", 1),
        ("add_seeds", 1),
        ("workers", 1),
        ("random", 1),
        ("bayes", 1),
        ("halving", 2),
    ):
        value = getattr(options, name)
        if value is not None and value < low:
            raise InputError(f"--{name.replace('_', '-')} must be {low} or more, got {value}")
    folder = folder_of(experiment, options.run_dir)
    if options.add_seeds is not None:
        return _longer(experiment, options, rest, folder)
    fields = [field.name for field in dataclasses.fields(next(iter(experiment.variants.values())))]
    fields = [name for name in fields if name not in ("seed", *runs.NOT_COMPARED)]
    points = plans.grid_points(options.grid, fields)
    if options.budget and ("steps" in points[0] or any(word.startswith("--steps") for word in rest)):
        raise InputError("--budget says how many steps there are: leave out --steps, and steps in --grid")
    searched = options.random or options.bayes
    if searched and (points != [{}] or options.halving):
        raise InputError("--random and --bayes draw their points themselves: leave out --grid and --halving")
    if searched and options.add_seeds is None and options.variants == list(experiment.swept or experiment.variants):
        options.variants = options.variants[:1]  # one study searches around one variant
    if searched and len(options.variants) > 1:
        raise InputError("--random and --bayes search around one variant: give one to --variants")
    own = next(iter(experiment.variants.values()))
    flags = [name for name in fields if isinstance(getattr(own, name), bool)]
    rows = plans.rows_of(
        options.variants, points, lambda variant, words: _parsed(experiment, variant, [*rest, *words]), flags
    )
    rows, budget = _of_equal_budget(rows, options.budget)
    for row in rows:
        _validate(row)
    labels = [row.label for row in rows]
    base = labels[0] if options.base is None else options.base
    if base not in labels:
        raise InputError(unknown("row", base, labels))
    seeds = tuple(range(3 if options.seeds is None else options.seeds))
    return Plan(experiment.name, folder, rows, seeds, base, budget, "")


def _validate(row: Row) -> None:
    try:
        cli.validate(row.config)
    except ValueError as error:
        raise InputError(f"{row.label}: {error}") from error
    alone = [name for name in ("coordinator", "processes", "process_id") if getattr(row.config, name) is not None]
    if alone:
        raise InputError(f"--{alone[0].replace('_', '-')} is for one run over several hosts: a sweep has --launcher")


def folder_of(experiment: Experiment, run_dir: str | None) -> Path:
    """Where a sweep is: as given, or `runs/<experiment>`."""
    return Path("runs") / experiment.name.rsplit(".", 1)[-1] if run_dir is None else Path(run_dir)


def _parsed(experiment: Experiment, variant: str, words: list[str]) -> Any:
    if variant not in experiment.variants:
        raise InputError(unknown("variant", variant, experiment.variants))
    return cli.parse(experiment, variant, words)


def _longer(experiment: Experiment, options: argparse.Namespace, rest: Sequence[str], folder: Path) -> Plan:
    """The sweep in the folder with more seeds; while runs of it are missing, as it is."""
    untouched = parser(experiment).parse_args([])
    free = ("add_seeds", "run_dir", "execution", "workers", "launcher", "slurm", "dry_run")
    named = [name for name, value in vars(options).items() if name not in free and value != getattr(untouched, name)]
    if rest or named:
        which = rest[0] if rest else f"--{named[0].replace('_', '-')}"
        raise InputError(f"--add-seeds goes on with the sweep in the folder, which says what it is: leave out {which}")
    plan = plans.saved(folder, type(next(iter(experiment.variants.values()))))
    if not plans.is_complete(folder):
        console.say("the sweep in the folder is not complete: it is finished first; then ask for more seeds again")
        return plan
    dropped = {one.label for one in plan.members() if (ended := ended_before(one.folder)) and ended.status == "dropped"}
    if dropped:
        console.say(f"rows that successive halving dropped get no more seeds: {', '.join(sorted(dropped))}")
        plan = plan._replace(rows=tuple(row for row in plan.rows if row.label not in dropped))
    more = range(max(plan.seeds) + 1, max(plan.seeds) + 1 + options.add_seeds)
    return plan._replace(seeds=(*plan.seeds, *more))


def _of_equal_budget(rows: Sequence[Row], budget: Sequence[str] | None) -> tuple[tuple[Row, ...], str]:
    """Rows whose steps fit the budget, and the budget in words."""
    if budget is not None:
        number, unit = budget
        if unit not in ("steps", "examples", "seconds"):
            raise InputError(unknown("unit of --budget", unit, ("steps", "examples", "seconds")))
        if not (number.isascii() and number.isdigit() and int(number) > 0):
            raise InputError(f"--budget takes a whole number of {unit} above 0, got {number!r}")
        if unit == "seconds":  # how many steps these are is measured later
            return tuple(rows), f"{int(number):,} seconds of training each"
        each = [int(number) if unit == "steps" else int(number) // row.config.batch_size for row in rows]
        if min(each) < 1:
            raise InputError(f"--budget {number} {unit} is less than one batch")
        rows = [
            row._replace(config=dataclasses.replace(row.config, steps=n)) for row, n in zip(rows, each, strict=True)
        ]
    steps = {row.config.steps for row in rows}
    sizes = {row.config.batch_size for row in rows}
    examples = {row.config.steps * row.config.batch_size for row in rows}
    if len(steps) == 1:
        words = f"{steps.pop():,} steps each"
        words += f" of {sizes.pop():,} examples" if len(sizes) == 1 else ", of batches that differ"
    elif max(examples) - min(examples) <= max(sizes):
        words = f"{max(examples):,} examples each"
    else:
        words = "not equal: " + ", ".join(f"{row.label} {row.config.steps:,} steps" for row in rows)
    return tuple(rows), words


def _by_the_clock(experiment: Experiment, plan: Plan, seconds: float, options: argparse.Namespace) -> Plan:
    """The plan with as many steps for each row as fit in the time, by the speed of a few steps of a run by itself.

    They are kept in `sweep.json`: the same command goes on with the same numbers, whatever the machine does then.
    """
    if (plan.folder / "sweep.json").exists():
        old = plans.saved(plan.folder, type(plan.rows[0].config))
        known = {row.label: row.config.steps for row in old.rows}
        if old.budget.startswith(f"{plan.budget}, ") and set(known) >= {row.label for row in plan.rows}:
            rows = [row._replace(config=dataclasses.replace(row.config, steps=known[row.label])) for row in plan.rows]
            return plan._replace(rows=tuple(rows), budget=old.budget)
    steps: dict[str, int] = {}
    with (
        tempfile.TemporaryDirectory() as logs,
        Runner(experiment.name, Path(logs), "one", 1, console.say) as runner,
        _interruptible(),
    ):
        for row in plan.rows:
            group = plans.group_of(row.config)
            if group not in steps:
                choice = runner.measured([plans.planned(plan.folder, row, plan.seeds[0])])
                steps[group] = max(1, int(seconds / choice.seconds["one"]))
    rows = [
        row._replace(config=dataclasses.replace(row.config, steps=steps[plans.group_of(row.config)]))
        for row in plan.rows
    ]
    each = ", ".join(f"{row.label} {row.config.steps:,}" for row in rows)
    return plan._replace(rows=tuple(rows), budget=f"{plan.budget}, at the speed of a few steps: {each} steps")


def _refuse_other_configs(experiment: Experiment, plan: Plan) -> None:
    """Directories that hold other runs are said before anything is trained."""
    for one in plan.members():
        try:
            runs.check_run(one.folder, experiment.name, one.variant, one.config)
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from error


def dry_run(experiment: Experiment, plan: Plan, options: argparse.Namespace) -> int:
    """Print the runs, their groups and, after a few steps of each, how long it would take. Nothing is kept."""
    _search(experiment, options, plan)
    left = [one for one in plan.members() if ended_before(one.folder) is None]
    groups: dict[str, list[plans.Planned]] = {}
    for one in left:
        groups.setdefault(plans.group_of(one.config), []).append(one)
    rows = []
    total = 0.0
    with (
        tempfile.TemporaryDirectory() as logs,
        Runner(experiment.name, Path(logs), options.execution, options.workers, console.say) as runner,
    ):
        for members in groups.values():
            choice = runner.measured(members)
            seconds = choice.seconds[choice.how] * members[0].config.steps * len(members)
            total += seconds
            labels = ", ".join(dict.fromkeys(one.label for one in members))
            rows.append((labels, len(members), choice.how, f"{1e3 * choice.seconds[choice.how]:.3g}", f"{seconds:.0f}"))
    console.show_table(
        f"{len(left)} runs to train of {len(plan.members())}, in {len(groups)} groups that share a program each",
        ("rows", "runs", "execution", "ms a step", "s of training"),
        rows,
        f"{plan.budget}. About {total:,.0f} s of training at the speed of a few steps, and compilation, evaluation and "
        "pictures besides",
    )
    return FINISHED


def execute(experiment: Experiment, plan: Plan, options: argparse.Namespace, search: Search | None) -> int:
    """Train what is missing; then the table, `results.csv` and the reports."""
    fresh = not plan.folder.exists()
    known = [ended_before(one.folder) for one in plan.members()]
    done = sum(ending is not None for ending in known)
    if options.halving:
        _objective(experiment, options)
        if len(steps := {row.config.steps for row in plan.rows}) > 1:
            raise InputError(f"--halving needs rows of as many steps each: they have {sorted(steps)}; give --steps")
        if options.execution in STACKED:
            raise InputError(f"--halving trains runs by themselves: leave out --execution {options.execution}")
    others = {path.parent for path in plan.folder.glob("*/*/config.json")} - {one.folder for one in plan.members()}
    if others and search is None:
        console.say(f"{plan.folder} holds {len(others)} other runs too, which the table and the report leave out")
    about = f", {done} of them done before" if done else ""
    console.say(f"{len(known)} runs in {len(plan.rows)} rows{about}: {plan.budget}")
    slurm = dict(_pair(word) for word in options.slurm)
    with _interruptible():
        try:
            with Runner(
                experiment.name,
                plan.folder,
                options.execution,
                options.workers,
                console.say,
                options.launcher,
                len(known) - done + (search.trials * len(plan.seeds) if search else 0),
                slurm,
            ) as runner:
                try:
                    runner.check([one for one in plan.members() if ended_before(one.folder) is None])
                except InputError:
                    if fresh:  # nothing but the workers' logs is this process's
                        shutil.rmtree(plan.folder / "logs", ignore_errors=True)
                        with suppress(OSError):
                            plan.folder.rmdir()
                    raise
                plans.save(plan)
                runner.keeps = True
                if search is not None:
                    plan, endings = searching(plan, search, runner)
                elif options.halving:
                    endings = halving(plan, options.halving, _objective(experiment, options), runner)
                else:
                    endings = _train(runner, plan.members())
            study = collect(experiment, plan, endings, runner.groups, runner.costs)
            show(study, plan.folder)
            missing = [one for one in plan.members() if one.folder not in endings]
            plans.save(plan, complete=not missing)
        except KeyboardInterrupt:
            console.say("interrupted and saved; the same command goes on")
            return INTERRUPTED
    return FAILED if any(ending.status == "failed" for ending in endings.values()) else FINISHED


def _train(runner: Runner, members: Sequence[plans.Planned], until: int | None = None) -> dict[Path, Ending]:
    """The endings of all members, after those that have none are trained."""
    endings = {one.folder: ending for one in members if (ending := ended_before(one.folder)) is not None}
    return endings | runner.train([one for one in members if one.folder not in endings], until)


def searching(plan: Plan, search: Search, runner: Runner) -> tuple[Plan, dict[Path, Ending]]:
    """Train the plan's row and the search's trials; returns the plan with them as rows, the best first."""
    endings = _train(runner, plan.members())
    failed: set[str] = set()  # trials that the same command tries again another time
    while rows := [r for r in searches.rows(search, plan.folder, runner.at_once) if r.label not in failed]:
        for row in rows:
            _validate(row)
        members = [plans.planned(plan.folder, row, seed) for seed in plan.seeds for row in rows]
        endings |= _train(runner, members)
        for row in rows:
            own = [member(one, endings.get(one.folder)) for one in members if one.label == row.label]
            if any(one.status == "failed" for one in own):
                failed.add(row.label)
            else:
                searches.tell(search, plan.folder, row, [searches.value_of(one, search.objective) for one in own])
    every = (*plan.rows, *searches.all_rows(search, plan.folder))
    plan = plan._replace(rows=every, budget=_of_equal_budget(every, None)[1])
    plans.save(plan)
    endings |= {one.folder: e for one in plan.members() if (e := ended_before(one.folder)) is not None}
    return plan, endings


def halving(plan: Plan, eta: int, objective: Objective, runner: Runner) -> dict[Path, Ending]:
    """Successive halving (Jamieson & Talwalkar 2016): rounds of `eta` times as many steps for 1/`eta` of the rows.

    The base always goes on, so that the others can be compared with it. What is dropped says so, and after how many
    steps; schedules are those of whole runs.
    """
    whole, rows, endings = plan.rows[0].config.steps, list(plan.rows), dict[Path, Ending]()
    rounds = max(0, math.floor(math.log(len(rows), eta) + 1e-9))
    for number in range(rounds, 0, -1):
        until = max(1, whole // eta**number)
        members = [plans.planned(plan.folder, row, seed) for seed in plan.seeds for row in rows]
        endings |= _train(runner, members, until)
        scores: dict[str, float] = {}
        failed: set[str] = set()
        for row in rows:
            own = [member(one, endings.get(one.folder)) for one in members if one.label == row.label]
            scores[row.label] = sum(searches.value_of(one, objective, until) for one in own) / len(own)
            if any(one.status == "failed" for one in own):
                failed.add(row.label)  # it is tried again another time, and not dropped for what was no fault of its
        sign = -1 if objective[1] == "maximize" else 1
        ranked = sorted(rows, key=lambda r: (math.isnan(scores[r.label]), sign * scores[r.label]))
        best = ranked[: -(-len(plan.rows) // eta ** (rounds - number + 1))]
        keep = {row.label for row in best} | {plan.base} | failed
        for place, row in enumerate(ranked, 1):
            if row.label not in keep:
                message = f"dropped after {until:,} of {whole:,} steps: {place} of {len(rows)} by {objective[0]}"
                for one in members:
                    if one.label == row.label and ended_before(one.folder) is None:
                        runs.Run(one.folder).stop("dropped", until, message)
                        endings[one.folder] = Ending("dropped", message)
        rows = [row for row in rows if row.label in keep]
    return endings | _train(runner, [plans.planned(plan.folder, row, seed) for seed in plan.seeds for row in rows])


def _search(experiment: Experiment, options: argparse.Namespace, plan: Plan) -> Search | None:
    count = options.random or options.bayes
    if count is None or options.add_seeds is not None:
        if options.search or options.storage:
            raise InputError("--search and --storage belong to --random or --bayes")
        return None
    row = plan.rows[0]
    space = searches.space_of(row.config, options.search)
    if "steps" in space:
        raise InputError("--search steps: rows of other lengths are no fair comparison; leave it out")
    kind = "random" if options.random else "bayes"
    return Search(kind, count, space, _objective(experiment, options), options.storage, row.variant, row.config)


def _objective(experiment: Experiment, options: argparse.Namespace) -> Objective:
    found = experiment.objective if options.objective is None else tuple(options.objective)
    if found is None:
        raise InputError("name what to judge by: --objective METRIC maximize, a metric of the validation split")
    if found[1] not in ("maximize", "minimize"):
        raise InputError(unknown("way of --objective", found[1], ("maximize", "minimize")))
    return found


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise InputError(f"--slurm takes NAME=VALUE, got {word!r}")
    return name, value


def show(study: Any, folder: Path) -> None:
    """The table in the terminal, and the files."""
    from gen_models.sweep.report.report import write_report
    from gen_models.sweep.report.table import show as show_table
    from gen_models.sweep.report.table import write_csv

    show_table(study)
    write_csv(study, folder / "results.csv")
    write_report(study, folder)
    console.say(f"{folder / 'results.csv'}, {folder / 'report.md'}, {folder / 'report.html'}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends a sweep as Ctrl-C does: with its workers told, and what they do saved."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
