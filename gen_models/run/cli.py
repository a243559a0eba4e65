"""The command line of every experiment: `python -m experiments.NAME [VARIANT | sweep] [--field value ...]`.

Arguments are parsed before JAX is imported, so that `--help` and a mistyped option answer at once. What is wrong with
the input is said in one line, before anything is compiled; exit statuses tell how a run ended.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gen_models.measures.figure import Figure
from gen_models.run import endings
from gen_models.run.arguments import parse, validate
from gen_models.run.config import FINISHED, Experiment
from gen_models.run.console import show_result
from gen_models.run.directory import Request, check_run, finished_as_asked


def launch(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(main(experiment, sys.argv[1:] if arguments is None else arguments))


def main(experiment: Experiment, arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status. tyro exits by itself after `--help` and for a mistyped option."""
    return endings.guarded(lambda: _main(experiment, endings.words_of(arguments)), endings.GOES_ON)


def _main(experiment: Experiment, words: list[str]) -> int:
    unnamed = "sweep" if experiment.table and "--help" not in words else next(iter(experiment.variants))
    variant = words.pop(0) if words and not words[0].startswith("-") else unnamed
    if variant == "sweep":
        return importlib.import_module("gen_models.sweep.command").sweep(experiment, words)
    return run(request(experiment, variant, words))[0]


def request(experiment: Experiment, variant: str, words: Sequence[str]) -> Request:
    """The run that `VARIANT --field value ...` asks for; raises InputError where there is no such variant."""
    config = parse(experiment, variant, words)
    folder = experiment.folder / variant / str(config.seed) if config.run_dir is None else Path(config.run_dir)
    return Request(experiment, variant, config, folder)


def run(asked: Request) -> tuple[int, list[Figure] | None]:
    """Train one run, from where its directory left off; returns the exit status and, where it finished, the figures.

    Raises:
      InputError: the config, the data or the run directory is wrong.
      Stopped: memory ran out, or the run cannot go on; what was trained is saved.
    """
    with endings.about_input():
        validate(asked.config)
        found = check_run(asked)
        figures = None if found is None else finished_as_asked(asked)
    if found is not None and figures is not None:
        show_result(found, figures, finished_before=True)
        return FINISHED, figures
    return importlib.import_module("gen_models.run.train").start_run(asked)  # imports JAX


def guard(function: Callable[[], int | None]) -> None:
    """Run a tool's main function and exit with its status; what `endings.py` has a line for becomes that line."""
    sys.argv[1:] = endings.words_of(sys.argv[1:])
    sys.exit(endings.guarded(function))
