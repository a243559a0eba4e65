"""The command line of every experiment: `python -m experiments.NAME [VARIANT | sweep] [--field value ...]`.

Arguments are parsed before JAX is imported, so that `--help` and a mistyped option answer at once. What is wrong with
the input is said in one line, before anything is compiled; exit statuses tell how a run ended.
"""

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gen_models.errors import unknown
from gen_models.run.config import BAD_INPUT, FINISHED, INTERRUPTED, Experiment, InputError
from gen_models.run.directory import Figure, check_run


def launch(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(main(experiment, sys.argv[1:] if arguments is None else arguments))


def main(experiment: Experiment, arguments: Sequence[str]) -> int:
    """What `launch` does; returns the exit status. tyro exits by itself after `--help` and for a mistyped option."""
    words = list(arguments)
    unnamed = "sweep" if experiment.table and "--help" not in words else next(iter(experiment.variants))
    variant = words.pop(0) if words and not words[0].startswith("-") else unnamed
    try:
        if variant == "sweep":
            from gen_models.sweep.command import sweep

            return sweep(experiment, words)
        config = parse(experiment, variant, words)
        return run(experiment, variant, config)[0]
    except InputError as error:
        return complain(error)
    except KeyboardInterrupt:
        print("\ninterrupted: the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED


def complain(error: Exception) -> int:
    """Print an error about the input without a traceback; returns its exit status."""
    print(f"error: {error}", file=sys.stderr)
    return BAD_INPUT


def run(experiment: Experiment, variant: str, config: Any) -> tuple[int, list[Figure] | None]:
    """One run, from wherever its directory is; returns the exit status and, where it finished, the figures.

    Raises:
      InputError: the config, the data or the run directory is wrong.
    """
    try:
        validate(config)
        folder = Path(config.run_dir or run_directory(experiment, variant, config.seed))
        found = check_run(folder, experiment.name, variant, config)
        figures = None if found is None else found.result()
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    if found is not None and figures is not None:
        from gen_models.run.console import show_result

        show_result(found, figures, finished_before=True)
        return FINISHED, figures
    from gen_models.run.job import run_job  # imports JAX
    from gen_models.training.startup import start

    try:
        start(coordinator=config.coordinator, processes=config.processes, process_id=config.process_id)
        job = experiment.build(config)
    except (ValueError, OSError, ImportError) as error:
        raise InputError(str(error)) from error
    return run_job(job, experiment.name, variant, config, folder)


def run_directory(experiment: Experiment, variant: str, seed: int, root: str | Path | None = None) -> Path:
    """`runs/<experiment>/<variant>/<seed>`, or `<root>/<variant>/<seed>`."""
    base = Path("runs") / experiment.name.rsplit(".", 1)[-1] if root is None else Path(root)
    return base / variant / str(seed)


def parse(experiment: Experiment, variant: str | None, words: Sequence[str]) -> Any:
    """The config that `--field value ...` make of a variant's, by default the first's.

    Raises:
      InputError: there is no such variant. A mistyped option ends the process, with a message.
    """
    import tyro

    first = next(iter(experiment.variants))
    variant = first if variant is None else variant
    if variant not in experiment.variants:
        raise InputError(unknown("variant", variant, [*experiment.variants, "sweep"]))
    names = ", ".join(f"{name} (default)" if name == first else name for name in experiment.variants)
    usage = f"Variants: {names}; or sweep --seeds N.\nDefaults below are those of '{variant}'."
    default = experiment.variants[variant]
    return tyro.cli(
        type(default),
        default=default,
        args=list(words),
        prog=f"python -m {experiment.name} [VARIANT]",
        description=f"{(experiment.doc or '').strip()}\n\n{usage}",
    )


def validate(config: Any) -> None:
    """Ranges that no experiment may leave."""
    at_least = {
        "steps": 1,
        "batch_size": 1,
        "seed": 0,
        "log_every": 0,
        "evaluate_every": 0,
        "draw_every": 0,
        "checkpoint_every": 0,
    }
    for name, low in at_least.items():
        value = getattr(config, name)
        if value < low:
            raise ValueError(f"--{name.replace('_', '-')} must be {low} or more, got {value}")
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"--{field.name.replace('_', '-')} must be finite, got {value}")
    if config.learning_rate < 0:
        raise ValueError(f"--learning-rate must not be negative, got {config.learning_rate}")


def guard(function: Callable[[], int | None]) -> None:
    """Run a tool's main function; bad input becomes one line, and the exit status says so."""
    try:
        sys.exit(function() or 0)
    except (InputError, ValueError, OSError, ImportError) as error:
        sys.exit(complain(error))
