"""Measures of models of tables, whether their target is a class or a number, and scikit-learn's models beside them."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from gen_models import metrics
from gen_models.core import Key
from gen_models.measures.base import Headline, Split, Trained, mean_of
from gen_models.measures.classification import Accuracy, Confusion, labels_of, predicted
from gen_models.measures.classification_report import ClassificationReport
from gen_models.measures.figure import Figure
from gen_models.measures.regression import RegressionErrors, predicted_numbers


@dataclass(frozen=True)
class TableFigures:
    """A loss to choose by; then accuracy and what belongs to it, or errors, and what would be reached without a model.

    The loss is the cross-entropy in nats, or the squared error in units of the target's variance over the rows for
    training. Without a model, each row gets the most frequent class of these, or their mean.
    """

    headline: ClassVar[Headline] = ("loss", "minimize")

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The loss, then the figures of `Accuracy` or `RegressionErrors`, and the trivial one."""
        known = labels_of(split.train())
        if split.data.num_classes is None:
            numbers, truth = predicted_numbers(trained, split)
            squares = mean_of(((numbers - truth) ** 2).mean(1) / (float(known.std(dtype=np.float64)) or 1.0) ** 2)
            error = float(squares.standard_error)
            yield Figure("loss", float(squares.value), "variances", split.where, error, better="minimize")
            yield from RegressionErrors().figures(trained, split, key)
            trivial = float(np.sqrt(((truth - known.mean(dtype=np.float64)) ** 2).mean()))
            yield Figure("trivial RMSE", trivial, "", split.where, note="of the mean of the rows for training")
            return
        logits, labels = predicted(trained, split)
        nats = float(metrics.negative_log_likelihood(logits, labels))
        yield Figure("loss", nats, "nats/row", split.where, note="the cross-entropy", better="minimize")
        yield from Accuracy().figures(trained, split, key)
        common = np.bincount(known, minlength=split.data.num_classes).argmax()
        share = float((np.asarray(labels) == common).mean())
        yield Figure("trivial accuracy", share, "fraction", split.where, note="of the most frequent class")

    def draw(self, trained: Trained, split: Split, key: Key, folder: Path) -> None:
        """Draw the confusion matrix and the curves of decisions, or predictions against truth."""
        if split.data.num_classes is None:
            RegressionErrors().draw(trained, split, key, folder)
            return
        Confusion().draw(trained, split, key, folder)
        ClassificationReport().draw(trained, split, key, folder)


# What stands beside a model: a linear one and boosted trees, with scikit-learn's own settings, and a seed.
CLASSIFIERS = {
    "logistic regression": ("linear_model", "LogisticRegression", {"max_iter": 1000}),
    "gradient boosting": ("ensemble", "HistGradientBoostingClassifier", {"random_state": 0}),
    "random forest": ("ensemble", "RandomForestClassifier", {"random_state": 0}),
}
REGRESSORS = {
    "ridge regression": ("linear_model", "Ridge", {}),
    "gradient boosting": ("ensemble", "HistGradientBoostingRegressor", {"random_state": 0}),
    "random forest": ("ensemble", "RandomForestRegressor", {"random_state": 0}),
}


@dataclass(frozen=True)
class TableBaselines:
    """scikit-learn's models, fitted to the same prepared rows for training with their own settings (extra `tables`)."""

    reads_parameters = False

    def figures(self, trained: Trained, split: Split, key: Key) -> Iterator[Figure]:
        """The accuracy of each, or its RMSE, with standard errors over rows.

        Raises:
          ImportError: scikit-learn is missing.
        """
        try:
            importlib.import_module("sklearn")
        except ImportError:
            raise ImportError("baselines are scikit-learn's: pip install 'gen_models[tables]'") from None
        x, y = _prepared(split.train())
        rows, truth = _prepared(split)
        classes = split.data.num_classes is not None
        for name, (module, kind, options) in (CLASSIFIERS if classes else REGRESSORS).items():
            model = getattr(importlib.import_module(f"sklearn.{module}"), kind)(**options).fit(x, y)
            found = model.predict(rows)
            note = f"scikit-learn's {kind}"
            if classes:
                share = mean_of((found == truth).astype(np.float64))
                error = float(share.standard_error)
                yield Figure(f"{name} accuracy", float(share.value), "fraction", split.where, error, note, "maximize")
            else:
                squares = mean_of((found - truth) ** 2)
                rmse = float(np.sqrt(squares.value))
                error = float(squares.standard_error) / (2 * rmse) if rmse else 0.0
                yield Figure(f"{name} RMSE", rmse, "", split.where, error, note, "minimize")


def _prepared(split: Split) -> tuple[np.ndarray, Any]:
    """Prepared rows [N, D] and targets [N] of a whole split."""
    rows = [np.asarray(batch["x"])[np.asarray(batch["weight"]) > 0] for batch in split.batches(500)]
    return np.concatenate(rows).astype(np.float64), labels_of(split)
