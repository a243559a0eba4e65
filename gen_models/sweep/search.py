"""Rows that Optuna draws: `--random N` and `--bayes N`, judged by the validation split.

The ranges stand beside the fields (`Annotated[float, Range(1e-4, 1e-1, log=True)]`) or on the command line. Trials are
kept in a database, by default an SQLite file in the sweep's folder; with a database that several machines reach, all of
them draw from one study until it has N trials, and each trains its own. Random search: Bergstra & Bengio (2012); the
other is the tree-structured Parzen estimator of Bergstra et al. (2011), with a liar's value for trials under way.
"""

import dataclasses
import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from gen_models.errors import unknown
from gen_models.run.config import InputError, Range, ranges
from gen_models.sweep.plan import Row, planned
from gen_models.sweep.report.study import Member
from gen_models.sweep.runner import ended_before

Objective = tuple[str, Literal["maximize", "minimize"]]


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Search(NamedTuple):
    """What is searched, and how."""

    kind: str  # "random" or "bayes"
    trials: int  # in all
    space: Mapping[str, Range | tuple[Any, ...]]  # field -> its range, or its choices
    objective: Objective
    storage: str | None  # a database's URL; None: an SQLite file in the folder
    variant: str
    config: Any  # what the trials change


def space_of(config: Any, words: Sequence[str]) -> dict[str, Range | tuple[Any, ...]]:
    """The fields to search: `FIELD`, `FIELD=LOW,HIGH` or `FIELD=A,B,C` (words); by default all that have ranges.

    Raises:
      InputError: a field is unknown, has neither range nor choices, or its bounds are wrong.
    """
    known, fields = ranges(config), {field.name: field for field in dataclasses.fields(config)}
    if not words:
        if not known:
            raise InputError("no field of this experiment has a range: name what to search, --search FIELD=LOW,HIGH")
        return {name: known[name] for name in known if getattr(config, name) != 0}
    space: dict[str, Range | tuple[Any, ...]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if name not in fields or name in ("seed", "run_dir"):
            raise InputError(unknown("field", name, [f for f in fields if f not in ("seed", "run_dir")]))
        kind = _kind(fields[name].type)
        if kind in (int, float) and equals:
            space[name] = _range(name, kind, values, known.get(name))
        elif name in known:
            space[name] = known[name]
        elif kind is bool or get_origin(kind) is Literal:
            choices = (False, True) if kind is bool else get_args(kind)
            asked = tuple(values.split(",")) if equals else choices
            by_name = {str(choice): choice for choice in choices}
            if wrong := [value for value in map(str, asked) if value not in by_name]:
                raise InputError(unknown(f"choice of {name}", wrong[0], by_name))
            space[name] = tuple(by_name[str(value)] for value in asked)
        else:
            raise InputError(f"{name} has no range beside it: give one, --search {name}=LOW,HIGH")
    return space


def rows(search: Search, folder: Path, at_once: int) -> list[Row]:
    """The study's trials that belong to this folder and have not been told, after asking for up to `at_once` more.

    Of a random search all that are missing are asked for, whatever `at_once`.
    """
    import optuna

    here = _here(folder)
    with _alone(folder):  # two processes on one folder would draw the same points
        return _asked(search, _study(search, folder), here, at_once, optuna.trial.TrialState.RUNNING)


def _asked(search: Search, study: Any, here: str, at_once: int, running: Any) -> list[Row]:
    trials = study.get_trials(deepcopy=False)
    for trial in trials:  # a process died between asking and saying where
        if search.storage is None and trial.state is running and "folder" not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, "folder", here)
            trials = study.get_trials(deepcopy=False)
    waiting = [t for t in trials if t.state is running and t.user_attrs.get("folder") == here]
    missing = search.trials - len(trials)
    if not waiting and missing > 0:
        for _ in range(missing if search.kind == "random" else min(missing, at_once)):
            trial = study.ask(_distributions(search))
            trial.set_user_attr("folder", here)
        trials = study.get_trials(deepcopy=False)
        waiting = [t for t in trials if t.state is running and t.user_attrs.get("folder") == here]
    return [_row(search, trial) for trial in waiting]


def all_rows(search: Search, folder: Path) -> list[Row]:
    """Every trial of this folder, best first; those without a value last."""
    here = _here(folder)
    trials = [t for t in _study(search, folder).get_trials(deepcopy=False) if t.user_attrs.get("folder") == here]
    sign = -1 if search.objective[1] == "maximize" else 1
    trials.sort(key=lambda t: (t.value is None, sign * t.value if t.value is not None else 0.0, t.number))
    return [_row(search, trial) for trial in trials]


def tell(search: Search, folder: Path, row: Row, values: Sequence[float]) -> None:
    """The value of a row's trial: the mean over its seeds; a trial without one, as it diverged, has failed."""
    import optuna

    study, number = _study(search, folder), int(row.label.rsplit("=", 1)[1])
    good = [value for value in values if math.isfinite(value)]
    complete = bool(values) and len(good) == len(values)
    state = optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.FAIL
    # Another process that shares the folder may have told it.
    study.tell(number, sum(good) / len(good) if complete else None, state=state, skip_if_finished=True)


def value_of(member: Member, objective: Objective, until: int | None = None) -> float:
    """A run's newest value of the objective, of those up to the step `until`; NaN where it diverged or failed.

    Raises:
      InputError: the run never measured it.
    """
    if member.status in ("diverged", "failed"):
        return math.nan
    name = objective[0]
    found = [float(row[name]) for row in member.history if name in row and (until is None or row["step"] <= until)]
    if not found:
        measured = sorted({key for row in member.history for key in row if "/" in key and not key.startswith("train/")})
        told = f"it has {', '.join(measured)}" if measured else "it was never evaluated: lower --evaluate-every"
        raise InputError(f"{member.label} has no {name} to judge it by; {told}")
    return found[-1]


def has_ended(row: Row, folder: Path, seeds: Sequence[int]) -> bool:
    """Whether every seed of the row has."""
    return all(ended_before(planned(folder, row, seed).folder) is not None for seed in seeds)


def _study(search: Search, folder: Path) -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError("--random and --bayes need an extra: pip install 'gen_models[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if search.storage is None:
        folder.mkdir(parents=True, exist_ok=True)
    url = search.storage or f"sqlite:///{folder.absolute() / 'optuna.db'}"
    sampler: Any = optuna.samplers.RandomSampler(seed=0)
    try:
        study = optuna.create_study(
            storage=url,
            study_name=search.variant,
            load_if_exists=True,
            direction=search.objective[1],
            sampler=sampler,
        )
        _refuse_another_search(search, study)
        begun = len(study.get_trials(deepcopy=False))
        # Seeded by how many trials there are: a search that goes on does not draw its first points again.
        study.sampler = (
            optuna.samplers.RandomSampler(seed=begun)
            if search.kind == "random"
            else optuna.samplers.TPESampler(seed=begun, constant_liar=True)
        )
        return study
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"the search's database {url} cannot be used: {error}") from error


def _refuse_another_search(search: Search, study: Any) -> None:
    """Trials of another space or objective are not to be mixed with these."""
    asked = {"space": {name: list(where) for name, where in search.space.items()}, "objective": list(search.objective)}
    asked = json.loads(json.dumps(asked, default=str))
    before = study.user_attrs.get("asked")
    if before is None:
        study.set_user_attr("asked", asked)
    elif before != asked:
        raise InputError(f"the folder's search is another one: {before}, not {asked}; choose another --run-dir")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's search, against other processes of this machine."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".search.lock").open("a") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _distributions(search: Search) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name, where in search.space.items():
        if not isinstance(where, Range):
            found[name] = CategoricalDistribution(where)
        elif isinstance(getattr(search.config, name), int):
            found[name] = IntDistribution(int(where.low), int(where.high), log=where.log)
        else:
            found[name] = FloatDistribution(where.low, where.high, log=where.log)
    return found


def _row(search: Search, trial: Any) -> Row:
    values = {name: trial.params[name] for name in search.space}
    config = dataclasses.replace(search.config, **values)
    return Row(f"{search.variant},trial={trial.number}", search.variant, config)


def _here(folder: Path) -> str:
    return f"{platform.node()}:{folder.absolute()}"


def _kind(annotation: Any) -> Any:
    """The type without what stands beside it."""
    return get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation


def _range(name: str, kind: type, values: str, known: Range | None) -> Range:
    try:
        low, high = (kind(value) for value in values.split(","))
    except ValueError as error:
        raise InputError(f"--search {name} takes LOW,HIGH, two numbers, got {values!r}") from error
    if not low < high or not math.isfinite(low) or not math.isfinite(high):
        raise InputError(f"--search {name}: {low} must be below {high}")
    log = low > 0 and (known.log if known is not None else high / low >= 100)  # over two decades: its logarithm
    return Range(low, high, log)
