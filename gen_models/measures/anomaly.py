"""How well the error of reconstruction tells what a model was trained on from what it was not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from gen_models import metrics, plots
from gen_models.core import Key, Model, Params, Stats
from gen_models.measures.base import Headline, Split, Trained, compiled_for
from gen_models.measures.classification import labels_of
from gen_models.measures.figure import Figure
from gen_models.measures.reconstruction import code_of


@dataclass(frozen=True)
class AnomalyDetection:
    """Examples of other classes are anomalies, and an example's score is the squared error of its reconstruction."""

    normal: int | None = None  # the class that is none; None: all classes of the data that were trained on
    count: int = 12  # examples in a row of the picture
    headline: ClassVar[Headline] = ("auroc", "maximize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The area under the ROC curve with its standard error (DeLong et al., 1988); none where one kind is absent."""
        anomalous = self._anomalous(trained, split)
        if anomalous.all() or not anomalous.any():
            return
        scores = split.each(_scores, trained, key, size=500)
        area = float(metrics.auroc(jnp.asarray(scores, jnp.float32), jnp.asarray(anomalous)))
        what = "other data" if self.normal is None else "other classes"
        note = f"of {what} than were trained on, by the squared error"  # the same whatever class: one column of a table
        yield Figure("AUROC", area, "fraction", split.where, delong_error(scores, anomalous), note, "maximize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `anomalies.png`, the worst mistakes in two pairs of rows, each of images and their reconstructions.

        Above are the examples that are no anomalies, of the largest error; below are the anomalies of the smallest.
        """
        if len(split.dataset.shape) != 3:
            return
        anomalous, scores = self._anomalous(trained, split), split.each(_scores, trained, key, size=500)
        order = np.argsort(scores, kind="stable")
        columns = min(self.count, int(anomalous.sum()), int((~anomalous).sum()))
        if columns == 0:
            return
        images = np.concatenate([np.asarray(b["x"])[np.asarray(b["weight"]) > 0] for b in split.batches(500)])
        chosen = (order[~anomalous[order]][::-1][:columns], order[anomalous[order]][:columns])
        again = compiled_for(_again, trained.model)
        rows = [r for at in chosen for r in (images[at], np.asarray(again(trained.params, trained.stats, images[at])))]
        plots.image_grid(np.concatenate(rows), folder / "anomalies.png", columns=columns)

    def _anomalous(self, trained: Trained, split: Split) -> Bool[np.ndarray, "n"]:
        """Which examples of the split are anomalies.

        Raises:
          ValueError: the data have no labels.
        """
        if trained.num_classes is None:
            raise ValueError("anomalies are told by their class, and the data have no labels: choose another --dataset")
        labels = labels_of(split)
        return labels >= trained.num_classes if self.normal is None else labels != self.normal


def delong_error(scores: Float[np.ndarray, "n"], positive: Bool[np.ndarray, "n"]) -> float:
    """The standard error of an area under the ROC curve over both kinds of examples; NaN with one of a kind.

    DeLong, DeLong & Clarke-Pearson (1988), eq. 3 to 5: the variance of an example's own area, its share of the others
    that it is told from, over the number of its kind, for both kinds.
    """
    above, below = scores[positive], scores[~positive]
    if min(len(above), len(below)) < 2:
        return float("nan")
    own = _share_below(above, below), 1 - _share_below(below, above)
    return float(np.sqrt(sum(each.var(ddof=1) / len(each) for each in own)))


def _share_below(scores: Float[np.ndarray, "n"], others: Float[np.ndarray, "m"]) -> Float[np.ndarray, "n"]:
    """The share of the others that is below each score, those that are equal counting half."""
    ranked = np.sort(others)
    return (np.searchsorted(ranked, scores) + np.searchsorted(ranked, scores, side="right")) / (2 * len(others))


def _again(model: Model, params: Params, stats: Stats, x: jax.Array) -> jax.Array:
    return model.decode(params, stats, code_of(model, params, stats, x))


def _scores(model: Model, params: Params, stats: Stats, batch: Any, key: Key) -> jax.Array:
    """[B]."""
    again = _again(model, params, stats, batch["x"])
    return ((again - batch["x"]) ** 2).reshape(len(again), -1).sum(1)
