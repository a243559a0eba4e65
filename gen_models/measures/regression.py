"""Measures of models that predict numbers: errors, explained variance, and predictions against truth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from gen_models import plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Split, Trained, mean_of
from gen_models.measures.classification import labels_of
from gen_models.measures.figure import Figure


def _prediction(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    return model.apply(params, stats, batch["x"]).reshape(len(batch["x"]), -1)


def predicted_numbers(trained: Trained, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and truth of a whole split, in order, each [N, outputs] in float64."""
    predicted = split.each(_prediction, trained, jax.random.key(0), size=500)
    return predicted, np.asarray(labels_of(split), np.float64).reshape(predicted.shape)


@dataclass(frozen=True)
class RegressionErrors:
    """Root mean squared error, mean absolute error and R^2 of `apply(x)` against y, over examples and outputs."""

    unit: str = ""  # the unit of y
    headline: ClassVar[Headline] = ("rmse", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """RMSE, MAE and R^2; the spread of the first two is their standard error over examples.

        That of the RMSE is the standard error of the mean squared error, divided by the derivative 2 RMSE.
        """
        predicted, truth = predicted_numbers(trained, split)
        squares = mean_of(((predicted - truth) ** 2).mean(1))
        rmse = float(np.sqrt(squares.value))
        error = float(squares.standard_error) / (2 * rmse) if rmse else 0.0
        yield Figure("RMSE", rmse, self.unit, split.where, error, "root mean squared error", "minimize")
        absolute = mean_of(np.abs(predicted - truth).mean(1))
        yield Figure(
            "MAE", float(absolute.value), self.unit, split.where, float(absolute.standard_error), better="minimize"
        )
        explained, note = _explained(predicted, truth)
        yield Figure("R2", explained, "", split.where, note=note, better="maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `predictions.png`: the first output against its truth."""
        predicted, truth = predicted_numbers(trained, split)
        points = np.stack([truth[:, 0], predicted[:, 0]], 1)
        plots.scatter({"prediction against truth": points}, folder / "predictions.png")


def _explained(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, str]:
    """R^2 of all outputs together, each weighed by its variance, and what the table says of it."""
    if (truth == truth[0]).all():  # the mean of equal numbers is rounded, so that their variance need not be 0
        why = "one example has no variance" if len(truth) == 1 else "all targets are equal, and have no variance"
        return float("nan"), f"undefined: {why}"
    variance = ((truth - truth.mean(0)) ** 2).sum()
    return float(1 - ((predicted - truth) ** 2).sum() / variance), "share of the variance explained"
