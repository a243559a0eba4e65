"""Compare finished runs of one experiment: tables of their figures, and their samples side by side.

python -m tools.ladder runs/likelihood_ladder
python -m tools.ladder runs/likelihood_ladder --out ladder.png --markdown ladder.md
python -m tools.ladder runs/language_model --by nats/token --costs costs.png --against parameters training

Reads `result.json` and `samples/samples.png` of every finished run below the folder. Runs of one config with several
seeds share a row, with the mean and the sample standard deviation over them. Runs that were measured on other images
stand in another table, as their figures are not to be compared.
"""

import argparse
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure as Canvas
from PIL import Image
from rich.console import Console
from rich.table import Table

from gen_models.measures.figure import Figure
from gen_models.run import cli
from gen_models.run.config import INCIDENTAL, RunConfig
from gen_models.run.console import console, rounded_text
from gen_models.run.directory import Run, read_json, refuse_earlier_form
from gen_models.run.experiments import find
from gen_models.run.fields import flat, from_json, names_marked, settings

SPAN = 3  # between the largest and the smallest, beyond which an axis is logarithmic
WIDE = 400  # columns of a table that goes to a file, where nothing need be folded


def main() -> None:
    """Parse, read, show, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="read all runs below this folder, such as runs/likelihood_ladder")
    parser.add_argument("--by", default="NLL", help="order rows by this figure, largest first (default: NLL)")
    parser.add_argument(
        "--picture", default="samples.png", help="show this picture of each run's samples/ (default: samples.png)"
    )
    parser.add_argument("--out", type=Path, help="write the pictures to this PNG file (default: FOLDER/PICTURE)")
    parser.add_argument("--costs", type=Path, help="draw that figure against others too, to this PNG file")
    parser.add_argument(
        "--against", nargs="+", default=["parameters", "training"], help="the others (default: parameters training)"
    )
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too, as Markdown")
    arguments = parser.parse_args()
    runs = finished(arguments.folder)
    if not runs:
        raise ValueError(f"no finished run in {arguments.folder}: each needs a result.json")
    rows = table(runs, arguments.by)
    _show(rows, {name: len(some) for name, some in runs.items()}, arguments.by, arguments.markdown)
    if arguments.costs is not None:
        count = costs(rows, arguments.by, arguments.against, arguments.costs)
        print(f"{arguments.by} of {count} rows against {', '.join(arguments.against)}: {arguments.costs}")
    out = arguments.out or arguments.folder / arguments.picture
    drawn = pictures({name: runs[name][0] for name in rows}, arguments.picture, out)
    print(f"{arguments.picture} of {drawn} rows: {out}")


def finished(folder: Path) -> dict[str, list[Run]]:
    """{row: its finished runs}, from every result.json below the folder.

    A row is called by its variant; where runs of a variant have several configs, by the fields that differ as well.
    """
    groups: dict[str, dict[str, list[Run]]] = {}
    for path in sorted(folder.rglob("result.json")):
        run = Run(path.parent)
        variant = str(run.config()["variant"])
        groups.setdefault(variant, {}).setdefault(json.dumps(_settings(run), sort_keys=True), []).append(run)
    found = {}
    for variant, configs in groups.items():
        settings = [_settings(runs[0]) for runs in configs.values()]
        names = dict.fromkeys(name for one in settings for name in one)
        differing = [name for name in names if len({json.dumps(one.get(name)) for one in settings}) > 1]
        for one, runs in zip(settings, configs.values(), strict=True):
            what = ", ".join(f"{name}={one.get(name)}" for name in differing)
            found[f"{variant} ({what})" if what else variant] = runs
    return found


def _settings(run: Run) -> dict[str, Any]:
    """The fields of a run's config that may change its figures, but for the seed, by dotted names."""
    saved = run.config()
    refuse_earlier_form(run.folder, saved)
    try:
        experiment = find(saved["experiment"], saved.get("file"))
        return settings(from_json(experiment.config_class, saved["config"]))
    except (ValueError, ImportError):  # it is gone, or of another version: its fields' marks are not known
        shared = {*names_marked(RunConfig(), INCIDENTAL), "data_dir", "seed"}
        return {name: value for name, value in flat(saved["config"]).items() if name not in shared}


class Cell(NamedTuple):
    """A figure of a row's runs."""

    mean: float
    spread: float | None  # over runs; of a lone run the figure's own, which is over examples
    unit: str
    note: str
    measured_on: str


def table(runs: Mapping[str, Sequence[Run]], by: str) -> dict[str, dict[str, Cell]]:
    """{row: {figure: its cell}}, the largest of the figure `by` first.

    Raises:
      ValueError: no run has the figure `by`.
    """
    rows = {}
    for name, some in runs.items():
        figures: dict[str, list[Figure]] = {}
        for run in some:
            for figure in run.result() or []:
                figures.setdefault(figure.name, []).append(figure)
        for run in some:
            seconds = read_json(run.folder / "result.json")["seconds"]
            figures.setdefault("training", []).append(Figure("training", seconds, "s", "this machine"))
        rows[name] = {key: _of_runs(values) for key, values in figures.items()}
    if not any(by in row for row in rows.values()):
        known = sorted({key for row in rows.values() for key in row})
        raise ValueError(f"no run has the figure {by!r}: known: {', '.join(known)}")
    return dict(sorted(rows.items(), key=lambda row: -row[1][by].mean if by in row[1] else math.inf))


def _of_runs(figures: Sequence[Figure]) -> Cell:
    values = [figure.value for figure in figures]
    spread = statistics.stdev(values) if len(values) > 1 else figures[0].spread
    return Cell(statistics.fmean(values), spread, figures[0].unit, figures[0].note, figures[0].measured_on)


def _show(rows: Mapping[str, Mapping[str, Cell]], counts: Mapping[str, int], by: str, markdown: Path | None) -> None:
    """Print a table for each set of images that the figure `by` was measured on, and write them as Markdown."""
    tables: dict[str, dict[str, Mapping[str, Cell]]] = {}
    for variant, row in rows.items():
        tables.setdefault(row[by].measured_on if by in row else f"without {by}", {})[variant] = row
    text = []
    for title, some in tables.items():
        names = list(dict.fromkeys(name for row in some.values() for name in row))
        units = {name: row[name].unit for row in some.values() for name in row}
        heads = [
            "variant",
            *(f"{name} [{units[name]}]" if units[name] else name for name in names),
            "likelihood",
            "runs",
        ]
        lines = []
        for variant, row in some.items():
            cells = [rounded_text(row[name].mean, row[name].spread) if name in row else "" for name in names]
            note = row[by].note if by in row else ""
            lines.append([variant, *cells, note, str(counts[variant])])
        shown = Table(title=title, title_justify="left")
        for head in heads:
            shown.add_column(head, overflow="fold")
        for line in lines:
            shown.add_row(*line)
        (console if console.is_terminal else Console(width=WIDE)).print(shown)
        rule = ["---"] * len(heads)
        text += [title + ":", "", *("| " + " | ".join(line) + " |" for line in [heads, rule, *lines]), ""]
    if markdown is not None:
        markdown.write_text("\n".join(text))


def pictures(runs: Mapping[str, Run], picture: str, out: Path) -> int:
    """Draw each row's picture beside the others, under its name; returns how many there were.

    Raises:
      ValueError: no run has such a picture.
    """
    found = {name: run.samples / picture for name, run in runs.items() if (run.samples / picture).exists()}
    if not found:
        raise ValueError(f"no run has samples/{picture}")
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    canvas = Canvas(figsize=(3 * columns, 3.2 * rows))
    axes = canvas.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, path) in zip(axes.flat, found.items(), strict=False):
        with Image.open(path) as file:
            axis.imshow(file, cmap="gray")
        axis.set_title(name, fontsize=10)
    canvas.tight_layout()
    canvas.savefig(out, dpi=150)
    return len(found)


def costs(rows: Mapping[str, Mapping[str, Cell]], by: str, against: Sequence[str], out: Path) -> int:
    """Draw the figure `by` of each row against other figures, a panel each; returns how many rows there were.

    A row without one of the two figures is left out of that panel, and so is what cost nothing, as counts have no
    parameters. A figure that spans more than a factor of three stands on a logarithmic axis.

    Raises:
      ValueError: no row has the figure and one of the others.
    """
    panels = {
        cost: {name: row for name, row in rows.items() if by in row and cost in row and row[cost].mean > 0}
        for cost in against
    }
    if not any(panels.values()):
        raise ValueError(f"no row has both {by} and one of {', '.join(against)}")
    canvas = Canvas(figsize=(5.5 * len(panels), 4.5))
    axes = canvas.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (cost, shown) in zip(axes, panels.items(), strict=True):
        for i, (name, row) in enumerate(shown.items()):
            x, y = row[cost].mean, row[by].mean
            axis.errorbar(x, y, row[by].spread or None, fmt="o", capsize=3, color=f"C{i % 10}")
            axis.annotate(name, (x, y), (6, 4), textcoords="offset points", fontsize=8)
        values = [row[cost].mean for row in shown.values()]
        if shown and max(values) > SPAN * min(values):
            axis.set_xscale("log")
        axis.margins(x=0.25)
        axis.set_xlabel(_named({row[cost].unit for row in shown.values()}, cost))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(_named({row[by].unit for row in rows.values() if by in row}, by))
    canvas.tight_layout()
    canvas.savefig(out, dpi=150)
    return len({name for shown in panels.values() for name in shown})


def _named(units: set[str], name: str) -> str:
    said = ", ".join(sorted(unit for unit in units if unit))
    return f"{name} [{said}]" if said else name


if __name__ == "__main__":
    cli.guard(main)
