"""A run directory is asked for again: whether it is the same run's, with the same data, and what is left to be done."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from gen_models.measures.figure import Figure
from gen_models.run import kept_data, paths
from gen_models.run.config import INCIDENTAL
from gen_models.run.fields import flat, from_json, names_marked, to_json
from gen_models.run.record import Request, Run, read_json, refuse_earlier_form

# Fields that say how far a run is trained, and nothing of what it does until there: it goes on with other values.
LENGTHS = ("steps", "early_stopping")


def refuse_another_run(request: Request, old: Mapping[str, Any]) -> None:
    """Refuse a request that is not for the run whose `config.json` holds `old`."""
    folder, config = request.folder, request.config
    refuse_earlier_form(folder, old)
    if old["experiment"] != request.experiment.name:
        raise ValueError(
            f"{folder} holds a run of {old['experiment']}, not of {request.experiment.name}: choose another --run-dir"
        )
    different = _differing(request, old)
    before, now, names = different.before, different.now, different.names
    if not set(names) <= set(LENGTHS) and not paths.moved(before, now, [n for n in names if n not in LENGTHS]):
        fields = ", ".join(f"{name} is {before.get(name)!r} there and {now.get(name)!r} here" for name in names)
        raise ValueError(
            f"{folder} holds a run with another config: {fields}. Choose another --run-dir, or repeat the old fields"
        )
    if set(names) & set(LENGTHS):
        _refuse_fewer_steps(Run(folder), config)


class _Differing(NamedTuple):
    """Two configs of one class, as `flat` gives them, and the names of the fields in which they differ."""

    before: dict[str, Any]
    now: dict[str, Any]
    names: list[str]  # incidental ones do not count


def _differing(request: Request, old: Mapping[str, Any]) -> _Differing:
    """How the config that is asked for differs from what `config.json` holds; ValueError where that is no config."""
    config = request.config
    try:  # a field that the code has gained since the run began stands at its default
        before = flat(to_json(from_json(type(config), old["config"])))
    except ValueError as error:
        raise ValueError(
            f"{request.folder / 'config.json'} cannot be used ({error}): restore it, use the version that made the run "
            "(environment.json names its commit), or choose another --run-dir"
        ) from error
    now, incidental, places = flat(to_json(config)), names_marked(config, INCIDENTAL), paths.path_fields(config)
    if config.early_stopping:  # then evaluations decide where the run ends
        incidental = [name for name in incidental if name not in ("evaluate_every", "evaluated")]
    names = [
        name
        for name in sorted(before | now)
        if name not in incidental
        and before.get(name) != now.get(name)
        and not (name in places and paths.same_path(before.get(name), now.get(name)))
    ]
    return _Differing(before, now, names)


def moved(request: Request) -> str:
    """Where the data of the run in the folder lay and lie now, in words; "" where they have not moved."""
    path = request.folder / "config.json"
    if not path.exists():
        return ""
    different = _differing(request, Run(request.folder).config())
    return ", ".join(
        f"{name} is {different.before[name]!r} there and {different.now[name]!r} here"
        for name in different.names
        if paths.moved(different.before, different.now, [name])
    )


def refuse_other_data(request: Request, data: Mapping[str, Any]) -> None:
    """Compare the data that a run is asked for with, as `Job.described` says them, with its own; nothing is written.

    Raises:
      ValueError: they are others.
    """
    data_to_keep(request, data)


def data_to_keep(request: Request, now: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What `data.json` is to hold; None: as it is. Raises ValueError where the run's data are others now."""
    run, places = Run(request.folder), moved(request)
    if not places and run.result() is not None and steps_before(request) is None:
        return None  # it has its figures already
    steps = [int(path.name) for path in run.checkpoints.glob("*") if path.name.isdigit()]
    trained = max(steps, default=0) or (run.steps_done() if run.result() is not None else 0)
    accepted = getattr(request.config, "changed_data", False)
    return kept_data.to_keep(request.folder, run.data(), now, step=trained, places=places, accepted=accepted)


def steps_before(request: Request) -> int | None:
    """Of a run in the folder that is now asked for with other `LENGTHS`: the steps asked for before; else None."""
    path = request.folder / "config.json"
    if not path.exists():
        return None
    old = from_json(type(request.config), read_json(path)["config"])
    same = all(getattr(old, name, None) == getattr(request.config, name, None) for name in LENGTHS)
    return None if same else old.steps


def finished_as_asked(request: Request) -> list[Figure] | None:
    """The figures of the run in the folder, where it has finished and there is nothing to be done; else None.

    A run that is asked to go on for longer, or whose data have moved and are to be compared, has something to do.
    """
    return Run(request.folder).result() if steps_before(request) is None and not moved(request) else None


def _refuse_fewer_steps(run: Run, config: Any) -> None:
    """Refuse to end a run before the steps that it has taken, or to go on as it is with one that stopped early."""
    done = run.steps_done()
    if config.steps < done:
        raise ValueError(
            f"{run.folder} has {done} steps done, more than --steps {config.steps} (steps={config.steps} in the "
            f"library): ask for {done} or more, or choose another --run-dir"
        )
    result = read_json(run.folder / "result.json") if (run.folder / "result.json").exists() else {}
    if 0 < config.early_stopping <= result.get("evaluations_since_best", 0) and done < config.steps:
        raise ValueError(
            f"{run.folder} stopped early at step {done}, {result['evaluations_since_best']} evaluations after its "
            "best: to go on, give a higher --early-stopping, or 0 (early_stopping= in the library)"
        )
