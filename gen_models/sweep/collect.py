"""From a sweep's folder to what it found. Imports no JAX."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_models.run import directory as runs
from gen_models.run.config import Experiment
from gen_models.sweep.plan import Plan, Planned, group_of, merge
from gen_models.sweep.report.study import Group, Member, Study
from gen_models.sweep.runner import Ending


def collect(
    experiment: Experiment,
    plan: Plan,
    endings: Mapping[Path, Ending],
    groups: Mapping[str, Group],
    costs: Mapping[str, Mapping[str, float]],
) -> Study:
    """What the runs' directories hold, and how they were trained; what earlier processes told is kept in the folder.

    Args:
      experiment: whose sweep it is.
      plan: its runs.
      endings: of the runs that this process saw; those of others are read.
      groups: how this process trained them, by `group_of`.
      costs: of a step, by `group_of`.
    """
    folder = plan.folder
    known = merge(folder / "costs.json", costs)
    trained = merge(folder / "execution.json", {name: group._asdict() for name, group in groups.items()})
    of_rows = {row.label: group_of(row.config) for row in plan.rows}
    environments = [_environment(one.folder) for one in plan.members() if (one.folder / "environment.json").exists()]
    return Study(
        experiment=experiment.name,
        question=(experiment.doc or "").strip().split("\n\n")[0].replace("\n", " "),
        base=plan.base,
        labels=tuple(row.label for row in plan.rows),
        configs={row.label: _told(row.config) for row in plan.rows},
        members=[member(one, endings.get(one.folder)) for one in plan.members()],
        seeds=plan.seeds,
        budget=plan.budget,
        costs={label: known[group] for label, group in of_rows.items() if group in known},
        groups=[
            Group(**group | {"labels": tuple(group["labels"])})
            for name, group in trained.items()
            if name in of_rows.values()
        ],
        environment=environments[-1] if environments else {},
        command=plan.command,
        directions=dict(experiment.directions),
    )


def member(one: Planned, ending: Ending | None = None) -> Member:
    """One run of the sweep, from its directory."""
    run = runs.Run(one.folder)
    if not (one.folder / "config.json").exists():
        status, message = (ending.status, ending.message) if ending else ("missing", "")
        return Member(one.label, one.config.seed, _status(status), message=message)
    history, figures, stopped = run.history(), run.result(), run.stopped()
    steps = max((row["step"] for row in history), default=0)
    pictures = {path.stem: path for path in sorted(run.samples.glob("*.png")) if not path.stem.startswith("step_")}
    if figures is not None:
        return Member(
            one.label, one.config.seed, "finished", figures, history, run.seconds(), one.config.steps, pictures
        )
    status, message = ("missing", "not trained to its end yet")
    if stopped is not None:
        status, message, steps = stopped["status"], stopped["message"], max(steps, stopped["step"])
    elif ending is not None:
        status, message = ending.status, ending.message
    return Member(one.label, one.config.seed, _status(status), (), history, None, steps, {}, message)


def _status(status: str) -> Any:
    return status if status in ("finished", "diverged", "dropped", "failed") else "missing"


def _told(config: Any) -> dict[str, Any]:
    left_out = {"seed", "run_dir", "coordinator", "processes", "process_id", "tensorboard"}
    return {name: value for name, value in runs.plain(config).items() if name not in left_out}


def _environment(folder: Path) -> dict[str, Any]:
    return runs.read_json(folder / "environment.json")["starts"][-1]
