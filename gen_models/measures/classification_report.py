"""What a classifier's decisions and probabilities are worth class by class: precision, recall, F1, ROC, calibration."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gen_models import metrics, plots
from gen_models.core import Key
from gen_models.measures.base import Split, Trained
from gen_models.measures.classification import class_names, predicted
from gen_models.measures.figure import Figure

MOST_NAMED = 12  # classes that a legend names


@dataclass(frozen=True)
class ClassificationReport:
    """Precision, recall and F1 over classes, areas under the ROC and precision-recall curves, and the Brier score.

    Curves are of each class against all others, by its probability; with two classes, of the second one alone. Areas
    are means over the classes that some examples of the split have and some have not.
    """

    lengths: bool = False  # whether the model's `apply` is told how many steps of each sequence count
    bins: int = 10  # of the reliability diagram

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The figures; a class that is never predicted has precision 0."""
        logits, labels = predicted(trained, split, self.lengths)
        confusion = metrics.confusion_matrix(logits.argmax(-1), labels, logits.shape[-1])
        macro = metrics.averaged_precision_recall_f1(confusion, "macro")
        weighted = metrics.averaged_precision_recall_f1(confusion, "weighted")
        for name, value in (("precision", macro.precision), ("recall", macro.recall), ("F1", macro.f1)):
            yield _share(name, float(value), split, "mean over classes")
        yield _share("weighted F1", float(weighted.f1), split, "mean over classes by how many examples each has")
        one_by_one = list(_against_rest(logits, labels))
        if one_by_one:
            note = _what(logits.shape[-1], len(one_by_one))
            areas = [metrics.area_under_curve(*metrics.roc_curve(p, own)[:2]) for _, p, own in one_by_one]
            yield _share("AUROC", float(np.mean(areas)), split, note)
            areas = [metrics.average_precision(p, own) for _, p, own in one_by_one]
            yield _share("average precision", float(np.mean(areas)), split, note)
        brier = float(metrics.brier_score(logits, labels))
        yield Figure("Brier score", brier, "", split.where, note="from 0 to 2", better="minimize")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw `decisions.png`: ROC curves, precision-recall curves, and reliability of the surest class."""
        logits, labels = predicted(trained, split, self.lengths)
        names = class_names(split) or tuple(map(str, range(logits.shape[-1])))
        probabilities = np.asarray(jax.nn.softmax(logits), np.float64)
        right = probabilities.argmax(-1) == np.asarray(labels)
        sure = np.clip(probabilities.max(-1), 0.0, 1.0)
        with plots.drawing(folder / "decisions.png", figsize=(12.6, 4.0), layout="constrained") as canvas:
            roc, recall, reliability = canvas.subplots(1, 3)
            one_by_one = list(_against_rest(logits, labels))
            for index, p, own in one_by_one:
                rates = metrics.roc_curve(p, own)
                label = plots.literal(names[index])
                roc.plot(rates.false_positive_rate, rates.true_positive_rate, label=label, linewidth=1.2)
                curve = metrics.precision_recall_curve(p, own)
                # Precision at a recall is that of the threshold which reaches it, until the next one: no slope between.
                recall.step(curve.recall, curve.precision, where="post", label=label, linewidth=1.2)
            roc.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
            roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
            recall.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1.03))
            if one_by_one and len(one_by_one) <= MOST_NAMED:
                roc.legend(frameon=False, fontsize=7, loc="lower right")
            _draw_reliability(reliability, metrics.calibration_curve(sure, right, self.bins))


def _draw_reliability(axis: Any, curve: metrics.CalibrationCurve) -> None:
    """The share that is right against the probability of the surest class, and how many examples each bin has."""
    axis.plot([0, 1], [0, 1], color="0.6", linestyle=":", linewidth=1)
    axis.vlines(curve.predicted, 0, curve.weight, color="0.8", linewidth=6, label="share of examples")
    axis.plot(curve.predicted, curve.observed, marker="o", markersize=4, linewidth=1.2, label="share that is right")
    axis.set(xlabel="probability of the surest class", xlim=(0, 1), ylim=(0, 1.03), title="reliability")
    axis.legend(frameon=False, fontsize=8, loc="upper left")


def _against_rest(logits: Any, labels: Any) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Class, its probability [N], and which examples have it, where some have it and some do not."""
    probabilities = np.asarray(jax.nn.softmax(np.asarray(logits, np.float32)), np.float64)
    classes = probabilities.shape[-1]
    for index in range(classes) if classes > 2 else (1,):
        own = np.asarray(labels) == index
        if own.any() and not own.all():
            yield index, probabilities[:, index], own


def _what(classes: int, present: int) -> str:
    """What an area is of, in words."""
    if classes == 2:
        return "of the second class"
    return "mean over classes, each against the others" + (f"; {present} of {classes}" if present < classes else "")


def _share(name: str, value: float, split: Split, note: str) -> Figure:
    return Figure(name, value, "fraction", split.where, note=note, better="maximize")
