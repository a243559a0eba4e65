"""Measures of boundaries: the benchmark of BSDS500 of a model, of a gradient, and of the annotators themselves."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.data.boundaries import marks_of
from gen_models.evaluation.boundaries import BoundaryCounts, boundary_counts, boundary_scores, thinned_strength
from gen_models.measures.base import Split, Trained
from gen_models.measures.figure import Figure

RESAMPLES = 50  # of images, for standard errors


@dataclass(frozen=True)
class Boundaries:
    """F at the best threshold for all photographs (ODS) and for each (OIS), and average precision, of a model.

    Raises:
      ValueError: there is no threshold.
      ImportError: scikit-image, which thins lines, is not there.
    """

    thresholds: int = 99  # evenly between 0 and 1; the benchmark has 99
    shown: int = 6  # photographs in the picture

    def __post_init__(self) -> None:
        if self.thresholds < 1:
            raise ValueError(f"thresholds must be 1 or more, got {self.thresholds}")
        if importlib.util.find_spec("skimage") is None:  # before training, and not after it
            raise ImportError("boundaries are measured with scikit-image: pip install 'gen_models[boundaries]'")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """ODS, OIS and AP with their standard errors by resampled photographs."""
        strengths = split.each(_strength, trained, key, size=4)
        yield from _figures(strengths, split, self.thresholds)

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `boundaries.png`: photographs, shares of annotators, what the model says, and that made thin."""
        some = split.first(self.shown)
        said = some.each(_strength, trained, key, size=4)
        batch = some.some(len(some))
        thin = np.stack([thinned_strength(own) for own in said])
        rows = [np.asarray(batch["x"]), *(np.repeat(1 - own[..., None], 3, -1) for own in (batch["share"], said, thin))]
        plots.image_grid(np.concatenate(rows), folder / "boundaries.png", columns=len(said))


@dataclass(frozen=True)
class BoundaryBaselines:
    """What `Boundaries` says of the gradient's magnitude, and F of each annotator against the others."""

    deviation: float = 2.0  # of the Gaussian by which photographs are smoothed, in pixels
    thresholds: int = 99
    reads_parameters = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """ODS, OIS and AP of the gradient, and F of annotators where photographs have two or more."""
        photographs = _every(split, "x")
        strengths = [gradient_strength(image, self.deviation) for image in photographs]
        yield from _figures(
            strengths, split, self.thresholds, ", gradient", f"Gaussian of deviation {self.deviation:g} pixels"
        )
        once = np.array([0.5])
        counts = [
            [boundary_counts(own[a].astype(float), np.delete(own, a, 0), once) for a in range(len(own))]
            for own in _marks(split)
            if len(own) > 1
        ]
        if counts:
            each = [BoundaryCounts(*np.sum([np.stack(one) for one in own], 0)) for own in counts]
            error = _spread(each, lambda some: [boundary_scores(some, once).ods])[0]
            value = boundary_scores(each, once).ods
            said = "each annotator against the others"
            yield Figure("F, annotators", value, "fraction", split.where, error, said, "maximize")


def gradient_strength(image: np.ndarray, deviation: float) -> np.ndarray:
    """The gradient's magnitude of a photograph's mean over channels, 1 at a step from black to white."""
    from scipy.ndimage import gaussian_gradient_magnitude

    steepest = 1 / (deviation * np.sqrt(2 * np.pi))
    grey = np.asarray(image, np.float64).mean(-1)
    return np.minimum(gaussian_gradient_magnitude(grey, deviation, mode="nearest") / steepest, 1)


def _strength(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return jax.nn.sigmoid(model.apply(params, stats, batch["x"]))


def _figures(
    strengths: Sequence[np.ndarray] | np.ndarray, split: Split, count: int, of: str = "", note: str = ""
) -> Iterator[Figure]:
    thresholds = np.arange(1, count + 1) / (count + 1)
    counts = [
        boundary_counts(thinned_strength(own), marks, thresholds)
        for own, marks in zip(strengths, _marks(split), strict=True)
    ]
    found = boundary_scores(counts, thresholds)

    def three(some: Sequence[BoundaryCounts]) -> list[float]:
        scores = boundary_scores(some, thresholds)
        return [scores.ods, scores.ois, scores.ap]

    errors = _spread(counts, three)
    said = "; ".join(word for word in (f"{count} thresholds; {RESAMPLES} resamples of photographs", note) if word)
    at = f"at {found.threshold:.3f}: precision {found.precision:.3f}, recall {found.recall:.3f}; {said}"
    for name, value, error, own in zip(
        ("ODS F", "OIS F", "boundary AP"), (found.ods, found.ois, found.ap), errors, (at, said, said), strict=True
    ):
        yield Figure(name + of, value, "fraction", split.where, float(error), own, "maximize")


def _spread(counts: Sequence[BoundaryCounts], scores: Callable[..., list[float]]) -> np.ndarray:
    """The standard deviation of scores over resamples of photographs."""
    draw = np.random.default_rng(0)
    again = [scores([counts[i] for i in draw.integers(len(counts), size=len(counts))]) for _ in range(RESAMPLES)]
    return np.std(again, 0, ddof=1)


def _every(split: Split, field: str) -> np.ndarray:
    batches = split.batches(50)
    return np.concatenate([np.asarray(batch[field])[np.asarray(batch["weight"]) > 0] for batch in batches])


def _marks(split: Split) -> Iterator[np.ndarray]:
    """The marks [annotators, H, W] of each photograph."""
    for batch in split.batches(50):
        real = np.asarray(batch["weight"]) > 0
        for bits, count in zip(
            np.asarray(batch["boundaries"])[real], np.asarray(batch["annotators"])[real], strict=True
        ):
            yield marks_of(bits, int(count))
