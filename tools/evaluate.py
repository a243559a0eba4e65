"""Measure a trained run again, on its test split, with the randomness that its own result used or another.

python -m tools.evaluate RUN
python -m tools.evaluate RUN --dataset npz:DIR/set.npz      # where the data are no longer at the run's place
python -m tools.evaluate RUN --distances --features classifier
python -m tools.evaluate RUN --distances --features classifier:runs/classifier/cnn/0

With --distances, samples of the run's model are compared with its training images in the features of a network: Frechet
and kernel distances, precision, recall, density, coverage, authenticity, and where the network has classes their score
and coverage. Beside the samples stand as many held-out images (the floor), draws of training images (a memoriser) and
noise. The table is written to RUN/distances_NAME.json too, and samples with the training images that are nearest to
them to RUN/samples/neighbours_NAME.png. `--features classifier` trains a classifier on the run's own training images,
where it is not there yet, and keeps it. Several runs in one table: `python -m tools.compare`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gen_models.measures.figure import Figure, with_note
from gen_models.run import cli, endings, tool
from gen_models.run.console import rounded_text, say, show_result, show_table

if TYPE_CHECKING:
    from gen_models.core import Key
    from gen_models.run.directory import Run
    from gen_models.run.job import Job
    from gen_models.run.restore import Loaded


FEATURES = "classifier (of the run's data), classifier:RUN, squeezenet:FILE, inception:FILE or efficientnet_lite0"


def main() -> None:
    """Parse, restore, measure, print."""
    parser = tool.run_parser(__doc__)
    parser.add_argument("--seed", type=int, help="of the evaluation's noise; by default the run's own")
    parser.add_argument(
        "--distances", action="store_true", help="measure how far samples are from the data instead; see above"
    )
    parser.add_argument("--features", metavar="NETWORK", help=f"with --distances: {FEATURES}")
    parser.add_argument(
        "--samples", type=int, metavar="N", help="with --distances: images of each set, at most (default: 10000)"
    )
    parser.add_argument(
        "--training", type=int, metavar="N", help="with --distances: training images that are looked at (default: all)"
    )
    parser.add_argument(
        "--unchanged",
        action="store_true",
        default=None,
        help="with --distances: compare with images as they are, and not as the model sees them, such as binarised",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="DIR",
        help="with --distances: keep features of the data, and the classifier of --features classifier, there",
    )
    arguments = parser.parse_args()
    check_options(arguments)
    run, config, job, state = found = tool.loaded(arguments)

    import jax

    from gen_models.run.job import keys

    key = keys(config.seed).figures if arguments.seed is None else jax.random.key(arguments.seed)
    others = changed(run, job)
    if others:
        endings.warn(f"the run was trained on other data than are there now: {others}")
    figures = distances(found, arguments, key) if arguments.distances else job.figures(state, key)
    if others:
        figures = [with_note(figure, "on other data than the run's") for figure in figures]
    if arguments.distances:
        show_distances(found, figures)
    else:
        show_result(run, figures)


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is loaded.

    Raises:
      ValueError: --distances lacks its network, or options of its are given without it, or are no numbers of images.
    """
    own = {name: getattr(arguments, name) for name in ("features", "samples", "training", "unchanged", "keep")}
    given = [f"--{name}" for name, value in own.items() if value is not None]
    if given and not arguments.distances:
        raise ValueError(f"without --distances, leave out {' and '.join(given)}: nothing else reads them")
    if not arguments.distances:
        return
    if arguments.features is None:
        raise ValueError("--distances are those of features: say of which network, as --features classifier:RUN")
    for name in ("samples", "training"):
        if own[name] is not None and own[name] < 1:
            raise ValueError(f"--{name} must be 1 or more, got {own[name]}")


def distances(found: "Loaded", arguments: argparse.Namespace, key: "Key") -> list[Figure]:
    """The figures of the run's samples and of what they are read beside; writes them and the picture.

    Raises:
      ValueError, OSError, ImportError: there is no such network, or it takes no images as the run's; the run's model
        draws no images.
    """
    from gen_models.run import compared
    from gen_models.run.extractors import OF_DATA, extractor_of

    tool.sampler_of(found)  # says where the run has no samples, before a classifier is trained
    asked = compared.Asked(
        extractor_of(arguments.features, found, arguments.keep),
        samples=arguments.samples or 10_000,
        training=arguments.training or 0,
        unchanged=bool(arguments.unchanged),
        folder=arguments.keep,
    )
    if arguments.features == OF_DATA and found.job.data.how.startswith("binarised") and not arguments.unchanged:
        endings.warn(
            "the classifier is trained on grey images and will see binarised ones: --unchanged shows it grey ones"
        )
    measure = compared.measure_of(found, asked)
    figures = compared.distances(found, measure, key)
    picture = tool.output(None, found.run.samples / f"neighbours_{measure.extractor.name}.png")
    measure.draw(found.job.trained(found.state), found.job.test(key), key, picture.parent)
    say("figures:", tool.output(None, compared.path_of(found, measure)))
    if picture.exists():
        say("samples and their nearest training images:", picture)
    return figures


def show_distances(found: "Loaded", figures: Sequence[Figure]) -> None:
    """Print a table with a row for each figure, and a column for each set of images."""
    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        name, _, of = figure.name.partition(", ")
        rows.setdefault(name, {})[of or "samples"] = rounded_text(figure.value, figure.spread)
    columns = list(dict.fromkeys(of for row in rows.values() for of in row))
    cells = [(name, *(row.get(of, "") for of in columns)) for name, row in rows.items()]
    caption = f"measured on {figures[0].measured_on}; {figures[0].note}"
    show_table(str(found.run.folder), ("figure", *columns), cells, caption)


def changed(run: "Run", job: "Job") -> str:
    """How the data that are there differ from those that the run keeps in mind, in words; "" where they do not."""
    from gen_models.data.report import changes

    kept = run.data()
    return "" if kept is None or job.batch is not None else "; ".join(changes(kept["report"], job.report))


if __name__ == "__main__":
    cli.guard(main)
