"""The options of `sweep`: which there are, and what is wrong with them alone. Imports no JAX."""

import argparse
import importlib.util
from collections.abc import Sequence
from typing import Any

from gen_models.errors import unknown
from gen_models.run.config import Experiment, InputError
from gen_models.sweep.choice import EXECUTIONS, STACKED

WAYS = ("maximize", "minimize")
UNITS = ("steps", "examples", "seconds")
AT_LEAST = {"seeds": 1, "add_seeds": 1, "workers": 1, "random": 1, "bayes": 1, "halving": 2}
# Options that do not say what a sweep is: they may stand beside --add-seeds.
FREE = ("add_seeds", "run_dir", "execution", "workers", "launcher", "slurm", "dry_run")


def read(experiment: Experiment, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options among the words, and the words that are left: fields of every run.

    Raises:
      InputError: an option has a wrong value, does not fit another one, or needs a package that is not installed.
    """
    options, rest = parser(experiment).parse_known_args(list(words))
    for name, low in AT_LEAST.items():
        value = getattr(options, name)
        if value is not None and value < low:
            raise InputError(f"--{name.replace('_', '-')} must be {low} or more, got {value}")
    if options.objective is not None and options.objective[1] not in WAYS:
        raise InputError(unknown("way of --objective", options.objective[1], WAYS))
    if options.budget is not None:
        _check_budget(*options.budget)
    if options.halving and options.execution in STACKED:
        raise InputError(f"--halving trains runs by themselves: leave out --execution {options.execution}")
    searched = is_search(options)
    if (options.search or options.storage) and not searched:
        raise InputError("--search and --storage belong to --random or --bayes: give one of them too")
    if searched and (options.grid or options.halving):
        raise InputError("--random and --bayes draw their points themselves: leave out --grid and --halving")
    options.slurm = dict(_pair(word) for word in options.slurm)
    needed = {"optuna": ("sweep", searched), "ray": ("ray", options.launcher == "ray")}
    for module, (extra, used) in (needed | {"submitit": ("slurm", options.launcher == "slurm")}).items():
        if used and importlib.util.find_spec(module) is None:
            raise InputError(f"this needs {module}: pip install 'gen_models[{extra}]'")
    return options, rest


def is_search(options: argparse.Namespace) -> bool:
    """Whether the points of the sweep are drawn by Optuna."""
    return options.random is not None or options.bayes is not None


def parser(experiment: Experiment) -> argparse.ArgumentParser:
    """The options of a sweep; all others are fields of every run."""
    found = argparse.ArgumentParser(
        prog=f"{experiment.command} sweep",
        description="Train variants, or the points of a grid, with several seeds each; then show a table with "
        "intervals and write a report. Runs that are finished are not repeated: the same command goes on after an "
        "interruption. Every other option overrides that field of every run.",
        allow_abbrev=False,
    )
    _add_plan(found, list(experiment.swept or experiment.variants))
    _add_search(found.add_argument_group("search, by the validation split"))
    _add_execution(found.add_argument_group("execution"))
    return found


def _add_plan(found: argparse.ArgumentParser, swept: Sequence[str]) -> None:
    """Which runs there are."""
    found.add_argument("--seeds", type=int, help="train each row with the seeds 0 to N-1 (default: 3)", metavar="N")
    found.add_argument(
        "--add-seeds",
        type=int,
        help="train N more seeds of the sweep that is in the folder, once it is complete",
        metavar="N",
    )
    found.add_argument(
        "--variants",
        nargs="+",
        default=list(swept),
        help=f"train these variants (default: {', '.join(swept)})",
        metavar="NAME",
    )
    found.add_argument(
        "--grid",
        nargs="+",
        default=[],
        help="train every variant at every point of a grid; an axis is FIELD=VALUE,VALUE such as learning_rate=1e-3,"
        "3e-4 or network.layers=2,4",
        metavar="AXIS",
    )
    found.add_argument("--base", help="compare the other rows with this one (default: the first)", metavar="LABEL")
    found.add_argument(
        "--budget",
        nargs=2,
        help="train all rows equally long: N steps, N examples, or as many steps as take N seconds at the speed of a "
        "few steps",
        metavar=("N", "UNIT"),
    )
    found.add_argument(
        "--run-dir",
        help="keep each run in DIR/ROW/SEED (default: DIR is runs/ and the experiment's name)",
        metavar="DIR",
    )


def _add_search(group: Any) -> None:
    """Which points Optuna draws, and how rows are judged."""
    which = group.add_mutually_exclusive_group()
    which.add_argument("--random", type=int, help="draw N points from the fields' ranges", metavar="N")
    which.add_argument("--bayes", type=int, help="draw N points, each by what those before it reached", metavar="N")
    group.add_argument(
        "--search",
        nargs="+",
        default=[],
        help="draw these fields: FIELD has its own range, FIELD=LOW,HIGH another one, FIELD=A,B,C these choices "
        "(default: all fields that have a range and are not 0)",
        metavar="FIELD",
    )
    group.add_argument(
        "--objective",
        nargs=2,
        help="judge rows by this metric of metrics.jsonl, and maximize or minimize it (default: the headline of "
        "the experiment's first measure that has one, on the validation split)",
        metavar=("METRIC", "WAY"),
    )
    group.add_argument(
        "--storage", help="keep the search in this database (default: an SQLite file in the folder)", metavar="URL"
    )
    group.add_argument(
        "--halving",
        type=int,
        help="train all rows for a part of their steps, then only the best 1/ETA of them for ETA times as many, and so "
        "on (successive halving)",
        metavar="ETA",
    )


def _add_execution(group: Any) -> None:
    """Where and how runs are trained."""
    group.add_argument("--dry-run", action="store_true", help="only say what would be trained, and how long it takes")
    group.add_argument(
        "--execution",
        choices=EXECUTIONS,
        default="auto",
        help="train runs in processes pinned to a core each, one after another in one process, or stacked in one "
        "program (vmap, scan); auto measures and chooses",
    )
    group.add_argument("--workers", type=int, help="start N worker processes (default: one for each core)", metavar="N")
    group.add_argument(
        "--launcher",
        choices=("local", "ray", "slurm"),
        default="local",
        help="train runs on this machine, as tasks of a Ray cluster, or as Slurm jobs (extras: ray, slurm)",
    )
    group.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        help="give these parameters to submitit's executor, such as slurm_partition=gpu timeout_min=60",
        metavar="NAME=VALUE",
    )


def _check_budget(number: str, unit: str) -> None:
    if unit not in UNITS:
        raise InputError(unknown("unit of --budget", unit, UNITS))
    if not (number.isascii() and number.isdigit() and int(number) > 0):
        raise InputError(f"--budget takes a whole number of {unit} above 0, got {number!r}")


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise InputError(f"--slurm takes NAME=VALUE, got {word!r}")
    return name, value
