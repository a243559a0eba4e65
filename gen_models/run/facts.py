"""What a run's directory tells a diagnosis: its history, and what is known of it besides. Imports no JAX."""

import typing
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Literal

from gen_models.diagnosis.finding import Facts
from gen_models.diagnosis.history import History
from gen_models.run.directory import Run
from gen_models.run.fields import annotations, flat, to_json


def facts_of(config: Any, objective: tuple[str, str] | None = None, run: Run | None = None) -> Facts:
    """What is known of a run with this config.

    Args:
      config: the experiment's.
      objective: the metric that it is judged by, and its better way.
      run: its directory, which tells how training ended; None: it is under way.
    """
    options = flat(to_json(config))
    known = Facts(options=options, choices=_choices(config), objective=objective, steps=config.steps)
    return known if run is None else _with_ending(known, run)


def history_of(run: Run) -> History:
    """What the run has logged."""
    return History(run.history())


def _with_ending(facts: Facts, run: Run) -> Facts:
    figures, stopped = run.result(), run.stopped()
    if figures is not None:
        return replace(facts, figures=figures, ended="finished", ended_at=run.steps_done())
    if stopped is not None:
        return replace(facts, ended=stopped["status"], ended_at=stopped["step"], message=stopped["message"])
    return facts


def _choices(config: Any) -> Mapping[str, tuple[Any, ...]]:
    """Field -> the words that it may hold, of fields that are one of several words, by dotted names."""
    found: dict[str, tuple[Any, ...]] = {}
    kind: Any = type(config)
    for name, annotation in annotations(kind).items():
        nested = getattr(config, name)
        if is_dataclass(nested):
            found |= {f"{name}.{inner}": words for inner, words in _choices(nested).items()}
            continue
        kinds = [annotation, *typing.get_args(annotation)]
        words = [word for kind in kinds if typing.get_origin(kind) is Literal for word in typing.get_args(kind)]
        if words:
            found[name] = tuple(words)
    return found
