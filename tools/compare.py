"""Compare samples of several runs with their data, in one table: how far they are, and what they leave out or copy.

python -m tools.compare runs/dcgan/base/0 runs/vae/conv/0 --features classifier
python -m tools.compare DCGAN=runs/dcgan/base/0 VAE=runs/vae/conv/0 --features classifier --markdown table.md
python -m tools.compare RUN RUN --features squeezenet:FILE --samples 2000 --json table.json

Rows are the runs, then, once, what they are read beside: as many held-out images (the floor), draws of training images
(a memoriser) and noise. Columns are those of `python -m tools.evaluate RUN --distances`. The runs must have been
trained on the same images, and all are compared with these as they are, whether a model saw them so, binarised or with
fewer levels; `--as-seen` compares with what the models see, where they all see the same.

Every run's figures are kept in RUN/distances_NAME.json, and read again where model, network, data and numbers of images
are equal.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gen_models.files import write_text
from gen_models.measures.figure import Figure
from gen_models.run import cli, tool
from gen_models.run.console import rounded_text, say, show_table

if TYPE_CHECKING:
    from gen_models.run.restore import Loaded

FLOORS = ("held-out examples", "other training examples", "memoriser", "noise")  # rows beneath the runs


class Compared(NamedTuple):
    """A table: {row: {column: figure}}, runs first."""

    rows: Mapping[str, Mapping[str, Figure]]
    notes: Mapping[str, str]  # row -> what is to be known of it, such as its directory
    measured_on: str
    network: str


def main() -> None:
    """Parse, measure what is missing, show, write."""
    arguments = parser().parse_args()
    check_options(arguments)
    table = compared(arguments)
    show(table)
    if arguments.json is not None:
        write_table(table, arguments.json)
    if arguments.markdown is not None:
        write_text(arguments.markdown, markdown(table))
        say("as Markdown:", arguments.markdown)


def parser() -> argparse.ArgumentParser:
    """The parser of the tool's arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument(
        "runs", nargs="+", metavar="[NAME=]RUN", help="run directories, with the names of their rows if not their paths"
    )
    found.add_argument(
        "--features",
        required=True,
        metavar="NETWORK",
        help="classifier (of the runs' data), classifier:RUN, squeezenet:FILE, inception:FILE or efficientnet_lite0",
    )
    found.add_argument("--samples", type=int, default=10_000, metavar="N", help="images of each set, at most")
    found.add_argument("--training", type=int, default=0, metavar="N", help="training images looked at; 0: all")
    found.add_argument("--seed", type=int, default=0, help="of the samples and of the sets beside them")
    found.add_argument("--as-seen", action="store_true", help="compare with images as the models see them; see above")
    found.add_argument("--again", action="store_true", help="measure runs whose directory has the figures already, too")
    found.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep features of the data, and the classifier, there, for other calls"
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write the table to this file, as JSON")
    found.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to this file, as Markdown")
    tool.run_options(found)
    return found


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that say nothing, before anything is loaded.

    Raises:
      ValueError: a number of images is too small, or two rows have one name.
    """
    if arguments.samples < 1:
        raise ValueError(f"--samples must be 1 or more, got {arguments.samples}")
    if arguments.training < 0 or arguments.seed < 0:
        name = "training" if arguments.training < 0 else "seed"
        raise ValueError(f"--{name} must be 0 or more, got {getattr(arguments, name)}")
    names = [name for name, _ in map(named, arguments.runs)]
    for name in names:
        if names.count(name) > 1 or name in FLOORS:
            raise ValueError(f"there is more than one row {name!r}: give each run a name of its own, NAME=RUN")


def named(word: str) -> tuple[str, Path]:
    """The name of a run's row and its directory, of `NAME=RUN` or `RUN`; a directory may have "=" in its own name."""
    name, equals, folder = word.partition("=")
    return (name, Path(folder)) if equals and name and folder and not Path(word).exists() else (word, Path(word))


def compared(arguments: argparse.Namespace) -> Compared:
    """The table of the runs that the arguments name.

    Raises:
      ValueError, OSError, ImportError: a run cannot be loaded or draws no images, there is no such network, or runs are
        of different data.
    """
    from gen_models.features.extractor import described
    from gen_models.run import compared as distances
    from gen_models.run.extractors import check_words, extractor_of
    from gen_models.run.job import keys

    check_words(arguments.features)
    runs = _loaded(arguments)
    first = next(iter(runs.values()))
    extractor = extractor_of(arguments.features, first, arguments.keep)
    asked = distances.Asked(extractor, arguments.samples, arguments.training, not arguments.as_seen, arguments.keep)
    key = keys(arguments.seed).figures
    rows: dict[str, Mapping[str, Figure]] = {}
    beneath: dict[str, Mapping[str, Figure]] = {}
    for name, found in runs.items():
        began = time.perf_counter()
        measure = distances.measure_of(found, asked, beside=not beneath)
        split = first.job.test(key)  # equal images: features of the data are made once
        sets = distances.sets_of(distances.distances(found, measure, key, split=split, again=arguments.again))
        rows[name] = sets.pop("")
        beneath = beneath or dict(sets)
        say(f"{name}: {time.perf_counter() - began:.1f} s")
    notes = {name: f"{found.run.folder}, step {int(found.state.step):,}" for name, found in runs.items()}
    where = next(iter(next(iter(rows.values())).values())).measured_on
    return Compared({**rows, **beneath}, notes, where, described(extractor))


def _loaded(arguments: argparse.Namespace) -> "dict[str, Loaded]":
    """The runs by the names of their rows; they have samples, and their data are the same."""
    from gen_models.run.compared import refuse_others

    runs: dict[str, Loaded] = {}
    for name, folder in map(named, arguments.runs):
        found = tool.loaded(argparse.Namespace(**{**vars(arguments), "run": folder}))
        tool.sampler_of(found)
        if runs:
            refuse_others(next(iter(runs.values())), found, not arguments.as_seen)
        runs[name] = found
    return runs


def columns_of(table: Compared) -> list[str]:
    """The names of the figures, in their order, each once."""
    return list(dict.fromkeys(name for row in table.rows.values() for name in row))


def _short(column: str, network: str) -> str:
    """A figure's name without the network's, which stands under the table."""
    return column.replace(f" by {network}", "").replace(f" {network}", "").strip()


def _cells(table: Compared) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of the table, as texts."""
    columns = columns_of(table)
    units = {name: figure.unit for row in table.rows.values() for name, figure in row.items()}
    network = next((name.split(" ", 1)[1] for name in columns if name.startswith("FD ")), "inception")
    heads = [
        _short(name, network) + (f" ({units[name]})" if units[name] not in ("", "fraction") else "") for name in columns
    ]
    lines = [
        [of, *(rounded_text(row[name].value, row[name].spread) if name in row else "" for name in columns)]
        for of, row in table.rows.items()
    ]
    return ["", *heads], lines


def show(table: Compared) -> None:
    """Print the table, turned: a terminal has room for more lines than columns."""
    heads, lines = _cells(table)
    turned = list(zip(*[heads, *lines], strict=True))
    caption = f"measured on {table.measured_on}; {table.network}"
    show_table("samples compared with training images", ("figure", *turned[0][1:]), turned[1:], caption)


def markdown(table: Compared) -> str:
    """The table as Markdown, with what it was measured on beneath it."""
    heads, lines = _cells(table)
    rule = ["---", *["---:"] * (len(heads) - 1)]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [heads, rule, *lines]]
    runs = "; ".join(f"{name}: `{note}`" for name, note in table.notes.items())
    return "\n".join([*text, "", f"Measured on {table.measured_on}; {table.network}. {runs}.", ""])


def write_table(table: Compared, path: Path) -> None:
    """Write the table as JSON: {"rows": {row: [figures]}, "notes", "measured_on", "network"}."""
    from gen_models.run.directory import as_json, write_json

    rows: dict[str, Sequence[object]] = {name: as_json(list(row.values())) for name, row in table.rows.items()}
    write_json(path, {**table._asdict(), "rows": rows})
    say("as JSON:", path)


if __name__ == "__main__":
    cli.guard(main)
