"""Rows that Optuna draws: `--random N` and `--bayes N`, judged by the validation split.

Trials are kept in a database, by default an SQLite file in the sweep's folder; with a database that several machines
reach, all of them draw from one study until it has N trials, and each trains its own. Random search: Bergstra & Bengio
(2012). `--bayes` is the tree-structured Parzen estimator of Bergstra et al. (2011), where trials under way count with
the worst value so far (a constant liar). Imports no JAX.
"""

import json
import math
import platform
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from gen_models.run.config import InputError
from gen_models.run.endings import warn_once
from gen_models.run.fields import with_values
from gen_models.sweep.plan import Row
from gen_models.sweep.report.study import RunRecord
from gen_models.sweep.space import Space, distributions

Objective = tuple[str, Literal["maximize", "minimize"]]


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class Search(NamedTuple):
    """What is searched, and how."""

    kind: str  # "random" or "bayes"
    trials: int  # in all
    space: Space
    objective: Objective
    storage: str | None  # a database's URL; None: an SQLite file in the folder
    variant: str
    config: Any  # what the trials change


def rows(search: Search, folder: Path, at_once: int) -> list[Row]:
    """The study's trials that belong to this folder and have not been told, after asking for up to `at_once` more.

    Of a random search all that are missing are asked for, whatever `at_once`.
    """
    import optuna

    with _alone(folder), _study(search, folder) as study:  # two processes on one folder would draw the same points
        return _drawn(search, study, _here(folder), at_once, optuna.trial.TrialState.RUNNING)


def _drawn(search: Search, study: Any, here: str, at_once: int, running: Any) -> list[Row]:
    """What `rows` gives, of an open study."""
    trials = study.get_trials(deepcopy=False)
    for trial in trials:  # a process died between asking and saying where
        if search.storage is None and trial.state is running and "folder" not in trial.user_attrs:
            study._storage.set_trial_user_attr(trial._trial_id, "folder", here)
            trials = study.get_trials(deepcopy=False)
    waiting = [t for t in trials if t.state is running and t.user_attrs.get("folder") == here]
    missing = search.trials - len(trials)
    if not waiting and missing > 0:
        for _ in range(missing if search.kind == "random" else min(missing, at_once)):
            trial = study.ask(distributions(search.config, search.space))
            trial.set_user_attr("folder", here)
        trials = study.get_trials(deepcopy=False)
        waiting = [t for t in trials if t.state is running and t.user_attrs.get("folder") == here]
    return [_row(search, trial) for trial in waiting]


def all_rows(search: Search, folder: Path) -> list[Row]:
    """Every trial of this folder, best first; those without a value last."""
    here = _here(folder)
    with _study(search, folder) as study:
        trials = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("folder") == here]
    sign = -1 if search.objective[1] == "maximize" else 1
    trials.sort(key=lambda t: (t.value is None, sign * t.value if t.value is not None else 0.0, t.number))
    return [_row(search, trial) for trial in trials]


def tell(search: Search, folder: Path, row: Row, values: Sequence[float]) -> None:
    """Tell the study the value of a row's trial: the mean over its seeds.

    A trial that has no value, as a run of it diverged, is told as failed.
    """
    import optuna

    number = int(row.label.rsplit("=", 1)[1])
    good = [value for value in values if math.isfinite(value)]
    complete = bool(values) and len(good) == len(values)
    state = optuna.trial.TrialState.COMPLETE if complete else optuna.trial.TrialState.FAIL
    with _study(search, folder) as study:  # another process that shares the folder may have told it
        study.tell(number, sum(good) / len(good) if complete else None, state=state, skip_if_finished=True)


def score(record: RunRecord, objective: Objective, until: int | None = None, best: bool = False) -> float:
    """A run's newest value of the objective, of those up to the step `until`; NaN where it diverged or failed.

    With `best`, the best of these values, as of a run that stops early.

    Raises:
      InputError: the run never measured it.
    """
    if record.status in ("diverged", "failed"):
        return math.nan
    name = objective[0]
    found = [float(row[name]) for row in record.history if name in row and (until is None or row["step"] <= until)]
    if not found:
        measured = sorted({key for row in record.history for key in row if "/" in key and not key.startswith("train/")})
        told = f"it has {', '.join(measured)}" if measured else "it was never evaluated: lower --evaluate-every"
        raise InputError(f"{record.label} has no {name} to judge it by; {told}")
    finite = [value for value in found if math.isfinite(value)]
    if best and finite:
        return max(finite) if objective[1] == "maximize" else min(finite)
    return found[-1]


@contextmanager
def _study(search: Search, folder: Path) -> Iterator[Any]:
    """The search's study, made where there is none; its database is let go of afterwards.

    Raises:
      InputError: Optuna is missing, the database cannot be used, or it holds another search.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("--random and --bayes need an extra: pip install 'gen_models[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if search.storage is None:
        folder.mkdir(parents=True, exist_ok=True)
    url = search.storage or f"sqlite:///{folder.absolute() / 'optuna.db'}"
    with ExitStack() as stack:
        try:
            storage = optuna.storages.RDBStorage(url)
            stack.callback(storage.engine.dispose)  # last: its connections are closed once they are given back
            stack.callback(storage.remove_session)  # first: gives the session's connection back
            study = optuna.create_study(
                storage=storage, study_name=search.variant, load_if_exists=True, direction=search.objective[1]
            )
            _refuse_another_search(search, study)
            begun = len(study.get_trials(deepcopy=False))
            # Seeded by how many trials there are: a search that goes on does not draw its first points again.
            study.sampler = (
                optuna.samplers.RandomSampler(seed=begun)
                if search.kind == "random"
                else optuna.samplers.TPESampler(seed=begun, constant_liar=True)
            )
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"the search's database {url} cannot be used: {error}") from error
        yield study


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
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                warn_once(
                    f"the file system of {folder} has no locks ({error.strerror}): nothing keeps a second process from "
                    "searching there, so start only one"
                )
        yield


def _row(search: Search, trial: Any) -> Row:
    values = {name: trial.params[name] for name in search.space}
    config = with_values(search.config, values)
    return Row(f"{search.variant},trial={trial.number}", search.variant, config)


def _here(folder: Path) -> str:
    return f"{platform.node()}:{folder.absolute()}"
