"""Say what goes wrong in runs, by what they logged and by their samples, and what helps.

python -m tools.diagnose RUN
python -m tools.diagnose RUN --features classifier         # classes that samples cover, by a classifier of the data
python -m tools.diagnose runs/gan_grid/sweep --samples 0   # every run below a folder, by its log alone

Each finding has its evidence, how sure it is, and a remedy, by an option of the run's experiment where it has one.
Where nothing is found, what was looked for is said, and what could not be. The exit status is 0 in either case.
"""

import argparse
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from gen_models.run import cli, tool
from gen_models.run.config import InputError
from gen_models.run.console import console, printable, say
from gen_models.run.directory import write_json
from gen_models.run.endings import warn

if TYPE_CHECKING:
    from gen_models.diagnosis.checks import Diagnosis


def main() -> None:
    """Parse, look, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directories, or folders of runs")
    tool.run_options(parser)
    parser.add_argument("--features", metavar="NETWORK", help="compare samples in its features: see tools.evaluate")
    parser.add_argument(
        "--samples", type=int, default=1000, metavar="N", help="to draw of each run; 0: look at its log alone"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all of it there too")
    arguments = parser.parse_args()
    if arguments.samples < 0 or arguments.samples == 1:
        raise InputError(f"--samples must be 0, or 2 or more, got {arguments.samples}")
    if arguments.features and not arguments.samples:
        raise InputError("--features are of samples: leave it out, or give --samples above 0")
    folders = runs_below(arguments.runs)
    found = diagnosed(folders, arguments)
    for folder, diagnosis in found.items():
        show(folder, diagnosis) if len(found) == 1 else None
    if len(found) > 1:
        show_several(found)
    if arguments.json is not None:
        write_json(arguments.json, {str(folder): as_json(diagnosis) for folder, diagnosis in found.items()})
        say("written:", arguments.json)


def runs_below(places: Sequence[Path]) -> list[Path]:
    """The run directories that these are, or that lie below them, in order.

    Raises:
      InputError: there are none.
    """
    found = []
    for place in places:
        below = [place] if (place / "config.json").exists() else []
        below = below or sorted(path.parent for path in place.rglob("config.json"))
        if not below:
            raise InputError(
                f"{place} holds no run: give a run's directory, such as runs/vae/base/0, or a folder of runs"
            )
        found += below
    return list(dict.fromkeys(found))


def diagnosed(folders: Sequence[Path], arguments: argparse.Namespace) -> "dict[Path, Diagnosis]":
    """The diagnosis of each run; of several, those that cannot be read are named and left out."""
    diagnose_run = importlib.import_module("gen_models.run.diagnosing").diagnose_run
    extractor = None
    if arguments.features:
        extractors = importlib.import_module("gen_models.run.extractors")
        # A classifier of a run's own data is another for each run.
        of_data = arguments.features == extractors.OF_DATA
        extractor = arguments.features if of_data else extractors.extractor_of(arguments.features)
    place = {name: getattr(arguments, name) for name in ("data_dir", "dataset", "experiment")}
    place["best"] = True if arguments.best else None
    found = {}
    for folder in folders:
        try:
            found[folder] = diagnose_run(folder, samples=arguments.samples, extractor=extractor, **place)
        except (ValueError, OSError, ImportError) as error:
            if len(folders) == 1:
                raise
            warn(f"{folder} is left out: {error}")
    if not found:
        raise InputError(f"none of the {len(folders)} runs can be read")
    return found


def show(folder: Path, diagnosis: "Diagnosis") -> None:
    """Print the findings of one run, and what was looked for."""
    if diagnosis.findings:
        show_texts(
            str(folder),
            ("finding", "evidence", "remedy"),
            [
                (f"{each.name}\n({each.certainty}, step {each.step:,})", each.evidence, each.remedy)
                for each in diagnosis.findings
            ],
        )
    else:
        say(f"{folder}: nothing found")
    say(f"looked for: {', '.join(diagnosis.looked) or 'nothing'}")
    for name, needs in diagnosis.unseen:
        say(f"could not look for {name}: that needs {needs}")


def show_texts(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts, each row apart from the next."""
    table = Table(title=printable(title), title_justify="left", show_lines=True)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    console.print(table)


def show_several(found: "Mapping[Path, Diagnosis]") -> None:
    """Print a line for each run, and how many are accused of what."""
    rows = []
    for folder, diagnosis in found.items():
        findings = diagnosis.findings
        rows.append((str(folder), "; ".join(f"{each.name} ({each.certainty})" for each in findings) or "nothing found"))
    show_texts("", ("run", "findings"), rows)
    for name in dict.fromkeys(each.name for diagnosis in found.values() for each in diagnosis.findings):
        count = sum(any(each.name == name for each in diagnosis.findings) for diagnosis in found.values())
        say(f"{name}: {count} of {len(found)} runs")


def as_json(diagnosis: "Diagnosis") -> dict[str, object]:
    """A diagnosis as JSON holds it."""
    return {
        "collapsed": diagnosis.collapsed,
        "diverged": diagnosis.diverged,
        "findings": [each._asdict() for each in diagnosis.findings],
        "looked": list(diagnosis.looked),
        "unseen": [{"failure": name, "needs": needs} for name, needs in diagnosis.unseen],
    }


if __name__ == "__main__":
    cli.guard(main)
