"""From a sweep's folder to what it found. Imports no JAX."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gen_models.run.config import Experiment
from gen_models.run.directory import Run, read_json
from gen_models.run.fields import settings
from gen_models.sweep.endings import Ending
from gen_models.sweep.plan import Plan, PlannedRun, group_of, merge
from gen_models.sweep.report.study import Group, RunRecord, Study


def collect(
    experiment: Experiment,
    plan: Plan,
    endings: Mapping[Path, Ending],
    groups: Mapping[str, Group],
    costs: Mapping[str, Mapping[str, float]],
) -> Study:
    """What the runs' directories hold, and how they were trained; the folder keeps what earlier processes measured.

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
    environments = [_environment(run.folder) for run in plan.runs() if (run.folder / "environment.json").exists()]
    return Study(
        experiment=experiment.name,
        question=(experiment.doc or "").strip().split("\n\n")[0].replace("\n", " "),
        base=plan.base,
        labels=tuple(row.label for row in plan.rows),
        configs={row.label: settings(row.config) for row in plan.rows},
        runs=[record_of(run, endings.get(run.folder)) for run in plan.runs()],
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
    )


def record_of(planned: PlannedRun, ending: Ending | None = None) -> RunRecord:
    """What is known of a run of the sweep: what its directory holds, or else the ending that this process saw."""
    known = RunRecord(planned.label, planned.config.seed, "missing")
    if not (planned.folder / "config.json").exists():
        return known if ending is None else known._replace(status=_status(ending.status), message=ending.message)
    run = Run(planned.folder)
    figures, history, stopped = run.result(), run.history(), run.stopped()
    known = known._replace(history=history, steps=max((line["step"] for line in history), default=0))
    if figures is not None:
        found = sorted(run.samples.glob("*.png"))
        pictures = {path.stem: path for path in found if not path.stem.startswith("step_")}
        done = known._replace(status="finished", figures=figures, seconds=run.seconds(), pictures=pictures)
        return done._replace(steps=run.steps_done())
    if stopped is not None:
        steps = max(known.steps, stopped["step"])
        return known._replace(status=_status(stopped["status"]), steps=steps, message=stopped["message"])
    if ending is not None:
        return known._replace(status=_status(ending.status), message=ending.message)
    return known._replace(message="not trained to its end yet")


def _status(status: str) -> Any:
    return status if status in ("finished", "diverged", "dropped", "failed") else "missing"


def _environment(folder: Path) -> dict[str, Any]:
    return read_json(folder / "environment.json")["starts"][-1]
