"""From the words of a command line to a config. Imports no JAX."""

import math
from collections.abc import Sequence
from typing import Any

from gen_models.errors import unknown
from gen_models.run.config import Experiment, InputError
from gen_models.run.fields import field_names, value_of
from gen_models.run.paths import with_absolute_paths

AT_LEAST = {
    "steps": 1,
    "batch_size": 1,
    "seed": 0,
    "accumulate": 1,
    "log_every": 0,
    "evaluate_every": 0,
    "evaluated": 0,
    "draw_every": 0,
    "checkpoint_every": 0,
    "early_stopping": 0,
    "learning_rate": 0,
}


def parse(experiment: Experiment, variant: str | None, words: Sequence[str]) -> Any:
    """The config of a variant, by default the first, with the fields that `--field value ...` gives.

    Its paths are absolute, so that what is made of it is found from any folder.

    Raises:
      InputError: there is no such variant, or the present folder is gone. A mistyped option ends the process, with a
        message.
    """
    import tyro

    first = next(iter(experiment.variants))
    variant = first if variant is None else variant
    if variant not in experiment.variants:
        raise InputError(unknown("variant", variant, [*experiment.variants, "sweep"]))
    names = ", ".join(f"{name} (default)" if name == first else name for name in experiment.variants)
    usage = f"Variants: {names}; or sweep --seeds N.\nDefaults below are those of '{variant}'."
    default = experiment.variants[variant]
    config = tyro.cli(
        type(default),
        default=default,
        args=list(words),
        prog=f"{experiment.command} [VARIANT]",
        description=f"{(experiment.doc or '').strip()}\n\n{usage}",
        config=(tyro.conf.AvoidSubcommands,),  # a variant's network is of one class: its fields are options
    )
    try:
        return with_absolute_paths(config)
    except FileNotFoundError as error:
        raise InputError("the folder that this runs in is gone: give absolute paths, or run it in another") from error


def validate(config: Any) -> None:
    """Check the values that the config of every experiment must keep to.

    Raises:
      ValueError: a number is not finite or below its least value, or the micro-batches do not divide the batch.
    """
    for name in field_names(config):
        value, option = value_of(config, name), f"--{name.replace('_', '-')}"
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{option} must be finite, got {value}")
        if name in AT_LEAST and value < AT_LEAST[name]:
            must = f"must be {AT_LEAST[name]} or more" if AT_LEAST[name] else "must not be negative"
            raise ValueError(f"{option} {must}, got {value}")
    if (config.early_stopping or config.keep_best) and not config.evaluate_every:
        raise ValueError(
            "--early-stopping and --keep-best go by evaluations during training: give --evaluate-every "
            "(evaluate_every= in the library)"
        )
    if not 0 <= config.ema_decay < 1:
        raise ValueError(f"--ema-decay must be 0 or more and less than 1, got {config.ema_decay}")
    if config.batch_size % config.accumulate:
        raise ValueError(f"--accumulate must divide --batch-size {config.batch_size}, got {config.accumulate}")
