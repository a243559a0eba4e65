"""Measures of samples from mixtures whose modes are known, and a picture of samples in the plane."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key
from gen_models.data.synthetic import grid_centres
from gen_models.evaluation.modes import ModeStatistics, mode_statistics
from gen_models.measures.base import Headline, Split, Trained
from gen_models.measures.figure import Figure
from gen_models.measures.samples import drawn

_statistics = jax.jit(mode_statistics)


@dataclass(frozen=True)
class GridCoverage:
    """Modes of a square grid of Gaussians that samples cover (`evaluation/modes.py`), and the samples in a picture."""

    count: int = 2500  # samples
    side: int = 5  # modes along each side of the grid
    spacing: float = 2.0  # distance between neighbouring modes
    headline: ClassVar[Headline] = ("modes_covered", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """Covered modes, share of samples near a mode, and the reverse KL of their spread over modes, in nats."""
        found, where = self._found(self.sample(trained, key, self.count)), f"{self.count:,} samples"
        yield Figure("modes covered", float(found.modes), f"of {self.side**2}", where, better="maximize")
        yield Figure("high-quality samples", 100 * float(found.high_quality), "%", where, better="maximize")
        yield Figure("reverse KL", float(found.reverse_kl), "nats", where, better="minimize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `samples.png`: the samples, and the modes."""
        self.show(self.sample(trained, key, self.count), folder / "samples.png")

    def sample(self, trained: Trained, key: Key, n: int, **condition: Any) -> np.ndarray:
        """Draw n samples [n, 2]; `condition` is what the model's `sample` takes besides."""
        return np.asarray(drawn(trained, key, n, **condition))

    def show(self, samples: np.ndarray, path: Path) -> None:
        """Write a picture of samples [n, 2], with crosses at the modes."""
        title = f"{int(self._found(samples).modes)} of {self.side**2} modes"
        limit = (self.side - 1) / 2 * self.spacing + 1.5
        plots.scatter({title: samples}, path, marks=np.asarray(self._centres), limit=limit)

    @property
    def _centres(self) -> Any:
        return grid_centres(self.side, self.spacing)

    def _found(self, samples: np.ndarray) -> ModeStatistics:
        return _statistics(samples, self._centres)
