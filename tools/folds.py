"""Figures of a cross-validation: of runs that differ in their fold alone, means over the folds with standard errors.

python -m experiments.tables sweep --variants mlp --grid fold=0,1,2,3,4 --run-dir runs/folds
python -m tools.folds runs/folds

Runs are looked for in the folder and all below it, and are grouped by all fields of their config but `fold` and where
they lie. The standard error is the folds' deviation over the square root of their number: it takes folds for
independent, which they are not quite, as they share rows for training (Bengio & Grandvalet, No unbiased estimator of
the variance of K-fold cross-validation, 2004). A fold that lacks is told.
"""

import argparse
import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from gen_models.run import cli
from gen_models.run.console import say

ASIDE = ("fold", "run_dir")  # fields in which runs of one cross-validation differ


def main() -> None:
    """Parse, read, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of a sweep, or any with runs below it")
    arguments = parser.parse_args()
    groups = found(arguments.folder)
    if not groups:
        raise ValueError(f"{arguments.folder} has no finished run with a fold below it: train some with --fold")
    for (variant, _), runs in groups.items():
        folds = next(iter(runs.values()))[0]["folds"]
        lacks = [str(fold) for fold in range(folds) if fold not in runs]
        missing = f"; fold {', '.join(lacks)} lacks" if lacks else ""
        say(f"{variant}: {len(runs)} of {folds} folds{missing}")
        for name, (mean, error, unit) in summary([figures for _, figures in runs.values()]).items():
            say(f"  {name}: {mean:.4g} +- {error:.2g} {unit}".rstrip())


Runs = dict[int, tuple[dict[str, Any], list[dict[str, Any]]]]  # fold -> config and figures


def found(folder: Path) -> dict[tuple[str, str], Runs]:
    """(variant, the rest of the config as text) -> the runs of each fold, in order.

    Raises:
      ValueError: two runs are of the same fold.
    """
    groups: dict[tuple[str, str], Runs] = defaultdict(dict)
    for path in sorted(folder.rglob("result.json")):
        saved = json.loads((path.parent / "config.json").read_text())
        config = saved["config"]
        if config.get("fold") is None:
            continue
        rest = {name: value for name, value in config.items() if name not in ASIDE}
        runs = groups[saved["variant"], json.dumps(rest, sort_keys=True)]
        if config["fold"] in runs:
            raise ValueError(f"{path.parent}: another run is of fold {config['fold']} with the same config")
        runs[config["fold"]] = config, json.loads(path.read_text())["figures"]
    return {key: dict(sorted(runs.items())) for key, runs in groups.items()}


def summary(figures: list[list[dict[str, Any]]]) -> dict[str, tuple[float, float, str]]:
    """Figure -> its mean over the folds, the standard error of that (NaN of one fold), and its unit."""
    values: dict[str, list[float]] = defaultdict(list)
    units = {}
    for fold in figures:
        for figure in fold:
            if isinstance(figure["value"], int | float):
                values[figure["name"]].append(figure["value"])
                units[figure["name"]] = figure["unit"]
    return {
        name: (
            statistics.fmean(own),
            statistics.stdev(own) / math.sqrt(len(own)) if len(own) > 1 else math.nan,
            units[name],
        )
        for name, own in values.items()
        if len(own) == len(figures)
    }


if __name__ == "__main__":
    cli.guard(main)
