"""Distances of runs: measured, kept in each run's directory with what they depend on, and read again where it is equal.

`RUN/distances_NAME.json` has `step`, `figures` and `setting`. Two files may be compared where their settings are equal
in all but the model's own digest; one of them is measured anew where anything in its setting has changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gen_models.core import Key
from gen_models.data.report import changes
from gen_models.data.transforms import to_unit
from gen_models.features.extractor import Extractor, described, digest
from gen_models.measures.base import Split, Trained
from gen_models.measures.distances import Distances
from gen_models.measures.figure import AVERAGED, Figure, with_note
from gen_models.run import tool
from gen_models.run.directory import as_json, read_json, write_json
from gen_models.run.restore import Loaded

OF_MODEL = ("model", "levels", "conditional")  # what of a setting may differ between runs that are compared


@dataclass(frozen=True)
class Asked:
    """What is asked of distances; see `Distances`."""

    extractor: Extractor
    samples: int = 10_000
    training: int = 0
    unchanged: bool = False
    folder: Path | None = None


def measure_of(found: Loaded, asked: Asked, *, beside: bool = True) -> Distances:
    """The measure for a run's model.

    Raises:
      ValueError: the run's model draws no images; or it draws other ones than it sees, which only images as they are
        can be compared with.
    """
    sampler = tool.sampler_of(found)
    levels = getattr(sampler, "levels", 2)
    if not asked.unchanged and levels == 2 and jnp.issubdtype(found.job.batch_shape["x"].dtype, jnp.integer):
        raise ValueError(
            f"the model of {found.run.folder} sees levels of grey and draws means from 0 to 1: give --unchanged, which "
            "compares with the images as they are"
        )
    return Distances(
        asked.extractor,
        samples=asked.samples,
        training=asked.training,
        levels=levels,
        conditional=getattr(sampler, "conditional", False),
        unchanged=asked.unchanged,
        folder=asked.folder,
        beside=beside,
    )


def setting_of(found: Loaded, measure: Distances, trained: Trained, split: Split, key: Key) -> dict[str, Any]:
    """All that a run's distances depend on, as JSON."""
    parts = found.job.report["parts"]
    as_they_are = measure.unchanged or split.data.evaluation is to_unit
    checksums = {word: part and part.get("checksum", part.get("same_as")) for word, part in parts.items()}
    return {
        "model": digest((trained.params, trained.stats)),
        "levels": measure.levels,
        "conditional": measure.conditional,
        "extractor": described(measure.extractor),
        "samples": measure.samples,
        "training": measure.training,
        "neighbours": measure.neighbours,
        "images": "as they are" if as_they_are else f"as the model sees them {split.data.how}".strip(),
        "data": checksums,
        "key": np.asarray(jax.random.key_data(key)).tolist(),
    }


def distances(
    found: Loaded, measure: Distances, key: Key, *, split: Split | None = None, again: bool = True
) -> list[Figure]:
    """The figures of a run's samples and of what they are read beside; they are written into its directory.

    Args:
      found: the run.
      measure: what is measured.
      key: of the samples, and of the sets beside them.
      split: the data, where those of another run with the same images stand for the run's own; None: its own.
      again: whether they are measured although the directory has them, of the same setting; else they are read.

    Raises:
      ValueError: as `Distances.figures`.
    """
    trained, own = found.job.trained(found.state), found.job.test(key)
    setting = setting_of(found, measure, trained, own, key)
    kept = None if again else kept_figures(found, measure, setting)
    if kept is not None:
        return kept
    figures = list(measure.figures(trained, own if split is None else split, key))
    if trained.averaged:  # the other figures are not of the model
        figures = [figure if "," in figure.name else with_note(figure, AVERAGED) for figure in figures]
    write_json(
        tool.output(None, path_of(found, measure)),
        {"step": int(found.state.step), "setting": setting, "figures": as_json(figures)},
    )
    return figures


def path_of(found: Loaded, measure: Distances) -> Path:
    """Where a run's distances are kept."""
    return found.run.folder / f"distances_{measure.extractor.name}.json"


def kept_figures(found: Loaded, measure: Distances, setting: dict[str, Any]) -> list[Figure] | None:
    """The run's figures of this very setting; None where it has none, or lacks the sets beside them."""
    path = path_of(found, measure)
    if not path.exists():
        return None
    saved = read_json(path)
    if saved.get("setting") != setting:
        return None
    figures = [Figure(**{**each, "value": float(each["value"])}) for each in saved["figures"]]
    return None if measure.beside and not any("," in figure.name for figure in figures) else figures


def refuse_others(first: Loaded, other: Loaded, unchanged: bool) -> None:
    """Refuse to compare runs whose images are not the same.

    Raises:
      ValueError: they are others; the message says how they differ.
    """
    found = changes(first.job.report, other.job.report)
    if not unchanged and first.job.data.how != other.job.data.how:
        kinds = [run.job.data.how or "images as they are" for run in (first, other)]
        found.append(f"the first sees {kinds[0]}, the second {kinds[1]}")
    if found:
        raise ValueError(
            f"distances of {first.run.folder} and {other.run.folder} may not be compared, as their data differ: "
            f"{'; '.join(found)}. Leave one of them out"
        )


def sets_of(figures: Sequence[Figure]) -> dict[str, dict[str, Figure]]:
    """Figures by the set of images and by their name without it: {"": {"FD classifier": ...}, "noise": ...}."""
    found: dict[str, dict[str, Figure]] = {}
    for figure in figures:
        name, _, of = figure.name.partition(", ")
        found.setdefault(of, {})[name] = figure
    return found
