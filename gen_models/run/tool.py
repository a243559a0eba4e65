"""What the tools that read a run's directory share: arguments and checks. JAX is imported when a run is read."""

import argparse
import contextlib
import importlib
import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gen_models.measures.base import DrawsSamples
    from gen_models.run.restore import Loaded


def run_parser(doc: str | None) -> argparse.ArgumentParser:
    """The argument parser of a tool whose first argument is a run's directory; `loaded` reads what it parsed."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run directory, such as runs/vae/base/0")
    run_options(parser)
    return parser


def run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `loaded` reads beside the run's directory."""
    parser.add_argument("--data-dir", metavar="DIR", help="folder of the data, if no longer the run's")
    parser.add_argument(
        "--dataset", metavar="NAME", help="name or KIND:PATH of the data, such as npz:FILE, if no longer the run's"
    )
    parser.add_argument(
        "--experiment", type=Path, metavar="FILE", help="file of an experiment of one's own, if no longer the run's"
    )
    parser.add_argument(
        "--best",
        action="store_true",
        help="use the state that was best in evaluations, of a run with --keep-best (of one with --early-stopping it "
        "is used in any case)",
    )


def loaded(arguments: argparse.Namespace, *, with_data: bool = True) -> "Loaded":
    """The run in the directory that the arguments name; imports JAX. Nothing is written there.

    Args:
      arguments: as `run_parser` parses them.
      with_data: whether the data are wanted; False reads them only where the model cannot do without.

    Raises:
      ValueError, OSError, ImportError: as `load_run`.
    """
    load_run = importlib.import_module("gen_models.run.restore").load_run
    absent = importlib.import_module("gen_models.data.absent").DataAbsent
    words = {name: getattr(arguments, name) for name in ("data_dir", "dataset", "experiment")}
    words["best"] = True if arguments.best else None
    found = load_run(arguments.run, **words, with_data=with_data)
    if not with_data and found.job.batch is not None:
        try:
            found.job.trained(found.state)
        except absent:  # batch norm's statistics are to be estimated from them
            return load_run(arguments.run, **words)
    return found


def output(given: Path | None, default: Path) -> Path:
    """The file that a tool writes: the given one, or else the default one in the run's directory.

    Where that directory cannot be written, as another user's, it is a file of the same name in the present folder.
    """
    if given is not None:
        return given
    with contextlib.suppress(OSError):
        default.parent.mkdir(exist_ok=True)
    return default if os.access(default.parent, os.W_OK) else Path(default.name)


def sampler_of(found: "Loaded") -> "DrawsSamples":
    """The measure that draws the run's samples, such as `gm.measures.Samples`.

    Raises:
      ValueError: there is none.
    """
    sampler = found.job.sampler()
    if sampler is None or not found.job.model.has("sample"):
        raise ValueError(
            f"{found.run.folder} is a run of {found.job.experiment.name}, whose model has no samples: choose a run of "
            "a model that draws some"
        )
    return sampler


def takes(found: "Loaded", *names: str) -> bool:
    """Whether the model's `sample` has the arguments of these names."""
    return set(names) <= set(inspect.signature(found.job.model.sample).parameters)


def check_label(found: "Loaded", label: int | None) -> None:
    """Refuse a class that the run's model was not told of.

    Raises:
      ValueError: the model takes no label, or there is no such class.
    """
    told = getattr(sampler_of(found), "conditional", takes(found, "label"))
    if label is None:
        return
    if not told or not takes(found, "label"):
        raise ValueError(
            f"--label {label}: the model of {found.run.folder} is not told the class: leave it out, or train one that "
            "is"
        )
    classes = found.job.data.num_classes
    if classes is not None and not 0 <= label < classes:
        raise ValueError(f"--label must be from 0 to {classes - 1}, got {label}")
