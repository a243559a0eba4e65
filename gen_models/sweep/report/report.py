"""A study written down: `report.html`, one file that needs nothing else, and `report.md` with its pictures beside it.

Both are made of the same blocks (`document.py`) from the same rows (`table.py`).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gen_models.files import write_text
from gen_models.sweep.report import curves, pictures
from gen_models.sweep.report.document import (
    Block,
    Bullets,
    Code,
    Folded,
    Gallery,
    Grid,
    Heading,
    Paragraph,
    Picture,
    as_html,
    as_markdown,
)
from gen_models.sweep.report.results import many, result
from gen_models.sweep.report.statistics import COVERAGE
from gen_models.sweep.report.study import Group, Study
from gen_models.sweep.report.table import (
    Column,
    Summary,
    summaries,
)

FEW = 10  # seeds below which the bootstrap's coverage is said
# (what, text) of every report; a report of few seeds says more
READING = (
    (
        "Intervals",
        "are over seeds: they say what another seed would change (initial parameters, order of the data, noise). "
        "They do not say what other test examples, data sets or machines would, and runs without a figure are not in "
        "them.",
    ),
    (
        "Bootstrap and Student.",
        "The bootstrap (percentile, 10,000 resamples) assumes no distribution but is too narrow for few seeds. "
        "Student's interval is exact for normal values at any number of seeds. Both are in the folded tables.",
    ),
    (
        "Differences",
        "are paired: each run minus the base's run of the same seed, over the seeds that both finished. p: paired "
        "t-test, two-sided. No p stands where there are fewer than two pairs, or where every pair differs by the "
        "same amount other than zero, as there is no spread to test with.",
    ),
    (
        "Holm.",
        "The more rows are compared, the likelier one looks different by chance. Holm's correction keeps the "
        "chance of any false finding within one figure at 5%. It does not correct over figures: choose the one "
        "that decides before looking; here that is the first. A large p does not show that two rows are equal.",
    ),
)


class ReportFiles(NamedTuple):
    """Where a report was written."""

    page: Path  # report.html
    text: Path  # report.md


def write_report(study: Study, folder: str | Path) -> ReportFiles:
    """Write `report.html`, `report.md` and the latter's pictures in `report/`, each whole or not at all.

    Args:
      study: what the sweep found.
      folder: is made where it is missing.

    Raises:
      ValueError: the base is not one of the labels.
      ImportError: SciPy is not there.
      OSError: the folder cannot be written.
    """
    folder = Path(folder)
    table = summaries(study)  # first: what is wrong with the study is said before anything is written
    beside = folder / "report"
    beside.mkdir(parents=True, exist_ok=True)
    name = study.experiment.rsplit(".", 1)[-1]
    head = f"{name}: {many(len(study.labels), 'row')}, {many(len(study.seeds), 'seed')}"
    blocks = [
        *([Paragraph(study.question)] if study.question else []),
        Paragraph(f"{study.experiment}, {study.budget}. Seeds: {_and(study.seeds)}. Base: {study.base}.", small=True),
        *result(study, table),
        *_reading(study),
        *_differences(study, table, beside),
        *_curves(study, beside),
        *_samples(study, beside),
        *_execution(study.groups),
        *_unfinished(study),
        *_configs(study),
        Heading("Environment"),
        Grid(("what", "value"), [(name, _cell(value)) for name, value in study.environment.items()], left=2),
        Heading("Made by"),
        Code(study.command),
    ]
    report = ReportFiles(folder / "report.html", folder / "report.md")
    write_text(report.page, as_html(head, blocks))
    write_text(report.text, as_markdown(head, blocks))
    return report


def _reading(study: Study) -> list[Block]:
    items = list(READING)
    if len(study.seeds) < FEW:
        measured = ", ".join(f"{share}% with {seeds}" for seeds, share in COVERAGE.items())
        items.append(
            (
                f"Few seeds ({len(study.seeds)}).",
                f"Measured on normal values, the 95% bootstrap interval holds the true mean in {measured} seeds. Read "
                "Student's interval and the p-values instead."
                if len(study.seeds) > 1
                else "One seed has no interval and no test: a difference between two runs may be the seed's.",
            )
        )
    if any(run.status != "finished" for run in study.runs):
        items.append(
            (
                "Runs that did not finish",
                "are left out of means and differences, so that a row that often diverges may look better than it "
                "is: read its number of runs first.",
            )
        )
    return [Heading("How to read it"), Bullets(items)]


def _differences(study: Study, table: Mapping[Column, Sequence[Summary]], beside: Path) -> list[Block]:
    drawn = pictures.forest(study, table)
    if drawn is None:
        return []
    pictures.png(drawn, beside / "forest.png")
    about = (
        f"Mean paired differences from {study.base}. A thick line is the 95% bootstrap interval, a thin one Student's, "
        "which may run out of the panel. A filled dot says that Holm's p is below 0.05, and an arrow with a number "
        "that the difference is too large to be drawn to scale. Figures that do not vary over seeds are not drawn."
    )
    alt = f"Forest plot of the differences from {study.base}"
    picture = Picture(pictures.svg(drawn), "report/forest.png", alt)
    return [Heading("Differences from the base"), picture, Paragraph(about, small=True)]


def _curves(study: Study, beside: Path) -> list[Block]:
    found = curves.curves(study)
    if found is None:
        return []
    drawn, left_out = found
    pictures.png(drawn, beside / "curves.png")
    about = (
        "A line is the mean over the finished runs, and a band goes from the least to the largest of them. Dashed "
        "lines are single runs that did not finish, up to their end. The range of a linear axis leaves out the first "
        f"twentieth of the steps, and what only runs that did not finish reach. {left_out}"
    )
    picture = Picture(pictures.svg(drawn), "report/curves.png", "Metrics against the step, a line for each row")
    return [Heading("Curves"), picture, Paragraph(about.strip(), small=True)]


def _samples(study: Study, beside: Path) -> list[Block]:
    found = pictures.samples(study)
    if not found:
        return []
    pictures.png(pictures.sheet(found), beside / "samples.png")
    shown = [(f"{label}, seed {seed}", pictures.as_data(picture)) for label, (seed, picture) in found.items()]
    return [
        Heading("Samples"),
        Gallery(shown, "report/samples.png", "Samples of each row"),
        Paragraph(
            "These are of each row's first finished seed, not chosen by looks; large ones are scaled down.",
            small=True,
        ),
    ]


def _execution(groups: Sequence[Group]) -> list[Block]:
    if not groups:
        return []
    lines = []
    for group in groups:
        chosen = group.seconds_per_step.get(group.execution)
        measured = [
            f"{name} {1000 * seconds:.3g} ms" + (f" ({seconds / chosen:.2f}×)" if chosen else "")
            for name, seconds in sorted(group.seconds_per_step.items(), key=lambda item: item[1])
        ]
        lines.append((_and(group.labels), str(group.runs), group.execution, ", ".join(measured), group.note))
    head = ("rows", "runs", "execution", "measured, a step of one run", "chosen because")
    about = "Runs of a group share one compiled program. Times in brackets are relative to the chosen execution's."
    return [Heading("Execution"), Grid(head, lines, len(head)), Paragraph(about, small=True)]


def _unfinished(study: Study) -> list[Block]:
    bad = [run for label in study.labels for run in study.runs if run.label == label and run.status != "finished"]
    if not bad:
        return []
    lines = [(run.label, str(run.seed), run.status, f"{run.steps:,}", run.message) for run in bad]
    return [Heading("Runs that did not finish"), Grid(("row", "seed", "status", "steps", "message"), lines, 5)]


def _configs(study: Study) -> list[Block]:
    configs = {label: study.configs.get(label, {}) for label in study.labels}
    names = list(dict.fromkeys(name for config in configs.values() for name in config))
    known = [config for config in configs.values() if config]
    shared = {n: known[0][n] for n in names if all(n in c and _same(c[n], known[0].get(n)) for c in known)}
    differing = [name for name in names if name not in shared]
    blocks: list[Block] = [Heading("Configs")]
    if differing:
        lines = [(label, *(_cell(c[n]) if n in c else "" for n in differing)) for label, c in configs.items()]
        blocks.append(Grid(("row", *differing), lines, 1 + len(differing)))
    if shared:
        blocks.append(Folded("Fields that all rows share", [Code(json.dumps(shared, indent=2, default=str))]))
    return blocks if len(blocks) > 1 else []


def _same(one: Any, other: Any) -> bool:
    """By JSON: 1 and 1.0 and True are different settings."""
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(_cell, value)) if all(isinstance(v, str) for v in value) else json.dumps(value, default=str)
    return "" if value is None else str(value)


def _and(some: Sequence[Any]) -> str:
    """A few by name, many by number."""
    texts = [str(one) for one in some]
    return ", ".join(texts) if len(texts) <= 12 else f"{', '.join(texts[:10])} and {len(texts) - 10} more"
