"""Compare finished runs of one experiment: a table of their figures, and their samples side by side.

python -m tools.ladder runs/likelihood_ladder
python -m tools.ladder runs/likelihood_ladder --out ladder.png --markdown ladder.md

Reads `result.json` and `samples/samples.png` of every finished run below the folder; runs of one variant (seeds) share
a row, with the mean and the sample standard deviation over them.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from gen_models import cli
from gen_models.runs import Figure, Run, read_json


def main() -> None:
    """Parse, read, show, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="such as runs/likelihood_ladder")
    parser.add_argument("--by", default="NLL", help="figure that rows are ordered by, largest first (default: NLL)")
    parser.add_argument("--picture", default="samples.png", help="of each run's samples/ (default: samples.png)")
    parser.add_argument("--out", type=Path, help="PNG file; by default FOLDER/<picture>")
    parser.add_argument("--markdown", type=Path, help="also write the table as Markdown")
    arguments = parser.parse_args()
    runs = finished(arguments.folder)
    if not runs:
        raise ValueError(f"no finished run in {arguments.folder}: each needs a result.json")
    rows = table(runs, arguments.by)
    _show(rows, arguments.markdown)
    out = arguments.out or arguments.folder / arguments.picture
    drawn = pictures({name: runs[name][0] for name in rows}, arguments.picture, out)
    print(f"{arguments.picture} of {drawn} variants: {out}")


def finished(folder: Path) -> dict[str, list[Run]]:
    """{variant: its finished runs}, from every result.json below the folder."""
    found: dict[str, list[Run]] = {}
    for path in sorted(folder.rglob("result.json")):
        run = Run(path.parent)
        found.setdefault(str(run.config()["variant"]), []).append(run)
    return found


def table(runs: Mapping[str, Sequence[Run]], by: str) -> dict[str, dict[str, tuple[float, float | None, str, str]]]:
    """{variant: {figure: (mean, spread, unit, note)}}, the largest of the figure `by` first.

    The spread is the sample standard deviation over runs; of a lone run the figure's own, which is over examples.

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
    return dict(sorted(rows.items(), key=lambda row: -row[1][by][0] if by in row[1] else math.inf))


def _of_runs(figures: Sequence[Figure]) -> tuple[float, float | None, str, str]:
    values = [figure.value for figure in figures]
    mean, spread = sum(values) / len(values), figures[0].spread
    if len(values) > 1:
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return mean, spread, figures[0].unit, figures[0].note


def _show(rows, markdown: Path | None) -> None:
    from rich.table import Table

    from gen_models.console import console, plain_value

    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    units = {name: row[name][2] for row in rows.values() for name in row}
    heads = ["variant", *(f"{name} [{units[name]}]" if units[name] else name for name in names), "likelihood"]
    lines = []
    for variant, row in rows.items():
        cells = [plain_value(*row[name][:2]) if name in row else "" for name in names]
        lines.append([variant, *cells, next(iter(row.values()))[3]])
    shown = Table(*heads)
    for line in lines:
        shown.add_row(*line)
    console.print(shown)
    if markdown is not None:
        rule = ["---"] * len(heads)
        markdown.write_text("\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines]) + "\n")


def pictures(runs: Mapping[str, Run], picture: str, out: Path) -> int:
    """Each variant's picture beside the others, under its name; returns how many there were."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt
    from PIL import Image

    found = {name: run.samples / picture for name, run in runs.items() if (run.samples / picture).exists()}
    if not found:
        raise ValueError(f"no run has samples/{picture}")
    columns = min(4, len(found))
    rows = -(-len(found) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3 * columns, 3.2 * rows), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, (name, path) in zip(axes.flat, found.items(), strict=False):
        with Image.open(path) as picture:
            axis.imshow(picture, cmap="gray")
        axis.set_title(name, fontsize=10)
    figure.tight_layout()
    figure.savefig(out, dpi=150)
    plt.close(figure)
    return len(found)


if __name__ == "__main__":
    cli.guard(main)
